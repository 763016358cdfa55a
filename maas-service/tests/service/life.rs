//! The life of copies: they serve, they are replaced, they outlive the daemon, and they leave nothing behind.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use maas_client::session::CreateMode;
use maas_client::wire::progress::Progress;
use maas_client::wire::state::{InstanceStatus, Phase};
use maas_service::instance_folder::InstanceFolder;
use test_support::{Daemon, ModelFolder, eventually, send_signal};

use crate::world::{LIMIT, World};

pub(crate) fn kill(pid: u32) {
    assert!(send_signal("KILL", &[pid]), "process {pid} is not there");
}

/// Waits until the model's only copy is another one than `before`, by its model's process id.
pub(crate) async fn replaced(world: &World, name: &str, before: u32) {
    let other = async || {
        let statuses = world.statuses(name).await;
        let [only] = statuses.as_slice() else {
            return false;
        };
        only.phase == Phase::Serving && only.pid.is_some_and(|pid| pid != before)
    };
    eventually(LIMIT, "the copy to serve again", other).await;
}

pub(crate) async fn pid_of(world: &World, name: &str) -> u32 {
    world.serving(name, 1).await;
    world.statuses(name).await[0].pid.unwrap()
}

#[tokio::test]
async fn a_model_is_added_found_by_name_applied_and_removed_without_a_trace() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    let answer = world.add("dga", 2, model.path()).await;
    assert_eq!(answer.instances, Some(2));
    let entries = world.serving("dga", 2).await;
    assert_ne!(entries[0].url, entries[1].url);
    let answer = world.apply("dga", &[("host", "yahoo.com")]).await;
    assert_eq!(answer["path"], "/apply?host=yahoo.com");

    world.remove("dga", 1).await;
    let left = world.serving("dga", 1).await;
    assert_eq!(
        left[0].instance, entries[0].instance,
        "the newest goes first"
    );
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_model_that_dies_is_withdrawn_and_started_again_by_its_runner() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let runners = world.daemon.pids_of("maas_runner");
    kill(pid);
    let status = world.explained("dga", Phase::Backoff, "SIGKILL").await;
    assert_eq!(status.url, None);
    replaced(&world, "dga", pid).await;
    let status = world.statuses("dga").await.remove(0);
    assert_eq!((status.restarts, status.reason), (1, None));
    let failure = status.last_failure.expect("kept while it serves again");
    assert_eq!((failure.exit_code, failure.signal), (None, Some(9)));
    assert!(
        runners
            .iter()
            .any(|runner| world.daemon.pids_of("maas_runner").contains(runner)),
        "the same runner"
    );
    assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
}

#[tokio::test]
async fn a_runner_that_is_killed_takes_its_model_along_and_is_replaced() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let before = world.registered("dga").await;
    let runner = world
        .daemon
        .pids_of("maas_runner")
        .into_iter()
        .find(|&p| !is_warden(p))
        .unwrap();
    kill(runner);
    let gone = async || !std::path::Path::new(&format!("/proc/{pid}/cwd")).exists();
    eventually(LIMIT, "the model to go with its runner", gone).await;
    replaced(&world, "dga", pid).await;
    let after = world.serving("dga", 1).await;
    assert_ne!(after[0].instance, before[0].instance);
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_runner_that_hangs_is_told_of_killed_with_its_model_and_replaced_and_the_other_copy_is_left_alone()
 {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    world.serving("dga", 2).await;
    let statuses = world.statuses("dga").await;
    let (hung, other) = (&statuses[0], &statuses[1]);
    let folder = world.daemon.instances().join(hung.instance.as_str());
    let runner = InstanceFolder::at(folder).runner().unwrap();
    assert!(send_signal("STOP", &[runner.pid]));
    let told_of = |progress: Progress| {
        let told = |doing: &String| doing.contains(hung.instance.as_str());
        progress.doing.iter().any(told).then_some(())
    };
    let told = async || told_of(world.progress("dga").await?);
    eventually(LIMIT, "it to be told that nothing is heard of it", told).await;

    let served = |statuses: &[InstanceStatus]| {
        let serve = statuses.iter().filter(|s| s.phase == Phase::Serving);
        serve.filter(|s| s.instance != hung.instance).count() == 2
    };
    let replaced = async || served(&world.statuses("dga").await);
    eventually(2 * LIMIT, "another one to serve in its stead", replaced).await;
    let lost = async || world.progress("dga").await?.lost;
    let lost = eventually(LIMIT, "it to be told why", lost).await;
    assert_eq!(lost.instance, hung.instance);
    assert!(lost.failure.why.contains("hung"), "{}", lost.failure.why);
    let pids = world.daemon.pids_of("serve.py");
    assert!(pids.contains(&other.pid.unwrap()) && !pids.contains(&hung.pid.unwrap()));
    world.remove("dga", 2).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_warden_that_is_killed_leaves_no_model_behind() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let warden = world
        .daemon
        .pids_of("maas_runner")
        .into_iter()
        .find(|&p| is_warden(p))
        .unwrap();
    kill(warden);
    replaced(&world, "dga", pid).await;
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}/cwd")).exists(),
        "the first model is gone"
    );
}

pub(crate) fn is_warden(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.windows(8).any(|window| window == b"--warden")
}

#[tokio::test]
async fn processes_that_detach_themselves_belong_to_the_copy() {
    let world = World::start(&[]).await;
    // The server is a grandchild in a session of its own, and the script ends well: it is a daemon of the old kind.
    let daemonizing =
        ModelFolder::with_script(r#"setsid "$python" -S -E serve.py & setsid sleep 1000 & exit 0"#);
    world.add("dga", 1, daemonizing.path()).await;
    world.serving("dga", 1).await;
    assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_model_that_ignores_sigterm_is_killed_after_its_grace() {
    let world = World::start(&["--stop_grace", "1"]).await;
    let stubborn = ModelFolder::with_script(
        r#"trap '' TERM; "$python" -S -E serve.py & wait; wait; sleep 1000"#,
    );
    world.add("dga", 1, stubborn.path()).await;
    world.serving("dga", 1).await;
    let told = Instant::now();
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(40), "{took:?}");
}

/// F29: of most models the script is a shell, which SIGTERM ends at once.
#[tokio::test]
async fn a_server_has_its_grace_also_where_the_script_that_started_it_ends_at_once() {
    let world = World::start(&["--stop_grace", "30"]).await;
    let folder = test_support::TempDir::new().unwrap();
    let saved = folder.path().join("saved");
    let save = format!(
        r#"cat > careful.py <<'END'
import os, signal, time
def save(*_):
    time.sleep(1)
    open("{}", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, save)
exec(open("serve.py").read())
END
        "$python" -S -E careful.py; exit 1"#,
        saved.display()
    );
    let careful = ModelFolder::with_script(&save);
    world.add("dga", 1, careful.path()).await;
    world.serving("dga", 1).await;
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
    assert!(saved.exists(), "it was killed while it saved");
}

#[tokio::test]
async fn copies_outlive_a_killed_daemon_and_the_next_one_adopts_them() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 2, model.path()).await;
    let before = world.serving("dga", 2).await;
    world.daemon.kill();
    assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
    // Asked for while nobody listens, it is answered by the next daemon.
    let waiting = world.offer(r#"{"name":"dga","version":"1.0","numInstances":1,"memory":0,"action":"REMOVE","path":null}"#);
    let waiting = waiting.await;
    world.daemon.start_again();
    assert_eq!(world.answer(&waiting).await.instances, Some(1));
    let after = world.serving("dga", 1).await;
    assert_eq!(
        after[0], before[0],
        "the same copy, registered at the same time"
    );
    // A runner that this daemon did not start is watched all the same.
    let pid = pid_of(&world, "dga").await;
    let runner = world
        .daemon
        .pids_of("maas_runner")
        .into_iter()
        .find(|&p| !is_warden(p))
        .unwrap();
    kill(runner);
    replaced(&world, "dga", pid).await;
}

#[tokio::test]
async fn a_daemon_told_to_stop_leaves_its_models_running_unless_told_otherwise() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    world.daemon.signal("TERM");
    eventually(LIMIT, "the daemon to end", async || {
        !world.daemon.is_running()
    })
    .await;
    assert_eq!(world.apply("dga", &[]).await["path"], "/apply");
    assert!(world.daemon.log_tail().contains("copies run on"));

    let mut world = World::start(&["--stop_models"]).await;
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    world.daemon.signal("INT");
    eventually(LIMIT, "the daemon to end", async || {
        !world.daemon.is_running()
    })
    .await;
    assert_eq!(world.daemon.processes_of_copies(), Vec::<String>::new());
    assert!(world.daemon.folders().is_empty());
    world.daemon.start_again();
    world.serving("dga", 1).await;
}

/// Say, for somebody keeps a copy's folder locked who is no runner.
#[tokio::test]
async fn a_daemon_that_was_to_stop_its_models_and_could_not_fails_and_says_so() {
    let options = ["--stop_models", "--drain_limit", "0", "--stop_grace", "0"];
    let mut world = World::start(&options).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    world.daemon.kill();
    let folder = world.daemon.folders().remove(0);
    let lock = fs::File::open(folder.join("lock")).unwrap();
    send_signal("KILL", &world.daemon.pids_of("maas_runner"));
    let locked = async || lock.try_lock().is_ok();
    eventually(LIMIT, "the runner to let go of the lock", locked).await;
    let instances = world.daemon.instances();
    let place = [
        "-zq",
        &world.quorum,
        "--instances_dir",
        instances.to_str().unwrap(),
    ];
    let next = tokio::process::Command::new(test_support::binary("maas_service"))
        .args(place)
        .args(options)
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = next.id().unwrap();
    let leads = async || world.leader().await.is_some_and(|leader| leader.pid == pid);
    eventually(LIMIT, "the next one to lead", leads).await;
    assert!(send_signal("TERM", &[pid]));
    let ended = tokio::time::timeout(LIMIT, next.wait_with_output()).await;
    let ended = ended.unwrap().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(
        ended.status.code() == Some(1)
            && log.contains("some copies have not ended in time: 1 are left"),
        "{}: {log}",
        ended.status
    );
}

#[tokio::test]
async fn a_second_daemon_stands_by_and_takes_over_what_runs() {
    let mut world = World::start(&[]).await;
    world.leads().await;
    let instances = world.daemon.instances();
    let place = [
        "--instances_dir",
        instances.to_str().unwrap(),
        "--session_timeout",
        "3000",
        "--stop_models",
    ];
    let mut standby = Daemon::start(&world.quorum, &place);
    let in_line = async |daemons: usize| {
        let line = async || {
            world
                .session
                .children(&world.layout.leader_root())
                .await
                .unwrap()
                .len()
                == daemons
        };
        eventually(LIMIT, "the daemons to stand in line", line).await;
    };
    in_line(2).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;

    // A standby has no copies to stop: they are the leader's.
    standby.signal("TERM");
    eventually(LIMIT, "the standby to end", async || !standby.is_running()).await;
    assert_eq!(world.serving("dga", 1).await, before);
    standby.start_again();
    in_line(2).await;

    world.daemon.kill();
    let answer = world.add("dga", 1, model.path()).await;
    assert_eq!(answer.instances, Some(2));
    let after = world.serving("dga", 2).await;
    assert_eq!(
        after[0], before[0],
        "the copy that ran is neither stopped nor doubled"
    );
    world.remove("dga", 2).await;
    world.nothing_is_left().await;
}

/// Waits until this daemon leads and has said so.
pub(crate) async fn acts(world: &World, daemon: &Daemon) {
    let says_so = async || {
        let leader = world.leader().await;
        leader.is_some_and(|leader| leader.pid == daemon.pid())
    };
    eventually(LIMIT, "the daemon to lead", says_so).await;
}

/// The session of a daemon that was killed lasts on, and with it its place in the line.
#[tokio::test]
async fn nobody_on_the_same_machine_waits_for_the_session_of_a_dead_daemon() {
    let session_timeout = Duration::from_secs(50);
    let zookeeper = test_support::ZooKeeper::start().await;
    let options = ["--session_timeout", "50000"];
    let mut world = World::on(zookeeper.connect_string(), &options).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    // The same daemon, started again.
    world.daemon.kill();
    let killed = Instant::now();
    world.daemon.start_again();
    acts(&world, &world.daemon).await;
    let took = killed.elapsed();
    println!("started again, it leads after {took:?}");
    assert!(took < session_timeout / 5, "{took:?}");
    // Another one, that stands by.
    let instances = world.daemon.instances();
    let place = ["--instances_dir", instances.to_str().unwrap()];
    let standby = Daemon::start(&world.quorum, &[options, place].concat());
    let stands_by = async || standby.log_tail().contains("standing by");
    eventually(LIMIT, "the other one to stand by", stands_by).await;
    // Asleep is not dead: a place of the living is nobody's to take away.
    world.daemon.signal("STOP");
    let line = world.layout.leader_root();
    let asleep = Instant::now();
    let still = async || {
        assert_eq!(world.session.children(&line).await.unwrap().len(), 2);
        asleep.elapsed() > Duration::from_secs(1)
    };
    eventually(LIMIT, "a second to pass", still).await;
    world.daemon.kill();
    let killed = Instant::now();
    acts(&world, &standby).await;
    let took = killed.elapsed();
    println!("a standby leads after {took:?}");
    assert!(took < session_timeout / 5, "{took:?}");
    assert_eq!(world.serving("dga", 1).await, before);
    world.remove("dga", 1).await;
    world.nothing_is_left().await;
}

#[tokio::test]
async fn a_daemon_that_could_not_reach_what_runs_refuses_to_stand_by() {
    let world = World::start(&[]).await;
    world.leads().await;
    let other = Daemon::start(&world.quorum, &[]);
    eventually(LIMIT, "it to end", async || !other.is_running()).await;
    assert!(
        other.log_tail().contains("a standby must share both"),
        "{}",
        other.log_tail()
    );
}

/// Two machines that call themselves `localhost`, with the same folder on each.
#[tokio::test]
async fn a_daemon_on_another_machine_of_the_same_name_does_not_stand_by_unless_the_other_does_not_tell()
 {
    let mut world = World::start(&[]).await;
    world.leads().await;
    let line = world.layout.leader_root();
    let first = world.session.children(&line).await.unwrap().remove(0);
    let (data, _) = world
        .session
        .get(&line.join(&first))
        .await
        .unwrap()
        .unwrap();
    let mut candidate: serde_json::Value = serde_json::from_slice(&data).unwrap();
    world.daemon.kill();
    let boot = candidate["process"]["process"]["boot"].as_u64().unwrap();
    candidate["process"]["process"]["boot"] = (boot ^ 2).into();
    // It was there first.
    let other = line.join("candidate-0");
    let told = candidate.to_string();
    let create = world
        .session
        .create(&other, told.as_bytes(), CreateMode::Ephemeral);
    create.await.unwrap();
    world.daemon.start_again();
    let ended = async || !world.daemon.is_running();
    eventually(LIMIT, "the daemon to end", ended).await;
    let log = world.daemon.log_tail();
    assert!(
        log.contains("on another machine or in another container that is called"),
        "{log}"
    );
    // As a daemon of an earlier release says it.
    candidate.as_object_mut().unwrap().remove("process");
    let untold = candidate.to_string();
    world
        .session
        .set(&other, untold.as_bytes(), None)
        .await
        .unwrap();
    world.daemon.start_again();
    let stands_by = async || world.daemon.log_tail().contains("standing by");
    eventually(LIMIT, "it to stand by", stands_by).await;
    world.session.delete(&other, None).await.unwrap();
    acts(&world, &world.daemon).await;
}

/// A ZooKeeper that was restored from a backup knows of fewer transactions than the folder of copies.
#[tokio::test]
async fn a_daemon_whose_zookeeper_was_set_back_says_so_and_what_to_do() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    let folder = fs::read_dir(world.daemon.instances()).unwrap();
    let mut folder = folder.map(|entry| entry.unwrap().path());
    let is_mark = |path: &PathBuf| path.to_string_lossy().contains("/.lead-");
    let mark = folder.find(is_mark).unwrap();
    let (tree, _) = mark.to_str().unwrap().rsplit_once('-').unwrap();
    let later = PathBuf::from(format!("{tree}-7fffffffffffffff"));
    world.daemon.kill();
    fs::create_dir(&later).unwrap();
    world.daemon.start_again();
    eventually(LIMIT, "the daemon to end", async || {
        !world.daemon.is_running()
    })
    .await;
    let log = world.daemon.log_tail();
    assert!(
        log.contains("was set back") && log.contains(later.to_str().unwrap()),
        "{log}"
    );
    assert_eq!(world.serving("dga", 1).await, before, "it runs on");
    fs::remove_dir(&later).unwrap();
    world.daemon.start_again();
    world.add("dga", 1, model.path()).await;
    assert!(world.serving("dga", 2).await.contains(&before[0]));
}

#[tokio::test]
async fn copies_that_run_where_nobody_reaches_them_are_counted_and_not_doubled() {
    let mut world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await;
    world.daemon.kill();
    let gone = async || {
        world
            .session
            .children(&world.layout.leader_root())
            .await
            .unwrap()
            .is_empty()
    };
    eventually(LIMIT, "the leader's place to be free", gone).await;
    let other = Daemon::start(&world.quorum, &["--session_timeout", "3000"]);
    world.leads().await;
    world.add("dga", 1, model.path()).await;
    let after = world.serving("dga", 2).await;
    assert!(after.contains(&before[0]) && other.folders().len() == 1);
}

#[tokio::test]
async fn every_request_takes_effect_once_however_often_the_daemon_is_killed() {
    let mut world = World::start(&[]).await;
    let item = |action: &str, copies: u32| {
        format!(
            r#"{{"name":"m","version":"1.0","numInstances":{copies},"memory":64,"action":"{action}","path":"/no/such/model"}}"#
        )
    };
    let mut expected = 0;
    let mut offered = Vec::new();
    for round in 0_u32..40 {
        let (action, copies) = if round % 3 == 2 {
            ("REMOVE", 1)
        } else {
            ("ADD", 2)
        };
        expected = if action == "ADD" {
            expected + copies
        } else {
            expected - copies
        };
        offered.push((world.offer(&item(action, copies)).await, expected));
        // At every tenth, in the middle of whatever it is doing.
        if round % 10 == 9 {
            world.daemon.kill();
            world.daemon.start_again();
        }
    }
    for (prefix, expected) in &offered {
        assert_eq!(world.answer(prefix).await.instances, Some(*expected));
    }
    let results = world
        .session
        .children(&world.layout.results_root())
        .await
        .unwrap();
    assert_eq!(results.len(), offered.len(), "one answer for each");
    assert!(
        world
            .session
            .children(&world.layout.queue)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_daemon_that_is_overtaken_changes_nothing_any_more() {
    let world = World::start(&[]).await;
    world.leads().await;
    let path = "/no/such/model";
    let ready = async || {
        world
            .session
            .get(&world.layout.epoch())
            .await
            .unwrap()
            .filter(|(_, stat)| stat.version > 0)
    };
    let (_, before) = eventually(LIMIT, "the epoch", ready).await;
    // Somebody else has come to lead without its noticing: only the epoch tells.
    world
        .session
        .set(&world.layout.epoch(), b"{}", None)
        .await
        .unwrap();
    let answer = world.add("m", 1, std::path::Path::new(path)).await;
    assert_eq!(answer.instances, Some(1));
    assert!(world.daemon.log_tail().contains("another daemon leads now"));
    let (_, after) = world
        .session
        .get(&world.layout.epoch())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        after.version,
        before.version + 2,
        "it came to lead again before it answered"
    );
}

#[tokio::test]
async fn a_model_whose_server_falls_silent_is_withdrawn_and_started_again() {
    let world = World::start(&["--health_interval", "200"]).await;
    let model = ModelFolder::with_script(
        r#""$python" -S -E serve.py & echo $! > server; wait; exec sleep 1000"#,
    );
    // A connection is all it is asked for.
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    let server = std::fs::read_to_string(world.daemon.folders()[0].join("work/server")).unwrap();
    kill(server.trim().parse().unwrap());
    world
        .explained("dga", Phase::Backoff, "answers no more")
        .await;
    replaced(&world, "dga", pid).await;
}

#[tokio::test]
async fn a_runner_and_its_warden_killed_together_leave_no_model_behind() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    send_signal("KILL", &world.daemon.pids_of("maas_runner"));
    replaced(&world, "dga", pid).await;
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}/cwd")).exists(),
        "the first model is gone"
    );
}

#[tokio::test]
async fn models_are_stopped_with_the_service_even_while_zookeeper_is_away() {
    let mut zookeeper = test_support::ZooKeeper::start().await;
    let quorum = zookeeper.connect_string().to_owned();
    let mut daemon = Daemon::start(&quorum, &["--stop_models", "--session_timeout", "20000"]);
    let session = maas_client::Session::connect(maas_client::SessionConfig::new(&quorum))
        .await
        .unwrap();
    let model = ModelFolder::answering();
    let queue =
        maas_client::queue::Queue::new(session.clone(), maas_client::layout::Layout::default());
    let add = format!(
        r#"{{"name":"dga","version":"1.0","numInstances":2,"memory":64,"action":"ADD","path":"{}"}}"#,
        model.path().display()
    );
    queue.offer(add.as_bytes()).await.unwrap();
    eventually(LIMIT, "both models to run", async || {
        daemon.pids_of("serve.py").len() == 2
    })
    .await;
    zookeeper.kill().await;
    daemon.signal("TERM");
    eventually(LIMIT, "the daemon to end", async || !daemon.is_running()).await;
    assert!(daemon.folders().is_empty());
    eventually(LIMIT, "all processes to end", async || {
        daemon.processes_of_copies().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_copy_whose_folder_is_taken_away_ends() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    world.add("dga", 1, model.path()).await;
    let pid = pid_of(&world, "dga").await;
    std::fs::remove_dir_all(&world.daemon.folders()[0]).unwrap();
    let gone = async || !std::path::Path::new(&format!("/proc/{pid}/cwd")).exists();
    eventually(LIMIT, "its model to end", gone).await;
    replaced(&world, "dga", pid).await;
}

#[tokio::test]
async fn copies_and_registrations_survive_a_restart_of_zookeeper() {
    let mut zookeeper = test_support::ZooKeeper::start().await;
    let quorum = zookeeper.connect_string().to_owned();
    let daemon = Daemon::start(&quorum, &["--session_timeout", "2000"]);
    let config = maas_client::SessionConfig {
        session_timeout: Duration::from_secs(40),
        ..maas_client::SessionConfig::new(&quorum)
    };
    let session = maas_client::Session::connect(config).await.unwrap();
    let layout = maas_client::layout::Layout::default();
    let model = ModelFolder::answering();
    let queue = maas_client::queue::Queue::new(session.clone(), layout.clone());
    let add = format!(
        r#"{{"name":"dga","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{}"}}"#,
        model.path().display()
    );
    queue.offer(add.as_bytes()).await.unwrap();
    let registry = maas_client::registry::Registry::new(session.clone(), layout.clone());
    let entry = async || {
        registry
            .list()
            .await
            .ok()?
            .into_iter()
            .next()?
            .registration
            .ok()?
    };
    let before = eventually(LIMIT, "the copy to be registered", entry).await;

    zookeeper.kill().await;
    // Long enough that every session is given up: what comes back must come back by itself.
    let deaf = async || session.get(&layout.service_root).await.is_err();
    eventually(LIMIT, "the outage to be felt", deaf).await;
    let given_up = "the ZooKeeper session has ended";
    eventually(LIMIT, "the daemon to give its session up", async || {
        daemon.log_tail().contains(given_up)
    })
    .await;
    let runner_log = daemon.folders()[0].join("logs/runner.log");
    let runner_has = async || {
        std::fs::read_to_string(&runner_log)
            .unwrap()
            .contains(given_up)
    };
    eventually(LIMIT, "the runner to give its session up", runner_has).await;
    assert_eq!(daemon.pids_of("serve.py").len(), 1, "the model runs on");
    zookeeper.restart().await;
    let owner = async || {
        let path = layout.registration(&before.name, &before.instance);
        session
            .stat(&path)
            .await
            .ok()
            .flatten()
            .map(|stat| stat.ephemeral_owner)
    };
    eventually(LIMIT, "the registration", async || owner().await.is_some()).await;
    let after = eventually(LIMIT, "the copy to be registered again", entry).await;
    assert_eq!(after, before, "the same copy at the same place");
    // And the daemon takes requests again.
    queue.offer(br#"{"name":"dga","version":"1.0","numInstances":1,"memory":0,"action":"REMOVE","path":null}"#).await.unwrap();
    eventually(LIMIT, "the copy to go", async || {
        daemon.processes_of_copies().is_empty()
    })
    .await;
    session.close().await;
}
