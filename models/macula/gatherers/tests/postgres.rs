//! A real PostgreSQL, shared by two copies: answers, counts, and what becomes of it all when the database goes away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/postgres.rs"]
mod postgres;
#[path = "support/upstream.rs"]
mod upstream;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gatherers::{Config, Gatherers, Missing, Reading, StartError, Value};
use postgres::Postgres;
use upstream::{Hands, Reply, Upstream, gather, settings, start};

fn country(country: &str) -> Reply {
    Reply::Say(
        200,
        format!("{{\"country\": {{\"iso_code\": \"{country}\"}}}}"),
    )
}

fn with_store(postgres: &Postgres, upstream: &Upstream, more: &str) -> String {
    let store = format!("[cache]\npostgres = \"{}\"\n", postgres.settings());
    store + &settings("geo", &upstream.url(), more)
}

async fn reading(gatherers: &Gatherers, ip: &str) -> (Reading, bool) {
    let gathered = gather(gatherers, ip).await;
    let feature = gathered.feature("geo_country").unwrap();
    (feature.reading.clone(), feature.from_cache)
}

fn text(text: &str) -> Reading {
    Reading::Value(Value::Text(text.into()))
}

#[tokio::test]
async fn two_copies_share_answers_and_the_days_quota() {
    let postgres = Postgres::start().await;
    let upstream = Upstream::start(country("NL")).await;
    let settings = with_store(&postgres, &upstream, "quota = { per_day = 3 }");
    let hands = Hands::new();
    let one = start(&settings, &hands).await;
    let other = start(&settings, &hands).await;
    assert_eq!(reading(&one, "8.8.4.4").await, (text("NL"), false));
    assert_eq!(reading(&other, "8.8.4.4").await, (text("NL"), true));
    assert_eq!(upstream.count(), 1);

    // An answer that is too old is asked for anew, and the new one takes its place for both.
    hands.forward(40 * 24 * 60 * 60);
    upstream.answer(country("DE"));
    assert_eq!(reading(&other, "8.8.4.4").await, (text("DE"), false));
    let third = start(&settings, &hands).await;
    assert_eq!(reading(&third, "8.8.4.4").await, (text("DE"), true));
    // The first copy remembers the old answer, and hears of the new one all the same.
    assert_eq!(reading(&one, "8.8.4.4").await, (text("DE"), true));

    assert_eq!(reading(&one, "8.8.4.5").await.0, text("DE"));
    assert_eq!(reading(&third, "8.8.4.6").await.0, text("DE"));
    for copy in [&one, &other, &third] {
        let denied = reading(copy, "8.8.4.7").await.0;
        assert_eq!(denied, Reading::Missing(Missing::Quota));
    }
    assert_eq!(
        upstream.count(),
        4,
        "one of the first day, three of the second"
    );
}

#[tokio::test]
async fn many_copies_that_start_at_once_make_the_tables_once() {
    let postgres = Postgres::start().await;
    let upstream = Upstream::start(country("NL")).await;
    let settings = with_store(&postgres, &upstream, "");
    let hands = Hands::new();
    let copies = join_all((0..24).map(|_| start(&settings, &hands))).await;
    for copy in &copies {
        assert_eq!(reading(copy, "8.8.4.4").await.0, text("NL"));
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_database_that_goes_away_costs_no_answer() {
    let mut postgres = Postgres::start().await;
    let upstream = Upstream::start(country("NL")).await;
    let settings = with_store(&postgres, &upstream, "");
    let gatherers = start(&settings, &Hands::new()).await;
    assert_eq!(reading(&gatherers, "8.8.4.4").await.0, text("NL"));
    postgres.kill();
    let started = Instant::now();
    for at in 0..20 {
        let told = reading(&gatherers, &format!("8.8.5.{at}")).await;
        assert_eq!(told, (text("NL"), false));
    }
    assert_eq!(reading(&gatherers, "8.8.4.4").await, (text("NL"), true));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the store is left alone"
    );
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_at_the_start() {
    let port = test_support::free_port();
    let secret = "postgres = \"host=127.0.0.1 user=u password=hunter2 port=";
    let config = Config::parse(&format!("[cache]\n{secret}{port}\"")).unwrap();
    let failed = Gatherers::start(&config, Vec::new(), Hands::new().clock()).await;
    let error = failed.unwrap_err();
    assert!(matches!(error, StartError::Store(_)));
    assert!(!format!("{error:?}").contains("hunter2"));
}
