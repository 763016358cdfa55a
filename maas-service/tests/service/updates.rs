//! Rolling updates and restarts: no call fails, whether the new copies come to serve or not.

use std::path::PathBuf;

use maas_client::InstanceId;
use maas_client::wire::history::{Change, History};
use maas_client::wire::state::{InstanceStatus, Outcome, Phase, now_ms};
use test_support::{ModelFolder, TempDir, eventually};

use crate::load::Load;
use crate::world::{LIMIT, World};

/// The request for a version, as a sender writes it.
pub(crate) fn add(
    name: &str,
    version: &str,
    copies: u32,
    model: &ModelFolder,
    more: &str,
) -> String {
    format!(
        r#"{{"name":"{name}","version":"{version}","numInstances":{copies},"memory":64,"action":"ADD","path":"{}"{more}}}"#,
        model.path().display()
    )
}

/// The versions of a model that serve, each as often as it does.
pub(crate) async fn versions(world: &World, name: &str) -> Vec<String> {
    let registered = world.registered(name).await;
    registered
        .iter()
        .map(|entry| entry.version.to_string())
        .collect()
}

/// What was asked for of a version so far.
pub(crate) async fn history(world: &World, name: &str, version: &str) -> History {
    let (name, version) = (name.parse().unwrap(), version.parse().unwrap());
    let path = world.layout.history(&name, &version);
    let (data, _) = world.session.get(&path).await.unwrap().unwrap();
    History::parse(&data).unwrap()
}

#[tokio::test]
async fn a_new_version_takes_the_place_of_the_old_one_without_a_failed_call() {
    let world = World::start(&[]).await;
    let (old, new) = (ModelFolder::answering(), ModelFolder::answering());
    world.add("dga", 2, old.path()).await;
    world.serving("dga", 2).await;
    let load = Load::start(&world, "dga").await;
    let request = add("dga", "2.0", 2, &new, r#","replace":"1.0","deadline":50"#);
    let answer = world.answer(&world.offer(&request).await).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    eventually(LIMIT, "the new version alone", async || {
        let versions = versions(&world, "dga").await;
        if versions == ["2.0", "2.0"] {
            Ok(())
        } else {
            Err(versions)
        }
    })
    .await;
    world.serving("dga", 2).await;
    load.none_failed().await;
    let last = |history: History| history.generations.last().cloned().unwrap();
    assert_eq!(
        last(history(&world, "dga", "1.0").await).change,
        Change::ReplacedByOther
    );
    assert_eq!(
        last(history(&world, "dga", "2.0").await).change,
        Change::Replaced
    );
    world
        .answer(
            &world
                .offer(&add("dga", "2.0", 2, &new, "").replace("ADD", "REMOVE"))
                .await,
        )
        .await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_new_version_that_does_not_come_to_serve_is_given_up_without_a_failed_call() {
    let world = World::start(&["--start_timeout", "60"]).await;
    let old = ModelFolder::answering();
    // One that never says where it answers.
    let new = ModelFolder::with_script("exec sleep 1000");
    world.add("dga", 2, old.path()).await;
    let before = world.serving("dga", 2).await;
    let load = Load::start(&world, "dga").await;
    let request = add("dga", "2.0", 2, &new, r#","replace":"1.0","deadline":3"#);
    world.answer(&world.offer(&request).await).await;
    let given_up = async || {
        let history = history(&world, "dga", "2.0").await;
        let last = history.generations.last().cloned();
        last.filter(|last| last.change == Change::RolledBack)
    };
    let last = eventually(LIMIT, "the new version to be given up", given_up).await;
    let note = last.note.unwrap();
    assert!(
        note.contains("1.0 is back: only 0 of 2 copies came to serve within 3 s"),
        "{note}"
    );
    let after = world.serving("dga", 2).await;
    assert_eq!(before, after, "the old copies were left alone");
    load.none_failed().await;
}

/// The memory of exactly two copies.
const TWO: [&str; 2] = ["--memory", "128"];

#[tokio::test]
async fn without_room_for_one_copy_more_a_new_version_takes_the_place_without_a_failed_call() {
    let world = World::start(&TWO).await;
    let (old, new) = (ModelFolder::answering(), ModelFolder::answering());
    world.add("dga", 2, old.path()).await;
    world.serving("dga", 2).await;
    let load = Load::start(&world, "dga").await;
    let request = add("dga", "2.0", 2, &new, r#","replace":"1.0","deadline":50"#);
    world.answer(&world.offer(&request).await).await;
    let last = async || history(&world, "dga", "2.0").await.generations.pop();
    let replaced = async || {
        let last = last().await;
        if last
            .as_ref()
            .is_some_and(|last| last.change == Change::Replaced)
        {
            Ok(())
        } else {
            Err(last)
        }
    };
    eventually(LIMIT, "the new version to be in place", replaced).await;
    world.serving("dga", 2).await;
    assert_eq!(versions(&world, "dga").await, ["2.0", "2.0"]);
    load.none_failed().await;
}

#[tokio::test]
async fn an_update_that_fails_when_the_old_copies_have_gone_goes_back_without_a_failed_call() {
    let folder = TempDir::new().unwrap();
    let flag = format!("FLAG={}", folder.path().join("flag").display());
    let options = ["--shell_env", &flag, "--restart_delay", "10"];
    let world = World::start(&[&TWO[..], &options].concat()).await;
    let old = ModelFolder::answering();
    // Its first copy serves, and no other one comes to.
    let new = ModelFolder::with_script(r#"mkdir "$FLAG" || exit 3; exec "$python" -S -E serve.py"#);
    world.add("dga", 2, old.path()).await;
    let before = world.serving("dga", 2).await;
    let load = Load::start(&world, "dga").await;
    let request = add("dga", "2.0", 2, &new, r#","replace":"1.0","deadline":50"#);
    world.answer(&world.offer(&request).await).await;
    let given_up = async || {
        let last = history(&world, "dga", "2.0").await.generations.pop();
        last.filter(|last| last.change == Change::RolledBack)
    };
    let note = eventually(LIMIT, "the new version to be given up", given_up)
        .await
        .note
        .unwrap();
    assert!(note.contains("exit code 3"), "{note}");
    let after = world.serving("dga", 2).await;
    assert_eq!(versions(&world, "dga").await, ["1.0", "1.0"]);
    assert!(after.iter().all(|entry| !before.contains(entry)));
    load.none_failed().await;
}

#[tokio::test]
async fn an_update_goes_on_when_the_daemon_is_killed_in_the_middle() {
    let mut world = World::start(&[]).await;
    let (old, new) = (ModelFolder::answering(), ModelFolder::answering());
    world.add("dga", 2, old.path()).await;
    world.serving("dga", 2).await;
    let load = Load::start(&world, "dga").await;
    world
        .offer(&add("dga", "2.0", 2, &new, r#","replace":"1.0""#))
        .await;
    eventually(LIMIT, "the first new copy", async || {
        versions(&world, "dga").await.contains(&"2.0".to_owned())
    })
    .await;
    world.daemon.kill();
    world.daemon.start_again();
    eventually(LIMIT, "the new version alone", async || {
        versions(&world, "dga").await == ["2.0", "2.0"]
    })
    .await;
    load.none_failed().await;
}

#[tokio::test]
async fn a_restart_replaces_every_copy_without_a_failed_call() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before: Vec<_> = world
        .serving("dga", 2)
        .await
        .iter()
        .map(|e| e.instance.clone())
        .collect();
    let load = Load::start(&world, "dga").await;
    let answer = world
        .answer(
            &world
                .offer(r#"{"name":"dga","version":"1.0","action":"RESTART"}"#)
                .await,
        )
        .await;
    assert_eq!(
        (answer.outcome, answer.instances),
        (Outcome::Accepted, Some(2))
    );
    eventually(LIMIT, "two other copies", async || {
        let now = world.registered("dga").await;
        now.len() == 2 && now.iter().all(|entry| !before.contains(&entry.instance))
    })
    .await;
    load.none_failed().await;
}

/// A model that exits at once for as long as there is no file `flag`.
fn faulty_model() -> ModelFolder {
    ModelFolder::with_script(r#"[ -e "$FLAG" ] || exit 3; exec "$python" -S -E serve.py"#)
}

/// A world with such a flag for its models, and where the flag is.
async fn world_with_flag(restart_delay: &str, folder: &TempDir) -> (World, PathBuf) {
    let flag = folder.path().join("flag");
    let variable = format!("FLAG={}", flag.display());
    let options = ["--shell_env", &variable, "--restart_delay", restart_delay];
    (World::start(&options).await, flag)
}

const RESTART: &str = r#"{"name":"dga","version":"1.0","action":"RESTART"}"#;

#[tokio::test]
async fn a_copy_that_waits_for_its_next_attempt_is_started_anew_by_a_restart_at_once() {
    let folder = TempDir::new().unwrap();
    let (world, flag) = world_with_flag("60000", &folder).await;
    let model = faulty_model();
    world.add("dga", 1, model.path()).await;
    world.explained("dga", Phase::Backoff, "exit code 3").await;
    std::fs::write(&flag, "").unwrap();
    // It would not be tried again for a minute.
    world.offer(RESTART).await;
    world.serving("dga", 1).await;
}

/// A copy in a crash loop is tried every five minutes; `item` has another one started at once, while the cause is still there
/// and when it is mended. Afterwards so many copies serve.
async fn check_that_a_crash_loop_is_left(item: impl Fn(&ModelFolder) -> String, copies: usize) {
    let folder = TempDir::new().unwrap();
    let (world, flag) = world_with_flag("10", &folder).await;
    let model = faulty_model();
    world.add("dga", 1, model.path()).await;
    let looping = world
        .explained("dga", Phase::CrashLoop, "exit code 3")
        .await;
    let tried_again = looping.retry_at_ms.unwrap();
    let anew = async |old: &[InstanceId]| {
        let statuses = world.statuses("dga").await;
        let is_new = |status: &InstanceStatus| {
            !old.contains(&status.instance) && status.phase == Phase::CrashLoop
        };
        let all = !statuses.is_empty() && statuses.iter().all(is_new);
        if all { Ok(statuses) } else { Err(statuses) }
    };
    let answer = world.answer(&world.offer(&item(&model)).await).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    let old = [looping.instance];
    // As many attempts once more as lead into a crash loop.
    let second = eventually(LIMIT, "other copies to be tried", async || anew(&old).await).await;
    assert!(second.iter().all(|status| status.restarts == 6));
    std::fs::write(&flag, "").unwrap();
    let answer = world.answer(&world.offer(&item(&model)).await).await;
    assert_eq!(answer.outcome, Outcome::Accepted, "{answer:?}");
    let serving = world.serving("dga", copies).await;
    let is_old =
        |instance| old.contains(instance) || second.iter().any(|s| s.instance == *instance);
    assert!(!serving.iter().any(|entry| is_old(&entry.instance)));
    let left_ms = tried_again - now_ms();
    assert!(left_ms > 100_000, "its own time would come in {left_ms} ms");
}

#[tokio::test]
async fn a_crash_loop_is_left_at_once_by_a_restart() {
    check_that_a_crash_loop_is_left(|_| RESTART.to_owned(), 1).await;
}

#[tokio::test]
async fn a_crash_loop_is_left_at_once_by_a_new_generation() {
    check_that_a_crash_loop_is_left(|model| add("dga", "1.0", 1, model, ""), 3).await;
}
