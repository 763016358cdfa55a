//! What finding and calling a model costs, beside the plain way of doing the same, in one run.
//!
//! * Lookup: [`Discovery::pick`] and a [`ModelHandle`], beside a hash map behind a read-write lock. Goal: at most 100 ns.
//! * Apply: [`Caller::apply`] beside a bare `hyper` connection that is kept alive and parses nothing, against the same
//!   server. Goal: at least 80 % of its throughput.
//!
//! Rounds of both alternate, so that a noisy machine is noisy for both; the figures are medians over the rounds.
//!
//! [`Discovery::pick`]: maas_client::discovery::Discovery::pick
//! [`ModelHandle`]: maas_client::discovery::ModelHandle

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use maas_client::apply::{ApplyOptions, Caller};
use maas_client::discovery::{Discovery, Endpoint};
use maas_client::endpoint_url::EndpointUrl;
use maas_client::layout::Layout;
use maas_client::session::CreateMode;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, ModelName, Session, SessionConfig, Version};
use rand::RngExt;
use test_support::{ZooKeeper, goals_met, verdict};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        lookups().await;
        applies().await;
    });
    goals_met()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn entry(name: &str, version: &str, instance: usize, url: &str) -> Registration {
    Registration {
        name: ModelName::new(name).unwrap(),
        version: Version::new(version).unwrap(),
        instance: InstanceId::new(instance.to_string()).unwrap(),
        url: EndpointUrl::parse(url).unwrap(),
        functions: Functions::default(),
        registered_ms: 1,
    }
}

async fn lookups() {
    const MODELS: usize = 16;
    const COPIES: usize = 10;
    let zookeeper = ZooKeeper::start().await;
    let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let layout = Layout::default();
    let mut plain: HashMap<String, Vec<Arc<Endpoint>>> = HashMap::new();
    for model in 0..MODELS {
        for copy in 0..COPIES {
            let entry = entry(&format!("model{model}"), "1.0", copy, "http://node1:1");
            session.ensure(&layout.service(&entry.name)).await.unwrap();
            let path = layout.registration(&entry.name, &entry.instance);
            session
                .create(&path, &entry.to_bytes(), CreateMode::Persistent)
                .await
                .unwrap();
            plain
                .entry(entry.name.to_string())
                .or_default()
                .push(Arc::new(Endpoint::from(entry)));
        }
    }
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    let locked = RwLock::new(plain);
    let mut handle = discovery.handle(ModelName::new("model7").unwrap(), None);
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        rounds[0].push(ns_per_call(|| {
            black_box(handle.pick().unwrap());
        }));
        rounds[1].push(ns_per_call(|| {
            drop(black_box(
                discovery.pick(black_box("model7"), None).unwrap(),
            ))
        }));
        rounds[2].push(ns_per_call(|| {
            drop(black_box(
                discovery.pick(black_box("model7"), Some("1.0")).unwrap(),
            ))
        }));
        rounds[3].push(ns_per_call(|| {
            let models = locked.read().unwrap();
            let copies = &models[black_box("model7")];
            drop(black_box(
                copies[rand::rng().random_range(0..copies.len())].clone(),
            ));
        }));
    }
    let [handle, name, version, lock] = rounds.map(median);
    println!("lookup among {MODELS} models of {COPIES} copies, ns (goal: <= 100)");
    for (what, took) in [
        ("by handle", handle),
        ("by name", name),
        ("by name and version", version),
    ] {
        println!(
            "  {what:20} {took:8.1}   {:5.2} x the lock   {}",
            took / lock,
            verdict(took <= 100.0)
        );
    }
    println!("  lock and hash map    {lock:8.1}");
    session.close().await;
}

fn ns_per_call(mut call: impl FnMut()) -> f64 {
    const CALLS: u32 = 1_000_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

async fn applies() {
    let router = Router::new().route(
        "/apply",
        get(|| async { Json(serde_json::json!({ "is_malicious": "legit" })) }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let endpoint = Arc::new(Endpoint::from(entry(
        "dga",
        "1.0",
        1,
        &format!("http://{address}"),
    )));
    let caller = Caller::new(ApplyOptions::default()).unwrap();
    println!(
        "apply, calls per second, client and server on the same cores (goal: >= 80 % of the bare connection)"
    );
    println!("  callers      ours      bare     ours/bare");
    for callers in [1, 8, 32] {
        let mut ours = Vec::new();
        let mut bare = Vec::new();
        for _ in 0..ROUNDS {
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                let (caller, endpoint) = (caller.clone(), endpoint.clone());
                tasks.spawn(count(async move || {
                    let answer = caller
                        .apply(&endpoint, None, &[("host", "yahoo.com")])
                        .await
                        .unwrap();
                    assert!(answer.contains_key("is_malicious"));
                }));
            }
            ours.push(per_second(tasks).await);
            let mut tasks = JoinSet::new();
            for _ in 0..callers {
                let mut connection = connect(&address.to_string()).await;
                tasks.spawn(async move {
                    let deadline = Instant::now() + ROUND;
                    let mut calls = 0;
                    while Instant::now() < deadline {
                        bare_call(&mut connection, &address.to_string()).await;
                        calls += 1;
                    }
                    calls
                });
            }
            bare.push(per_second(tasks).await);
        }
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&bare)
            .map(|(ours, bare)| ours / bare)
            .collect();
        let ratio = median(ratios);
        println!(
            "  {callers:7} {:9.0} {:9.0}     {ratio:8.2}   {}",
            median(ours),
            median(bare),
            verdict(ratio >= 0.8)
        );
    }
}

async fn count(call: impl AsyncFn()) -> u64 {
    let deadline = Instant::now() + ROUND;
    let mut calls = 0;
    while Instant::now() < deadline {
        call().await;
        calls += 1;
    }
    calls
}

async fn per_second(tasks: JoinSet<u64>) -> f64 {
    let start = Instant::now();
    let calls: u64 = tasks.join_all().await.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "calls in less than a second")]
    let calls = calls as f64;
    calls / start.elapsed().as_secs_f64()
}

async fn connect(address: &str) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with its sender")]
    tokio::spawn(connection);
    sender
}

async fn bare_call(connection: &mut SendRequest<Empty<Bytes>>, address: &str) {
    let request = hyper::Request::get("/apply?host=yahoo.com")
        .header("host", address)
        .header("accept", "application/json")
        .body(Empty::new())
        .unwrap();
    let response = connection.send_request(request).await.unwrap();
    black_box(response.into_body().collect().await.unwrap().to_bytes());
}
