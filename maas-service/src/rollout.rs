//! Rolling updates: a new version takes the place of an old one, copy by copy. Pure: the same inputs give the same step.
//!
//! One new copy is started beside the old ones. When it has served for a while, as many old copies go as new ones have come,
//! and the next new one is started; so at no time do fewer serve than before. What the old version is asked for stays
//! written down until all new copies serve. Should they not, the old copies come back first, and only then the new ones go; if
//! none of the old ones comes back, the new ones stay.

use std::time::Duration;

/// How long a new copy must have served before it counts: one that falls over at its first call is no replacement.
pub const SETTLING: Duration = Duration::from_secs(3);

/// How long a copy that can't be reached must have been seen serving before it counts: longer than a dead one's session lasts.
pub const FAR: Duration = Duration::from_secs(60);

/// How a rolling update stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The old version.
    pub old: Side,
    /// The new version.
    pub new: Side,
    /// How many new copies have served for a while.
    pub settled: u32,
    /// How many copies of the new version were there before, and stay when it is given up.
    pub before: u32,
    /// Why a new copy will not come to serve, if one has failed for good or again and again.
    pub hopeless: Option<String>,
    /// Whether it is being given up.
    pub going_back: bool,
    /// For how long there has been no step forward.
    pub elapsed: Duration,
    /// How long that may last.
    pub deadline: Duration,
}

/// How one of the two versions stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// How many copies were asked for.
    pub asked: u32,
    /// How many there are and have not been told to end.
    pub running: u32,
    /// How many of them serve.
    pub serving: u32,
    /// How many there are where this daemon can't reach them, or were a moment ago.
    pub elsewhere: u32,
    /// How many of those have served for so long that they must live.
    pub far: u32,
    /// Whether its next copy finds no room on the machine.
    pub crowded: bool,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many copies of each should run for now.
    Continue {
        /// Of the old version.
        old: u32,
        /// Of the new version.
        new: u32,
    },
    /// The new version is in place; the old one is wanted no more.
    Finish,
    /// The new version is to be given up, for this reason.
    GoBack(String),
    /// The old version is whole again; of the new one only those stay that were there before.
    Returned,
}

/// The next step of a rolling update.
#[must_use]
pub fn step(standing: &Standing) -> Step {
    let Standing { old, new, .. } = standing;
    if standing.going_back {
        return step_back(standing);
    }
    if standing.settled >= new.asked {
        return Step::Finish;
    }
    if let Some(why) = &standing.hopeless {
        return Step::GoBack(why.clone());
    }
    if standing.elapsed >= standing.deadline {
        let why = if new.crowded {
            ": there was no room for the next one"
        } else {
            ""
        };
        return Step::GoBack(format!(
            "only {} of {} copies came to serve within {} s{why}",
            standing.settled,
            new.asked,
            standing.deadline.as_secs()
        ));
    }
    let gone = u64::from(old.asked) * u64::from(standing.settled) / u64::from(new.asked);
    let mut kept = old.asked - u32::try_from(gone).unwrap_or(old.asked);
    // Where there is no room for both, an old copy makes room, but never the last one that serves.
    if new.crowded && (kept > 1 || standing.settled > 0) {
        kept = kept.saturating_sub(1);
    }
    Step::Continue {
        old: kept,
        // None that runs is taken back: that it has not settled may only mean that we have just begun to look.
        new: (standing.settled + 1).max(new.running).min(new.asked),
    }
}

/// On the way back the new copies stay until the old ones serve, or until they have had their time. If by then not one of them
/// does, there is nothing to go back to: the new ones are all that serves, and take their place after all.
fn step_back(standing: &Standing) -> Step {
    let Standing { old, new, .. } = standing;
    let serving = old.serving + old.far;
    let whole = serving >= old.asked;
    let nothing_to_hold = new.serving <= standing.before;
    let has_had_its_time = standing.elapsed >= standing.deadline;
    if whole || nothing_to_hold || (has_had_its_time && serving > 0) {
        return Step::Returned;
    }
    // What runs elsewhere is left as long as it takes to see whether it serves.
    if has_had_its_time && (old.elsewhere == 0 || standing.elapsed >= standing.deadline + FAR) {
        return Step::Finish;
    }
    // Where there is no room for both, a new copy makes room, but never the last one that serves.
    let holding = if old.crowded && (new.serving > 1 || serving > 0) {
        new.serving.saturating_sub(1)
    } else {
        new.serving
    };
    Step::Continue {
        old: old.asked,
        new: holding.max(standing.before),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// So many asked for, all of them serving.
    fn whole(asked: u32) -> Side {
        Side {
            asked,
            running: asked,
            serving: asked,
            elsewhere: 0,
            far: 0,
            crowded: false,
        }
    }

    /// So many asked for, so many of them serving.
    fn part(asked: u32, serving: u32) -> Side {
        Side {
            asked,
            ..whole(serving)
        }
    }

    fn standing(old: u32, new: u32, settled: u32) -> Standing {
        Standing {
            old: whole(old),
            new: part(new, settled),
            settled,
            before: 0,
            hopeless: None,
            going_back: false,
            elapsed: Duration::ZERO,
            deadline: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_new_copy_comes_before_an_old_one_goes() {
        let run = |settled| step(&standing(2, 2, settled));
        assert_eq!(run(0), Step::Continue { old: 2, new: 1 });
        assert_eq!(run(1), Step::Continue { old: 1, new: 2 });
        assert_eq!(run(2), Step::Finish);
        assert_eq!(step(&standing(1, 3, 2)), Step::Continue { old: 1, new: 3 });
    }

    #[test]
    fn copies_that_serve_are_not_taken_back_by_a_daemon_that_has_just_begun_to_look() {
        let adopted = Standing {
            new: part(10, 8),
            ..standing(10, 10, 0)
        };
        assert_eq!(step(&adopted), Step::Continue { old: 10, new: 8 });
    }

    #[test]
    fn where_there_is_no_room_an_old_copy_makes_room_but_never_the_last_one_that_serves() {
        let crowded = |old, settled| {
            let mut crowded = standing(old, 2, settled);
            crowded.new.crowded = true;
            step(&crowded)
        };
        assert_eq!(crowded(2, 0), Step::Continue { old: 1, new: 1 });
        assert_eq!(crowded(1, 0), Step::Continue { old: 1, new: 1 });
        assert_eq!(crowded(2, 1), Step::Continue { old: 0, new: 2 });
        assert_eq!(crowded(1, 1), Step::Continue { old: 0, new: 2 });
    }

    #[test]
    fn what_does_not_come_to_serve_is_given_up_with_the_reason() {
        let failed = Standing {
            hopeless: Some("no script".to_owned()),
            ..standing(2, 2, 1)
        };
        assert_eq!(step(&failed), Step::GoBack("no script".to_owned()));
        let late = Standing {
            elapsed: Duration::from_secs(60),
            ..standing(2, 2, 1)
        };
        assert!(matches!(step(&late), Step::GoBack(why) if why.contains("only 1 of 2")));
    }

    #[test]
    fn on_the_way_back_the_new_copies_stay_until_the_old_ones_serve() {
        let back = |old_serving, new_serving, before, crowded| {
            let mut back = Standing {
                old: part(10, old_serving),
                new: part(10, new_serving),
                before,
                going_back: true,
                ..standing(10, 10, 0)
            };
            back.old.crowded = crowded;
            step(&back)
        };
        assert_eq!(back(1, 9, 0, false), Step::Continue { old: 10, new: 9 });
        assert_eq!(back(1, 9, 0, true), Step::Continue { old: 10, new: 8 });
        assert_eq!(back(0, 1, 0, true), Step::Continue { old: 10, new: 1 });
        assert_eq!(back(1, 1, 0, true), Step::Continue { old: 10, new: 0 });
        assert_eq!(back(10, 9, 0, false), Step::Returned);
        // Nothing of it serves, or only what did before.
        assert_eq!(back(1, 0, 0, false), Step::Returned);
        assert_eq!(back(1, 3, 3, false), Step::Returned);
        // The old ones have had their time; if none of them serves, the new ones are all there is.
        let late = |old_serving| {
            step(&Standing {
                old: part(10, old_serving),
                new: part(10, 9),
                going_back: true,
                elapsed: Duration::from_secs(60),
                ..standing(10, 10, 0)
            })
        };
        assert_eq!(late(1), Step::Returned);
        assert_eq!(late(0), Step::Finish);
        let mut unseen = Standing {
            old: part(10, 0),
            new: part(10, 9),
            going_back: true,
            elapsed: Duration::from_secs(60),
            ..standing(10, 10, 0)
        };
        unseen.old.elsewhere = 1;
        assert_eq!(step(&unseen), Step::Continue { old: 10, new: 9 });
        let seen = |far| {
            let mut seen = unseen.clone();
            seen.old.far = far;
            step(&seen)
        };
        assert_eq!(seen(1), Step::Returned);
        // It does not wait for them without end.
        unseen.elapsed += FAR;
        assert_eq!(step(&unseen), Step::Finish);
    }

    proptest! {
        #[test]
        fn at_every_step_as_many_can_serve_as_before(old in 1u32..50, new in 1u32..50, crowded in any::<bool>()) {
            for settled in 0..new {
                let mut standing = standing(old, new, settled);
                standing.new.crowded = crowded;
                let Step::Continue { old: kept, new: asked } = step(&standing) else {
                    panic!("it ended with {settled} of {new}");
                };
                prop_assert!((kept >= 1 || settled > 0) && kept <= old && asked == settled + 1);
                // In share of what is wanted of each, old and new together make a whole.
                let whole = f64::from(kept + u32::from(crowded)) / f64::from(old) + f64::from(settled) / f64::from(new);
                prop_assert!(whole >= 1.0 - 1e-9, "{whole}");
            }
        }
    }
}
