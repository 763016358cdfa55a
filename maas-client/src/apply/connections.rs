//! Connections to models: kept alive after a call, and used again for the next one to the same server.
//!
//! A plain stack for each server instead of a client with a general pool: what that does for each call (it serves HTTP/2,
//! fair queues and retries as well) is a fifth of the whole cost of calling a model on the same network, see `scripts/bench`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Scheme};
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::task::JoinSet;
use tower_service::Service;

use super::ApplyError;

/// How many connections to one server are kept while nobody uses them.
const MAX_IDLE: usize = 64;

/// How long a connection is kept while nobody uses it: less than most servers do.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// How long it is remembered that a server has departed: longer than any call to it lasts.
const DEPARTED_FOR: Duration = Duration::from_secs(10 * 60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A server: what connections are kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    scheme: Scheme,
    authority: Authority,
    /// The authority once more, as the request says it.
    host: HeaderValue,
}

impl Server {
    pub(crate) fn new(scheme: Scheme, authority: Authority) -> Result<Self, String> {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|e| e.to_string())?;
        Ok(Self {
            scheme,
            authority,
            host,
        })
    }

    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The whole URI of a path on this server.
    pub(crate) fn uri(&self, path: &Uri) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }

    fn root(&self) -> Result<Uri, BoxError> {
        let parts = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone());
        Ok(parts.path_and_query("/").build()?)
    }
}

/// The connections of one caller.
pub(super) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    idle: Mutex<HashMap<Server, Stack>>,
    /// What moves the bytes of each connection; ends with it, or with us.
    drivers: Mutex<JoinSet<()>>,
}

/// The connections to one server that nobody uses.
#[derive(Default)]
struct Stack {
    idle: Vec<Idle>,
    /// Set when the server is about to end: what comes back from a call is then not kept.
    departed: Option<Instant>,
}

struct Idle {
    sender: SendRequest<Empty<Bytes>>,
    since: Instant,
}

/// A connection with an answer on it. Give it back once the answer is read; dropped, it is closed.
pub(super) struct Lease {
    connections: Arc<Connections>,
    server: Server,
    sender: SendRequest<Empty<Bytes>>,
}

impl Lease {
    /// Keeps the connection for the next call.
    pub(super) fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self
            .connections
            .idle
            .lock()
            .expect("nobody panics while holding it");
        let stack = idle.entry(self.server).or_default();
        if stack.departed.is_none() && stack.idle.len() < MAX_IDLE {
            stack.idle.push(Idle {
                sender: self.sender,
                since: Instant::now(),
            });
        }
    }
}

impl Connections {
    pub(super) fn new(connect_timeout: Duration) -> Result<Arc<Self>, ApplyError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(connect_timeout));
        let provider = rustls::crypto::ring::default_provider();
        let tls =
            match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider.clone()) {
                Ok(trusting) => trusting,
                // A machine without installed certificates can still call http; calls by https will say what is missing.
                Err(_) => HttpsConnectorBuilder::new().with_tls_config(trusting_nobody(provider)?),
            };
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Arc::new(Self {
            connector,
            idle: Mutex::default(),
            drivers: Mutex::default(),
        }))
    }

    /// Sends a request, which must be one that may be repeated, and gives the answer's head.
    pub(super) async fn send(
        self: &Arc<Self>,
        server: &Server,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Response<Incoming>, Lease), BoxError> {
        // One that was kept may have been closed by the server just now. It tells nothing about the server's health.
        while let Some(mut sender) = self.take(server) {
            if sender.ready().await.is_ok()
                && let Ok(response) = sender.send_request(request.clone()).await
            {
                return Ok((response, self.lease(server, sender)));
            }
        }
        let mut sender = self.connect(server).await?;
        let response = sender.send_request(request).await?;
        Ok((response, self.lease(server, sender)))
    }

    fn lease(self: &Arc<Self>, server: &Server, sender: SendRequest<Empty<Bytes>>) -> Lease {
        Lease {
            connections: self.clone(),
            server: server.clone(),
            sender,
        }
    }

    /// The connection used last, which is the least likely to have been closed meanwhile.
    fn take(&self, server: &Server) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.idle.lock().expect("nobody panics while holding it");
        let stack = idle.get_mut(server)?;
        let taken = loop {
            match stack.idle.pop() {
                Some(idle) if idle.since.elapsed() > IDLE_FOR => stack.idle.clear(),
                Some(idle) if idle.sender.is_closed() => {}
                taken => break taken,
            }
        };
        if taken.is_none() && stack.departed.is_none() {
            idle.remove(server);
        }
        taken.map(|idle| idle.sender)
    }

    async fn connect(&self, server: &Server) -> Result<SendRequest<Empty<Bytes>>, BoxError> {
        self.sweep();
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        let stream = connector.call(server.root()?).await?;
        self.drive(stream).await
    }

    /// Closes what was kept too long, also of servers that nobody calls any more.
    fn sweep(&self) {
        let mut idle = self.idle.lock().expect("nobody panics while holding it");
        idle.retain(|_, stack| {
            let usable = |idle: &Idle| !idle.sender.is_closed() && idle.since.elapsed() < IDLE_FOR;
            stack.idle.retain(usable);
            let departed = stack.departed.map(|time| time.elapsed());
            !stack.idle.is_empty() || departed.is_some_and(|time| time < DEPARTED_FOR)
        });
    }

    /// Closes what nobody uses of the connections to these servers, and keeps none any more: whoever stops them waits
    /// until the last one is closed.
    pub(super) fn depart<'a>(&self, servers: impl Iterator<Item = &'a Server>) {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut idle = self.idle.lock().expect("nobody panics while holding it");
        for server in servers {
            let stack = idle.entry(server.clone()).or_default();
            stack.departed = Some(now);
            closed.append(&mut stack.idle);
        }
        drop(idle);
        drop(closed);
    }

    /// Keeps connections to these servers again.
    pub(super) fn arrive<'a>(&self, servers: impl Iterator<Item = &'a Server>) {
        let mut idle = self.idle.lock().expect("nobody panics while holding it");
        for server in servers {
            if let Some(stack) = idle.get_mut(server) {
                stack.departed = None;
            }
        }
    }

    async fn drive<S: Read + Write + Send + Unpin + 'static>(
        &self,
        stream: S,
    ) -> Result<SendRequest<Empty<Bytes>>, BoxError> {
        let (sender, connection) = handshake(stream).await?;
        let mut drivers = self.drivers.lock().expect("nobody panics while holding it");
        while drivers.try_join_next().is_some() {}
        // How a connection ended is told to whoever waits for an answer on it.
        drivers.spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

fn trusting_nobody(
    provider: rustls::crypto::CryptoProvider,
) -> Result<rustls::ClientConfig, ApplyError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| ApplyError::Tls { source })?;
    Ok(builder
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}
