//! The HTTP face. Every answer is JSON, errors included.
//!
//! | path | answer |
//! |---|---|
//! | `GET /apply?host=NAME` | `{"is_malicious": "legit" or "dga", …}`, one flat object |
//! | `POST /apply` | the same for a JSON array of names, or for a JSON string on each line, up to 10,000 |
//! | `GET /model` | what the model was made of and what it was measured at |
//! | `GET /health`, `/version` | for probes and people |
//!
//! What is no name at all is answered like any other, as `legit` with the reason: callers throw a whole record away when a
//! model answers anything but 200.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model_server::{ApiError, json_response};
use serde_json::json;
use tokio::time::timeout;

use crate::answer::{Answer, BatchAnswer};
use crate::detector::Detector;
use crate::request::{self, ApplyQuery, Form, Item, MAX_EXPLAINED, RequestError};

/// The functions the endpoint file names.
pub const FUNCTIONS: [(&str, &str); 1] = [("apply", "apply")];

/// The longest path with query string.
const MAX_URL: usize = 8 * 1024;

/// The largest body.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The routes.
pub fn router(detector: Arc<Detector>) -> Router {
    Router::new()
        .route("/apply", get(apply).post(apply_to_all))
        .route("/model", get(model))
        .route(
            "/health",
            get(|| async { json_response(StatusCode::OK, &json!({ "status": "ok" })) }),
        )
        .route("/version", get(version))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(limit_url))
        .with_state(detector)
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
    let body = match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        // Too long is the one mistake a caller makes. One who hangs up in the middle reads no answer anyway.
        Ok(Err(_)) => {
            let message = format!("the body is incomplete or has more than {MAX_BODY} bytes");
            return Err(
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
                    .with_hint("send several requests"),
            );
        }
        Err(_) => {
            let message = format!(
                "the body did not arrive within {} seconds",
                BODY_TIME.as_secs()
            );
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                message,
            ));
        }
    };
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

async fn not_found(request: Request) -> ApiError {
    let message = format!("there is nothing at `{}`", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
        .with_hint("try /apply?host=example.com, /model, /health or /version")
}

async fn method_not_allowed(request: Request) -> ApiError {
    let message = format!(
        "`{}` does not answer to {}",
        request.uri().path(),
        request.method()
    );
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}

async fn limit_url(request: Request, next: Next) -> Response {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |part| part.as_str().len());
    if length <= MAX_URL {
        return next.run(request).await;
    }
    let message = format!("the URL has {length} bytes; at most {MAX_URL} are accepted");
    ApiError::new(StatusCode::URI_TOO_LONG, "url_too_long", message)
        .with_hint("POST a JSON array of names to /apply instead")
        .into_response()
}

fn bad_request(error: RequestError) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()).with_hint(error.hint())
}
