//! Asking a model whether it answers: before anyone is sent to it, and from time to time afterwards.
//!
//! Before, a real request is sent to an `http` URL, and any HTTP answer will do, a 404 as well: it shows that a server reads
//! what it is sent. (Merely connecting would pass a server that never reads; and it would leave the simplest of servers, a
//! shell script around netcat, waiting for a request that never comes.) Any other scheme is only connected to. Afterwards
//! a connection is enough, for a request costs a model's time. A bundle that names a path for its health is asked there,
//! before and afterwards, and the answer's status counts.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::warn;
use url::{Host, Url};

use super::place::Place;

/// How long one question may take before a copy serves.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a serving model may fail to answer before it is taken for dead.
const TRIES: u32 = 3;

/// Asks a model that does not serve yet whether it answers; with `health`, whether it is well.
///
/// # Errors
/// With what happened instead of an answer.
pub(super) async fn ask(url: &Url, health: Option<&str>) -> Result<(), String> {
    within(PATIENCE, url, exchange(url, health)).await
}

/// Looks after a serving model from time to time; tells when it was not well three times in a row.
pub(super) async fn fall_silent(place: &Place, health: Option<&str>, interval: Duration) -> String {
    let url = place.url.url();
    // Who is asked often is expected to answer soon.
    let patience = interval.clamp(Duration::from_secs(1), PATIENCE);
    let mut silent = 0;
    loop {
        tokio::time::sleep(interval).await;
        let answer = match health {
            Some(_) => within(patience, url, exchange(url, health)).await,
            None => within(patience, url, connect(url)).await.map(drop),
        };
        match answer {
            Ok(()) => silent = 0,
            Err(why) if silent + 1 >= TRIES => {
                return format!("the model answers no more: {why}");
            }
            Err(why) => {
                silent += 1;
                warn!(silent, reason = %why, "the model did not answer");
            }
        }
    }
}

async fn within<T>(
    patience: Duration,
    url: &Url,
    question: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience, question).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!(
            "{url} does not answer within {} s",
            patience.as_secs()
        )),
    }
}

async fn connect(url: &Url) -> Result<TcpStream, String> {
    let port = url
        .port_or_known_default()
        .ok_or_else(|| format!("{url} has no port"))?;
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => return Err(format!("{url} has no host")),
    };
    let connected = TcpStream::connect((host.as_str(), port)).await;
    connected.map_err(|error| format!("{url} can't be connected to: {error}"))
}

async fn exchange(url: &Url, health: Option<&str>) -> Result<(), String> {
    let mut stream = connect(url).await?;
    if url.scheme() != "http" {
        return match health {
            None => Ok(()),
            Some(_) => Err(format!(
                "maas.json names a path for its health, and that can be asked by http only; the model answers at {url}"
            )),
        };
    }
    let path = health.unwrap_or(url.path());
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: maas-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    let failed =
        |error: std::io::Error| format!("{url} closed the connection without an answer: {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    // `HTTP/1.1 200`, and what comes behind it does not matter.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer[..5]).await.map_err(failed)?;
    if &answer[..5] != b"HTTP/" {
        return Err(format!("{url} answers, but not with HTTP"));
    }
    if health.is_some() {
        stream.read_exact(&mut answer[5..]).await.map_err(failed)?;
        let status = std::str::from_utf8(&answer[9..]).unwrap_or_default();
        if !status.starts_with(['2', '3']) {
            return Err(format!(
                "it is not well: {path} of {url} answers with status {}",
                status.escape_debug()
            ));
        }
    }
    // Take the rest, so that the server is not cut off in the middle of its answer; but not for long.
    let mut rest = Vec::new();
    let mut stream = stream.take(64 * 1024);
    let drained = tokio::time::timeout(Duration::from_millis(100), stream.read_to_end(&mut rest));
    let _whether_it_ends_is_not_the_question = drained.await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `answer` after it has read a line, and gives the URL to ask at.
    async fn server(answer: &'static [u8]) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = Url::parse(&format!(
            "http://{}",
            listener.local_addr().expect("its address")
        ))
        .expect("a URL");
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut first = [0; 4];
            stream.read_exact(&mut first).await.expect("a request");
            assert_eq!(&first, b"GET ");
            stream.write_all(answer).await.expect("written");
        });
        url
    }

    #[tokio::test]
    async fn any_http_answer_will_do_with_bare_line_feeds_as_well() {
        for answer in [
            b"HTTP/1.1 404 Not Found\r\n\r\n".as_slice(),
            b"HTTP/1.1 200 OK\nLocation: /\n\nhello",
        ] {
            ask(&server(answer).await, None).await.expect("it answered");
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_or_not_with_http_is_told_apart() {
        assert!(
            ask(&server(b"SSH-2.0-x\r\n").await, None)
                .await
                .expect_err("ssh")
                .contains("not with HTTP")
        );
        assert!(
            ask(&server(b"").await, None)
                .await
                .expect_err("silence")
                .contains("without an answer")
        );
        let nobody =
            Url::parse(&format!("http://127.0.0.1:{}", test_support::free_port())).expect("a URL");
        assert!(
            ask(&nobody, None)
                .await
                .expect_err("nobody")
                .contains("can't be connected to")
        );
    }

    #[tokio::test]
    async fn who_names_a_path_for_its_health_must_be_well_there() {
        let health =
            async |answer: &'static [u8]| ask(&server(answer).await, Some("/health")).await;
        for well in [
            b"HTTP/1.1 200 OK\r\n\r\n".as_slice(),
            b"HTTP/1.0 302 Found\n\n",
        ] {
            health(well).await.expect("well");
        }
        for (ill, why) in [
            (b"HTTP/1.1 503 Loading\r\n\r\n".as_slice(), "status 503"),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", "/health of http"),
            (b"HTTP/1.1", "without an answer"),
        ] {
            let told = health(ill).await.expect_err("ill");
            assert!(told.contains(why), "{told}");
        }
    }
}
