//! What goes in comes out, once, whole, and nothing else.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use model_store::{Bundle, BundleError, Fault, Hadoop, Limits, Location, Store, StoreError};
use tokio::task::JoinSet;

use crate::place::{MANIFEST, every_place, large, mode};

#[tokio::test]
async fn what_is_fetched_is_what_was_put() {
    for place in every_place().await {
        let large = large();
        let bundle = place.bundle(&[
            ("start.sh", b"#!/bin/sh\n"),
            ("data/a/model.bin", &large),
            ("data/b/ü ö", b""),
        ]);
        fs::create_dir_all(bundle.folder().join("tmp/empty")).unwrap();
        fs::write(bundle.folder().join("tool"), "x").unwrap();
        fs::set_permissions(
            bundle.folder().join("tool"),
            fs::Permissions::from_mode(0o755),
        )
        .unwrap();
        fs::write(bundle.folder().join("endpoint.dat"), "{}").unwrap();
        let bundle = Bundle::scan(bundle.folder()).unwrap();
        assert!(bundle.leaves_out_endpoint_dat());
        assert_eq!(bundle.size(), large.len() as u64 + 11);

        let told = RefCell::new(Vec::new());
        let put = place
            .store
            .put(&bundle, &place.base, "dga", "1.0", |done| {
                told.borrow_mut().push(done)
            })
            .await
            .unwrap();
        assert!(put.uploaded);
        assert_eq!(
            put.location,
            place.base.join("dga/1.0").join(&put.digest.to_string())
        );
        assert!(
            told.borrow().is_sorted() && told.borrow().len() > 3,
            "progress is told while it goes on"
        );
        assert_eq!(told.borrow().last(), Some(&bundle.size()));
        assert!(place.store.exists(&put.location).await.unwrap());
        assert_eq!(
            place.names(&place.base.join("dga/1.0")).await,
            [put.digest.to_string()]
        );
        // Whoever knows nothing of manifests finds plain files.
        assert_eq!(
            place.names(&put.location).await,
            [MANIFEST, "data", "start.sh", "tmp", "tool"]
        );
        assert_eq!(
            place.read(&put.location.join("start.sh")).await,
            b"#!/bin/sh\n"
        );

        let into = place.fresh();
        let fetched = place
            .store
            .fetch(&put.location, Some(&put.digest), &into, &Limits::default())
            .await
            .unwrap();
        assert_eq!((fetched.digest, fetched.bytes), (put.digest, bundle.size()));
        assert_eq!(fetched.script, into.join("start.sh"));
        assert!(fs::read(into.join("data/a/model.bin")).unwrap() == large);
        assert_eq!(fs::read(into.join("data/b/ü ö")).unwrap(), b"");
        assert!(into.join("tmp/empty").is_dir());
        assert!(!into.join("endpoint.dat").exists() && !into.join(MANIFEST).exists());
        assert_ne!(
            mode(&into.join("start.sh")),
            0,
            "a script is made executable"
        );
        assert_ne!(mode(&into.join("tool")), 0, "what was executable stays so");
        assert_eq!(mode(&into.join("data/a/model.bin")), 0);
    }
}

#[tokio::test]
async fn the_same_content_is_stored_once_and_other_content_beside_it() {
    for place in every_place().await {
        let one = place.bundle(&[("start.sh", b"1")]);
        let same = place.bundle(&[("start.sh", b"1")]);
        let other = place.bundle(&[("start.sh", b"2")]);
        let first = place.put(&one).await;
        let mut told = 0;
        let second = place
            .store
            .put(&same, &place.base, "dga", "1.0", |done| told = done)
            .await
            .unwrap();
        assert!(first.uploaded && !second.uploaded);
        assert_eq!(
            (first.location, first.digest),
            (second.location, second.digest)
        );
        assert_eq!(told, same.size());
        assert_ne!(place.put(&other).await.digest, first.digest);
        assert_eq!(place.names(&place.base.join("dga/1.0")).await.len(), 2);
    }
}

#[tokio::test]
async fn two_uploads_of_the_same_content_at_once_both_succeed() {
    for place in every_place().await {
        let bundle = place.bundle(&[("start.sh", b"1"), ("model", &large())]);
        let mut puts = JoinSet::new();
        for _ in 0..4 {
            let (store, bundle, base) = (place.store.clone(), bundle.clone(), place.base.clone());
            puts.spawn(async move {
                store
                    .put(&bundle, &base, "dga", "1.0", |_| ())
                    .await
                    .unwrap()
            });
        }
        let puts = puts.join_all().await;
        assert!(puts.iter().all(|put| put.location == puts[0].location));
        assert_eq!(puts.iter().filter(|put| put.uploaded).count(), 1);
        assert_eq!(
            place.names(&place.base.join("dga/1.0")).await,
            [puts[0].digest.to_string()]
        );
        place.fetch(&puts[0].location).await.unwrap();
    }
}

#[tokio::test]
async fn a_flat_folder_of_metrons_own_tools_is_fetched_as_it_is() {
    for place in every_place().await {
        let folder = place.base.join("models");
        place.write(&folder.join("rest.sh"), b"#!/bin/sh\n").await;
        place.write(&folder.join("dga.py"), b"print()").await;
        place.write(&folder.join("lib/x.py"), b"x").await;
        place.write(&folder.join("endpoint.dat"), b"{}").await;

        let (into, fetched) = place.fetch(&folder).await.unwrap();
        assert!(fetched.left_out_endpoint_dat && !into.join("endpoint.dat").exists());
        assert_eq!(
            (fetched.script.as_path(), fetched.bytes),
            (into.join("rest.sh").as_path(), 18)
        );
        assert_ne!(mode(&fetched.script), 0);
        assert_eq!(fs::read(into.join("lib/x.py")).unwrap(), b"x");

        let digest = fetched.digest;
        let error = place
            .store
            .fetch(&folder, Some(&digest), &place.fresh(), &Limits::default())
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Damaged {
                    source: Fault::NoManifest,
                    ..
                }
            ),
            "{error:?}"
        );

        place.write(&folder.join("second.sh"), b"").await;
        let error = place.fetch(&folder).await.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Bundle(BundleError::SeveralScripts { .. })
            ),
            "{error:?}"
        );
        place.store.remove(&folder.join("second.sh")).await.unwrap();
        place.store.remove(&folder.join("rest.sh")).await.unwrap();
        let error = place.fetch(&folder).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Bundle(BundleError::NoScript { .. })),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn more_than_the_limits_allow_is_not_copied() {
    for place in every_place().await {
        let put = place
            .put(&place.bundle(&[("start.sh", b"1"), ("a", b"22"), ("b", b"333")]))
            .await;
        let fits = Limits { bytes: 6, files: 3 };
        place
            .store
            .fetch(&put.location, None, &place.fresh(), &fits)
            .await
            .unwrap();
        let error = place
            .store
            .fetch(
                &put.location,
                None,
                &place.fresh(),
                &Limits { bytes: 5, ..fits },
            )
            .await;
        assert!(
            matches!(error, Err(StoreError::TooLarge { limit: 5, .. })),
            "{error:?}"
        );
        let error = place
            .store
            .fetch(
                &put.location,
                None,
                &place.fresh(),
                &Limits { files: 2, ..fits },
            )
            .await;
        assert!(
            matches!(
                error,
                Err(StoreError::Bundle(BundleError::TooManyFiles {
                    limit: 2,
                    ..
                }))
            ),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_existing_folder_is_not_fetched_into() {
    for place in every_place().await {
        let put = place.put(&place.bundle(&[("start.sh", b"1")])).await;
        let error = place
            .store
            .fetch(&put.location, None, place.here.path(), &Limits::default())
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::NotFresh { .. }), "{error:?}");
        assert!(place.here.path().exists());
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_and_what_was_never_there_is_no_error() {
    for place in every_place().await {
        let put = place
            .put(&place.bundle(&[("start.sh", b"1"), ("a/b", b"")]))
            .await;
        assert!(place.store.remove(&put.location).await.unwrap());
        assert!(!place.store.exists(&put.location).await.unwrap());
        assert!(!place.store.remove(&put.location).await.unwrap());
        let error = place.fetch(&put.location).await.unwrap_err();
        assert!(matches!(error, StoreError::NotThere { .. }), "{error:?}");

        let root = match place.base.authority() {
            Some(authority) => {
                Location::parse_with(&format!("hdfs://{authority}/"), &Hadoop::none()).unwrap()
            }
            None => Location::parse_with("/", &Hadoop::none()).unwrap(),
        };
        assert!(matches!(
            place.store.remove(&root).await,
            Err(StoreError::Root { .. })
        ));
    }
}

#[tokio::test]
async fn a_store_answers_for_its_own_file_system_only() {
    let [local, hdfs] = every_place().await;
    let error = local.store.exists(&hdfs.base).await.unwrap_err();
    assert!(
        matches!(error, StoreError::OtherFileSystem { .. }),
        "{error:?}"
    );
    assert!(hdfs.store.exists(&local.base).await.is_err());
}

#[test]
fn an_address_without_a_port_is_a_name_service_or_one_namenode() {
    let base = Location::parse_with("hdfs://localhost/models", &Hadoop::none()).unwrap();
    assert!(Store::open_with(&base, &Hadoop::none()).is_ok());
}
