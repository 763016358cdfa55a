//! How a copy is stopped: nobody is sent to it any more, those who wait for an answer get it, and nothing waits for ever.

use std::time::Duration;

use maas_client::wire::state::Phase;
use maas_client::{MaasClient, SessionConfig};
use test_support::{ModelFolder, eventually};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::life::{is_warden, kill};
use crate::world::{LIMIT, World};

/// A server that answers `/slow` when the file `answer` is there, and everything else at once.
fn slow_model() -> ModelFolder {
    ModelFolder::with_script(
        r#"cat > slow.py <<'END'
import os, time
source = open("serve.py").read()
source = source.replace("        body = json", "        slow(path)\n        body = json", 1)
def slow(path):
    if path.startswith("/slow"):
        open("asked", "w").close()
        while not os.path.exists("answer"):
            time.sleep(0.01)
exec(source)
END
        exec "$python" -S -E slow.py"#,
    )
}

async fn status_phase(world: &World, name: &str) -> Option<Phase> {
    world.statuses(name).await.first().map(|s| s.phase)
}

async fn draining(world: &World, name: &str) {
    let draining = async || status_phase(world, name).await == Some(Phase::Draining);
    eventually(LIMIT, "the copy to drain", draining).await;
}

#[tokio::test]
async fn a_call_under_way_is_answered_before_the_model_is_stopped() {
    let world = World::start(&["--drain_limit", "60"]).await;
    let model = slow_model();
    world.add("slow", 1, model.path()).await;
    world.serving("slow", 1).await;
    let work = world.daemon.folders()[0].join("work");
    let maas = MaasClient::connect(SessionConfig::new(&world.quorum))
        .await
        .unwrap();
    let endpoint = maas.get_endpoint("slow", None).unwrap();
    let call = maas.model_apply(&endpoint, Some("/slow"), &[]);
    let meanwhile = async {
        let asked = async || work.join("asked").exists();
        eventually(LIMIT, "the model to be asked", asked).await;
        world.remove("slow", 1).await;
        draining(&world, "slow").await;
        // Withdrawn, and far beyond the time for those who have not heard of it.
        assert!(world.registered("slow").await.is_empty());
        let drained = Instant::now() + Duration::from_secs(1);
        let still = async || {
            assert_eq!(status_phase(&world, "slow").await, Some(Phase::Draining));
            Instant::now() > drained
        };
        eventually(LIMIT, "a second to pass", still).await;
        std::fs::write(work.join("answer"), "").unwrap();
    };
    let (answer, ()) = tokio::join!(call, meanwhile);
    assert_eq!(answer.unwrap()["path"], "/slow");
    let answered = Instant::now();
    world.serving("slow", 0).await;
    assert!(answered.elapsed() < Duration::from_secs(10), "it ends then");
    maas.close().await;
}

#[tokio::test]
async fn a_connection_that_is_never_closed_holds_nothing_up_beyond_the_limit() {
    let world = World::start(&["--drain_limit", "1"]).await;
    let model = slow_model();
    world.add("slow", 1, model.path()).await;
    let entry = world.serving("slow", 1).await.remove(0);
    let url = entry.url.url();
    let place = (url.host_str().unwrap(), url.port().unwrap());
    let mut connection = TcpStream::connect(place).await.unwrap();
    let told = Instant::now();
    world.remove("slow", 1).await;
    world.serving("slow", 0).await;
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    let mut nothing = [0; 1];
    let end = tokio::io::AsyncReadExt::read(&mut connection, &mut nothing);
    let end = tokio::time::timeout(LIMIT, end).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "the model is gone");
}

/// F31: what is withdrawn may use no more memory than what serves.
#[tokio::test]
async fn a_copy_that_takes_too_much_memory_while_it_drains_is_killed_at_once() {
    let world = World::start(&["--drain_limit", "600"]).await;
    let greedy = ModelFolder::with_script(
        r#""$python" -S -E serve.py & while [ ! -e eat ]; do sleep 0.05; done; rm eat
        "$python" -S -E -c 'import time; food = b"x" * (200 << 20); time.sleep(1000)' & wait"#,
    );
    world.add("greedy", 1, greedy.path()).await;
    let entry = world.serving("greedy", 1).await.remove(0);
    let url = entry.url.url();
    let place = (url.host_str().unwrap(), url.port().unwrap());
    let _open = TcpStream::connect(place).await.unwrap();
    world.remove("greedy", 1).await;
    draining(&world, "greedy").await;
    std::fs::write(world.daemon.folders()[0].join("work/eat"), "").unwrap();
    world.nothing_is_left().await;
}

/// F7: the daemon's death doesn't matter to a copy that is draining; a runner's takes its model along.
#[tokio::test]
async fn a_drain_goes_on_without_the_daemon_and_ends_with_its_runner() {
    let mut world = World::start(&["--drain_limit", "60"]).await;
    let model = slow_model();
    for name in ["one", "two"] {
        world.add(name, 1, model.path()).await;
        world.serving(name, 1).await;
    }
    let maas = MaasClient::connect(SessionConfig::new(&world.quorum))
        .await
        .unwrap();
    let endpoints = ["one", "two"].map(|name| maas.get_endpoint(name, None).unwrap());
    let call = async |n: usize| maas.model_apply(&endpoints[n], Some("/slow"), &[]).await;
    let meanwhile = async {
        let asked = async || {
            let folders = world.daemon.folders();
            folders.iter().all(|f| f.join("work/asked").exists())
        };
        eventually(LIMIT, "both models to be asked", asked).await;
        world.remove("one", 1).await;
        draining(&world, "one").await;
        world.remove("two", 1).await;
        draining(&world, "two").await;
        world.daemon.kill();
        let two = &world.statuses("two").await[0];
        let marker = two.instance.to_string();
        let runners = world.daemon.pids_of(&marker);
        let runner = runners.into_iter().find(|&pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !is_warden(pid) && String::from_utf8_lossy(&line).contains("maas_runner")
        });
        kill(runner.unwrap());
        for folder in world.daemon.folders() {
            // The runner that was killed has taken its model along; what is written there is read by nobody.
            std::fs::write(folder.join("work/answer"), "").unwrap();
        }
    };
    let (one, two, ()) = tokio::join!(call(0), call(1), meanwhile);
    // The first is answered; the second is, or its model died before it could be.
    assert_eq!(one.unwrap()["path"], "/slow");
    drop(two);
    maas.close().await;
    let gone = async || world.daemon.processes_of_copies().is_empty();
    eventually(LIMIT, "all processes to end", gone).await;
    world.daemon.start_again();
    let cleaned = async || world.daemon.folders().is_empty();
    eventually(LIMIT, "what was left to be cleaned away", cleaned).await;
}
