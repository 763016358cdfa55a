//! The service against real parties: a real ZooKeeper, real runners, real models.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod admission;
mod command_line;
mod healing;
mod life;
mod load;
mod model_faults;
mod queue_items;
mod resources;
mod updates;
mod world;
