//! What it costs when one of three servers of ZooKeeper is gone, the one that the daemon is connected to. Goal: requests are
//! taken again within a second, by way of another server; the daemon goes on leading, no call fails, and no model is started
//! again. The server does not lead the three: of that one, the two that are left first have to elect another.

use std::time::{Duration, Instant};

use test_support::{Ensemble, eventually, verdict};

use crate::load::Load;
use crate::model;
use crate::stand::{LIMIT, Stand, connect};

const ROUNDS: usize = 4;
const COPIES: usize = 3;
const GOAL: Duration = Duration::from_secs(1);

pub(crate) async fn run() {
    let ensemble = Ensemble::start().await;
    let quorum = ensemble.connect_string();
    let mut stand = Stand::on(ensemble, &quorum, &quorum, &[]).await;
    let model = model::folder();
    let before = stand.runs(&model, COPIES).await;
    let load = Load::start(&stand, "m").await;
    println!(
        "the daemon's server of three gone {ROUNDS} times under load, {COPIES} copies of a model"
    );
    let (mut longest, mut led) = (Duration::ZERO, true);
    for _ in 0..ROUNDS {
        let server = on_a_follower(&mut stand).await;
        // We ourselves are not to lose our server.
        let mut others: Vec<&str> = quorum.split(',').collect();
        let gone = others.remove(server);
        stand.session = connect(&others.join(",")).await;
        stand.is_answered().await;
        let leads = epoch(&stand).await;
        let start = Instant::now();
        stand.zookeeper.kill(server);
        stand.is_answered().await;
        longest = longest.max(start.elapsed());
        led &= epoch(&stand).await == leads;
        stand.zookeeper.start_again(server);
        connect(gone).await.close().await;
    }
    println!(
        "  requests are answered again after {:.2} s at the longest (goal: <= {}, {})",
        longest.as_secs_f64(),
        GOAL.as_secs(),
        verdict(longest <= GOAL)
    );
    println!(
        "  the daemon has led all the time: {led} (goal: true, {})",
        verdict(led)
    );
    stand.serving("m", "1.0", COPIES).await;
    load.end().await.print();
    let after = stand.who_runs("m", "1.0").await;
    println!(
        "  models started again: {} (goal: 0, {})",
        after.iter().filter(|copy| !before.contains(copy)).count(),
        verdict(before == after)
    );
    stand.session.close().await;
}

/// Starts the daemon again until it is connected to a server that does not lead the others; tells which.
async fn on_a_follower(stand: &mut Stand<Ensemble>) -> usize {
    loop {
        stand.daemon.kill();
        stand.daemon.start_again();
        stand.is_answered().await;
        let server = server_of_leader(stand).await;
        if server != stand.zookeeper.leader().await {
            return server;
        }
    }
}

/// The server that the session of the leading daemon was made at: the first byte of a session's id tells.
async fn server_of_leader(stand: &Stand<Ensemble>) -> usize {
    let root = stand.layout.leader_root();
    let owner = async || {
        let names = stand.session.children(&root).await.ok()?;
        let [only] = names.as_slice() else {
            return None;
        };
        let stat = stand.session.stat(&root.join(only)).await.ok()??;
        Some(stat.ephemeral_owner)
    };
    let owner = eventually(LIMIT, "one daemon to lead", owner).await;
    usize::from(owner.to_be_bytes()[0]) - 1
}

/// Who leads: by each change, this grows.
async fn epoch(stand: &Stand<Ensemble>) -> i32 {
    let stat = stand.session.stat(&stand.layout.epoch()).await.unwrap();
    stat.unwrap().version
}
