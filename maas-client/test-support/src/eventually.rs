//! Waiting for a state, in place of sleeping and hoping.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How long to wait between two looks: short against anything a person notices, long against the cost of a look.
const POLL: Duration = Duration::from_millis(10);

/// What a probe given to [`eventually`] may answer: `bool`, `Option<T>` or `Result<T, E>`.
pub trait Answer {
    /// What the wait ends with.
    type Value;

    /// The awaited value, or why it is not there yet (empty when the probe cannot say).
    ///
    /// # Errors
    ///
    /// When the awaited state has not come yet.
    fn value(self) -> Result<Self::Value, String>;
}

impl Answer for bool {
    type Value = ();

    fn value(self) -> Result<(), String> {
        if self { Ok(()) } else { Err(String::new()) }
    }
}

impl<T> Answer for Option<T> {
    type Value = T;

    fn value(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<T, E: Debug> Answer for Result<T, E> {
    type Value = T;

    fn value(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Asks `probe` again and again until it answers `true`, `Some` or `Ok`, and returns what it found.
///
/// `what` completes the sentence "waited in vain for …".
///
/// ```
/// # #[tokio::main] async fn main() {
/// use std::time::Duration;
/// let folder = test_support::TempDir::new().unwrap();
/// test_support::eventually(Duration::from_secs(1), "the folder", async || folder.path().is_dir()).await;
/// # }
/// ```
///
/// # Panics
///
/// After `limit`, with what was awaited, the place of the call and the last answer.
#[track_caller]
pub fn eventually<A: Answer>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> A,
) -> impl Future<Output = A::Value> {
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut last = String::from("the probe itself never answered");
        loop {
            match timeout_at(deadline, probe()).await.map(Answer::value) {
                Ok(Ok(value)) => return value,
                Ok(Err(reason)) => last = reason,
                Err(_) => break,
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(POLL).await;
        }
        let last = if last.is_empty() {
            String::new()
        } else {
            format!("; last answer: {last}")
        };
        panic!("waited {limit:?} in vain for {what} (at {place}){last}");
    }
}
