//! Rolling updates and restarts: no call fails, whether the new copies come to serve or not.

use maas_client::wire::history::{Change, History};
use maas_client::wire::state::{Outcome, Phase};
use test_support::{ModelFolder, eventually};

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

#[tokio::test]
async fn a_new_generation_clears_a_copy_that_has_failed() {
    let world = World::start(&[]).await;
    let folder =
        ModelFolder::with_script(r#"[ -e "$FLAG" ] || exit 3; exec "$python" -S -E serve.py"#);
    let flag = test_support::TempDir::new().unwrap();
    let flag = flag.path().join("flag");
    let world_with_flag = World::start(&[
        "--shell_env",
        &format!("FLAG={}", flag.display()),
        "--restart_delay",
        "60000",
    ])
    .await;
    drop(world);
    let world = world_with_flag;
    world.add("dga", 1, folder.path()).await;
    world.explained("dga", Phase::Backoff, "exit code 3").await;
    std::fs::write(&flag, "").unwrap();
    // It would not be tried again for a minute; a RESTART does not wait.
    world
        .offer(r#"{"name":"dga","version":"1.0","action":"RESTART"}"#)
        .await;
    world.serving("dga", 1).await;
}
