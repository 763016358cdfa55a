//! What the machine has is shared out honestly: what does not fit waits with a reason, what never can is refused.

use maas_client::wire::state::Outcome;
use test_support::{ModelFolder, eventually};
use zookeeper_client as zk;

use crate::updates::{add, versions};
use crate::world::{LIMIT, World};

/// F41: an ADD that does not fit waits with the reason, holds up nobody, and starts when there is room.
#[tokio::test]
async fn what_does_not_fit_waits_with_the_reason_until_there_is_room() {
    let world = World::start(&["--memory", "150"]).await;
    let model = ModelFolder::answering();
    world.add("big", 2, model.path()).await;
    world.serving("big", 2).await;
    let answer = world.add("late", 1, model.path()).await;
    assert_eq!(answer.outcome, Outcome::Accepted);
    let pending = async || world.progress("late").await?.pending;
    let pending = eventually(LIMIT, "the reason", pending).await;
    assert_eq!(pending.copies, 1);
    assert!(
        pending.reason.contains("needs 64 MB") && pending.reason.contains("22 MB are free"),
        "{}",
        pending.reason
    );
    // The next request is not held up, and makes room.
    world.remove("big", 1).await;
    world.serving("big", 1).await;
    world.serving("late", 1).await;
    eventually(LIMIT, "nothing to be pending any more", async || {
        world
            .progress("late")
            .await
            .is_some_and(|p| p.pending.is_none() && p.reached == 1)
    })
    .await;
}

#[tokio::test]
async fn more_than_the_machine_has_is_refused_with_the_figures() {
    let world = World::start(&["--memory", "150", "--vcores", "2"]).await;
    let model = ModelFolder::answering();
    let answer = world.add("huge", 3, model.path()).await;
    assert_eq!(answer.outcome, Outcome::Refused);
    let reason = answer.reason.unwrap();
    assert!(
        reason.contains("192 MB") && reason.contains("150 MB"),
        "{reason}"
    );
    assert!(world.statuses("huge").await.is_empty());
}

/// The last copy that serves is not taken away for its successor's sake; it is told what to do.
#[tokio::test]
async fn on_a_full_machine_the_only_copy_waits_to_be_replaced_and_says_what_to_do() {
    let world = World::start(&["--memory", "100"]).await;
    let (model, new) = (ModelFolder::answering(), ModelFolder::answering());
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    let told = async |version: &str, mend: &str| {
        let told = async || {
            let pending = world.progress_of("dga", version).await?.pending?;
            let all = ["needs 64 MB", "36 MB are free", mend];
            let all_there = all.iter().all(|part| pending.reason.contains(part));
            all_there.then_some(())
        };
        eventually(LIMIT, mend, told).await;
    };
    let restart = r#"{"name":"dga","version":"1.0","numInstances":0,"memory":0,"action":"RESTART","path":null}"#;
    world.answer(&world.offer(restart).await).await;
    told(
        "1.0",
        "its only copy is not stopped before the new one serves",
    )
    .await;
    assert_eq!(world.serving("dga", 1).await, before, "it serves on");
    // It is done as it is told.
    world.remove("dga", 1).await;
    world.add("dga", 1, model.path()).await;
    eventually(LIMIT, "another copy", async || {
        let now = world.registered("dga").await;
        now.len() == 1 && now[0].instance != before[0].instance
    })
    .await;

    let replace = add("dga", "2.0", 1, &new, r#","replace":"1.0","deadline":50"#);
    world.answer(&world.offer(&replace).await).await;
    told(
        "2.0",
        "the last copy of 1.0 is not stopped before this one serves",
    )
    .await;
    world.remove("dga", 1).await;
    eventually(LIMIT, "the new version alone", async || {
        versions(&world, "dga").await == ["2.0"]
    })
    .await;
}

/// Requests that are taken back before they were carried out say so, as soon as the one that did it has its answer.
#[tokio::test]
async fn adds_that_are_taken_back_while_they_wait_are_superseded() {
    let world = World::start(&["--vcores", "2"]).await;
    let model = ModelFolder::answering();
    let first = world.add("first", 2, model.path()).await;
    world.serving("first", 2).await;
    let reached = async || {
        world
            .progress("first")
            .await
            .is_some_and(|p| p.reached == 1)
    };
    eventually(LIMIT, "the first to be carried out", reached).await;
    let waiting = [
        world.add("second", 1, model.path()).await,
        world.add("second", 1, model.path()).await,
    ];
    let remove = world.remove("second", 2).await;
    for add in &waiting {
        assert_eq!(add.outcome, Outcome::Accepted);
        let answer = world.answer(&add.request).await;
        assert_eq!(answer.outcome, Outcome::Superseded);
        let reason = format!("request {} came before it was carried out", remove.request);
        assert_eq!(answer.reason, Some(reason));
    }
    // What was carried out is not taken back by what ends it.
    world.remove("first", 2).await;
    let answer = world.answer(&first.request).await;
    assert_eq!(answer.outcome, Outcome::Accepted);
}

/// What somebody has done to an answer of before keeps no REMOVE from being carried out.
#[tokio::test]
async fn a_remove_is_carried_out_also_where_whom_it_overtakes_cannot_be_told() {
    let world = World::start(&["--vcores", "3"]).await;
    let model = ModelFolder::answering();
    world.add("first", 3, model.path()).await;
    world.serving("first", 3).await;
    let named = async |id: &str| {
        let more = format!(r#","id":"{id}""#);
        let item = add("second", "1.0", 1, &model, &more);
        world.offer(&item).await;
        assert_eq!(world.answer(id).await.outcome, Outcome::Accepted);
    };
    let record = |id: &str| world.layout.results_root().join(id);
    // Asked for twice under one name, as it may be when the first answer is no longer kept.
    named("mine").await;
    world.session.delete(&record("mine"), None).await.unwrap();
    named("mine").await;
    let remove = world.remove("second", 2).await;
    assert_eq!(remove.outcome, Outcome::Accepted);
    assert_eq!(world.answer("mine").await.outcome, Outcome::Superseded);

    named("yours").await;
    let client = zk::Client::connect(&world.quorum).await.unwrap();
    let read_only = [zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone())];
    let close = client.set_acl(record("yours").as_str(), &read_only, None);
    close.await.unwrap();
    let remove = world.remove("second", 1).await;
    assert_eq!(remove.outcome, Outcome::Accepted);
    assert_eq!(world.answer("yours").await.outcome, Outcome::Accepted);
}
