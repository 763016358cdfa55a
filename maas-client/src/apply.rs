//! Calling a model over HTTP.
//!
//! The call is Metron's: `GET <url>/<function>?<args>` with `accept: application/json`, arguments encoded as a form in
//! UTF-8, and an answer that counts only with status 200 and a JSON object. What Metron's lacks is here: deadlines, a
//! bounded answer, connections that are kept and shared, redirects that end, and errors that say whose fault it was.

mod connections;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HOST, HeaderValue, LOCATION};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use url::Url;

use crate::discovery::{Endpoint, Snapshot};
use crate::ejection::Fault;
use connections::{Connections, Server};

/// How calls are made.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// How long a call may take in all.
    pub deadline: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// The most bytes an answer may have.
    pub max_answer_bytes: usize,
    /// How many redirects are followed.
    pub max_redirects: usize,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            max_answer_bytes: 16 * 1024 * 1024,
            max_redirects: 5,
        }
    }
}

/// Why a call gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The endpoint's URL, the function or a redirect can't be called. The caller's fault, or the registrar's.
    #[error("`{url}` can't be called: {why}")]
    BadUrl {
        /// What was to be called.
        url: String,
        /// Why it can't.
        why: String,
    },
    /// The model could not be reached, or the connection broke.
    #[error("`{url}` can't be reached")]
    Unreachable {
        /// What was called.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model did not answer in time.
    #[error("`{url}` did not answer within {} ms", deadline.as_millis())]
    Deadline {
        /// What was called.
        url: String,
        /// How long it had.
        deadline: Duration,
    },
    /// The model answered with another status than 200.
    #[error("`{url}` answered {status}: {excerpt}")]
    Status {
        /// What was called.
        url: String,
        /// The status.
        status: u16,
        /// How the answer begins.
        excerpt: String,
    },
    /// The answer is larger than allowed.
    #[error("the answer of `{url}` has more than {limit} bytes")]
    TooLarge {
        /// What was called.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is no JSON object.
    #[error("the answer of `{url}` is no JSON object: {excerpt}")]
    NotAnObject {
        /// What was called.
        url: String,
        /// How the answer begins.
        excerpt: String,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS can't be set up")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl ApplyError {
    /// Whether the copy that was called is at fault, so that another one might do better.
    #[must_use]
    pub fn is_endpoints_fault(&self) -> bool {
        self.fault().is_some()
    }

    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Unreachable { .. } => Some(Fault::Unreachable),
            Self::Deadline { .. } => Some(Fault::Silent),
            Self::Status { status, .. } if *status >= 500 => Some(Fault::Status(*status)),
            Self::Status { .. }
            | Self::BadUrl { .. }
            | Self::TooLarge { .. }
            | Self::NotAnObject { .. }
            | Self::Tls { .. } => None,
        }
    }
}

/// An endpoint's URL, taken apart once so that calls only put a path to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallTarget {
    /// Or why there is none that can be called.
    server: Result<Server, String>,
    /// Ends with `/`.
    path: String,
    query: Option<String>,
}

impl CallTarget {
    pub(crate) fn new(url: &Url) -> Self {
        let path = url.path();
        let path = if path.ends_with('/') {
            path.to_owned()
        } else {
            format!("{path}/")
        };
        Self {
            server: server_of(url),
            path,
            query: url.query().map(str::to_owned),
        }
    }

    /// `<url>/<function>?<args>`. The URL's own query, if any, comes first.
    fn uri(&self, function: &str, args: &[(&str, &str)]) -> Result<Uri, String> {
        let function = function.strip_prefix('/').unwrap_or(function);
        let (function, function_query) = match function.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (function, None),
        };
        let capacity = self.path.len()
            + function.len()
            + args
                .iter()
                .map(|(k, v)| k.len() + v.len() + 2)
                .sum::<usize>();
        let mut text = String::with_capacity(capacity + 1);
        text.push_str(&self.path);
        text.push_str(function);
        let mut separator = '?';
        for query in [self.query.as_deref(), function_query]
            .into_iter()
            .flatten()
        {
            text.push(separator);
            text.push_str(query);
            separator = '&';
        }
        if !args.is_empty() {
            text.push(separator);
            let start = text.len();
            let mut form = form_urlencoded::Serializer::for_suffix(text, start);
            for (key, value) in args {
                form.append_pair(key, value);
            }
            text = form.finish();
        }
        let path = PathAndQuery::from_maybe_shared(Bytes::from(text)).map_err(|e| e.to_string())?;
        Ok(Uri::from(path))
    }
}

/// The server a URL leads to.
fn server_of(url: &Url) -> Result<Server, String> {
    let scheme = match url.scheme() {
        "http" => Scheme::HTTP,
        "https" => Scheme::HTTPS,
        other => {
            return Err(format!(
                "`{other}` is not a scheme that can be called; http and https are"
            ));
        }
    };
    let host = url.host_str().ok_or_else(|| "it has no host".to_owned())?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let authority = authority
        .parse()
        .map_err(|error| format!("its host can't be used: {error}"))?;
    Server::new(scheme, authority)
}

/// Makes calls; keeps and shares connections. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    connections: Arc<Connections>,
    options: ApplyOptions,
    /// Who is told that a copy was put out.
    failed: Option<mpsc::Sender<()>>,
}

impl Caller {
    /// Sets up the HTTP side.
    ///
    /// # Errors
    /// [`ApplyError::Tls`] when the TLS side can't be set up.
    pub fn new(options: ApplyOptions) -> Result<Self, ApplyError> {
        Ok(Self {
            connections: Connections::new(options.connect_timeout)?,
            options,
            failed: None,
        })
    }

    /// The same, and something to hear by that a copy was put out.
    pub(crate) fn heard(mut self) -> (Self, mpsc::Receiver<()>) {
        let (failed, hear) = mpsc::channel(1);
        self.failed = Some(failed);
        (self, hear)
    }

    /// Calls a function of a model. An alias of the model's `functions` stands for its path; any other text is the path
    /// itself; none is the alias `apply`.
    ///
    /// # Errors
    /// [`ApplyError`] tells the caller's faults from the model's.
    pub async fn apply(
        &self,
        endpoint: &Endpoint,
        function: Option<&str>,
        args: &[(&str, &str)],
    ) -> Result<Map<String, Value>, ApplyError> {
        let alias = function.unwrap_or("apply");
        let path = endpoint.functions.get(alias).unwrap_or(alias);
        let bad_url = |why: String| ApplyError::BadUrl {
            url: endpoint.url.clone(),
            why,
        };
        let server = endpoint
            .target
            .server
            .as_ref()
            .map_err(|why| bad_url(why.clone()))?;
        let uri = endpoint.target.uri(path, args).map_err(bad_url)?;
        let called = tokio::time::timeout(self.options.deadline, self.get(server, &uri)).await;
        let answer = called.unwrap_or_else(|_| {
            Err(ApplyError::Deadline {
                url: server.uri(&uri),
                deadline: self.options.deadline,
            })
        });
        match answer.as_ref().err().and_then(ApplyError::fault) {
            None => endpoint.conduct.note_good(),
            Some(fault) => {
                if endpoint.conduct.note_bad(fault)
                    && let Some(failed) = &self.failed
                {
                    // One word that waits to be heard is as good as two.
                    let _ = failed.try_send(());
                }
            }
        }
        answer
    }

    /// Closes the connections that nobody uses to servers that are in the registry no more, and keeps none to them. They
    /// are about to end, and wait for their callers.
    pub(crate) fn follow(&self, before: &Snapshot, now: &Snapshot) {
        fn servers(snapshot: &Snapshot) -> HashSet<&Server> {
            let all = snapshot.all();
            all.filter_map(|endpoint| endpoint.target.server.as_ref().ok())
                .collect()
        }
        let (before, now) = (servers(before), servers(now));
        self.connections.depart(before.difference(&now).copied());
        self.connections.arrive(now.difference(&before).copied());
    }

    async fn get(&self, server: &Server, path: &Uri) -> Result<Map<String, Value>, ApplyError> {
        let mut place = (server.clone(), path.clone());
        for _ in 0..=self.options.max_redirects {
            let (server, path) = &place;
            match self.get_once(server, path).await? {
                Answer::Object(object) => return Ok(object),
                Answer::Elsewhere(next) => place = next,
            }
        }
        let why = format!(
            "it redirected more than {} times",
            self.options.max_redirects
        );
        Err(ApplyError::BadUrl {
            url: server.uri(path),
            why,
        })
    }

    async fn get_once(&self, server: &Server, path: &Uri) -> Result<Answer, ApplyError> {
        let url = || server.uri(path);
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.clone();
        request.headers_mut().insert(HOST, server.host().clone());
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        let sent = self.connections.send(server, request).await;
        let (response, lease) =
            sent.map_err(|source| ApplyError::Unreachable { url: url(), source })?;
        let status = response.status();
        let next = redirect(&url, &response)?;
        let limit = self.options.max_answer_bytes;
        let body = match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ApplyError::TooLarge { url: url(), limit });
            }
            Err(source) => return Err(ApplyError::Unreachable { url: url(), source }),
        };
        lease.give_back();
        if let Some(next) = next {
            return Ok(Answer::Elsewhere(next));
        }
        if status != StatusCode::OK {
            return Err(ApplyError::Status {
                url: url(),
                status: status.as_u16(),
                excerpt: excerpt(&body),
            });
        }
        // Text behind the object is ignored, as Metron ignores it.
        let mut documents = serde_json::Deserializer::from_slice(&body);
        match serde::Deserialize::deserialize(&mut documents) {
            Ok(object) => Ok(Answer::Object(object)),
            Err(_) => Err(ApplyError::NotAnObject {
                url: url(),
                excerpt: excerpt(&body),
            }),
        }
    }
}

/// What one request gave.
enum Answer {
    Object(Map<String, Value>),
    /// Ask there instead.
    Elsewhere((Server, Uri)),
}

/// Where a redirecting answer to a GET points to.
fn redirect(
    from: &impl Fn() -> String,
    response: &Response<Incoming>,
) -> Result<Option<(Server, Uri)>, ApplyError> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let bad = |why: String| ApplyError::BadUrl { url: from(), why };
    let location = location
        .to_str()
        .map_err(|_| bad("it redirects to a place that is no text".to_owned()))?;
    let next = Url::parse(&from())
        .and_then(|base| base.join(location))
        .map_err(|e| bad(format!("it redirects to `{location}`: {e}")))?;
    let elsewhere = |why: String| bad(format!("it redirects to `{next}`: {why}"));
    let server = server_of(&next).map_err(elsewhere)?;
    let path = next[url::Position::BeforePath..url::Position::AfterQuery].parse();
    Ok(Some((
        server,
        path.map_err(|e: hyper::http::uri::InvalidUri| elsewhere(e.to_string()))?,
    )))
}

/// How an answer begins, for an error message.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let text = text.trim();
    if text.is_empty() {
        "(empty)".to_owned()
    } else {
        text.escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(url: &str, function: &str, args: &[(&str, &str)]) -> String {
        let target = CallTarget::new(&Url::parse(url).expect("a URL"));
        let path = target.uri(function, args).expect("a URI");
        target.server.expect("a server").uri(&path)
    }

    #[test]
    fn the_function_is_put_behind_the_url_with_one_slash() {
        for (url, function) in [
            ("http://n:1", "apply"),
            ("http://n:1/", "apply"),
            ("http://n:1/", "/apply"),
        ] {
            assert_eq!(uri(url, function, &[]), "http://n:1/apply");
        }
        assert_eq!(
            uri("http://n/base", "x/y", &[("k", "v")]),
            "http://n/base/x/y?k=v"
        );
        assert_eq!(uri("http://[::1]:80/", "a", &[]), "http://[::1]/a");
    }

    #[test]
    fn a_url_that_has_a_query_keeps_it() {
        assert_eq!(
            uri("http://n/base?q=1", "apply", &[("host", "x")]),
            "http://n/base/apply?q=1&host=x"
        );
        assert_eq!(
            uri("http://n", "apply?f=1", &[("host", "x")]),
            "http://n/apply?f=1&host=x"
        );
    }

    #[test]
    fn arguments_are_encoded_as_java_encodes_them() {
        let encoded = uri("http://n", "f", &[("host", "a b&c=é/*~._-+%"), ("k", "")]);
        assert_eq!(
            encoded,
            "http://n/f?host=a+b%26c%3D%C3%A9%2F*%7E._-%2B%25&k="
        );
    }

    #[test]
    fn what_is_not_http_cannot_be_called() {
        let target = CallTarget::new(&Url::parse("ftp://n/x").expect("a URL"));
        assert!(target.server.expect_err("ftp").contains("ftp"));
    }
}
