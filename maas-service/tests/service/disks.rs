//! Disks that are full or can't be written: what runs runs on, what can't be started says why.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use maas_client::wire::state::{Outcome, Phase};
use test_support::{ModelFolder, eventually};

use crate::life::pid_of;
use crate::world::{LIMIT, World};

/// F17.
#[tokio::test]
async fn on_a_full_disk_copies_run_on_and_new_ones_wait_with_the_reason() {
    let world = World::start_on_disk("size=8m", &["--restart_delay", "50"]).await;
    let loud = ModelFolder::with_script(
        r#""$python" -S -E serve.py & while [ ! -e end ]; do echo "so much to say"; sleep 0.01; done; wait"#,
    );
    world.add("loud", 1, loud.path()).await;
    let pid = pid_of(&world, "loud").await;

    // A bundle that doesn't fit leaves nothing of itself, or it would take the room of those that do.
    let large = ModelFolder::answering();
    let weights = File::create(large.path().join("weights")).unwrap();
    weights.set_len(20 << 20).unwrap();
    world.add("large", 1, large.path()).await;
    world
        .explained("large", Phase::Backoff, "No space left on device")
        .await;
    let small = ModelFolder::answering();
    world.add("small", 1, small.path()).await;
    world.serving("small", 1).await;
    world.remove("large", 1).await;
    world.serving("large", 0).await;
    world.remove("small", 1).await;
    world.serving("small", 0).await;

    // Now there is no room at all.
    let filler = world.daemon.disk().join("filler");
    let mut fill = File::create(&filler).unwrap();
    let piece = [b'x'; 4096];
    let full = loop {
        if let Err(error) = fill.write_all(&piece) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    world.add("small", 1, small.path()).await;
    let told = async || world.daemon.log_tail().contains("No space left on device");
    eventually(LIMIT, "the daemon to say why it starts nothing", told).await;
    assert_eq!(world.apply("loud", &[]).await["path"], "/apply");
    assert_eq!(pid_of(&world, "loud").await, pid, "it runs on");

    drop(fill);
    fs::remove_file(&filler).unwrap();
    world.serving("small", 1).await;
    assert_eq!(pid_of(&world, "loud").await, pid);
}

/// F17: who comes to lead when the disk is full can't leave a mark in the folder of copies, and so starts nothing; but what is
/// to go goes.
#[tokio::test]
async fn on_a_full_disk_a_daemon_that_comes_to_lead_stops_what_is_to_go_and_starts_nothing() {
    let world = World::start_on_disk("size=8m,nr_inodes=200", &[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let filler = world.daemon.disk().join("filler");
    fs::create_dir(&filler).unwrap();
    let full = (0..).find_map(|n| File::create(filler.join(n.to_string())).err());
    assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    // Somebody else has led for a moment; our daemon comes to lead again, by another transaction.
    let epoch = world.layout.epoch();
    let stat = world.session.set(&epoch, b"{}", None).await.unwrap();
    let leads = async || {
        let now = world.session.stat(&epoch).await.unwrap().unwrap();
        now.version > stat.version
    };
    world.add("other", 1, model.path()).await;
    eventually(LIMIT, "our daemon to lead again", leads).await;
    let told = async || {
        world
            .daemon
            .log_tail()
            .contains("no copy can be started now")
    };
    eventually(LIMIT, "the daemon to say so", told).await;
    assert!(world.statuses("other").await.is_empty());
    world.remove("dga", 1).await;
    world.serving("dga", 0).await;
    fs::remove_dir_all(&filler).unwrap();
    world.serving("other", 1).await;
}

/// F19, when all has gone well so far.
#[tokio::test]
async fn when_a_disk_can_be_written_no_more_copies_run_on_and_new_ones_wait_with_the_reason_until_it_can()
 {
    let world = World::start_on_disk("size=8m", &[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    world.daemon.make_unwritable();
    world.add("other", 1, model.path()).await;
    let why = "Read-only file system";
    let told = async || {
        let doing = world.progress("other").await?.doing;
        doing.iter().any(|doing| doing.contains(why)).then_some(())
    };
    eventually(LIMIT, "STATUS to tell why it does not start", told).await;
    // It is tried again about every second, and not as fast as can be.
    let tries = || world.daemon.log_tail().matches(why).count();
    let (began, before) = (Instant::now(), tries());
    let again = async || tries() >= before + 5;
    eventually(LIMIT, "it to be tried again", again).await;
    assert!(began.elapsed() > Duration::from_secs(1));
    assert!(world.statuses("other").await.is_empty());
    assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
    assert_eq!(pid_of(&world, "dga").await, pid, "it runs on");

    world.daemon.make_writable();
    world.serving("other", 1).await;
    assert_eq!(pid_of(&world, "dga").await, pid);
    world.remove("dga", 1).await;
    world.serving("dga", 0).await;
}

/// F19, when the folder for copies is out of sight for a while.
#[tokio::test]
async fn while_the_folder_for_copies_cannot_be_read_status_tells_that_all_is_left_as_it_is_and_why()
{
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let instances = world.daemon.instances();
    let aside = instances.with_extension("aside");
    std::fs::rename(&instances, &aside).unwrap();
    let answer = world.add("other", 1, model.path()).await;
    assert_eq!(answer.outcome, Outcome::Accepted);
    let halted = async || world.leader().await?.halted;
    let halted = eventually(LIMIT, "it to be told why nothing is done", halted).await;
    assert!(halted.why.contains("No such file"), "{}", halted.why);
    assert!(world.statuses("other").await.is_empty());

    std::fs::rename(&aside, &instances).unwrap();
    world.serving("other", 1).await;
    assert_eq!(pid_of(&world, "dga").await, pid, "it runs on");
    let goes_on = async || {
        world
            .leader()
            .await
            .is_some_and(|leader| leader.halted.is_none())
    };
    eventually(LIMIT, "nothing to be told of any more", goes_on).await;
}

/// F19.
#[tokio::test]
async fn on_a_disk_that_cannot_be_written_the_service_ends_and_says_so() {
    let world = World::start_on_disk("ro", &[]).await;
    let ended = async || !world.daemon.is_running();
    eventually(LIMIT, "the daemon to end", ended).await;
    let log = world.daemon.log_tail();
    assert!(
        log.contains("for copies can't be made") && log.contains("Read-only file system"),
        "{log}"
    );
}
