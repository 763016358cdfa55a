//! A request in the queue: ADD or REMOVE copies of a model.
//!
//! ```json
//! {"name":"dga","version":"1.0","numInstances":1,"memory":512,"action":"ADD","path":"/user/metron/models"}
//! ```
//! Written with exactly these six fields, so that an old daemon takes it. Read as liberally as the original's Jackson, and
//! with three fields more: `id`, by which a sender can repeat a request safely; `replace`, the version that an ADD is to
//! take the place of, and `deadline`, the seconds that may take. The action `RESTART` is ours as well.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{WireError, fields, lenient_int, lenient_text};
use crate::name::{ModelName, Version};

/// The most bytes a request may have; real ones have a few hundred.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The most bytes of the path in it, as of any path on Linux.
const MAX_PATH_BYTES: usize = 4096;

/// The fields a request may have: Metron's, and behind `path` our own.
pub const FIELDS: [&str; 9] = [
    "name",
    "version",
    "numInstances",
    "memory",
    "action",
    "path",
    "replace",
    "deadline",
    "id",
];

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// More copies.
    Add,
    /// Fewer copies.
    Remove,
    /// The same copies, started anew. Not known to the original.
    Restart,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRequest {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
    /// How many copies more or fewer.
    pub instances: u32,
    /// Memory of one copy in MB; 0 in a REMOVE.
    pub memory_mb: u32,
    /// What to do.
    pub action: Action,
    /// Where the model's files lie: a folder in the model store. `None` in a REMOVE.
    pub path: Option<String>,
    /// The version that this one is to take the place of, copy by copy. Only in an ADD.
    pub replace: Option<Version>,
    /// How long the next new copy may take to serve before the old version is brought back, in seconds.
    pub deadline_s: u32,
    /// By what the sender knows this request; the queue node's identity stands in when there is none.
    pub id: Option<String>,
}

/// How long the copies of a version that replaces another one may take to serve, unless the request says otherwise.
pub const DEFAULT_DEADLINE_S: u32 = 600;

/// Why an item of the queue is no request that could be carried out.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The four bytes `null`: a LIST or a misspelt mode of an old deploy client.
    #[error(
        "`null`: old deploy clients send this for LIST and for modes they don't know; it asks for nothing"
    )]
    Null,
    /// No bytes at all.
    #[error("the item is empty")]
    Empty,
    /// More bytes than any request has.
    #[error("the item has {bytes} bytes; a request has at most {MAX_REQUEST_BYTES}")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// Not a request.
    #[error(transparent)]
    Malformed(#[from] WireError),
}

impl ModelRequest {
    /// Reads an item of the queue.
    ///
    /// # Errors
    /// [`RequestError`] with the reason to set the item aside for.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge { bytes: bytes.len() });
        }
        match bytes.trim_ascii() {
            b"" => return Err(RequestError::Empty),
            b"null" => return Err(RequestError::Null),
            _ => {}
        }
        let fields = fields(bytes)?;
        if let Some(unknown) = fields.keys().find(|k| !FIELDS.contains(&k.as_str())) {
            return Err(WireError::field(unknown, "is not a field of a request").into());
        }
        let get = |field: &str| fields.get(field).map(AsRef::<RawValue>::as_ref);
        let text = |field: &'static str| lenient_text(field, get(field));
        let required =
            |field: &'static str| text(field)?.ok_or_else(|| WireError::field(field, "is missing"));
        let count = |field: &'static str| {
            let number = lenient_int(field, get(field))?;
            u32::try_from(number).map_err(|_| {
                WireError::field(field, format!("is {number}, and must not be negative"))
            })
        };
        let action = parse_action(get("action"))?;
        // The original wants the number; a RESTART is ours, and is of all copies.
        let counted = action != Action::Restart || fields.contains_key("numInstances");
        let replace = match text("replace")? {
            Some(version) => Some(
                Version::new(version)
                    .map_err(|e| WireError::field("replace", format!("is refused: {e}")))?,
            ),
            None => None,
        };
        let deadline_s = match fields.contains_key("deadline") {
            true => count("deadline")?,
            false => DEFAULT_DEADLINE_S,
        };
        let request = Self {
            name: ModelName::new(required("name")?)
                .map_err(|e| WireError::field("name", format!("is refused: {e}")))?,
            version: Version::new(required("version")?)
                .map_err(|e| WireError::field("version", format!("is refused: {e}")))?,
            instances: if counted { count("numInstances")? } else { 0 },
            memory_mb: count("memory")?,
            action,
            path: text("path")?,
            replace,
            deadline_s,
            id: text("id")?,
        };
        if request.instances == 0 && action != Action::Restart {
            return Err(WireError::field("numInstances", "is 0, which asks for nothing").into());
        }
        if action == Action::Add && request.memory_mb == 0 {
            return Err(WireError::field("memory", "is 0; a copy needs memory, in MB").into());
        }
        if request
            .path
            .as_deref()
            .is_some_and(|path| path.len() > MAX_PATH_BYTES)
        {
            return Err(
                WireError::field("path", format!("has more than {MAX_PATH_BYTES} bytes")).into(),
            );
        }
        if action == Action::Add && request.path.as_deref().is_none_or(str::is_empty) {
            return Err(WireError::field(
                "path",
                "is missing; an ADD must say where the model's files lie",
            )
            .into());
        }
        if let Some(old) = &request.replace {
            if action != Action::Add {
                return Err(WireError::field("replace", "goes with ADD only").into());
            }
            if *old == request.version {
                return Err(WireError::field(
                    "replace",
                    "is the version itself; RESTART starts its copies anew",
                )
                .into());
            }
        }
        if request.deadline_s == 0 {
            return Err(WireError::field("deadline", "is 0; the new copies need some time").into());
        }
        Ok(request)
    }

    /// The item to put into the queue: exactly the six fields an old daemon knows, and two more when a version is to be
    /// replaced. The `id` is not among them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            name: &'a str,
            version: &'a str,
            num_instances: u32,
            memory: u32,
            action: Action,
            path: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            replace: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            deadline: Option<u32>,
        }
        let document = Document {
            name: self.name.as_str(),
            version: self.version.as_str(),
            num_instances: self.instances,
            memory: self.memory_mb,
            action: self.action,
            path: self.path.as_deref(),
            replace: self.replace.as_ref().map(Version::as_str),
            deadline: self.replace.as_ref().map(|_| self.deadline_s),
        };
        serde_json::to_vec(&document).expect("texts and numbers always serialise")
    }
}

/// `"ADD"` or `"REMOVE"`, or their ordinals; Jackson takes both.
fn parse_action(value: Option<&RawValue>) -> Result<Action, WireError> {
    let Some(value) = value else {
        return Err(WireError::field(
            "action",
            "is missing; it must be ADD, REMOVE or RESTART",
        ));
    };
    match value.get() {
        r#""ADD""# | "0" => Ok(Action::Add),
        r#""REMOVE""# | "1" => Ok(Action::Remove),
        r#""RESTART""# => Ok(Action::Restart),
        other => Err(WireError::field(
            "action",
            format!(
                "must be \"ADD\", \"REMOVE\" or \"RESTART\", not {}",
                shortened(other)
            ),
        )),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = r#"{"name":"dga","version":"1.0","numInstances":1,"memory":512,"action":"ADD","path":"/user/metron/models"}"#;
    const REMOVE: &str = r#"{"name":"dga","version":"1.0","numInstances":1,"memory":0,"action":"REMOVE","path":null}"#;

    fn parse(text: &str) -> Result<ModelRequest, RequestError> {
        ModelRequest::parse(text.as_bytes())
    }

    #[test]
    fn requests_are_written_as_the_original_writes_them() {
        for golden in [ADD, REMOVE] {
            assert_eq!(
                String::from_utf8(parse(golden).expect("a request").to_bytes()).expect("UTF-8"),
                golden
            );
        }
        assert_eq!((ADD.len(), REMOVE.len()), (104, 88));
    }

    #[test]
    fn requests_are_read_as_liberally_as_the_original_reads_them() {
        let request = parse(
            r#"{"path":"/m","action":0,"memory":"512","numInstances":" 2 ","version":1.10,"name":"x","name":"dga"} tail"#,
        )
        .expect("a request");
        assert_eq!(request.name.as_str(), "dga");
        assert_eq!(request.version.as_str(), "1.10");
        assert_eq!(
            (request.instances, request.memory_mb, request.action),
            (2, 512, Action::Add)
        );
    }

    #[test]
    fn what_an_old_daemon_does_not_know_is_written_only_when_it_is_asked_for() {
        let replacing = ADD.replace("}", r#","replace":"0.9","deadline":60}"#);
        let request = parse(&replacing).expect("a request");
        assert_eq!(
            (
                request.replace.as_ref().map(Version::as_str),
                request.deadline_s
            ),
            (Some("0.9"), 60)
        );
        assert_eq!(request.to_bytes(), replacing.as_bytes());
        let restart = parse(r#"{"name":"dga","version":"1.0","action":"RESTART"}"#);
        assert_eq!(restart.expect("a request").action, Action::Restart);
    }

    #[test]
    fn a_sender_may_name_its_request() {
        let request = parse(
            r#"{"name":"dga","version":"1","numInstances":1,"action":"REMOVE","id":"deploy-7"}"#,
        );
        assert_eq!(request.expect("a request").id.as_deref(), Some("deploy-7"));
    }

    #[test]
    fn whatever_cannot_be_carried_out_is_refused_with_its_reason() {
        let refusal = |text: &str| parse(text).expect_err(text).to_string();
        assert!(refusal("null").contains("LIST"));
        assert!(refusal("  ").contains("empty"));
        assert!(refusal("[1]").contains("JSON"));
        assert!(refusal(&ADD.replace("\"ADD\"", "\"add\"")).contains("action"));
        assert!(refusal(&ADD.replace("\"ADD\"", "\"LIST\"")).contains("action"));
        assert!(refusal(&ADD.replace("\"ADD\"", "2")).contains("action"));
        assert!(refusal(&ADD.replace("\"dga\"", "\"../etc\"")).contains("name"));
        assert!(refusal(&ADD.replace("\"dga\"", "null")).contains("name"));
        assert!(refusal(&ADD.replace("\"1.0\"", "{}")).contains("version"));
        assert!(refusal(&ADD.replace(":1,", ":-1,")).contains("numInstances"));
        assert!(refusal(&ADD.replace(":1,", ":0,")).contains("numInstances"));
        assert!(refusal(&ADD.replace(":512,", ":0,")).contains("memory"));
        assert!(refusal(&ADD.replace("\"/user/metron/models\"", "null")).contains("path"));
        assert!(refusal(&ADD.replace("\"path\"", "\"paht\"")).contains("paht"));
        assert!(refusal(&ADD.replace("}", r#","replace":"1.0"}"#)).contains("itself"));
        assert!(refusal(&REMOVE.replace("}", r#","replace":"0.9"}"#)).contains("ADD only"));
        assert!(refusal(&ADD.replace("}", r#","deadline":0}"#)).contains("deadline"));
        assert!(refusal(&format!("{{\"name\":\"{}\"}}", "x".repeat(900_000))).contains("bytes"));
    }
}
