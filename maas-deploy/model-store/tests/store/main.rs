//! What a store promises, kept by the local disk and by a real HDFS alike: every test runs on both.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

mod damage;
mod place;
mod promises;
