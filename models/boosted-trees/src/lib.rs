//! Gradient-boosted trees, of the kind and in the files of XGBoost.
//!
//! * [`Model`] is a forest as it was trained, read from and written to XGBoost's own JSON and UBJSON ([`xgboost`]).
//! * [`Predictor`] is the same forest laid out for speed. Its margins and probabilities equal XGBoost's to the last bit.
//! * [`Explainer`] tells what each feature contributed to a margin, exactly (path-dependent `TreeSHAP`).
//! * [`train`](mod@train) grows a model from a [`Dataset`], the same model every time on any number of threads.
//!
//! What is supported is one output: `binary:logistic` and `reg:squarederror` over numbers, any of which may be missing (NaN).
//! Whatever else a file holds is refused with the reason. Files are read as hostile input: no bytes make this crate panic,
//! hang or reserve memory beyond what the file itself takes.

mod dataset;
mod explainer;
mod model;
mod predictor;
pub mod train;
pub mod xgboost;

pub use dataset::Dataset;
pub use explainer::{Contributions, Explainer};
pub use model::{Model, ModelError, Node, Objective, Tree};
pub use predictor::Predictor;
