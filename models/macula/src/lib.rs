//! Macula scores threat indicators: IP addresses and ranges, domains, URLs, e-mail addresses and file hashes.
//!
//! The way of one indicator through this crate is the order of the modules. [`request`] takes the caller's text apart,
//! [`indicators`] says what kind of thing each item is and brings it into one normal form, [`threat_lists`] finds the entries that
//! speak of it, [`judgement`] turns these and a base score into a score between 0 and 100 with a verdict, [`answer`] writes
//! that down. [`scorer`] ties the steps together; [`server`] offers them over HTTP.
//!
//! The base score is neutral here. It comes to [`judgement`] as an argument, so that a model's opinion takes its place
//! without the rules knowing.

pub mod answer;
pub mod judgement;
pub mod options;
pub mod request;
pub mod scorer;
pub mod server;
pub mod table;
