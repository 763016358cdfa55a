//! Whatever lies in the queue: it is carried out, refused or set aside with a reason, and never in the way of the next.

use std::time::{Duration, Instant};

use maas_client::session::CreateMode;
use maas_client::wire::state::Outcome;
use test_support::{ModelFolder, eventually};
use zookeeper_client as zk;

use crate::world::{LIMIT, World};

#[tokio::test]
async fn what_is_no_request_is_set_aside_with_its_reason_and_the_next_good_one_is_served() {
    let world = World::start(&[]).await;
    let path = "/models/dga";
    let good = |name: &str| {
        format!(
            r#"{{"name":"{name}","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{path}"}}"#
        )
    };
    let cases = [
        ("null".to_owned(), "LIST"),
        (String::new(), "empty"),
        ("garbage".to_owned(), "JSON"),
        (good("dga").replace("\"path\"", "\"paht\""), "paht"),
        (good("dga").replace("ADD", "SCALE"), "SCALE"),
        (
            good("dga").replace("\"numInstances\":1", "\"numInstances\":true"),
            "numInstances",
        ),
        (good("../../etc"), "path segment"),
        (good("a/b"), "path segment"),
        (good(".."), "another place"),
        (good(&"x".repeat(900_000)), "bytes"),
    ];
    for (item, why) in &cases {
        let answer = world.answer(&world.offer(item).await).await;
        assert_eq!(answer.outcome, Outcome::SetAside, "{item:.80}");
        let reason = answer.reason.unwrap();
        assert!(reason.contains(why), "{item:.80}: {reason}");
    }
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), cases.len());
    for (letter, (item, why)) in letters.iter().zip(&cases) {
        assert!(
            letter.reason.contains(why) && letter.bytes == item.len(),
            "{letter:?}"
        );
        // Of a field that a request does not have, nobody knows what it holds.
        let shown = item.replace("\"paht\":\"/models/dga\"", "\"paht\":…");
        assert!(shown.starts_with(&letter.excerpt) && letter.excerpt.len() <= 1000);
    }

    let model = ModelFolder::answering();
    assert_eq!(
        world.add("good", 1, model.path()).await.outcome,
        Outcome::Accepted
    );
    world.serving("good", 1).await;
    assert!(
        world
            .session
            .children(&world.layout.queue)
            .await
            .unwrap()
            .is_empty(),
        "the queue is empty"
    );
}

#[tokio::test]
async fn a_request_whose_znodes_nobody_may_write_is_set_aside_with_the_reason_and_the_next_one_is_served()
 {
    let world = World::start(&[]).await;
    world.leads().await;
    let history = world
        .layout
        .history(&"dga".parse().unwrap(), &"1.0".parse().unwrap());
    world
        .session
        .ensure(&history.parent().unwrap())
        .await
        .unwrap();
    let client = zk::Client::connect(&world.quorum).await.unwrap();
    let closed = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_read());
    client.create(history.as_str(), b"", &closed).await.unwrap();
    let model = ModelFolder::answering();
    let answer = world.add("dga", 1, model.path()).await;
    assert_eq!(answer.outcome, Outcome::SetAside, "{answer:?}");
    let reason = answer.reason.unwrap();
    assert!(
        reason.contains("it can't be carried out") && reason.contains(history.as_str()),
        "{reason}"
    );
    assert_eq!(world.dead_letters().await.len(), 1);
    world.add("good", 1, model.path()).await;
    world.serving("good", 1).await;
    assert!(world.statuses("dga").await.is_empty());
}

/// I8 of the invariants: what becomes of a request is open to read, so nothing secret of an item that is none is kept.
#[tokio::test]
async fn of_what_is_no_request_no_secret_is_kept() {
    let world = World::start(&[]).await;
    let good =
        r#"{"name":"dga","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"/m"}"#;
    for (from, to, why) in [
        ("}", r#","password":"hunter2"}"#, "password"),
        ("}", r#","env":{"TOKEN":["hunter2"]"#, "JSON"),
        ("64", r#"{"env":"hunter2"}"#, "memory"),
        ("/m", "hdfs://joe:hunter2@node1/m", "holds a password"),
    ] {
        let item = good.replace(from, to);
        let answer = world.answer(&world.offer(&item).await).await;
        assert_eq!(answer.outcome, Outcome::SetAside, "{item}");
        let reason = answer.reason.unwrap();
        assert!(reason.contains(why), "{item}: {reason}");
    }
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 4);
    assert!(!format!("{letters:?}").contains("hunter2"), "{letters:?}");
    for root in [&world.layout.results_root(), &world.layout.dead_root()] {
        for name in world.session.children(root).await.unwrap() {
            let (data, _) = world.session.get(&root.join(&name)).await.unwrap().unwrap();
            let data = String::from_utf8(data).unwrap();
            assert!(!data.contains("hunter2"), "{data}");
        }
    }
    assert!(!world.daemon.log_tail().contains("hunter2"));
}

/// F37: JSON nested so deep that a reader which went down into it would run out of its stack.
#[tokio::test]
async fn deeply_nested_items_are_set_aside_as_fast_as_others_and_hold_up_nobody() {
    let world = World::start(&[]).await;
    world.leads().await;
    let good = |name: &str| {
        format!(
            r#"{{"name":"{name}","version":"1.0","numInstances":1,"memory":1,"action":"ADD","path":"file:/nowhere"}}"#
        )
    };
    let nested = |open: &str, levels: usize| open.repeat(levels);
    let whole = |levels: usize| format!("{}{}", nested("[", levels), "]".repeat(levels));
    let items = [
        (nested("[", 100_000), "bytes"),
        // As deep as an item may be that is looked into.
        (nested("[", 60_000), "JSON"),
        (nested(r#"{"a":"#, 12_000), "JSON"),
        (
            good("m").replace(":1,", &format!(":{},", whole(15_000))),
            "number",
        ),
        (
            good("m").replace('}', &format!(r#","x":{}}}"#, whole(30_000))),
            "`x` is not a field",
        ),
        (good("m").replace("\"m\"", &whole(30_000)), "name"),
        (
            good("m").replace("\"memory\":1", &format!("\"memory\":{}", whole(30_000))),
            "memory",
        ),
        (good("m").replace("\"m\"", &nested("[", 60_000)), "JSON"),
    ];
    let rounds = 25;
    let began = Instant::now();
    let mut last = Vec::new();
    for _ in 0..rounds {
        last.clear();
        for (item, _) in &items {
            last.push(world.offer(item).await);
        }
    }
    let after = world.offer(&good("after")).await;
    assert_eq!(world.answer(&after).await.outcome, Outcome::Accepted);
    let took = began.elapsed();
    for (request, (item, why)) in last.iter().zip(&items) {
        let answer = world.answer(request).await;
        assert_eq!(answer.outcome, Outcome::SetAside, "{item:.80}");
        let reason = answer.reason.unwrap();
        assert!(
            reason.contains(why) && reason.len() <= 500,
            "{item:.80}: {reason}"
        );
    }
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), rounds * items.len());
    println!(
        "{} deeply nested items were offered and set aside in {took:?}",
        letters.len()
    );
    let each = took / u32::try_from(letters.len()).unwrap();
    assert!(each < Duration::from_millis(50), "{each:?} for each");
    assert!(world.daemon.is_running());
}

#[tokio::test]
async fn a_foreign_name_in_the_queue_is_reported_and_left_where_it_is() {
    let world = World::start(&[]).await;
    world.leads().await;
    let foreign = world.layout.queue.join("queue-0000000000");
    world.session.ensure(&world.layout.queue).await.unwrap();
    world
        .session
        .create(&foreign, b"somebody else's", CreateMode::Persistent)
        .await
        .unwrap();
    let letters = eventually(LIMIT, "it to be reported", async || {
        let letters = world.dead_letters().await;
        (!letters.is_empty()).then_some(letters)
    });
    let letters = letters.await;
    assert!(
        letters[0].item == "queue-0000000000" && letters[0].reason.contains("qn-"),
        "{letters:?}"
    );
    assert!(world.session.stat(&foreign).await.unwrap().is_some());
    let model = ModelFolder::answering();
    assert_eq!(
        world.add("good", 1, model.path()).await.outcome,
        Outcome::Accepted
    );
}

#[tokio::test]
async fn what_the_original_clients_write_is_carried_out() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    // Numbers as texts, an ordinal for the action, text behind the object: all of it passes the original's Jackson.
    let item = format!(
        r#"{{"path":"{}","action":0,"memory":"64","numInstances":" 2 ","version":1.10,"name":"dga"}} trailing"#,
        model.path().display()
    );
    let answer = world.answer(&world.offer(&item).await).await;
    assert_eq!(
        (answer.outcome, answer.instances),
        (Outcome::Accepted, Some(2))
    );
    let registered = world.serving("dga", 2).await;
    assert!(
        registered
            .iter()
            .all(|entry| entry.version.as_str() == "1.10")
    );
}

#[tokio::test]
async fn a_request_that_names_itself_counts_once_however_often_it_is_sent() {
    let world = World::start(&[]).await;
    let item = r#"{"name":"m","version":"1","numInstances":1,"memory":64,"action":"ADD","path":"/nowhere","id":"mine"}"#;
    world.offer(item).await;
    world.offer(item).await;
    assert_eq!(world.answer("mine").await.instances, Some(1));
    world.offer(item).await;
    let drained = async || {
        world
            .session
            .children(&world.layout.queue)
            .await
            .unwrap()
            .is_empty()
    };
    eventually(LIMIT, "the queue to be drained", drained).await;
    let results = world
        .session
        .children(&world.layout.results_root())
        .await
        .unwrap();
    assert_eq!(results, ["mine"]);
    assert_eq!(world.answer("mine").await.instances, Some(1));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    let other = ModelFolder::answering();
    assert_eq!(world.remove("dga", 1).await.outcome, Outcome::Refused);
    world.add("dga", 1, model.path()).await;
    let refused = world.add("dga", 1, other.path()).await;
    assert!(
        refused.outcome == Outcome::Refused && refused.reason.unwrap().contains("another version")
    );
    world.serving("dga", 1).await;
    let removed = world.remove("dga", 5).await;
    assert!(removed.outcome == Outcome::Accepted && removed.reason.unwrap().contains("only 1 ran"));
    world.nothing_is_left().await;
}

#[tokio::test]
async fn an_item_that_cannot_be_taken_or_read_is_passed_over() {
    let world = World::start(&[]).await;
    world.leads().await;
    let item = world.layout.queue.join("qn-0000000000");
    world.session.ensure(&item.join("child")).await.unwrap();
    let owner = zookeeper_client::Client::connector().with_auth("digest", b"somebody:else");
    let owner = owner.connect(&world.quorum).await.unwrap();
    let theirs = CreateMode::Persistent.with_acls(zookeeper_client::Acls::creator_all());
    owner
        .create("/maas/queue/qn-0000000001-private", b"secret", &theirs)
        .await
        .unwrap();
    owner
        .create("/maas/queue/foreign-and-private", b"secret", &theirs)
        .await
        .unwrap();

    let model = ModelFolder::answering();
    assert_eq!(
        world.add("good", 1, model.path()).await.outcome,
        Outcome::Accepted
    );
    world.serving("good", 1).await;
    assert!(
        world.session.stat(&item).await.unwrap().is_some(),
        "it is left where it is"
    );
    let letters = world.dead_letters().await;
    let why = |item: &str| {
        let letter = letters.iter().find(|letter| letter.item == item);
        letter.map(|letter| letter.reason.as_str())
    };
    assert!(why("qn-0000000000").is_some(), "{letters:?}");
    for item in ["qn-0000000001-private", "foreign-and-private"] {
        let why = why(item).unwrap();
        assert!(
            why.contains("can't be read, and is left where it is"),
            "{why}"
        );
        assert!(why.contains(item), "{why}");
    }
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_is_told_of_with_the_reason_until_it_can() {
    let world = World::start(&[]).await;
    world.leads().await;
    // Who leads makes it, a moment later.
    world.session.ensure(&world.layout.queue).await.unwrap();
    let client = zk::Client::connect(&world.quorum).await.unwrap();
    let queue = world.layout.queue.as_str();
    let no_reading = zk::Permission::CREATE | zk::Permission::DELETE | zk::Permission::ADMIN;
    let closed = [zk::Acl::new(no_reading, zk::AuthId::anyone())];
    client.set_acl(queue, &closed, None).await.unwrap();
    let model = ModelFolder::answering();
    let item = format!(
        r#"{{"name":"dga","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{}"}}"#,
        model.path().display()
    );
    let sequence = zk::CreateMode::PersistentSequential.with_acls(zk::Acls::anyone_all());
    let prefix = format!("{queue}/qn-");
    let create = client.create(&prefix, item.as_bytes(), &sequence);
    create.await.unwrap();
    let held = async || world.leader().await?.held;
    let held = eventually(LIMIT, "the queue to be told of", held).await;
    assert_eq!(held.item, queue);
    assert!(held.why.contains(queue), "{}", held.why);
    let open = client.set_acl(queue, &zk::Acls::anyone_all(), None);
    open.await.unwrap();
    world.serving("dga", 1).await;
    let released = async || {
        world
            .leader()
            .await
            .is_some_and(|leader| leader.held.is_none())
    };
    eventually(LIMIT, "nothing to be told of any more", released).await;
}

#[tokio::test]
async fn an_id_that_passes_for_another_request_is_refused() {
    let world = World::start(&[]).await;
    let item = r#"{"name":"m","version":"1","numInstances":1,"memory":64,"action":"REMOVE","id":"0000000000000012-qn-0000000007"}"#;
    let answer = world.answer(&world.offer(item).await).await;
    assert!(
        answer.outcome == Outcome::SetAside
            && answer.reason.unwrap().contains("identity of another")
    );
}
