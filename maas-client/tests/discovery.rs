//! Registry, discovery, queue and calls against a real ZooKeeper and real HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::time::{Duration, Instant};

use axum::extract::{Query, RawQuery};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use axum::{Json, Router};
use maas_client::apply::{ApplyError, ApplyOptions, Caller};
use maas_client::discovery::{Discovery, LookupError};
use maas_client::endpoint_url::EndpointUrl;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::{OfferError, Queue};
use maas_client::registry::Registry;
use maas_client::session::CreateMode;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, MaasClient, ModelName, Session, SessionConfig, Version};
use test_support::{SharedZooKeeper, ZooKeeper, eventually};

const LIMIT: Duration = Duration::from_secs(30);

async fn session(zookeeper: &SharedZooKeeper) -> Session {
    Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap()
}

fn entry(name: &str, version: &str, instance: &str, url: &str) -> Registration {
    Registration {
        name: ModelName::new(name).unwrap(),
        version: Version::new(version).unwrap(),
        instance: InstanceId::new(instance).unwrap(),
        url: EndpointUrl::parse(url).unwrap(),
        functions: Functions::default(),
        registered_ms: 1,
    }
}

/// Writes an entry as an old runner does: a persistent znode.
async fn register(session: &Session, layout: &Layout, entry: &Registration) {
    session.ensure(&layout.service(&entry.name)).await.unwrap();
    let path = layout.registration(&entry.name, &entry.instance);
    session
        .create(&path, &entry.to_bytes(), CreateMode::Persistent)
        .await
        .unwrap();
}

fn instances(discovery: &Discovery, name: &str, version: Option<&str>) -> Vec<String> {
    let found = discovery.snapshot().endpoints(Some(name), version);
    found.iter().map(|e| e.instance.to_string()).collect()
}

#[tokio::test]
async fn discovery_follows_the_registry_and_finds_by_name_and_version() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let layout = Layout::default();
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    for id in ["1", "2", "3"] {
        register(
            &session,
            &layout,
            &entry("casey", "3.14159", id, "http://localhost:9080/ep1"),
        )
        .await;
    }
    register(
        &session,
        &layout,
        &entry("casey", "3.1416", "4", "http://localhost:9080/ep1"),
    )
    .await;

    eventually(LIMIT, "all four", async || {
        instances(&discovery, "casey", None).len() == 4
    })
    .await;
    assert_eq!(
        instances(&discovery, "casey", Some("3.14159")),
        ["1", "2", "3"]
    );
    assert_eq!(instances(&discovery, "casey", Some("3.1416")), ["4"]);
    assert!(instances(&discovery, "casey", Some("3.17")).is_empty());

    // Numbers, not texts, order the versions: 14159 is more than 1416.
    assert_eq!(
        discovery.pick("casey", None).unwrap().version.as_str(),
        "3.14159"
    );
    assert_eq!(
        discovery
            .pick("casey", Some("3.1416"))
            .unwrap()
            .instance
            .as_str(),
        "4"
    );
    let error = discovery.pick("casey", Some("9")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model `casey` 9 is not registered; versions serving now are 3.1416, 3.14159"
    );
    assert!(
        matches!(discovery.pick("case", None), Err(LookupError::UnknownModel { known, .. }) if known == ["casey"])
    );

    session
        .delete(
            &layout.registration(
                &ModelName::new("casey").unwrap(),
                &InstanceId::new("1").unwrap(),
            ),
            None,
        )
        .await
        .unwrap();
    eventually(LIMIT, "it to go", async || {
        instances(&discovery, "casey", Some("3.14159")) == ["2", "3"]
    })
    .await;
    session.close().await;
}

#[tokio::test]
async fn every_copy_is_drawn_about_as_often_as_the_others() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let layout = Layout::default();
    for id in 0..4 {
        register(
            &session,
            &layout,
            &entry("dga", "1.0", &id.to_string(), "http://localhost:1"),
        )
        .await;
    }
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    let mut handle = discovery.handle(ModelName::new("dga").unwrap(), None);
    let mut drawn = [0; 4];
    for _ in 0..4000 {
        drawn[handle
            .pick()
            .unwrap()
            .instance
            .as_str()
            .parse::<usize>()
            .unwrap()] += 1;
        drawn[discovery
            .pick("dga", Some("1.0"))
            .unwrap()
            .instance
            .as_str()
            .parse::<usize>()
            .unwrap()] += 1;
    }
    // 2000 expected each; a fair draw leaves 1700..2300 less than once in 10^12 runs.
    assert!(
        drawn.iter().all(|count| (1700..=2300).contains(count)),
        "{drawn:?}"
    );
    session.close().await;
}

#[tokio::test]
async fn a_bad_entry_never_hides_its_neighbours() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let layout = Layout::default();
    let good = entry("dga", "1.0", "1", "http://node1:1");
    register(&session, &layout, &good).await;
    let folder = layout.service(&good.name);
    let disabled = String::from_utf8(entry("dga", "1.0", "off", "http://n:1").to_bytes()).unwrap();
    let disabled = disabled.replace("\"uriSpec\":null", "\"uriSpec\":null,\"enabled\":false");
    for (id, data) in [
        ("2", "garbage"),
        ("3", ""),
        ("4", "null"),
        ("5", "{\"name\":\"dga\"}"),
        ("off", disabled.as_str()),
    ] {
        session
            .create(&folder.join(id), data.as_bytes(), CreateMode::Persistent)
            .await
            .unwrap();
    }
    session
        .create(
            &layout.service_root.join("childless"),
            b"127.0.0.1",
            CreateMode::Persistent,
        )
        .await
        .unwrap();

    let listed = Registry::new(session.clone(), layout.clone())
        .list()
        .await
        .unwrap();
    assert_eq!(listed.len(), 6);
    assert_eq!(listed.iter().filter(|e| e.registration.is_err()).count(), 4);
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    assert_eq!(instances(&discovery, "dga", None), ["1"]);
    assert_eq!(discovery.snapshot().problems().len(), 4);

    // The bad one is mended, the good one stays the very same value.
    let before = discovery.pick("dga", None).unwrap();
    session
        .set(
            &folder.join("2"),
            &entry("dga", "1.1", "2", "http://node1:2").to_bytes(),
            None,
        )
        .await
        .unwrap();
    eventually(LIMIT, "the mended entry", async || {
        discovery.pick("dga", Some("1.1")).is_ok()
    })
    .await;
    assert!(std::sync::Arc::ptr_eq(
        &before,
        &discovery.pick("dga", Some("1.0")).unwrap()
    ));
    session.close().await;
}

#[tokio::test]
async fn lookups_go_on_while_zookeeper_is_away_and_catch_up_when_it_is_back() {
    let mut zookeeper = ZooKeeper::start().await;
    let config = SessionConfig {
        session_timeout: Duration::from_secs(30),
        ..SessionConfig::new(zookeeper.connect_string())
    };
    let session = Session::connect(config).await.unwrap();
    let layout = Layout::default();
    register(
        &session,
        &layout,
        &entry("dga", "1.0", "1", "http://node1:1"),
    )
    .await;
    let discovery = Discovery::start(&session, &layout).await.unwrap();

    zookeeper.kill().await;
    eventually(LIMIT, "the outage to be seen", async || {
        !session.health().borrow().connected
    })
    .await;
    assert_eq!(discovery.pick("dga", None).unwrap().instance.as_str(), "1");
    zookeeper.restart().await;

    // Registered by somebody else before we are back: nobody tells us of it but the new list.
    let other = Session::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    register(&other, &layout, &entry("dga", "1.0", "2", "http://node1:2")).await;
    eventually(LIMIT, "both", async || {
        instances(&discovery, "dga", None) == ["1", "2"]
    })
    .await;
    // And changes after that come by watch again.
    register(&other, &layout, &entry("dga", "1.0", "3", "http://node1:3")).await;
    eventually(LIMIT, "all three", async || {
        instances(&discovery, "dga", None) == ["1", "2", "3"]
    })
    .await;
    other.close().await;
    session.close().await;
}

#[tokio::test]
async fn lookups_go_on_when_the_clients_session_ends_and_catch_up_with_the_next_one() {
    let mut zookeeper = ZooKeeper::start().await;
    let connect = |timeout: u64| {
        Session::connect(SessionConfig {
            session_timeout: Duration::from_secs(timeout),
            ..SessionConfig::new(zookeeper.connect_string())
        })
    };
    // What is registered is to outlive the outage.
    let (copies, session) = (connect(40).await.unwrap(), connect(2).await.unwrap());
    let layout = Layout::default();
    register(
        &copies,
        &layout,
        &entry("dga", "1.0", "1", "http://node1:1"),
    )
    .await;
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    let first = session.health().borrow().generation;

    zookeeper.kill().await;
    let away = Instant::now();
    eventually(LIMIT, "the session to be over", async || {
        assert_eq!(discovery.pick("dga", None).unwrap().instance.as_str(), "1");
        away.elapsed() > Duration::from_secs(6)
    })
    .await;
    zookeeper.restart().await;
    eventually(LIMIT, "another session", async || {
        assert_eq!(discovery.pick("dga", None).unwrap().instance.as_str(), "1");
        session.health().borrow().generation != first
    })
    .await;
    register(
        &copies,
        &layout,
        &entry("dga", "1.0", "2", "http://node1:2"),
    )
    .await;
    eventually(LIMIT, "both", async || {
        instances(&discovery, "dga", None) == ["1", "2"]
    })
    .await;
    copies.close().await;
    session.close().await;
}

#[tokio::test]
async fn an_offer_is_one_item_and_its_identity_is_known_to_the_sender() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let layout = Layout::default();
    let queue = Queue::new(session.clone(), layout.clone());
    let first = queue.offer(b"first").await.unwrap();
    let second = queue.offer(b"second").await.unwrap();
    session
        .create(
            &layout.queue.join("queue-0000000000"),
            b"foreign",
            CreateMode::Persistent,
        )
        .await
        .unwrap();

    let waiting = queue.peek(10).await.unwrap();
    assert_eq!(
        waiting
            .iter()
            .map(|i| i.data.as_slice())
            .collect::<Vec<_>>(),
        [b"first".as_slice(), b"second"]
    );
    assert_eq!(waiting[0].path.name(), "qn-0000000000");
    assert!(waiting[0].identity().starts_with(&first.identity_prefix));
    assert!(waiting[1].identity().starts_with(&second.identity_prefix));
    assert_ne!(first, second);
    assert_eq!(waiting.len(), 2);
    let small = Layout {
        queue_limit: 3,
        ..layout.clone()
    };
    let refused = Queue::new(session.clone(), small).offer(b"third").await;
    assert!(
        matches!(
            refused,
            Err(OfferError::Full {
                waiting: 3,
                limit: 3,
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(
        session
            .children(&layout.offers_root())
            .await
            .unwrap()
            .is_empty(),
        "the marks are gone"
    );
    session.close().await;
}

/// A real HTTP server on a free port.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

#[tokio::test]
async fn a_model_is_found_by_name_and_applied() {
    let model = Router::new().route(
        "/score",
        get(|Query(args): Query<std::collections::HashMap<String, String>>| async move {
            Json(serde_json::json!({ "is_malicious": if args["host"] == "yahoo.com" { "legit" } else { "malicious" } }))
        }),
    );
    let url = serve(model).await;
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let mut registration = entry("dga", "1.0", "1", &url);
    registration.functions = [("apply", "score")].into_iter().collect();
    register(&session, &Layout::default(), &registration).await;

    let maas = MaasClient::connect(SessionConfig::new(zookeeper.connect_string()))
        .await
        .unwrap();
    let endpoint = maas.get_endpoint("dga", None).unwrap();
    assert_eq!(endpoint.url, url);
    let answer = maas
        .model_apply(&endpoint, None, &[("host", "yahoo.com")])
        .await
        .unwrap();
    assert_eq!(answer["is_malicious"], "legit");
    let answer = maas
        .model_apply(&endpoint, Some("apply"), &[("host", "caseystella.com")])
        .await
        .unwrap();
    assert_eq!(answer["is_malicious"], "malicious");
    maas.close().await;
    session.close().await;
}

#[tokio::test]
async fn a_call_that_gives_no_answer_says_whose_fault_it_was() {
    let model =
        Router::new()
            .route(
                "/echo",
                get(|RawQuery(query): RawQuery| async move {
                    Json(serde_json::json!({ "query": query }))
                }),
            )
            .route(
                "/moved",
                get(|| async { Redirect::permanent("/echo?moved=1") }),
            )
            .route("/circle", get(|| async { Redirect::temporary("/circle") }))
            .route(
                "/elsewhere",
                get(|| async {
                    (StatusCode::FOUND, [(header::LOCATION, "ftp://x/")]).into_response()
                }),
            )
            .route("/created", get(|| async { (StatusCode::CREATED, "{}") }))
            .route(
                "/broken",
                get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "boom") }),
            )
            .route("/list", get(|| async { "[1,2]" }))
            .route("/trailing", get(|| async { "{\"a\":1} and more" }))
            .route("/large", get(|| async { vec![b' '; 100_000] }))
            .route(
                "/mute",
                get(|| async { std::future::pending::<()>().await }),
            );
    let url = serve(model).await;
    let endpoint = maas_client::discovery::Endpoint::from(entry("m", "1", "1", &url));
    let options = ApplyOptions {
        deadline: Duration::from_secs(1),
        max_answer_bytes: 10_000,
        ..ApplyOptions::default()
    };
    let caller = Caller::new(options).unwrap();
    let call = async |function: &str| caller.apply(&endpoint, Some(function), &[]).await;

    assert_eq!(
        caller
            .apply(&endpoint, Some("/echo"), &[("a", "ü b")])
            .await
            .unwrap()["query"],
        "a=%C3%BC+b"
    );
    assert_eq!(call("moved").await.unwrap()["query"], "moved=1");
    assert_eq!(call("trailing").await.unwrap()["a"], 1);
    assert!(matches!(
        call("circle").await,
        Err(ApplyError::BadUrl { .. })
    ));
    assert!(matches!(
        call("elsewhere").await,
        Err(ApplyError::BadUrl { .. })
    ));
    assert!(matches!(
        call("created").await,
        Err(ApplyError::Status { status: 201, .. })
    ));
    let broken = call("broken").await.unwrap_err();
    assert!(
        broken.is_endpoints_fault() && broken.to_string().ends_with("answered 500: boom"),
        "{broken}"
    );
    assert!(
        !call("nothing").await.unwrap_err().is_endpoints_fault(),
        "a 404 is the caller's fault"
    );
    assert!(matches!(
        call("list").await,
        Err(ApplyError::NotAnObject { .. })
    ));
    assert!(matches!(
        call("large").await,
        Err(ApplyError::TooLarge { .. })
    ));
    assert!(matches!(
        call("mute").await,
        Err(ApplyError::Deadline { .. })
    ));

    let nobody = format!("http://127.0.0.1:{}", test_support::free_port());
    let endpoint = maas_client::discovery::Endpoint::from(entry("m", "1", "1", &nobody));
    let error = caller.apply(&endpoint, None, &[]).await.unwrap_err();
    assert!(
        matches!(error, ApplyError::Unreachable { .. }) && error.is_endpoints_fault(),
        "{error}"
    );
}

#[tokio::test]
async fn the_config_node_moves_everything_and_a_bad_one_is_named() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let node = ZnodePath::new("/metron/maas/config").unwrap();
    assert_eq!(
        Layout::read(&session, &node).await.unwrap(),
        Layout::default()
    );
    session.ensure(&node).await.unwrap();
    let error = Layout::read(&session, &node).await.unwrap_err();
    assert!(error.to_string().contains("/metron/maas/config"), "{error}");
    let config = br#"{"queue":"ZOOKEEPER","queueConfig":{"zk_path":"/q","maas_state_path":"/st"},"serviceRoot":"/s"}"#;
    session.set(&node, config, None).await.unwrap();
    let layout = Layout::read(&session, &node).await.unwrap();
    let paths = [
        layout.queue.as_str(),
        layout.service_root.as_str(),
        layout.desired_root().as_str(),
    ]
    .map(str::to_owned);
    assert_eq!(paths, ["/q", "/s", "/st/desired"]);
    session.close().await;
}

#[tokio::test]
async fn an_entry_that_may_not_be_read_never_hides_its_neighbours() {
    let zookeeper = ZooKeeper::shared().await;
    let session = session(&zookeeper).await;
    let layout = Layout::default();
    register(
        &session,
        &layout,
        &entry("dga", "1.0", "1", "http://node1:1"),
    )
    .await;
    // Somebody else's, readable by nobody but its owner.
    let owner = zookeeper_client::Client::connector().with_auth("digest", b"somebody:else");
    let owner = owner.connect(zookeeper.connect_string()).await.unwrap();
    let theirs = CreateMode::Persistent.with_acls(zookeeper_client::Acls::creator_all());
    owner
        .create("/maas/service/dga/2", b"secret", &theirs)
        .await
        .unwrap();
    owner
        .create("/maas/service/private", b"", &theirs)
        .await
        .unwrap();

    let listed = Registry::new(session.clone(), layout.clone())
        .list()
        .await
        .unwrap();
    assert_eq!(
        listed.iter().filter(|e| e.registration.is_err()).count(),
        2,
        "{listed:?}"
    );
    let discovery = Discovery::start(&session, &layout).await.unwrap();
    assert_eq!(instances(&discovery, "dga", None), ["1"]);
    assert_eq!(discovery.snapshot().problems().len(), 2);
    session.close().await;
}
