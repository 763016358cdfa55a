//! Tells generated domain names from real ones.
//!
//! Malware finds its masters by trying names that an algorithm makes. [`Detector`](detector::Detector) says of a name how much
//! it looks like one of those: it takes the label that somebody chose ([`name`]), turns it into numbers ([`features`], over
//! [`ngrams`] of real labels), and asks boosted trees, whose answer becomes a score that means the same in every model
//! ([`model_evaluation::calibration`]). Where the algorithm's seed is known, names are found by [`prediction_list`] instead,
//! which [`prediction_watch`] keeps up to date.
//!
//! A model comes along ([`model_files`]). It is made by [`training`] out of lists of names ([`corpus`]) and of what the
//! generators of documented [`families`] add, measured by [`evaluation`] and shown by [`report`].

pub mod answer;
pub mod corpus;
pub mod detector;
pub mod evaluation;
pub mod families;
pub mod features;
pub mod model_files;
pub mod name;
pub mod ngrams;
pub mod prediction_list;
pub mod prediction_watch;
pub mod report;
pub mod request;
pub mod server;
pub mod training;
