//! The HTTP face. Every answer is JSON, errors included.
//!
//! | path | answer |
//! |---|---|
//! | `GET /apply?host=NAME` | `{"is_malicious": "legit" or "dga", …}`, one flat object |
//! | `POST /apply` | the same for a JSON array of names, or for a JSON string on each line, up to 10,000 |
//! | `GET /model` | what the model was made of and what it was measured at |
//! | `GET /health`, `/version`, `/metrics` | for probes, people and Prometheus |
//!
//! What is no name at all is answered like any other, as `legit` with the reason: callers throw a whole record away when a
//! model answers anything but 200.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model_server::{ApiError, HttpMetrics, exposition, framed, health, json_response, read_body};
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::answer::{Answer, BatchAnswer};
use crate::detector::Detector;
use crate::request::{self, ApplyQuery, Form, Item, MAX_EXPLAINED, RequestError};

/// The functions the endpoint file names.
pub const FUNCTIONS: [(&str, &str); 1] = [("apply", "apply")];

/// The routes.
pub fn router(detector: Arc<Detector>) -> Router {
    let mut registry = Registry::with_prefix("dga");
    let metrics = Arc::new(HttpMetrics::new(&mut registry));
    let registry = Arc::new(registry);
    let routes = Router::new()
        .route("/apply", get(apply).post(apply_to_all))
        .route("/model", get(model))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(async move || exposition(&registry)))
        .with_state(detector);
    framed(
        routes,
        "/apply?host=example.com, /model, /health, /version or /metrics",
        "POST a JSON array of names to /apply instead",
        metrics,
    )
}

async fn apply(
    State(detector): State<Arc<Detector>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let query = ApplyQuery::parse(&query.unwrap_or_default()).map_err(bad_request)?;
    let verdict = detector.judge(&query.host);
    Ok(json_response(
        StatusCode::OK,
        &Answer::of(&detector, &verdict, query.explain),
    ))
}

async fn apply_to_all(
    State(detector): State<Arc<Detector>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let explain = request::explain_of_batch(&query.unwrap_or_default()).map_err(bad_request)?;
    let body = read_body(body).await?;
    // Ten thousand names are milliseconds of work, in which this thread would serve nobody else.
    let work = tokio::task::spawn_blocking(move || batch(&detector, &body, explain));
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

async fn model(State(detector): State<Arc<Detector>>) -> Response {
    json_response(StatusCode::OK, detector.manifest())
}

async fn version(State(detector): State<Arc<Detector>>) -> Response {
    let answer = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "model": detector.manifest().id(),
        "predictions": detector.predictions().len(),
    });
    json_response(StatusCode::OK, &answer)
}

fn bad_request(error: RequestError) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).with_hint(error.hint())
}
