//! The HTTP face. Every answer but `/metrics` is JSON, errors included; what is promised about each is in `openapi.json`, which
//! is made from this file.
//!
//! | path | answer |
//! |---|---|
//! | `GET /apply?host=NAME` | `{"is_malicious": "legit" or "dga", …}`, one flat object |
//! | `POST /apply` | the same for a JSON array of names, or for a JSON string on each line, up to 10,000 |
//! | `GET /model` | what the model was made of and what it was measured at |
//! | `GET /health`, `/version`, `/metrics`, `/openapi.json` | for probes, people and programs |
//!
//! What is no name at all is answered like any other, as `legit` with the reason: callers throw a whole record away when a
//! model answers anything but 200.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model_server::{
    ApiError, ErrorAnswer, HttpMetrics, batch_schema, exposition, framed, health, json_response,
    json_text, openapi_text, read_body,
};
use prometheus_client::registry::Registry;
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::{OpenApi, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answer::{Answer, BatchAnswer};
use crate::detector::Detector;
use crate::request::{self, ApplyQuery, Form, Item, MAX_EXPLAINED, RequestError};

/// The functions the endpoint file names.
pub const FUNCTIONS: [(&str, &str); 1] = [("apply", "apply")];

#[derive(OpenApi)]
#[openapi(info(
    title = "DGA detector",
    description = "Tells generated domain names, as malware uses them, from real ones."
))]
struct Head;

/// A batch of names: strings, or objects with a `host`. Anything else is answered as `legit`, with the reason.
struct Names;

impl PartialSchema for Names {
    fn schema() -> RefOr<Schema> {
        // What is no array is taken for lines, of which a whole JSON document is one.
        let kinds = [
            Type::String,
            Type::Object,
            Type::Number,
            Type::Boolean,
            Type::Null,
        ];
        let line = ObjectBuilder::new().schema_type(SchemaType::from_iter(kinds));
        let batch = batch_schema(request::MAX_ITEMS);
        Schema::from(OneOfBuilder::new().item(batch).item(line)).into()
    }
}

impl ToSchema for Names {}

/// What the handlers share.
#[derive(Debug)]
struct App {
    detector: Arc<ArcSwap<Detector>>,
    registry: Registry,
}

/// The routes.
pub fn router(detector: Arc<ArcSwap<Detector>>) -> Router {
    let mut registry = Registry::with_prefix("dga");
    let metrics = Arc::new(HttpMetrics::new(&mut registry));
    let app = Arc::new(App { detector, registry });
    let (routes, document) = routes().split_for_parts();
    let document = openapi_text(&document);
    let routes = routes
        .route("/openapi.json", get(async move || json_text(document)))
        .with_state(app);
    framed(
        routes,
        "/apply?host=example.com, /model, /health, /version, /metrics or /openapi.json",
        "POST a JSON array of names to /apply instead",
        metrics,
    )
}

/// What is promised about the routes, as `openapi.json` has it.
pub fn document() -> String {
    openapi_text(&routes().into_openapi())
}

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(apply, apply_to_all))
        .routes(routes!(model))
        .routes(routes!(alive))
        .routes(routes!(version))
        .routes(routes!(metrics))
}

/// Judge one name.
#[utoipa::path(
    get, path = "/apply",
    params(
        ("host" = String, Query, description = "The name. What is none is answered as `legit`, with the reason.", example = "www.example.com"),
        ("explain" = Option<bool>, Query, description = "What every feature contributed."),
    ),
    responses(
        (status = 200, description = "The verdict.", body = Answer<'static>),
        (status = 400, description = "No name, or a bad `explain`.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn apply(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = ApplyQuery::parse(&query.unwrap_or_default()).map_err(bad_request)?;
    let detector = app.detector.load();
    let verdict = detector.judge(&query.host);
    Ok(json_response(
        StatusCode::OK,
        &Answer::of(&detector, &verdict, query.explain),
    ))
}

/// Judge up to 10,000 names: a JSON array, or a JSON value on each line.
#[utoipa::path(
    post, path = "/apply",
    params(("explain" = Option<bool>, Query, description = "What every feature contributed; for up to 500 names.")),
    request_body(
        description = "Strings, or objects with a `host`. Anything else is answered as `legit`, with the reason.",
        content((Names = "application/json"), (String = "application/x-ndjson")),
    ),
    responses(
        (status = 200, description = "A verdict for each name, in the form and order of the names.",
            content((Vec<BatchAnswer<'static>> = "application/json"), (String = "application/x-ndjson"))),
        (status = 400, description = "No names, too many, or no JSON.", body = ErrorAnswer),
        (status = 408, description = "The body did not arrive in time.", body = ErrorAnswer),
        (status = 413, description = "The body has more than 4 MiB.", body = ErrorAnswer),
        (status = 414, description = "The URL has more than 8 KiB.", body = ErrorAnswer),
    ),
)]
async fn apply_to_all(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let explain = request::explain_of_batch(&query.unwrap_or_default()).map_err(bad_request)?;
    let body = read_body(body).await?;
    // Ten thousand names are milliseconds of work, in which this thread would serve nobody else.
    let work =
        tokio::task::spawn_blocking(move || batch(&app.detector.load_full(), &body, explain));
    work.await.map_err(ApiError::internal)?
}

fn batch(detector: &Detector, body: &[u8], explain: bool) -> Result<Response, ApiError> {
    let (form, items) = request::batch(body).map_err(bad_request)?;
    if explain && items.len() > MAX_EXPLAINED {
        return Err(bad_request(RequestError::TooMany {
            most: MAX_EXPLAINED,
        }));
    }
    let verdicts = detector.judge_all(&items);
    // About what a verdict takes as text.
    let mut out = Vec::with_capacity(items.len() * 96);
    let (open, between, close, kind): (&[u8], &[u8], &[u8], _) = match form {
        Form::Array => (b"[", b",", b"]", "application/json"),
        Form::Lines => (b"", b"\n", b"\n", "application/x-ndjson"),
    };
    out.extend(open);
    for (index, (item, verdict)) in items.iter().zip(&verdicts).enumerate() {
        if index > 0 {
            out.extend(between);
        }
        let host = match item {
            Item::Host(host) => Some(&**host),
            Item::Other => None,
        };
        let answer = BatchAnswer::of(detector, host, verdict, explain);
        serde_json::to_writer(&mut out, &answer).map_err(ApiError::internal)?;
    }
    out.extend(close);
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], out).into_response())
}

/// What the model was made of and what it was measured at.
#[utoipa::path(get, path = "/model", responses((status = 200, description = "Its manifest.", body = Object)))]
async fn model(State(app): State<Arc<App>>) -> Response {
    json_response(StatusCode::OK, app.detector.load().manifest())
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health", responses((status = 200, description = "It does.", body = Object)))]
async fn alive() -> Response {
    health().await
}

/// Counters and latencies, for Prometheus.
#[utoipa::path(
    get, path = "/metrics",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text")),
)]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    exposition(&app.registry)
}

/// Which program and which model this is.
#[utoipa::path(get, path = "/version", responses((status = 200, description = "Names and versions.", body = Object)))]
async fn version(State(app): State<Arc<App>>) -> Response {
    let detector = app.detector.load();
    let answer = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "model": detector.manifest().id(),
        "predictions": detector.predictions().len(),
        "predictions_until": detector.predictions().until(),
    });
    json_response(StatusCode::OK, &answer)
}

fn bad_request(error: RequestError) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).with_hint(error.hint())
}
