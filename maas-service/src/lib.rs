//! The daemon `maas_service` and the per-instance `maas_runner`.
//!
//! The daemon decides and the runners do. In the daemon, [`intake`] turns requests into desired state, [`plan`] says what
//! brings the running copies to it, and [`reconcile`] carries that out through the [`launcher`]. A [`runner`] is a process of
//! its own for each copy, and lives on when the daemon dies; the two share nothing but an [`instance_folder`].

pub mod service;

pub mod leader;

pub mod intake;

pub mod plan;

pub mod rollout;

pub mod reconcile;

mod complaints;

pub mod tree;

pub mod launcher;

pub mod fence;

pub mod instances;

pub mod instance_folder;

pub mod runner;

pub mod process;

pub mod cgroup;

pub mod descriptors;

pub mod untrusted;

mod redaction;

pub mod options;

pub mod crash;

pub mod outage;

pub mod signals;

pub mod logging;

#[cfg(test)]
mod simulation;
