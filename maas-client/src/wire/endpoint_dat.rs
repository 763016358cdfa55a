//! `endpoint.dat`: what a model writes into its working folder to say where it answers.
//!
//! ```json
//! {"url": "http://0.0.0.0:36161", "functions": {"apply": "score"}}
//! ```

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{WireError, fields, first_document, lenient_text};

/// The most bytes the file may have.
pub const MAX_ENDPOINT_BYTES: u64 = 64 * 1024;

/// Which path below the URL each function of a model lies at, by the alias callers use. In the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Functions(Vec<(String, String)>);

impl Functions {
    /// The path of the function called `alias`.
    #[must_use]
    pub fn get(&self, alias: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(a, _)| a == alias)
            .map(|(_, path)| path.as_str())
    }

    /// All aliases with their paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(alias, path)| (alias.as_str(), path.as_str()))
    }

    /// No functions at all: what an old entry with `"functions":null` amounts to.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads a JSON object of texts; other scalars become texts, nested values are an error.
    pub(super) fn parse(value: &RawValue) -> Result<Self, WireError> {
        let object: serde_json::Map<String, serde_json::Value> =
            first_document(value.get().as_bytes())
                .map_err(|_| WireError::field("functions", "must be an object of texts"))?;
        // Through raw values for the digits of numbers, through the map for the order.
        let raw = fields(value.get().as_bytes())?;
        let entries = object.keys().map(|alias| {
            let path = lenient_text("functions", raw.get(alias).map(AsRef::<RawValue>::as_ref))?
                .unwrap_or_default();
            Ok((alias.clone(), path))
        });
        let functions = Self(entries.collect::<Result<_, WireError>>()?);
        // They are printed in lists; a line break in one could pass for a line of the list.
        match functions
            .0
            .iter()
            .find(|(alias, path)| alias.chars().chain(path.chars()).any(char::is_control))
        {
            Some((alias, _)) => Err(WireError::field(
                &alias.escape_debug().to_string(),
                "holds a control character",
            )),
            None => Ok(functions),
        }
    }
}

impl Default for Functions {
    fn default() -> Self {
        Self(vec![("apply".to_owned(), "apply".to_owned())])
    }
}

impl<A: Into<String>, P: Into<String>> FromIterator<(A, P)> for Functions {
    fn from_iter<I: IntoIterator<Item = (A, P)>>(entries: I) -> Self {
        Self(
            entries
                .into_iter()
                .map(|(a, p)| (a.into(), p.into()))
                .collect(),
        )
    }
}

impl Serialize for Functions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (alias, path) in &self.0 {
            map.serialize_entry(alias, path)?;
        }
        map.end()
    }
}

/// What `endpoint.dat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointDat {
    /// Where the model answers, as it was written; the host may still be `0.0.0.0` or `localhost`.
    pub url: String,
    /// Its functions; `apply` at `/apply` when the file names none.
    pub functions: Functions,
}

impl EndpointDat {
    /// Reads the file's content, UTF-8.
    ///
    /// # Errors
    /// When it is not yet, or will never be, a JSON object with a `url`. A file that is still being written reads as an
    /// error too: ask again when it changes.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let fields = fields(bytes)?;
        if let Some(unknown) = fields
            .keys()
            .find(|key| !["url", "functions"].contains(&key.as_str()))
        {
            return Err(WireError::field(unknown, "is not a field of endpoint.dat"));
        }
        let get = |field: &str| fields.get(field).map(AsRef::<RawValue>::as_ref);
        let url = lenient_text("url", get("url"))?
            .ok_or_else(|| WireError::field("url", "is missing"))?;
        let functions = match get("functions") {
            Some(value) if value.get() != "null" => Functions::parse(value)?,
            _ => Functions::default(),
        };
        Ok(Self { url, functions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_default_to_apply_and_are_replaced_not_merged() {
        let plain = EndpointDat::parse(br#"{"url" : "http://0.0.0.0:1"}"#).expect("an endpoint");
        assert_eq!(plain.functions.get("apply"), Some("apply"));
        let own = EndpointDat::parse(
            br#"{"url":"http://localhost:1500","functions":{"z":"1","score":2.50}}"#,
        );
        let own = own.expect("an endpoint").functions;
        assert_eq!(
            own.iter().collect::<Vec<_>>(),
            [("z", "1"), ("score", "2.50")]
        );
        assert_eq!(own.get("apply"), None);
    }

    #[test]
    fn every_prefix_of_a_file_being_written_reads_as_not_yet() {
        let whole = br#"{"url":"http://0.0.0.0:1500","functions":{"apply":"echo"}}"#;
        for length in 0..whole.len() {
            assert!(
                EndpointDat::parse(&whole[..length]).is_err(),
                "{length} bytes were enough"
            );
        }
        assert!(EndpointDat::parse(whole).is_ok());
    }

    #[test]
    fn garbage_is_an_error() {
        for bad in [
            "",
            "null",
            "[]",
            "http://x",
            r#"{"url":null}"#,
            r#"{"url":{}}"#,
            r#"{"url":"http://x","functions":{"a":{}}}"#,
        ] {
            assert!(
                EndpointDat::parse(bad.as_bytes()).is_err(),
                "{bad} was accepted"
            );
        }
        assert!(EndpointDat::parse(b"{\"url\":\"http://\xff\"}").is_err());
    }
}
