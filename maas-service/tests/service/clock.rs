//! The time of day jumps, and nothing that runs by time notices.

use std::process::Command;

use maas_client::wire::state::{Outcome, Phase};
use test_support::{ModelFolder, eventually};

use crate::own_kernel::in_own_kernel;
use crate::world::{LIMIT, World};

fn turn_the_clock(hours: &str) {
    let set = Command::new("date").args(["-s", hours]).output().unwrap();
    assert!(set.status.success(), "{set:?}");
}

/// F34: an hour ahead and then two back, while a copy serves, one waits to be started again, and requests are taken.
#[tokio::test]
async fn when_the_time_of_day_jumps_copies_stay_waits_go_on_and_requests_are_answered() {
    in_own_kernel(async || {
        let world = World::start(&["--restart_delay", "2000"]).await;
        let (good, bad) = (
            ModelFolder::answering(),
            ModelFolder::with_script("sleep 1; exit 3"),
        );
        world.add("steady", 1, good.path()).await;
        let registered = world.serving("steady", 1).await;
        world.add("failing", 1, bad.path()).await;
        let steady = world.statuses("steady").await;
        let mut restarts = 0;
        for (hours, late) in [("+1 hour", "ahead"), ("-2 hours", "back")] {
            let waiting = world
                .explained("failing", Phase::Backoff, "exit code 3")
                .await;
            assert!(waiting.restarts >= restarts);
            turn_the_clock(hours);
            let answer = world.add(late, 1, good.path()).await;
            assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
            world.serving(late, 1).await;
            assert_eq!(world.apply(late, &[]).await["path"], "/apply");
            assert_eq!(world.apply("steady", &[]).await["path"], "/apply");
            // It goes on waiting for what is left of its seconds, and is then started again, twice.
            restarts = waiting.restarts + 2;
            let again = async || {
                let status = world.statuses("failing").await.pop().unwrap();
                if status.restarts >= restarts {
                    Ok(())
                } else {
                    Err(status)
                }
            };
            eventually(LIMIT, "the wait to go on", again).await;
            assert_eq!(world.statuses("steady").await, steady);
            assert_eq!(world.registered("steady").await, registered);
        }
        for name in ["steady", "failing", "ahead", "back"] {
            let answer = world.remove(name, 1).await;
            assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
        }
        world.nothing_is_left().await;
    })
    .await;
}
