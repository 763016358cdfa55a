//! Calling a model over HTTP.
//!
//! The call is Metron's: `GET <url>/<function>?<args>` with `accept: application/json`, arguments encoded as a form in
//! UTF-8, and an answer that counts only with status 200 and a JSON object. What Metron's lacks is here: deadlines, a
//! bounded answer, connections that are kept and shared, redirects that end, and errors that say whose fault it was.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HeaderValue, LOCATION};
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value};
use url::Url;

use crate::discovery::Endpoint;

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
        match self {
            Self::Unreachable { .. } | Self::Deadline { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::BadUrl { .. }
            | Self::TooLarge { .. }
            | Self::NotAnObject { .. }
            | Self::Tls { .. } => false,
        }
    }
}

/// An endpoint's URL, taken apart once so that calls only put a path to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallTarget {
    /// Scheme and authority, or why there are none.
    base: Result<(Scheme, hyper::http::uri::Authority), String>,
    /// Ends with `/`.
    path: String,
    query: Option<String>,
}

impl CallTarget {
    pub(crate) fn new(url: &Url) -> Self {
        let base = match url.scheme() {
            "http" => Ok(Scheme::HTTP),
            "https" => Ok(Scheme::HTTPS),
            other => Err(format!(
                "`{other}` is not a scheme that can be called; http and https are"
            )),
        };
        let authority = url.host_str().map(|host| match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        });
        let base = base.and_then(|scheme| {
            let authority = authority.ok_or_else(|| "it has no host".to_owned())?;
            Ok((
                scheme,
                authority
                    .parse()
                    .map_err(|e| format!("its host can't be used: {e}"))?,
            ))
        });
        let path = url.path();
        let path = if path.ends_with('/') {
            path.to_owned()
        } else {
            format!("{path}/")
        };
        Self {
            base,
            path,
            query: url.query().map(str::to_owned),
        }
    }

    /// `<url>/<function>?<args>`. The URL's own query, if any, comes first.
    fn uri(&self, function: &str, args: &[(&str, &str)]) -> Result<Uri, String> {
        let (scheme, authority) = self.base.as_ref().map_err(Clone::clone)?;
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
        let uri = Uri::builder()
            .scheme(scheme.clone())
            .authority(authority.clone())
            .path_and_query(path);
        uri.build().map_err(|e| e.to_string())
    }
}

/// Makes calls; keeps and shares connections. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    http: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    options: ApplyOptions,
}

impl Caller {
    /// Sets up the HTTP side.
    ///
    /// # Errors
    /// [`ApplyError::Tls`] when the TLS side can't be set up.
    pub fn new(options: ApplyOptions) -> Result<Self, ApplyError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let provider = rustls::crypto::ring::default_provider();
        let tls =
            match HttpsConnectorBuilder::new().with_provider_and_native_roots(provider.clone()) {
                Ok(trusting) => trusting,
                // A machine without installed certificates can still call http; calls by https will say what is missing.
                Err(_) => HttpsConnectorBuilder::new().with_tls_config(trusting_nobody(provider)?),
            };
        let connector = tls.https_or_http().enable_http1().wrap_connector(connector);
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build(connector),
            options,
        })
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
        let uri = endpoint
            .target
            .uri(path, args)
            .map_err(|why| ApplyError::BadUrl {
                url: endpoint.url.clone(),
                why,
            })?;
        // Only errors need the URL as text, and most calls have none.
        let url = uri.clone();
        match tokio::time::timeout(self.options.deadline, self.get(uri)).await {
            Ok(answer) => answer,
            Err(_) => Err(ApplyError::Deadline {
                url: url.to_string(),
                deadline: self.options.deadline,
            }),
        }
    }

    async fn get(&self, mut uri: Uri) -> Result<Map<String, Value>, ApplyError> {
        let mut redirects = 0;
        let response = loop {
            let mut request = Request::new(Empty::new());
            *request.uri_mut() = uri.clone();
            request
                .headers_mut()
                .insert(ACCEPT, HeaderValue::from_static("application/json"));
            let response =
                self.http
                    .request(request)
                    .await
                    .map_err(|e| ApplyError::Unreachable {
                        url: uri.to_string(),
                        source: e.into(),
                    })?;
            match redirect(&uri, &response)? {
                Some(next) if redirects < self.options.max_redirects => {
                    redirects += 1;
                    uri = next;
                }
                Some(_) => {
                    let why = format!(
                        "it redirected more than {} times",
                        self.options.max_redirects
                    );
                    return Err(ApplyError::BadUrl {
                        url: uri.to_string(),
                        why,
                    });
                }
                None => break response,
            }
        };
        let status = response.status();
        let body = self.body(&uri, response).await?;
        if status != StatusCode::OK {
            return Err(ApplyError::Status {
                url: uri.to_string(),
                status: status.as_u16(),
                excerpt: excerpt(&body),
            });
        }
        // Text behind the object is ignored, as Metron ignores it.
        let mut documents = serde_json::Deserializer::from_slice(&body);
        serde::Deserialize::deserialize(&mut documents).map_err(|_| ApplyError::NotAnObject {
            url: uri.to_string(),
            excerpt: excerpt(&body),
        })
    }

    async fn body(&self, uri: &Uri, response: Response<Incoming>) -> Result<Bytes, ApplyError> {
        let limit = self.options.max_answer_bytes;
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ApplyError::TooLarge {
                url: uri.to_string(),
                limit,
            }),
            Err(source) => Err(ApplyError::Unreachable {
                url: uri.to_string(),
                source,
            }),
        }
    }
}

fn trusting_nobody(
    provider: rustls::crypto::CryptoProvider,
) -> Result<rustls::ClientConfig, ApplyError> {
    let builder = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| ApplyError::Tls { source })?;
    Ok(builder
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Where a redirecting answer to a GET points to.
fn redirect(from: &Uri, response: &Response<Incoming>) -> Result<Option<Uri>, ApplyError> {
    let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let bad = |why: String| ApplyError::BadUrl {
        url: from.to_string(),
        why,
    };
    let location = location
        .to_str()
        .map_err(|_| bad("it redirects to a place that is no text".to_owned()))?;
    let next = Url::parse(&from.to_string())
        .and_then(|base| base.join(location))
        .map_err(|e| bad(format!("it redirects to `{location}`: {e}")))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(bad(format!("it redirects to `{next}`, which is not http")));
    }
    next.as_str()
        .parse()
        .map(Some)
        .map_err(|e| bad(format!("it redirects to `{next}`: {e}")))
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
        CallTarget::new(&Url::parse(url).expect("a URL"))
            .uri(function, args)
            .expect("a URI")
            .to_string()
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
        assert!(target.uri("apply", &[]).expect_err("ftp").contains("ftp"));
    }
}
