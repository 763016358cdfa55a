//! What changes the process. It has a listener of its own, so that no firewall rule or proxy in front of the public one has to
//! tell paths apart; the public one answers none of these.
//!
//! | path | effect |
//! |---|---|
//! | `POST /admin/reload` | reads the lists anew whose files have changed; what is not sane leaves the old ones in use |
//! | `POST /admin/reload/NAME` | the same for the lists of one name |
//! | `…?force=true` | reads them whether they have changed or not, takes them however they look, and drops those whose file is gone |
//! | `POST /admin/rollback/NAME` | goes back to the model of this name that served before |
//! | `DELETE /admin/cache` | forgets the scores made before |
//! | `GET /admin/status` | the lists and the cache |

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use model_server::{ApiError, HttpMetrics, framed, json_response};
use prometheus_client::registry::Registry;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use threat_lists::{Library, Outcome, Reload, Selection};

use crate::inspection::{Loaded, Version};
use crate::scorer::Scorer;

/// A secret that callers have to know. Only its digest is kept, and comparing digests tells nothing about the secret.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token that `text` holds, without the white space around it; none if there is nothing else.
    pub fn new(text: &str) -> Option<Token> {
        let text = text.trim();
        (!text.is_empty()).then(|| Token(Sha256::digest(text.as_bytes()).into()))
    }

    fn opens(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION);
        let given = value
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(Token::new);
        given.is_some_and(|given| given.0 == self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What the admin routes work on.
#[derive(Debug)]
pub struct Admin {
    scorer: Arc<Scorer>,
    library: Arc<Library>,
    token: Option<Token>,
}

impl Admin {
    /// Changes `scorer`, which has been told of the lists of `library`.
    pub fn new(scorer: Arc<Scorer>, library: Arc<Library>, token: Option<Token>) -> Admin {
        Admin {
            scorer,
            library,
            token,
        }
    }

    fn status(&self) -> serde_json::Value {
        let snapshot = self.scorer.snapshot();
        let (entries, bytes) = self.scorer.cache_size();
        json!({
            "loaded": Loaded::of(&snapshot, Timestamp::now()),
            "lists": self.library.status(),
            "problem": self.library.problem(),
            "models": Version::of(&self.scorer).models,
            "cache": { "entries": entries, "bytes": bytes },
        })
    }

    /// The routes.
    pub fn router(self) -> Router {
        let admin = Arc::new(self);
        let metrics = Arc::new(HttpMetrics::new(&mut Registry::default()));
        let routes = Router::new()
            .route("/admin/reload", post(reload_all))
            .route("/admin/reload/{list}", post(reload_one))
            .route("/admin/rollback/{model}", post(rollback))
            .route("/admin/cache", delete(clear_cache))
            .route("/admin/status", get(status))
            .with_state(Arc::clone(&admin));
        let paths = "POST /admin/reload, POST /admin/reload/NAME, POST /admin/rollback/NAME, DELETE /admin/cache or GET /admin/status";
        framed(routes, paths, "it needs no long URL", metrics)
            .layer(middleware::from_fn_with_state(admin, guard))
    }
}

async fn guard(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let open = match &admin.token {
        None => true,
        Some(token) => token.opens(request.headers()),
    };
    if open {
        return next.run(request).await;
    }
    let message = "the admin routes need the token: `Authorization: Bearer …`";
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    ([(header::WWW_AUTHENTICATE, "Bearer")], error).into_response()
}

/// How a reload is to be done.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadOptions {
    /// Whether a list may change as much as it likes.
    #[serde(default)]
    force: bool,
}

async fn reload_all(
    State(admin): State<Arc<Admin>>,
    Query(options): Query<ReloadOptions>,
) -> Result<Response, ApiError> {
    reload(&admin, &Selection::All, &options).await
}

async fn reload_one(
    State(admin): State<Arc<Admin>>,
    Path(list): Path<String>,
    Query(options): Query<ReloadOptions>,
) -> Result<Response, ApiError> {
    reload(&admin, &Selection::Named(list), &options).await
}

async fn reload(
    admin: &Admin,
    selection: &Selection,
    options: &ReloadOptions,
) -> Result<Response, ApiError> {
    let reloads = admin.library.reload(selection, options.force).await;
    let reloads = reloads.map_err(|error| {
        let code = "lists_not_loaded";
        ApiError::new(StatusCode::BAD_GATEWAY, code, chain(&error))
            .with_hint("the lists used before stay in use")
    })?;
    if let (Selection::Named(name), []) = (selection, &reloads[..]) {
        let message = format!("there is no list `{name}`");
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_list",
            message,
        ));
    }
    let mut answer = admin.status();
    answer["reloaded"] = json!(reloads);
    let Some(reason) = reloads.iter().find_map(kept) else {
        return Ok(json_response(StatusCode::OK, &answer));
    };
    let hint = "the version used before stays in use";
    answer["error"] = json!({ "code": "lists_not_loaded", "message": reason, "hint": hint });
    Ok(json_response(StatusCode::UNPROCESSABLE_ENTITY, &answer))
}

/// Why a list was not taken, if it was not.
fn kept(reload: &Reload) -> Option<&str> {
    match &reload.outcome {
        Outcome::Kept { reason } => Some(reason),
        Outcome::Unchanged | Outcome::Reloaded { .. } | Outcome::Removed => None,
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

async fn rollback(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let models = admin.scorer.analyst().into_iter();
    let mut models = models.flat_map(|analyst| analyst.models());
    let model = models.find(|model| model.current().manifest().name == name);
    let Some(model) = model.cloned() else {
        let message = format!("there is no model `{name}`");
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "no_such_model",
            message,
        ));
    };
    let rolled_back = tokio::task::spawn_blocking(move || model.rollback()).await;
    rolled_back.map_err(ApiError::internal)?.map_err(|error| {
        let code = "not_rolled_back";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, chain(&error))
            .with_hint("the model that serves stays in use")
    })?;
    Ok(status(State(admin)).await)
}

async fn clear_cache(State(admin): State<Arc<Admin>>) -> Response {
    admin.scorer.clear_cache();
    status(State(admin)).await
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    json_response(StatusCode::OK, &admin.status())
}
