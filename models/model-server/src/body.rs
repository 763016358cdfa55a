//! Bodies: bounded in size and in the time they may take to arrive.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use bytes::Bytes;
use tokio::time::timeout;

use crate::ApiError;

/// The largest body.
pub const MAX_BODY: usize = 4 * 1024 * 1024;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads a whole body.
///
/// # Errors
/// When it is larger than [`MAX_BODY`], incomplete, or takes longer than half a minute.
pub async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        // Too long is the one mistake a caller makes. One who hangs up in the middle reads no answer anyway.
        Ok(Err(_)) => {
            let message = format!("the body is incomplete or has more than {MAX_BODY} bytes");
            let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
            Err(error.with_hint("send several requests"))
        }
        Err(_) => {
            let seconds = BODY_TIME.as_secs();
            let message = format!("the body did not arrive within {seconds} seconds");
            Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_too_slow",
                message,
            ))
        }
    }
}
