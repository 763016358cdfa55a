//! The HTTP API, asked over a real socket.

#[path = "running/server.rs"]
mod running;

use running::{Server, today};
use serde_json::{Value, json};

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
        "match": "range", "scope": "itself", "class": "shared", "counted": true,
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
    let lists = json!({ "score": 100.0, "share": 100.0, "missing": false });
    assert_eq!(
        same["evil.test"]["meta"]["summary"],
        json!({ "lists": lists })
    );

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
    let shares: f64 = items.iter().filter_map(|item| item["share"].as_f64()).sum();
    assert!((shares - 100.0).abs() < 0.02, "{explanation}");
    assert_eq!(raised["meta"]["rules"]["hits"][0]["last_seen"], today());
    // What is left out is told together, so that the numbers add up however few are listed.
    for count in [0, 1] {
        let path = format!("/api/score?indicators=lurker.test&explain=1&explain_items={count}");
        let answer = server.get(&path);
        let explanation = &answer["lurker.test"]["meta"]["explanation"];
        let items = explanation["items"].as_array().expect("a list");
        assert_eq!(items.len(), count);
        assert_eq!(explanation["rest"]["count"], 2 - count);
        let number = |value: &Value| value.as_f64().expect("a number");
        let sum: f64 = items.iter().map(|item| number(&item["contribution"])).sum();
        let sum = number(&explanation["base"]) + sum + number(&explanation["rest"]["contribution"]);
        assert!((sum - 81.85).abs() < 0.01, "{explanation}");
    }
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

/// As some languages write what they could not decode.
#[test]
fn half_a_surrogate_pair_in_one_item_is_that_items_own_trouble() {
    let server = Server::start();
    for body in [
        r#"["evil.test", "\ud800", {"indicator": "good.test"}]"#,
        r#"{"indicators": ["evil.test", "\ud800", {"indicator": "good.test"}], "options": {"explain": true}}"#,
    ] {
        let (status, answer) = server.ask("POST", "/api/score", body.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let code = &answer[r#""\ud800""#]["meta"]["error"]["code"];
        assert_eq!(code, "invalid_json", "{answer}");
        assert_eq!(answer["evil.test"]["rescaled"], 100.0);
        assert_eq!(answer["good.test"]["rescaled"], 0.0);
        let explained = answer["evil.test"]["meta"]["explanation"].is_object();
        assert_eq!(explained, body.starts_with('{'));
    }
    for body in [
        r#"["\ud800", "#,
        r#"["\ud800"] x"#,
        r#"{"indicators": ["\ud800"], "more": 1}"#,
    ] {
        server.refused("POST", "/api/score", body.as_bytes(), (400, "invalid_json"));
    }
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
    let none = server.get("/api/lists/check?indicator=nonsense");
    assert_eq!(
        (&none["success"], &none["error"]["code"]),
        (&json!(false), &json!("not_recognised"))
    );
    assert_eq!(server.get("/ready")["ready"], true);
    assert_eq!(server.get("/health")["status"], "ok");
    assert_eq!(server.get("/version")["name"], "macula");
    assert_eq!(server.get("/api/model")["models"], json!([]));
    assert_eq!(server.get("/openapi.json")["openapi"], "3.1.0");
}

#[test]
fn lines_are_answered_with_lines_and_either_form_can_be_asked_for() {
    let server = Server::start();
    let body =
        b"\"evil.test\"\n{\"indicator\":\"good.test\",\"type\":\"url\"}\nbroken\n\"evil.test\"\n";
    let lines = [("Content-Type", "application/x-ndjson")];
    let reply = server.send("POST", "/api/score", &lines, body);
    let answers = reply.lines();
    let seen: Vec<_> = answers
        .iter()
        .map(|answer| {
            (
                &answer["indicator"],
                &answer["rescaled"],
                &answer["meta"]["type"],
            )
        })
        .collect();
    let (evil, good, broken) = (json!("evil.test"), json!("good.test"), json!("broken"));
    let (hundred, zero, null) = (json!(100.0), json!(0.0), Value::Null);
    let (domain, url) = (json!("domain"), json!("url"));
    let expected = [
        (&evil, &hundred, &domain),
        (&good, &zero, &url),
        (&broken, &null, &null),
        (&evil, &hundred, &domain),
    ];
    assert_eq!(seen, expected);
    assert_eq!(answers[2]["meta"]["error"]["code"], "invalid_json");
    assert_eq!(answers[3]["meta"]["cached"], true);
    let headers = [lines[0], ("Accept", "application/json")];
    let one = server.send("POST", "/api/score", &headers, body).json();
    assert_eq!(one.as_object().map(serde_json::Map::len), Some(3));
    let reply = server.send("POST", "/api/score", &headers, body);
    let times = reply.body.matches("\"evil.test\":{").count();
    assert_eq!(times, 1, "{}", reply.body);
    let headers = [("Accept", "application/x-ndjson")];
    let reply = server.send("POST", "/api/score", &headers, br#"["evil.test"]"#);
    assert_eq!(reply.lines()[0]["indicator"], "evil.test");
    let reply = server.send("GET", "/api/score?indicators=evil.test", &headers, b"");
    assert_eq!(reply.lines().len(), 1);
}

#[test]
fn apply_takes_a_form_or_an_object_as_well() {
    let server = Server::start();
    for (kind, body) in [
        (
            "application/x-www-form-urlencoded",
            "host=evil.test&bytes=17",
        ),
        ("application/json", r#"{"host":"evil.test","bytes":17}"#),
        ("text/plain", r#"{"domain":"evil.test"}"#),
    ] {
        let headers = [("Content-Type", kind)];
        let answer = server
            .send("POST", "/apply", &headers, body.as_bytes())
            .json();
        assert_eq!(answer["is_malicious"], "malicious", "{kind}");
        assert_eq!(answer["top_feature"], "blacklist black");
    }
    server.refused("POST", "/apply", b"{", (400, "invalid_json"));
    server.refused("POST", "/apply", b"", (400, "missing_parameter"));
}

#[test]
fn a_parameter_nobody_knows_is_refused_or_warned_about() {
    let server = Server::start();
    let path = "/api/score?indicators=evil.test,nonsense&useChache=0&strict=false";
    let reply = server.send("GET", path, &[], b"");
    assert!(reply.head.contains("warning: 299 macula"), "{}", reply.head);
    assert!(reply.head.contains("usecache"), "{}", reply.head);
    for (_, answer) in reply.json().as_object().expect("an object") {
        let warning = answer["meta"]["warnings"][0].as_str().expect("a warning");
        assert!(warning.contains("`useCache`"), "{warning}");
    }
    let reply = server.send("GET", "/apply?host=evil.test&%0d%0aX=%22", &[], b"");
    assert_eq!(
        (reply.status, reply.json()["score"].as_f64()),
        (200, Some(100.0))
    );
    assert!(reply.head.contains("warning: 299 macula"), "{}", reply.head);
    assert!(!reply.head.contains("\r\nx="), "{}", reply.head);
    let path = "/api/score?indicators=a.test&features=geo,whois&exclude=geo";
    let answer = server.get(path);
    assert_eq!(answer["a.test"]["meta"]["features"], json!(["whoisxml"]));
}

#[test]
fn what_happens_is_counted() {
    let server = Server::start();
    server.get("/api/score?indicators=evil.test,lurker.test,nonsense");
    server.get("/api/score?indicators=evil.test");
    server.get("/api/score?indicators=evil.test&useCache=false");
    server.get("/api/score?indicators=http://good.test/a%2Cb");
    server.ask("GET", "/nowhere/at/all", b"");
    for (name, label, expected) in [
        ("macula_scores_total", "outcome=\"blacklist\"", 4.0),
        ("macula_scores_total", "type=\"domain\"", 4.0),
        ("macula_scores_total", "outcome=\"error\"", 1.0),
        ("macula_score_cache_total", "hit", 1.0),
        ("macula_score_cache_total", "miss", 3.0),
        ("macula_score_cache_total", "skipped", 1.0),
        ("macula_score_cache_entries", "", 3.0),
        ("macula_conflicts_total", "", 1.0),
        ("macula_list_entries", "list=\"white\"", 2.0),
        ("macula_list_lines_set_aside", "list=\"black\"", 2.0),
        ("macula_http_requests_total", "route=\"/api/score\"", 4.0),
        ("macula_http_requests_total", "status=\"404\"", 1.0),
        ("macula_http_request_seconds_count", "/api/score", 4.0),
    ] {
        let found = server.metric(name, label);
        assert!((found - expected).abs() < 0.1, "{name} {label}: {found}");
    }
    assert!(server.metric("macula_lists_age_seconds", "") < 60.0);
}

#[test]
fn what_changes_the_process_is_not_on_the_public_listener() {
    let server = Server::start();
    for (method, path) in [
        ("POST", "/admin/reload"),
        ("DELETE", "/admin/cache"),
        ("GET", "/admin/status"),
        ("GET", "/admin"),
    ] {
        server.refused(method, path, b"", (404, "not_found"));
    }
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
    // And after all that it still serves.
    assert_eq!(
        server.get("/apply?host=evil.test")["is_malicious"],
        "malicious"
    );
}
