//! What a classifier's scores are worth.
//!
//! [`metrics`] measures scores of things that are known: how often the harmless ones raise an alarm, how many of the others are
//! found, and how sure that is. [`calibration`] turns margins into scores that mean the same in every model. [`figures`] draws them for reports,
//! and [`bars`](mod@bars) what moved a single one.

pub mod bars;
pub mod calibration;
pub mod figures;
pub mod metrics;
