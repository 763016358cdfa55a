//! How an attempt to run a model ended, and what is kept of a failure for whoever asks.

use maas_client::wire::state::{Failure, OutOfMemory, now_ms};

use super::model::Ending;

/// How one attempt to run the model ended.
pub(super) enum Outcome {
    /// We were told to stop it.
    Stopped,
    /// The bundle could not be had, for the model store could not be reached.
    StoreAway(String),
    /// The bundle could not be had. That tells nothing of the model either.
    NotFetched(String),
    /// What lies in the model store under the bundle's digest is something else: it is damaged, or somebody is replacing it.
    Damaged(String),
    /// It failed, and may do better another time.
    Failed(Fault),
    /// It took more than it may, and must not live a moment longer.
    Exceeded(Fault),
    /// It failed, and will fail every time.
    Hopeless(String),
}

/// Why a model that was started, or should have been, came to nothing.
pub(super) struct Fault {
    /// In words.
    pub(super) why: String,
    /// How the script ended, if it did so by itself.
    pub(super) ending: Option<Ending>,
    /// What it used, if that was too much.
    pub(super) out_of_memory: Option<OutOfMemory>,
    /// The model store could not be reached.
    pub(super) store_away: bool,
}

impl Fault {
    /// The script ended by itself.
    pub(super) fn ended(ending: Ending, why: String) -> Self {
        Self {
            ending: Some(ending),
            ..Self::from(why)
        }
    }

    /// The model store could not be reached.
    pub(super) fn of_store(why: String) -> Self {
        Self {
            store_away: true,
            ..Self::from(why)
        }
    }

    /// What is kept of it. `last_output` is what the model printed last.
    pub(super) fn into_failure(self, last_output: Vec<String>) -> Failure {
        let (exit_code, signal) = match self.ending {
            Some(Ending::Code(code) | Ending::LeftCode(code)) => (Some(code), None),
            Some(Ending::Signal(signal) | Ending::LeftSignal(signal)) => (None, Some(signal)),
            Some(Ending::WithWarden) | None => (None, None),
        };
        Failure {
            at_ms: now_ms(),
            why: self.why,
            exit_code,
            signal,
            out_of_memory: self.out_of_memory,
            store_away: self.store_away,
            last_output,
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Self {
            why,
            ending: None,
            out_of_memory: None,
            store_away: false,
        }
    }
}
