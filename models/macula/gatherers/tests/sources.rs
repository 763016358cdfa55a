//! Every mapped source, asked over a real socket: good and bad answers, and what becomes of them (OP-2551).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/upstream.rs"]
mod upstream;

use gatherers::{DriftKind, GatherOptions, Gathered, Missing, Reading, Value};
use serde_json::{Value as Json, json};
use upstream::{Hands, Reply, Upstream, fixture, gather, gather_with, settings, start};

/// A gatherer, and an answer it was given.
struct Case {
    gatherer: &'static str,
    indicator: &'static str,
    fixture: &'static str,
    target: &'static str,
    key: Option<(&'static str, &'static str)>,
    features: Json,
    /// What the service says of what it does not know.
    empty: &'static str,
    /// A member whose type the service changes one day, and the feature that is made of it.
    changed: (&'static str, &'static str),
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            gatherer: "censys",
            indicator: "8.8.4.4",
            fixture: "censys.ip.json",
            target: "/v2/hosts/8.8.4.4",
            key: Some(("authorization", "Basic Z2F0aGVyZXJz")),
            features: json!({
                "censys_open_ports": 4.0, "censys_lowest_port": 22.0, "censys_highest_port": 31337.0,
                "censys_web_ports": 1.0, "censys_remote_access_ports": 1.0, "censys_mail_ports": 0.0,
                "censys_database_ports": 0.0, "censys_backdoor_ports": 1.0, "censys_services": 4.0,
                "censys_unknown_services": 1.0, "censys_certificates": 1.0, "censys_names": 2.0,
                "censys_days_since_scan": 2.0,
            }),
            empty: "",
            changed: ("/result/services/0/port", "censys_lowest_port"),
        },
        Case {
            gatherer: "farsight",
            indicator: "http://www.example.com/a",
            fixture: "farsight.name.ndjson",
            target: "/dnsdb/v2/lookup/rrset/name/www.example.com/ANY?limit=1000",
            key: Some(("x-api-key", "gatherers")),
            features: json!({
                "farsight_record_sets": 2.0, "farsight_observations": 1120.0, "farsight_record_types": 2.0,
                "farsight_data": 3.0, "farsight_mail_records": 1.0, "farsight_days_since_first_seen": 365.0,
                "farsight_days_since_last_seen": 1.0, "farsight_names": "absent",
            }),
            empty: "farsight.empty.ndjson",
            changed: ("", "farsight_observations"),
        },
        Case {
            gatherer: "wot",
            indicator: "www.example.com",
            fixture: "wot.name.json",
            target: "/v3/targets?t=example.com",
            key: Some(("x-user-id", "me")),
            features: json!({
                "wot_safety": 94.0, "wot_safety_confidence": 73.0, "wot_child_safety": 93.0,
                "wot_child_safety_confidence": 67.0, "wot_status": "SAFE", "wot_categories": 2.0, "wot_bad_categories": 1.0,
            }),
            empty: "wot.empty.json",
            changed: ("/0/safety/reputations", "wot_safety"),
        },
        Case {
            gatherer: "bitdefender",
            indicator: "www.example.com",
            fixture: "bitdefender.name.json",
            target: "/url/status?url=http%3A%2F%2Fwww.example.com%2F",
            key: Some(("authorization", "Basic Z2F0aGVyZXJz")),
            features: json!({
                "bitdefender_status_code": 1.0, "bitdefender_status": "malware", "bitdefender_grey": false,
                "bitdefender_categories": 2.0, "bitdefender_bad_categories": 1.0,
            }),
            empty: "",
            changed: ("/status_code", "bitdefender_status_code"),
        },
        Case {
            gatherer: "majestic",
            indicator: "www.example.com",
            fixture: "majestic.name.json",
            target: "/api/json?cmd=GetIndexItemInfo&datasource=fresh&item0=example.com&items=1&app_api_key=gatherers",
            key: None,
            features: json!({
                "majestic_trust_flow": 27.0, "majestic_citation_flow": 31.0, "majestic_links": 2000.0,
                "majestic_linking_domains": 150.0, "majestic_linking_addresses": 120.0, "majestic_linking_networks": 100.0,
                "majestic_linking_schools": 3.0, "majestic_linking_governments": 0.0, "majestic_indexed_pages": 40.0,
            }),
            empty: "majestic.empty.json",
            changed: (
                "/DataTables/Results/Data/0/RefDomains",
                "majestic_linking_domains",
            ),
        },
        Case {
            gatherer: "neutrino",
            indicator: "8.8.4.4",
            fixture: "neutrino.ip.json",
            target: "/ip-blocklist?ip=8.8.4.4",
            key: Some(("user-id", "me")),
            features: json!({
                "neutrino_listed": true, "neutrino_lists": 2.0, "neutrino_bot": true, "neutrino_exploit_bot": false,
                "neutrino_spam_bot": false, "neutrino_malware": false, "neutrino_spyware": false,
                "neutrino_hijacked": false, "neutrino_tor": true, "neutrino_proxy": false, "neutrino_vpn": false,
                "neutrino_worst_rating": "absent",
            }),
            empty: "",
            changed: ("/list-count", "neutrino_lists"),
        },
        Case {
            gatherer: "neutrino",
            indicator: "https://www.example.com/a",
            fixture: "neutrino.name.json",
            target: "/host-reputation?host=www.example.com",
            key: Some(("user-id", "me")),
            features: json!({
                "neutrino_listed": true, "neutrino_lists": 1.0, "neutrino_worst_rating": 2.0, "neutrino_bot": "absent",
                "neutrino_exploit_bot": "absent", "neutrino_spam_bot": "absent", "neutrino_malware": "absent",
                "neutrino_spyware": "absent", "neutrino_hijacked": "absent", "neutrino_tor": "absent",
                "neutrino_proxy": "absent", "neutrino_vpn": "absent",
            }),
            empty: "",
            changed: ("/list-count", "neutrino_lists"),
        },
        Case {
            gatherer: "whoisxml",
            indicator: "www.example.com",
            fixture: "whoisxml.name.json",
            target: "/whoisserver/WhoisService?domainName=example.com&outputFormat=JSON&apiKey=gatherers",
            key: None,
            features: json!({
                "whoisxml_age_days": 10.0, "whoisxml_days_since_update": 6.0, "whoisxml_days_until_expiry": 355.0,
                "whoisxml_registrar": "RESERVED-IANA", "whoisxml_registrant_country": "NL", "whoisxml_has_registrant": 1.0,
                "whoisxml_has_mail_contact": 0.0, "whoisxml_name_servers": 2.0,
            }),
            empty: "whoisxml.empty.json",
            changed: ("/WhoisRecord/createdDate", "whoisxml_age_days"),
        },
        Case {
            gatherer: "geo",
            indicator: "8.8.4.4",
            fixture: "geo.ip.json",
            target: "/geoip/v2.1/insights/8.8.4.4",
            key: Some(("authorization", "Basic Z2F0aGVyZXJz")),
            features: json!({
                "geo_country": "NL", "geo_registered_country": "US", "geo_continent": "EU", "geo_latitude": 52.37,
                "geo_longitude": 4.9, "geo_accuracy_km": 20.0, "geo_network": 64500.0, "geo_hosting": true,
                "geo_anonymous": false,
            }),
            empty: "",
            changed: ("/country/iso_code", "geo_country"),
        },
    ]
}

/// The features as an object: their values, or why they are missing.
fn told(gathered: &Gathered) -> Json {
    let members = gathered.features.iter().map(|feature| {
        let value = match &feature.reading {
            Reading::Value(value) => serde_json::to_value(value).unwrap(),
            Reading::Missing(why) => why.name().into(),
        };
        (feature.name.to_string(), value)
    });
    Json::Object(members.collect())
}

/// All features are missing for this reason.
fn all_missing(gathered: &Gathered, why: Missing) {
    assert!(!gathered.features.is_empty());
    for feature in &gathered.features {
        assert_eq!(feature.reading, Reading::Missing(why), "{}", feature.name);
    }
}

/// Asks once; every time anew.
async fn ask_once(case: &Case, reply: Reply) -> (Gathered, Upstream) {
    let upstream = Upstream::start(reply).await;
    let settings = settings(case.gatherer, &upstream.url(), "timeout = \"300ms\"");
    let gatherers = start(&settings, &Hands::new()).await;
    let gathered = gather(&gatherers, case.indicator).await;
    assert_eq!(gatherers.counts()[case.gatherer].calls, upstream.count());
    (gathered, upstream)
}

#[tokio::test]
async fn a_good_answer_becomes_features() {
    for case in cases() {
        let (gathered, upstream) = ask_once(&case, Reply::Say(200, fixture(case.fixture))).await;
        assert_eq!(told(&gathered), case.features, "{}", case.gatherer);
        let seen = &upstream.seen()[0];
        assert_eq!(seen.target, case.target);
        if let Some((name, value)) = case.key {
            let header = (name.to_owned(), value.to_owned());
            assert!(seen.headers.contains(&header), "{:?}", seen.headers);
        }
    }
}

#[tokio::test]
async fn what_a_source_does_not_know_is_unknown() {
    for case in cases() {
        let (gathered, _) = ask_once(&case, Reply::Say(404, "not found".into())).await;
        all_missing(&gathered, Missing::Unknown);
        if !case.empty.is_empty() {
            let (gathered, _) = ask_once(&case, Reply::Say(200, fixture(case.empty))).await;
            all_missing(&gathered, Missing::Unknown);
        }
        let (gathered, _) = ask_once(&case, Reply::Say(204, String::new())).await;
        all_missing(&gathered, Missing::Unknown);
    }
}

#[tokio::test]
async fn a_bad_answer_leaves_the_features_missing_with_the_reason() {
    for case in cases() {
        for (reply, why) in [
            (Reply::SlowDown(1), Missing::RateLimited),
            (Reply::Say(500, "oops".into()), Missing::Failed),
            (Reply::Say(503, "{}".into()), Missing::Failed),
            (Reply::Say(401, "{}".into()), Missing::Refused),
            (Reply::Say(403, "{}".into()), Missing::Refused),
            (Reply::Say(200, "<html>".into()), Missing::Failed),
            (Reply::Say(200, String::new()), Missing::Failed),
            (Reply::Say(200, "{\"half\": ".into()), Missing::Failed),
            (
                Reply::Say(200, " ".repeat(5 * 1024 * 1024)),
                Missing::Failed,
            ),
            (Reply::Break, Missing::Failed),
            (Reply::Hang, Missing::Timeout),
        ] {
            let (gathered, _) = ask_once(&case, reply.clone()).await;
            let first = &gathered.features[0];
            assert_eq!(
                first.reading,
                Reading::Missing(why),
                "{} {:.60}",
                case.gatherer,
                format!("{reply:?}")
            );
            all_missing(&gathered, why);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_for_it_would_carry_the_key_away() {
    let elsewhere = Upstream::start(Reply::Say(200, "{}".into())).await;
    for case in cases() {
        let (gathered, _) = ask_once(&case, Reply::Redirect(elsewhere.url())).await;
        all_missing(&gathered, Missing::Failed);
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_a_failure() {
    let gone = test_support::free_port();
    let settings = settings("geo", &format!("http://127.0.0.1:{gone}"), "");
    let gatherers = start(&settings, &Hands::new()).await;
    all_missing(&gather(&gatherers, "8.8.4.4").await, Missing::Failed);
}

#[tokio::test]
async fn a_new_field_and_a_changed_type_are_told_and_the_rest_still_counts() {
    for case in cases() {
        let good = fixture(case.fixture);
        let upstream = Upstream::start(Reply::Say(200, good.clone())).await;
        let settings = settings(case.gatherer, &upstream.url(), "quota = {}");
        let gatherers = start(&settings, &Hands::new()).await;
        let fresh = || GatherOptions {
            use_cache: false,
            ..GatherOptions::default()
        };
        for _ in 0..25 {
            gather_with(&gatherers, case.indicator, fresh()).await;
        }
        assert_eq!(gatherers.drift_alerts(), [], "{}", case.gatherer);

        let (path, feature) = case.changed;
        let changed = if path.is_empty() {
            let more = "{\"obj\":{\"count\":{},\"new_field\":1,\"rrtype\":\"A\",\"rdata\":[]}}\n";
            format!("{good}{more}")
        } else {
            let mut document: Json = serde_json::from_str(&good).unwrap();
            *document.pointer_mut(path).unwrap() = json!({"moved": "elsewhere"});
            let root = if document.is_array() {
                &mut document[0]
            } else {
                &mut document
            };
            root["new_field"] = json!("secret");
            document.to_string()
        };
        upstream.answer(Reply::Say(200, changed));
        let mut last = None;
        for _ in 0..5 {
            last = Some(gather_with(&gatherers, case.indicator, fresh()).await);
        }
        let gathered = last.unwrap();
        let alerts = gatherers.drift_alerts();
        for kind in [DriftKind::NewPath, DriftKind::TypeChange] {
            assert!(alerts.iter().any(|alert| alert.kind == kind), "{alerts:?}");
        }
        let unexpected: Vec<_> = alerts
            .iter()
            .filter(|alert| alert.kind == DriftKind::Unexpected && alert.path == feature)
            .collect();
        assert_eq!(unexpected.len(), 1, "told once: {alerts:?}");
        assert!(!format!("{alerts:?}").contains("secret"));
        assert_eq!(
            gathered.feature(feature).unwrap().reading,
            Reading::Missing(Missing::Unexpected)
        );
        let others = gathered
            .features
            .iter()
            .filter(|other| *other.name != *feature);
        assert!(
            others
                .filter(|other| other.reading.value().is_some())
                .count()
                > 1
        );
        let counts = &gatherers.counts()[case.gatherer];
        assert_eq!(counts.calls, upstream.count());
        assert_eq!(counts.drift_alerts, alerts.len() as u64);
    }
}

/// What comes in lines may end in the middle, or with word that it failed.
#[tokio::test]
async fn an_answer_that_is_broken_off_is_a_failure_and_not_taken_for_all_there_is() {
    let end = "{\"cond\":\"succeeded\"}";
    for (fixture_of, end_told, is_whole) in [
        ("farsight.name.ndjson", end, true),
        ("farsight.name.ndjson", "{\"cond\":\"limited\"}", true),
        (
            "farsight.name.ndjson",
            "{\"cond\":\"failed\",\"msg\":\"out of time\"}",
            false,
        ),
        ("farsight.name.ndjson", "", false),
        ("farsight.empty.ndjson", "", false),
    ] {
        let whole = fixture(fixture_of);
        assert!(whole.contains(end));
        let reply = whole.replace(end, end_told);
        let upstream = Upstream::start(Reply::Say(200, reply.clone())).await;
        let settings = settings("farsight", &upstream.url(), "");
        let gatherers = start(&settings, &Hands::new()).await;
        let gathered = gather(&gatherers, "www.example.com").await;
        if is_whole {
            assert_eq!(
                gathered.value("farsight_record_sets"),
                Some(&Value::Number(2.0))
            );
        } else {
            all_missing(&gathered, Missing::Failed);
        }
        let ip = "192.0.2.1".parse().unwrap();
        let names = gatherers
            .names_at(ip, 5, 30, &GatherOptions::default())
            .await;
        if !is_whole {
            assert_eq!(names.unwrap_err(), Missing::Failed, "{reply}");
        }
    }
}

#[tokio::test]
async fn an_address_has_features_of_its_own_in_passive_dns() {
    let upstream = Upstream::start(Reply::Say(200, fixture("farsight.ip.ndjson"))).await;
    let gatherers = start(&settings("farsight", &upstream.url(), ""), &Hands::new()).await;
    let gathered = gather(&gatherers, "192.0.2.1").await;
    assert_eq!(gathered.value("farsight_names"), Some(&Value::Number(4.0)));
    assert_eq!(
        gathered.value("farsight_observations"),
        Some(&Value::Number(83.0))
    );
    assert_eq!(
        gathered.feature("farsight_record_sets").unwrap().reading,
        Reading::Missing(Missing::Absent)
    );
}

#[tokio::test]
async fn a_source_without_its_key_is_disabled_and_the_others_work_on() {
    let upstream = Upstream::start(Reply::Say(200, fixture("geo.ip.json"))).await;
    let text = format!(
        "{}[gatherers.censys]\nkey_env = \"NO_SUCH_VARIABLE_ANYWHERE\"\n",
        settings("geo", &upstream.url(), "")
    );
    let config = gatherers::Config::parse(&text).unwrap();
    let gatherers = gatherers::Gatherers::start(&config, Vec::new(), Hands::new().clock())
        .await
        .unwrap();
    let disabled: Vec<(&str, &str)> = gatherers.disabled().collect();
    assert_eq!(disabled.len(), 1);
    assert!(disabled[0].0 == "censys" && disabled[0].1.contains("no key"));
    let gathered = gather(&gatherers, "8.8.4.4").await;
    assert_eq!(
        gathered.value("geo_country"),
        Some(&Value::Text("NL".into()))
    );
    assert_eq!(
        gathered.feature("censys_open_ports").unwrap().reading,
        Reading::Missing(Missing::Disabled)
    );
}

#[tokio::test]
async fn a_mapping_in_the_settings_folder_replaces_the_shipped_one_or_adds_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = |name: &str| {
        format!(
            "name = \"{name}\"\nabout = \"a service of our own\"\ncategory = \"geolocation\"\nbase_url = \"http://127.0.0.1:1\"\n\
             [[request]]\nsubject = \"ip\"\npath = \"/own/{{subject}}\"\n\
             [[request.feature]]\nname = \"{name}_rank\"\nat = \"/rank\"\ntake = \"number\"\n"
        )
    };
    for name in ["geo", "acme"] {
        let path = folder.path().join(format!("{name}.toml"));
        std::fs::write(path, mapping(name)).unwrap();
    }
    let upstream = Upstream::start(Reply::Say(200, "{\"rank\": 3}".into())).await;
    let text = format!(
        "mappings = \"{}\"\n{}{}",
        folder.path().display(),
        settings("geo", &upstream.url(), ""),
        settings("acme", &upstream.url(), "")
    );
    let gatherers = start(&text, &Hands::new()).await;
    let gathered = gather(&gatherers, "2606:4700::1").await;
    assert_eq!(told(&gathered), json!({"acme_rank": 3.0, "geo_rank": 3.0}));
    assert_eq!(upstream.seen()[0].target, "/own/2606%3A4700%3A%3A1");

    // Two mappings of one name, or with one feature, would be taken for one another.
    let wrong = async |mapping: String, words: [&str; 2]| {
        std::fs::write(folder.path().join("acme.toml"), mapping).unwrap();
        let config = gatherers::Config::parse(&text).unwrap();
        let clock = Hands::new().clock();
        let failed = gatherers::Gatherers::start(&config, Vec::new(), clock).await;
        let told = failed.unwrap_err().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}");
    };
    wrong(mapping("geo"), ["`acme`", "`geo`"]).await;
    let same_feature = mapping("acme").replace("acme_rank", "geo_rank");
    wrong(same_feature, ["two gatherers", "`geo_rank`"]).await;

    std::fs::write(folder.path().join("acme.toml"), "name = \"acme\"").unwrap();
    let config = gatherers::Config::parse(&text).unwrap();
    let clock = Hands::new().clock();
    let failed = gatherers::Gatherers::start(&config, Vec::new(), clock).await;
    assert!(failed.unwrap_err().to_string().contains("acme"));
    let unknown = gatherers::Config::parse("[gatherers.nobody]").unwrap();
    let clock = Hands::new().clock();
    let failed = gatherers::Gatherers::start(&unknown, Vec::new(), clock).await;
    assert!(failed.unwrap_err().to_string().contains("nobody"));
}
