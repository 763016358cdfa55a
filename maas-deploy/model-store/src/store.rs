//! The store: bundles in one file system.
//!
//! What has its final name is complete: a bundle is uploaded under another name in the same folder and gets its final name
//! by one rename. Uploads that were cut short leave such a folder, `.uploading-…`, which the next upload of the same
//! model's version removes when it is a day old.

mod fetch;
mod put;

use std::io;
use std::path::PathBuf;

use crate::bundle::BundleError;
use crate::digest::Digest;
use crate::file_system::{FileSystem, FileSystemError};
use crate::hadoop::{Hadoop, HadoopError};
use crate::location::Location;

pub use fetch::{Fetched, Limits};
pub use put::BundleRef;

/// One file system with bundles in it. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    files: FileSystem,
    authority: Option<String>,
}

/// What a store could not do, and why.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, the network or the other side.
    #[error(transparent)]
    FileSystem(#[from] FileSystemError),
    /// The folder is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Hadoop's configuration is broken.
    #[error(transparent)]
    Hadoop(#[from] HadoopError),
    /// The caller mixed up two stores.
    #[error("`{location}` is in another file system than this store")]
    OtherFileSystem {
        /// What was asked for.
        location: Location,
    },
    /// Nothing has that name.
    #[error("there is no bundle `{location}`; deploy it again, or mind the spelling")]
    NotThere {
        /// What was asked for.
        location: Location,
    },
    /// The root of a file system is no bundle.
    #[error("`{location}` is the root of a file system and will not be removed")]
    Root {
        /// What was asked for.
        location: Location,
    },
    /// Somebody edits the folder that is being deployed.
    #[error("`{}` changed while it was being uploaded; deploy again when nobody writes to it any more", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// What lies in the store is not what was put there.
    #[error("the bundle `{location}` is damaged; remove it and deploy it again")]
    Damaged {
        /// The bundle; boxed to keep the error small.
        location: Box<Location>,
        /// What is wrong with it.
        #[source]
        source: Fault,
    },
    /// The bundle is larger than this machine permits.
    #[error("the bundle `{location}` exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The bundle.
        location: Location,
        /// What is allowed.
        limit: u64,
    },
    /// The folder to fetch into is not fresh.
    #[error("`{}` exists already; a bundle is fetched into a folder of its own", folder.display())]
    NotFresh {
        /// The folder.
        folder: PathBuf,
    },
    /// This machine's disk.
    #[error("could not {doing} `{}`", path.display())]
    Local {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What is wrong with a bundle in the store.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no manifest though there must be one.
    #[error("it has no manifest, so its content cannot be checked")]
    NoManifest,
    /// The manifest cannot be read.
    #[error("its manifest is malformed")]
    Manifest {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is larger than any.
    #[error("its manifest has more than {limit} bytes")]
    LargeManifest {
        /// What is allowed.
        limit: u64,
    },
    /// The manifest is of another kind.
    #[error(
        "its manifest has the format `{found}`, which this program does not know; a newer one may"
    )]
    Format {
        /// Its format.
        found: String,
    },
    /// The manifest is not as we write it.
    #[error("its manifest is not in the one form that is allowed")]
    NotCanonical,
    /// The manifest leads elsewhere.
    #[error(
        "its manifest lists the path {path:?}, which does not lead to a place inside the bundle"
    )]
    Path {
        /// The path.
        path: String,
    },
    /// The manifest is not the one asked for.
    #[error("its manifest has the digest {found} instead of {expected}")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// A listed file is not there.
    #[error("the file `{path}` is missing")]
    Missing {
        /// The file.
        path: String,
    },
    /// An unlisted file is there.
    #[error("the file `{path}` does not belong to it")]
    Extra {
        /// The file.
        path: String,
    },
    /// A file was cut or has grown.
    #[error("the file `{path}` has {found} bytes instead of {expected}")]
    Size {
        /// The file.
        path: String,
        /// As listed.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// A file has other bytes.
    #[error(
        "the content of the file `{path}` is not the original (its SHA-256 is {found} instead of {expected})"
    )]
    Content {
        /// The file.
        path: String,
        /// As listed.
        expected: Digest,
        /// As found.
        found: Digest,
    },
}

impl Store {
    /// The store in the file system of `location`, with Hadoop's configuration from the environment.
    ///
    /// Nothing is connected yet: a wrong host shows at the first use.
    ///
    /// # Errors
    ///
    /// When Hadoop's configuration is broken.
    pub fn open(location: &Location) -> Result<Self, StoreError> {
        Self::open_with(location, &Hadoop::from_env()?)
    }

    /// The store in the file system of `location`, with the given configuration.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_with(location: &Location, hadoop: &Hadoop) -> Result<Self, StoreError> {
        let files = FileSystem::open(location, hadoop)?;
        Ok(Self {
            files,
            authority: location.authority().map(str::to_owned),
        })
    }

    /// Whether something is there.
    ///
    /// # Errors
    ///
    /// When the file system does not say.
    pub async fn exists(&self, location: &Location) -> Result<bool, StoreError> {
        self.check_own(location)?;
        Ok(self.files.exists(location).await?)
    }

    /// Removes a bundle. Says whether one was there.
    ///
    /// # Errors
    ///
    /// When the file system refuses, or `location` is its root.
    pub async fn remove(&self, location: &Location) -> Result<bool, StoreError> {
        self.check_own(location)?;
        if location.file_name().is_empty() {
            return Err(StoreError::Root {
                location: location.clone(),
            });
        }
        Ok(self.files.remove(location).await?)
    }

    fn check_own(&self, location: &Location) -> Result<(), StoreError> {
        if location.authority() == self.authority.as_deref() {
            Ok(())
        } else {
            Err(StoreError::OtherFileSystem {
                location: location.clone(),
            })
        }
    }
}

fn damaged(location: &Location, source: Fault) -> StoreError {
    StoreError::Damaged {
        location: Box::new(location.clone()),
        source,
    }
}
