//! The contract: schemathesis makes requests of `openapi.json`, good ones and bad ones, sends them to the real server and holds
//! the answers against what the document promises. Once to a server that has lists alone, and once, with indicators of which
//! these have something to say, to one that has a model, passive DNS and other services, too.
//!
//! Needs what `scripts/setup test` installs. A failure shows the request as a curl command.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "../gatherers/tests/support/name_server.rs"]
mod name_server;
#[path = "running/process.rs"]
mod running;
#[path = "running/server.rs"]
mod server;
#[path = "../gatherers/tests/support/upstream.rs"]
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use name_server::{ALLOW, NameServers, Zone, a, ns, resolver};
use running::{Running, endpoint};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use upstream::{Reply, Upstream};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

/// The model of names that comes along.
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/model");

/// A Python with schemathesis, as `scripts/setup test` makes it.
fn schemathesis() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cache"),
        PathBuf::from,
    );
    let program = cache.join("maas/python/bin/schemathesis");
    assert!(
        program.exists(),
        "there is no {}; run scripts/setup test",
        program.display()
    );
    program
}

/// Holds the server of a folder to a document, and compares how many operations were tried.
fn check(folder: &Path, document: &Path, more: &[&str], operations: &str) {
    let endpoint = endpoint(folder);
    let checked = Command::new(schemathesis())
        .current_dir(folder)
        .arg("run")
        .arg(document)
        .args(["--url", endpoint["url"].as_str().expect("a URL")])
        .args(["--checks", "all", "--seed", "20261121"])
        .args(["--request-timeout", "20", "--no-color"])
        .args(["--suppress-health-check", "too_slow"])
        .args(more)
        .env("HYPOTHESIS_STORAGE_DIRECTORY", folder.join("examples"))
        .output()
        .expect("it is installed");
    let told = String::from_utf8_lossy(&checked.stdout);
    assert!(
        checked.status.success(),
        "{told}\n{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    // That it tested something, and not nothing at all.
    let selected = told
        .lines()
        .find(|line| line.trim_start().starts_with("Tested:"));
    assert_eq!(selected.map(str::trim), Some(operations), "{told}");
}

#[test]
fn the_server_keeps_what_its_openapi_document_promises() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Running::start(folder.path(), &[]);
    // The examples of the phases before count on top; with them it is a few thousand requests in half a minute.
    let more = ["--max-examples", "60"];
    check(folder.path(), DOCUMENT.as_ref(), &more, "Tested: 11");
    server.stop();
}

/// The document, with indicators of which somebody has something to say; its answers are the same.
fn document() -> Value {
    let item = r"([a-z0-9]{3,14}\.(com|net|org)|127\.0\.0\.(98|99)|8\.8\.4\.[0-9]|http://[a-z]{4,9}\.com/[a-z]{0,3}|http://127\.0\.0\.99/)";
    let one = json!({"type": "string", "pattern": format!("^{item}$")});
    let several = json!({"type": "string", "pattern": format!("^{item}(,{item}){{0,3}}$")});
    let text = fs::read_to_string(DOCUMENT).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    for (path, name, schema) in [
        ("/api/score", "indicators", &several),
        ("/apply", "indicator", &one),
    ] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array_mut();
        let parameters = parameters.unwrap().iter_mut();
        let mut parameter = parameters.filter(|parameter| parameter["name"] == name);
        parameter.next().unwrap()["schema"] = schema.clone();
    }
    let schemas = &mut document["components"]["schemas"];
    schemas["ApplyBody"]["properties"]["indicator"] = one.clone();
    schemas["Indicators"] = json!({"type": "array", "items": one, "minItems": 1, "maxItems": 6});
    document
}

/// Names that passive DNS saw at `127.0.0.99`, and where they lead. They look generated, so that the model has an opinion of them.
const NAMES: [(&str, u8); 3] = [
    ("qkzjvwxpbtgh.com.", 99),
    ("xk3j9q2vz8w1mfd7.net.", 99),
    ("intgmxdeadnxuyla.com.", 97),
];

#[test]
fn answers_of_a_model_and_of_gatherers_are_as_the_document_promises() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = Runtime::new().unwrap();
    let now = jiff::Timestamp::now().as_second();
    let seen = NAMES.map(|(name, _)| {
        json!({"obj": {"rrname": name, "time_last": now - 600, "count": 1}}).to_string() + "\n"
    });
    let told = seen.concat() + &json!({"cond": "succeeded"}).to_string();
    let passive = Upstream::start(Reply::Say(200, told));
    let passive = runtime.block_on(passive);
    let whois = include_str!("../gatherers/tests/fixtures/whoisxml.name.json");
    let whois = runtime.block_on(Upstream::start(Reply::Say(200, whois.to_owned())));
    let zone = Zone {
        authoritative: true,
        records: NAMES.map(|(name, at)| a(name, 300, at)).into(),
        denies: true,
        ..Zone::default()
    };
    let delegated = NAMES.map(|(name, _)| ns(name, "ns1.example.net."));
    let servers = NameServers::start(vec![resolver(&delegated), zone]);
    let servers = runtime.block_on(servers);
    let settings = [
        name_server::settings(&servers, ALLOW),
        upstream::settings("farsight", &passive.url(), ""),
        // Some of the answers say that nobody could be asked any more.
        upstream::settings("whoisxml", &whois.url(), "quota = { per_minute = 5 }"),
        // Nobody listens there.
        upstream::settings("wot", "http://127.0.0.1:1", ""),
    ];
    fs::write(folder.path().join("gatherers.toml"), settings.concat()).unwrap();
    let document_path = folder.path().join("openapi.json");
    fs::write(&document_path, document().to_string()).unwrap();
    let more = ["--model", MODEL, "--gatherers", "gatherers.toml"];
    let server = Running::start(folder.path(), &more);
    let more = [
        ["--mode", "positive"],
        ["--max-examples", "40"],
        ["--include-path-regex", "^/(api/score|apply|api/model)$"],
    ];
    check(
        folder.path(),
        &document_path,
        more.as_flattened(),
        "Tested: 5",
    );
    // All of them had something to say.
    let url = endpoint(folder.path())["url"].as_str().unwrap().to_owned();
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    let metrics = server::ask(address, "GET", "/metrics", &[], b"").body;
    let counted = |name: &str, label: &str| {
        let lines = metrics.lines();
        let mut lines = lines.filter(|line| line.starts_with(name) && line.contains(label));
        lines.any(|line| !line.ends_with(" 0"))
    };
    for outcome in ["model", "pivot", "none"] {
        let label = format!("outcome=\"{outcome}\"");
        assert!(
            counted("macula_scores_total", &label),
            "{outcome}: {metrics}"
        );
    }
    for (gatherer, outcome) in [
        ("farsight", "ok"),
        ("whoisxml", "ok"),
        ("whoisxml", "quota"),
        ("wot", "failed"),
        ("wot", "resting"),
    ] {
        let label = format!("gatherer=\"{gatherer}\",outcome=\"{outcome}\"");
        assert!(
            counted("macula_gatherer_requests_total", &label),
            "{label}: {metrics}"
        );
    }
    server.stop();
}
