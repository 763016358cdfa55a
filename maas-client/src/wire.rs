//! Every serialised form, and nothing but forms.
//!
//! Two rules, because strict old readers and careless old writers share our znodes: **write canonically**, byte for byte as
//! Metron's Jackson and Curator would (field order, no white space, nulls present, never a field more), and **read
//! liberally**, exactly as far as the original's own readers go. Text behind a JSON document is ignored, as they do.
//!
//! * [`config`]: the config node
//! * [`request`]: a request in the queue
//! * [`registration`]: a running copy in the registry
//! * [`endpoint_dat`]: what a model writes to say where it answers
//! * [`state`]: our own tree, which no other program reads: what should run, what runs, and what became of requests
//! * [`history`]: in our own tree, the last generations of what should run
//! * [`progress`]: in our own tree, what the service is doing
//! * [`complaint`]: in our own tree, what programs say of copies that give them no answers

pub mod complaint;
pub mod config;
pub mod endpoint_dat;
pub mod history;
pub mod progress;
pub mod registration;
pub mod request;
pub mod state;

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Why bytes are not the document they should be.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not JSON, or JSON of another shape.
    #[error("not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// One field is wrong.
    #[error("`{field}` {why}")]
    Field {
        /// The field's name.
        field: String,
        /// What is wrong with it.
        why: String,
    },
}

impl WireError {
    fn field(field: &str, why: impl Into<String>) -> Self {
        Self::Field {
            field: field.to_owned(),
            why: why.into(),
        }
    }
}

/// Reads the first JSON document in `bytes`; what follows it is ignored.
fn first_document<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    let mut documents = serde_json::Deserializer::from_slice(bytes);
    Ok(T::deserialize(&mut documents)?)
}

/// Reads the first JSON document in `bytes` as a map of undecoded fields. Of a repeated key the last one counts.
fn fields(bytes: &[u8]) -> Result<HashMap<String, Box<RawValue>>, WireError> {
    first_document(bytes)
}

/// A text the way Jackson takes it: any scalar counts, numbers with their own digits; `null` and absence are `None`.
fn lenient_text(field: &str, value: Option<&RawValue>) -> Result<Option<String>, WireError> {
    let Some(value) = value else { return Ok(None) };
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => Ok(Some(serde_json::from_str(raw)?)),
        Some(b'{' | b'[') => Err(WireError::field(
            field,
            "must be a text, not an object or a list",
        )),
        Some(b'n') => Ok(None),
        _ => Ok(Some(raw.to_owned())),
    }
}

/// A 32-bit integer the way Jackson takes it: digits in a text count, fractions are cut, `""`, `null` and absence are 0.
fn lenient_int(field: &str, value: Option<&RawValue>) -> Result<i32, WireError> {
    let number = lenient_long(field, value)?;
    i32::try_from(number).map_err(|_| {
        WireError::field(
            field,
            format!("is {number}, out of the range of a 32-bit integer"),
        )
    })
}

/// As [`lenient_int`], with 64 bits.
fn lenient_long(field: &str, value: Option<&RawValue>) -> Result<i64, WireError> {
    let Some(value) = value else { return Ok(0) };
    let raw = value.get();
    let text: String = match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(raw)?.trim().to_owned(),
        Some(b'n') => return Ok(0),
        Some(b'-' | b'0'..=b'9') => raw.to_owned(),
        _ => {
            return Err(WireError::field(
                field,
                format!("must be a number, not {raw}"),
            ));
        }
    };
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(number);
    }
    // Jackson cuts a fraction off a number, but takes no fraction from a text.
    if !raw.starts_with('"')
        && let Ok(number) = text.parse::<f64>()
        && number.abs() < 9.0e15
    {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cut is what is asked for, and the range was checked"
        )]
        return Ok(number.trunc() as i64);
    }
    Err(WireError::field(
        field,
        format!("must be a whole number, not {raw}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_jackson_reads_them() {
        let check = |json: &str| {
            let raw: Box<RawValue> = serde_json::from_str(json).expect("JSON");
            lenient_int("n", Some(&raw)).ok()
        };
        assert_eq!(check("2"), Some(2));
        assert_eq!(check("-1"), Some(-1));
        assert_eq!(check(r#""2""#), Some(2));
        assert_eq!(check(r#"" 2 ""#), Some(2));
        assert_eq!(check(r#""""#), Some(0));
        assert_eq!(check("null"), Some(0));
        assert_eq!(check("512.7"), Some(512));
        for fatal in [
            "true",
            "{}",
            "[1]",
            "2147483648",
            "1e300",
            r#""x""#,
            r#""1.5""#,
        ] {
            assert_eq!(check(fatal), None, "{fatal}");
        }
        assert_eq!(lenient_int("n", None).ok(), Some(0));
    }

    #[test]
    fn scalars_become_text_with_their_own_digits() {
        let check = |json: &str| {
            let raw: Box<RawValue> = serde_json::from_str(json).expect("JSON");
            lenient_text("version", Some(&raw)).ok()
        };
        assert_eq!(check("1.10"), Some(Some("1.10".to_owned())));
        assert_eq!(check("5"), Some(Some("5".to_owned())));
        assert_eq!(check("true"), Some(Some("true".to_owned())));
        assert_eq!(check(r#""a\u0062""#), Some(Some("ab".to_owned())));
        assert_eq!(check("null"), Some(None));
        assert_eq!(check("{}"), None);
        assert_eq!(check("[]"), None);
    }
}
