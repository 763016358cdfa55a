//! What the service is doing about each version of a model, and why; and what it is itself. The leader writes both.

use serde::{Deserialize, Serialize};

use super::state::{Failure, document};
use crate::name::InstanceId;

/// What the service is doing about one version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many copies should run at this moment. During a rolling update that is less than what was asked for.
    pub wanted: u32,
    /// How many copies there are, of whatever phase.
    pub running: u32,
    /// How many of them serve.
    pub serving: u32,
    /// How many of them run where this service can't reach them: on another host, or in another folder.
    #[serde(default, skip_serializing_if = "is_none")]
    pub elsewhere: u32,
    /// The last generation that was wholly carried out: as many copies served as it asked for.
    pub reached: u64,
    /// What is being done, in words; nothing when all is as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doing: Vec<String>,
    /// Why copies are missing that should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// The last runner of a copy that died without having been told to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// Since when this is so.
    pub since_ms: i64,
}
document!(Progress);

/// Copies that can't be started now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// How many.
    pub copies: u32,
    /// Why.
    pub reason: String,
    /// Since when copies wait, whatever they have waited for; not told by earlier releases.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub since_ms: i64,
}

fn is_zero(ms: &i64) -> bool {
    *ms == 0
}

fn is_none(copies: &u32) -> bool {
    *copies == 0
}

/// A copy whose runner died, or that has failed and was given up for a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Which copy it was.
    pub instance: InstanceId,
    /// How it went.
    pub failure: Failure,
}

/// The service that leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// The host it runs on.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Since when it leads.
    pub since_ms: i64,
    /// The memory it may give to copies, in MB.
    pub memory_mb: u64,
    /// The memory it has given, in MB.
    pub memory_used_mb: u64,
    /// The virtual cores it may give to copies, one to each; without end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcores: Option<u32>,
    /// How many copies it runs.
    pub copies: u32,
    /// What holds up the queue, when something does; not told by earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HeldItem>,
    /// Why copies are left as they are, when they are; not told by earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halted>,
}
document!(Leader);

/// Nothing is started, stopped or replaced at the moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Why.
    pub why: String,
    /// Since when.
    pub since_ms: i64,
}

/// An item of the queue that can't be taken now, or the queue itself. What came after it waits, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldItem {
    /// Its name in the queue, as much of it as may be shown; the path of the queue where that can't be read.
    pub item: String,
    /// Why.
    pub why: String,
    /// Since when the service that leads has tried it.
    pub since_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_has_its_golden_sample() {
        let progress = r#"{"wanted":2,"running":1,"serving":1,"elsewhere":1,"reached":3,"doing":["starting 1 copy"],"pending":{"copies":1,"reason":"no room","since_ms":1},"since_ms":2}"#;
        let leader = r#"{"host":"node1","pid":7,"since_ms":1,"memory_mb":4096,"memory_used_mb":512,"vcores":8,"copies":1,"held":{"item":"qn-0000000001","why":"no permission","since_ms":2},"halted":{"why":"no disk","since_ms":3}}"#;
        assert_eq!(
            Progress::parse(progress.as_bytes())
                .expect("progress")
                .to_bytes(),
            progress.as_bytes()
        );
        assert_eq!(
            Leader::parse(leader.as_bytes())
                .expect("a leader")
                .to_bytes(),
            leader.as_bytes()
        );
    }

    #[test]
    fn a_leader_of_an_earlier_release_holds_nothing_up() {
        let text = r#"{"host":"node1","pid":7,"since_ms":1,"memory_mb":4096,"memory_used_mb":512,"copies":1}"#;
        let leader = Leader::parse(text.as_bytes()).expect("a leader");
        assert_eq!(leader.held, None);
        assert_eq!(leader.to_bytes(), text.as_bytes());
    }
}
