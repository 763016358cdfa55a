//! The ZooKeeper helper does what the tests built on it rely on.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

use std::time::Duration;

use test_support::{ZooKeeper, eventually};
use zookeeper_client as zk;

const SOON: Duration = Duration::from_secs(30);

async fn connect(to: &str) -> zk::Client {
    zk::Client::connector()
        .with_session_timeout(Duration::from_secs(10))
        .with_connection_timeout(Duration::from_millis(1500))
        .connect(to)
        .await
        .unwrap()
}

fn open() -> zk::CreateOptions<'static> {
    zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all())
}

#[tokio::test]
async fn each_user_of_the_shared_server_has_an_empty_root_of_its_own() {
    let (one, other) = tokio::join!(ZooKeeper::shared(), ZooKeeper::shared());
    assert_eq!(one.address(), other.address());
    assert_ne!(one.connect_string(), other.connect_string());
    let client = connect(one.connect_string()).await;
    client.create("/node", b"x", &open()).await.unwrap();
    let other = connect(other.connect_string()).await;
    assert!(other.check_stat("/node").await.unwrap().is_none());
    assert!(other.list_children("/").await.unwrap().is_empty());
}

#[test]
fn the_shared_server_outlives_the_runtime_of_the_first_test() {
    let in_a_new_runtime = || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let zookeeper = ZooKeeper::shared().await;
            connect(zookeeper.connect_string())
                .await
                .create("/node", b"x", &open())
                .await
                .unwrap();
            zookeeper.address().to_owned()
        })
    };
    assert_eq!(in_a_new_runtime(), in_a_new_runtime());
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_port_and_its_data() {
    let mut zookeeper = ZooKeeper::start().await;
    let client = connect(zookeeper.connect_string()).await;
    client.create("/kept", b"data", &open()).await.unwrap();
    let address = zookeeper.address().to_owned();

    zookeeper.kill().await;
    assert!(std::net::TcpStream::connect(&address).is_err());
    zookeeper.restart().await;

    assert_eq!(zookeeper.address(), address);
    assert_eq!(
        connect(&address).await.get_data("/kept").await.unwrap().0,
        b"data"
    );
}

#[tokio::test]
async fn a_paused_server_is_mute_until_it_is_resumed() {
    let mut zookeeper = ZooKeeper::start().await;
    let client = connect(zookeeper.connect_string()).await;
    zookeeper.pause();
    let read = tokio::time::timeout(Duration::from_millis(300), client.get_data("/")).await;
    assert!(read.is_err(), "a paused server answered");
    zookeeper.resume();
    eventually(SOON, "an answer after the pause", async || {
        client.get_data("/").await
    })
    .await;
}
