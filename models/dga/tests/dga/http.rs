//! The HTTP API.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use test_support::eventually;

use crate::running::{Server, dga, stdout};

#[test]
fn a_server_answers_as_callers_expect_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("endpoint.dat"), "left over").unwrap();
    let server = Server::start(folder.path(), &[]);
    // What callers have always asked, with and without a suffix.
    for (host, word) in [
        ("google", "legit"),
        ("google.com", "legit"),
        ("wikipedia.org", "legit"),
        ("stackoverflow.com", "legit"),
        ("intgmxdeadnxuyla.com", "dga"),
        ("xjwqkzpvhbdtrm", "dga"),
        ("www.qkzjvwxpbtgh.co.uk", "dga"),
    ] {
        let (status, answer) = server.get(&format!("/apply?host={host}"));
        assert_eq!(
            (status, &answer["is_malicious"]),
            (200, &Value::from(word)),
            "{host}: {answer}"
        );
    }
    let (_, answer) = server.get("/apply?host=www.intgmxdeadnxuyla.com");
    assert_eq!(answer["label"], "intgmxdeadnxuyla");
    assert_eq!(answer["reason"], "model");
    assert_eq!(answer["threshold"], 50.0);
    assert!(answer["score"].as_f64().unwrap() >= 50.0);
    assert_eq!(answer["reasons"].as_array().unwrap().len(), 3, "{answer}");
    assert!(answer.get("contributions").is_none());
    server.stop();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_explanation_adds_up_to_the_probability() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (_, one) = server.get("/apply?host=intgmxdeadnxuyla.com&explain=true");
    let (_, other) = server.get("/apply?host=stackoverflow.com&explain=true");
    // Both start from the same bias, so that what differs is what the features added.
    let parts = |answer: &Value| -> (f64, f64) {
        let contributions = answer["contributions"].as_array().unwrap();
        assert_eq!(contributions.len(), dga::features::COUNT);
        let sum = contributions
            .iter()
            .map(|part| part["contribution"].as_f64().unwrap())
            .sum();
        let probability = answer["probability"].as_f64().unwrap();
        (sum, (probability / (1.0 - probability)).ln())
    };
    let ((sum, margin), (other_sum, other_margin)) = (parts(&one), parts(&other));
    assert!(
        (sum - other_sum - (margin - other_margin)).abs() < 0.02,
        "{sum} {other_sum} {margin} {other_margin}"
    );
    assert!(margin > other_margin);
}

#[test]
fn what_is_no_name_is_answered_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for (host, reason) in [
        ("zaze", "too_short"),
        ("", "empty"),
        ("10.1.2.3", "address"),
        ("co.uk", "public_suffix"),
        ("%00%ff%20", "not_a_name"),
        ("%E2%82%AC%E2%82%AC%E2%82%AC.com", "other_script"),
        ("m%C3%BCnchen-im-herbst.de", "other_script"),
        ("a..b", "not_a_name"),
        ("%F0%9F%92%A9", "other_script"),
    ] {
        let (status, answer) = server.get(&format!("/apply?host={host}"));
        assert_eq!(
            (status, &answer["is_malicious"]),
            (200, &Value::from("legit")),
            "{host}: {answer}"
        );
        assert_eq!(answer["reason"], reason, "{host}");
    }
    for (path, status, code) in [
        ("/apply", 400, "no_host"),
        ("/apply?name=google.com", 400, "no_host"),
        ("/apply?host=a&explain=7", 400, "bad_parameter"),
        ("/nowhere", 404, "not_found"),
        (
            &format!("/apply?host={}", "x".repeat(9000)),
            414,
            "url_too_long",
        ),
    ] {
        let (found, answer) = server.get(path);
        assert_eq!(
            (found, &answer["error"]["code"]),
            (status, &Value::from(code)),
            "{answer}"
        );
    }
    let (status, _) =
        server.ask(b"DELETE /apply HTTP/1.1\r\nHost: dga\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 405);
}

#[test]
fn a_batch_is_answered_in_its_own_form_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (status, body) = server.post(
        "/apply",
        br#"["google.com", {"host": "intgmxdeadnxuyla.com"}, 7, ""]"#,
    );
    assert_eq!(status, 200, "{body}");
    let answers: Vec<Value> = serde_json::from_str(&body).unwrap();
    let words: Vec<_> = answers
        .iter()
        .map(|answer| answer["is_malicious"].as_str().unwrap())
        .collect();
    assert_eq!(words, ["legit", "dga", "legit", "legit"]);
    assert_eq!(
        (&answers[1]["host"], &answers[2]["host"]),
        (&Value::from("intgmxdeadnxuyla.com"), &Value::Null)
    );
    assert_eq!(
        (&answers[2]["reason"], &answers[3]["reason"]),
        (&Value::from("not_a_name"), &Value::from("empty"))
    );

    let (_, lines) = server.post(
        "/apply",
        b"\"google.com\"\nnonsense\n\"intgmxdeadnxuyla.com\"\n",
    );
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["is_malicious"], "dga");
    // One by one and all at once are the same.
    let (_, alone) = server.get("/apply?host=intgmxdeadnxuyla.com");
    for field in ["score", "label", "reason", "is_malicious"] {
        assert_eq!(lines[2][field], alone[field]);
    }
    let (_, explained) = server.post("/apply?explain=true", br#"["intgmxdeadnxuyla.com"]"#);
    assert!(explained.contains("contributions"));
}

#[test]
fn a_batch_has_bounds_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let code = |body: &[u8]| {
        let (status, body) = server.post("/apply", body);
        let answer: Value = serde_json::from_str(&body).unwrap();
        (status, answer["error"]["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(code(b""), (400, "no_names".to_owned()));
    assert_eq!(code(b"[1"), (400, "bad_json".to_owned()));
    assert_eq!(
        code(&b"\"a\"\n".repeat(10_001)),
        (400, "too_many_names".to_owned())
    );
    assert_eq!(code(&vec![b'['; 1_000_000]), (400, "bad_json".to_owned()));
    assert_eq!(code(&vec![b' '; 5_000_000]).0, 413);
    let many = format!("[{}]", vec!["\"a\""; 501].join(","));
    let (status, body) = server.post("/apply?explain=true", many.as_bytes());
    assert_eq!(status, 400, "{body}");
    // And after all that it still answers.
    assert_eq!(
        server.get("/health"),
        (200, serde_json::json!({ "status": "ok" }))
    );
}

#[test]
fn predicted_names_are_found_with_their_family() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("coming.txt");
    fs::write(&list, "forestmarket.net suppobox 2026-01-02 7\n").unwrap();
    let server = Server::start(folder.path(), &["--predictions", list.to_str().unwrap()]);
    let (_, answer) = server.get("/apply?host=www.forestmarket.net");
    assert_eq!(
        (&answer["is_malicious"], &answer["score"]),
        (&Value::from("dga"), &Value::from(100.0))
    );
    assert_eq!(
        (&answer["family"], &answer["reason"]),
        (&Value::from("suppobox"), &Value::from("predicted"))
    );
    assert_eq!(
        (&answer["date"], &answer["seed"]),
        (&Value::from("2026-01-02"), &Value::from("7"))
    );
    let (_, answer) = server.get("/apply?host=forestmarket.org");
    assert_eq!(answer["is_malicious"], "legit");
    let (_, version) = server.get("/version");
    assert_eq!(
        (&version["name"], &version["predictions"]),
        (&Value::from("dga"), &Value::from(1))
    );
    assert_eq!(version["predictions_until"], "2026-01-02");
    let (_, model) = server.get("/model");
    assert!(model["quality"]["folds"]["auc"]["value"].as_f64().unwrap() > 0.99);
    // Those of the next day take their place while it serves.
    fs::write(&list, "dancewinter.net suppobox 2026-01-03 7\n").unwrap();
    let found = async || server.get("/apply?host=dancewinter.net").1["reason"] == "predicted";
    let found = eventually(Duration::from_secs(60), "the new list to be used", found);
    tokio::runtime::Runtime::new().unwrap().block_on(found);
    let (_, answer) = server.get("/apply?host=forestmarket.net");
    assert_ne!(answer["reason"], "predicted");
}

#[test]
fn the_openapi_document_is_the_one_that_is_checked_in_and_served() {
    let kept = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap();
    let made = dga(&["openapi"]);
    assert!(
        stdout(&made) == kept,
        "models/dga/openapi.json is not up to date; make it anew by: cargo run -p dga -- openapi > models/dga/openapi.json"
    );
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let (status, served) = server.get("/openapi.json");
    assert_eq!(
        (status, served),
        (200, serde_json::from_str(&kept).unwrap())
    );
    let metrics = server.ask(b"GET /metrics HTTP/1.1\r\nHost: dga\r\nConnection: close\r\n\r\n");
    assert!(
        metrics.1.contains("dga_http_requests_total"),
        "{}",
        metrics.1
    );
}
