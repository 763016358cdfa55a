//! How long it takes from offering an ADD until the model's answer is had through the client, for a model that is ready at
//! once; and how much of that is the model's own time, measured by running the same script alone.
//!
//! Goal: our share is at most 50 ms.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use maas_client::layout::Layout;
use maas_client::queue::Queue;
use maas_client::{MaasClient, Session, SessionConfig};
use test_support::{Daemon, ModelFolder, ZooKeeper, eventually, goals_met, verdict};
use tokio::task::JoinSet;

const MODELS: usize = 40;
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    // The model's server runs already; its script only says where.
    let router = Router::new().route(
        "/apply",
        get(|| async { Json(serde_json::json!({ "ready": true })) }),
    );
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let script =
        format!(r#"echo '{{"url":"http://localhost:{port}"}}' > endpoint.dat; exec sleep 1000"#);
    let model = ModelFolder::with_script(&script);
    std::fs::write(model.path().join("maas.json"), r#"{"listener": "any"}"#).unwrap();

    let zookeeper = ZooKeeper::start().await;
    let daemon = Daemon::start(zookeeper.connect_string(), &[]);
    let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let layout = Layout::default();
    let leads = async || {
        !session
            .children(&layout.leader_root())
            .await
            .unwrap()
            .is_empty()
    };
    eventually(LIMIT, "the daemon to lead", leads).await;
    let queue = Queue::new(session.clone(), layout.clone());
    let maas = MaasClient::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let mut news = maas.discovery().freshness();

    let mut offered = Vec::new();
    let mut whole = Vec::new();
    let mut alone = Vec::new();
    for n in 0..MODELS {
        let name = format!("model{n}");
        let add = format!(
            r#"{{"name":"{name}","version":"1","numInstances":1,"memory":16,"action":"ADD","path":"{}"}}"#,
            model.path().display()
        );
        let start = Instant::now();
        queue.offer(add.as_bytes()).await.unwrap();
        offered.push(start.elapsed());
        let endpoint = loop {
            match maas.get_endpoint(&name, None) {
                Ok(endpoint) => break endpoint,
                Err(_) => news.changed().await.unwrap(),
            }
        };
        assert_eq!(
            maas.model_apply(&endpoint, None, &[]).await.unwrap()["ready"],
            true
        );
        whole.push(start.elapsed());
        alone.push(model_alone(&model));
    }
    let [offered, whole, alone] = [offered, whole, alone].map(sorted_ms);
    println!("ADD to the first successful apply, {MODELS} models one after the other, ms");
    println!("                                  p50     p90     max");
    for (what, values) in [
        ("whole", &whole),
        ("of it offering the request", &offered),
        ("the model alone", &alone),
    ] {
        println!(
            "  {what:28} {:7.1} {:7.1} {:7.1}",
            at(values, 0.5),
            at(values, 0.9),
            at(values, 1.0)
        );
    }
    let share = at(&whole, 0.5) - at(&alone, 0.5);
    println!(
        "our share (p50): {share:.1} ms (goal: <= 50, {})",
        verdict(share <= 50.0)
    );
    maas.close().await;
    session.close().await;
    drop(daemon);
    goals_met()
}

/// How long the script takes until its endpoint.dat is complete, with nobody between it and us.
fn model_alone(model: &ModelFolder) -> Duration {
    let folder = test_support::TempDir::new().unwrap();
    let start = Instant::now();
    let mut script = Command::new(model.path().join("start.sh"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    while !std::fs::read(folder.path().join("endpoint.dat"))
        .is_ok_and(|bytes| bytes.ends_with(b"}\n"))
    {
        std::thread::yield_now();
    }
    let took = start.elapsed();
    script.kill().unwrap();
    script.wait().unwrap();
    took
}

fn sorted_ms(values: Vec<Duration>) -> Vec<f64> {
    let mut values: Vec<f64> = values
        .iter()
        .map(|value| value.as_secs_f64() * 1e3)
        .collect();
    values.sort_by(f64::total_cmp);
    values
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a few dozen values"
)]
fn at(sorted: &[f64], quantile: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * quantile).round() as usize]
}
