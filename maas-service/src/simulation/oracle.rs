//! What should come of a list of requests, worked out in the plainest way there is, to compare the real outcome with.

use std::collections::BTreeMap;

/// A request as a schedule makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Add {
        model: usize,
        version: usize,
        copies: u32,
        path: u32,
    },
    Remove {
        model: usize,
        version: usize,
        copies: u32,
    },
    Restart {
        model: usize,
        version: usize,
    },
    /// The version after this one takes its place.
    Replace {
        model: usize,
        version: usize,
        copies: u32,
    },
    Garbage,
}

pub(super) const MODELS: [&str; 3] = ["a", "b", "c"];
/// How many copies of one version have room on the machine.
pub(super) const MOST: u32 = 10;
pub(super) const VERSIONS: [&str; 3] = ["1", "2", "3"];

impl Ask {
    /// The item to put into the queue, with an id of the sender's if it has one.
    pub(super) fn item(&self, id: Option<&str>) -> String {
        let id = id.map_or(String::new(), |id| format!(r#","id":"{id}""#));
        let common = |model: &usize, version: &usize, copies: &u32, action: &str| {
            format!(
                r#""name":"{}","version":"{}","numInstances":{copies},"memory":100,"action":"{action}""#,
                MODELS[*model], VERSIONS[*version]
            )
        };
        match self {
            Self::Add {
                model,
                version,
                copies,
                path,
            } => {
                format!(
                    r#"{{{},"path":"/{path}"{id}}}"#,
                    common(model, version, copies, "ADD")
                )
            }
            Self::Remove {
                model,
                version,
                copies,
            } => {
                format!(
                    r#"{{{},"path":null{id}}}"#,
                    common(model, version, copies, "REMOVE")
                )
            }
            Self::Restart { model, version } => {
                format!(
                    r#"{{{},"path":null{id}}}"#,
                    common(model, version, &0, "RESTART")
                )
            }
            Self::Replace {
                model,
                version,
                copies,
            } => format!(
                r#"{{{},"path":"/0","replace":"{}","deadline":20{id}}}"#,
                common(model, &(version + 1), copies, "ADD"),
                VERSIONS[*version]
            ),
            Self::Garbage => "what?".to_owned(),
        }
    }
}

/// How many copies of each version should run in the end, and how many requests are accepted, refused and set aside, when
/// each takes effect once and in this order. A request whose id came before counts for nothing. Knows nothing of rolling
/// updates.
pub(super) fn expected(
    asks: &[(Ask, Option<String>)],
) -> (BTreeMap<(usize, usize), u32>, [usize; 3]) {
    let mut standing: BTreeMap<(usize, usize), (u32, u32)> = BTreeMap::new();
    let mut seen: Vec<&String> = Vec::new();
    let mut outcomes = [0; 3];
    for (ask, id) in asks {
        if let (Some(id), true) = (id, *ask != Ask::Garbage) {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
        }
        let accepted = match ask {
            Ask::Garbage => {
                outcomes[2] += 1;
                continue;
            }
            Ask::Replace { .. } => unreachable!("schedules with updates are checked otherwise"),
            Ask::Add {
                model,
                version,
                copies,
                path,
            } => {
                let entry = standing.entry((*model, *version)).or_insert((0, *path));
                let fits = entry.1 == *path && entry.0 + copies <= MOST;
                if fits {
                    entry.0 += copies;
                } else if entry.0 == 0 {
                    standing.remove(&(*model, *version));
                }
                fits
            }
            Ask::Remove {
                model,
                version,
                copies,
            } => match standing.get_mut(&(*model, *version)) {
                Some(entry) => {
                    entry.0 = entry.0.saturating_sub(*copies);
                    if entry.0 == 0 {
                        standing.remove(&(*model, *version));
                    }
                    true
                }
                None => false,
            },
            Ask::Restart { model, version } => standing.contains_key(&(*model, *version)),
        };
        outcomes[usize::from(!accepted)] += 1;
    }
    let counts = standing.into_iter().map(|(key, (copies, _))| (key, copies));
    (counts.collect(), outcomes)
}
