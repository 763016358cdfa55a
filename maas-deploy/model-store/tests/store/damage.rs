//! What is cut short, changed, damaged, hostile or not there is told, and never mistaken for a bundle.

use std::fs;
use std::time::Duration;

use model_store::{Digest, Fault, Hadoop, Limits, Location, Store, StoreError};
use test_support::{Hdfs, eventually};
use tokio::task::JoinSet;

use crate::place::{MANIFEST, every_place, large, place_in, told};

#[tokio::test]
async fn an_upload_cut_short_leaves_nothing_under_the_final_name() {
    for place in every_place().await {
        let bundle = place.bundle(&[("model", &large()), ("start.sh", b"1")]);
        let (store, base, cut) = (place.store.clone(), place.base.clone(), bundle.clone());
        // Where it tells of its progress first, all that it holds is dropped. An abort could come too late: on a busy machine
        // a task may find every answer there already, and be done without ever waiting.
        let mut upload = JoinSet::new();
        upload.spawn(async move {
            let cut_it = |_| std::panic::resume_unwind(Box::new("cut"));
            store.put(&cut, &base, "dga", "1.0", cut_it).await
        });
        assert!(upload.join_next().await.unwrap().unwrap_err().is_panic());

        let folder = place.base.join("dga/1.0");
        let left = place.names(&folder).await;
        assert!(
            matches!(&left[..], [one] if one.starts_with(".uploading-")),
            "{left:?}"
        );
        let day = Duration::from_secs(24 * 60 * 60);
        assert_eq!(
            place
                .store
                .sweep(&place.base, "dga", "1.0", day)
                .await
                .unwrap(),
            0,
            "it could still go on"
        );

        let put = place.put(&bundle).await;
        assert!(put.uploaded);
        eventually(
            Duration::from_secs(30),
            "the rubbish to be a moment old",
            async || {
                place
                    .store
                    .sweep(&place.base, "dga", "1.0", Duration::ZERO)
                    .await
                    .unwrap()
                    == 1
            },
        )
        .await;
        assert_eq!(place.names(&folder).await, [put.digest.to_string()]);
        place.fetch(&put.location).await.unwrap();
    }
}

#[tokio::test]
async fn any_damage_is_found_and_named() {
    for place in every_place().await {
        let content = large();
        let bundle = place.bundle(&[("start.sh", b"1"), ("data/model", &content)]);
        let put = place.put(&bundle).await;
        let model = put.location.join("data/model");
        let check = async |what: &str, expected: &str| {
            let error = place.fetch(&put.location).await.unwrap_err();
            assert!(
                matches!(error, StoreError::Damaged { .. }),
                "{what}: {error:?}"
            );
            let told = told(&error);
            assert!(
                told.contains(&put.location.to_string()) && told.contains(expected),
                "{what}: {told}"
            );
        };

        place.write(&model, &content[..1_000_000]).await;
        check(
            "truncated",
            "`data/model` has 1000000 bytes instead of 2600000",
        )
        .await;
        let error = place
            .store
            .put(&bundle, &place.base, "dga", "1.0", |_| ())
            .await
            .unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "put does not build on it: {error:?}"
        );

        let mut flipped = content.clone();
        flipped[2_000_000] ^= 1;
        place.write(&model, &flipped).await;
        check(
            "one bit flipped",
            "the content of the file `data/model` is not the original",
        )
        .await;

        assert!(place.store.remove(&model).await.unwrap());
        check("missing", "`data/model` is missing").await;

        place.write(&model, &content).await;
        place.write(&put.location.join("data/extra"), b"x").await;
        check("extra", "`data/extra` does not belong to it").await;
        assert!(
            place
                .store
                .remove(&put.location.join("data/extra"))
                .await
                .unwrap()
        );
        place.fetch(&put.location).await.unwrap();

        let manifest = String::from_utf8(place.read(&put.location.join(MANIFEST)).await).unwrap();
        place
            .write(
                &put.location.join(MANIFEST),
                manifest.replace("data/model", "data/other").as_bytes(),
            )
            .await;
        check("another manifest", "its manifest has the digest").await;
        assert!(
            place
                .store
                .remove(&put.location.join(MANIFEST))
                .await
                .unwrap()
        );
        check("no manifest", "it has no manifest").await;
    }
}

#[tokio::test]
async fn a_manifest_cannot_lead_out_of_its_folder() {
    for place in every_place().await {
        let put = place
            .put(&place.bundle(&[("start.sh", b"1"), ("data/model", b"2")]))
            .await;
        let manifest = String::from_utf8(place.read(&put.location.join(MANIFEST)).await).unwrap();
        for path in ["../../stolen", "/tmp/stolen"] {
            // In a folder whose name promises no digest, so that only the path is at fault.
            let folder = place.base.join("evil");
            let evil = manifest.replace("data/model", path);
            place.write(&folder.join(MANIFEST), evil.as_bytes()).await;
            place.write(&folder.join("start.sh"), b"1").await;
            let digest = Digest::of(evil.as_bytes());
            let into = place.fresh();
            let error = place
                .store
                .fetch(&folder, Some(&digest), &into, &Limits::default())
                .await
                .unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged { source: Fault::Path { path: p }, .. } if p == path),
                "{error:?}"
            );
            assert!(!into.exists());
        }
    }
}

#[tokio::test]
async fn another_digest_than_the_expected_one_is_refused() {
    for place in every_place().await {
        let put = place.put(&place.bundle(&[("start.sh", b"1")])).await;
        let into = place.fresh();
        let other = Digest::of(b"other");
        let error = place
            .store
            .fetch(&put.location, Some(&other), &into, &Limits::default())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Damaged {
                    source: Fault::Digest { .. },
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_bundle_that_changes_after_the_scan_is_refused_and_leaves_nothing() {
    for place in every_place().await {
        let bundle = place.bundle(&[("start.sh", b"1"), ("model", b"22")]);
        fs::write(bundle.folder().join("model"), "333").unwrap();
        let error = place
            .store
            .put(&bundle, &place.base, "dga", "1.0", |_| ())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error:?}");

        // The same number of bytes, changed after the digest was taken: when the first file has been uploaded.
        let bundle = place.bundle(&[("a", b"1"), ("b", b"22"), ("start.sh", b"1")]);
        let change = || fs::write(bundle.folder().join("b"), "33").unwrap();
        let error = place
            .store
            .put(&bundle, &place.base, "dga", "1.0", |_| change())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Changed { .. }), "{error:?}");
        assert!(place.names(&place.base.join("dga/1.0")).await.is_empty());
    }
}

#[tokio::test]
async fn an_hdfs_that_is_not_there_is_an_error_that_names_it() {
    let port = test_support::free_port();
    let base =
        Location::parse_with(&format!("hdfs://127.0.0.1:{port}/models"), &Hadoop::none()).unwrap();
    let store = Store::open_with(&base, &Hadoop::none()).unwrap();
    let error = store.exists(&base).await.unwrap_err();
    let told = told(&error);
    assert!(
        told.contains(&format!(
            "could not look for `hdfs://127.0.0.1:{port}/models`"
        )),
        "{told}"
    );
}

#[tokio::test]
async fn an_hdfs_that_is_slow_to_know_its_blocks_gets_the_file_all_the_same() {
    // The DataNode tells of its blocks every 300 ms; a block of 1 MB is written in a tenth of that.
    let hdfs = Hdfs::start_with(&[("dfs.blockreport.incremental.intervalMsec", "300")]).await;
    let place = place_in(&hdfs, "/models");
    let content = large();
    let bundle = place.bundle(&[("model", &content), ("start.sh", b"1")]);
    let mut told = Vec::new();
    let put = place
        .store
        .put(&bundle, &place.base, "dga", "1.0", |done| told.push(done))
        .await
        .unwrap();
    assert!(put.uploaded);
    assert!(
        told.is_sorted() && told.last() == Some(&bundle.size()),
        "{told:?}"
    );
    let (into, _) = place.fetch(&put.location).await.unwrap();
    assert!(fs::read(into.join("model")).unwrap() == content);
}
