//! Copies whose calls fail are left out while others do better (F21 of the service's list: half alive, they pass every probe).

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use maas_client::endpoint_url::EndpointUrl;
use maas_client::layout::Layout;
use maas_client::session::CreateMode;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, MaasClient, Session, SessionConfig};
use test_support::{ZooKeeper, free_port};
use tokio::task::JoinSet;

/// Puts a copy into the registry.
async fn register(session: &Session, instance: &str, port: u16) {
    let layout = Layout::default();
    let entry = Registration {
        name: "m".parse().unwrap(),
        version: "1".parse().unwrap(),
        instance: InstanceId::new(instance).unwrap(),
        url: EndpointUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap(),
        functions: Functions::default(),
        registered_ms: 1,
    };
    session.ensure(&layout.service(&entry.name)).await.unwrap();
    let path = layout.registration(&entry.name, &entry.instance);
    session
        .create(&path, &entry.to_bytes(), CreateMode::Persistent)
        .await
        .unwrap();
}

#[tokio::test]
async fn copies_that_fail_are_left_out_and_with_all_of_them_failing_there_is_still_an_endpoint() {
    let zookeeper = ZooKeeper::shared().await;
    let config = SessionConfig::new(zookeeper.connect_string());
    let session = Session::connect(config.clone()).await.unwrap();
    let mut servers = JoinSet::new();
    let mut serve = async |router: Router| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
        port
    };
    let well = Router::new().route(
        "/apply",
        get(|| async { Json(serde_json::json!({"well": true})) }),
    );
    let half = Router::new().route(
        "/apply",
        get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
    );
    let (well, half) = (serve(well).await, serve(half).await);
    register(&session, "well", well).await;
    register(&session, "half-alive", half).await;
    register(&session, "dead", free_port()).await;
    let maas = MaasClient::connect(config).await.unwrap();

    let mut failures = 0;
    for _ in 0..500 {
        let endpoint = maas.get_endpoint("m", None).unwrap();
        failures += u32::from(maas.model_apply(&endpoint, None, &[]).await.is_err());
    }
    // Three failures put each of the two out; every second or so one more call asks whether it does better.
    assert!(
        (6..50).contains(&failures),
        "{failures} of 500 calls failed"
    );

    servers.abort_all();
    while servers.join_next().await.is_some() {}
    for _ in 0..20 {
        let endpoint = maas.get_endpoint("m", None).unwrap();
        assert!(maas.model_apply(&endpoint, None, &[]).await.is_err());
    }
    maas.close().await;
    session.close().await;
}
