//! Web services: a mapping says what to ask and where in the answer the features are.
//!
//! The service's address is the operator's word, never the indicator's: an indicator only ever goes, percent-encoded, into a
//! path or a query. Redirects are not followed, for they would carry our key to wherever the answer says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Content, Exchange, Failure, Question, Source, SubjectForm};
use crate::feature::{Category, FeatureSpec};
use crate::gate::Leaks;
use crate::mapping::{Body, KeyPlace, Mapping, RecentDomainsMapping, RequestMapping};

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// What need not be encoded in a path or a query.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const US: HeaderValue = HeaderValue::from_static(concat!("macula/", env!("CARGO_PKG_VERSION")));

/// Which of the names of an address are wanted.
struct Within {
    limit: usize,
    days: u16,
    from: Timestamp,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// What the settings say of a service.
#[derive(Clone, Default)]
pub struct HttpSourceConfig {
    /// Where it answers, if not where the mapping says.
    pub base_url: Option<String>,
    /// Our key.
    pub key: Option<String>,
    /// The words its requests need besides.
    pub parameters: BTreeMap<String, String>,
}

impl fmt::Debug for HttpSourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|_| "…");
        f.debug_struct("HttpSourceConfig")
            .field("base_url", &self.base_url)
            .field("key", &key)
            .field("parameters", &self.parameters.keys())
            .finish()
    }
}

/// A web service.
pub struct HttpSource {
    mapping: Mapping,
    features: Vec<FeatureSpec>,
    base_url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    query_key: Option<(String, String)>,
    parameters: BTreeMap<String, String>,
    client: HttpClient,
    timeout: Duration,
}

impl HttpSource {
    /// A service as its mapping and the settings describe it.
    ///
    /// # Errors
    /// When the settings lack what the mapping needs, or hold what no header or URL can.
    pub fn new(mapping: Mapping, config: HttpSourceConfig) -> Result<HttpSource, HttpSourceError> {
        let base_url = config.base_url.unwrap_or_else(|| mapping.base_url.clone());
        let base_url = base_url.trim_end_matches('/').to_owned();
        let parsed: Option<Uri> = base_url.parse().ok();
        let scheme = parsed.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(HttpSourceError::BaseUrl(base_url));
        }
        for name in &mapping.parameters {
            if !config.parameters.contains_key(name) {
                return Err(HttpSourceError::Parameter(name.clone()));
            }
        }
        let mut headers = vec![(USER_AGENT, US)];
        for (name, value) in &mapping.headers {
            let value = fill(value, &config.parameters, str::to_owned);
            headers.push(header(name, &value)?);
        }
        let mut query_key = None;
        if let Some(place) = &mapping.key {
            let key = config.key.ok_or(HttpSourceError::Key)?;
            match place {
                KeyPlace::Header(name) => headers.push(secret_header(name, &key)?),
                KeyPlace::Basic => {
                    let basic = format!("Basic {}", BASE64_STANDARD.encode(&key));
                    headers.push(secret_header(AUTHORIZATION.as_str(), &basic)?);
                }
                KeyPlace::Bearer => {
                    let bearer = format!("Bearer {key}");
                    headers.push(secret_header(AUTHORIZATION.as_str(), &bearer)?);
                }
                KeyPlace::Query(name) => query_key = Some((name.clone(), key)),
            }
        }
        Ok(HttpSource {
            features: mapping.features(),
            timeout: mapping.timeout.0,
            base_url,
            headers,
            query_key,
            parameters: config.parameters,
            client: client()?,
            mapping,
        })
    }

    /// What is asked, which of the requests that is, and how the indicator is written there.
    fn request_for(&self, question: &Question) -> Option<(usize, &RequestMapping, String)> {
        let indicator = question.indicator();
        let mut requests = self.mapping.requests.iter().enumerate();
        requests.find_map(|(at, request)| {
            let subject = request.subject.of(&indicator)?;
            Some((at, request, subject))
        })
    }

    fn url(
        &self,
        path: &str,
        query: &BTreeMap<String, String>,
        words: &BTreeMap<String, String>,
    ) -> String {
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let mut url = format!("{}{}", self.base_url, fill(path, words, encode));
        let key = self.query_key.iter().map(|(name, key)| (name, key.clone()));
        let plain = |text: &str| text.to_owned();
        let pairs = query
            .iter()
            .map(|(name, value)| (name, fill(value, words, plain)));
        for (at, (name, value)) in pairs.chain(key).enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(&encode(name));
            url.push('=');
            url.push_str(&encode(&value));
        }
        url
    }

    /// Puts one request and reads the answer's document.
    async fn fetch(&self, url: &str, body: Body) -> Exchange {
        let mut exchange = Exchange::new(Err(Failure::Timeout));
        let fetched = tokio::time::timeout(self.timeout, self.exchange(url, body, &mut exchange));
        exchange.result = match fetched.await {
            Ok(Ok(document)) => {
                exchange.document = document;
                Ok(Content::Nothing)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Timeout),
        };
        exchange
    }

    async fn exchange(
        &self,
        url: &str,
        body: Body,
        exchange: &mut Exchange,
    ) -> Result<Option<serde_json::Value>, Failure> {
        let mut request = Request::get(url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        // The URL may hold the key, and the error the URL: neither is shown.
        let request = request
            .body(Empty::new())
            .map_err(|_| Failure::Malformed("the request makes no URL".into()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| Failure::Unreachable(cause(&error)))?;
        exchange.status = Some(response.status().as_u16());
        check_status(&response)?;
        if nothing_is_known(response.status()) {
            return Ok(None);
        }
        let bytes = read(response).await?;
        exchange.bytes = bytes.len();
        body.parse(&bytes).map(Some).map_err(Failure::Malformed)
    }

    async fn ask_features(&self, question: &Question, subject: &str, now: Timestamp) -> Exchange {
        let Some((at, request, _)) = self.request_for(question) else {
            return Exchange::new(Ok(Content::Nothing));
        };
        let words = self.words([("subject", subject.to_owned())]);
        let url = self.url(&request.path, &request.query, &words);
        let mut exchange = self.fetch(&url, request.body).await;
        exchange.request = at;
        if let Some(document) = &exchange.document {
            exchange.result = request.read(document, now);
        }
        exchange
    }

    async fn ask_domains(
        &self,
        mapping: &RecentDomainsMapping,
        subject: &str,
        within: &Within,
    ) -> Exchange {
        let seconds = u64::from(within.days) * 24 * 60 * 60;
        let words = self.words([
            ("subject", subject.to_owned()),
            ("limit", within.limit.to_string()),
            ("days", within.days.to_string()),
            ("seconds", seconds.to_string()),
        ]);
        let url = self.url(&mapping.path, &mapping.query, &words);
        let mut exchange = self.fetch(&url, mapping.body).await;
        exchange.request = self.mapping.requests.len();
        if let Some(document) = &exchange.document {
            exchange.result = mapping.read(document, within.limit, within.from);
        }
        exchange
    }

    fn words<const N: usize>(&self, more: [(&str, String); N]) -> BTreeMap<String, String> {
        let more = more.map(|(name, value)| (name.to_owned(), value));
        self.parameters.clone().into_iter().chain(more).collect()
    }
}

impl Source for HttpSource {
    fn name(&self) -> &str {
        &self.mapping.name
    }

    fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    fn categories(&self) -> BTreeSet<Category> {
        // One that tells names only has no features.
        let features = self.features.iter();
        let categories = features.map(|feature| feature.category);
        categories.chain([self.mapping.category]).collect()
    }

    fn leaks(&self) -> Leaks {
        self.mapping.leaks()
    }

    fn version(&self) -> &str {
        self.mapping.version()
    }

    fn subject(&self, question: &Question) -> Option<String> {
        match question {
            Question::Features(_) => self.request_for(question).map(|(.., subject)| subject),
            Question::RecentDomains { .. } => {
                self.mapping.recent_domains.as_ref()?;
                SubjectForm::Ip.of(&question.indicator())
            }
            Question::Addresses(..) => None,
        }
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        subject: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Exchange> {
        async move {
            match (question, &self.mapping.recent_domains) {
                (Question::RecentDomains { limit, days, .. }, Some(mapping)) => {
                    let back = SignedDuration::from_hours(24 * i64::from(*days));
                    let from = now.checked_sub(back).unwrap_or(Timestamp::MIN);
                    let within = Within {
                        limit: *limit,
                        days: *days,
                        from,
                    };
                    self.ask_domains(mapping, subject, &within).await
                }
                (Question::RecentDomains { .. }, None) | (Question::Addresses(..), _) => {
                    Exchange::new(Ok(Content::Nothing))
                }
                (Question::Features(_), _) => self.ask_features(question, subject, now).await,
            }
        }
        .boxed()
    }
}

fn client() -> Result<HttpClient, HttpSourceError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(HttpSourceError::Certificates)?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_timer(hyper_util::rt::TokioTimer::new())
        // A question that went out twice would be counted once here and twice there.
        .retry_canceled_requests(false)
        .build(connector))
}

fn fill(
    template: &str,
    words: &BTreeMap<String, String>,
    encode: impl Fn(&str) -> String,
) -> String {
    let mut text = template.to_owned();
    for (name, value) in words {
        text = text.replace(&format!("{{{name}}}"), &encode(value));
    }
    text
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HttpSourceError> {
    let wrong = || HttpSourceError::Header(name.to_owned());
    let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    Ok((name, value))
}

fn secret_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HttpSourceError> {
    let (name, mut value) = header(name, value)?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn nothing_is_known(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::NO_CONTENT)
}

fn check_status(response: &Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    if status.is_success() || nothing_is_known(status) {
        return Ok(());
    }
    Err(match status.as_u16() {
        401 | 402 | 403 | 407 => Failure::Refused(status.as_u16()),
        429 => {
            let wait = response.headers().get(RETRY_AFTER);
            let wait = wait.and_then(|wait| wait.to_str().ok());
            Failure::RateLimited {
                retry_after: wait.and_then(|wait| retry_after(wait.trim(), Timestamp::now())),
            }
        }
        rejected @ (400 | 406 | 422) => Failure::Rejected(rejected),
        other => Failure::Status(other),
    })
}

/// What `Retry-After` says: so many seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(wait: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = wait.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(wait).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

async fn read(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(error) => Err(Failure::Unreachable(cause(&*error))),
    }
}

/// The innermost reason; the outer ones say little.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Why a service cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpSourceError {
    /// No URL of a web service.
    #[error("`{0}` is no URL of a web service: it must begin with http:// or https://")]
    BaseUrl(String),
    /// It wants a key.
    #[error("it has no key; name a file or an environment variable that holds it")]
    Key,
    /// It wants a word.
    #[error("it needs the parameter `{0}`")]
    Parameter(String),
    /// Something no header can hold. What it is may be secret.
    #[error("the header `{0}`, or what should be in it, is not valid in HTTP")]
    Header(String),
    /// This machine trusts nobody.
    #[error("the certificates this machine trusts cannot be read")]
    Certificates(#[source] std::io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, config: HttpSourceConfig) -> Result<HttpSource, HttpSourceError> {
        let mapping = Mapping::parse(Mapping::shipped(name).unwrap()).unwrap();
        HttpSource::new(mapping, config)
    }

    fn keyed(base_url: &str) -> HttpSourceConfig {
        HttpSourceConfig {
            base_url: Some(base_url.into()),
            key: Some("s3cret key".into()),
            parameters: BTreeMap::from([("user_id".into(), "me".into())]),
        }
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (wait, seconds) in [
            ("120", Some(120)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", Some(60)),
            ("Fri, 02 Jan 2026 03:04:00 GMT", Some(0)),
            ("soon", None),
        ] {
            assert_eq!(
                retry_after(wait, now),
                seconds.map(Duration::from_secs),
                "{wait}"
            );
        }
    }

    #[test]
    fn an_indicator_cannot_change_where_a_question_goes() {
        let source = source("geo", keyed("http://127.0.0.1:1/")).unwrap();
        let words = source.words([("subject", "../x?y=//evil.test/#@".into())]);
        let request = &source.mapping.requests[0];
        assert_eq!(
            source.url(&request.path, &request.query, &words),
            "http://127.0.0.1:1/geoip/v2.1/insights/..%2Fx%3Fy%3D%2F%2Fevil.test%2F%23%40"
        );
    }

    #[test]
    fn keys_go_where_the_mapping_says_and_are_never_shown() {
        let source = source("whoisxml", keyed("http://127.0.0.1:1")).unwrap();
        let request = &source.mapping.requests[0];
        let words = source.words([("subject", "example.com".into())]);
        assert_eq!(
            source.url(&request.path, &request.query, &words),
            "http://127.0.0.1:1/whoisserver/WhoisService?domainName=example.com&outputFormat=JSON&apiKey=s3cret%20key"
        );
        assert!(!format!("{:?}", keyed("x")).contains("s3cret"));
        let censys = self::source("censys", keyed("http://127.0.0.1:1")).unwrap();
        assert!(!format!("{:?}", censys.headers).contains("czNjcmV0"));
    }

    #[test]
    fn settings_that_lack_something_are_refused() {
        let without = |change: fn(&mut HttpSourceConfig)| {
            let mut config = keyed("http://127.0.0.1:1");
            change(&mut config);
            source("wot", config)
        };
        assert!(without(|_| ()).is_ok());
        assert!(matches!(
            without(|config| config.key = None),
            Err(HttpSourceError::Key)
        ));
        assert!(matches!(
            without(|config| config.parameters.clear()),
            Err(HttpSourceError::Parameter(name)) if name == "user_id"
        ));
        assert!(matches!(
            without(|config| config.base_url = Some("file:///etc/passwd".into())),
            Err(HttpSourceError::BaseUrl(_))
        ));
        assert!(matches!(
            without(|config| config.key = Some("a\nb".into())),
            Err(HttpSourceError::Header(_))
        ));
    }
}
