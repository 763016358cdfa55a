//! How long it takes until a copy is adopted, probed and registered whose daemon was killed with `kill -9` when `endpoint.dat` was
//! written and nothing registered yet: from the daemon's start, at which the model begins to answer. Goal: at most two seconds.

use std::time::{Duration, Instant};

use test_support::{eventually, verdict};

use crate::model;
use crate::stand::{LIMIT, Stand, add};

const KILLS: usize = 5;
const GOAL: Duration = Duration::from_secs(2);

pub(crate) async fn run() {
    let mut stand = Stand::start(&[]).await;
    let model = model::patient_folder();
    println!("the daemon killed {KILLS} times before a new copy is registered");
    let mut longest = Duration::ZERO;
    for kill in 1..=KILLS {
        let name = format!("m{kill}");
        let before = stand.daemon.folders();
        stand.ask_and_get(&add(&name, "1.0", 1, &model, "")).await;
        let folder = eventually(LIMIT, "endpoint.dat to be written", async || {
            let mut folders = stand.daemon.folders();
            folders.retain(|folder| !before.contains(folder));
            folders
                .pop()
                .filter(|f| f.join("work/endpoint.dat").exists())
        })
        .await;
        stand.daemon.kill();
        let registered = stand.layout.service(&name.parse().unwrap());
        assert_eq!(stand.count(&registered).await, 0);
        let start = Instant::now();
        stand.daemon.start_again();
        std::fs::write(folder.join("work").join(model::ANSWER), "").unwrap();
        let instance = folder.file_name().unwrap().to_str().unwrap();
        eventually(LIMIT, "the copy to be adopted and registered", async || {
            let log = stand.daemon.log_tail();
            let mut lines = log.lines();
            let adopted = lines.any(|l| l.contains("copy adopted") && l.contains(instance));
            adopted && stand.count(&registered).await == 1
        })
        .await;
        let took = start.elapsed();
        println!("  kill {kill}: after {:.2} s", took.as_secs_f64());
        longest = longest.max(took);
        stand.serving(&name, "1.0", 1).await;
        assert_eq!(stand.daemon.folders().len(), kill, "none was started twice");
    }
    println!(
        "  the longest: {:.2} s (goal: <= {}, {})",
        longest.as_secs_f64(),
        GOAL.as_secs(),
        verdict(longest <= GOAL)
    );
    stand.session.close().await;
}
