//! What is killed, or goes away, in the middle of a start.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use maas_client::layout::Layout;
use maas_client::queue::Queue;
use maas_client::registry::Registry;
use maas_client::wire::state::{InstanceStatus, Phase};
use maas_client::{Session, SessionConfig};
use maas_service::crash::Point;
use test_support::{Daemon, ModelFolder, ZooKeeper, eventually, send_signal};

use crate::life::{is_warden, kill};
use crate::world::{LIMIT, World};

/// A model that writes `endpoint.dat` only when the file `go` is there, and answers only when `answer` is.
fn patient_model() -> ModelFolder {
    ModelFolder::with_script(
        r#"echo $$ >> starts; while [ ! -e go ]; do sleep 0.02; done
        cat > patient.py <<'END'
import os, time
source = open("serve.py").read()
source = source.replace("publish()\nserve()", "publish()\nwait()\nserve()")
def wait():
    while not os.path.exists("answer"):
        time.sleep(0.01)
exec(source)
END
        exec "$python" -S -E patient.py"#,
    )
}

async fn work_folder(daemon: &Daemon) -> PathBuf {
    let work = async || Some(daemon.folders().first()?.join("work")).filter(|w| w.exists());
    eventually(LIMIT, "the bundle to be there", work).await
}

async fn appears(file: &Path) {
    let there = async || file.exists();
    eventually(LIMIT, &file.display().to_string(), there).await;
}

/// F4: a part of a bundle is never where it could be taken for the whole.
#[tokio::test]
async fn a_runner_killed_while_it_fetches_leaves_no_part_of_the_bundle_and_is_replaced() {
    let world = World::start(&[]).await;
    let model = ModelFolder::answering();
    // Large enough to be caught at.
    let weights = File::create(model.path().join("weights")).unwrap();
    weights.set_len(200 << 20).unwrap();
    world.add("dga", 1, model.path()).await;
    let folder = eventually(LIMIT, "the copy's folder", async || {
        world.daemon.folders().pop()
    })
    .await;
    appears(&folder.join("fetching/weights")).await;
    let runner = world.daemon.pids_of("maas_runner");
    kill(*runner.first().expect("it fetches"));
    assert!(!folder.join("work").exists(), "only the whole appears");
    world.serving("dga", 1).await;
    let left = world.daemon.folders();
    assert_eq!(left.len(), 1);
    assert_ne!(left[0], folder, "another copy, and nothing of the first");
    assert!(!left[0].join("fetching").exists());
    assert_eq!(world.daemon.pids_of("serve.py").len(), 1);
}

async fn desired(world: &World) -> usize {
    let root = world.layout.desired_root();
    world.session.children(&root).await.unwrap().len()
}

/// F5: however soon after the start of a runner, its copy is found by the next daemon, and not started twice.
#[tokio::test]
async fn a_daemon_killed_while_it_starts_a_copy_neither_loses_nor_doubles_it() {
    let mut world = World::start(&[]).await;
    world.leads().await;
    let model = ModelFolder::answering();
    for round in 0..6 {
        let before = world.daemon.folders().len();
        let item = format!(
            r#"{{"name":"m{round}","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{}"}}"#,
            model.path().display()
        );
        world.offer(&item).await;
        // At another moment each time: when the request is taken, when the copy's folder is there, when its runner is.
        let moment = async || {
            let folders = world.daemon.folders();
            let runners = folders.iter().filter(|f| f.join("runner.json").exists());
            match round % 3 {
                0 => desired(&world).await > round,
                1 => folders.len() > before,
                _ => runners.count() > before,
            }
        };
        eventually(LIMIT, "the moment to strike", moment).await;
        world.daemon.kill();
        world.daemon.start_again();
    }
    for round in 0..6 {
        world.serving(&format!("m{round}"), 1).await;
    }
    assert_eq!(world.daemon.pids_of("serve.py").len(), 6);
    assert_eq!(world.daemon.folders().len(), 6);
}

/// F6: the runner does not need its daemon to publish what answers.
#[tokio::test]
async fn a_copy_whose_daemon_is_killed_before_it_answers_is_registered_and_adopted() {
    let mut world = World::start(&[]).await;
    let model = patient_model();
    world.add("dga", 1, model.path()).await;
    let work = work_folder(&world.daemon).await;
    fs::write(work.join("go"), "").unwrap();
    appears(&work.join("endpoint.dat")).await;
    world.daemon.kill();
    fs::write(work.join("answer"), "").unwrap();
    let registered = world.serving("dga", 1).await;
    world.daemon.start_again();
    let adopted = async || world.daemon.log_tail().contains("copy adopted");
    eventually(LIMIT, "the copy to be adopted", adopted).await;
    assert_eq!(world.serving("dga", 1).await, registered);
    let starts = fs::read_to_string(work.join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 1);
}

/// A part of F12: while ZooKeeper is away, a model that answers is no failure, and one that dies is started again.
#[tokio::test]
async fn a_copy_that_starts_while_zookeeper_is_away_waits_for_it_and_is_healed_meanwhile() {
    let mut zookeeper = ZooKeeper::start().await;
    let quorum = zookeeper.connect_string().to_owned();
    let options = ["--start_timeout", "3", "--session_timeout", "3000"];
    let daemon = Daemon::start(&quorum, &options);
    let session = Session::connect(SessionConfig::new(&quorum)).await.unwrap();
    let layout = Layout::default();
    let model = patient_model();
    let add = format!(
        r#"{{"name":"dga","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{}"}}"#,
        model.path().display()
    );
    let queue = Queue::new(session.clone(), layout.clone());
    queue.offer(add.as_bytes()).await.unwrap();
    let work = work_folder(&daemon).await;
    appears(&work.join("starts")).await;
    zookeeper.kill().await;
    for file in ["go", "answer"] {
        fs::write(work.join(file), "").unwrap();
    }
    let log = work.with_file_name("logs").join("runner.log");
    let waits = async |times: usize| {
        let waits = async || {
            let log = fs::read_to_string(&log).unwrap();
            let text = "ZooKeeper has not taken the registration yet";
            log.matches(text).count() >= times
        };
        eventually(LIMIT, "the runner to wait for ZooKeeper", waits).await;
    };
    // It says so after 5 s; its start may take 3 s.
    waits(1).await;
    let starts = || fs::read_to_string(work.join("starts")).unwrap();
    assert_eq!(starts().lines().count(), 1, "it was not started again");
    kill(starts().trim().parse().unwrap());
    let again = async || starts().lines().count() == 2;
    eventually(LIMIT, "it to be started again", again).await;
    waits(2).await;
    zookeeper.restart().await;
    let registry = Registry::new(session.clone(), layout.clone());
    let registered = async || {
        let entries = registry.list().await.ok()?;
        entries.into_iter().next()?.registration.ok()?
    };
    eventually(LIMIT, "the copy to be registered", registered).await;
    let status = async || {
        let root = layout.instances_root();
        let name = session.children(&root).await.ok()?.pop()?;
        let (data, _) = session.get(&root.join(&name)).await.ok()??;
        InstanceStatus::parse(&data)
            .ok()
            .filter(|s| s.phase == Phase::Serving)
    };
    let status = eventually(LIMIT, "its status to say so", status).await;
    assert_eq!((status.restarts, starts().lines().count()), (1, 2));
    assert_eq!(status.last_failure.unwrap().signal, Some(9));
    session.close().await;
}

/// F8 for a copy that has not served yet: whoever dies, all of it goes, and another one comes.
#[tokio::test]
async fn a_warden_or_runner_killed_before_the_model_serves_takes_it_along_and_is_replaced() {
    let world = World::start(&["--restart_delay", "50"]).await;
    let model = patient_model();
    world.add("dga", 1, model.path()).await;
    let first = work_folder(&world.daemon).await;
    appears(&first.join("starts")).await;
    let of = |wanted: bool| {
        let pids = world.daemon.pids_of("maas_runner");
        pids.into_iter().find(|&pid| is_warden(pid) == wanted)
    };
    kill(of(true).expect("a warden"));
    let again = async || {
        let starts = fs::read_to_string(first.join("starts")).unwrap();
        starts.lines().count() == 2
    };
    eventually(LIMIT, "the script to be started again", again).await;
    kill(of(false).expect("a runner"));
    let other = async || {
        let folders = world.daemon.folders();
        let work = folders.first()?.join("work");
        (folders.len() == 1 && work != first && work.join("starts").exists()).then_some(work)
    };
    let second = eventually(LIMIT, "another copy", other).await;
    for file in ["go", "answer"] {
        fs::write(second.join(file), "").unwrap();
    }
    world.serving("dga", 1).await;
    assert_eq!(world.daemon.pids_of("patient.py").len(), 1);
}

/// A runner that never comes to say how its copy is.
#[tokio::test]
async fn a_copy_whose_runner_says_nothing_is_told_of_with_since_when_until_it_speaks() {
    // Long enough for it not to count as hanging meanwhile.
    let zookeeper = ZooKeeper::shared().await;
    let patient = ["--session_timeout", "300000"];
    let world = World::on(zookeeper.connect_string(), &patient).await;
    let model = ModelFolder::answering();
    world.daemon.sleep_at(Point::RunnerBeforeIdentity.name());
    world.add("dga", 1, model.path()).await;
    let told = async || world.progress("dga").await?.doing.pop();
    let folder = eventually(LIMIT, "the copy's folder", async || {
        world.daemon.folders().pop()
    })
    .await;
    let instance = folder.file_name().unwrap().to_str().unwrap();
    let text = format!(
        "waiting for word of copy {instance}, whose runner runs and has said nothing since 20"
    );
    let tells = async || told().await.filter(|told| told.starts_with(&text));
    let first = eventually(LIMIT, "STATUS to tell of it", tells).await;
    // More happens, and since when it is silent stays as it was.
    world.add("other", 1, model.path()).await;
    world.serving("other", 1).await;
    assert_eq!(told().await.unwrap(), first);
    send_signal("CONT", &world.daemon.pids_of("maas_runner"));
    world.serving("dga", 1).await;
    let silent = async || world.progress("dga").await.unwrap().doing.is_empty();
    eventually(LIMIT, "STATUS to tell of it no more", silent).await;
}
