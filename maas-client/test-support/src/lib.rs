//! The outside parties our tests need, for real: ZooKeeper, HDFS, Apache Curator, the daemon, and models.
//!
//! One helper per party. Each owns a temporary folder and a free port on 127.0.0.1, waits with a deadline until the party
//! is ready, shows the end of its log when a test fails, and is gone with the test, however the test ends: a [`Leash`]
//! holds every process, and lets go of none even when the test program is killed with `kill -9`.
//!
//! Nothing here is skipped when a package is missing: a helper panics and names the command that installs it.
//! All parties start from a test's own tokio runtime, but none depends on it: one test may start a shared server and
//! end, and the next one goes on using it.

mod binary;
mod curator;
mod daemon;
mod ensemble;
mod eventually;
mod goals;
mod hdfs;
mod leash;
mod model_folder;
mod own_kernel;
mod port;
mod proxy;
mod signal;
mod zookeeper;

pub use binary::{PROGRAMS_FOLDER, binary};
pub use curator::{Curator, CuratorEndpoint, CuratorError, CuratorInstance, CuratorPayload};
pub use daemon::Daemon;
pub use ensemble::Ensemble;
pub use eventually::{Answer, eventually};
pub use goals::{goals_met, verdict};
pub use hdfs::{Hdfs, SharedHdfs};
pub use leash::{Leash, Program};
pub use model_folder::{ModelFolder, make_executable};
pub use own_kernel::run_in_own_kernel;
pub use port::free_port;
pub use proxy::Proxy;
pub use signal::send_signal;
pub use tempfile::TempDir;
pub use zookeeper::{SharedZooKeeper, ZooKeeper};
