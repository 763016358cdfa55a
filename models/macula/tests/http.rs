//! The HTTP API, asked over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use macula::CacheSettings;
use macula::judgement::Policy;
use macula::scorer::Scorer;
use macula::server;
use serde_json::{Value, json};
use threat_lists::{List, ListKind, Lists};
use tokio::sync::oneshot;

/// Seen today, a report has all of its weight.
fn today() -> String {
    jiff::Timestamp::now().strftime("%F").to_string()
}

/// A server of its own port and thread; it stops when the test is over.
struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let lists = [
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
            (
                ListKind::Feed,
                "phish",
                &format!("lurker.test,0.5,2026-10-01,{}", today()),
            ),
        ];
        let lists = lists.map(|(kind, name, text)| List::parse(kind, name, text.as_bytes()));
        let scorer = Arc::new(Scorer::new(
            Lists::new(lists.into()),
            Policy::default(),
            CacheSettings::default(),
        ));
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
                axum::serve(listener, server::router(scorer))
                    .with_graceful_shutdown(shutdown)
                    .await
                    .expect("must serve");
            });
        });
        Server {
            address,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sends one request, and gives back status and body, which must be JSON whatever the status is.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).expect("must accept");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: macula\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
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
            .and_then(|status| status.parse().ok())
            .expect("a status");
        assert!(
            head.to_lowercase()
                .contains("content-type: application/json"),
            "{path}: {head}"
        );
        (
            status,
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")),
        )
    }

    fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    fn refused(&self, method: &str, path: &str, body: &[u8], expected: (u16, &str)) -> Value {
        let (status, body) = self.ask(method, path, body);
        let code = body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), expected, "{method} {path}: {body}");
        body
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server must stop cleanly");
        }
    }
}

#[test]
fn a_batch_is_answered_under_the_callers_own_spelling_and_order() {
    let server = Server::start();
    let answer = server
        .get("/api/score?indicators=EVIL%5B.%5Dtest,good.test,nonsense,unheard-of.test,192.0.2.7");
    let keys: Vec<_> = answer
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "EVIL[.]test",
            "good.test",
            "nonsense",
            "unheard-of.test",
            "192.0.2.7"
        ]
    );

    let evil = &answer["EVIL[.]test"];
    assert_eq!(
        (&evil["rescaled"], &evil["malicious"], &evil["benign"]),
        (&json!(100.0), &json!(1.0), &json!(0.0))
    );
    assert_eq!(evil["meta"]["type"], "domain");
    assert_eq!(evil["meta"]["normalized"], "evil.test");
    assert_eq!(evil["meta"]["source"], "blacklist");
    assert_eq!(evil["meta"]["explanation"], Value::Null);

    let hit = &answer["192.0.2.7"]["meta"]["rules"]["hits"][0];
    let expected = json!({
        "kind": "whitelist", "list": "white", "version": "w1", "entry": "192.0.2.0/24", "line": 3,
        "match": "range", "scope": "itself", "counted": true,
    });
    assert_eq!(hit, &expected);

    let unknown = &answer["unheard-of.test"];
    assert_eq!(
        (&unknown["rescaled"], &unknown["meta"]["verdict"]),
        (&json!(50.0), &json!("unknown"))
    );

    let failed = &answer["nonsense"];
    assert_eq!(failed["meta"]["success"], false);
    assert_eq!(failed["meta"]["error"]["code"], "not_recognised");
    assert_eq!(failed["rescaled"], Value::Null);
}

#[test]
fn rules_can_be_switched_off_and_explained() {
    let server = Server::start();
    let score = |options: &str| {
        server.get(&format!(
            "/api/score?indicators=evil.test,good.test{options}"
        ))
    };
    assert_eq!(score("&useBlacklist=false")["evil.test"]["rescaled"], 50.0);
    assert_eq!(score("&useWhitelist=false")["good.test"]["rescaled"], 50.0);
    let off = score("&useRule=false");
    assert_eq!(
        (&off["evil.test"]["rescaled"], &off["good.test"]["rescaled"]),
        (&json!(50.0), &json!(50.0))
    );
    let same = score("&useCache=false&summary=true&domain_pivot=0");
    assert_eq!(same["evil.test"]["rescaled"], 100.0);

    let raised = server.get("/api/score?indicators=lurker.test&explain=true");
    let raised = &raised["lurker.test"];
    assert_eq!(raised["rescaled"], 81.85);
    let explanation = &raised["meta"]["explanation"];
    let items = explanation["items"].as_array().expect("a list");
    assert_eq!(items[0]["name"], "feed phish");
    let points: f64 = items
        .iter()
        .filter_map(|item| item["contribution"].as_f64())
        .sum();
    assert!((explanation["base"].as_f64().expect("a number") + points - 81.85).abs() < 0.01);
    assert_eq!(raised["meta"]["rules"]["hits"][0]["last_seen"], today());
    let one = server.get("/api/score?indicators=lurker.test&explain=true&explain_items=1");
    assert_eq!(
        one["lurker.test"]["meta"]["explanation"]["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_comma_inside_a_url_survives_and_the_listed_page_beats_its_whitelisted_host() {
    let server = Server::start();
    let answer = server.get("/api/score?indicators=http://good.test/a%2Cb,good.test");
    let page = &answer["http://good.test/a,b"];
    assert_eq!(
        (&page["rescaled"], &page["meta"]["rules"]["conflict"]),
        (&json!(100.0), &json!(true))
    );
    assert_eq!(answer["good.test"]["rescaled"], 0.0);
}

#[test]
fn ten_thousand_items_are_answered_in_one_post() {
    let server = Server::start();
    let names: Vec<_> = (0..10_000).map(|n| format!("name-{n}.test")).collect();
    let body = serde_json::to_vec(&json!({ "indicators": names, "options": { "explain": true } }))
        .expect("JSON");
    let (status, answer) = server.ask("POST", "/api/score", &body);
    assert_eq!(
        (status, answer.as_object().map(serde_json::Map::len)),
        (200, Some(10_000))
    );
}

#[test]
fn apply_answers_with_one_flat_object() {
    let server = Server::start();
    for (query, word) in [
        ("host=evil.test", "malicious"),
        ("domain=good.test", "legit"),
        ("ip=203.0.113.9", "unknown"),
        ("url=http%3A%2F%2Fgood.test%2Fa%2Cb", "malicious"),
        ("host=", "unknown"),
        ("indicator=nonsense", "unknown"),
    ] {
        let answer = server.get(&format!("/apply?{query}"));
        assert_eq!(answer["is_malicious"], word, "{query}");
        let values = answer.as_object().expect("an object").values();
        assert!(
            values
                .into_iter()
                .all(|value| !value.is_object() && !value.is_array()),
            "{query}: {answer}"
        );
    }
    let answer = server.get("/apply?host=www.evil.test");
    assert_eq!(
        (&answer["entry"], &answer["list"], &answer["score"]),
        (&json!("evil.test"), &json!("black"), &json!(100.0))
    );
}

#[test]
fn the_lists_can_be_looked_at() {
    let server = Server::start();
    let lists = server.get("/api/lists");
    assert_eq!(lists["lists"][0]["version"], "w1");
    assert_eq!(
        lists["lists"][1]["problems"].as_array().map(Vec::len),
        Some(2)
    );
    let check = server.get("/api/lists/check?indicator=hxxp://lurker[.]test/");
    let kinds: Vec<_> = check["hits"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|hit| &hit["kind"])
        .collect();
    assert_eq!(kinds, ["darklist", "feed"]);
    assert_eq!(server.get("/ready")["ready"], true);
    assert_eq!(server.get("/health")["status"], "ok");
    assert_eq!(server.get("/version")["name"], "macula");
}

#[test]
fn requests_that_make_no_sense_are_refused_in_json() {
    let server = Server::start();
    let told = server.refused(
        "GET",
        "/api/score?indicators=a.test&useWhitlist=0",
        b"",
        (400, "unknown_parameter"),
    );
    assert!(
        told["error"]["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("useWhitelist")),
        "{told}"
    );
    server.refused("GET", "/api/score", b"", (400, "missing_parameter"));
    server.refused("GET", "/apply", b"", (400, "missing_parameter"));
    server.refused("GET", "/nowhere", b"", (404, "not_found"));
    server.refused("DELETE", "/api/score", b"", (405, "method_not_allowed"));
    server.refused("POST", "/api/score", b"{", (400, "invalid_json"));
    server.refused(
        "POST",
        "/api/score",
        &[b' '; 4 * 1024 * 1024 + 1],
        (413, "body_too_large"),
    );
    let long = format!("/apply?host={}", "a".repeat(9000));
    server.refused("GET", &long, b"", (414, "url_too_long"));
    server.refused(
        "GET",
        "/api/lists/check?indicator=nonsense",
        b"",
        (400, "not_recognised"),
    );
    // And after all that it still serves.
    assert_eq!(
        server.get("/apply?host=evil.test")["is_malicious"],
        "malicious"
    );
}
