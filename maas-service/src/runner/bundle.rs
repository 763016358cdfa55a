//! The bundle of a copy: brought from the model store once, and kept for every start.
//!
//! It is fetched under another name and renamed when it is complete and checked, so that the work folder is never a part
//! of a bundle, whenever we are killed. What does not have the digest by which the bundle is called is not used: it is fetched
//! again, for somebody may have been replacing it at that moment, and only so many times, for it does not get better by that.

use std::path::PathBuf;

use model_store::{Digest, Limits, Location, Store, StoreError};
use tracing::info;

use super::fault::Outcome;
use super::settings::BundleSettings;
use crate::crash::{Point, crash_point};
use crate::instance_folder::InstanceFolder;

/// How often a bundle is fetched that is not what it should be, one time after the other.
pub(super) const DAMAGED_TRIES: u32 = 8;

/// A bundle in the work folder.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    /// The start script.
    pub(super) script: PathBuf,
    /// What it says about how it is to be run.
    pub(super) settings: BundleSettings,
}

impl Bundle {
    /// Brings the bundle at `path` into the work folder.
    ///
    /// # Errors
    /// With what becomes of the attempt.
    ///
    /// # Cancel safety
    /// What is left of a fetch that is dropped is taken away by the next one.
    pub(super) async fn fetch(path: &str, folder: &InstanceFolder) -> Result<Self, Outcome> {
        let failed = |error: &dyn std::error::Error| Outcome::NotFetched(chain(error));
        let refused = |error: StoreError| {
            let is_away = matches!(&error, StoreError::FileSystem(cause) if cause.is_away());
            if matches!(error, StoreError::Damaged { .. }) {
                Outcome::Damaged(chain(&error))
            } else if is_away {
                Outcome::StoreAway(chain(&error))
            } else {
                failed(&error)
            }
        };
        let location = Location::parse(path).map_err(|e| Outcome::Hopeless(chain(&e)))?;
        let digest = location.file_name().parse::<Digest>().ok();
        let store = Store::open(&location).map_err(refused)?;
        let (work, unfinished) = (folder.work(), folder.unfinished_work());
        for stale in [&work, &unfinished] {
            if stale.exists() {
                std::fs::remove_dir_all(stale).map_err(|e| failed(&e))?;
            }
        }
        let fetched = store
            .fetch(&location, digest.as_ref(), &unfinished, &Limits::default())
            .await
            .map_err(refused)?;
        info!(bytes = fetched.bytes, digest = %fetched.digest, "the bundle is here");
        let script = fetched
            .script
            .strip_prefix(&unfinished)
            .expect("it lies in the folder it was fetched into");
        // Before any script of it has run, which could write its own.
        let settings = BundleSettings::read(&unfinished).map_err(Outcome::Hopeless)?;
        crash_point(Point::FetchBeforeMove);
        std::fs::rename(&unfinished, &work).map_err(|e| failed(&e))?;
        Ok(Self {
            script: work.join(script),
            settings,
        })
    }
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}
