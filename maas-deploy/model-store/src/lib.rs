//! Model bundles in HDFS or a local folder.
//!
//! A [`Bundle`] is a folder with exactly one start script on top. [`Store::put`] uploads it to
//! `<base>/<name>/<version>/sha256-<digest>/`, and [`Store::fetch`] brings it to a machine that shall run it. The digest is
//! that of the bundle's manifest, which names every file with its size and SHA-256. So the content has one name for ever: two
//! versions never mix their files, the same content is stored once, and what is fetched is what was deployed or nothing.
//!
//! The files lie in the store as plain files, so people and programs that know nothing of manifests can read them. The other
//! way round, a flat folder that Metron's own tools put there is fetched as it is.
//!
//! A [`Location`] says where: `file:/…`, `hdfs://host:port/…`, or a plain path, which means what it means to Hadoop's own
//! tools: the default file system of the configuration in `HADOOP_CONF_DIR`, and the local disk without one.

mod bundle;
mod digest;
mod file_system;
mod hadoop;
mod location;
mod manifest;
mod store;
mod tree;

pub use bundle::{Bundle, BundleError, BundleFile};
pub use digest::{Digest, DigestError};
pub use file_system::{Cause, FileSystemError};
pub use hadoop::{Hadoop, HadoopError};
pub use location::{Location, LocationError};
pub use store::{BundleRef, Fault, Fetched, Limits, Store, StoreError};
