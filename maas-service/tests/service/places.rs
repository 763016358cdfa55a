//! Where copies answer: what a bundle says about its health, models that move, and ports that belong to somebody else.

use std::fs;

use maas_client::wire::state::{InstanceStatus, Phase};
use test_support::{ModelFolder, eventually};

use crate::life::{pid_of, replaced};
use crate::world::{LIMIT, World};

fn with_settings(folder: ModelFolder, settings: &str) -> ModelFolder {
    fs::write(folder.path().join("maas.json"), settings).unwrap();
    folder
}

/// A server whose `/health` answers with the status in the file `health`, or not at all while there is none.
fn model_with_health(settings: &str) -> ModelFolder {
    let folder = ModelFolder::with_script(
        r#"cat > healthy.py <<'END'
import os, time
source = open("serve.py").read()
source = source.replace("200 OK", "%s OK").replace("head % len(body)", "head % (status(path), len(body))")
def status(path):
    if not path.startswith("/health"):
        return "200"
    while not os.path.exists("health"):
        time.sleep(0.01)
    return open("health").read().strip()
exec(source)
END
        [ -e health ] || echo 503 > health
        exec "$python" -S -E healthy.py"#,
    );
    with_settings(folder, settings)
}

/// F20, and the reason why a bundle may name a path: only that tells a model that hangs from one that works.
#[tokio::test]
async fn a_model_that_is_not_well_is_not_registered_and_one_that_hangs_is_withdrawn_and_started_again()
 {
    let world = World::start(&[]).await;
    let model = model_with_health(r#"{"health": "/health", "health_interval_ms": 100}"#);
    world.add("dga", 1, model.path()).await;
    world
        .explained("dga", Phase::Probing, "answers with status 503")
        .await;
    assert!(world.registered("dga").await.is_empty());
    let health = world.daemon.folders()[0].join("work/health");
    fs::write(&health, "204").unwrap();
    let pid = pid_of(&world, "dga").await;
    // From now on it takes connections and never answers.
    fs::remove_file(&health).unwrap();
    let status = world
        .explained("dga", Phase::Backoff, "does not answer within 1 s")
        .await;
    assert_eq!(status.url, None);
    assert!(world.registered("dga").await.is_empty(), "withdrawn first");
    fs::write(&health, "200").unwrap();
    replaced(&world, "dga", pid).await;
    // It says itself that it is ill.
    let pid = pid_of(&world, "dga").await;
    fs::write(&health, "500").unwrap();
    world
        .explained("dga", Phase::Backoff, "answers with status 500")
        .await;
    fs::write(&health, "200").unwrap();
    replaced(&world, "dga", pid).await;
}

#[tokio::test]
async fn settings_of_a_bundle_that_are_not_understood_end_it_with_the_reason() {
    let world = World::start(&[]).await;
    let model = with_settings(ModelFolder::answering(), r#"{"helth": "/health"}"#);
    world.add("dga", 1, model.path()).await;
    let status = world
        .explained("dga", Phase::Failed, "unknown field `helth`")
        .await;
    assert_eq!(status.retry_at_ms, None);
}

#[tokio::test]
async fn a_bundle_may_say_how_long_its_start_takes() {
    let world = World::start(&[]).await;
    let model = with_settings(
        ModelFolder::with_script("exec sleep 1000"),
        r#"{"start_timeout_s": 1}"#,
    );
    world.add("dga", 1, model.path()).await;
    world
        .explained("dga", Phase::Backoff, "did not serve within 1 s")
        .await;
}

/// F27: the new place is registered once it answers, and takes the old one's place at once; garbage moves nobody.
#[tokio::test]
async fn a_model_that_moves_is_followed_and_one_that_writes_garbage_stays_where_it_is() {
    let world = World::start(&["--health_interval", "100"]).await;
    let model = ModelFolder::with_script(
        r#""$python" -S -E serve.py first & while [ ! -e move ]; do sleep 0.02; done
        cp endpoint.dat old; "$python" -S -E serve.py second & wait"#,
    );
    world.add("dga", 1, model.path()).await;
    let before = world.serving("dga", 1).await.remove(0);
    let folder = world.daemon.folders().remove(0);
    let log = async |text: &str| {
        let log = async || {
            fs::read_to_string(folder.join("logs/runner.log"))
                .unwrap()
                .contains(text)
        };
        eventually(LIMIT, text, log).await;
    };
    for (garbage, told) in [
        ("not yet JSON", "endpoint.dat is not usable yet"),
        (r#"{"url":"http://192.0.2.7:80"}"#, "is not this host"),
        (r#"{"url":"http://localhost:1"}"#, "can't be connected to"),
    ] {
        fs::write(folder.join("work/endpoint.dat"), garbage).unwrap();
        log(told).await;
        assert_eq!(world.serving("dga", 1).await[0], before);
    }
    fs::write(folder.join("work/move"), "").unwrap();
    let moved = async || {
        let entry = world.registered("dga").await.pop();
        entry.filter(|entry| entry.url != before.url)
    };
    let after = eventually(LIMIT, "the model to be followed", moved).await;
    assert_eq!(after.instance, before.instance);
    assert_eq!(world.apply("dga", &[]).await["arguments"][0], "second");
    let told = async || world.statuses("dga").await.pop();
    let fits = async || {
        let status: InstanceStatus = told().await?;
        (status.url.as_deref() == Some(after.url.as_str())).then_some(status)
    };
    let status = eventually(LIMIT, "the status to follow", fits).await;
    assert_eq!((status.phase, status.restarts), (Phase::Serving, 0));
}

/// F30: the port is somebody else's, who answers all the same.
#[tokio::test]
async fn a_server_of_somebody_else_is_not_taken_for_the_model_unless_the_bundle_says_so() {
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = tokio::task::JoinSet::new();
    let router = axum::Router::new().route("/apply", axum::routing::get(async || "{}"));
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let script =
        format!(r#"echo '{{"url":"http://localhost:{port}"}}' > endpoint.dat; exec sleep 1000"#);

    let world = World::start(&[]).await;
    let thief = ModelFolder::with_script(&script);
    world.add("thief", 1, thief.path()).await;
    let status = world
        .explained("thief", Phase::Probing, "is no process of this copy")
        .await;
    let us = format!("process {} (", std::process::id());
    assert!(status.reason.unwrap().contains(&us), "named by id and name");
    assert!(world.registered("thief").await.is_empty());

    let guest = with_settings(ModelFolder::with_script(&script), r#"{"listener": "any"}"#);
    world.add("guest", 1, guest.path()).await;
    world.serving("guest", 1).await;
}
