//! A request in the queue: ADD or REMOVE copies of a model.
//!
//! ```json
//! {"name":"dga","version":"1.0","numInstances":1,"memory":512,"action":"ADD","path":"/user/metron/models"}
//! ```
//! Written with exactly these six fields, so that an old daemon takes it. Read as liberally as the original's Jackson, and
//! with one field more: `id`, by which a sender can repeat a request safely.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{WireError, fields, lenient_int, lenient_text};
use crate::name::{ModelName, Version};

/// The most bytes a request may have; real ones have a few hundred.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The most bytes of the path in it, as of any path on Linux.
const MAX_PATH_BYTES: usize = 4096;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// More copies.
    Add,
    /// Fewer copies.
    Remove,
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
    /// By what the sender knows this request; the queue node's identity stands in when there is none.
    pub id: Option<String>,
}

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
        const KNOWN: [&str; 7] = [
            "name",
            "version",
            "numInstances",
            "memory",
            "action",
            "path",
            "id",
        ];
        if let Some(unknown) = fields.keys().find(|k| !KNOWN.contains(&k.as_str())) {
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
        let request = Self {
            name: ModelName::new(required("name")?)
                .map_err(|e| WireError::field("name", format!("is refused: {e}")))?,
            version: Version::new(required("version")?)
                .map_err(|e| WireError::field("version", format!("is refused: {e}")))?,
            instances: count("numInstances")?,
            memory_mb: count("memory")?,
            action,
            path: text("path")?,
            id: text("id")?,
        };
        if request.instances == 0 {
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
        Ok(request)
    }

    /// The item to put into the queue: exactly the six fields an old daemon knows. The `id` is not among them.
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
        }
        let document = Document {
            name: self.name.as_str(),
            version: self.version.as_str(),
            num_instances: self.instances,
            memory: self.memory_mb,
            action: self.action,
            path: self.path.as_deref(),
        };
        serde_json::to_vec(&document).expect("texts and numbers always serialise")
    }
}

/// `"ADD"` or `"REMOVE"`, or their ordinals; Jackson takes both.
fn parse_action(value: Option<&RawValue>) -> Result<Action, WireError> {
    let Some(value) = value else {
        return Err(WireError::field(
            "action",
            "is missing; it must be ADD or REMOVE",
        ));
    };
    match value.get() {
        r#""ADD""# | "0" => Ok(Action::Add),
        r#""REMOVE""# | "1" => Ok(Action::Remove),
        other => Err(WireError::field(
            "action",
            format!("must be \"ADD\" or \"REMOVE\", not {}", shortened(other)),
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
        assert!(refusal(&format!("{{\"name\":\"{}\"}}", "x".repeat(900_000))).contains("bytes"));
    }
}
