//! Rolling updates: a new version takes the place of an old one, copy by copy. Pure: the same inputs give the same step.
//!
//! One new copy is started beside the old ones. When it has served for a while, as many old copies go as new ones have come,
//! and the next new one is started; so at no time do fewer serve than before. What the old version is asked for stays
//! written down until all new copies serve: should they not, the new version is given up, and the old one is whole again by
//! itself.

use std::time::Duration;

/// How long a new copy must have served before it counts: one that falls over at its first call is no replacement.
pub const SETTLING: Duration = Duration::from_secs(3);

/// How a rolling update stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many copies of the old version were asked for.
    pub old: u32,
    /// How many copies of the new version were asked for.
    pub new: u32,
    /// How many new copies have served for a while.
    pub settled: u32,
    /// Why a new copy will not come to serve, if one has failed for good or again and again.
    pub hopeless: Option<String>,
    /// Whether the next new copy finds no room on the machine.
    pub crowded: bool,
    /// For how long it has been going on.
    pub elapsed: Duration,
    /// How long it may take.
    pub deadline: Duration,
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
    /// The new version is given up, for this reason.
    RollBack(String),
}

/// The next step of a rolling update.
#[must_use]
pub fn step(standing: &Standing) -> Step {
    let &Standing {
        old, new, settled, ..
    } = standing;
    if settled >= new {
        return Step::Finish;
    }
    if let Some(why) = &standing.hopeless {
        return Step::RollBack(why.clone());
    }
    if standing.elapsed >= standing.deadline {
        let why = if standing.crowded {
            ": there was no room for the next one"
        } else {
            ""
        };
        return Step::RollBack(format!(
            "only {settled} of {new} copies came to serve within {} s{why}",
            standing.deadline.as_secs()
        ));
    }
    let gone = u64::from(old) * u64::from(settled) / u64::from(new);
    let mut kept = old - u32::try_from(gone).unwrap_or(old);
    // Where there is no room for both, an old copy makes room, but never the last one.
    if standing.crowded && kept > 1 {
        kept -= 1;
    }
    Step::Continue {
        old: kept,
        new: settled + 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(old: u32, new: u32, settled: u32) -> Standing {
        Standing {
            old,
            new,
            settled,
            hopeless: None,
            crowded: false,
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
    fn where_there_is_no_room_an_old_copy_makes_room_but_never_the_last_one() {
        let crowded = |old| {
            step(&Standing {
                crowded: true,
                ..standing(old, 2, 0)
            })
        };
        assert_eq!(crowded(2), Step::Continue { old: 1, new: 1 });
        assert_eq!(crowded(1), Step::Continue { old: 1, new: 1 });
    }

    #[test]
    fn what_does_not_come_to_serve_is_given_up_with_the_reason() {
        let failed = Standing {
            hopeless: Some("no script".to_owned()),
            ..standing(2, 2, 1)
        };
        assert_eq!(step(&failed), Step::RollBack("no script".to_owned()));
        let late = Standing {
            elapsed: Duration::from_secs(60),
            ..standing(2, 2, 1)
        };
        assert!(matches!(step(&late), Step::RollBack(why) if why.contains("only 1 of 2")));
    }

    proptest! {
        #[test]
        fn at_every_step_as_many_can_serve_as_before(old in 1u32..50, new in 1u32..50, crowded in any::<bool>()) {
            for settled in 0..new {
                let Step::Continue { old: kept, new: asked } = step(&Standing { crowded, ..standing(old, new, settled) }) else {
                    panic!("it ended with {settled} of {new}");
                };
                prop_assert!(kept >= 1 && kept <= old && asked == settled + 1);
                // In share of what is wanted of each, old and new together make a whole.
                let whole = f64::from(kept + u32::from(crowded)) / f64::from(old) + f64::from(settled) / f64::from(new);
                prop_assert!(whole >= 1.0 - 1e-9, "{whole}");
            }
        }
    }
}
