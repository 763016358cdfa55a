//! Side by side with a real Apache Curator: each reads what the other wrote, and the bytes are the same.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::time::Duration;

use maas_client::discovery::Discovery;
use maas_client::endpoint_url::EndpointUrl;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::Queue;
use maas_client::registry::Registry;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::wire::request::ModelRequest;
use maas_client::{InstanceId, ModelName, Session, SessionConfig, Version};
use test_support::{
    Curator, CuratorEndpoint, CuratorInstance, CuratorPayload, ZooKeeper, eventually,
};

const LIMIT: Duration = Duration::from_secs(30);
const ADD: &[u8] =
    br#"{"name":"dga","version":"1.0","numInstances":1,"memory":512,"action":"ADD","path":"/user/metron/models"}"#;

fn entry(instance: &str, url: &str) -> Registration {
    Registration {
        name: ModelName::new("dga").unwrap(),
        version: Version::new("1.0").unwrap(),
        instance: InstanceId::new(instance).unwrap(),
        url: EndpointUrl::parse(url).unwrap(),
        functions: Functions::default(),
        registered_ms: 1_571_163_620_277,
    }
}

/// The same entry as Curator knows it.
fn theirs(entry: &Registration) -> CuratorInstance {
    CuratorInstance {
        name: entry.name.to_string(),
        id: entry.instance.to_string(),
        address: entry.url.host().to_owned(),
        port: entry.url.port().map_or(-1, i32::from),
        registration_time_utc: entry.registered_ms,
        service_type: "STATIC".to_owned(),
        payload: Some(CuratorPayload {
            endpoint: Some(CuratorEndpoint {
                url: Some(entry.url.to_string()),
                functions: Some([("apply".to_owned(), "apply".to_owned())].into()),
            }),
            name: Some(entry.name.to_string()),
            version: Some(entry.version.to_string()),
            container_id: Some(entry.instance.to_string()),
        }),
    }
}

#[tokio::test]
async fn curator_reads_our_entries() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let layout = Layout::default();
    let registry = Registry::new(session.clone(), layout.clone());
    let ours = entry("01a1fbe9-24fe-7283-a5b8-5467db2887d0", "http://node1:36161");
    let held = registry.place(&ours.name, &ours.instance);
    held.set(Some(ours.to_bytes()));
    assert!(held.settled(LIMIT).await);

    let mut curator = Curator::start(zookeeper.connect_string()).await;
    let read = curator
        .instances(layout.service_root.as_str(), "dga")
        .await
        .unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!(read[0], theirs(&ours));
    session.close().await;
}

#[tokio::test]
async fn we_read_curators_entries_and_would_write_the_same_bytes() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let layout = Layout::default();
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    let mut curator = Curator::start(zookeeper.connect_string()).await;
    let root = layout.service_root.as_str();
    curator
        .register(root, &theirs(&entry("2", "http://node1:36161")))
        .await
        .unwrap();

    let endpoint = eventually(LIMIT, "curator's entry", async || {
        discovery.pick("dga", Some("1.0"))
    })
    .await;
    assert_eq!(
        (endpoint.url.as_str(), endpoint.instance.as_str()),
        ("http://node1:36161", "2")
    );
    let path = layout.registration(&endpoint.name, &endpoint.instance);
    let (theirs, _) = session.get(&path).await.unwrap().unwrap();
    let read = Registration::parse(&theirs).unwrap();
    assert_eq!(
        String::from_utf8(read.to_bytes()).unwrap(),
        String::from_utf8(theirs).unwrap()
    );
    session.close().await;
}

#[tokio::test]
async fn curator_takes_what_we_offer_and_we_see_what_curator_offers() {
    let zookeeper = ZooKeeper::shared().await;
    let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let layout = Layout::default();
    let queue = Queue::new(session.clone(), layout.clone());
    let mut curator = Curator::start(zookeeper.connect_string()).await;

    let request = ModelRequest::parse(ADD).unwrap();
    queue.offer(&request.to_bytes()).await.unwrap();
    assert_eq!(curator.take(layout.queue.as_str()).await.unwrap(), ADD);

    for item in [ADD, b"null"] {
        curator.offer(layout.queue.as_str(), item).await.unwrap();
    }
    let waiting = queue.peek(10).await.unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|item| item.data.as_slice())
            .collect::<Vec<_>>(),
        [ADD, b"null"]
    );
    // Both number the items from the same counter: theirs follow ours.
    let names: Vec<&str> = waiting.iter().map(|item| item.path.name()).collect();
    assert_eq!(names, ["qn-0000000001", "qn-0000000002"]);
    let parent = ZnodePath::new(layout.queue.as_str()).unwrap();
    assert!(
        waiting
            .iter()
            .all(|item| item.path.parent().as_ref() == Some(&parent))
    );
    session.close().await;
}
