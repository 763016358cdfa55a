//! Curator works with itself through our helper, and writes the bytes that the golden samples say.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use test_support::{Curator, CuratorEndpoint, CuratorInstance, CuratorPayload, ZooKeeper};
use zookeeper_client as zk;

/// What Metron's own runner wrote for this instance.
const GOLDEN: &str = r#"{"name":"dga","id":"2","address":"node1","port":36161,"sslPort":null,"payload":{"@class":"org.apache.metron.maas.config.ModelEndpoint","endpoint":{"url":"http://node1:36161","functions":{"apply":"apply"}},"name":"dga","version":"1.0","containerId":"2"},"registrationTimeUTC":1571163620277,"serviceType":"STATIC","uriSpec":null}"#;

fn dga() -> CuratorInstance {
    CuratorInstance {
        name: "dga".into(),
        id: "2".into(),
        address: "node1".into(),
        port: 36161,
        registration_time_utc: 1_571_163_620_277,
        service_type: "STATIC".into(),
        payload: Some(CuratorPayload {
            endpoint: Some(CuratorEndpoint {
                url: Some("http://node1:36161".into()),
                functions: Some(BTreeMap::from([("apply".into(), "apply".into())])),
            }),
            name: Some("dga".into()),
            version: Some("1.0".into()),
            container_id: Some("2".into()),
        }),
    }
}

async fn connect(to: &str) -> zk::Client {
    zk::Client::connector()
        .with_connection_timeout(Duration::from_millis(1500))
        .connect(to)
        .await
        .unwrap()
}

#[tokio::test]
async fn curator_registers_the_golden_bytes_and_reads_them_back() {
    let zookeeper = ZooKeeper::shared().await;
    let mut curator = Curator::start(zookeeper.connect_string()).await;

    curator.register("/maas/service", &dga()).await.unwrap();

    let client = connect(zookeeper.connect_string()).await;
    let (written, stat) = client.get_data("/maas/service/dga/2").await.unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), GOLDEN);
    assert_eq!(
        stat.ephemeral_owner, 0,
        "STATIC means that the znode outlives its session"
    );
    assert_eq!(
        curator.instances("/maas/service", "dga").await.unwrap(),
        [dga()]
    );
    assert_eq!(
        curator.instances("/maas/service", "other").await.unwrap(),
        []
    );
}

#[tokio::test]
async fn a_record_curator_cannot_read_is_an_error_with_its_reason() {
    let zookeeper = ZooKeeper::shared().await;
    let mut curator = Curator::start(zookeeper.connect_string()).await;
    let client = connect(zookeeper.connect_string()).await;
    let open = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
    client.mkdir("/maas/service/dga", &open).await.unwrap();
    client
        .create("/maas/service/dga/bad", b"not JSON", &open)
        .await
        .unwrap();

    let error = curator.instances("/maas/service", "dga").await.unwrap_err();
    assert!(error.to_string().contains("JsonParseException"), "{error}");
}

#[tokio::test]
async fn curator_takes_any_bytes_it_offered_in_the_order_of_offering() {
    let zookeeper = ZooKeeper::shared().await;
    let mut curator = Curator::start(zookeeper.connect_string()).await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large = vec![b'x'; 900 * 1024];
    let items = [
        all_bytes.as_slice(),
        "{\"name\":\"dgä\"}".as_bytes(),
        b"",
        &large,
    ];
    for item in items {
        curator.offer("/maas/queue", item).await.unwrap();
    }

    let client = connect(zookeeper.connect_string()).await;
    let mut nodes = client.list_children("/maas/queue").await.unwrap();
    nodes.sort();
    assert_eq!(
        nodes,
        [
            "qn-0000000000",
            "qn-0000000001",
            "qn-0000000002",
            "qn-0000000003"
        ]
    );
    assert_eq!(
        client
            .get_data("/maas/queue/qn-0000000000")
            .await
            .unwrap()
            .0,
        all_bytes
    );

    for item in items {
        assert_eq!(curator.take("/maas/queue").await.unwrap(), item);
    }
    match client.list_children("/maas/queue").await {
        Ok(left) => assert!(left.is_empty(), "{left:?}"),
        // Curator made it as a container, which ZooKeeper takes away soon after its last child.
        Err(error) => assert!(matches!(error, zk::Error::NoNode), "{error}"),
    }
}
