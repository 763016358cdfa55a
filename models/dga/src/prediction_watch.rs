//! Prediction lists that change while they are in use: those of a day are of no use on the next.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use crate::detector::Detector;
use crate::prediction_list::{PredictionListError, PredictionLists};

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What tells one state of a file from the next, without reading it; nothing where there is none.
type Stamp = Option<(u64, SystemTime, u64)>;

/// The files of lists, and the detector that uses them.
#[derive(Debug)]
pub struct PredictionWatch {
    detector: Arc<ArcSwap<Detector>>,
    paths: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl PredictionWatch {
    /// Watches over these lists, of which it is not known whether they are what the detector has.
    pub fn new(paths: Vec<PathBuf>, detector: Arc<ArcSwap<Detector>>) -> PredictionWatch {
        PredictionWatch {
            detector,
            paths,
            seen: Vec::new(),
        }
    }

    /// Takes the lists as they are now, if they have changed; tells whether they had. Whoever is being judged is judged by the lists
    /// from before.
    ///
    /// # Errors
    /// When they cannot be read: those from before stay in use, and it is told once.
    pub fn look(&mut self) -> Result<bool, PredictionListError> {
        let now: Vec<Stamp> = self.paths.iter().map(stamp).collect();
        if now == self.seen {
            return Ok(false);
        }
        // In this order: what is written while it is read has another stamp the next time.
        self.seen = now;
        let predictions = PredictionLists::read(&self.paths)?;
        let detector = Detector::clone(&self.detector.load());
        let detector = detector.with_predictions(predictions);
        self.detector.store(Arc::new(detector));
        Ok(true)
    }

    /// Looks again and again. Never ends.
    pub async fn follow(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let look = tokio::task::spawn_blocking(move || (self.look(), self));
            let Ok((outcome, watch)) = look.await else {
                return;
            };
            self = watch;
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    let detector = self.detector.load();
                    let names = detector.predictions().len();
                    let until = detector.predictions().until().unwrap_or("no day");
                    tracing::info!(names, until, "the prediction lists have changed");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "the prediction lists from before stay in use");
                }
            }
        }
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?, metadata.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that meets what it does not expect has failed"
    )]

    use super::*;
    use crate::detector::Basis;

    #[test]
    fn lists_that_change_are_taken_and_broken_ones_told_of_once_while_the_last_good_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let detector = Arc::new(ArcSwap::from_pointee(Detector::shipped().unwrap()));
        let predicted = |name: &str| {
            let verdict = detector.load().judge(name);
            matches!(verdict.basis, Basis::Predicted(_))
        };
        fs::write(&paths[0], "forestmarket.net suppobox 2026-01-02\n").unwrap();
        fs::write(&paths[1], "").unwrap();
        let mut watch = PredictionWatch::new(paths.to_vec(), detector.clone());
        assert!(watch.look().unwrap() && !watch.look().unwrap());
        assert!(predicted("forestmarket.net"));
        assert_eq!(detector.load().predictions().until(), Some("2026-01-02"));
        fs::write(&paths[0], "dancewinter.net suppobox 2026-01-03\n").unwrap();
        assert!(watch.look().unwrap());
        assert!(predicted("dancewinter.net") && !predicted("forestmarket.net"));
        fs::write(&paths[0], "nofamily.example\n").unwrap();
        let told = watch.look().unwrap_err().to_string();
        assert!(told.contains("line 1") && !watch.look().unwrap(), "{told}");
        assert!(predicted("dancewinter.net"));
        fs::remove_file(&paths[1]).unwrap();
        fs::write(&paths[0], "forestmarket.net suppobox\n").unwrap();
        assert!(watch.look().is_err() && predicted("dancewinter.net"));
        fs::write(&paths[1], "").unwrap();
        assert!(watch.look().unwrap() && predicted("forestmarket.net"));
        assert_eq!(detector.load().predictions().until(), None);
    }
}
