//! Lists in an object store: a real server of the S3 protocol, asked by the real process with the usual settings.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "running/process.rs"]
mod running;
#[path = "running/server.rs"]
mod server;
#[path = "running/training.rs"]
mod training;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Method, Response, Uri};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStoreExt, PutPayload};
use running::{Running, endpoint};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use serde_json::json;
use server::ask;
use tempfile::TempDir;
use test_support::eventually;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use training::train;

const KEY: &str = "some-key";
const SECRET: &str = "some-secret";

/// An object store with a bucket `macula`.
struct Store {
    url: String,
    client: AmazonS3,
    reads: Arc<Mutex<Vec<String>>>,
    runtime: Runtime,
    _folder: TempDir,
}

/// The server, and the objects that were read.
type Served = (S3Service, Arc<Mutex<Vec<String>>>);

async fn serve(State((service, reads)): State<Served>, request: Request) -> Response<Body> {
    let path = request.uri().path();
    let is_object = path
        .strip_prefix("/macula/")
        .is_some_and(|key| !key.is_empty());
    if request.method() == Method::GET && is_object {
        reads.lock().unwrap().push(path.to_owned());
    }
    let folder = listed_folder(request.uri());
    let request = request.map(s3s::Body::http_body_unsync);
    let reply = service.call(request).await.unwrap().map(Body::new);
    match folder {
        Some(folder) => with_marker(reply, &folder).await,
        None => reply,
    }
}

/// The folder whose objects are asked for.
fn listed_folder(uri: &Uri) -> Option<String> {
    let Query(mut words) = Query::<BTreeMap<String, String>>::try_from_uri(uri).unwrap();
    let prefix = words.remove("prefix")?;
    prefix.ends_with('/').then_some(prefix)
}

/// The list of a folder's objects with the folder's own, as S3 has it of a folder that was made in its console. This server
/// makes a folder of such an object, and does not list it.
async fn with_marker(reply: Response<Body>, folder: &str) -> Response<Body> {
    let (mut head, body) = reply.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let marker = format!(
        "<Contents><Key>{folder}</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified><Size>0</Size></Contents>"
    );
    let end = "</ListBucketResult>";
    let body = String::from_utf8(body.into()).unwrap();
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(body.replace(end, &(marker + end))))
}

impl Store {
    fn start() -> Store {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("macula")).unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let reads = Arc::<Mutex<Vec<String>>>::default();
        let app = Router::new()
            .fallback(serve)
            .with_state((service.build(), Arc::clone(&reads)));
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
        let client = AmazonS3Builder::new()
            .with_bucket_name("macula")
            .with_endpoint(&url)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET);
        Store {
            url,
            client: client.build().unwrap(),
            reads,
            runtime,
            _folder: folder,
        }
    }

    fn write(&self, key: &str, content: impl Into<Vec<u8>>) {
        let key = key.into();
        let put = self.client.put(&key, PutPayload::from(content.into()));
        self.runtime.block_on(put).unwrap();
    }

    /// The objects that were read since this was asked last.
    fn reads(&self) -> Vec<String> {
        let mut reads = std::mem::take(&mut *self.reads.lock().unwrap());
        reads.sort();
        reads
    }

    fn variables<'s>(&'s self, secret: &'s str) -> [(&'s str, &'s str); 5] {
        [
            ("AWS_ENDPOINT", &self.url),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
    }
}

#[test]
fn lists_of_an_object_store_are_read_once_and_again_when_they_change() {
    let store = Store::start();
    store.write("lists/blacklist.txt", "evil.test\n");
    store.write("lists/feeds/phish.csv", "domain,weight\nphish.test,0.5\n");
    store.write("other/whitelist.txt", "evil.test\n");
    let folder = tempfile::tempdir().unwrap();
    let more = ["--lists", "s3://macula/lists", "--admin", "127.0.0.1:0"];
    let running = Running::start_with(folder.path(), &more, &store.variables(SECRET));
    let both = [
        "/macula/lists/blacklist.txt",
        "/macula/lists/feeds/phish.csv",
    ];
    assert_eq!(store.reads(), both);

    let url = endpoint(folder.path())["url"].as_str().unwrap().to_owned();
    let public: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let (_, admin) = running.line.split_once("admin=\"http://").unwrap();
    let (admin, _) = admin.split_once('"').unwrap();
    let admin: SocketAddr = admin.parse().unwrap();
    let score = |name: &str| {
        let path = format!("/api/score?indicators={name}");
        ask(public, "GET", &path, &[], b"").json()[name]["rescaled"].clone()
    };
    let reload = || {
        let reply = ask(admin, "POST", "/admin/reload", &[], b"");
        assert_eq!(reply.status, 200, "{}", reply.body);
        store.reads()
    };
    assert_eq!(
        [score("evil.test"), score("phish.test")],
        [json!(100.0), json!(74.5)]
    );
    // What has not changed is not read again.
    assert_eq!(reload(), [""; 0]);
    store.write("lists/blacklist.txt", "another-evil.test\n");
    assert_eq!(reload(), both[..1]);
    assert_eq!(
        [score("evil.test"), score("another-evil.test")],
        [json!(50.0), json!(100.0)]
    );
    // One that is no list leaves the last good one.
    store.write("lists/blacklist.txt", "<html>\n");
    let refused = ask(admin, "POST", "/admin/reload", &[], b"");
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert_eq!(score("another-evil.test"), json!(100.0));
    running.stop();
}

/// The root's own would be taken for a list of a wrong ending, like that of the feeds.
#[test]
fn folders_that_were_made_in_the_stores_console_are_no_lists() {
    let store = Store::start();
    store.write("blacklists/blacklist.txt", "evil.test\n");
    store.write("blacklists/feeds/phish.txt", "phish.test\n");
    let folder = tempfile::tempdir().unwrap();
    let more = ["--lists", "s3://macula/blacklists/"];
    let running = Running::start_with(folder.path(), &more, &store.variables(SECRET));
    assert_eq!(
        store.reads(),
        [
            "/macula/blacklists/blacklist.txt",
            "/macula/blacklists/feeds/phish.txt"
        ]
    );
    running.stop();
}

/// Nobody calls: the lists change as the groups' cron expressions say, and only those.
#[test]
fn lists_of_an_object_store_are_looked_at_at_the_times_of_their_groups() {
    let store = Store::start();
    store.write("lists/blacklist-ip.txt", "192.0.2.1\n");
    store.write("lists/blacklist.txt", "old.test\n");
    let folder = tempfile::tempdir().unwrap();
    let more = ["--lists", "s3://macula/lists"];
    let mut variables = store.variables(SECRET).to_vec();
    variables.push(("MACULA_IP_BLACKLIST_CRON_STR", "* * * * *"));
    variables.push(("MACULA_DM_BLACKLIST_CRON_STR", "0 0 29 2 *"));
    let running = Running::start_with(folder.path(), &more, &variables);
    store.reads();
    store.write("lists/blacklist-ip.txt", "192.0.2.2\n");
    store.write("lists/blacklist.txt", "new.test\n");

    let url = endpoint(folder.path())["url"].as_str().unwrap().to_owned();
    let public: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let score = |name: &str| {
        let path = format!("/api/score?indicators={name}");
        ask(public, "GET", &path, &[], b"").json()[name]["rescaled"].clone()
    };
    let is_new = async || score("192.0.2.2") == 100.0;
    let limit = Duration::from_secs(90);
    let looked_at = eventually(limit, "the minute's look at the addresses", is_new);
    store.runtime.block_on(looked_at);
    assert_eq!(store.reads(), ["/macula/lists/blacklist-ip.txt"]);
    assert_eq!(
        [score("192.0.2.1"), score("old.test"), score("new.test")],
        [json!(50.0), json!(100.0), json!(50.0)]
    );
    running.stop();
}

/// A model of an object store serves; another one that is put there takes its place once it is whole, and what is none does not.
#[test]
fn a_model_of_an_object_store_is_fetched_and_again_when_it_changes() {
    let store = Store::start();
    let [first, second] = ["1", "2"].map(|version| {
        let made = tempfile::tempdir().unwrap();
        train(
            made.path(),
            version,
            if version == "1" { "40" } else { "5" },
        );
        let read = |file: &str| fs::read(made.path().join("names").join(file)).unwrap();
        ["manifest.json", "trees.ubj"].map(read)
    });
    let put = |file: &str, content: &[u8]| store.write(&format!("models/names/{file}"), content);
    put("trees.ubj", &first[1]);
    put("manifest.json", &first[0]);
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let more = [
        ["--model", "s3://macula/models/names"],
        ["--model-archive", "archive"],
        ["--scratch", scratch.to_str().unwrap()],
    ];
    let running = Running::start_with(folder.path(), more.as_flattened(), &store.variables(SECRET));
    let url = endpoint(folder.path())["url"].as_str().unwrap().to_owned();
    let public: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let version = || {
        let path = "/api/score?indicators=xk3j9q2vz8w1m.com&useCache=false";
        let answer = ask(public, "GET", path, &[], b"").json();
        answer["xk3j9q2vz8w1m.com"]["meta"]["model"]["version"].clone()
    };
    let behind = || {
        let answer = ask(public, "GET", "/api/model", &[], b"").json();
        answer["models"][0]["behind"].as_str().map(str::to_owned)
    };
    assert_eq!((version(), behind()), (json!("1"), None));
    // Its trees are not there yet: it is not taken, and that is told.
    put("manifest.json", &second[0]);
    let limit = Duration::from_secs(60);
    let told = eventually(limit, "a look", async || behind());
    let why = store.runtime.block_on(told);
    assert!(why.starts_with("what was fetched is no model: "), "{why}");
    let metrics = || ask(public, "GET", "/metrics", &[], b"").body;
    assert!(
        metrics().contains("macula_model_behind{model=\"names\"} 1"),
        "{}",
        metrics()
    );
    assert_eq!(version(), "1");
    put("trees.ubj", &second[1]);
    let taken = eventually(limit, "the new model", async || version() == "2");
    store.runtime.block_on(taken);
    let caught_up = eventually(limit, "nothing to tell", async || behind().is_none());
    store.runtime.block_on(caught_up);
    assert!(
        metrics().contains("macula_model_behind{model=\"names\"} 0"),
        "{}",
        metrics()
    );
    let archived = fs::read_dir(folder.path().join("archive/names")).unwrap();
    assert_eq!(archived.count(), 1);
    running.stop();
    let left = fs::read_dir(scratch).unwrap();
    assert_eq!(left.count(), 0, "what was fetched goes with the program");
}

#[test]
fn a_place_without_a_model_ends_the_start_and_is_named() {
    let store = Store::start();
    let output = Command::new(env!("CARGO_BIN_EXE_macula"))
        .args(["score", "--lists", running::LISTS, "evil.test"])
        .args(["--model", "s3://macula/models/none"])
        .envs(store.variables(SECRET))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("`s3://macula/models/none"), "{said}");
}

#[test]
fn an_object_store_that_knows_us_not_ends_the_start_and_is_named() {
    let store = Store::start();
    store.write("lists/blacklist.txt", "evil.test\n");
    let asked = |secret| {
        Command::new(env!("CARGO_BIN_EXE_macula"))
            .args(["score", "--lists", "s3://macula/lists", "evil.test"])
            .envs(store.variables(secret))
            .output()
            .unwrap()
    };
    let known = asked(SECRET);
    assert!(
        known.status.success(),
        "{}",
        String::from_utf8_lossy(&known.stderr)
    );
    let unknown = asked("another-secret");
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(!unknown.status.success());
    assert!(said.contains("`s3://macula/lists`"), "{said}");
    assert!(
        !said.contains(SECRET) && !said.contains("another-secret"),
        "{said}"
    );
}
