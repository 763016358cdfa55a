//! Flights: many who ask the same at once share one question to the source.
//!
//! A flight is a task of its own, so that an answer that comes after its askers' deadline still reaches the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::cache::Answer;
use crate::feature::Missing;

/// What a flight brings back.
pub(crate) type Landing = Result<Arc<Answer>, Missing>;

/// Those under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flights(Arc<Mutex<HashMap<String, watch::Receiver<Option<Landing>>>>>);

impl Flights {
    /// The flight for this key: the one under way, or a new one.
    pub(crate) fn join<F>(
        &self,
        key: &str,
        tasks: &TaskTracker,
        start: impl FnOnce() -> F,
    ) -> Flight
    where
        F: Future<Output = Landing> + Send + 'static,
    {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(key) {
            return Flight(flight.clone());
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(key.to_owned(), receiver.clone());
        let landing = start();
        let entry = Entry {
            flights: self.clone(),
            key: key.to_owned(),
        };
        tasks.spawn(async move {
            let landed = landing.await;
            // Whoever asks from here on finds the answer in the cache, or starts anew.
            drop(entry);
            sender.send_replace(Some(landed));
        });
        Flight(receiver)
    }
}

/// Takes a flight off the board, also if it panics.
struct Entry {
    flights: Flights,
    key: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut under_way = self
            .flights
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.key);
    }
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Flight(watch::Receiver<Option<Landing>>);

impl Flight {
    /// Waits for its end.
    pub(crate) async fn landed(mut self) -> Landing {
        match self.0.wait_for(Option::is_some).await {
            Ok(landed) => landed.clone().unwrap_or(Err(Missing::Failed)),
            // It ended without a word.
            Err(_) => Err(Missing::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use jiff::Timestamp;

    use super::*;
    use crate::source::Content;

    #[tokio::test]
    async fn those_who_ask_the_same_share_one_flight_and_a_panic_strands_nobody() {
        let (flights, tasks, starts) =
            (Flights::default(), TaskTracker::new(), AtomicUsize::new(0));
        let start = || {
            starts.fetch_add(1, Ordering::Relaxed);
            async {
                tokio::task::yield_now().await;
                Ok(Arc::new(Answer {
                    content: Content::Nothing,
                    fetched_at: Timestamp::UNIX_EPOCH,
                }))
            }
        };
        let first = flights.join("a", &tasks, start);
        let second = flights.join("a", &tasks, start);
        assert!(first.landed().await.is_ok() && second.landed().await.is_ok());
        assert_eq!(starts.load(Ordering::Relaxed), 1);
        flights.join("a", &tasks, start).landed().await.unwrap();
        assert_eq!(starts.load(Ordering::Relaxed), 2);

        let lost = flights.join("b", &tasks, || async { panic!("a fault in a source") });
        assert_eq!(lost.landed().await.unwrap_err(), Missing::Failed);
        assert!(flights.join("b", &tasks, start).landed().await.is_ok());
    }
}
