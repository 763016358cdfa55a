//! What the server of every model needs besides its model: to bind, to say where it answers once it does, to bound what it is
//! sent, to answer errors in one form, to count, and to stop when it is told to without dropping what is under way.
//!
//! A model's `serve` is [`Listening::bind`], loading, [`Bound::announce`], [`Bound::serve`]; its router is wrapped in [`framed`].

mod api_error;
mod body;
mod endpoint_file;
mod frame;
mod listening;
mod metrics;
mod openapi;

pub use api_error::{ApiError, ErrorAnswer, ErrorBody, json_response, json_text};
pub use body::{MAX_BODY, read_body};
pub use endpoint_file::EndpointFile;
pub use frame::{MAX_URL, framed, health};
pub use listening::{Bound, Listening, ServeError, stop_signal};
pub use metrics::{HttpMetrics, METRICS_TYPE, exposition};
pub use openapi::{batch_schema, openapi_text};
