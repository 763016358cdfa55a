//! Our own tree: what should run, what each runner sees, and what became of each request.
//!
//! No old program reads these, so their forms may grow; unknown fields are ignored on reading. Times are milliseconds
//! since 1970.

use serde::{Deserialize, Serialize};

use super::request::Action;
use crate::name::{InstanceId, ModelName, Version};

macro_rules! document {
    ($type:ty) => {
        impl $type {
            /// Reads a znode's data.
            ///
            /// # Errors
            /// When it is no such document.
            pub fn parse(bytes: &[u8]) -> Result<Self, $crate::wire::WireError> {
                $crate::wire::first_document(bytes)
            }

            /// The znode's data.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("texts, numbers and lists of them always serialise")
            }
        }
    };
}
pub(super) use document;

/// What should run of one version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
    /// How many copies should run.
    pub instances: u32,
    /// Memory of one copy, in MB.
    pub memory_mb: u32,
    /// Where the model's files lie, as the request said.
    pub path: String,
    /// Counts the accepted requests that changed this document.
    pub generation: u64,
    /// The request that made this generation.
    pub request: String,
    /// The generation in which the last RESTART came: copies launched before it are replaced by new ones.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarted: u64,
    /// The version that this one is taking the place of, as long as that lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
}
document!(Desired);

/// A version that another one is taking the place of, copy by copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaces {
    /// The old version. Its copies are wanted again should the new ones not come to serve.
    pub version: Version,
    /// How long the next new copy may take to serve, in seconds.
    pub deadline_s: u64,
    /// The generation with which it began.
    #[serde(default)]
    pub since: u64,
    /// How many copies of the new version were asked for before; that many are kept when it is given up.
    #[serde(default)]
    pub before: u32,
    /// Why it is being given up: the old copies come back first, then the new ones go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going_back: Option<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Where a copy is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The runner has started and nothing else yet.
    Pending,
    /// The bundle is being fetched from the model store.
    Fetching,
    /// The script runs; `endpoint.dat` has not come yet.
    Starting,
    /// `endpoint.dat` is read; the URL is asked until it answers.
    Probing,
    /// It answers and is registered.
    Serving,
    /// It is withdrawn and finishes what it has begun.
    Draining,
    /// It failed and will be started again.
    Backoff,
    /// It has failed again and again without ever serving; it is started again only every few minutes.
    CrashLoop,
    /// It failed in a way that starting again can't mend.
    Failed,
}

impl Phase {
    /// Whether calls can reach the copy.
    #[must_use]
    pub fn is_serving(self) -> bool {
        self == Self::Serving
    }

    /// Whether the copy has failed and does nothing but wait.
    #[must_use]
    pub fn has_failed(self) -> bool {
        matches!(self, Self::Backoff | Self::CrashLoop | Self::Failed)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Fetching => "fetching",
            Self::Starting => "starting",
            Self::Probing => "probing",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash loop",
            Self::Failed => "failed",
        })
    }
}

/// What the runner of one copy sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Which copy.
    pub instance: InstanceId,
    /// Of which model.
    pub name: ModelName,
    /// Of which version.
    pub version: Version,
    /// The host it runs on.
    pub host: String,
    /// Its phase.
    pub phase: Phase,
    /// Since when it is in this phase.
    pub since_ms: i64,
    /// How often it was started again.
    pub restarts: u32,
    /// The process id of the model's script, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Where it answers, while it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why it is in this phase, when that is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it will be started again, in [`Phase::Backoff`] and [`Phase::CrashLoop`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at_ms: Option<i64>,
    /// The generation of what should run by which it was launched.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// The last failure it had, also when it serves again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}
document!(InstanceStatus);

/// How a copy failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub at_ms: i64,
    /// Why, in words.
    pub why: String,
    /// The exit code of the script, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// How the copy used more memory than it may, if that is why it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<OutOfMemory>,
    /// Whether the model was not even started, for the model store could not be reached. That says nothing of the model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub store_away: bool,
    /// The last lines the model printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_output: Vec<String>,
}

/// A copy that used more memory than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutOfMemory {
    /// What it may use, in MB.
    pub limit_mb: u64,
    /// What it was seen to use, in MB.
    pub used_mb: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It changed what should run.
    Accepted,
    /// It was understood, and turned down.
    Refused,
    /// It could not be understood.
    SetAside,
    /// It was accepted, and a later request took it back before it was carried out.
    Superseded,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestResult {
    /// Its identity.
    pub request: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, when it was not simply accepted; what is worth knowing, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Of which model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ModelName>,
    /// Of which version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// How many copies should run from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// The generation it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// When it was answered.
    pub answered_ms: i64,
}
document!(RequestResult);

/// An item of the queue that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The queue node's name.
    pub item: String,
    /// Why it was set aside.
    pub reason: String,
    /// How many bytes it had.
    pub bytes: usize,
    /// The beginning of them, as text.
    pub excerpt: String,
    /// When.
    pub at_ms: i64,
}
document!(DeadLetter);

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_our_own_tree_has_its_golden_sample() {
        let desired = r#"{"name":"dga","version":"1.0","instances":2,"memory_mb":512,"path":"file:/m","generation":3,"request":"r"}"#;
        let status = r#"{"instance":"i","name":"dga","version":"1.0","host":"node1","phase":"backoff","since_ms":1,"restarts":2,"reason":"exit code 1","retry_at_ms":5,"generation":3,"last_failure":{"at_ms":1,"why":"exit code 1","exit_code":1,"last_output":["boom"]}}"#;
        let result = r#"{"request":"r","outcome":"set_aside","reason":"empty","answered_ms":1}"#;
        let accepted = r#"{"request":"r","outcome":"accepted","action":"ADD","name":"dga","version":"1.0","instances":2,"generation":3,"answered_ms":1}"#;
        let dead = r#"{"item":"qn-0000000000","reason":"empty","bytes":0,"excerpt":"","at_ms":1}"#;
        assert_eq!(
            Desired::parse(desired.as_bytes())
                .expect("desired")
                .to_bytes(),
            desired.as_bytes()
        );
        assert_eq!(
            InstanceStatus::parse(status.as_bytes())
                .expect("status")
                .to_bytes(),
            status.as_bytes()
        );
        assert_eq!(
            RequestResult::parse(result.as_bytes())
                .expect("result")
                .to_bytes(),
            result.as_bytes()
        );
        assert_eq!(
            RequestResult::parse(accepted.as_bytes())
                .expect("result")
                .to_bytes(),
            accepted.as_bytes()
        );
        assert_eq!(
            DeadLetter::parse(dead.as_bytes())
                .expect("letter")
                .to_bytes(),
            dead.as_bytes()
        );
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        assert!(
            RequestResult::parse(
                br#"{"request":"r","outcome":"refused","answered_ms":1,"later":{}}"#
            )
            .is_ok()
        );
    }
}
