//! From labelled indicators to a model bundle.
//!
//! Four steps, each from files to files, so that each can be looked at and repeated: [`command`] gathers what is known about a
//! [labelled set](labelled) into rows, enriches them with what the [text itself](lexical) tells, [selects](selection) the
//! features worth having, and [trains](training) on them. [Evaluation](evaluation) is on folds that keep the names of one
//! registration together, and on families left out of training. Everything is deterministic: the same rows and recipe make the same bundle, byte for byte.

pub mod command;
pub mod evaluation;
pub mod gathering;
pub mod labelled;
pub mod lexical;
pub mod quality;
pub mod report;
pub mod rows;
pub mod selection;
pub mod training;
