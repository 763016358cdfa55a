//! Connections to a copy that leaves the registry: those in use are used to the end, the others are closed at once, for
//! whoever stops the copy waits for them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use maas_client::endpoint_url::EndpointUrl;
use maas_client::layout::Layout;
use maas_client::session::CreateMode;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, MaasClient, ModelName, Session, SessionConfig, Version};
use test_support::{SharedZooKeeper, ZooKeeper, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(30);

/// Much less than a connection that nobody uses is kept otherwise.
const SOON: Duration = Duration::from_secs(3);

/// A server that keeps its connections alive, and counts them.
struct Server {
    url: String,
    open: Arc<AtomicUsize>,
    asked: Arc<Notify>,
    /// One more answer to `/slow` is given whenever this is notified.
    answer: Arc<Notify>,
    _connections: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut connections = JoinSet::new();
        let shared = (open.clone(), asked.clone(), answer.clone());
        connections.spawn(async move {
            let (open, asked, answer) = shared;
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (open, asked, answer) = (open.clone(), asked.clone(), answer.clone());
                open.fetch_add(1, Ordering::SeqCst);
                connections.spawn(async move {
                    converse(stream, &asked, &answer).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            url,
            open,
            asked,
            answer,
            _connections: connections,
        }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Answers requests until the caller closes the connection.
async fn converse(mut stream: TcpStream, asked: &Notify, answer: &Notify) {
    let mut received = Vec::new();
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut received).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        if received.starts_with(b"GET /slow") {
            asked.notify_one();
            answer.notified().await;
        }
        received.clear();
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";
        if stream.write_all(text).await.is_err() {
            return;
        }
    }
}

async fn register(session: &Session, url: &str) -> Registration {
    let layout = Layout::default();
    let entry = Registration {
        name: ModelName::new("dga").unwrap(),
        version: Version::new("1.0").unwrap(),
        instance: InstanceId::generate(),
        url: EndpointUrl::parse(url).unwrap(),
        functions: Functions::default(),
        registered_ms: 1,
    };
    session.ensure(&layout.service(&entry.name)).await.unwrap();
    let path = layout.registration(&entry.name, &entry.instance);
    session
        .create(&path, &entry.to_bytes(), CreateMode::Persistent)
        .await
        .unwrap();
    entry
}

async fn withdraw(session: &Session, entry: &Registration) {
    let path = Layout::default().registration(&entry.name, &entry.instance);
    session.delete(&path, None).await.unwrap();
}

async fn start() -> (SharedZooKeeper, Session, MaasClient, Server, Registration) {
    let zookeeper = ZooKeeper::shared().await;
    let config = SessionConfig::new(zookeeper.connect_string());
    let session = Session::connect(config.clone()).await.unwrap();
    let server = Server::start().await;
    let entry = register(&session, &server.url).await;
    let maas = MaasClient::connect(config).await.unwrap();
    (zookeeper, session, maas, server, entry)
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed_when_their_copy_departs_and_kept_when_it_is_back()
{
    let (_zookeeper, session, maas, server, entry) = start().await;
    let endpoint = maas.get_endpoint("dga", None).unwrap();
    for _ in 0..3 {
        maas.model_apply(&endpoint, None, &[]).await.unwrap();
    }
    assert_eq!(server.open(), 1, "one connection served all calls");
    withdraw(&session, &entry).await;
    let closed = async || server.open() == 0;
    eventually(SOON, "the connection to be closed", closed).await;
    // Whoever still has the endpoint may use it, but leaves nothing open.
    maas.model_apply(&endpoint, None, &[]).await.unwrap();
    eventually(SOON, "that connection to be closed too", closed).await;

    register(&session, &server.url).await;
    let back = async || maas.get_endpoint("dga", None).ok();
    let endpoint = eventually(LIMIT, "the copy to be found", back).await;
    let kept = async || {
        maas.model_apply(&endpoint, None, &[]).await.unwrap();
        server.open() == 1
    };
    eventually(LIMIT, "a connection to be kept", kept).await;
    maas.close().await;
    session.close().await;
}

#[tokio::test]
async fn a_call_under_way_is_answered_and_its_connection_closed_then() {
    let (_zookeeper, session, maas, server, entry) = start().await;
    let endpoint = maas.get_endpoint("dga", None).unwrap();
    let call = maas.model_apply(&endpoint, Some("/slow"), &[]);
    let meanwhile = async {
        server.asked.notified().await;
        withdraw(&session, &entry).await;
        let mut news = maas.discovery().freshness();
        while maas.get_endpoint("dga", None).is_ok() {
            news.changed().await.unwrap();
        }
        assert_eq!(server.open(), 1, "the call goes on");
        server.answer.notify_one();
    };
    let (answer, ()) = tokio::join!(call, meanwhile);
    assert_eq!(answer.unwrap()["ok"], true);
    let closed = async || server.open() == 0;
    eventually(SOON, "its connection to be closed", closed).await;
    maas.close().await;
    session.close().await;
}
