//! The daemon killed with `kill -9` at each step of its work (F1, F3, F5, F7, F15, F42 of the list in `main.rs`): started again, it
//! goes on as if nothing had been. At *every* point at which anything of ours can be killed: `crash_points.rs`.

use maas_client::wire::history::Change;
use maas_client::wire::state::Desired;
use maas_service::crash::Point;
use test_support::{Daemon, ModelFolder, eventually};

use crate::life::{kill, pid_of};
use crate::updates::{add, history, versions};
use crate::world::{LIMIT, World};

/// Waits until the daemon has died where it was to, and starts it again.
pub(crate) async fn dies_and_is_started_again(world: &mut World) {
    eventually(LIMIT, "the daemon to die", async || {
        world.daemon.has_crashed() && !world.daemon.is_running()
    })
    .await;
    world.daemon.start_again();
}

async fn desired(world: &World, name: &str) -> Option<Desired> {
    let path = world
        .layout
        .desired(&name.parse().unwrap(), &"1.0".parse().unwrap());
    let (data, _) = world.session.get(&path).await.unwrap()?;
    Some(Desired::parse(&data).unwrap())
}

/// An ADD of two copies during which the daemon dies at `point`.
async fn check_an_add(point: Point) {
    let mut world = World::start(&[]).await;
    world.leads().await;
    let model = ModelFolder::answering();
    world.daemon.crash_at(point.name());
    let item = add("dga", "1.0", 2, &model, "");
    let request = world.offer(&item).await;
    dies_and_is_started_again(&mut world).await;
    let answer = world.answer(&request).await;
    assert_eq!(answer.instances, Some(2), "{point:?}");
    world.serving("dga", 2).await;
    assert_eq!(
        world.daemon.folders().len(),
        2,
        "{point:?}: nothing was started twice"
    );
    let desired = desired(&world, "dga").await.unwrap();
    assert_eq!(
        (desired.instances, desired.generation),
        (2, 1),
        "{point:?}: it took effect once"
    );
    assert_eq!(history(&world, "dga", "1.0").await.generations.len(), 1);
}

#[tokio::test]
async fn an_add_takes_effect_once_when_the_daemon_dies_before_its_transaction() {
    check_an_add(Point::IntakeBeforeTransaction).await;
}

#[tokio::test]
async fn an_add_takes_effect_once_when_the_daemon_dies_after_its_transaction() {
    check_an_add(Point::IntakeAfterTransaction).await;
}

#[tokio::test]
async fn an_add_takes_effect_once_when_the_daemon_dies_before_a_runner_starts() {
    check_an_add(Point::LaunchBeforeFolder).await;
}

#[tokio::test]
async fn an_add_takes_effect_once_when_the_daemon_dies_after_a_runner_started() {
    check_an_add(Point::LaunchAfterStart).await;
}

/// A REMOVE of one of two copies during which the daemon dies at `point`.
async fn check_a_remove(point: Point) {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    world.serving("dga", 2).await;
    world.daemon.crash_at(point.name());
    let item = add("dga", "1.0", 1, &model, "").replace("ADD", "REMOVE");
    let request = world.offer(&item).await;
    dies_and_is_started_again(&mut world).await;
    assert_eq!(world.answer(&request).await.instances, Some(1), "{point:?}");
    world.serving("dga", 1).await;
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_remove_is_carried_out_when_the_daemon_dies_before_the_runner_is_told() {
    check_a_remove(Point::StopBeforeSignal).await;
}

#[tokio::test]
async fn a_remove_is_carried_out_when_the_daemon_dies_after_the_runner_was_told() {
    check_a_remove(Point::StopAfterSignal).await;
}

#[tokio::test]
async fn what_a_dead_runner_left_is_cleaned_away_when_the_daemon_dies_before_it_has_done_so() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = pid_of(&world, "dga").await;
    world.daemon.crash_at(Point::CleanBeforeRemoval.name());
    world
        .daemon
        .pids_of("maas_runner")
        .into_iter()
        .for_each(kill);
    dies_and_is_started_again(&mut world).await;
    crate::life::replaced(&world, "dga", before).await;
    assert_eq!(world.daemon.folders().len(), 1);
}

#[tokio::test]
async fn a_daemon_that_dies_as_it_comes_to_lead_is_followed_by_one_that_leads() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    world.daemon.kill();
    world.daemon.crash_at(Point::LeadAfterEpoch.name());
    world.daemon.start_again();
    dies_and_is_started_again(&mut world).await;
    assert_eq!(world.add("dga", 1, model.path()).await.instances, Some(2));
    world.serving("dga", 2).await;
}

/// F15: who sleeps in the middle of a launch while another daemon takes over starts nothing when it wakes.
#[tokio::test]
async fn a_copy_is_not_doubled_by_a_daemon_that_was_overtaken_while_it_launched_it() {
    let mut world = World::start(&[]).await;
    world.leads().await;
    world.daemon.sleep_at(Point::LaunchBeforeFolder.name());
    let model = ModelFolder::answering();
    world.offer(&add("dga", "1.0", 1, &model, "")).await;
    let asleep = async || world.daemon.has_crashed();
    eventually(LIMIT, "the daemon to fall asleep", asleep).await;
    let instances = world.daemon.instances();
    let place = ["--instances_dir", instances.to_str().unwrap()];
    let mut standby = Daemon::start(&world.quorum, &place);
    let before = world.serving("dga", 1).await;
    world.daemon.signal("CONT");
    let notices = async || {
        let log = world.daemon.log_tail();
        log.contains("another daemon has come to lead here")
    };
    eventually(LIMIT, "it to notice", notices).await;
    assert!(!world.daemon.log_tail().contains("copy launched"));
    assert_eq!(world.serving("dga", 1).await, before);
    assert_eq!(world.daemon.folders().len(), 1);
    // It stands by now, and is as good as any.
    standby.kill();
    assert_eq!(world.add("dga", 1, model.path()).await.instances, Some(2));
    assert!(world.serving("dga", 2).await.contains(&before[0]));
}

/// A rolling update at whose end the daemon dies.
async fn check_an_update(point: Point) {
    let mut world = World::start(&[]).await;
    let (old, new) = (ModelFolder::answering(), ModelFolder::answering());
    world.add("dga", 1, old.path()).await;
    world.serving("dga", 1).await;
    world.daemon.crash_at(point.name());
    world
        .offer(&add("dga", "2.0", 1, &new, r#","replace":"1.0""#))
        .await;
    dies_and_is_started_again(&mut world).await;
    eventually(LIMIT, "the new version alone", async || {
        versions(&world, "dga").await == ["2.0"]
    })
    .await;
    world.serving("dga", 1).await;
    let changes: Vec<Change> = history(&world, "dga", "2.0")
        .await
        .generations
        .iter()
        .map(|g| g.change)
        .collect();
    assert_eq!(changes, [Change::Added, Change::Replaced], "{point:?}");
}

#[tokio::test]
async fn a_rolling_update_ends_once_when_the_daemon_dies_before_its_end_is_written() {
    check_an_update(Point::UpdateBeforeEnd).await;
}

#[tokio::test]
async fn a_rolling_update_ends_once_when_the_daemon_dies_after_its_end_was_written() {
    check_an_update(Point::UpdateAfterEnd).await;
}

/// F9: the host goes down with the daemon, every runner, warden and model, and comes up again.
#[tokio::test]
async fn when_everything_is_killed_at_once_all_that_is_desired_runs_again() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before = world.serving("dga", 2).await;
    world.daemon.kill();
    // The wardens last: each runner's death is to find nobody who could tidy up.
    for program in ["--warden", "serve.py", "maas_runner"] {
        for pid in world.daemon.pids_of(program) {
            let _it_may_have_gone_with_another = test_support::send_signal("KILL", &[pid]);
        }
    }
    world.daemon.start_again();
    eventually(LIMIT, "two other copies", async || {
        let now = world.registered("dga").await;
        now.len() == 2
            && now
                .iter()
                .all(|entry| before.iter().all(|old| old.instance != entry.instance))
    })
    .await;
    world.serving("dga", 2).await;
    world.remove("dga", 2).await;
    world.nothing_is_left().await;
}
