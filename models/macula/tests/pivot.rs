//! The domain pivot over real sockets: passive DNS by a web service, and where names lead by name servers.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails its test")]

#[path = "../gatherers/tests/support/name_server.rs"]
mod name_server;
#[path = "running/server.rs"]
mod running;
#[path = "running/training.rs"]
mod training;
#[path = "../gatherers/tests/support/upstream.rs"]
mod upstream;

use std::sync::Arc;

use gatherers::{Clock, Config, Gatherers};
use indicator_model::LiveModel;
use indicator_training::lexical::LexicalSource;
use macula::CacheSettings;
use macula::analyst::Analyst;
use macula::judgement::Policy;
use macula::scorer::Scorer;
use name_server::{ALLOW, NameServers, Zone, a, ns, resolver};
use running::{Server, Serving, lists};
use serde_json::{Value, json};
use threat_lists::ListKind;
use tokio::runtime::Runtime;
use upstream::{Reply, Upstream};

/// What names lead to, in these tests.
const HERE: &str = "127.0.0.99";

/// A name, below `example.com` if it is a single label, that was seen at [`HERE`]: what it leads to now, and how many days ago it
/// was seen last.
struct Seen(&'static str, u8, i64);

const EVIL: Seen = Seen("evil", 99, 1);
const DARK: Seen = Seen("dark", 99, 2);
const OURS: Seen = Seen("ours", 99, 3);
const PLATFORM: Seen = Seen("platform", 99, 1);
const NEW: Seen = Seen("new", 99, 1);
const MOVED: Seen = Seen("moved", 98, 0);
const OLD: Seen = Seen("old", 99, 40);
/// No server says with authority where this one leads.
const LOST: Seen = Seen("lost.example.org", 99, 1);

const FEED: (ListKind, &str, &str) = (
    ListKind::Feed,
    "feed",
    "evil.example.com,0.9\nmoved.example.com\nold.example.com",
);
const DARKLIST: (ListKind, &str, &str) = (ListKind::Darklist, "dark", "dark.example.com");

struct Site {
    server: Server,
    passive: Upstream,
    servers: NameServers,
    _folder: Option<tempfile::TempDir>,
    _runtime: Runtime,
}

impl Seen {
    fn name(&self) -> String {
        let Seen(name, ..) = self;
        if name.contains('.') {
            (*name).to_owned()
        } else {
            format!("{name}.example.com")
        }
    }
}

/// What passive DNS says of an address.
fn records(names: &[Seen]) -> String {
    let now = jiff::Timestamp::now().as_second();
    let record = |seen: &Seen| {
        let last = now - seen.2 * 86_400;
        json!({"obj": {"rrname": seen.name() + ".", "time_last": last, "count": 1}}).to_string()
            + "\n"
    };
    let end = json!({"cond": "succeeded"}).to_string();
    names.iter().map(record).chain([end]).collect()
}

impl Site {
    fn start(names: &[Seen], whitelist: &str) -> Site {
        let white = (ListKind::Whitelist, "white", whitelist);
        let lists = [white, FEED, DARKLIST];
        Site::with(names, &lists, Policy::default(), None)
    }

    fn with(
        names: &[Seen],
        by: &[(ListKind, &str, &str)],
        policy: Policy,
        folder: Option<tempfile::TempDir>,
    ) -> Site {
        let runtime = Runtime::new().unwrap();
        let zone = Zone {
            authoritative: true,
            records: names
                .iter()
                .map(|seen| a(&format!("{}.", seen.name()), 300, seen.1))
                .collect(),
            denies: true,
            ..Zone::default()
        };
        // Of `example.org` only the resolver knows, which says nothing with authority.
        let lost = [
            ns("example.org.", "ns1.example.org."),
            a("ns1.example.org.", 600, 1),
        ];
        let servers = NameServers::start(vec![resolver(&lost), zone.clone(), zone]);
        let servers = runtime.block_on(servers);
        let passive = Upstream::start(Reply::Say(200, records(names)));
        let passive = runtime.block_on(passive);
        let settings = [
            name_server::settings(&servers, ALLOW),
            upstream::settings("farsight", &passive.url(), ""),
        ];
        let config = Config::parse(&settings.concat()).unwrap();
        let lexical = Arc::new(LexicalSource);
        let gatherers = Gatherers::start(&config, vec![lexical], Clock::system());
        let gatherers = Arc::new(runtime.block_on(gatherers).unwrap());
        let models = folder.iter().map(|folder| {
            let names = folder.path().join("names");
            Arc::new(LiveModel::open(names, None, Clock::system()).unwrap())
        });
        let analyst = Arc::new(Analyst::new(gatherers, models.collect()));
        let scorer = Scorer::new(lists(by), policy, CacheSettings::default());
        let scorer = Arc::new(scorer.with_analyst(analyst));
        Site {
            server: Server {
                serving: Serving::start(macula::server::router(Arc::clone(&scorer))),
                scorer,
            },
            passive,
            servers,
            _folder: folder,
            _runtime: runtime,
        }
    }

    fn score(&self, indicator: &str, options: &str) -> Value {
        let path = format!("/api/score?indicators={indicator}{options}");
        self.server.get(&path)[indicator].clone()
    }

    /// The score of the address with its source, and what the pivot says.
    fn check(&self, options: &str, score: f64, source: &str, pivot: &Value) {
        let answer = self.score(HERE, options);
        let seen = (&answer["rescaled"], &answer["meta"]["source"]);
        assert_eq!(seen, (&json!(score), &json!(source)), "{answer}");
        assert_eq!(answer["meta"]["pivot"], *pivot, "{answer}");
    }
}

#[test]
fn an_address_is_as_bad_as_the_best_of_its_domains() {
    let site = Site::start(&[EVIL, DARK, MOVED, OLD], "unrelated.test");
    let pivot = json!({"status": "lowest", "domain": "dark.example.com", "score": 64.7, "of": 2});
    site.check("", 64.7, "pivot", &pivot);
    let answer = site.score(HERE, "&explain=true&summary=true");
    let explanation = &answer["meta"]["explanation"];
    assert_eq!(
        (&explanation["base"], &explanation["pivot"]),
        (&json!(64.7), &json!("dark.example.com"))
    );
    let summary = &answer["meta"]["summary"]["pivot"];
    assert_eq!(summary["share"], 100.0, "{answer}");
    let flat = site.server.get(&format!("/apply?ip={HERE}"));
    assert_eq!(
        (&flat["top_feature"], &flat["is_malicious"]),
        (&json!("pivot dark.example.com"), &json!("unknown"))
    );
    // A URL that lives there is as bad as its address.
    let url = site.score(&format!("http://{HERE}/a"), "");
    assert_eq!(
        (&url["rescaled"], &url["meta"]["pivot"]),
        (&json!(64.7), &pivot)
    );
    // What has no address has no pivot.
    let name = site.score("dark.example.com", "");
    assert_eq!(name["meta"].get("pivot"), None);
    assert_eq!(site.server.metric("macula_pivots_total", "lowest"), 2.0);
}

#[test]
fn the_newest_domains_count_and_as_many_as_were_asked_for() {
    let site = Site::start(&[EVIL, DARK], "unrelated.test");
    let evil = json!({"status": "lowest", "domain": "evil.example.com", "score": 94.1, "of": 1});
    site.check("&domain_pivot=1", 94.1, "pivot", &evil);
    let dark = json!({"status": "lowest", "domain": "dark.example.com", "score": 64.7, "of": 2});
    site.check("&domain_pivot=2", 64.7, "pivot", &dark);
    // A number that somebody else chose does not reach others, nor does one who wants no pivot at all.
    site.check("&domain_pivot=0", 50.0, "none", &Value::Null);
    site.check("&useRule=false", 50.0, "none", &Value::Null);
    site.check("&domain_pivot=1", 94.1, "pivot", &evil);
    assert_eq!(site.passive.count(), 1, "it is remembered");
}

#[test]
fn only_a_whitelist_of_owned_names_clears_an_address() {
    let cleared = json!({"status": "cleared", "domain": "ours.example.com", "score": 0.0, "of": 2});
    let owned = Site::start(&[EVIL, OURS], "#! class: owned\nours.example.com");
    owned.check("", 0.0, "pivot", &cleared);
    let answer = owned.score(HERE, "");
    assert_eq!(answer["meta"]["verdict"], "benign");
    // Without the whitelist nobody vouches for it.
    let unknown = json!({"status": "unknown", "domain": "ours.example.com", "of": 2});
    owned.check("&useWhitelist=false", 50.0, "none", &unknown);
    // What is not said to be owned is not: anybody may have a page on a platform.
    let lowest = json!({"status": "lowest", "domain": "evil.example.com", "score": 94.1, "of": 2});
    let shared = Site::start(&[EVIL, PLATFORM], "platform.example.com");
    shared.check("", 94.1, "pivot", &lowest);
    let listed = shared.score("platform.example.com", "");
    assert_eq!(listed["meta"]["rules"]["hits"][0]["class"], "shared");
    // A name whose own servers say that it leads elsewhere clears nothing, whatever passive DNS saw.
    let moved = Site::start(&[EVIL, MOVED], "#! class: owned\nmoved.example.com");
    let lowest = json!({"status": "lowest", "domain": "evil.example.com", "score": 94.1, "of": 1});
    moved.check("", 94.1, "pivot", &lowest);
}

#[test]
fn a_feed_that_names_the_address_or_a_page_there_is_not_silenced() {
    let feed = format!("{HERE}\nhttp://{HERE}/bad");
    let by = [
        (
            ListKind::Whitelist,
            "white",
            "#! class: owned\nours.example.com",
        ),
        (ListKind::Feed, "feed", feed.as_str()),
    ];
    let strict = Policy {
        strict_pivot: true,
        ..Policy::default()
    };
    let lenient = Site::with(&[OURS], &by, Policy::default(), None);
    let seen = |site: &Site, indicator: &str| {
        let answer = site.score(indicator, "");
        let conflict = answer["meta"]["rules"]["conflict"] == true;
        (answer["rescaled"].as_f64().unwrap(), conflict)
    };
    let page = format!("http://{HERE}/bad");
    assert_eq!(seen(&lenient, HERE), (0.0, true));
    assert_eq!(seen(&lenient, &page), (49.5, true));
    assert_eq!(seen(&lenient, &format!("http://{HERE}/good")), (0.0, true));
    let strict = Site::with(&[OURS], &by, strict, None);
    assert_eq!(seen(&strict, HERE), (49.5, true));
}

#[test]
fn without_domains_an_address_is_scored_by_itself_and_the_reason_is_told() {
    let site = Site::start(&[MOVED, OLD], "unrelated.test");
    let unavailable = |reason: &str| json!({"status": "unavailable", "reason": reason});
    site.check("&tlp=red", 50.0, "none", &unavailable("confidential"));
    site.check("&exclude=farsight", 50.0, "none", &unavailable("disabled"));
    site.check("", 50.0, "none", &json!({"status": "no_domains"}));
    let fresh = Site::start(&[NEW], "unrelated.test");
    fresh.check("&offline=true", 50.0, "none", &unavailable("offline"));
    assert_eq!(fresh.passive.count(), 0);
    // What could not be had is not remembered.
    fresh.passive.answer(Reply::Say(500, String::new()));
    fresh.check("", 50.0, "none", &unavailable("failed"));
    fresh.passive.answer(Reply::Say(200, records(&[DARK])));
    fresh.check("", 50.0, "none", &json!({"status": "no_domains"}));
    assert_eq!(fresh.score(HERE, "")["meta"]["cached"], true);
}

#[test]
fn domains_whose_servers_do_not_answer_are_not_taken_for_gone() {
    let site = Site::start(&[MOVED, LOST], "unrelated.test");
    let reason = json!({"status": "unavailable", "reason": "not_authoritative"});
    site.check("", 50.0, "none", &reason);
    assert_eq!(site.score(HERE, "")["meta"].get("cached"), None);
    // With one that is known to live there the score is its, and what is not known is told.
    let site = Site::start(&[EVIL, MOVED, LOST], "unrelated.test");
    let known = json!({
        "status": "lowest", "domain": "evil.example.com", "score": 94.1, "of": 1, "unchecked": 1,
    });
    site.check("", 94.1, "pivot", &known);
    assert_eq!(site.score(HERE, "")["meta"].get("cached"), None);
}

#[test]
fn of_very_many_domains_those_that_were_not_asked_for_are_told() {
    let names: Vec<String> = (0..20).map(|at| format!("moved{at}")).collect();
    let names = names.into_iter().map(|name| Seen(name.leak(), 98, 1));
    let site = Site::start(&names.collect::<Vec<_>>(), "unrelated.test");
    let pivot = json!({"status": "no_domains", "unchecked": 5});
    site.check("", 50.0, "none", &pivot);
    let all = json!({"status": "no_domains"});
    site.check("&domain_pivot=10", 50.0, "none", &all);
}

#[test]
fn what_lists_decide_is_asked_of_nobody() {
    let by = [
        (ListKind::Blacklist, "black", HERE),
        (ListKind::Whitelist, "white", "127.0.0.98"),
    ];
    let site = Site::with(&[EVIL], &by, Policy::default(), None);
    site.check("", 100.0, "blacklist", &Value::Null);
    site.score("127.0.0.98", "");
    assert_eq!((site.passive.count(), site.servers.asked(2).len()), (0, 0));
}

#[test]
fn what_is_supposed_of_a_domain_changes_nothing_about_its_address_in_the_same_request() {
    let folder = tempfile::tempdir().unwrap();
    training::train(folder.path(), "1", "40");
    let site = Site::with(
        &[Seen("silverhouse", 99, 1)],
        &[FEED],
        Policy::default(),
        Some(folder),
    );
    let name = "silverhouse.example.com";
    let (domain, address) = (site.score(name, ""), site.score(HERE, ""));
    assert_eq!(
        (&address["meta"]["source"], &address["rescaled"]),
        (&json!("pivot"), &domain["rescaled"])
    );
    let overrides = json!({
        "lexical_covered": 0.0, "lexical_digit_share": 0.6, "lexical_entropy": 4.2, "lexical_fives": 0.0,
        "lexical_long_flow": -14.0, "lexical_pairs": 1.0, "lexical_short_flow": -14.0, "lexical_switches": 8.0,
        "lexical_triples": 0.0,
    });
    // Whichever of them comes first, and whether the domain's own score is remembered or not.
    for (indicators, remembered) in [([HERE, name], true), ([name, HERE], false)] {
        let options = json!({"overrides": overrides, "useFeatureCache": remembered});
        let body = json!({"indicators": indicators, "options": options}).to_string();
        let (status, supposed) = site.server.ask("POST", "/api/score", body.as_bytes());
        assert_eq!(status, 200, "{supposed}");
        assert_ne!(supposed[name]["rescaled"], domain["rescaled"], "{supposed}");
        assert_eq!(
            (
                &supposed[HERE]["rescaled"],
                &supposed[HERE]["meta"]["pivot"]
            ),
            (&address["rescaled"], &address["meta"]["pivot"]),
            "{supposed}"
        );
    }
    assert_eq!(site.score(name, "")["rescaled"], domain["rescaled"]);
}

#[test]
fn domains_are_scored_by_their_model() {
    let folder = tempfile::tempdir().unwrap();
    training::train(folder.path(), "1", "40");
    let names = [Seen("silverhouse", 99, 1), Seen("xk3j9q2vz8w1m", 99, 1)];
    let site = Site::with(&names, &[FEED], Policy::default(), Some(folder));
    let model = |name: &str| {
        let answer = site.score(&format!("{name}.example.com"), "");
        answer["rescaled"].as_f64().unwrap()
    };
    let (good, bad) = (model("silverhouse"), model("xk3j9q2vz8w1m"));
    let answer = site.score(HERE, "");
    let pivot = &answer["meta"]["pivot"];
    assert_eq!(pivot["status"], "lowest", "{answer}");
    assert_eq!(pivot["score"].as_f64().unwrap(), good.min(bad), "{answer}");
}
