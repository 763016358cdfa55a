//! The HTTP face. Every answer is JSON, errors included.
//!
//! | path | answer |
//! |---|---|
//! | `GET /api/score?indicators=a,b` | one object, an entry for each indicator |
//! | `POST /api/score` | the same for a JSON body, up to 10,000 indicators |
//! | `GET /apply?indicator=x` | one flat object, made for Stellar |
//! | `GET /api/lists` | the lists with versions and sizes |
//! | `GET /api/lists/check?indicator=x` | the entries that speak of one indicator |
//! | `GET /health`, `/ready`, `/version` | for probes and people |

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::answer::{HitAnswer, ListAnswer};
use crate::request::{self, RequestError, ScoreRequest};
use crate::scorer::Scorer;

/// The longest path with query string.
const MAX_URL: usize = 8 * 1024;

/// The largest body.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long requests under way may take to finish once we are told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until `shutdown` completes, then lets what is under way finish.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    scorer: Arc<Scorer>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let told = CancellationToken::new();
    let telling = told.clone().drop_guard();
    // Answers are small and whole, so that waiting for more to send would only delay them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small answers may be delayed");
        }
    });
    let drained = axum::serve(listener, router(scorer)).with_graceful_shutdown(async move {
        shutdown.await;
        drop(telling);
    });
    let grace = async {
        told.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = drained.into_future() => result,
        () = grace => {
            tracing::warn!("stopped with requests under way");
            Ok(())
        }
    }
}

/// The routes, for a server of your own.
pub fn router(scorer: Arc<Scorer>) -> Router {
    Router::new()
        .route("/api/score", get(score_query).post(score_body))
        .route("/apply", get(apply))
        .route("/api/lists", get(lists))
        .route("/api/lists/check", get(check))
        .route(
            "/health",
            get(|| async { json_response(StatusCode::OK, &json!({ "status": "ok" })) }),
        )
        .route("/ready", get(ready))
        .route("/version", get(version))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(limit_url))
        .with_state(scorer)
}

async fn score_query(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let request = request::score_query(&query.unwrap_or_default())?;
    Ok(answer(&scorer, &request))
}

async fn score_body(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let body = match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        // Too long is the one mistake a caller makes. One who hangs up in the middle reads no answer anyway.
        Ok(Err(_)) => return Err(ApiError::body_too_large()),
        Err(_) => return Err(ApiError::body_too_slow()),
    };
    // Ten thousand items are milliseconds of work, in which this thread would serve nobody else.
    let work = tokio::task::spawn_blocking(move || {
        let request = request::score_body(&query.unwrap_or_default(), &body)?;
        Ok(answer(&scorer, &request))
    });
    work.await.map_err(ApiError::internal)?
}

async fn apply(
    State(scorer): State<Arc<Scorer>>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (item, options) = request::apply_query(&query.unwrap_or_default())?;
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
    let (item, _) = request::apply_query(&query.unwrap_or_default())?;
    let indicator = item.indicator.map_err(|error| ApiError {
        status: StatusCode::BAD_REQUEST,
        code: error.code(),
        message: error.to_string(),
        hint: None,
    })?;
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

async fn not_found(request: Request) -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        code: "not_found",
        message: format!("there is nothing at `{}`", request.uri().path()),
        hint: Some(
            "try /api/score, /apply, /api/lists, /api/lists/check, /health, /ready or /version"
                .to_owned(),
        ),
    }
}

async fn method_not_allowed(request: Request) -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        code: "method_not_allowed",
        message: format!(
            "`{}` does not answer to {}",
            request.uri().path(),
            request.method()
        ),
        hint: None,
    }
}

async fn limit_url(request: Request, next: Next) -> Response {
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |part| part.as_str().len());
    if length <= MAX_URL {
        return next.run(request).await;
    }
    let error = ApiError {
        status: StatusCode::URI_TOO_LONG,
        code: "url_too_long",
        message: format!("the URL has {length} bytes; at most {MAX_URL} are accepted"),
        hint: Some("POST a JSON array of indicators to /api/score instead".to_owned()),
    };
    error.into_response()
}

fn answer(scorer: &Scorer, request: &ScoreRequest) -> Response {
    json_response(StatusCode::OK, &scorer.answer(request))
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// An error as callers see it: `{"error": {"code", "message", "hint"?}}`.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl ApiError {
    fn body_too_large() -> ApiError {
        ApiError {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "body_too_large",
            message: format!("the body is incomplete or has more than {MAX_BODY} bytes"),
            hint: Some("send several requests".to_owned()),
        }
    }

    fn body_too_slow() -> ApiError {
        ApiError {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "body_too_slow",
            message: format!(
                "the body did not arrive within {} seconds",
                BODY_TIME.as_secs()
            ),
            hint: None,
        }
    }

    fn internal(error: impl std::error::Error) -> ApiError {
        tracing::error!(%error, "request failed");
        ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "internal",
            message: "the request failed for a reason that is not its own; the log says more"
                .to_owned(),
            hint: None,
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            code: error.code(),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(hint) = self.hint {
            error["hint"] = hint.into();
        }
        let body = json!({ "error": error }).to_string();
        (
            self.status,
            [(header::CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    }
}
