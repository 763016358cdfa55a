//! Find deployed models and call them.
//!
//! A program that wants a model's opinion needs two things: an [`Endpoint`](discovery::Endpoint) that answers right now, and
//! the answer. [`MaasClient`] gives both:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use maas_client::{MaasClient, SessionConfig};
//!
//! let maas = MaasClient::connect(SessionConfig::new("node1:2181")).await?;
//! let endpoint = maas.get_endpoint("dga", None)?;
//! let answer = maas.model_apply(&endpoint, None, &[("host", "yahoo.com")]).await?;
//! println!("{}", answer["is_malicious"]);
//! # Ok(()) }
//! ```
//!
//! Below that stand the parts the control plane itself is built from, in reading order: what things are called
//! ([`name`], [`endpoint_url`]), where they lie ([`layout`]), how they are written ([`wire`]), the ZooKeeper [`session`], the request
//! [`queue`], the [`registry`] of running copies, what their runners say of them
//! ([`instances`]), [`discovery`] by watches, and [`apply`] over HTTP. [`spelling`] is for
//! command lines that keep the option names of the original.
//!
//! Znodes, JSON and semantics stay those of Apache Metron's Model-as-a-Service, so programs of both kinds can share a
//! ZooKeeper. This library starts no process.

pub mod name;

pub mod endpoint_url;

pub mod layout;

pub mod wire;

pub mod session;

pub mod held;

pub mod queue;

pub mod registry;

pub mod instances;

pub mod discovery;

mod ejection;

mod complaints;

pub mod apply;

pub mod spelling;

mod client;

pub use client::{ConnectError, MaasClient};
pub use name::{InstanceId, ModelName, Version};
pub use session::{Session, SessionConfig};
