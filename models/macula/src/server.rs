//! The HTTP face. Every answer is JSON, errors included.
//!
//! | path | answer |
//! |---|---|
//! | `GET /api/score?indicators=a,b` | one object, an entry for each indicator |
//! | `POST /api/score` | the same for a JSON body, up to 10,000 indicators |
//! | `GET /apply?indicator=x` | one flat object, made for Stellar |
//! | `GET /api/lists` | the lists with versions and sizes |
//! | `GET /api/lists/check?indicator=x` | the entries that speak of one indicator |
//! | `GET /health`, `/ready`, `/version`, `/metrics` | for probes, people and Prometheus |

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use model_server::{ApiError, HttpMetrics, exposition, framed, health, json_response, read_body};
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::answer::{HitAnswer, ListAnswer};
use crate::request::{self, RequestError, ScoreRequest};
use crate::scorer::Scorer;

/// The functions the endpoint file names.
pub const FUNCTIONS: [(&str, &str); 2] = [("apply", "apply"), ("score", "api/score")];

/// The routes.
pub fn router(scorer: Arc<Scorer>) -> Router {
    let mut registry = Registry::with_prefix("macula");
    let metrics = Arc::new(HttpMetrics::new(&mut registry));
    let registry = Arc::new(registry);
    let routes = Router::new()
        .route("/api/score", get(score_query).post(score_body))
        .route("/apply", get(apply))
        .route("/api/lists", get(lists))
        .route("/api/lists/check", get(check))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(async move || exposition(&registry)))
        .with_state(scorer);
    framed(
        routes,
        "/api/score, /apply, /api/lists, /api/lists/check, /health, /ready, /version or /metrics",
        "POST a JSON array of indicators to /api/score instead",
        metrics,
    )
}

async fn score_query(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let request = request::score_query(&query.unwrap_or_default()).map_err(bad_request)?;
    Ok(answer(&scorer, &request))
}

async fn score_body(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    // Ten thousand items are milliseconds of work, in which this thread would serve nobody else.
    let work = tokio::task::spawn_blocking(move || {
        let request =
            request::score_body(&query.unwrap_or_default(), &body).map_err(bad_request)?;
        Ok(answer(&scorer, &request))
    });
    work.await.map_err(ApiError::internal)?
}

async fn apply(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (item, options) = request::apply_query(&query.unwrap_or_default()).map_err(bad_request)?;
    Ok(json_response(
        StatusCode::OK,
        &scorer.answer_flat(&item, &options),
    ))
}

async fn lists(State(scorer): State<Arc<Scorer>>) -> Response {
    let lists: Vec<_> = scorer.lists().iter().map(ListAnswer::from).collect();
    json_response(StatusCode::OK, &json!({ "lists": lists }))
}

async fn check(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (item, _) = request::apply_query(&query.unwrap_or_default()).map_err(bad_request)?;
    let indicator = item
        .indicator
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()))?;
    let hits = scorer.lists().find(&indicator, |_| true);
    let hits: Vec<_> = hits.iter().map(HitAnswer::from).collect();
    let answer = json!({
        "indicator": item.key,
        "type": indicator.kind(),
        "normalized": indicator.to_string(),
        "hits": hits,
    });
    Ok(json_response(StatusCode::OK, &answer))
}

/// We only listen once the lists are loaded, so whoever can ask is told yes.
async fn ready(State(scorer): State<Arc<Scorer>>) -> Response {
    let lists = scorer.lists();
    let answer =
        json!({ "ready": true, "lists": lists.iter().count(), "entries": lists.entries() });
    json_response(StatusCode::OK, &answer)
}

async fn version() -> Response {
    let answer = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION"), "model": null });
    json_response(StatusCode::OK, &answer)
}

fn answer(scorer: &Scorer, request: &ScoreRequest) -> Response {
    json_response(StatusCode::OK, &scorer.answer(request))
}

fn bad_request(error: RequestError) -> ApiError {
    let answer = ApiError::new(StatusCode::BAD_REQUEST, error.code(), error.to_string());
    match error.hint() {
        Some(hint) => answer.with_hint(hint),
        None => answer,
    }
}
