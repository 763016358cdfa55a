//! Calls to models that mean no good: each ends in time, with a bounded answer, and says what was wrong.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

use std::time::{Duration, Instant};

use maas_client::apply::{ApplyError, ApplyOptions, Caller};
use maas_client::discovery::Endpoint;
use maas_client::endpoint_url::EndpointUrl;
use maas_client::wire::endpoint_dat::Functions;
use maas_client::wire::registration::Registration;
use maas_client::{InstanceId, ModelName, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(1);
const MAX_ANSWER: usize = 100_000;

/// Calls a model that, once it has been asked, does `what` with the connection. Gives the error, and how long that took.
async fn call<F: Future<Output = ()> + Send>(
    what: impl Fn(TcpStream) -> F + Send + 'static,
) -> (ApplyError, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            what(stream).await;
        }
    });
    let endpoint = Endpoint::from(Registration {
        name: ModelName::new("m").unwrap(),
        version: Version::new("1").unwrap(),
        instance: InstanceId::generate(),
        url: EndpointUrl::parse(&url).unwrap(),
        functions: Functions::default(),
        registered_ms: 1,
    });
    let options = ApplyOptions {
        deadline: DEADLINE,
        max_answer_bytes: MAX_ANSWER,
        ..ApplyOptions::default()
    };
    let began = Instant::now();
    let caller = Caller::new(options).unwrap();
    let answer = caller.apply(&endpoint, None, &[]);
    (answer.await.unwrap_err(), began.elapsed())
}

/// Writes as fast or slowly as it should, until the caller has gone.
async fn write_for_ever(mut stream: TcpStream, head: &[u8], piece: Vec<u8>, pause: Duration) {
    if stream.write_all(head).await.is_err() {
        return;
    }
    while stream.write_all(&piece).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

/// F22: each byte comes soon after the last one, and the answer never.
#[tokio::test]
async fn an_answer_that_drips_ends_with_the_deadline_of_the_whole_call() {
    const PAUSE: Duration = Duration::from_millis(50);
    let heads: [&[u8]; 3] = [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
    ];
    for head in heads {
        let (error, took) =
            call(move |stream| write_for_ever(stream, head, b" ".to_vec(), PAUSE)).await;
        // Some are no HTTP before they are late; none is waited for any longer.
        let in_time = matches!(error, ApplyError::Deadline { .. })
            || matches!(error, ApplyError::Unreachable { .. });
        assert!(in_time && error.is_endpoints_fault(), "{error:?}");
        assert!(took < DEADLINE * 2, "{took:?}");
    }
}

/// F23: a body, a head or one line of it without end.
#[tokio::test]
async fn an_answer_without_end_is_cut_off_and_named() {
    let endless = |head: &'static [u8], piece: &'static [u8]| {
        call(move |stream| write_for_ever(stream, head, piece.repeat(1000), Duration::ZERO))
    };
    let (error, took) = endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"4\r\nxxxx\r\n",
    )
    .await;
    assert!(
        matches!(error, ApplyError::TooLarge { limit, .. } if limit == MAX_ANSWER),
        "{error:?}"
    );
    assert!(took < DEADLINE, "{took:?}");
    let (error, _) = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"y").await;
    assert!(matches!(error, ApplyError::TooLarge { .. }), "{error:?}");
    let (error, took) = endless(b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n").await;
    assert!(matches!(error, ApplyError::Unreachable { .. }), "{error:?}");
    assert!(took < DEADLINE * 2, "{took:?}");
}
