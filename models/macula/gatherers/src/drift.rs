//! Drift: services change their answers, and nobody tells us. A change of shape is noticed here and told once; scoring goes on.
//!
//! Of every request of a gatherer the paths in its answers are learned, with the types that stand there. After [`LEARNING`] answers a path
//! or a type never seen, a path that is no longer there, a word beside the few that used to stand there and a path that is
//! suddenly empty are reported: each kind and path once an hour, with a sample that says what the value looked like and not
//! what it was. Pure, but for what it has learned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Answers that are only learned from.
pub(crate) const LEARNING: u64 = 20;

/// A path that has vanished was in more than 99 of 100 answers before, and in none of so many since.
const VANISHED_AFTER: u64 = 50;

/// Answers after which few different words are taken for all there are.
const WORDS_LEARNED: u64 = 100;

/// More different words than this are no fixed set.
const MOST_WORDS: usize = 16;

/// More members than this are data, not shape: domain names as keys, for example.
const MOST_MEMBERS: usize = 64;

/// More paths than this are not followed.
const MOST_PATHS: usize = 2000;

/// More is not told in an hour.
const MOST_TOLD: usize = 4 * MOST_PATHS;

/// How often the same is told.
const REPEAT_AFTER: Duration = Duration::from_secs(60 * 60);

/// How many answers the share of empty ones is counted over.
const NULL_WINDOW: u64 = 50;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// A path that was never there.
    NewPath,
    /// A path that always was there.
    VanishedPath,
    /// A type that never stood at this path.
    TypeChange,
    /// A word that never stood at a path with few different ones.
    NewWord,
    /// Nothing stands where something used to.
    MoreNulls,
    /// What stands where a feature should be is none; the path is the feature's name.
    Unexpected,
}

/// A change in the shape of a service's answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DriftAlert {
    /// The gatherer.
    pub gatherer: String,
    /// What changed.
    pub kind: DriftKind,
    /// Where.
    pub path: String,
    /// What is there now, without its content: `text of 12 characters`.
    pub sample: String,
    /// When it was noticed.
    pub at: Timestamp,
}

/// The shape of the answers to one request, as far as it was seen.
#[derive(Debug)]
pub(crate) struct Shape {
    gatherer: String,
    answers: u64,
    paths: HashMap<String, Path>,
    told: HashMap<(DriftKind, String), Timestamp>,
}

#[derive(Debug, Default)]
struct Path {
    since: u64,
    seen: u64,
    last_seen: u64,
    types: BTreeSet<&'static str>,
    /// `None` when there are too many.
    words: Option<BTreeSet<String>>,
    nulls: u64,
    window_seen: u64,
    window_nulls: u64,
}

/// What one answer has at a path.
#[derive(Default)]
struct Here<'a> {
    types: BTreeSet<&'static str>,
    words: BTreeSet<&'a str>,
    sample: String,
}

impl Shape {
    /// Nothing seen yet.
    pub(crate) fn new(gatherer: &str) -> Shape {
        Shape {
            gatherer: gatherer.into(),
            answers: 0,
            paths: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Learns from an answer, and tells what is new in it.
    pub(crate) fn observe(&mut self, document: &Value, now: Timestamp) -> Vec<DriftAlert> {
        let mut here = BTreeMap::new();
        collect(document, String::new(), &mut here);
        self.answers += 1;
        let mut found = Vec::new();
        for (path, there) in &here {
            self.observe_path(path, there, &mut found);
        }
        self.find_vanished(&mut found);
        found.sort_unstable();
        found
            .into_iter()
            .filter_map(|(kind, path, sample)| self.tell(kind, path, sample, now))
            .collect()
    }

    /// Tells that a feature could not be made of what stands where it should. Needs no learning: the mapping says what
    /// should stand there.
    pub(crate) fn unexpected(&mut self, feature: &str, now: Timestamp) -> Option<DriftAlert> {
        let sample = "something of another type than the feature has".to_owned();
        self.tell(DriftKind::Unexpected, feature.to_owned(), sample, now)
    }

    fn observe_path(
        &mut self,
        path: &str,
        here: &Here<'_>,
        found: &mut Vec<(DriftKind, String, String)>,
    ) {
        let learned = self.answers > LEARNING;
        let mut tell = |kind| found.push((kind, path.to_owned(), here.sample.clone()));
        let Some(known) = self.paths.get_mut(path) else {
            if learned {
                tell(DriftKind::NewPath);
            }
            if self.paths.len() < MOST_PATHS {
                let mut new = Path {
                    since: self.answers,
                    words: Some(BTreeSet::new()),
                    ..Path::default()
                };
                new.learn(here, self.answers);
                self.paths.insert(path.to_owned(), new);
            }
            return;
        };
        // A path that was only ever empty says nothing about types.
        let is_null = here.types.iter().all(|kind| *kind == "null");
        let knows_types = known.types.iter().any(|kind| *kind != "null");
        if learned && !is_null && knows_types && !here.types.is_subset(&known.types) {
            tell(DriftKind::TypeChange);
        }
        if let Some(words) = &known.words
            && known.seen >= WORDS_LEARNED
            && !words.is_empty()
            && here.words.iter().any(|word| !words.contains(*word))
        {
            tell(DriftKind::NewWord);
        }
        if known.nulls_jumped() {
            tell(DriftKind::MoreNulls);
        }
        known.learn(here, self.answers);
    }

    fn find_vanished(&mut self, found: &mut Vec<(DriftKind, String, String)>) {
        let answers = self.answers;
        let vanished = |path: &Path| {
            let before = path.last_seen + 1 - path.since;
            answers - path.last_seen == VANISHED_AFTER
                && before >= LEARNING
                && path.seen * 100 > before * 99
        };
        for (path, known) in &self.paths {
            if vanished(known) {
                let sample = format!("nothing in the last {VANISHED_AFTER} answers");
                found.push((DriftKind::VanishedPath, path.clone(), sample));
            }
        }
    }

    fn tell(
        &mut self,
        kind: DriftKind,
        path: String,
        sample: String,
        now: Timestamp,
    ) -> Option<DriftAlert> {
        let key = (kind, path.clone());
        let is_recent = |before: &Timestamp| {
            let since = Duration::try_from(now.duration_since(*before)).unwrap_or_default();
            since < REPEAT_AFTER
        };
        let repeated = self.told.get(&key).is_some_and(is_recent);
        if repeated {
            return None;
        }
        if self.told.len() >= MOST_TOLD {
            self.told.retain(|_, before| is_recent(before));
            if self.told.len() >= MOST_TOLD {
                return None;
            }
        }
        self.told.insert(key, now);
        Some(DriftAlert {
            gatherer: self.gatherer.clone(),
            kind,
            path,
            sample,
            at: now,
        })
    }
}

impl Path {
    fn learn(&mut self, here: &Here<'_>, answer: u64) {
        self.seen += 1;
        self.last_seen = answer;
        self.types.extend(&here.types);
        if let Some(words) = &mut self.words {
            words.extend(here.words.iter().map(|word| (*word).to_owned()));
            if words.len() > MOST_WORDS {
                self.words = None;
            }
        }
        let null = u64::from(here.types.contains("null"));
        if self.window_seen == NULL_WINDOW {
            (self.window_seen, self.window_nulls) = (0, 0);
        }
        self.window_seen += 1;
        self.window_nulls += null;
        self.nulls += null;
    }

    /// Whether half of the last answers are empty here and hardly any was before.
    fn nulls_jumped(&self) -> bool {
        let before = self.seen - self.window_seen;
        let nulls_before = self.nulls - self.window_nulls;
        self.window_seen == NULL_WINDOW
            && before >= NULL_WINDOW
            && self.window_nulls * 2 >= NULL_WINDOW
            && nulls_before * 20 <= before
    }
}

fn collect<'a>(value: &'a Value, path: String, here: &mut BTreeMap<String, Here<'a>>) {
    if here.len() > MOST_PATHS {
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let there = here.entry(path.clone()).or_default();
    there.types.insert(kind);
    there.sample = match value {
        Value::String(text) => format!("text of {} characters", text.chars().count()),
        Value::Array(items) => format!("list of {}", items.len()),
        Value::Object(members) => format!("object of {}", members.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => kind.into(),
    };
    match value {
        Value::String(text) if text.len() <= 64 => {
            there.words.insert(text);
        }
        Value::Array(items) => {
            for item in items {
                collect(item, format!("{path}/*"), here);
            }
        }
        Value::Object(members) => {
            // Names with dots in them are indicators, and there would be no end of them.
            let is_data = |key: &str| members.len() > MOST_MEMBERS || key.contains(['.', ':', '@']);
            for (key, member) in members {
                let step = if is_data(key) { "*" } else { key };
                collect(member, format!("{path}/{step}"), here);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A shape that has seen so many answers.
    fn learned(answers: u64) -> Shape {
        let mut shape = Shape::new("geo");
        for at in 0..answers {
            let answer = json!({"country": "NL", "ports": [at], "site.test": {"score": at}});
            assert_eq!(shape.observe(&answer, second(0)), []);
        }
        shape
    }

    fn kinds(alerts: &[DriftAlert]) -> Vec<(DriftKind, &str)> {
        let kinds = alerts.iter().map(|alert| (alert.kind, alert.path.as_str()));
        kinds.collect()
    }

    #[test]
    fn a_new_path_and_a_changed_type_are_told_once_an_hour_without_the_value() {
        let mut shape = learned(30);
        let changed =
            json!({"country": 31, "ports": [1], "other.test": {"score": 1}, "city": "secret"});
        let alerts = shape.observe(&changed, second(0));
        assert_eq!(
            kinds(&alerts),
            [
                (DriftKind::NewPath, "/city"),
                (DriftKind::TypeChange, "/country")
            ]
        );
        assert_eq!(alerts[0].sample, "text of 6 characters");
        assert_eq!(shape.observe(&changed, second(3599)), []);
        // By then both are known.
        assert_eq!(shape.observe(&changed, second(7200)), []);
        let alert = shape.observe(&json!({"country": [], "ports": "x"}), second(1));
        assert_eq!(
            kinds(&alert),
            [(DriftKind::TypeChange, "/ports")],
            "the country was told this hour"
        );
    }

    #[test]
    fn a_path_that_is_gone_is_told_after_some_patience() {
        let mut shape = learned(100);
        let without = json!({"country": "NL", "site.test": {"score": 1}});
        let alerts: Vec<_> = (0..200)
            .flat_map(|_| shape.observe(&without, second(0)))
            .collect();
        assert_eq!(
            kinds(&alerts),
            [
                (DriftKind::VanishedPath, "/ports"),
                (DriftKind::VanishedPath, "/ports/*")
            ]
        );
    }

    #[test]
    fn a_new_word_and_sudden_emptiness_are_told() {
        let mut shape = learned(150);
        let alerts = shape.observe(&json!({"country": "DE", "ports": []}), second(0));
        assert_eq!(kinds(&alerts), [(DriftKind::NewWord, "/country")]);
        let mut shape = learned(150);
        let empty = json!({"country": null, "ports": [1]});
        let alerts: Vec<_> = (0..120)
            .flat_map(|_| shape.observe(&empty, second(0)))
            .filter(|alert| alert.kind == DriftKind::MoreNulls)
            .collect();
        assert_eq!(kinds(&alerts), [(DriftKind::MoreNulls, "/country")]);
    }

    #[test]
    fn what_grows_without_bound_is_not_learned() {
        let mut shape = Shape::new("wot");
        for at in 0..3000 {
            let members: serde_json::Map<String, Value> =
                (0..65).map(|n| (format!("k{at}_{n}"), json!(n))).collect();
            shape.observe(
                &json!({"inner": members, format!("d{at}.test"): 1}),
                second(0),
            );
        }
        assert_eq!(shape.paths.len(), 4, "{:?}", shape.paths.keys());
    }
}
