//! Paths into JSON: `/result/services/*/port`. Like JSON pointers, and `*` stands for every element or member.
//!
//! Not dots between the parts, because services use domain names as keys.

use serde::Deserialize;
use serde_json::Value;

/// Where something stands in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Every,
}

/// More matches than any good answer has.
const MOST: usize = 10_000;

impl JsonPath {
    /// Everything that stands there.
    pub fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.0 {
            found = found
                .into_iter()
                .flat_map(|value| children(step, value))
                .take(MOST)
                .collect();
        }
        found
    }

    /// Whether something stands there, or could: for `/a/*` a list that is empty will do.
    pub fn has_place(&self, document: &Value) -> bool {
        let before = self.0.iter().rposition(|step| *step == Step::Every);
        match before {
            None => !self.find(document).is_empty(),
            Some(at) => JsonPath(self.0[..at].to_vec())
                .find(document)
                .iter()
                .any(|value| value.is_array() || value.is_object()),
        }
    }
}

fn children<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Every, Value::Array(items)) => items.iter().collect(),
        (Step::Every, Value::Object(members)) => members.values().collect(),
        (Step::Key(key), Value::Object(members)) => members.get(key).into_iter().collect(),
        (Step::Key(key), Value::Array(items)) => {
            let item = key.parse::<usize>().ok().and_then(|at| items.get(at));
            item.into_iter().collect()
        }
        (Step::Every | Step::Key(_), _) => Vec::new(),
    }
}

impl TryFrom<String> for JsonPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Ok(JsonPath(Vec::new()));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(PathError(text));
        };
        let step = |part: &str| match part {
            "*" => Step::Every,
            // As in JSON pointers, so that a key may have a `/`.
            key => Step::Key(key.replace("~1", "/").replace("~0", "~")),
        };
        Ok(JsonPath(rest.split('/').map(step).collect()))
    }
}

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path: it must be empty or begin with `/`")]
pub struct PathError(String);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: &[Value], has_place: bool) {
        let document = json!({
            "a": {"b": [{"c": 1}, {"c": 2}, {"d": 3}], "empty": []},
            "example.com": {"0": [94, 73]},
            "x/y": "slash",
        });
        let path = JsonPath::try_from(path.to_owned()).unwrap();
        let found: Vec<Value> = path.find(&document).into_iter().cloned().collect();
        assert_eq!(found, expected, "{path:?}");
        assert_eq!(path.has_place(&document), has_place, "{path:?}");
    }

    #[test]
    fn paths_lead_to_what_stands_there() {
        check("/a/b/*/c", &[json!(1), json!(2)], true);
        check("/a/b/1/c", &[json!(2)], true);
        check("/*/0/0", &[json!(94)], true);
        check("/x~1y", &[json!("slash")], true);
        check("/a/empty/*", &[], true);
        check("/a/nothing/*", &[], false);
        check("/a/b/9", &[], false);
        check("/x~1y/deeper", &[], false);
    }

    #[test]
    fn a_path_begins_with_a_slash() {
        assert!(JsonPath::try_from("a/b".to_owned()).is_err());
    }
}
