//! What was asked for and what came of it, one document for each version of a model: the last generations of what should
//! run, oldest first.

use serde::{Deserialize, Serialize};

use super::request::Action;
use super::state::document;

/// How many generations are kept.
pub const KEPT_GENERATIONS: usize = 20;

/// The last generations of one version of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The generations, oldest first.
    pub generations: Vec<Generation>,
}
document!(History);

/// One change of what should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub generation: u64,
    /// What was done.
    pub change: Change,
    /// The request that made it.
    pub request: String,
    /// How many copies should run from then on.
    pub instances: u32,
    /// Memory of one copy, in MB.
    pub memory_mb: u32,
    /// Where the model's files lie.
    pub path: String,
    /// When.
    pub at_ms: i64,
    /// What is worth knowing about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What made a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Copies were added.
    Added,
    /// Copies were removed.
    Removed,
    /// The copies were to be started anew.
    Restarted,
    /// It has taken the place of another version.
    Replaced,
    /// Another version has taken its place.
    ReplacedByOther,
    /// It did not come to serve, and the version it was to replace is back.
    RolledBack,
}

impl From<Action> for Change {
    fn from(action: Action) -> Self {
        match action {
            Action::Add => Self::Added,
            Action::Remove => Self::Removed,
            Action::Restart => Self::Restarted,
        }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Restarted => "restarted",
            Self::Replaced => "has replaced the old version",
            Self::ReplacedByOther => "was replaced",
            Self::RolledBack => "rolled back",
        })
    }
}

impl History {
    /// Adds a generation and forgets the oldest when there are too many.
    pub fn push(&mut self, generation: Generation) {
        self.generations.push(generation);
        let surplus = self.generations.len().saturating_sub(KEPT_GENERATIONS);
        self.generations.drain(..surplus);
    }

    /// The number of the last generation; 0 when there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.generations.last().map_or(0, |last| last.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"generations":[{"generation":1,"change":"added","request":"r","instances":2,"memory_mb":64,"path":"/m","at_ms":1}]}"#;

    #[test]
    fn a_history_has_its_golden_sample() {
        let history = History::parse(GOLDEN.as_bytes()).expect("a history");
        assert_eq!(history.to_bytes(), GOLDEN.as_bytes());
    }

    #[test]
    fn only_the_last_generations_are_kept() {
        let mut history = History::parse(GOLDEN.as_bytes()).expect("a history");
        let first = history.generations[0].clone();
        for generation in 2..=30 {
            history.push(Generation {
                generation,
                ..first.clone()
            });
        }
        assert_eq!(history.generations.len(), KEPT_GENERATIONS);
        assert_eq!(
            (history.generations[0].generation, history.last()),
            (11, 30)
        );
    }
}
