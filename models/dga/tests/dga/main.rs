//! The program as people, callers and the service meet it: real processes, real HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod command_line;
mod contract;
mod http;
mod models;
mod running;
