//! What programs say of a copy that gives them no answers.

use serde::{Deserialize, Serialize};

use super::state::document;
use crate::name::{InstanceId, ModelName, Version};

/// A program gets no answers from a copy that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// Which copy.
    pub instance: InstanceId,
    /// Of which model.
    pub name: ModelName,
    /// Of which version.
    pub version: Version,
    /// How the last call went wrong. Nothing of what was asked or answered.
    pub why: String,
    /// When the first of the calls failed that have failed in a row.
    pub since_ms: i64,
    /// The host the program runs on.
    pub host: String,
    /// What the program is called.
    pub program: String,
    /// Its process id.
    pub pid: u32,
}
document!(Complaint);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_has_its_golden_sample() {
        let sample = br#"{"instance":"i","name":"dga","version":"1.0","why":"it answers 500","since_ms":1,"host":"node1","program":"loader","pid":7}"#;
        let complaint = Complaint::parse(sample).expect("a complaint");
        assert_eq!(complaint.to_bytes(), sample);
    }
}
