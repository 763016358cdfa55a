//! Asking a model whether it answers, before anyone is sent to it.
//!
//! To an `http` URL a real request is sent, and any HTTP answer will do, a 404 as well: it shows that a server reads what
//! it is sent. (Merely connecting would pass a server that never reads; and it would leave the simplest of servers, a
//! shell script around netcat, waiting for a request that never comes.) Any other scheme is only connected to.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks once.
///
/// # Errors
/// With what happened instead of an answer.
pub(super) async fn ask(url: &Url) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, exchange(url)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!(
            "{url} does not answer within {} s",
            PATIENCE.as_secs()
        )),
    }
}

async fn exchange(url: &Url) -> Result<(), String> {
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
    let mut stream = connected.map_err(|error| format!("{url} can't be connected to: {error}"))?;
    if url.scheme() != "http" {
        return Ok(());
    }
    let authority = url.host_str().unwrap_or_default();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {authority}:{port}\r\nUser-Agent: maas-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        url.path()
    );
    let failed =
        |error: std::io::Error| format!("{url} closed the connection without an answer: {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    if &answer != b"HTTP/" {
        return Err(format!("{url} answers, but not with HTTP"));
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
            ask(&server(answer).await).await.expect("it answered");
        }
    }

    #[tokio::test]
    async fn what_does_not_answer_or_not_with_http_is_told_apart() {
        assert!(
            ask(&server(b"SSH-2.0-x\r\n").await)
                .await
                .expect_err("ssh")
                .contains("not with HTTP")
        );
        assert!(
            ask(&server(b"").await)
                .await
                .expect_err("silence")
                .contains("without an answer")
        );
        let nobody =
            Url::parse(&format!("http://127.0.0.1:{}", test_support::free_port())).expect("a URL");
        assert!(
            ask(&nobody)
                .await
                .expect_err("nobody")
                .contains("can't be connected to")
        );
    }
}
