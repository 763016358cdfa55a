//! What surrounds every model's routes: the bound on URLs, answers for what is not there, and the counting.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::{ApiError, HttpMetrics, json_response};

/// The longest path with query string.
pub const MAX_URL: usize = 8 * 1024;

/// Puts `routes` into their frame. `paths` tells people who are lost what there is; `instead` what to do about a URL that is too
/// long.
pub fn framed(
    routes: Router,
    paths: &'static str,
    instead: &'static str,
    metrics: Arc<HttpMetrics>,
) -> Router {
    routes
        .fallback(async move |request: Request| not_found(&request, paths))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(async move |request, next| {
            limit_url(request, next, instead).await
        }))
        .layer(middleware::from_fn_with_state(
            metrics,
            crate::metrics::observe,
        ))
}

/// The answer of `/health`: the process lives and takes requests.
pub async fn health() -> Response {
    json_response(StatusCode::OK, &json!({ "status": "ok" }))
}

fn not_found(request: &Request, paths: &str) -> ApiError {
    let message = format!("there is nothing at `{}`", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message).with_hint(format!("try {paths}"))
}

async fn method_not_allowed(request: Request) -> Response {
    let message = format!(
        "`{}` does not answer to {}",
        request.uri().path(),
        request.method()
    );
    let code = "method_not_allowed";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, code, message).into_response()
}

async fn limit_url(request: Request, next: Next, instead: &str) -> Response {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |part| part.as_str().len());
    if length <= MAX_URL {
        return next.run(request).await;
    }
    let message = format!("the URL has {length} bytes; at most {MAX_URL} are accepted");
    ApiError::new(StatusCode::URI_TOO_LONG, "url_too_long", message)
        .with_hint(instead)
        .into_response()
}
