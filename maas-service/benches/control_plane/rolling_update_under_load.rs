//! What callers notice of rolling updates, there and back, and of one that fails and is taken back. Goal: no failed call.

use std::time::Instant;

use maas_client::wire::history::{Change, History};
use test_support::{ModelFolder, eventually};

use crate::load::Load;
use crate::model;
use crate::stand::{LIMIT, Stand, add};

const COPIES: usize = 2;
const UPDATES: usize = 4;

pub(crate) async fn run() {
    let stand = Stand::start(&[]).await;
    let versions = [("1.0", model::folder()), ("2.0", model::folder())];
    let (first, folder) = &versions[0];
    stand
        .ask_and_get(&add("m", first, COPIES, folder, ""))
        .await;
    stand.serving("m", first, COPIES).await;
    println!("{UPDATES} rolling updates there and back and one that fails, {COPIES} copies");
    let load = Load::start(&stand, "m").await;
    for update in 0..UPDATES {
        let (old, _) = &versions[update % 2];
        let (new, folder) = &versions[(update + 1) % 2];
        let start = Instant::now();
        let more = format!(r#","replace":"{old}","deadline":100"#);
        stand
            .ask_and_get(&add("m", new, COPIES, folder, &more))
            .await;
        eventually(LIMIT, "the old version to be gone", async || {
            stand.statuses("m", old).await.is_empty()
        })
        .await;
        stand.serving("m", new, COPIES).await;
        println!("  {old} -> {new}: {:.1} s", start.elapsed().as_secs_f64());
    }
    let (old, _) = &versions[UPDATES % 2];
    let mute = ModelFolder::with_script("exec sleep 1000");
    let more = format!(r#","replace":"{old}","deadline":3"#);
    let start = Instant::now();
    stand
        .ask_and_get(&add("m", "3.0", COPIES, &mute, &more))
        .await;
    let path = stand
        .layout
        .history(&"m".parse().unwrap(), &"3.0".parse().unwrap());
    let given_up = async || {
        let (data, _) = stand.session.get(&path).await.unwrap()?;
        let history = History::parse(&data).unwrap();
        let last = history.generations.last()?;
        (last.change == Change::RolledBack).then_some(())
    };
    eventually(LIMIT, "the update to be given up", given_up).await;
    eventually(LIMIT, "the failed version to be gone", async || {
        stand.statuses("m", "3.0").await.is_empty()
    })
    .await;
    stand.serving("m", old, COPIES).await;
    println!(
        "  {old} -> 3.0, which never answers, and back: {:.1} s",
        start.elapsed().as_secs_f64()
    );
    load.end().await.print();
    stand.session.close().await;
}
