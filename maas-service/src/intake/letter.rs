//! What is kept of an item of the queue that was set aside: why, and how it begins.
//!
//! Both are bounded, for an item may be as large as a znode; and neither holds what may be secret, for an item that is no
//! request may be anything, and more people read what became of it than its sender thought of. So the values of fields that a
//! request does not have are left out, and passwords in URLs.

use maas_client::queue::QueueItem;
use maas_client::session::ZkError;
use maas_client::wire::request::FIELDS;
use maas_client::wire::state::{DeadLetter, now_ms};

use super::with_causes;
use crate::redaction::{LEFT_OUT, without_passwords};

/// How many bytes of an item are kept.
pub(crate) const EXCERPT: usize = 1000;

/// How many bytes a reason has at most.
pub(crate) const REASON: usize = 500;

/// The record of an item that was set aside.
pub(super) fn dead_letter(item: &QueueItem, reason: &str) -> DeadLetter {
    let beginning = String::from_utf8_lossy(&item.data[..item.data.len().min(EXCERPT)]);
    DeadLetter {
        item: item.path.name().to_owned(),
        reason: shown(reason, REASON),
        bytes: item.data.len(),
        excerpt: shown(&beginning, EXCERPT),
        at_ms: now_ms(),
    }
}

/// The record of an item that can't be read.
pub(super) fn unreadable_letter(item: &str, error: &ZkError) -> DeadLetter {
    let reason = format!(
        "it can't be read, and is left where it is: {}",
        with_causes(error)
    );
    DeadLetter {
        item: item.to_owned(),
        reason: shown(&reason, REASON),
        bytes: 0,
        excerpt: String::new(),
        at_ms: now_ms(),
    }
}

/// Whether a text is a URL that holds a password.
pub(super) fn holds_password(text: &str) -> bool {
    without_passwords(text) != text
}

/// As much of a text as may be shown.
pub(super) fn shown(text: &str, bytes: usize) -> String {
    let mut shown = without_passwords(&without_foreign_values(text));
    shown.truncate(boundary(&shown, bytes));
    shown
}

/// The last place between two characters that lies not behind so many bytes.
fn boundary(text: &str, bytes: usize) -> usize {
    let mut at = bytes.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A text, perhaps a broken one, without the values of fields that a request does not have.
fn without_foreign_values(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('"') {
        let (before, from) = rest.split_at(start);
        let (string, behind) = from.split_at(string_length(from));
        shown.push_str(before);
        shown.push_str(string);
        rest = behind;
        let is_ours = FIELDS.contains(&string.trim_matches('"'));
        if let Some(value) = behind.trim_start().strip_prefix(':')
            && !is_ours
        {
            let value = value.trim_start();
            shown.push(':');
            shown.push_str(LEFT_OUT);
            rest = &value[value_length(value)..];
        }
    }
    shown.push_str(rest);
    shown
}

/// How long the JSON string is with which a text begins; all of the text when the string has no end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How long the JSON value is with which a text begins; all of the text when it has no end.
fn value_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at += string_length(&text[at..]);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' => return at + depth,
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_request_does_not_have_is_left_out_and_the_rest_is_shown() {
        for (text, expected) in [
            ("garbage", "garbage"),
            (
                r#"{"name":"dga","memory":64}"#,
                r#"{"name":"dga","memory":64}"#,
            ),
            (
                r#"{"paht": "/x", "name":"dga"}"#,
                r#"{"paht":…, "name":"dga"}"#,
            ),
            (
                r#"{"env":{"A":["b",{"c":"d}"}]},"id":"x"}"#,
                r#"{"env":…,"id":"x"}"#,
            ),
            (r#"{"token":123}"#, r#"{"token":…}"#),
            (r#"{"name":{"deep":true}}"#, r#"{"name":{"deep":…}}"#),
            (
                r#"{"name":"dga","env":{"A":"cut o"#,
                r#"{"name":"dga","env":…"#,
            ),
            (
                r#"{"name":"dga","env":"cut \"o"#,
                r#"{"name":"dga","env":…"#,
            ),
            ("hdfs://joe:secret@nn:8020/m", "hdfs://joe:…@nn:8020/m"),
            (r"hdfs:\/\/joe:se/cret@nn", r"hdfs:\/\/joe:…@nn"),
            (r#""path":"hdfs://joe:secr"#, r#""path":"hdfs://joe:…"#),
            ("hdfs://joe:1234@nn:8020/m", "hdfs://joe:…@nn:8020/m"),
            ("hdfs://nn:8020/a@b", "hdfs://nn:8020/a@b"),
            ("hdfs://nn:8020", "hdfs://nn:8020"),
            ("file:/a:b@c", "file:/a:b@c"),
            ("file:///a", "file:///a"),
        ] {
            assert_eq!(shown(text, EXCERPT), expected);
        }
        assert!(holds_password("hdfs://joe:secret@nn:8020/m"));
        for path in [
            "hdfs://nn:8020/m",
            "/user/joe:x@y",
            "hdfs://joe@nn:8020/m",
            "file:/a",
        ] {
            assert!(!holds_password(path), "{path}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        for text in ["ü".repeat(2000), "[".repeat(100_000), "\"".repeat(5000)] {
            assert!(shown(&text, EXCERPT).len() <= EXCERPT);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!("S3CRET")),
            Just(json!("a \"S3CRET\\")),
            any::<u8>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(4, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z\"]{1,4}", inner), 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_foreign_field_is_not_shown(
            value in any_value(), pretty in any::<bool>(), cut in 0.0..=1.0,
        ) {
            let item = json!({"name": "dga", "password": value, "path": "/m"});
            let text = if pretty { format!("{item:#}") } else { item.to_string() };
            #[expect(
                clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                reason = "any place will do"
            )]
            let cut = boundary(&text, (text.len() as f64 * cut) as usize);
            let shown = shown(&text[..cut], EXCERPT);
            prop_assert!(!shown.contains("S3CRET"), "{}", shown);
            let whole = super::shown(&text, EXCERPT);
            prop_assert!(whole.contains(r#""path""#) && whole.contains(r#""/m""#), "{}", whole);
        }
    }
}
