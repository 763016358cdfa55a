//! What is understood of each form that lists come in.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

use std::fs;

use tempfile::TempDir;
use threat_lists::{Library, ListKind, Lists, Match, Scope, Settings};

/// Loads one file, and says which of `indicators` are on it, each with the entry that matched and how.
async fn found(file: &str, content: &str, indicators: &[&str]) -> Vec<Option<(String, Match)>> {
    let lists = load(file, content).await;
    let find = |text: &&str| {
        let hits = lists.1.find(&text.parse().unwrap(), |_| true);
        let hit = hits.first()?;
        Some((hit.entry.text.to_string(), hit.matched))
    };
    indicators.iter().map(find).collect()
}

async fn load(file: &str, content: &str) -> (TempDir, std::sync::Arc<Lists>) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(file), content).unwrap();
    let place = folder.path().to_str().unwrap();
    let library = Library::open(place, Settings::default()).await.unwrap();
    let lists = library.current();
    (folder, lists)
}

async fn failure(file: &str, content: &str) -> String {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(file), content).unwrap();
    let place = folder.path().to_str().unwrap();
    let error = Library::open(place, Settings::default()).await.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

fn hit(entry: &str, matched: Match) -> Option<(String, Match)> {
    Some((entry.to_owned(), matched))
}

#[tokio::test]
async fn a_csv_file_is_read_by_its_header() {
    let csv = "Domain,Confidence,First_Seen,comment\n\
               evil.test,75,2026-10-01T10:00:00Z,\"a, b\"\n\
               *.bad.test,,,\n";
    let (_folder, lists) = load("blacklist.csv", csv).await;
    let hits = lists.find(&"evil.test".parse().unwrap(), |_| true);
    let entry = &hits[0].entry;
    let date = "2026-10-01".parse().unwrap();
    assert_eq!(
        (entry.line, entry.weight, entry.first_seen),
        (2, Some(0.75), Some(date))
    );
    let hits = lists.find(&"a.bad.test".parse().unwrap(), |_| true);
    assert_eq!((hits[0].entry.line, hits[0].entry.weight), (3, None));
}

#[tokio::test]
async fn the_header_of_a_csv_file_may_stand_in_a_remark() {
    let csv = "# exported 2026-11-20, by somebody\n\
               #! weight: 0.3\n\
               # \"first_seen_utc\",\"ioc_value\",\"confidence_level\"\n\
               \"2026-11-20 10:00:00\", \"http://evil.test/a,b\", \"50\"\n\
               # the end\n\
               \"2026-11-20 10:00:00\", \"nothing at all\", \"50\"\n";
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("feeds")).unwrap();
    fs::write(folder.path().join("feeds/urls.csv"), csv).unwrap();
    let place = folder.path().to_str().unwrap();
    let library = Library::open(place, Settings::default()).await.unwrap();
    let lists = library.current();
    let list = lists.iter().next().unwrap();
    assert_eq!((list.kind(), list.weight()), (ListKind::Feed, Some(0.3)));
    assert_eq!((list.len(), list.set_aside()[0].line), (1, 6));
    let hits = lists.find(&"http://evil.test/a,b".parse().unwrap(), |_| true);
    assert_eq!((hits[0].entry.line, hits[0].entry.weight), (4, Some(0.5)));
}

#[tokio::test]
async fn what_nobody_stands_behind_is_set_aside() {
    let csv =
        "domain,confidence\na.test,0\nb.test,101\nc.test,much\nd.test,1\ne.test,\nf.test,-0\n";
    let (_folder, lists) = load("blacklist.csv", csv).await;
    let list = lists.iter().next().unwrap();
    let aside = list.set_aside().iter().map(|bad| (bad.line, &*bad.reason));
    let not_between = "its confidence is not between 0 and 100";
    let nobody = "its confidence is 0, so nobody stands behind it";
    assert_eq!(
        aside.collect::<Vec<_>>(),
        [
            (2, nobody),
            (3, not_between),
            (4, "the confidence `much` is not a number"),
            (7, nobody)
        ]
    );
    let weight = |name: &str| lists.find(&name.parse().unwrap(), |_| true)[0].entry.weight;
    assert_eq!((weight("d.test"), weight("e.test")), (Some(0.01), None));
    let indicator =
        r#"{"type": "indicator", "confidence": 0, "pattern": "[domain-name:value = 'a.test']"}"#;
    let bundle = format!(r#"{{"type": "bundle", "objects": [{indicator}]}}"#);
    let message = failure("blacklist.json", &bundle).await;
    assert!(message.contains(nobody), "{message}");
}

#[tokio::test]
async fn a_score_from_0_to_1_is_not_taken_for_a_percentage() {
    let text = "domain,score\na.test,1\nb.test,1.0\nc.test,0.9\nd.test,90\n";
    let (_folder, lists) = load("darklist.csv", text).await;
    let list = lists.iter().next().unwrap();
    assert_eq!((list.len(), list.set_aside_count()), (1, 3));
    for aside in list.set_aside() {
        assert!(aside.reason.contains("`weight`"), "{}", aside.reason);
    }
}

#[tokio::test]
async fn a_list_whose_weights_do_not_count_takes_any_score() {
    let text = "domain,score\na.test,1\nb.test,0.9\nc.test,90\n";
    for file in ["blacklist.csv", "whitelist.csv"] {
        let (_folder, lists) = load(file, text).await;
        let list = lists.iter().next().unwrap();
        assert_eq!((list.len(), list.set_aside_count()), (3, 0), "{file}");
    }
}

#[tokio::test]
async fn a_csv_file_without_a_column_of_indicators_stops_the_start() {
    let message = failure("blacklist.csv", "name,colour\nevil.test,red\n").await;
    assert!(message.contains("no column of the header"), "{message}");
}

#[tokio::test]
async fn a_quote_that_is_not_closed_does_not_swallow_the_rows_behind_it() {
    let csv = "domain,comment\nevil.test,\"no end\nbad.test,fine\n";
    let (_folder, lists) = load("blacklist.csv", csv).await;
    let list = lists.iter().next().unwrap();
    assert_eq!((list.len(), list.set_aside()[0].line), (1, 2));
    assert_eq!(lists.find(&"bad.test".parse().unwrap(), |_| true).len(), 1);
}

#[tokio::test]
async fn an_entry_with_a_port_speaks_of_the_host() {
    let text = "203.0.113.9:443\nevil.test:8080\n";
    let asked = [
        "203.0.113.9",
        "http://evil.test/a",
        "http://203.0.113.9:80/",
    ];
    let found = found("blacklist.txt", text, &asked).await;
    assert!(found.iter().all(Option::is_some), "{found:?}");
}

/// Whoever is to be found out chooses the text of a URL, and the mailbox of an address.
#[tokio::test]
async fn a_whitelisted_part_of_a_text_speaks_of_hosts_only() {
    let list = r#"{"type": "substring", "list": ["good.test"]}"#;
    let (_folder, lists) = load("whitelist.json", list).await;
    let find = |text: &str| lists.find(&text.parse().unwrap(), |_| true);
    assert!(find("http://evil.test/x?ref=good.test").is_empty());
    assert!(find("good.test@evil.test").is_empty());
    for text in ["http://www.good.test/x", "mallory@www.good.test"] {
        assert_eq!(find(text)[0].scope, Scope::Host, "{text}");
    }
    let hits = find("not-good.test");
    assert_eq!(
        (hits[0].scope, hits[0].matched),
        (Scope::Host, Match::Pattern)
    );
}

#[tokio::test]
async fn an_expression_that_is_found_in_everything_is_set_aside() {
    let list = r#"{"type": "regex", "list": ["", ".*", "//", "^cdn"]}"#;
    let (_folder, lists) = load("whitelist.json", list).await;
    let list = lists.iter().next().unwrap();
    assert_eq!((list.len(), list.set_aside_count()), (1, 3));
    assert!(
        lists
            .find(&"evil.test".parse().unwrap(), |_| true)
            .is_empty()
    );
}

#[tokio::test]
async fn warninglists_are_compared_as_their_type_says() {
    let warninglist = |kind: &str, values: &str| {
        format!(r#"{{"name": "n", "version": 20261120, "type": "{kind}", "list": [{values}]}}"#)
    };
    let file = "whitelist.json";
    let string = warninglist("string", r#""good.test""#);
    assert_eq!(
        found(file, &string, &["good.test", "www.good.test"]).await,
        [hit("good.test", Match::Exact), None]
    );
    let hostname = warninglist("hostname", r#""good.test", ".fine.test""#);
    assert_eq!(
        found(
            file,
            &hostname,
            &["good.test", "www.good.test", "a.fine.test", "bad.test"]
        )
        .await,
        [
            hit("good.test", Match::Exact),
            hit("good.test", Match::Subdomain),
            hit(".fine.test", Match::Subdomain),
            None
        ]
    );
    let cidr = warninglist("cidr", r#""192.0.2.0/24", "2001:db8::/32""#);
    assert_eq!(
        found(file, &cidr, &["192.0.2.9", "2001:db8::9", "198.51.100.1"]).await,
        [
            hit("192.0.2.0/24", Match::Range),
            hit("2001:db8::/32", Match::Range),
            None
        ]
    );
    let substring = warninglist("substring", r#""sinkhole""#);
    assert_eq!(
        found(file, &substring, &["my-sinkhole.test", "evil.test"]).await,
        [hit("sinkhole", Match::Pattern), None]
    );
    let regex = warninglist("regex", r#""/^cdn[0-9]+\\.test$/i", "(""#);
    let (_folder, lists) = load(file, &regex).await;
    let list = lists.iter().next().unwrap();
    assert_eq!(
        (list.version(), list.len(), list.set_aside()[0].line),
        ("20261120", 1, 2)
    );
    let count = |text: &str| lists.find(&text.parse().unwrap(), |_| true).len();
    assert_eq!((count("cdn42.test"), count("cdn42.test.evil.test")), (1, 0));
}

#[tokio::test]
async fn a_warninglist_speaks_only_of_the_kinds_it_names() {
    let list = r#"{"type": "substring", "matching_attributes": ["domain", "email-src"], "list": ["tracker"]}"#;
    assert_eq!(
        found(
            "whitelist.json",
            list,
            &["tracker.test", "http://evil.test/tracker", "a@tracker.test"]
        )
        .await,
        [
            hit("tracker", Match::Pattern),
            None,
            hit("tracker", Match::Pattern)
        ]
    );
}

/// Whatever it compares by: the host of a URL is not cleared by a list that is meant for addresses or names alone.
#[tokio::test]
async fn a_warninglist_of_any_type_speaks_only_of_the_kinds_it_names() {
    for (comparison, value, attributes, of_it, not_of_it) in [
        (
            "cidr",
            "198.51.100.0/24",
            "ip-src",
            "198.51.100.7",
            "http://198.51.100.7/x",
        ),
        (
            "hostname",
            "good.test",
            "domain",
            "good.test",
            "http://good.test/x",
        ),
        (
            "hostname",
            "good.test",
            "url",
            "http://good.test/x",
            "a@good.test",
        ),
        (
            "string",
            "good.test",
            "hostname",
            "good.test",
            "http://good.test/",
        ),
        (
            "regex",
            "^good",
            "domain",
            "good.test",
            "http://good.test/x",
        ),
        (
            "substring",
            "good",
            "url",
            "http://good.test/x",
            "good.test",
        ),
    ] {
        let list = format!(
            r#"{{"type": "{comparison}", "matching_attributes": ["{attributes}"], "list": ["{value}"]}}"#
        );
        let found = found("whitelist.json", &list, &[of_it, not_of_it]).await;
        let told = [found[0].is_some(), found[1].is_some()];
        assert_eq!(told, [true, false], "{comparison} {attributes}: {found:?}");
    }
}

#[tokio::test]
async fn of_a_stix_bundle_the_simple_patterns_that_are_still_valid_are_taken() {
    let indicator = |more: &str, pattern: &str| {
        format!(
            r#"{{"type": "indicator", "pattern_type": "stix", "valid_from": "2026-10-01T00:00:00Z", {more} "pattern": "{pattern}"}}"#
        )
    };
    let objects = [
        r#"{"type": "identity", "name": "somebody"}"#.to_owned(),
        indicator(r#""confidence": 40,"#, "[domain-name:value = 'evil.test']"),
        indicator(
            "",
            "[ipv4-addr:value = '192.0.2.0/24'] OR [url:value = 'http://a.test/x' OR email-addr:value='eve@b.test']",
        ),
        indicator(
            "",
            "[file:hashes.'MD5' = '44d88612fea8a8f36de82e1278abb02f']",
        ),
        indicator(
            r#""revoked": true,"#,
            "[domain-name:value = 'revoked.test']",
        ),
        indicator(
            r#""valid_until": "2026-10-02T00:00:00Z","#,
            "[domain-name:value = 'expired.test']",
        ),
        indicator(
            "",
            "[domain-name:value = 'half.test' AND ipv4-addr:value = '192.0.2.1']",
        ),
        indicator("", "[domain-name:value LIKE '%.test']"),
    ];
    let bundle = format!(
        r#"{{"type": "bundle", "objects": [{}]}}"#,
        objects.join(",")
    );
    let (_folder, lists) = load("blacklist.json", &bundle).await;
    let list = lists.iter().next().unwrap();
    let aside: Vec<u32> = list.set_aside().iter().map(|bad| bad.line).collect();
    assert_eq!((list.len(), aside), (5, vec![7, 8]));
    let find = |text: &str| lists.find(&text.parse().unwrap(), |_| true);
    for text in [
        "192.0.2.77",
        "http://a.test/x",
        "eve@b.test",
        "44D88612FEA8A8F36DE82E1278ABB02F",
    ] {
        assert_eq!(find(text).len(), 1, "{text}");
    }
    for text in ["revoked.test", "expired.test", "half.test"] {
        assert_eq!(find(text).len(), 0, "{text}");
    }
    assert_eq!(find("evil.test")[0].entry.weight, Some(0.4));
}

#[tokio::test]
async fn until_when_a_stix_indicator_is_valid_is_kept() {
    let indicator = |name: &str, until: &str| {
        format!(
            r#"{{"type": "indicator", "valid_until": "{until}", "pattern": "[domain-name:value = '{name}.test']"}}"#
        )
    };
    let objects = [
        indicator("midnight", "2999-01-01T00:00:00Z"),
        indicator("noon", "2999-01-01T12:00:00Z"),
    ];
    let bundle = format!(
        r#"{{"type": "bundle", "objects": [{}]}}"#,
        objects.join(",")
    );
    let (_folder, lists) = load("blacklist.json", &bundle).await;
    for (name, expected) in [("midnight.test", "2999-01-01"), ("noon.test", "2999-01-02")] {
        let hits = lists.find(&name.parse().unwrap(), |_| true);
        let expires = hits[0].entry.expires.map(|day| day.to_string());
        assert_eq!(expires.as_deref(), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn json_that_is_no_list_stops_the_start_and_says_what_was_expected() {
    let message = failure("blacklist.json", r#"["evil.test"]"#).await;
    assert!(message.contains("neither a STIX bundle"), "{message}");
    let message = failure("blacklist.json", "evil.test").await;
    assert!(message.contains("not JSON"), "{message}");
}

#[tokio::test]
async fn a_line_without_end_is_set_aside_and_its_neighbours_count() {
    let text = format!("evil.test\n{}\nbad.test\n", "x".repeat(100_000));
    let (_folder, lists) = load("blacklist.txt", &text).await;
    let list = lists.iter().next().unwrap();
    assert_eq!((list.len(), list.set_aside()[0].line), (2, 2));
    let hits = lists.find(&"bad.test".parse().unwrap(), |_| true);
    assert_eq!(hits[0].entry.line, 3);
}
