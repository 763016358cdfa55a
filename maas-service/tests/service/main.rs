//! The service against real parties: a real ZooKeeper, real runners, real models.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod command_line;
mod draining;
mod healing;
mod life;
mod model_faults;
mod places;
mod queue_items;
mod resources;
mod world;
