//! What gathering was required to do when it was first asked for, each test named after its requirement.
//!
//! OP-2551 (tests for all gatherers) is `sources.rs`, `dns.rs` and `local.rs` beside this file.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/name_server.rs"]
mod name_server;
#[path = "support/upstream.rs"]
mod upstream;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gatherers::{
    DriftKind, GatherOptions, Gathered, Gatherers, Handling, Missing, OVERRIDE, Pap, Reading,
    Selection, Tlp, Value,
};
use name_server::{ALLOW, NameServers, resolver, says};
use serde_json::Value as Json;
use upstream::{Hands, Reply, Upstream, fixture, gather, gather_with, settings, start};

#[tokio::test]
async fn op_426_the_ttl_comes_from_an_authoritative_server_and_never_from_a_cache() {
    // Whichever of the two is asked first.
    for (second, third) in [
        (says(false, 37), says(true, 300)),
        (says(true, 300), says(false, 37)),
    ] {
        let servers = NameServers::start(vec![resolver(&[]), second, third]).await;
        let gathered = ask(&servers, "www.example.com").await;
        assert_eq!(ttl(&gathered), Reading::number(300.0));
        assert_eq!(
            gathered.value("dns_name_servers"),
            Some(&Value::Number(2.0))
        );
        assert_eq!(gathered.value("dns_addresses"), Some(&Value::Number(1.0)));
        assert_eq!(gathered.value("dns_alias"), Some(&Value::Flag(false)));
        let wanted_recursion = servers.asked(2).into_iter().chain(servers.asked(3));
        for (name, _, recursion, _) in wanted_recursion {
            assert!(!recursion, "{name} was asked for with recursion");
        }
    }
}

#[tokio::test]
async fn op_426_without_an_authoritative_answer_the_ttl_is_missing() {
    let servers = NameServers::start(vec![resolver(&[]), says(false, 37), says(false, 36)]).await;
    let gathered = ask(&servers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::Missing(Missing::NotAuthoritative));
    assert_eq!((servers.asked(2).len(), servers.asked(3).len()), (1, 1));
}

fn ttl(gathered: &Gathered) -> Reading {
    gathered.feature("dns_ttl").unwrap().reading.clone()
}

async fn ask(servers: &NameServers, name: &str) -> Gathered {
    let gatherers = start(&name_server::settings(servers, ALLOW), &Hands::new()).await;
    gather(&gatherers, name).await
}

/// Two services: where an address lies, and who registered a name. Their answers are good for any indicator.
struct Two {
    geo: Upstream,
    wot: Upstream,
    hands: Hands,
    gatherers: Gatherers,
}

impl Two {
    async fn start(geo: &str, wot: &str) -> Two {
        Two::start_with("", geo, wot).await
    }

    async fn start_with(first: &str, geo: &str, wot: &str) -> Two {
        let (geo_upstream, wot_upstream) = (
            Upstream::start(country("NL")).await,
            Upstream::start(Reply::Say(200, fixture("wot.name.json"))).await,
        );
        let text = format!(
            "{first}\n{}{}",
            settings("geo", &geo_upstream.url(), geo),
            settings("wot", &wot_upstream.url(), wot)
        );
        let hands = Hands::new();
        Two {
            gatherers: start(&text, &hands).await,
            geo: geo_upstream,
            wot: wot_upstream,
            hands,
        }
    }

    /// Asks about an address of which only one service knows.
    async fn country(&self) -> String {
        self.country_with(GatherOptions::default()).await
    }

    async fn country_with(&self, options: GatherOptions) -> String {
        let gathered = gather_with(&self.gatherers, "8.8.4.4", options).await;
        let feature = gathered.feature("geo_country").unwrap();
        let from = if feature.from_cache { " (cache)" } else { "" };
        if let Some(Value::Text(text)) = feature.reading.value() {
            return format!("{text}{from}");
        }
        format!("{:?}", feature.reading)
    }
}

fn country(country: &str) -> Reply {
    Reply::Say(
        200,
        format!("{{\"country\": {{\"iso_code\": \"{country}\"}}}}"),
    )
}

fn uncached() -> GatherOptions {
    GatherOptions {
        use_cache: false,
        ..GatherOptions::default()
    }
}

const CACHED_100_S: &str = "cache = { ttl = \"100s\", negative_ttl = \"10s\", stale_while_revalidate = \"0s\", stale_if_error = \"0s\", jitter = 0.0 }";

#[tokio::test]
async fn op_2526_a_flag_says_whether_the_cache_is_used() {
    let two = Two::start(CACHED_100_S, "").await;
    assert_eq!(two.country().await, "NL");
    two.geo.answer(country("DE"));
    assert_eq!(two.country().await, "NL (cache)");
    assert_eq!(two.country_with(uncached()).await, "DE");
    assert_eq!(
        two.country().await,
        "DE (cache)",
        "the newer answer was kept"
    );
    assert_eq!(two.geo.count(), 2);
}

#[tokio::test]
async fn op_2527_a_custom_feature_set_decides_which_gatherers_are_called() {
    let two = Two::start("", "").await;
    let name = "http://www.example.com/";
    let with = |only: Option<&str>, exclude: Option<&str>| GatherOptions {
        selection: Selection::parse(only, exclude, two.gatherers.features()).unwrap(),
        ..uncached()
    };
    for (only, exclude, features, calls) in [
        (Some("wot"), None, 7, 1),
        (Some("geo,wot_safety"), None, 10, 2),
        (None, Some("online_reputation"), 9, 2),
        (Some("none"), None, 0, 2),
    ] {
        let gathered = gather_with(&two.gatherers, name, with(only, exclude)).await;
        assert_eq!(gathered.features.len(), features, "{only:?} {exclude:?}");
        assert_eq!(two.wot.count(), calls, "{only:?} {exclude:?}");
    }
    assert!(Selection::parse(Some("wott"), None, two.gatherers.features()).is_err());
    assert_eq!(two.geo.count(), 0, "a name lies nowhere");
}

#[tokio::test]
async fn log_every_query_so_that_the_load_on_each_api_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.ndjson");
    let log = format!("[query_log]\npath = \"{}\"", path.display());
    let two = Two::start_with(&log, "", "").await;
    for at in 0..20 {
        match at % 4 {
            0 => two.geo.answer(Reply::Say(404, String::new())),
            1 => two.geo.answer(Reply::Say(500, String::new())),
            _ => two.geo.answer(country("NL")),
        }
        gather_with(
            &two.gatherers,
            &format!("8.8.4.{at}"),
            GatherOptions::default(),
        )
        .await;
        gather_with(
            &two.gatherers,
            &format!("n{}.example.com", at % 3),
            uncached(),
        )
        .await;
    }
    let counts = two.gatherers.counts();
    assert_eq!((counts["geo"].calls, counts["wot"].calls), (20, 20));
    assert_eq!((two.geo.count(), two.wot.count()), (20, 20));
    let outcomes = |name: &str| counts[name].outcomes.clone();
    assert_eq!(
        outcomes("geo"),
        BTreeMap::from([
            ("ok", 10),
            ("unknown", 5),
            ("failed", 5),
            ("not_applicable", 20)
        ])
    );
    assert_eq!(
        outcomes("wot"),
        BTreeMap::from([("ok", 20), ("not_applicable", 20)])
    );

    // Dropped, the log is written to its end.
    two.gatherers.stop(Duration::from_secs(5)).await;
    assert_eq!(two.gatherers.lost_log_lines(), 0);
    drop(two);
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Json> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let count = |gatherer: &str, outcome: &str| {
        let is = |line: &&Json| line["gatherer"] == gatherer && line["outcome"] == outcome;
        lines.iter().filter(is).count()
    };
    assert_eq!(
        (
            count("geo", "ok"),
            count("geo", "unknown"),
            count("geo", "failed")
        ),
        (10, 5, 5)
    );
    assert_eq!(count("wot", "ok"), 20);
    assert!(
        lines
            .iter()
            .all(|line| line["status"].is_number() && line["elapsed_ms"].is_number())
    );
    assert!(
        !text.contains("8.8.4.") && !text.contains("example"),
        "indicators are hashed"
    );
}

#[tokio::test]
async fn cache_policy_is_per_api_and_two_expire_independently() {
    let two = Two::start(CACHED_100_S, &CACHED_100_S.replace("100s", "1000s")).await;
    let ask = async || {
        gather(&two.gatherers, "8.8.4.4").await;
        gather(&two.gatherers, "example.com").await;
        (two.geo.count(), two.wot.count())
    };
    assert_eq!(ask().await, (1, 1));
    two.hands.forward(99);
    assert_eq!(ask().await, (1, 1));
    two.hands.forward(1);
    assert_eq!(ask().await, (2, 1));
    two.hands.forward(900);
    assert_eq!(ask().await, (3, 2));
}

#[tokio::test]
async fn cache_remembers_shorter_that_nothing_is_known_and_never_that_a_source_failed() {
    let two = Two::start(CACHED_100_S, "").await;
    two.geo.answer(Reply::Say(500, String::new()));
    assert!(two.country().await.contains("Failed"));
    two.geo.answer(Reply::Say(404, String::new()));
    assert!(two.country().await.contains("Unknown"));
    two.hands.forward(9);
    assert!(two.country().await.contains("Unknown"));
    assert_eq!(two.geo.count(), 2);
    two.hands.forward(1);
    two.geo.answer(country("NL"));
    assert_eq!(two.country().await, "NL");
}

#[tokio::test]
async fn cache_gives_an_old_answer_at_once_while_a_new_one_is_fetched() {
    let policy = CACHED_100_S.replace("revalidate = \"0s\"", "revalidate = \"50s\"");
    let two = Two::start(&policy, "").await;
    assert_eq!(two.country().await, "NL");
    two.geo.answer(country("DE"));
    two.hands.forward(120);
    assert_eq!(two.country().await, "NL (cache)");
    // Waits for what is under way.
    two.gatherers.stop(Duration::from_secs(10)).await;
    assert_eq!(two.country().await, "DE (cache)");
    assert_eq!(two.geo.count(), 2);
}

#[tokio::test]
async fn cache_bridges_a_failure_with_an_old_answer_for_a_while() {
    let policy = CACHED_100_S.replace("error = \"0s\"", "error = \"500s\"");
    let two = Two::start(&policy, "").await;
    assert_eq!(two.country().await, "NL");
    two.geo.answer(Reply::Say(503, String::new()));
    two.hands.forward(300);
    assert_eq!(two.country().await, "NL (cache)");
    let outcomes = &two.gatherers.counts()["geo"].outcomes;
    assert_eq!(*outcomes, BTreeMap::from([("ok", 1), ("stale", 1)]));
    two.hands.forward(300);
    assert!(two.country().await.contains("Failed"));
}

#[tokio::test]
async fn cache_on_disk_outlives_the_program_with_the_days_quota() {
    let folder = tempfile::tempdir().unwrap();
    let disk = format!(
        "[cache]\ndisk = \"{}\"\n",
        folder.path().join("answers").display()
    );
    let upstream = Upstream::start(country("NL")).await;
    let text = disk + &settings("geo", &upstream.url(), "quota = { per_day = 2 }");
    let hands = Hands::new();
    let first = start(&text, &hands).await;
    gather(&first, "8.8.4.4").await;
    first.stop(Duration::from_secs(5)).await;
    drop(first);
    let second = start(&text, &hands).await;
    let again = gather(&second, "8.8.4.4").await;
    assert!(again.feature("geo_country").unwrap().from_cache);
    let reading = async |ip: &str| {
        let gathered = gather(&second, ip).await;
        gathered.feature("geo_country").unwrap().reading.clone()
    };
    assert_eq!(
        reading("8.8.4.5").await,
        Reading::Value(Value::Text("NL".into()))
    );
    assert_eq!(reading("8.8.4.6").await, Reading::Missing(Missing::Quota));
    assert_eq!(upstream.count(), 2);
    hands.forward(24 * 60 * 60);
    assert_eq!(
        reading("8.8.4.6").await,
        Reading::Value(Value::Text("NL".into()))
    );
}

#[tokio::test]
async fn drift_is_told_once_and_gathering_goes_on() {
    let two = Two::start("", "").await;
    for _ in 0..25 {
        assert_eq!(two.country_with(uncached()).await, "NL");
    }
    two.geo.answer(Reply::Say(
        200,
        r#"{"country": {"iso_code": "NL", "isoCode2": "NLD"}}"#.into(),
    ));
    for _ in 0..10 {
        assert_eq!(two.country_with(uncached()).await, "NL");
    }
    let alerts = two.gatherers.drift_alerts();
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(
        (alerts[0].kind, alerts[0].path.as_str()),
        (DriftKind::NewPath, "/country/isoCode2")
    );
}

#[tokio::test]
async fn a_quota_is_never_exceeded_and_what_it_denies_is_missing() {
    let two = Two::start("quota = { per_minute = 4 }", "").await;
    for at in 0..10 {
        gather(&two.gatherers, &format!("8.8.4.{at}")).await;
    }
    assert_eq!(two.geo.count(), 4);
    assert_eq!(two.gatherers.counts()["geo"].outcomes["quota"], 6);
    two.hands.forward(60);
    gather(&two.gatherers, "8.8.4.9").await;
    assert_eq!(two.geo.count(), 5);
}

#[tokio::test]
async fn a_failing_source_is_left_alone_for_a_while_and_one_that_asks_for_it_too() {
    let two = Two::start("breaker = { failures = 3, rest = \"30s\" }", "").await;
    two.geo.answer(Reply::Say(500, String::new()));
    for _ in 0..10 {
        two.country().await;
    }
    assert_eq!(two.geo.count(), 3);
    assert!(two.country().await.contains("Resting"));
    two.geo.answer(country("NL"));
    two.hands.forward(30);
    assert_eq!(two.country_with(uncached()).await, "NL");

    two.geo.answer(Reply::SlowDown(120));
    assert!(two.country_with(uncached()).await.contains("RateLimited"));
    two.geo.answer(country("NL"));
    two.hands.forward(119);
    assert!(two.country_with(uncached()).await.contains("Resting"));
    two.hands.forward(1);
    assert_eq!(two.country_with(uncached()).await, "NL");
}

#[tokio::test]
async fn a_question_that_a_source_rejects_does_not_keep_others_from_being_asked() {
    let more = "breaker = { failures = 3, rest = \"30s\" }\n".to_owned() + CACHED_100_S;
    let two = Two::start(&more, "").await;
    let outcomes = || two.gatherers.counts()["geo"].outcomes.clone();
    for status in [400, 406, 422] {
        two.geo.answer(Reply::Say(status, "{}".into()));
        let ask = format!("8.8.4.{}", status - 399);
        for _ in 0..3 {
            let gathered = gather(&two.gatherers, &ask).await;
            let reading = &gathered.feature("geo_country").unwrap().reading;
            assert_eq!(*reading, Reading::Missing(Missing::Rejected));
        }
    }
    assert_eq!(two.geo.count(), 3, "each was asked once");
    assert_eq!(outcomes(), BTreeMap::from([("rejected", 9)]));
    two.geo.answer(country("NL"));
    assert_eq!(two.country().await, "NL");
    // For as long as it counts that nothing is known.
    two.hands.forward(10);
    gather(&two.gatherers, "8.8.4.1").await;
    assert_eq!(two.geo.count(), 5);

    // Nor does it make up for a source's failures.
    for (status, last) in [(500, 20), (500, 21), (400, 22), (500, 23), (500, 24)] {
        two.geo.answer(Reply::Say(status, "{}".into()));
        gather(&two.gatherers, &format!("8.8.4.{last}")).await;
    }
    assert_eq!(two.geo.count(), 9);
    assert_eq!(outcomes()["resting"], 1);
}

#[tokio::test]
async fn a_source_that_is_gone_or_takes_no_question_at_all_is_left_alone() {
    let breaker = "breaker = { failures = 3, rest = \"30s\" }";
    for (status, asked) in [(410, 3), (400, 12)] {
        let two = Two::start(breaker, "").await;
        two.geo.answer(Reply::Say(status, "{}".into()));
        for last in 1..20 {
            gather(&two.gatherers, &format!("8.8.4.{last}")).await;
        }
        assert_eq!(two.geo.count(), asked, "{status}");
        two.geo.answer(country("NL"));
        two.hands.forward(30);
        assert_eq!(two.country_with(uncached()).await, "NL");
    }
}

#[tokio::test]
async fn many_who_ask_the_same_at_once_cost_one_question() {
    let two = Two::start("", "").await;
    let asked = (0..50).map(|_| two.country());
    let told = futures_util::future::join_all(asked).await;
    assert!(told.iter().all(|told| told.starts_with("NL")), "{told:?}");
    assert_eq!(two.geo.count(), 1);
}

#[tokio::test]
async fn the_answer_is_partial_at_the_deadline_and_a_late_one_is_kept() {
    let two = Two::start_with("deadline = \"300ms\"", "", "").await;
    let slow = Reply::Late(Duration::from_millis(1500), fixture("wot.name.json"));
    two.wot.answer(slow);
    let started = Instant::now();
    let gathered = gather(&two.gatherers, "example.com").await;
    assert!(started.elapsed() < Duration::from_millis(1200));
    assert_eq!(
        gathered.feature("wot_safety").unwrap().reading,
        Reading::Missing(Missing::Timeout)
    );
    assert_eq!(two.country().await, "NL", "others are not held up");
    two.gatherers.stop(Duration::from_secs(10)).await;
    let gathered = gather(&two.gatherers, "example.com").await;
    let safety = gathered.feature("wot_safety").unwrap();
    assert!(safety.from_cache && safety.reading == Reading::number(94.0));
    assert_eq!(two.wot.count(), 1);
}

#[tokio::test]
async fn nobody_is_asked_when_there_is_no_time_to_wait() {
    let two = Two::start("", "").await;
    let late = GatherOptions {
        until: Some(tokio::time::Instant::now()),
        ..GatherOptions::default()
    };
    let gathered = gather_with(&two.gatherers, "example.com", late).await;
    let readings = gathered.features.iter().map(|feature| &feature.reading);
    let missing: Vec<_> = readings
        .filter(|reading| **reading == Reading::Missing(Missing::Timeout))
        .collect();
    assert!(!missing.is_empty());
    assert_eq!((two.wot.count(), two.geo.count()), (0, 0));
}

#[tokio::test]
async fn a_confidential_indicator_reaches_nobody_who_must_not_know() {
    let two = Two::start("max_tlp = \"amber\"", "").await;
    let marked = |tlp, pap| GatherOptions {
        handling: Handling {
            tlp,
            pap,
            offline: false,
        },
        use_cache: false,
        ..GatherOptions::default()
    };
    assert_eq!(two.country_with(marked(Tlp::Amber, Pap::Amber)).await, "NL");
    for (tlp, pap) in [
        (Tlp::Red, Pap::Clear),
        (Tlp::AmberStrict, Pap::Clear),
        (Tlp::Clear, Pap::Red),
    ] {
        let told = two.country_with(marked(tlp, pap)).await;
        assert!(told.contains("Confidential"), "{told}");
    }
    assert_eq!(two.geo.count(), 1);
    let gathered = gather_with(
        &two.gatherers,
        "example.com",
        marked(Tlp::Amber, Pap::Clear),
    )
    .await;
    assert_eq!(
        gathered.feature("wot_safety").unwrap().reading,
        Reading::Missing(Missing::Confidential),
        "unless the settings say otherwise, services hear of nothing above green"
    );
    assert_eq!(two.wot.count(), 0);
    let cached = GatherOptions {
        use_cache: true,
        ..marked(Tlp::Red, Pap::Red)
    };
    assert_eq!(
        two.country_with(cached).await,
        "NL (cache)",
        "what is here tells nobody"
    );
}

#[tokio::test]
async fn what_is_inside_the_house_is_told_to_nobody_outside() {
    let two = Two::start("", "").await;
    for (indicator, feature) in [
        ("10.0.0.7", "geo_country"),
        ("http://192.168.0.1/x", "geo_country"),
        ("payroll.corp", "wot_safety"),
        ("eve@mail.hq.internal", "wot_safety"),
    ] {
        let gathered = gather(&two.gatherers, indicator).await;
        let reading = &gathered.feature(feature).unwrap().reading;
        assert_eq!(*reading, Reading::Missing(Missing::NotApplicable));
    }
    assert_eq!((two.geo.count(), two.wot.count()), (0, 0));

    let allow = "allow = [\"10.0.0.0/24\", \"corp\"]";
    let two = Two::start_with(allow, "", "").await;
    for indicator in ["10.0.0.7", "10.0.1.7", "payroll.corp", "payroll.lan"] {
        gather(&two.gatherers, indicator).await;
    }
    assert_eq!((two.geo.count(), two.wot.count()), (1, 1));
}

#[tokio::test]
async fn offline_nobody_is_asked_by_request_or_by_setting() {
    let two = Two::start("", "").await;
    let offline = || GatherOptions {
        handling: Handling {
            offline: true,
            ..Handling::default()
        },
        ..GatherOptions::default()
    };
    assert!(two.country_with(offline()).await.contains("Offline"));
    assert_eq!(two.country().await, "NL");
    assert_eq!(two.country_with(offline()).await, "NL (cache)");
    assert_eq!(two.geo.count(), 1);
    let always = Two::start_with("offline = true", "", "").await;
    assert!(always.country().await.contains("Offline"));
    assert_eq!(always.geo.count(), 0);
}

#[tokio::test]
async fn features_the_caller_knows_better_are_taken_and_nobody_is_asked_for_them() {
    let two = Two::start("", "").await;
    let overrides = |country: Value| GatherOptions {
        selection: Selection::parse(Some("geo_country"), None, two.gatherers.features()).unwrap(),
        overrides: BTreeMap::from([("geo_country".into(), country)]),
        ..GatherOptions::default()
    };
    let given = overrides(Value::Text("FR".into()));
    let gathered = gather_with(&two.gatherers, "8.8.4.4", given).await;
    let feature = gathered.feature("geo_country").unwrap();
    assert_eq!(feature.reading, Reading::Value(Value::Text("FR".into())));
    assert_eq!(&*feature.gatherer, OVERRIDE);
    let wrong = overrides(Value::Number(1.0));
    let gathered = gather_with(&two.gatherers, "8.8.4.4", wrong).await;
    assert_eq!(gathered.missing()[OVERRIDE][&Missing::Unexpected], 1);
    assert_eq!(two.geo.count(), 0);
    assert_eq!(two.country().await, "NL", "it was not remembered");
}
