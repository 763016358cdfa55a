//! The session against a real ZooKeeper that is killed, restarted and made to forget.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::time::Duration;

use maas_client::held::Held;
use maas_client::layout::ZnodePath;
use maas_client::session::{CommitError, CreateMode, Step, TreeEvent, WatchScope, ZkError};
use maas_client::{Session, SessionConfig};
use test_support::{ZooKeeper, eventually};

const LIMIT: Duration = Duration::from_secs(30);

fn path(text: &str) -> ZnodePath {
    ZnodePath::new(text).unwrap()
}

fn config(quorum: &str) -> SessionConfig {
    SessionConfig {
        session_timeout: Duration::from_secs(2),
        ..SessionConfig::new(quorum)
    }
}

async fn next(watch: &mut maas_client::session::TreeWatch) -> TreeEvent {
    tokio::time::timeout(LIMIT, watch.next())
        .await
        .expect("an event in time")
}

#[tokio::test]
async fn a_watch_lives_on_after_the_server_was_killed_and_restarted() {
    let mut zookeeper = ZooKeeper::start().await;
    let quorum = zookeeper.connect_string().to_owned();
    let session = Session::connect(SessionConfig {
        session_timeout: Duration::from_secs(20),
        ..config(&quorum)
    });
    let session = session.await.unwrap();
    session.ensure(&path("/tree")).await.unwrap();
    let mut watch = session.watch(&path("/tree"), WatchScope::Tree);
    assert_eq!(next(&mut watch).await, TreeEvent::Reload);

    zookeeper.kill().await;
    eventually(LIMIT, "the session to notice", async || {
        !session.health().borrow().connected
    })
    .await;
    zookeeper.restart().await;
    assert_eq!(
        next(&mut watch).await,
        TreeEvent::Reload,
        "a reconnect asks for a new list"
    );

    session
        .create(&path("/tree/after"), b"", CreateMode::Persistent)
        .await
        .unwrap();
    assert_eq!(
        next(&mut watch).await,
        TreeEvent::Changed(path("/tree/after"))
    );
    assert_eq!(
        session.health().borrow().generation,
        1,
        "the session itself was not lost"
    );
    session.close().await;
}

#[tokio::test]
async fn after_an_expiry_a_new_session_holds_the_same_znode_and_watches_on() {
    let mut zookeeper = ZooKeeper::start().await;
    let quorum = zookeeper.connect_string().to_owned();
    let session = Session::connect(config(&quorum)).await.unwrap();
    let observer = Session::connect(SessionConfig {
        session_timeout: Duration::from_secs(40),
        ..config(&quorum)
    })
    .await
    .unwrap();
    let held = Held::new(&session, path("/deep/down/held"));
    held.set(Some(b"here".to_vec()));
    assert!(held.settled(LIMIT).await);
    let mut watch = session.watch(&path("/deep"), WatchScope::Tree);
    assert_eq!(next(&mut watch).await, TreeEvent::Reload);
    let before = session.id();

    zookeeper.kill().await;
    // The client gives its session up 1.4 times the timeout after it last heard the server.
    tokio::time::timeout(LIMIT, session.health().wait_for(|h| !h.connected))
        .await
        .unwrap()
        .unwrap();
    let declared_dead = async || session.get(&path("/deep")).await.is_err();
    eventually(LIMIT, "the session to be given up", declared_dead).await;
    zookeeper.restart().await;
    tokio::time::timeout(LIMIT, session.health().wait_for(|h| h.generation > 1))
        .await
        .unwrap()
        .unwrap();

    let owner = async || {
        observer
            .stat(&path("/deep/down/held"))
            .await
            .ok()
            .flatten()
            .map(|s| s.ephemeral_owner)
    };
    eventually(LIMIT, "the new session to hold it", async || {
        owner().await.is_some_and(|o| o != before)
    })
    .await;
    assert_eq!(owner().await, Some(session.id()));
    assert_eq!(next(&mut watch).await, TreeEvent::Reload);

    held.set(None);
    assert!(held.settled(LIMIT).await);
    assert!(
        observer
            .stat(&path("/deep/down/held"))
            .await
            .unwrap()
            .is_none()
    );
    session.close().await;
    observer.close().await;
}

#[tokio::test]
async fn a_held_znode_comes_back_when_somebody_deletes_it_and_goes_with_its_session() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(config(zookeeper.connect_string()))
        .await
        .unwrap();
    let other = Session::connect(config(zookeeper.connect_string()))
        .await
        .unwrap();
    let held = Held::new(&session, path("/held"));
    held.set(Some(b"1".to_vec()));
    assert!(held.settled(LIMIT).await);

    other.delete(&path("/held"), None).await.unwrap();
    eventually(LIMIT, "it to come back", async || {
        other.get(&path("/held")).await.unwrap()
    })
    .await;

    // A persistent znode in its place is replaced: only an ephemeral goes when we go.
    held.set(None);
    assert!(held.settled(LIMIT).await);
    other
        .create(&path("/held"), b"squatter", CreateMode::Persistent)
        .await
        .unwrap();
    held.set(Some(b"2".to_vec()));
    assert!(held.settled(LIMIT).await);
    assert_eq!(other.get(&path("/held")).await.unwrap().unwrap().0, b"2");

    session.close().await;
    assert!(
        other.stat(&path("/held")).await.unwrap().is_none(),
        "it is gone as soon as the session is closed"
    );
    other.close().await;
}

#[tokio::test]
async fn what_a_held_znode_holds_for_moments_only_is_not_written() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(config(zookeeper.connect_string()))
        .await
        .unwrap();
    let held = Held::new(&session, path("/held"));
    let written = async || session.get(&path("/held")).await.unwrap().unwrap();
    held.set_if_it_lasts(b"1".to_vec());
    held.set_if_it_lasts(b"2".to_vec());
    held.set(Some(b"3".to_vec()));
    assert!(held.settled(LIMIT).await);
    let (data, stat) = written().await;
    assert_eq!((data.as_slice(), stat.version), (b"3".as_slice(), 0));
    // What lasts is written, also when others come behind it again and again.
    held.set_if_it_lasts(b"4".to_vec());
    assert!(held.settled(LIMIT).await);
    assert_eq!(written().await.0, b"4");
    let mut n = 0;
    eventually(LIMIT, "one of many to be written", async || {
        n += 1;
        held.set_if_it_lasts(format!("many {n}").into_bytes());
        written().await.0.starts_with(b"many")
    })
    .await;
    session.close().await;
}

#[tokio::test]
async fn a_transaction_happens_whole_or_not_at_all_and_says_which_step_failed() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(config(zookeeper.connect_string()))
        .await
        .unwrap();
    session
        .create(&path("/a"), b"1", CreateMode::Persistent)
        .await
        .unwrap();
    let create = |p: &str| Step::Create {
        path: path(p),
        data: Vec::new(),
        mode: CreateMode::Persistent,
    };
    let stale = Step::Set {
        path: path("/a"),
        data: b"2".to_vec(),
        version: Some(7),
    };
    let error = session.commit(&[create("/b"), stale]).await.unwrap_err();
    let CommitError::Step { index, source } = &error else {
        panic!("{error:?}")
    };
    assert!(
        *index == 1 && source.is_bad_version() && source.to_string().contains("/a"),
        "{source}"
    );
    assert!(session.stat(&path("/b")).await.unwrap().is_none());

    let fresh = Step::Set {
        path: path("/a"),
        data: b"2".to_vec(),
        version: Some(0),
    };
    session
        .commit(&[
            Step::Check {
                path: path("/a"),
                version: 0,
            },
            create("/b"),
            fresh,
        ])
        .await
        .unwrap();
    assert_eq!(session.get(&path("/a")).await.unwrap().unwrap().0, b"2");
    session.close().await;
}

#[tokio::test]
async fn errors_name_the_znode_or_the_server_and_what_to_do() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(config(zookeeper.connect_string()))
        .await
        .unwrap();
    let error = session
        .create(&path("/no/parent"), b"", CreateMode::Persistent)
        .await
        .unwrap_err();
    assert!(
        error.is_no_node() && error.to_string().contains("/no/parent"),
        "{error}"
    );
    let error = session
        .create(&path("/big"), &vec![0; 1_000_000], CreateMode::Persistent)
        .await
        .unwrap_err();
    assert!(matches!(error, ZkError::TooLarge { .. }), "{error}");
    session.close().await;

    let missing = format!("{}/nowhere", zookeeper.address());
    let error = Session::connect(config(&missing))
        .await
        .err()
        .expect("no such chroot");
    assert!(
        error.to_string().contains("/nowhere") && error.to_string().contains("create it first"),
        "{error}"
    );

    let nobody = format!("127.0.0.1:{}", test_support::free_port());
    let patience = SessionConfig {
        connect_timeout: Duration::from_millis(500),
        ..config(&nobody)
    };
    let error = Session::connect(patience)
        .await
        .err()
        .expect("nobody listens");
    assert!(error.to_string().contains(&nobody), "{error}");
}
