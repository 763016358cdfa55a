//! A web service for tests: really there, on a port of its own, and it answers what the test wants.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use gatherers::{Clock, Config, GatherOptions, Gathered, Gatherers};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the service answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status and a body.
    Say(u16, String),
    /// Too many requests, with a word on when to come again.
    SlowDown(u64),
    /// A redirect to somewhere else.
    Redirect(String),
    /// Nothing, ever.
    Hang,
    /// A good body, after a while.
    Late(Duration, String),
    /// Half a body, and then the connection ends.
    Break,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
}

#[derive(Debug)]
struct Inner {
    reply: Mutex<Reply>,
    seen: Mutex<Vec<Seen>>,
}

/// The service. It ends with the test.
pub(crate) struct Upstream {
    address: SocketAddr,
    inner: Arc<Inner>,
    _server: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn start(reply: Reply) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            reply: Mutex::new(reply),
            seen: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(inner.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Upstream {
            address,
            inner,
            _server: server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn answer(&self, reply: Reply) {
        *self.inner.reply.lock().unwrap() = reply;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// How many requests came: what the provider would bill.
    pub(crate) fn count(&self) -> u64 {
        self.seen().len() as u64
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    inner.seen.lock().unwrap().push(Seen {
        target: request.uri().to_string(),
        headers: headers.collect(),
    });
    let reply = inner.reply.lock().unwrap().clone();
    let builder = Response::builder();
    match reply {
        Reply::Say(status, body) => builder.status(status).body(body.into()).unwrap(),
        Reply::SlowDown(seconds) => builder
            .status(StatusCode::TOO_MANY_REQUESTS)
            .header("retry-after", seconds)
            .body(Body::empty())
            .unwrap(),
        Reply::Redirect(to) => builder
            .status(StatusCode::FOUND)
            .header("location", to)
            .body(Body::empty())
            .unwrap(),
        Reply::Hang => std::future::pending().await,
        Reply::Late(wait, body) => {
            tokio::time::sleep(wait).await;
            builder.body(body.into()).unwrap()
        }
        Reply::Break => {
            let half = futures_util::stream::iter([
                Ok("{\"half\": "),
                Err(std::io::Error::other("the end")),
            ]);
            builder.body(Body::from_stream(half)).unwrap()
        }
    }
}

/// A recorded answer.
pub(crate) fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// A clock that stands still until the test moves it.
#[derive(Clone)]
pub(crate) struct Hands(Arc<Mutex<Timestamp>>);

impl Hands {
    pub(crate) fn new() -> Hands {
        Hands(Arc::new(Mutex::new(
            "2026-01-11T00:00:00Z".parse().unwrap(),
        )))
    }

    pub(crate) fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || *hands.0.lock().unwrap())
    }

    pub(crate) fn forward(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now = now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }
}

/// The settings of a gatherer that asks this service: key, user and all.
pub(crate) fn settings(gatherer: &str, url: &str, more: &str) -> String {
    let parameters = match gatherer {
        "wot" | "neutrino" => "parameters = { user_id = \"me\" }",
        _ => "",
    };
    // Cargo sets this variable for every test; any text will do for a key.
    format!(
        "[gatherers.{gatherer}]\nbase_url = \"{url}\"\nkey_env = \"CARGO_PKG_NAME\"\n{parameters}\n{more}\n"
    )
}

pub(crate) async fn start(settings: &str, hands: &Hands) -> Gatherers {
    let config = Config::parse(settings).unwrap();
    let gatherers = Gatherers::start(&config, Vec::new(), hands.clock())
        .await
        .unwrap();
    assert_eq!(gatherers.disabled().collect::<Vec<_>>(), []);
    gatherers
}

pub(crate) async fn gather(gatherers: &Gatherers, indicator: &str) -> Gathered {
    gather_with(gatherers, indicator, GatherOptions::default()).await
}

pub(crate) async fn gather_with(
    gatherers: &Gatherers,
    indicator: &str,
    options: GatherOptions,
) -> Gathered {
    gatherers
        .gather(&indicator.parse().unwrap(), &options)
        .await
}
