//! Models that others put into HDFS or S3: each has a folder of this machine, which is what serves, and that is filled again
//! when the model there is another one.
//!
//! What arrives is whole: manifest and trees that belong together. Whether it is a good model is decided as of any folder
//! ([`indicator_model::LiveModel`]).

use std::path::Path as Folder;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicator_model::{Bundle, BundleError, LiveModel};
use object_place::Place;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use tempfile::TempDir;
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// A model's place elsewhere, and its folder here.
#[derive(Debug)]
pub struct ModelMirror {
    place: Place,
    folder: TempDir,
    /// The manifest there of what is here.
    seen: Mutex<Option<Seen>>,
}

/// What changes when a file does.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    tag: Option<String>,
    modified: i64,
    size: u64,
}

impl ModelMirror {
    /// Fetches the model of a place into a folder in `scratch`.
    ///
    /// # Errors
    /// When there is none, or it cannot be fetched.
    pub async fn open(place: &str, scratch: &Folder) -> Result<ModelMirror, MirrorError> {
        let unusable = |source| MirrorError::Store {
            file: place.to_owned(),
            source,
        };
        let mirror = ModelMirror {
            place: Place::open(place).map_err(unusable)?,
            folder: TempDir::with_prefix_in("macula-model-", scratch)
                .map_err(MirrorError::Folder)?,
            seen: Mutex::default(),
        };
        mirror.refresh().await?;
        Ok(mirror)
    }

    /// The folder here. It goes when the mirror does.
    pub fn folder(&self) -> &Folder {
        self.folder.path()
    }

    /// Fetches the model if it has changed; tells whether it had.
    ///
    /// # Errors
    /// When it cannot be fetched or its files don't belong together: then what is here stays.
    pub async fn refresh(&self) -> Result<bool, MirrorError> {
        let there = self.look(Bundle::MANIFEST).await?;
        let is_known = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.as_ref() == Some(&there)
        };
        if is_known {
            return Ok(false);
        }
        let manifest = self.read(Bundle::MANIFEST).await?;
        let [first, second] = Bundle::TREES;
        let trees = match self.read(first).await {
            Err(MirrorError::Store {
                source: object_store::Error::NotFound { .. },
                ..
            }) => self.read(second).await?,
            trees => trees?,
        };
        let folder = self.folder().to_owned();
        let take = move || {
            let bundle = Bundle::of_files(manifest, trees);
            bundle.trees(&bundle.manifest()?)?;
            bundle.write(&folder)
        };
        spawn_blocking(take).await??;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(there);
        Ok(true)
    }

    async fn look(&self, name: &'static str) -> Result<Seen, MirrorError> {
        let found = self.place.store.head(&self.location(name)).await;
        let ObjectMeta {
            e_tag,
            last_modified,
            size,
            ..
        } = found.map_err(|source| self.failed(name, source))?;
        Ok(Seen {
            tag: e_tag,
            modified: last_modified.timestamp_micros(),
            size,
        })
    }

    async fn read(&self, name: &'static str) -> Result<Vec<u8>, MirrorError> {
        let failed = |source| self.failed(name, source);
        let found = self.place.store.get(&self.location(name)).await;
        let found = found.map_err(failed)?;
        if found.meta.size > Bundle::MAX_FILE {
            return Err(MirrorError::TooLarge(self.file(name)));
        }
        Ok(found.bytes().await.map_err(failed)?.into())
    }

    fn location(&self, name: &'static str) -> Path {
        self.place.prefix.clone().join(name)
    }

    fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.place.name)
    }

    fn failed(&self, name: &str, source: object_store::Error) -> MirrorError {
        MirrorError::Store {
            file: self.file(name),
            source,
        }
    }

    /// Looks again and again until told to stop, for the model that follows the folder. What goes wrong is logged once.
    pub async fn follow(&self, model: &LiveModel, every: Duration, shutdown: CancellationToken) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            match self.refresh().await {
                Ok(fetched) => {
                    told.clear();
                    model.could_not_be_fetched(None);
                    if fetched {
                        info!(place = self.place.name, "a new model was fetched");
                    }
                }
                Err(failed) => {
                    let error = &failed as &dyn std::error::Error;
                    model.could_not_be_fetched(Some(error));
                    let reason = failed.to_string();
                    if reason != told {
                        error!(place = self.place.name, error, "no model could be fetched");
                    }
                    told = reason;
                }
            }
        }
    }
}

/// Why a model could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The place, or a file there.
    #[error("could not fetch `{file}`")]
    Store {
        /// Which.
        file: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A file that is no model's.
    #[error("`{0}` is larger than any model")]
    TooLarge(String),
    /// What was fetched.
    #[error("what was fetched is no model")]
    Bundle(#[from] BundleError),
    /// The folder here.
    #[error("could not make a folder for the model")]
    Folder(#[source] std::io::Error),
    /// Taking it panicked, or the program ends.
    #[error("the model was not taken")]
    Taking(#[from] JoinError),
}
