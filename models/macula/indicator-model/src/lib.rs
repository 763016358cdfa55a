//! Models that score indicators by what was gathered about them.
//!
//! A model is a [`Bundle`]: a folder with trees and a [`Manifest`] that says for which indicators it is, which features it
//! wants and what it makes of each ([`contract`]), how its margins become scores, and on which examples it must give which
//! margin. [`IndicatorModel`] is a bundle that passed all checks; it scores and explains. [`LiveModel`] follows a folder:
//! takes a new bundle when it is whole and right, archives the old one, and goes back to it when told to.

pub mod bundle;
pub mod contract;
mod live;
mod model;

pub use bundle::{Bundle, BundleError, Manifest, ModelKind, Tells, TrainingData};
pub use contract::{Contract, ContractError, Encoding, FeatureContract, Readings};
pub use live::{LiveModel, LiveModelError, Refreshed};
pub use model::{CategoryShare, Contribution, Explanation, IndicatorModel, ModelError, Score};
