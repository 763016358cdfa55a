//! Names resolved by real servers: what only their own servers can tell, and what an adversary's servers must not achieve.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/name_server.rs"]
mod name_server;
#[path = "support/upstream.rs"]
mod upstream;

use gatherers::{Gathered, Missing, Reading, Value};
use name_server::{ALLOW, NameServers, Zone, a, alias, ns, resolver, says, settings};
use upstream::{Hands, gather, start};

async fn ask(servers: &NameServers, name: &str) -> Gathered {
    let gatherers = start(&settings(servers, ALLOW), &Hands::new()).await;
    gather(&gatherers, name).await
}

fn ttl(gathered: &Gathered) -> Reading {
    gathered.feature("dns_ttl").unwrap().reading.clone()
}

#[tokio::test]
async fn an_answer_that_does_not_fit_into_a_packet_is_fetched_by_tcp() {
    let long = Zone {
        too_long_for_udp: true,
        ..says(true, 300)
    };
    let servers = NameServers::start(vec![resolver(&[]), long.clone(), long]).await;
    let gathered = ask(&servers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::number(300.0));
    let ways: Vec<&str> = servers.asked(2).into_iter().map(|asked| asked.3).collect();
    assert_eq!(ways, ["udp", "tcp"]);
}

/// Below a suffix of a company that gives names away, a name has no servers of its own.
#[tokio::test]
async fn a_name_that_is_no_zone_of_its_own_is_asked_for_at_the_servers_of_the_zone_it_is_in() {
    let records = ["evil.github.io.", "www.evil.github.io."].map(|name| a(name, 300, 99));
    let here = Zone {
        authoritative: true,
        records: records.to_vec(),
        denies: true,
        ..Zone::default()
    };
    let more = [
        ns("github.io.", "ns1.example.net."),
        a("evil.github.io.", 300, 99),
    ];
    let servers = NameServers::start(vec![resolver(&more), here.clone(), here]).await;
    let gatherers = start(&settings(&servers, ALLOW), &Hands::new()).await;
    for name in ["evil.github.io", "www.evil.github.io"] {
        let gathered = gather(&gatherers, name).await;
        assert_eq!(ttl(&gathered), Reading::number(300.0), "{name}");
    }
    // Whether that name exists, the resolver knows.
    let gathered = gather(&gatherers, "nobody.github.io").await;
    assert_eq!(ttl(&gathered), Reading::Missing(Missing::Unknown));
    let asked: Vec<String> = servers.asked(1).into_iter().map(|asked| asked.0).collect();
    assert!(!asked.contains(&"io.".to_owned()), "{asked:?}");
}

#[tokio::test]
async fn a_delegated_part_of_a_zone_is_asked_at_its_own_servers() {
    let parent = Zone {
        authoritative: true,
        referral: vec![ns("deep.example.com.", "ns3.example.net.")],
        ..Zone::default()
    };
    let child = Zone {
        authoritative: true,
        records: vec![a("www.deep.example.com.", 120, 99)],
        ..Zone::default()
    };
    let more = [a("ns3.example.net.", 600, 4)];
    let zones = vec![resolver(&more), parent.clone(), parent, child];
    let servers = NameServers::start(zones).await;
    let gathered = ask(&servers, "www.deep.example.com").await;
    assert_eq!(ttl(&gathered), Reading::number(120.0));
}

#[tokio::test]
async fn an_alias_has_its_own_ttl_and_its_targets_addresses() {
    let here = Zone {
        authoritative: true,
        records: vec![alias("www.example.com.", 60, "www.target.org.")],
        ..Zone::default()
    };
    let there = Zone {
        authoritative: true,
        records: vec![
            a("www.target.org.", 3600, 98),
            a("www.target.org.", 3600, 99),
        ],
        ..Zone::default()
    };
    let more = [
        ns("target.org.", "ns.target.org."),
        a("ns.target.org.", 600, 4),
    ];
    let zones = vec![resolver(&more), here.clone(), here, there];
    let servers = NameServers::start(zones).await;
    let gathered = ask(&servers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::number(60.0));
    assert_eq!(gathered.value("dns_alias"), Some(&Value::Flag(true)));
    assert_eq!(gathered.value("dns_addresses"), Some(&Value::Number(2.0)));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unknown() {
    let servers = NameServers::start(vec![resolver(&[]), says(true, 300), says(true, 300)]).await;
    for name in ["nothing.example.com", "no-such-registration.org"] {
        let gathered = ask(&servers, name).await;
        assert_eq!(ttl(&gathered), Reading::Missing(Missing::Unknown), "{name}");
    }
}

#[tokio::test]
async fn name_servers_inside_the_house_are_not_contacted_on_a_names_word() {
    let servers = NameServers::start(vec![resolver(&[]), says(true, 300), says(true, 300)]).await;
    // Nobody allowed 127.0.0.0/8, where these servers are.
    let gatherers = start(&settings(&servers, ""), &Hands::new()).await;
    let gathered = gather(&gatherers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::Missing(Missing::NotAuthoritative));
    assert_eq!((servers.asked(2), servers.asked(3)), (vec![], vec![]));
}

#[tokio::test]
async fn a_name_cannot_make_us_ask_without_end() {
    // Every name is an alias for a name in the next of many zones.
    let mut records = Vec::new();
    let mut chain = Vec::new();
    for at in 0..40 {
        for server in 0..10 {
            records.push(ns(&format!("z{at}.com."), &format!("n{server}.z{at}.com.")));
        }
        chain.push(alias(
            &format!("www.z{at}.com."),
            60,
            &format!("www.z{}.com.", at + 1),
        ));
        records.push(a(&format!("n3.z{at}.com."), 60, 2));
    }
    let chain = Zone {
        authoritative: true,
        records: chain,
        ..Zone::default()
    };
    let servers = NameServers::start(vec![resolver(&records), chain]).await;
    let gatherers = start(
        &settings(&servers, &format!("{ALLOW}\nmax_queries = 12")),
        &Hands::new(),
    )
    .await;
    let gathered = gather(&gatherers, "www.z0.com").await;
    assert_eq!(ttl(&gathered), Reading::number(60.0), "{gathered:?}");
    assert_eq!(
        gathered.feature("dns_addresses").unwrap().reading,
        Reading::Missing(Missing::Absent)
    );
    let asked = servers.asked(1).len() + servers.asked(2).len();
    assert!(asked <= 12, "{asked} questions");
}

#[tokio::test]
async fn the_names_of_one_zone_are_limited() {
    let servers = NameServers::start(vec![resolver(&[]), says(true, 300), says(true, 300)]).await;
    let more = format!("{ALLOW}\nper_zone_per_minute = 3");
    let hands = Hands::new();
    let gatherers = start(&settings(&servers, &more), &hands).await;
    for at in 0..3 {
        let gathered = gather(&gatherers, &format!("n{at}.example.com")).await;
        assert_eq!(ttl(&gathered), Reading::Missing(Missing::Unknown));
    }
    let gathered = gather(&gatherers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::Missing(Missing::Quota));
    hands.forward(60);
    let gathered = gather(&gatherers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::number(300.0));
}

#[tokio::test]
async fn dead_name_servers_of_some_names_do_not_keep_us_from_others() {
    let mut more = Vec::new();
    for at in 0..8 {
        more.push(ns(&format!("dead{at}.org."), "ns.dead.org."));
    }
    // Nobody is there.
    more.push(a("ns.dead.org.", 600, 9));
    let zones = vec![resolver(&more), says(true, 300), says(true, 300)];
    let servers = NameServers::start(zones).await;
    let gatherers = start(&settings(&servers, ALLOW), &Hands::new()).await;
    for at in 0..8 {
        let gathered = gather(&gatherers, &format!("www.dead{at}.org")).await;
        assert_eq!(ttl(&gathered), Reading::Missing(Missing::NotAuthoritative));
    }
    let gathered = gather(&gatherers, "www.example.com").await;
    assert_eq!(ttl(&gathered), Reading::number(300.0));
}
