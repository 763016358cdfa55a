//! The program as it is deployed: the real process, with the lists it comes with.

#[path = "running/process.rs"]
mod running;
#[path = "running/server.rs"]
mod server;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use running::{LISTS, Running, endpoint};
use serde_json::{Value, json};

fn macula(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_macula");
    Command::new(program)
        .args(arguments)
        .output()
        .expect("must run")
}

fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("http://").expect("http")).expect("must accept")
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn a_server_says_where_it_is_answers_there_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("endpoint.dat"), "left over").expect("must be written");
    let server = Running::start(folder.path(), &[]);
    let endpoint = endpoint(folder.path());
    assert_eq!(endpoint["functions"]["apply"], "apply");
    let mut stream = connect(endpoint["url"].as_str().expect("a URL"));
    stream
        .write_all(
            b"GET /apply?host=evil.example HTTP/1.1\r\nHost: macula\r\nConnection: close\r\n\r\n",
        )
        .expect("must be taken");
    assert!(read(stream).contains(r#""is_malicious":"malicious""#));
    server.stop();
    let left: Vec<_> = fs::read_dir(folder.path()).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_request_under_way_is_answered_before_the_server_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Running::start(folder.path(), &[]);
    let endpoint = endpoint(folder.path());
    let mut stream = connect(endpoint["url"].as_str().expect("a URL"));
    // The server asks for the body by `100 Continue`, so that we know it has begun with this request.
    stream
        .write_all(b"POST /api/score HTTP/1.1\r\nHost: macula\r\nExpect: 100-continue\r\nContent-Length: 16\r\n\r\n")
        .expect("must be taken");
    let mut go_on = [0; 25];
    stream
        .read_exact(&mut go_on)
        .expect("must be told to go on");
    server.tell_to_stop();
    stream
        .write_all(br#"["evil.example"]"#)
        .expect("must be taken");
    assert!(read(stream).contains(r#""rescaled":100.0"#));
    server.wait();
}

#[test]
fn the_lists_that_are_shipped_have_no_bad_line() {
    let settings = threat_lists::Settings::default();
    let library = tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(threat_lists::Library::open(LISTS, settings));
    let lists = library.expect("must load").current();
    assert!(lists.entries() > 20);
    for list in lists.iter() {
        assert_eq!(list.set_aside(), [], "{}", list.name());
    }
}

#[test]
fn indicators_are_scored_on_the_command_line() {
    let table = macula(&[
        "score",
        "--lists",
        LISTS,
        "hxxp://evil[.]example/x",
        "wikipedia.org",
    ]);
    assert!(table.status.success());
    let text = String::from_utf8(table.stdout).expect("text");
    assert!(
        text.contains("blacklist: evil.example") && text.contains("benign"),
        "{text}"
    );

    let json = macula(&[
        "score",
        "--lists",
        LISTS,
        "--format",
        "json",
        "evil.example",
        "nonsense",
    ]);
    assert_eq!(json.status.code(), Some(1), "one item is no indicator");
    let answer: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(answer["evil.example"]["rescaled"], 100.0);
    assert_eq!(answer["nonsense"]["meta"]["success"], false);
}

#[test]
fn what_cannot_work_is_said_with_the_thing_it_failed_on() {
    let failed = macula(&["score", "--lists", "/nowhere/at/all", "evil.example"]);
    assert_eq!(failed.status.code(), Some(2));
    let told = String::from_utf8(failed.stderr).expect("text");
    assert!(told.contains("/nowhere/at/all"), "{told}");
    let failed = macula(&["serve", "--listen", "host.invalid:0", "--lists", LISTS]);
    assert_eq!(failed.status.code(), Some(2));
    // Two models of one name could not be told apart by whoever wants one rolled back.
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/model");
    let twice = ["--model", model, "--model", model];
    let failed = macula(&[&["score", "--lists", LISTS, "evil.example"][..], &twice].concat());
    assert_eq!(failed.status.code(), Some(2));
    let told = String::from_utf8(failed.stderr).expect("text");
    assert!(
        told.contains("is called `names`, and so is one before it"),
        "{told}"
    );
}

#[test]
fn the_openapi_document_is_the_one_that_is_checked_in() {
    let made = macula(&["openapi"]);
    assert!(made.status.success());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let kept = fs::read_to_string(path).expect("it is checked in");
    assert!(
        String::from_utf8(made.stdout).expect("text") == kept,
        "models/macula/openapi.json is not up to date; make it anew by: cargo run -p macula -- openapi > models/macula/openapi.json"
    );
    let document: Value = serde_json::from_str(&kept).expect("JSON");
    let parameters = document["paths"]["/api/score"]["get"]["parameters"].as_array();
    let mut promised: Vec<_> = parameters
        .expect("a list")
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    let body = &document["components"]["schemas"]["BodyOptions"]["properties"];
    let mut in_body: Vec<_> = body
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let mut known = macula::options::NAMES.to_vec();
    known.sort_unstable();
    in_body.sort_unstable();
    assert_eq!(in_body, known);
    // An object has no place in a query string.
    known.retain(|name| *name != "overrides");
    known.push("indicators");
    known.sort_unstable();
    promised.sort_unstable();
    assert_eq!(promised, known);
}

#[test]
fn the_admin_routes_have_a_listener_of_their_own_and_only_if_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    fs::write(&token, " \n").expect("must be written");
    let path = token.to_str().expect("text");
    let admin = "127.0.0.1:0";
    let serve = ["serve", "--listen", "127.0.0.1:0", "--lists", LISTS];
    let failed = macula(&[&serve[..], &["--admin", admin, "--admin-token-file", path]].concat());
    assert_eq!(
        failed.status.code(),
        Some(2),
        "an empty token opens nothing"
    );
    let failed = macula(&[&serve[..], &["--admin-token-file", path]].concat());
    assert_eq!(
        failed.status.code(),
        Some(2),
        "a token alone guards nothing"
    );
    let failed = macula(&[&serve[..], &["--admin", "0.0.0.0:0"]].concat());
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(2), "{said}");
    assert!(said.contains("--admin-token-file"), "{said}");
    fs::write(&token, "sesame\n").expect("must be written");
    let server = Running::start(
        folder.path(),
        &["--admin", admin, "--admin-token-file", path],
    );
    let (_, url) = server.line.split_once("admin=\"").expect("it says where");
    let mut stream = connect(url.split('"').next().unwrap_or_default());
    stream
        .write_all(b"GET /admin/status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sesame\r\nConnection: close\r\n\r\n")
        .expect("must be taken");
    assert!(read(stream).starts_with("HTTP/1.1 200"));
    server.stop();
}

#[test]
fn lists_that_nobody_renews_make_it_not_ready_if_that_is_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lists = folder.path().join("lists");
    fs::create_dir(&lists).expect("a folder");
    for name in ["blacklist.txt", "whitelist.txt"] {
        fs::write(lists.join(name), "a.test").expect("it is written");
    }
    let old = SystemTime::now() - Duration::from_secs(3 * 86_400);
    let file = fs::File::options()
        .write(true)
        .open(lists.join("blacklist.txt"));
    file.and_then(|file| file.set_modified(old))
        .expect("it is ours");
    let place = lists.to_str().expect("a path of text");
    let ready = |more: &[&str]| {
        let server = Running::start(folder.path(), &[&["--lists", place], more].concat());
        let url = endpoint(folder.path())["url"].clone();
        let address = url.as_str().and_then(|url| url.strip_prefix("http://"));
        let address = address.expect("a URL").trim_end_matches('/').parse();
        let reply = server::ask(address.expect("an address"), "GET", "/ready", &[], b"");
        server.stop();
        (reply.status, reply.json())
    };
    let (status, answer) = ready(&["--max-list-age", "2days"]);
    assert_eq!(
        (status, &answer["ready"], &answer["problems"]),
        (
            503,
            &Value::from(false),
            &json!(["blacklist is 3 days old; at most 2 days are allowed"])
        )
    );
    for more in [&["--max-list-age", "4days"][..], &[]] {
        let (status, answer) = ready(more);
        assert_eq!(
            (status, &answer["ready"]),
            (200, &Value::from(true)),
            "{more:?}"
        );
    }
}
