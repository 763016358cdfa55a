//! Deterministic simulation: the code of [`intake`](crate::intake) and [`reconcile`](crate::reconcile) as it runs, over a
//! model of ZooKeeper and a model of the machine, under schedules drawn by chance from a seed.
//!
//! Daemons are killed between any two steps, answers are lost, a new daemon takes the lead while the old one still believes
//! it has it, runners die, and some copies live where no daemon reaches them. In every step it is checked that
//!
//! * only the leader changes what should run (I7);
//! * nobody acts on a copy that lives elsewhere or has ended, whoever goes by its name now, nor takes away what a living copy
//!   has published (I4);
//! * a client that follows the registry always finds a copy of a model of which nobody asks to remove one, once one serves and
//!   none that served has died (I5), and no more copies are started than are wanted;
//! * nothing that a daemon writes holds a secret of a sender's (I8).
//!
//! Whatever happened, afterwards a healthy daemon is left alone until nothing changes any more. Then each accepted request has
//! taken effect once and in order (I1), what runs is what is desired or there is a visible reason (I2), what is registered
//! serves (I3), and nothing is left behind (I6).
//!
//! `MAAS_SCHEDULES` sets how many schedules are run, `MAAS_SEED` runs a single one.

mod machine;
mod model_tree;
mod oracle;
mod schedule;

pub(crate) use oracle::{Ask, MODELS, MOST, VERSIONS, draw_asks, expected};

use std::sync::atomic::{AtomicU64, Ordering};

/// How many schedules are run unless told otherwise.
const SCHEDULES: u64 = 100_000;

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn whatever_happens_when_every_request_takes_effect_once_and_what_is_desired_runs() {
    if let Some(seed) = number("MAAS_SEED") {
        schedule::run(seed, true).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        return;
    }
    let schedules = number("MAAS_SCHEDULES").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= schedules {
                return Ok(());
            }
            schedule::run(seed, false).map_err(|violation| {
                format!("{violation}\nagain with: MAAS_SEED={seed} cargo test -p maas-service --lib simulation -- --nocapture")
            })?;
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in running {
            let outcome: Result<(), String> = worker
                .join()
                .expect("a schedule panicked; its seed is above");
            outcome.unwrap_or_else(|violation| panic!("{violation}"));
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..50 {
        let (first, second) = (schedule::run(seed, false), schedule::run(seed, false));
        assert_eq!(first, second, "seed {seed}");
    }
}
