//! Answers in JSON, errors among them: `{"error": {"code", "message", "hint"?}}`.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A request that could not be answered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// What is wrong with it.
    pub error: ErrorBody,
}

/// What is wrong with a request.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// For programs; it stays the same between versions.
    #[schema(value_type = String)]
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What would help, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An error as callers see it.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl ApiError {
    /// An error with a word for programs and a sentence for people.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// The same, with what would help.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> ApiError {
        ApiError {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// For what is no fault of the request. What it was goes into the log.
    pub fn internal(error: impl std::error::Error) -> ApiError {
        tracing::error!(%error, "request failed");
        let message = "the request failed for a reason that is not its own; the log says more";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let answer = ErrorAnswer {
            error: ErrorBody {
                code: self.code,
                message: self.message,
                hint: self.hint,
            },
        };
        json_response(self.status, &answer)
    }
}

/// An answer in JSON.
pub fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// JSON that is text already, as an answer.
pub fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
