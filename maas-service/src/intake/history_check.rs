//! Requests against a real ZooKeeper under schedules drawn by chance: intakes that are dropped in the middle of whatever they
//! do, as if killed, and intakes that still work when another one has taken the lead. Afterwards the final counts and the
//! answers are compared with what the requests, taken once and in order, come to.
//!
//! `MAAS_HISTORIES` sets how many schedules are run, `MAAS_SEED` runs a single one.

use std::time::Duration;

use maas_client::SessionConfig;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{CreateMode, Session, Step};
use maas_client::wire::state::{Desired, Outcome, RequestResult};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use test_support::ZooKeeper;
use tokio::task::JoinSet;

use super::{Intake, Round};
use crate::leader::Lead;
use crate::plan::Room;
use crate::simulation::{Ask, MODELS, MOST, VERSIONS, draw_asks, expected, number};

/// How many schedules are run unless told otherwise.
const HISTORIES: u64 = 2000;

/// How many of them at a time.
const AT_ONCE: u64 = 8;

const ROOM: Room = Room {
    memory_mb: MOST as u64 * 100,
    vcores: None,
};

/// One schedule's part of the tree.
fn layout(seed: u64) -> Layout {
    let path = |name: &str| ZnodePath::new(format!("/history-{seed}/{name}")).expect("a path");
    Layout {
        queue: path("queue"),
        service_root: path("service"),
        state_root: path("state"),
        ..Layout::default()
    }
}

/// Comes to lead: whoever led before is fenced off.
async fn take_lead(session: &Session, layout: &Layout) -> Lead {
    let epoch = layout.epoch();
    let stat = session
        .set(&epoch, b"", None)
        .await
        .expect("ZooKeeper is there");
    Lead::of_epoch(epoch, stat.version)
}

async fn run(session: &Session, seed: u64) {
    let mut dice = StdRng::seed_from_u64(seed);
    let layout = layout(seed);
    session
        .ensure(&layout.epoch())
        .await
        .expect("ZooKeeper is there");
    let asks = draw_asks(&mut dice, false);
    let mut left = asks.as_slice();
    let mut lead = take_lead(session, &layout).await;
    let mut intake = Intake::new(session.clone(), layout.clone(), ROOM);
    intake.layout_ready().await.expect("ZooKeeper is there");
    let mut overtaken: Option<(Intake, Lead)> = None;
    while !left.is_empty() {
        let (now, later) = left.split_at(dice.random_range(1..=left.len().min(4)));
        left = later;
        offer(session, &layout, now).await;
        for _ in 0..dice.random_range(1..4) {
            let killed_after = Duration::from_micros(dice.random_range(0..4000));
            let _dropped_where_it_was =
                tokio::time::timeout(killed_after, intake.round(&lead)).await;
            if let Some((old, its_lead)) = &mut overtaken {
                let _it_finds_out_when_it_writes =
                    tokio::time::timeout(killed_after, old.round(its_lead)).await;
            }
            if dice.random_ratio(1, 3) {
                let next = take_lead(session, &layout).await;
                let new = Intake::new(session.clone(), layout.clone(), ROOM);
                overtaken = Some((
                    std::mem::replace(&mut intake, new),
                    std::mem::replace(&mut lead, next),
                ));
            }
        }
    }
    while !matches!(intake.round(&lead).await, Ok(Round::Empty)) {}
    compare(session, &layout, seed, &asks).await;
    remove(session, &layout.queue.parent().expect("it lies below")).await;
}

async fn offer(session: &Session, layout: &Layout, asks: &[(Ask, Option<String>)]) {
    let create = |(ask, id): &(Ask, Option<String>)| Step::Create {
        path: layout.queue.join("qn-"),
        data: ask.item(id.as_deref()).into_bytes(),
        mode: CreateMode::PersistentSequential,
    };
    let steps: Vec<Step> = asks.iter().map(create).collect();
    session.commit(&steps).await.expect("ZooKeeper is there");
}

async fn compare(session: &Session, layout: &Layout, seed: u64, asks: &[(Ask, Option<String>)]) {
    let (counts, outcomes) = expected(asks);
    let again = format!("again with MAAS_SEED={seed}; {asks:?}");
    for (model, name) in MODELS.iter().enumerate() {
        for (version, text) in VERSIONS.iter().enumerate() {
            let name = name.parse().expect("a name");
            let path = layout.desired(&name, &text.parse().expect("a version"));
            let read = session.get(&path).await.expect("ZooKeeper is there");
            let does = read.map_or(0, |(data, _)| {
                Desired::parse(&data).expect("ours").instances
            });
            let should = counts.get(&(model, version)).copied().unwrap_or(0);
            assert_eq!(does, should, "copies of {name} {text}; {again}");
        }
    }
    let root = layout.results_root();
    let mut answers = [0; 3];
    for name in session.children(&root).await.expect("ZooKeeper is there") {
        let read = session
            .get(&root.join(&name))
            .await
            .expect("ZooKeeper is there");
        let (data, _) = read.expect("it was listed");
        answers[match RequestResult::parse(&data).expect("ours").outcome {
            Outcome::Accepted | Outcome::Superseded => 0,
            Outcome::Refused => 1,
            Outcome::SetAside => 2,
        }] += 1;
    }
    assert_eq!(answers, outcomes, "accepted, refused, set aside; {again}");
}

/// Takes a schedule's part of the tree away, so that the server's memory stays small.
async fn remove(session: &Session, root: &ZnodePath) {
    let mut below = vec![root.clone()];
    let mut next = 0;
    while let Some(path) = below.get(next).cloned() {
        next += 1;
        let names = session.children(&path).await.expect("ZooKeeper is there");
        below.extend(names.iter().map(|name| path.join(name)));
    }
    let delete = |path: &ZnodePath| Step::Delete {
        path: path.clone(),
        version: None,
    };
    let steps: Vec<Step> = below.iter().rev().map(delete).collect();
    session.commit(&steps).await.expect("nobody else is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_taken_by_intakes_that_are_killed_and_overtaken_come_to_what_they_should() {
    let zookeeper = ZooKeeper::start().await;
    let config = SessionConfig::new(zookeeper.connect_string());
    let (first, last) = match number("MAAS_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("MAAS_HISTORIES").unwrap_or(HISTORIES)),
    };
    let mut workers = JoinSet::new();
    for worker in 0..AT_ONCE.min(last - first) {
        let config = config.clone();
        workers.spawn(async move {
            let session = Session::connect(config).await.expect("ZooKeeper is there");
            let mut seed = first + worker;
            while seed < last {
                run(&session, seed).await;
                seed += AT_ONCE;
            }
            session.close().await;
        });
    }
    // The first failure is shown with its seed.
    while let Some(done) = workers.join_next().await {
        done.expect("a schedule failed; its seed is above");
    }
}
