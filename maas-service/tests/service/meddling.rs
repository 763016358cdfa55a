//! Somebody deletes or writes our znodes by hand (F43): what copies hold comes back, what should run is followed, and what
//! makes no sense is left alone.

use maas_client::layout::ZnodePath;
use maas_client::wire::state::{Desired, Outcome};
use test_support::{ModelFolder, eventually};
use zookeeper_client as zk;

use crate::life::pid_of;
use crate::updates::add;
use crate::world::{LIMIT, World};

#[tokio::test]
async fn registrations_and_statuses_that_somebody_deletes_come_back_and_nothing_is_started_twice() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before = world.serving("dga", 2).await;
    let name = "dga".parse().unwrap();
    for entry in &before {
        let registration = world.layout.registration(&name, &entry.instance);
        let status = world.layout.instance(&entry.instance);
        for znode in [registration, status] {
            world.session.delete(&znode, None).await.unwrap();
        }
    }
    assert_eq!(world.serving("dga", 2).await, before);
    // A request that is answered after it has been looked at all there is.
    world.remove("dga", 1).await;
    let after = world.serving("dga", 1).await;
    assert!(before.contains(&after[0]));
    assert_eq!(world.daemon.pids_of("serve.py").len(), 1);
}

#[tokio::test]
async fn a_model_whose_versions_may_not_be_listed_is_left_as_it_is_and_others_are_served() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let folder = world.layout.desired_root().join("dga");
    let client = zk::Client::connect(&world.quorum).await.unwrap();
    let no_reading = zk::Permission::CREATE | zk::Permission::DELETE | zk::Permission::ADMIN;
    let closed = [zk::Acl::new(no_reading, zk::AuthId::anyone())];
    client
        .set_acl(folder.as_str(), &closed, None)
        .await
        .unwrap();
    world.add("other", 1, model.path()).await;
    world.serving("other", 1).await;
    assert_eq!(pid_of(&world, "dga").await, pid, "it runs on");
    let open = zk::Acls::anyone_all();
    client.set_acl(folder.as_str(), &open, None).await.unwrap();
    world.remove("dga", 1).await;
    world.remove("other", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn what_should_run_is_followed_when_somebody_writes_or_deletes_it_and_left_alone_when_it_is_garbage()
 {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let first = world.registered("dga").await[0].instance.clone();
    let znode = world
        .layout
        .desired(&"dga".parse().unwrap(), &"1.0".parse().unwrap());
    let (good, _) = world.session.get(&znode).await.unwrap().unwrap();

    world.session.set(&znode, b"garbage", None).await.unwrap();
    let told = async || {
        let log = world.daemon.log_tail();
        log.contains("what should run can't be read; it is left as it is")
    };
    eventually(LIMIT, "the daemon to say so", told).await;
    // Others are served meanwhile.
    world.add("other", 1, model.path()).await;
    world.serving("other", 1).await;
    assert_eq!(pid_of(&world, "dga").await, pid, "it runs on");

    // Nothing takes the place of what is left as it is.
    let replace = add("dga", "2.0", 1, &model, r#","replace":"1.0","deadline":50"#);
    let answer = world.answer(&world.offer(&replace).await).await;
    assert_eq!(answer.outcome, Outcome::Refused);
    // The next request goes by what was asked for before.
    let added = world.add("dga", 1, model.path()).await;
    assert_eq!(added.instances, Some(2));
    world.serving("dga", 2).await;
    assert!(
        world
            .registered("dga")
            .await
            .iter()
            .any(|copy| copy.instance == first)
    );

    let one = Desired {
        instances: 1,
        ..Desired::parse(&good).unwrap()
    };
    world
        .session
        .set(&znode, &one.to_bytes(), None)
        .await
        .unwrap();
    world.serving("dga", 1).await;
    world.session.delete(&znode, None).await.unwrap();
    world.serving("dga", 0).await;
    world.serving("other", 1).await;
}

#[tokio::test]
async fn the_queue_and_the_epoch_that_somebody_deletes_are_made_again_and_requests_are_taken() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    for znode in [world.layout.queue.clone(), world.layout.epoch()] {
        world.session.delete(&znode, None).await.unwrap();
    }
    let answer = world.add("dga", 1, model.path()).await;
    assert_eq!(
        (answer.outcome, answer.instances),
        (Outcome::Accepted, Some(2))
    );
    // Whoever comes to lead by an epoch that counts from the beginning is the last all the same.
    assert!(world.serving("dga", 2).await.contains(&before[0]));
}

#[tokio::test]
async fn what_is_published_of_the_service_and_its_models_comes_back_when_somebody_deletes_it() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let (name, version) = ("dga".parse().unwrap(), "1.0".parse().unwrap());
    let progress = world.layout.progress(&name, &version);
    let reached = async || {
        let progress = world.progress("dga").await;
        progress.is_some_and(|progress| progress.reached == 1)
    };
    eventually(LIMIT, "the board to be written", reached).await;
    let root = world.layout.progress_root();
    for znode in [&progress, &progress.parent().unwrap(), &root] {
        let znode: &ZnodePath = znode;
        world.session.delete(znode, None).await.unwrap();
    }
    world.add("other", 1, model.path()).await;
    let back = async || {
        let copies = world.leader().await?.copies;
        let progress = world.session.get(&progress).await.unwrap();
        (copies == 2 && progress.is_some()).then_some(())
    };
    eventually(LIMIT, "the board to be written anew", back).await;
}

/// F43: what is no daemon's leads nobody, and is ahead of no one.
#[tokio::test]
async fn what_somebody_puts_into_the_line_for_the_lead_keeps_no_daemon_from_it() {
    let mut world = World::start(&[]).await;
    let line = world.layout.leader_root();
    for name in ["a", "candidate-", "candidate-0000000000x"] {
        world.session.ensure(&line.join(name)).await.unwrap();
    }
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    world.daemon.kill();
    world.daemon.start_again();
    world.add("dga", 1, model.path()).await;
    assert!(world.serving("dga", 2).await.contains(&before[0]));
}
