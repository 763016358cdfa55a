//! What should come of a list of requests, worked out in the plainest way there is, to compare the real outcome with.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

/// A request as a schedule makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
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
    /// Something that is no request.
    Garbage {
        kind: usize,
    },
}

/// What stands in some of what is no request, and in nothing that anybody may read afterwards. Requests as such have no place
/// for a secret: what a model may know is in its bundle, or in the environment its daemon gives it.
pub(crate) const SECRET: &str = "hunter2";

/// Items that are no requests.
const GARBAGE: [&str; 4] = [
    "what?",
    r#"{"name":"a","version":"1","numInstances":1,"memory":100,"action":"ADD","path":"/0","password":"hunter2"}"#,
    r#"{"name":"a","version":"1","numInstances":1,"memory":100,"action":"ADD","path":"hdfs://joe:hunter2@nn/0"}"#,
    r#"{"name":"a","memory":{"env":["hunter2"]},"env":{"TOKEN":"hunter2"#,
];

pub(crate) const MODELS: [&str; 3] = ["a", "b", "c"];
/// How many copies of one version have room on the machine.
pub(crate) const MOST: u32 = 10;
pub(crate) const VERSIONS: [&str; 3] = ["1", "2", "3"];

impl Ask {
    pub(crate) fn is_garbage(&self) -> bool {
        matches!(self, Self::Garbage { .. })
    }

    /// The item to put into the queue, with an id of the sender's if it has one.
    pub(crate) fn item(&self, id: Option<&str>) -> String {
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
            Self::Garbage { kind } => GARBAGE[*kind].to_owned(),
        }
    }
}

/// A list of requests, with the ids of their senders where they have one.
pub(crate) fn draw_asks(dice: &mut StdRng, with_updates: bool) -> Vec<(Ask, Option<String>)> {
    let mut asks = Vec::new();
    for _ in 0..dice.random_range(3..14) {
        let model = dice.random_range(0..MODELS.len());
        let version = dice.random_range(0..2);
        let copies = dice.random_range(1..4);
        let ask = match dice.random_range(0..100) {
            0..45 => {
                let path = u32::from(dice.random_ratio(1, 10));
                Ask::Add {
                    model,
                    version,
                    copies,
                    path,
                }
            }
            45..70 => Ask::Remove {
                model,
                version,
                copies,
            },
            70..80 => Ask::Restart { model, version },
            80..92 if with_updates => Ask::Replace {
                model,
                version,
                copies,
            },
            _ => Ask::Garbage {
                kind: dice.random_range(0..GARBAGE.len()),
            },
        };
        let id = dice
            .random_ratio(1, 4)
            .then(|| format!("id-{}", dice.random_range(0..4)));
        asks.push((ask, id));
    }
    asks
}

/// How many copies of each version should run in the end, and how many requests are accepted, refused and set aside, when
/// each takes effect once and in this order. A request whose id came before counts for nothing. Knows nothing of rolling
/// updates.
pub(crate) fn expected(
    asks: &[(Ask, Option<String>)],
) -> (BTreeMap<(usize, usize), u32>, [usize; 3]) {
    let mut standing: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    // What a version is made of it stays made of, also when nothing runs of it.
    let mut contents: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let mut seen: Vec<&String> = Vec::new();
    let mut outcomes = [0; 3];
    for (ask, id) in asks {
        if let (Some(id), false) = (id, ask.is_garbage()) {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
        }
        let accepted = match ask {
            Ask::Garbage { .. } => {
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
                let key = (*model, *version);
                let sum = standing.get(&key).unwrap_or(&0) + copies;
                let is_known = contents.get(&key).is_none_or(|known| known == path);
                let fits = is_known && sum <= MOST;
                if fits {
                    standing.insert(key, sum);
                    contents.insert(key, *path);
                }
                fits
            }
            Ask::Remove {
                model,
                version,
                copies,
            } => match standing.get_mut(&(*model, *version)) {
                Some(running) => {
                    *running = running.saturating_sub(*copies);
                    if *running == 0 {
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
    (standing, outcomes)
}
