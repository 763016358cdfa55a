//! Which names lead to an address: passive DNS by a real web service, and where they lead now by real name servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/name_server.rs"]
mod name_server;
#[path = "support/upstream.rs"]
mod upstream;

use std::net::IpAddr;

use gatherers::{DriftKind, GatherOptions, Gatherers, Handling, Missing, Pap, Selection, Tlp};
use name_server::{ALLOW, NameServers, Zone, a, alias, resolver};
use upstream::{Hands, Reply, Upstream, fixture, gather_with, start};

/// What the names of `farsight.ip.ndjson` lead to is said by one zone.
struct Site {
    upstream: Upstream,
    servers: NameServers,
    gatherers: Gatherers,
    hands: Hands,
}

/// The address that `busy.example.com` leads to in these tests.
const HERE: &str = "127.0.0.99";

impl Site {
    async fn start(top: &str, more: &str) -> Site {
        let zone = Zone {
            authoritative: true,
            records: vec![
                a("busy.example.com.", 300, 99),
                alias("new.example.com.", 60, "elsewhere.example.com."),
                a("elsewhere.example.com.", 60, 98),
            ],
            denies: true,
            ..Zone::default()
        };
        let servers = NameServers::start(vec![resolver(&[]), zone.clone(), zone]).await;
        let upstream = Upstream::start(Reply::Say(200, fixture("farsight.ip.ndjson"))).await;
        let settings = [
            top.to_owned(),
            name_server::settings(&servers, ALLOW),
            upstream::settings("farsight", &upstream.url(), ""),
            more.to_owned(),
        ];
        let hands = Hands::new();
        let gatherers = start(&settings.concat(), &hands).await;
        Site {
            upstream,
            servers,
            gatherers,
            hands,
        }
    }

    /// Each name in its order, and whether it leads to `ip`.
    async fn names(
        &self,
        ip: &str,
        most: usize,
        options: &GatherOptions,
    ) -> Result<Vec<(String, Result<bool, Missing>)>, Missing> {
        let ip: IpAddr = ip.parse().unwrap();
        let found = self.gatherers.names_at(ip, most, 30, options).await?;
        let names = found.names.into_iter();
        Ok(names
            .map(|name| (name.name.to_string(), name.leads_here))
            .collect())
    }
}

fn marked(tlp: Tlp, pap: Pap, offline: bool) -> GatherOptions {
    GatherOptions {
        handling: Handling { tlp, pap, offline },
        ..GatherOptions::default()
    }
}

#[tokio::test]
async fn names_are_told_newest_first_with_whether_they_lead_there_now() {
    let site = Site::start("", "").await;
    assert!(site.gatherers.tell_names());
    let options = GatherOptions::default();
    let names = site.names(HERE, 5, &options).await.unwrap();
    let expected = [
        ("busy.example.com", Ok(true)),
        ("new.example.com", Ok(false)),
        ("old.example.com", Ok(false)),
    ];
    assert_eq!(
        names,
        expected.map(|(name, leads)| (name.to_owned(), leads)),
        "the newest and most seen first"
    );
    let seen = site.upstream.seen();
    assert!(
        seen[0].target.contains("time_last_after=-2592000"),
        "{seen:?}"
    );
    // An alias is followed, and what it leads to counts.
    let elsewhere = site.names("127.0.0.98", 5, &options).await.unwrap();
    assert_eq!(elsewhere[1], ("new.example.com".to_owned(), Ok(true)));
    // One that is found is enough.
    let found = site.names(HERE, 1, &options).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[tokio::test]
async fn answers_are_remembered_and_where_a_name_leads_for_a_short_time_only() {
    let site = Site::start("", "").await;
    let options = GatherOptions::default();
    let first = site.names(HERE, 2, &options).await;
    let (asked, questions) = (site.servers.asked(2).len(), site.upstream.count());
    site.hands.forward(30 * 60);
    assert_eq!(site.names(HERE, 1, &options).await.unwrap().len(), 1);
    assert_eq!(site.names(HERE, 2, &options).await, first);
    assert_eq!(
        (site.servers.asked(2).len(), site.upstream.count()),
        (asked, questions),
        "however many are wanted, it is one question"
    );
    site.hands.forward(60 * 60);
    assert_eq!(site.names(HERE, 2, &options).await, first);
    assert!(site.servers.asked(2).len() > asked);
    assert_eq!(site.upstream.count(), questions);
}

/// Names and addresses are asked for by requests of their own, and the names of an address by a third.
#[tokio::test]
async fn answers_to_different_requests_have_different_shapes_and_each_is_watched() {
    let site = Site::start("", "").await;
    let (of_name, of_address) = (
        fixture("farsight.name.ndjson"),
        fixture("farsight.ip.ndjson"),
    );
    let fresh = || GatherOptions {
        use_cache: false,
        ..GatherOptions::default()
    };
    let names = async |reply: &str| {
        site.upstream.answer(Reply::Say(200, reply.to_owned()));
        site.names(HERE, 5, &fresh()).await.unwrap()
    };
    for _ in 0..60 {
        for (indicator, reply) in [("www.example.com", &of_name), (HERE, &of_address)] {
            site.upstream.answer(Reply::Say(200, reply.clone()));
            gather_with(&site.gatherers, indicator, fresh()).await;
        }
        names(&of_address).await;
        // The names of one zone are asked for only so often in a minute.
        site.hands.forward(60);
    }
    assert_eq!(site.gatherers.drift_alerts(), []);
    // That it tells no more how often a name was seen changes the order of the names, and nothing else.
    names(&of_address.replace("\"count\"", "\"seen\"")).await;
    let alerts = site.gatherers.drift_alerts();
    let told: Vec<_> = alerts
        .iter()
        .map(|alert| (alert.kind, alert.path.as_str()))
        .collect();
    assert_eq!(told, [(DriftKind::NewPath, "/*/obj/seen")]);
}

#[tokio::test]
async fn nobody_is_asked_who_may_not_know() {
    let site = Site::start("", "").await;
    for (options, why) in [
        (marked(Tlp::Red, Pap::Clear, false), Missing::Confidential),
        (marked(Tlp::Clear, Pap::Red, false), Missing::Confidential),
        (marked(Tlp::Clear, Pap::Clear, true), Missing::Offline),
    ] {
        assert_eq!(site.names(HERE, 5, &options).await, Err(why));
    }
    assert_eq!((site.upstream.count(), site.servers.asked(2).len()), (0, 0));
    // The provider may know, but not the names' own servers: then nobody knows where they lead.
    let amber = marked(Tlp::Clear, Pap::Amber, false);
    assert_eq!(
        site.names(HERE, 5, &amber).await,
        Err(Missing::Confidential)
    );
    assert_eq!((site.upstream.count(), site.servers.asked(2).len()), (1, 0));
}

#[tokio::test]
async fn a_source_that_was_not_chosen_is_not_asked() {
    let site = Site::start("", "").await;
    for (only, exclude) in [
        (Some("geo"), None),
        (None, Some("passive_dns")),
        (None, Some("farsight")),
    ] {
        let known = ["geo", "passive_dns", "farsight"].map(str::to_owned);
        let set = |name: &str| known.iter().filter(|one| *one == name).cloned().collect();
        let options = GatherOptions {
            selection: Selection {
                only: only.map(set),
                exclude: exclude.map(set).unwrap_or_default(),
            },
            ..GatherOptions::default()
        };
        assert_eq!(
            site.names(HERE, 5, &options).await,
            Err(Missing::Disabled),
            "{only:?} {exclude:?}"
        );
    }
    assert_eq!(site.upstream.count(), 0);
}

#[tokio::test]
async fn passive_dns_that_knows_nothing_is_not_one_that_does_not_answer() {
    let site = Site::start("", "").await;
    let options = GatherOptions::default();
    site.upstream
        .answer(Reply::Say(200, fixture("farsight.empty.ndjson")));
    assert_eq!(site.names("192.0.2.2", 5, &options).await, Ok(Vec::new()));
    site.upstream.answer(Reply::Say(500, String::new()));
    assert_eq!(
        site.names("192.0.2.3", 5, &options).await,
        Err(Missing::Failed)
    );
    // Names that nobody knows the way of are no reason to say that there are none.
    let blind = Site::start("", "").await;
    let quiet = NameServers::start(vec![resolver(&[])]).await;
    let settings = [
        name_server::settings(&quiet, ""),
        upstream::settings("farsight", &blind.upstream.url(), ""),
    ];
    let gatherers = start(&settings.concat(), &Hands::new()).await;
    let found = gatherers.names_at(HERE.parse().unwrap(), 5, 30, &options);
    assert_eq!(found.await, Err(Missing::NotAuthoritative));
}

#[tokio::test]
async fn passive_dns_whose_records_nobody_can_read_is_not_one_that_knows_nothing() {
    let site = Site::start("", "").await;
    let renamed = fixture("farsight.ip.ndjson").replace("rrname", "owner_name");
    site.upstream.answer(Reply::Say(200, renamed));
    let options = GatherOptions::default();
    let names = site.names(HERE, 5, &options).await;
    assert_eq!(names, Err(Missing::Failed));
    // It was not remembered.
    site.upstream
        .answer(Reply::Say(200, fixture("farsight.ip.ndjson")));
    assert!(site.names(HERE, 5, &options).await.is_ok());
}

#[tokio::test]
async fn a_mapping_of_ones_own_may_tell_names_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = r#"
        name = "house"
        about = "Our own passive DNS"
        category = "passive_dns"
        base_url = "http://127.0.0.1:1"

        [recent_domains]
        path = "/at/{subject}"
        query = { days = "{days}" }
        records = "/names/*"
        name = "/n"
        last_seen = "/day"
    "#;
    std::fs::write(folder.path().join("house.toml"), mapping).unwrap();
    let names = r#"{"names": [
        {"n": "fresh.example.com", "day": "2026-01-10"},
        {"n": "busy.example.com", "day": "2026-01-11"},
        {"n": "stale.example.com", "day": "2025-11-01"},
        {"n": "undated.example.com"}]}"#;
    let house = Upstream::start(Reply::Say(200, names.to_owned())).await;
    let top = format!("mappings = \"{}\"\n", folder.path().display());
    let more = format!("[gatherers.house]\nbase_url = \"{}\"\n", house.url());
    let site = Site::start(&top, &more).await;
    let names = site
        .names(HERE, 5, &GatherOptions::default())
        .await
        .unwrap();
    let order: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        order,
        [
            "busy.example.com",
            "new.example.com",
            "fresh.example.com",
            "old.example.com"
        ],
        "those of both together"
    );
    assert_eq!(house.seen()[0].target, "/at/127.0.0.99?days=30");
}
