//! How fast many copies of a trivial native model come to serve, asked for by one request: from the offer until all are in
//! the registry. Goal: at least 100 a second on one host. The floor is the same script started as often by nobody, until
//! every one has written `endpoint.dat` and answers.

use std::process::Stdio;
use std::time::{Duration, Instant};

use test_support::{ModelFolder, TempDir, eventually, verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::figures::{memory_mb, rate};
use crate::model;
use crate::stand::{LIMIT, Stand, add, remove};

const ROUNDS: usize = 3;

pub(crate) async fn run(copies: usize) {
    let stand = Stand::start(&["--memory", "1000000"]).await;
    let model = model::folder();
    let name = "m".parse().unwrap();
    let registered = stand.layout.service(&name);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    println!("{copies} copies of a trivial model by one ADD, from the offer to all registered");
    for round in 1..=ROUNDS {
        let start = Instant::now();
        stand
            .ask_and_get(&add("m", "1.0", copies, &model, ""))
            .await;
        eventually(LIMIT, "all copies to be registered", async || {
            let there = stand.count(&registered).await;
            (there == copies).then_some(()).ok_or(there)
        })
        .await;
        let took = start.elapsed();
        stand.serving("m", "1.0", copies).await;
        let daemon = memory_mb(stand.daemon.pid(), "VmRSS");
        stand.ask_and_get(&remove("m", "1.0", copies)).await;
        stand.nothing_is_left().await;
        let alone = start_bare(&model, copies).await;
        println!(
            "  round {round}: {:6.2} s {:7.1}/s; bare: {:6.2} s {:7.1}/s; the daemon takes {daemon:.1} MB",
            took.as_secs_f64(),
            rate(copies, took),
            alone.as_secs_f64(),
            rate(copies, alone)
        );
        ours.push(took);
        bare.push(alone);
    }
    ours.sort();
    bare.sort();
    let (ours, bare) = (
        rate(copies, ours[ROUNDS / 2]),
        rate(copies, bare[ROUNDS / 2]),
    );
    println!(
        "  median: {ours:.1}/s (goal: >= 100, {}); floor: {bare:.1}/s; ratio {:.2}",
        verdict(ours >= 100.0),
        ours / bare
    );
    stand.session.close().await;
}

/// Starts so many of the script with nobody between them and us; tells how long it takes until all answer.
async fn start_bare(model: &ModelFolder, copies: usize) -> Duration {
    let folders: Vec<TempDir> = (0..copies).map(|_| TempDir::new().unwrap()).collect();
    let start = Instant::now();
    let mut children = Vec::new();
    for folder in &folders {
        let child = Command::new(model.path().join("start.sh"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        children.push(child);
    }
    // One after the other: while one is awaited, the others come up.
    for folder in &folders {
        let file = folder.path().join("endpoint.dat");
        let url = eventually(LIMIT, "endpoint.dat", async || {
            std::fs::read_to_string(&file).ok()
        })
        .await;
        let port = url.trim_end_matches("\"}").rsplit(':').next().unwrap();
        ask(port.parse().unwrap()).await;
    }
    let took = start.elapsed();
    for mut child in children {
        child.kill().await.unwrap();
    }
    took
}

async fn ask(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
