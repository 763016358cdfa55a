//! What holds up the queue, for STATUS to tell: which item, why, and since when.
//!
//! What passes within a moment is not told: a batch that met with somebody else's writing, or a connection that broke.

use std::time::{Duration, Instant};

use maas_client::layout::ZnodePath;
use maas_client::wire::progress::HeldItem;
use maas_client::wire::state::now_ms;
use tokio::sync::watch;
use tracing::warn;

use super::letter::{REASON, shown};
use super::with_causes;

/// How long an item must have been held before it is told of.
const A_MOMENT: Duration = Duration::from_secs(2);

/// An item that could not be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    item: String,
    why: String,
}

impl Refused {
    pub(super) fn new(item: &ZnodePath, error: &dyn std::error::Error) -> Self {
        Self::named(item.name(), error)
    }

    /// The queue itself, which can't be read.
    pub(super) fn queue(queue: &ZnodePath, error: &dyn std::error::Error) -> Self {
        Self::named(queue.as_str(), error)
    }

    fn named(item: &str, error: &dyn std::error::Error) -> Self {
        Self {
            item: shown(item, REASON),
            why: shown(&with_causes(error), REASON),
        }
    }
}

/// The item that is held now.
#[derive(Default)]
pub(super) struct HeldUp {
    held: Option<(Instant, HeldItem)>,
    told: watch::Sender<Option<HeldItem>>,
}

impl HeldUp {
    /// Tells what is held.
    pub(super) fn told(&self) -> watch::Receiver<Option<HeldItem>> {
        self.told.subscribe()
    }

    /// An item could not be taken, once or once more.
    pub(super) fn note(&mut self, refused: Refused, now: Instant) {
        let Refused { item, why } = refused;
        let known = self.held.as_ref();
        if known.is_none_or(|(_, held)| (&held.item, &held.why) != (&item, &why)) {
            warn!(item, why, "the queue is held up");
        }
        let held = self.held.take().filter(|(_, held)| held.item == item);
        let (since, since_ms) =
            held.map_or((now, now_ms()), |(since, held)| (since, held.since_ms));
        let held = HeldItem {
            item,
            why,
            since_ms,
        };
        let told = (now.duration_since(since) >= A_MOMENT).then(|| held.clone());
        self.held = Some((since, held));
        self.tell(told);
    }

    /// How long to wait before it is tried again.
    pub(super) fn pause(&self) -> Duration {
        if self.told.borrow().is_some() {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(200)
        }
    }

    /// Nothing is held.
    pub(super) fn clear(&mut self) {
        self.held = None;
        self.tell(None);
    }

    fn tell(&self, told: Option<HeldItem>) {
        self.told.send_if_modified(|last| {
            let changed = *last != told;
            *last = told;
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(item: &str, why: &str) -> Refused {
        Refused {
            item: item.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn what_is_held_for_more_than_a_moment_is_told_of_until_it_is_taken() {
        let mut held_up = HeldUp::default();
        let told = held_up.told();
        let told = || told.borrow().clone();
        let began = Instant::now();
        held_up.note(refused("qn-1", "why"), began);
        assert_eq!(told(), None);
        held_up.note(refused("qn-1", "why"), began + A_MOMENT);
        let first = told().expect("it is told of");
        assert_eq!((first.item.as_str(), first.why.as_str()), ("qn-1", "why"));
        // Since when it is held does not change with the reason.
        held_up.note(refused("qn-1", "another reason"), began + 2 * A_MOMENT);
        let second = told().expect("it is told of");
        assert_eq!(second.why, "another reason");
        assert_eq!(second.since_ms, first.since_ms);
        held_up.clear();
        assert_eq!(told(), None);
        held_up.note(refused("qn-1", "why"), began + 3 * A_MOMENT);
        assert_eq!(told(), None);
    }

    #[test]
    fn another_item_is_held_from_then_on() {
        let mut held_up = HeldUp::default();
        let told = held_up.told();
        let began = Instant::now();
        held_up.note(refused("qn-1", "why"), began);
        held_up.note(refused("qn-1", "why"), began + A_MOMENT);
        held_up.note(refused("qn-2", "why"), began + A_MOMENT);
        assert_eq!(*told.borrow(), None);
        held_up.note(refused("qn-2", "why"), began + 2 * A_MOMENT);
        let held = told.borrow().clone();
        assert_eq!(held.expect("it is told of").item, "qn-2");
    }
}
