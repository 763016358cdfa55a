//! Macula scores threat indicators: IP addresses and ranges, domains, URLs, e-mail addresses and file hashes.
//!
//! The way of one indicator through this crate is the order of the modules. [`request`] takes the caller's text apart,
//! [`indicators`] says what kind of thing each item is and brings it into one normal form, [`threat_lists`] finds the entries that
//! speak of it, which are [`evidence`] from then on, [`judgement`] turns the evidence and a base score into a score between 0 and
//! 100 with a verdict, [`answer`] writes that down. [`scorer`] ties the steps together and remembers what it scored;
//! [`server`] offers them over HTTP, and [`admin`] what changes them.
//!
//! The base score comes to [`judgement`] as an argument: the [`analyst`]'s, who asks a model, or a neutral one where there is no
//! model or it knows too little. What [`pivot`] makes of an address's domains can take its place without the rules knowing.

pub mod admin;
pub mod analyst;
pub mod answer;
pub mod decay;
pub mod evidence;
pub mod explanation;
pub mod feature_set;
pub mod inspection;
pub mod judgement;
pub mod metrics;
pub mod model_mirror;
mod openapi;
pub mod options;
pub mod pivot;
pub mod request;
mod score_cache;
pub mod scorer;
pub mod server;
pub mod table;

pub use score_cache::{CacheSettings, Judged};
