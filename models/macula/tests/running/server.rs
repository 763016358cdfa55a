//! The router on a real socket, in a thread of its own.

#![allow(
    dead_code,
    reason = "not every test that starts a server asks it everything"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use macula::CacheSettings;
use macula::judgement::Policy;
use macula::scorer::Scorer;
use macula::server;
use serde_json::Value;
use threat_lists::{List, ListKind, Lists};
use tokio::sync::oneshot;

/// An answer as it came.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Sends one request and reads the answer to its end.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut stream = TcpStream::connect(address).expect("must accept");
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).expect("a socket has one");
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: macula\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream
        .write_all(head.as_bytes())
        .expect("must take the head");
    // A server that refuses a large body may hang up before it has read it all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.expect("a status"),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

impl Reply {
    /// The body, which must be JSON and said to be.
    pub(crate) fn json(&self) -> Value {
        assert!(
            self.head.contains("content-type: application/json"),
            "{}",
            self.head
        );
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The body's lines, each of which must be JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(
            self.head.contains("content-type: application/x-ndjson"),
            "{}",
            self.head
        );
        let lines = self.body.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }
}

/// A router served on a port of its own; it stops when the test is over.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Serving {
    pub(crate) fn start(router: axum::Router) -> Serving {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("tokio wants it so");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let shutdown = async { drop(stopped.await) };
                axum::serve(listener, router)
                    .with_graceful_shutdown(shutdown)
                    .await
                    .expect("must serve");
            });
        });
        Serving {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server must stop cleanly");
        }
    }
}

/// Macula with a few lists.
pub(crate) struct Server {
    pub(crate) scorer: Arc<Scorer>,
    pub(crate) serving: Serving,
}

/// Seen today, a report has all of its weight.
pub(crate) fn today() -> String {
    jiff::Timestamp::now().strftime("%F").to_string()
}

pub(crate) fn lists(lists: &[(ListKind, &str, &str)]) -> Lists {
    let parsed = lists
        .iter()
        .map(|(kind, name, text)| List::parse(*kind, name, text.as_bytes()));
    Lists::new(parsed.collect())
}

impl Server {
    pub(crate) fn start() -> Server {
        let seen = format!("lurker.test,0.5,2026-10-01,{}", today());
        Server::with(lists(&[
            (
                ListKind::Whitelist,
                "white",
                "#! version: w1\ngood.test\n192.0.2.0/24",
            ),
            (
                ListKind::Blacklist,
                "black",
                "evil.test\nhttp://good.test/a,b\n\"http://good.test/a,b\"\n?",
            ),
            (ListKind::Darklist, "dark", "lurker.test"),
            (ListKind::Feed, "phish", &seen),
        ]))
    }

    pub(crate) fn with(lists: impl Into<Arc<Lists>>) -> Server {
        let settings = CacheSettings::default();
        let scorer = Arc::new(Scorer::new(lists, Policy::default(), settings));
        Server {
            serving: Serving::start(server::router(Arc::clone(&scorer))),
            scorer,
        }
    }

    /// Sends a request with headers.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        ask(self.serving.address, method, path, headers, body)
    }

    /// Sends one request, and gives back status and body, which must be JSON whatever the status is.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let reply = self.send(method, path, &[], body);
        (reply.status, reply.json())
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub(crate) fn refused(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        expected: (u16, &str),
    ) -> Value {
        let (status, body) = self.ask(method, path, body);
        let code = body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{method} {path}: {body}");
        body
    }

    /// One counter or gauge of `/metrics`, summed over its labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let reply = self.send("GET", "/metrics", &[], b"");
        assert!(reply.body.ends_with("# EOF\n"), "{}", reply.body);
        let lines = reply.body.lines();
        let ours = lines.filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }
}
