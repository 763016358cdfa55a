//! A model that follows a folder: whoever puts a new bundle there changes the model, without a stop and without a gap.
//!
//! A new bundle is loaded aside and checked in full; only then it takes the old one's place, for all who ask from then on. One
//! that fails, or is for another kind of indicators, stays where it is, is reported once, and changes nothing. What is replaced goes into the archive, under the date
//! and its digest; going back takes the newest from there and does not come forward again to the bundle that was left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use gatherers::Clock;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bundle::{Bundle, BundleError, ModelKind};
use crate::model::{IndicatorModel, ModelError};

/// A model that changes with its folder.
#[derive(Debug)]
pub struct LiveModel {
    folder: PathBuf,
    archive: Option<PathBuf>,
    clock: Clock,
    current: ArcSwap<IndicatorModel>,
    /// Held while bundles change, so that they change one after the other.
    changing: Mutex<Changing>,
    behind: Mutex<Behind>,
}

/// Why another model serves than should by now, as far as is known.
#[derive(Debug, Default)]
struct Behind {
    /// What is wrong with the bundle in the folder.
    folder: Option<String>,
    /// Why the folder could not be filled from elsewhere.
    place: Option<String>,
}

#[derive(Debug, Default)]
struct Changing {
    /// The bundle that was looked at and must not be loaded.
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Refused {
    /// What tells its files from all others.
    digest: String,
    /// Why: it failed, or was left by going back.
    reason: String,
}

/// What a look at the folder came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The bundle is the one that serves, or one that was refused before.
    Unchanged,
    /// A new one serves.
    Replaced,
}

impl LiveModel {
    /// Loads the bundle in a folder. `archive` is where replaced ones go.
    ///
    /// # Errors
    /// When there is no bundle, or no good one.
    pub fn open(
        folder: PathBuf,
        archive: Option<PathBuf>,
        clock: Clock,
    ) -> Result<LiveModel, LiveModelError> {
        let model = IndicatorModel::load(Bundle::read(&folder).map_err(ModelError::from)?)?;
        Ok(LiveModel {
            current: ArcSwap::from_pointee(model),
            changing: Mutex::default(),
            behind: Mutex::default(),
            folder,
            archive,
            clock,
        })
    }

    /// The model that serves now. Whoever holds it keeps it, whatever changes meanwhile.
    pub fn current(&self) -> Arc<IndicatorModel> {
        self.current.load_full()
    }

    /// Why another model serves than the one that was put into its place, if so; or why nobody can look whether there is one.
    pub fn behind(&self) -> Option<String> {
        let behind = self.standing();
        behind.place.as_ref().or(behind.folder.as_ref()).cloned()
    }

    /// Whoever fills the folder from elsewhere could not, and why; or could again.
    pub fn could_not_be_fetched(&self, why: Option<&dyn std::error::Error>) {
        self.standing().place = why.map(chain);
    }

    fn standing(&self) -> MutexGuard<'_, Behind> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the folder once. Blocks while it reads and checks.
    ///
    /// # Errors
    /// When there is a new bundle and it is no good, or the old one cannot be archived: then the old one serves on. A bundle that
    /// was refused is not tried again until its files change.
    pub fn refresh(&self) -> Result<Refreshed, LiveModelError> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = self.look(&mut changing);
        self.standing().folder = match &looked {
            Ok(Some(_)) => None,
            // What was refused is so still, whatever a look between came to.
            Ok(None) => changing.refused.as_ref().map(|it| it.reason.clone()),
            Err(failed) => Some(chain(failed)),
        };
        Ok(looked?.unwrap_or(Refreshed::Unchanged))
    }

    /// Nothing when the folder holds what was refused.
    fn look(&self, changing: &mut Changing) -> Result<Option<Refreshed>, LiveModelError> {
        let digest = Bundle::digest_in(&self.folder).map_err(ModelError::from)?;
        let current = self.current();
        if digest == current.digest() {
            return Ok(Some(Refreshed::Unchanged));
        }
        if changing
            .refused
            .as_ref()
            .is_some_and(|it| it.digest == digest)
        {
            return Ok(None);
        }
        let loaded = match load(&self.folder, current.manifest().kind) {
            Ok(loaded) => loaded,
            Err(failed) => {
                if !is_in_the_making(&failed) {
                    let reason = chain(&failed);
                    changing.refused = Some(Refused { digest, reason });
                }
                return Err(failed);
            }
        };
        self.replace(&current, loaded)?;
        changing.refused = None;
        Ok(Some(Refreshed::Replaced))
    }

    /// Goes back to the bundle that served before, from the archive, of those that are good. The one that is left is not loaded
    /// again by this process until the folder holds another; a new process loads what the folder holds.
    ///
    /// # Errors
    /// When there is no archive or nothing good in it; then everything stays as it is.
    pub fn rollback(&self) -> Result<(), LiveModelError> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let archive = self.archive.as_ref().ok_or(LiveModelError::NoArchive)?;
        let current = self.current();
        let mut entries = list(archive).map_err(|source| LiveModelError::Archive {
            path: archive.clone(),
            source,
        })?;
        // The names begin with the date.
        entries.sort_unstable();
        for entry in entries.into_iter().rev() {
            let digest = match Bundle::digest_in(&entry) {
                Ok(digest) if digest != current.digest() => digest,
                _ => continue,
            };
            let old = match load(&entry, current.manifest().kind) {
                Ok(old) => old,
                Err(error) => {
                    let entry = entry.display();
                    warn!(%error, "the archive's model in `{entry}` is no good; the one before it is looked at");
                    continue;
                }
            };
            info!(from = current.digest(), to = digest, "model rolled back");
            let reason = "the bundle in its folder was left by a rollback".to_owned();
            self.current.store(Arc::new(old));
            self.standing().folder = Some(reason.clone());
            let digest = Bundle::digest_in(&self.folder).ok();
            changing.refused = digest.map(|digest| Refused { digest, reason });
            return Ok(());
        }
        Err(LiveModelError::NothingToGoBackTo)
    }

    fn replace(&self, old: &IndicatorModel, new: IndicatorModel) -> Result<(), LiveModelError> {
        if let Some(archive) = &self.archive {
            let at = self.clock.now().strftime("%Y%m%dT%H%M%S%.3fZ");
            let short = &old.digest()[..12];
            let folder = archive.join(format!("{at}-{short}"));
            old.bundle().write(&folder).map_err(ModelError::from)?;
        }
        info!(
            from = old.digest(),
            to = new.digest(),
            version = new.manifest().version,
            "model replaced"
        );
        self.current.store(Arc::new(new));
        Ok(())
    }

    /// Looks at the folder again and again until told to stop. What is wrong with a bundle is logged.
    pub async fn watch(self: Arc<Self>, every: Duration, shutdown: CancellationToken) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            let this = self.clone();
            let looked = spawn_blocking(move || this.refresh()).await;
            match looked {
                Ok(Ok(_)) => told.clear(),
                Ok(Err(failed)) => {
                    let reason = chain(&failed);
                    if reason != told {
                        error!(folder = %self.folder.display(), reason, "a new model was refused");
                    }
                    told = reason;
                }
                // The runtime is shutting down.
                Err(_) => return,
            }
        }
    }
}

/// Loads a bundle that is to take the place of a model of this kind.
fn load(folder: &Path, kind: ModelKind) -> Result<IndicatorModel, LiveModelError> {
    let model = IndicatorModel::load(Bundle::read(folder).map_err(ModelError::from)?)?;
    let found = model.manifest().kind;
    if found != kind {
        return Err(LiveModelError::Kind { found, kind });
    }
    Ok(model)
}

/// The manifest is there and the trees are not yet, or still those of before: whoever copies files may be at it.
fn is_in_the_making(error: &LiveModelError) -> bool {
    matches!(
        error,
        LiveModelError::Model(ModelError::Bundle(
            BundleError::Read { .. } | BundleError::Digest
        ))
    )
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Why a model did not change as it should.
#[derive(Debug, thiserror::Error)]
pub enum LiveModelError {
    /// The bundle.
    #[error("the bundle is no model")]
    Model(#[from] ModelError),
    /// For other indicators.
    #[error("the bundle is for indicators of kind `{}`, and the model that serves for `{}`: give it a folder of its own",
        .found.name(), .kind.name())]
    Kind {
        /// What it is for.
        found: ModelKind,
        /// What it should be for.
        kind: ModelKind,
    },
    /// Nowhere to go back to.
    #[error("no archive was named, so there is nothing to go back to")]
    NoArchive,
    /// An empty archive.
    #[error("the archive holds no other model")]
    NothingToGoBackTo,
    /// The archive.
    #[error("the archive `{path}` cannot be read")]
    Archive {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}
