//! Bundles that change in the model store while copies fetch them (F36). A bundle is called by the digest of its content, and
//! nothing else is ever started under that name.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use maas_client::wire::state::Phase;
use model_store::{Bundle, Location, Store};
use test_support::{ModelFolder, TempDir, eventually};

use crate::world::{LIMIT, World};

/// Uploads a model, and tells where it lies.
async fn put(store: &Path, model: &ModelFolder) -> PathBuf {
    let base = Location::parse(store.to_str().unwrap()).unwrap();
    let bundle = Bundle::scan(model.path()).unwrap();
    let put = Store::open(&base)
        .unwrap()
        .put(&bundle, &base, "dga", "1.0", |_| {})
        .await
        .unwrap();
    store.join("dga/1.0").join(put.location.file_name())
}

/// A model of which the copies tell by their arguments which content they are of.
fn model(content: &str) -> ModelFolder {
    ModelFolder::with_script(&format!(r#"exec "$python" -S -E serve.py {content}"#))
}

#[tokio::test]
async fn a_bundle_that_is_being_replaced_is_fetched_again_and_served_when_it_is_whole() {
    let world = World::start(&[]).await;
    let store = TempDir::new().unwrap();
    let whole = put(store.path(), &model("right")).await;
    // One file of it is another's, as in the middle of a copy over it.
    let script = whole.join("start.sh");
    let right = fs::read(&script).unwrap();
    let wrong = String::from_utf8(right.clone()).unwrap();
    fs::write(&script, wrong.replace("right", "wrong")).unwrap();
    world.add("dga", 1, &whole).await;
    let why = "the content of the file `start.sh` is not the original";
    let status = world.explained("dga", Phase::Backoff, why).await;
    let work = world.daemon.folders()[0].join("work");
    assert!(!work.exists(), "nothing of it is ever where it could run");
    // Then all of it is another bundle, whole in itself.
    let (other, aside) = (
        put(store.path(), &model("other")).await,
        store.path().join("aside"),
    );
    fs::rename(&whole, &aside).unwrap();
    fs::rename(&other, &whole).unwrap();
    world
        .explained("dga", Phase::Backoff, "its manifest has the digest")
        .await;
    fs::rename(&whole, &other).unwrap();
    fs::write(aside.join("start.sh"), right).unwrap();
    fs::rename(&aside, &whole).unwrap();
    let served = world.serving("dga", 1).await;
    assert_eq!(served[0].instance, status.instance, "by the same copy");
    let answer = world.apply("dga", &[]).await;
    assert_eq!(answer["arguments"], serde_json::json!(["right"]));
}

#[tokio::test]
async fn a_bundle_that_stays_damaged_fails_for_good_after_eight_fetches_and_says_why() {
    let world = World::start(&["--restart_delay", "10"]).await;
    let store = TempDir::new().unwrap();
    let bundle = put(store.path(), &model("right")).await;
    let sound = fs::read(bundle.join("serve.py")).unwrap();
    fs::write(bundle.join("serve.py"), "exit()").unwrap();
    world.add("dga", 1, &bundle).await;
    let status = world
        .explained("dga", Phase::Failed, "it was fetched 8 times")
        .await;
    assert_eq!(status.restarts, 7);
    let why = status.last_failure.unwrap().why;
    assert!(
        why.contains("is damaged; remove it and deploy it again"),
        "{why}"
    );
    assert!(why.contains("the file `serve.py` has 6 bytes"), "{why}");
    assert!(!world.daemon.folders()[0].join("work").exists());
    // Once it is mended, a new request has the failed copy replaced, too, and nobody finds anything wrong with it.
    fs::write(bundle.join("serve.py"), sound).unwrap();
    world.add("dga", 1, &bundle).await;
    world.serving("dga", 2).await;
}

/// F35: a store that is away says nothing of the model, and neither does the failure.
#[tokio::test]
async fn a_store_that_is_away_is_told_apart_from_a_bundle_that_is_not_there() {
    let world = World::start(&[]).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = format!("hdfs://{}/models/dga/1.0", nobody.local_addr().unwrap());
    drop(nobody);
    let store = TempDir::new().unwrap();
    let nothing = format!("file:{}/dga", store.path().display());
    for (name, path) in [("away", &away), ("nothing", &nothing)] {
        let item = format!(
            r#"{{"name":"{name}","version":"1.0","numInstances":1,"memory":64,"action":"ADD","path":"{path}"}}"#
        );
        world.answer(&world.offer(&item).await).await;
    }
    for (name, store_away) in [("away", true), ("nothing", false)] {
        let failed = async || {
            let status = world.statuses(name).await.pop()?;
            let phase = matches!(status.phase, Phase::Backoff | Phase::Fetching);
            let failure = status.last_failure.filter(|_| phase)?;
            Some((failure, status.restarts))
        };
        let (first, _) = eventually(LIMIT, "it to fail", failed).await;
        let again = async || {
            let (failure, restarts) = failed().await?;
            (failure.at_ms > first.at_ms).then_some((failure, restarts))
        };
        let (failure, restarts) = eventually(LIMIT, "it to be tried again", again).await;
        assert_eq!(failure.store_away, store_away, "{failure:?}");
        // What was never tried does not count.
        assert_eq!(restarts == 0, store_away);
    }
}
