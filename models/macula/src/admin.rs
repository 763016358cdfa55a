//! What changes the process. It has a listener of its own, so that no firewall rule or proxy in front of the public one has to
//! tell paths apart; the public one answers none of these.
//!
//! | path | effect |
//! |---|---|
//! | `POST /admin/reload` | reads the lists anew; what cannot be read leaves the old ones in use |
//! | `DELETE /admin/cache` | forgets the scores made before |
//! | `GET /admin/status` | the lists and the cache |

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use model_server::{ApiError, HttpMetrics, framed, json_response};
use prometheus_client::registry::Registry;
use serde_json::json;
use sha2::{Digest, Sha256};
use threat_lists::Lists;
use tokio::sync::Mutex;

use crate::inspection::Loaded;
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
    lists: PathBuf,
    token: Option<Token>,
    /// Two reloads at once would be twice the memory, and the older could win.
    reloading: Mutex<()>,
}

impl Admin {
    /// Changes `scorer`, whose lists come from the folder `lists`.
    pub fn new(scorer: Arc<Scorer>, lists: PathBuf, token: Option<Token>) -> Admin {
        Admin {
            scorer,
            lists,
            token,
            reloading: Mutex::new(()),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        let admin = Arc::new(self);
        let metrics = Arc::new(HttpMetrics::new(&mut Registry::default()));
        let routes = Router::new()
            .route("/admin/reload", post(reload))
            .route("/admin/cache", delete(clear_cache))
            .route("/admin/status", get(status))
            .with_state(Arc::clone(&admin));
        let paths = "POST /admin/reload, DELETE /admin/cache or GET /admin/status";
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

async fn reload(State(admin): State<Arc<Admin>>) -> Result<Response, ApiError> {
    let _alone = admin.reloading.lock().await;
    let folder = admin.lists.clone();
    let lists = tokio::task::spawn_blocking(move || Lists::load(&folder)).await;
    match lists.map_err(ApiError::internal)? {
        Ok(lists) => {
            admin.scorer.replace_lists(lists);
            let snapshot = admin.scorer.snapshot();
            tracing::info!(
                epoch = snapshot.epoch,
                entries = snapshot.lists.entries(),
                "lists changed"
            );
            Ok(status(State(Arc::clone(&admin))).await)
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn Error,
                "lists could not be loaded, the old ones stay"
            );
            let mut message = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                message = format!("{message}: {error}");
                cause = error.source();
            }
            let code = "lists_not_loaded";
            let answer = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, message);
            Err(answer.with_hint("the lists used before stay in use"))
        }
    }
}

async fn clear_cache(State(admin): State<Arc<Admin>>) -> Response {
    admin.scorer.clear_cache();
    status(State(admin)).await
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    let snapshot = admin.scorer.snapshot();
    let (entries, bytes) = admin.scorer.cache_size();
    let answer = json!({
        "loaded": Loaded::of(&snapshot, Timestamp::now()),
        "cache": { "entries": entries, "bytes": bytes },
    });
    json_response(StatusCode::OK, &answer)
}
