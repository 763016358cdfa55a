//! The HTTP face. Every answer but `/metrics` is JSON, errors included; what is promised about each is in `openapi.json`, which
//! is made from this file.
//!
//! | path | answer |
//! |---|---|
//! | `GET /api/score?indicators=a,b` | one object, an entry for each indicator |
//! | `POST /api/score` | the same for a JSON body, up to 10,000 indicators, or an object on each line |
//! | `GET /apply?indicator=x`, `POST /apply` | one flat object, made for Stellar |
//! | `GET /api/lists` | the lists with versions and sizes |
//! | `GET /api/lists/check?indicator=x` | the entries that speak of one indicator |
//! | `GET /api/model` | the model |
//! | `GET /health`, `/ready`, `/version`, `/metrics`, `/openapi.json` | for probes, people and programs |
//!
//! What changes the process is not here but on the listener of [`crate::admin`].

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::get;
use futures_util::stream;
use jiff::Timestamp;
use model_server::{
    ApiError, ErrorAnswer, HttpMetrics, exposition, framed, health, json_response, json_text,
    read_body,
};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Flat, Text};
use crate::inspection::{Check, Lists, Loaded, ModelAnswer, Ready, Version};
use crate::openapi::{self, ApplyArguments, ApplyBody, ScoreAnswers, ScoreBody};
use crate::options::Options;
use crate::request::{self, ApplyForm, ApplyRequest, BodyForm, RequestError, ScoreRequest};
use crate::scorer::{PATIENCE, Scorer};

/// The functions the endpoint file names.
pub const FUNCTIONS: [(&str, &str); 2] = [("apply", "apply"), ("score", "api/score")];

/// A longer body is taken apart on a thread of its own.
const MUCH: usize = 16 * 1024;

/// The media type of answers on lines.
const LINES: &str = "application/x-ndjson";

/// What the handlers share.
#[derive(Debug)]
struct App {
    scorer: Arc<Scorer>,
    registry: Registry,
}

/// The routes.
pub fn router(scorer: Arc<Scorer>) -> Router {
    let mut registry = Registry::with_prefix("macula");
    let metrics = Arc::new(HttpMetrics::new(&mut registry));
    scorer.metrics().register(&mut registry);
    let app = Arc::new(App { scorer, registry });
    let (routes, document) = routes().split_for_parts();
    let document = openapi::text_with(&document, app.scorer.sources());
    let routes = routes
        .route("/openapi.json", get(async move || json_text(document)))
        .with_state(app);
    framed(
        routes,
        "/api/score, /apply, /api/lists, /api/lists/check, /api/model, /health, /ready, /version, /metrics or /openapi.json",
        "POST a JSON array of indicators to /api/score instead",
        metrics,
    )
}

/// What is promised about the routes, as `openapi.json` has it.
pub fn document() -> String {
    openapi::text(&routes().into_openapi())
}

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(score_query, score_body))
        .routes(routes!(apply_query, apply_body))
        .routes(routes!(lists))
        .routes(routes!(check))
        .routes(routes!(model))
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(version))
        .routes(routes!(metrics))
}

/// Score indicators named in the query string.
#[utoipa::path(
    get, path = "/api/score", tag = "scores",
    params(
        ("indicators" = String, Query, description = "Up to 100 indicators, commas between them; a comma inside one is `%2C`.",
            pattern = "[^,]", example = "evil.example,203.0.113.7"),
        Options,
    ),
    responses(
        (status = 200, description = "An answer for each indicator, under the caller's own text.",
            content((ScoreAnswers = "application/json"), (String = "application/x-ndjson"))),
        (status = 400, description = "The request makes no sense as a whole.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn score_query(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let request = request::score_query(&query.unwrap_or_default(), app.scorer.sources());
    let request = request.map_err(bad_request)?;
    let lines = wants_lines(&headers, BodyForm::Json);
    scored(&app.scorer, request, lines).await
}

/// Score indicators in the body.
#[utoipa::path(
    post, path = "/api/score", tag = "scores", params(Options),
    request_body(
        description = "Up to 10,000 indicators in 4 MiB: an array, an object with options, or one on each line.",
        content((ScoreBody = "application/json"), (String = "application/x-ndjson")),
    ),
    responses(
        (status = 200, description = "An answer for each indicator: under the caller's own text, or on a line each.",
            content((ScoreAnswers = "application/json"), (String = "application/x-ndjson"))),
        (status = 400, description = "The request makes no sense as a whole.", body = ErrorAnswer),
        (status = 408, description = "The body did not arrive in time.", body = ErrorAnswer),
        (status = 413, description = "The body has more than 4 MiB.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn score_body(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    let form = if is_lines(content_type(&headers)) {
        BodyForm::Lines
    } else {
        BodyForm::Json
    };
    let lines = wants_lines(&headers, form);
    let sources = app.scorer.sources().clone();
    let is_much = body.len() > MUCH;
    let read = move || request::score_body(&query.unwrap_or_default(), &body, form, &sources);
    let mut request = aside(is_much, read).await?.map_err(bad_request)?;
    if !lines {
        request.tell_apart();
    }
    scored(&app.scorer, request, lines).await
}

/// Score one indicator, with a flat answer.
#[utoipa::path(
    get, path = "/apply", tag = "scores", params(ApplyArguments, Options),
    responses(
        (status = 200, description = "What there is to say about the indicator, also when it is none.", body = Flat<'static>),
        (status = 400, description = "No indicator, more than one, or a bad option.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn apply_query(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let request = request::apply_query(&query.unwrap_or_default(), app.scorer.sources());
    let request = request.map_err(bad_request)?;
    applied(&app.scorer, request).await
}

/// Score one indicator that stands in the body, with a flat answer.
#[utoipa::path(
    post, path = "/apply", tag = "scores", params(Options),
    request_body(content((ApplyBody = "application/json"), (ApplyBody = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "What there is to say about the indicator, also when it is none.", body = Flat<'static>),
        (status = 400, description = "No indicator, more than one, or a bad option.", body = ErrorAnswer),
        (status = 408, description = "The body did not arrive in time.", body = ErrorAnswer),
        (status = 413, description = "The body has more than 4 MiB.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn apply_body(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    let looks_like_json = body.trim_ascii_start().starts_with(b"{");
    let form = if content_type(&headers).contains("json") || looks_like_json {
        ApplyForm::Json
    } else {
        ApplyForm::Form
    };
    let sources = app.scorer.sources().clone();
    let is_much = body.len() > MUCH;
    let read = move || request::apply_body(&query.unwrap_or_default(), &body, form, &sources);
    let request = aside(is_much, read).await?;
    applied(&app.scorer, request.map_err(bad_request)?).await
}

/// The lists by which is scored.
#[utoipa::path(
    get, path = "/api/lists", tag = "inspection",
    responses((status = 200, description = "Kind, name, version, size and bad lines of every list.", body = Lists)),
)]
async fn lists(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.scorer.snapshot();
    json_response(StatusCode::OK, &Lists::of(&snapshot, Timestamp::now()))
}

/// The entries that speak of one indicator, whatever the rules make of them.
#[utoipa::path(
    get, path = "/api/lists/check", tag = "inspection", params(ApplyArguments),
    responses(
        (status = 200, description = "The entries, or why the indicator is none.", body = Check),
        (status = 400, description = "No indicator, or more than one.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn check(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let request = request::apply_query(&query.unwrap_or_default(), app.scorer.sources());
    let request = request.map_err(bad_request)?;
    let snapshot = app.scorer.snapshot();
    let answer = Check::of(request.item, &snapshot.lists);
    Ok(json_response(StatusCode::OK, &answer))
}

/// The models by which is scored, and the sources they are told by.
#[utoipa::path(
    get, path = "/api/model", tag = "inspection",
    responses((status = 200, description = "Every model with its quality, and what its sources answered.", body = ModelAnswer)),
)]
async fn model(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &ModelAnswer::of(&app.scorer))
}

/// Whether the process lives.
#[utoipa::path(
    get, path = "/health", tag = "probes",
    responses((status = 200, description = "It does.", body = Object)),
)]
async fn alive() -> Response {
    health().await
}

/// Whether it should be asked for scores. It only listens once the lists are loaded, so all that can be wrong is that they are
/// too old.
#[utoipa::path(
    get, path = "/ready", tag = "probes",
    responses(
        (status = 200, description = "It should.", body = Ready),
        (status = 503, description = "It should not, for the reasons given.", body = Ready),
    ),
)]
async fn ready(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.scorer.snapshot();
    let now = Timestamp::now();
    let problems = app.scorer.problems(&snapshot, now);
    let status = if problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let answer = Ready {
        ready: problems.is_empty(),
        problems,
        loaded: Loaded::of(&snapshot, now),
    };
    json_response(status, &answer)
}

/// Which program this is.
#[utoipa::path(
    get, path = "/version", tag = "probes",
    responses((status = 200, description = "Its name and version.", body = Version)),
)]
async fn version(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, &Version::of(&app.scorer))
}

/// Counters, latencies and the age of the lists, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text")),
)]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    app.scorer.metrics().look(&app.scorer);
    exposition(&app.registry)
}

/// Part by part, so that what a large batch needs meanwhile is not needed for all of it at once.
async fn scored(
    scorer: &Arc<Scorer>,
    request: ScoreRequest,
    lines: bool,
) -> Result<Response, ApiError> {
    let request = Arc::new(request);
    let (moment, until) = (scorer.prepared(), Instant::now() + PATIENCE);
    let mut text = Text::new(lines);
    let (all, most) = (request.items.len(), scorer.part());
    for start in (0..all).step_by(most) {
        let part = start..all.min(start.saturating_add(most));
        let batch = (&request, part.clone());
        let prepared = scorer.prepare_part(&moment, batch, until).await;
        let prepared = prepared.map_err(ApiError::internal)?;
        let is_much = prepared.is_much(part.len(), &request.options);
        let (scorer, request) = (Arc::clone(scorer), Arc::clone(&request));
        let work = move || {
            let answers = scorer.answer_part(&request, part, &prepared, text.left());
            text.add(&answers).map(|()| text)
        };
        text = aside(is_much, work).await?.map_err(ApiError::internal)?;
    }
    let (pieces, left_out) = text.end();
    let media_type = if lines { LINES } else { "application/json" };
    let length: usize = pieces.iter().map(Vec::len).sum();
    let pieces = pieces.into_iter().map(Ok::<_, Infallible>);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_LENGTH, length)
        .body(Body::from_stream(stream::iter(pieces)))
        .map_err(ApiError::internal)?;
    let warnings = request.warnings.iter().map(String::as_str);
    Ok(warned(response, warnings.chain(left_out)))
}

async fn applied(scorer: &Arc<Scorer>, request: ApplyRequest) -> Result<Response, ApiError> {
    let prepared = scorer.prepare([&request.item], &request.options).await;
    let is_much = prepared.has_opinions();
    let scorer = Arc::clone(scorer);
    let work = move || {
        let response = json_response(StatusCode::OK, &scorer.answer_flat(&request, &prepared));
        warned(response, request.warnings.iter().map(String::as_str))
    };
    aside(is_much, work).await
}

/// Does what takes long on a thread of its own, for this one would serve nobody else meanwhile, and the rest here.
async fn aside<T: Send + 'static>(
    is_much: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if !is_much {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(ApiError::internal)
}

/// Puts warnings into the header, too: a flat answer has no other place for them.
fn warned<'w>(mut response: Response, warnings: impl Iterator<Item = &'w str>) -> Response {
    for warning in warnings {
        // A header holds visible ASCII; the rest of what a caller wrote is not repeated to the letter.
        let visible = |c: char| match c {
            '"' | '\\' => '\'',
            c if c == ' ' || c.is_ascii_graphic() => c,
            _ => '?',
        };
        let text: String = warning.chars().map(visible).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 macula \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn content_type(headers: &HeaderMap) -> &str {
    text_of(headers, header::CONTENT_TYPE)
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> &str {
    let value = headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn is_lines(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    ["ndjson", "jsonl", "json-lines"]
        .iter()
        .any(|name| kind.contains(name))
}

/// Answers come in the form of the body, unless the caller asks for the other one.
fn wants_lines(headers: &HeaderMap, form: BodyForm) -> bool {
    let accept = text_of(headers, header::ACCEPT);
    if is_lines(accept) {
        return true;
    }
    form == BodyForm::Lines && !accept.contains("application/json")
}

fn bad_request(error: RequestError) -> ApiError {
    let answer = ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
    match error.hint() {
        Some(hint) => answer.with_hint(hint),
        None => answer,
    }
}
