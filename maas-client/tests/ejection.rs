//! Copies whose calls fail are left out while others do better (F21 of the service's list: half alive, they pass every probe).

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use maas_client::apply::ApplyOptions;
use maas_client::endpoint_url::EndpointUrl;
use maas_client::instances::complaints;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::CreateMode;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, MaasClient, Session, SessionConfig};
use test_support::{ZooKeeper, eventually, free_port};
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

#[tokio::test]
async fn a_copy_that_gives_no_answers_is_complained_of_until_it_does() {
    let zookeeper = ZooKeeper::shared().await;
    let config = SessionConfig::new(zookeeper.connect_string());
    let session = Session::connect(config.clone()).await.unwrap();
    let layout = Layout::default();
    let is_well = Arc::new(AtomicBool::new(false));
    let (answer, listener) = (
        is_well.clone(),
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    register(&session, "i", listener.local_addr().unwrap().port()).await;
    let apply = async move || match answer.load(Ordering::Relaxed) {
        true => Ok(Json(serde_json::json!({}))),
        false => Err(StatusCode::BAD_GATEWAY),
    };
    let mut server = JoinSet::new();
    let router = Router::new().route("/apply", get(apply));
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });

    // A second program finds its state elsewhere, where no service has ever been.
    let elsewhere = ZnodePath::new("/elsewhere").unwrap();
    let node = br#"{"queueConfig":{"zk_path":"/maas/queue","maas_state_path":"/nobody"}}"#;
    session
        .create(&elsewhere, node, CreateMode::Persistent)
        .await
        .unwrap();
    session.ensure(&layout.complaints_root()).await.unwrap();
    let options = ApplyOptions::default();
    let lonely = MaasClient::connect_with(config.clone(), &elsewhere, options)
        .await
        .unwrap();
    let maas = MaasClient::connect(config).await.unwrap();
    let call = async |maas: &MaasClient| {
        let endpoint = maas.get_endpoint("m", None).unwrap();
        maas.model_apply(&endpoint, None, &[("secret", "s")]).await
    };
    let complaint = eventually(Duration::from_secs(60), "a complaint", async || {
        call(&lonely).await.unwrap_err();
        call(&maas).await.unwrap_err();
        complaints(&session, &layout).await.unwrap().pop()
    })
    .await;
    assert_eq!(complaint.instance.as_str(), "i");
    assert_eq!(complaint.why, "it answers 502");
    assert_eq!(complaint.pid, std::process::id());
    assert!(complaint.program.starts_with("ejection"), "{complaint:?}");
    let nobody = ZnodePath::new("/nobody").unwrap();
    assert!(session.stat(&nobody).await.unwrap().is_none());

    is_well.store(true, Ordering::Relaxed);
    eventually(Duration::from_secs(60), "the complaint to go", async || {
        let _ = call(&maas).await;
        complaints(&session, &layout).await.unwrap().is_empty()
    })
    .await;
    lonely.close().await;
    maas.close().await;
    session.close().await;
}
