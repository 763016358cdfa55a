//! What the server of a model needs besides its model: to bind, to say where it answers once it does, to answer errors in one
//! form, and to stop when it is told to without dropping what is under way.

mod api_error;
mod endpoint_file;
mod serve;

pub use api_error::{ApiError, json_response};
pub use endpoint_file::EndpointFile;
pub use serve::{Bound, stop_signal};
