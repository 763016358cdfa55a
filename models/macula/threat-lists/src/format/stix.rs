//! STIX 2.1 bundles (OASIS, <https://docs.oasis-open.org/cti/stix/v2.1/>): of each indicator object the comparisons for
//! equality. A pattern that asks for more than that, like two things together, is set aside: half of it would be untrue.

use std::io;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{date, invalid, weight_of};
use crate::line::{Entry, Pattern, parse_pattern};
use crate::list::{ListBuilder, ListKind};

/// The object paths whose values are indicators.
const PATHS: [&str; 9] = [
    "ipv4-addr:value",
    "ipv6-addr:value",
    "domain-name:value",
    "url:value",
    "email-addr:value",
    "file:hashes.MD5",
    "file:hashes.SHA-1",
    "file:hashes.SHA-256",
    "file:hashes.SHA-512",
];

pub(super) fn read(list: &mut ListBuilder, bundle: &Value, now: Timestamp) -> io::Result<()> {
    let objects = bundle.get("objects").and_then(Value::as_array);
    let objects = objects.ok_or_else(|| invalid("the bundle has no `objects`".to_owned()))?;
    for (number, object) in (1..).zip(objects) {
        let is = |key, value: &str| object.get(key).is_some_and(|found| found == value);
        if !is("type", "indicator") || object.get("revoked") == Some(&Value::Bool(true)) {
            continue;
        }
        match entries(list.kind(), number, object, now) {
            Ok(entries) => {
                for (pattern, entry) in entries {
                    list.add(&pattern, &entry)?;
                }
            }
            Err(reason) => list.set_aside(number, reason),
        }
    }
    Ok(())
}

/// What one indicator object says.
fn entries(
    kind: ListKind,
    line: u32,
    object: &Value,
    now: Timestamp,
) -> Result<Vec<(Pattern, Entry)>, String> {
    let text = |key| object.get(key).and_then(Value::as_str);
    if text("pattern_type").is_some_and(|language| language != "stix") {
        return Err("its pattern is in another language than STIX".to_owned());
    }
    let types = object.get("indicator_types").and_then(Value::as_array);
    let is_benign = types.is_some_and(|types| types.iter().any(|one| one == "benign"));
    if is_benign && kind != ListKind::Whitelist {
        return Err("it is an indicator of something benign".to_owned());
    }
    let mut expires = None;
    if let Some(until) = text("valid_until") {
        let until: Timestamp = until
            .parse()
            .map_err(|_| format!("`{until}` is not a time"))?;
        if until <= now {
            return Ok(Vec::new());
        }
        expires = day_after(until);
    }
    let confidence = object.get("confidence").and_then(Value::as_f64);
    let weight = confidence.map(weight_of).transpose()?;
    let first_seen = text("valid_from").map(date).transpose()?;
    let last_seen = text("modified").map(date).transpose()?;
    let values = values(text("pattern").ok_or("it has no pattern")?)?;
    let entry = |value: String| {
        let value = value.trim();
        let pattern = parse_pattern(kind, value)?;
        let entry = Entry {
            line,
            weight,
            first_seen,
            last_seen,
            expires,
            ..Entry::new(value)
        };
        Ok((pattern, entry))
    };
    values.into_iter().map(entry).collect()
}

/// The first day of which nothing is before a time. Scores are made by days, so that a day that has begun counts whole.
fn day_after(until: Timestamp) -> Option<Date> {
    let last = until.checked_sub(SignedDuration::from_nanos(1)).ok()?;
    last.to_zoned(TimeZone::UTC).date().tomorrow().ok()
}

/// The values a pattern compares with: `[domain-name:value = 'a.test' OR url:value = 'http://b.test/'] OR […]`.
fn values(pattern: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut rest = pattern.trim();
    loop {
        rest = expect(rest, "[")?;
        loop {
            let (value, after) = comparison(rest)?;
            values.push(value);
            rest = after;
            match rest.strip_prefix(']') {
                Some(after) => {
                    rest = after.trim_start();
                    break;
                }
                None => rest = expect(rest, "OR")?,
            }
        }
        if rest.is_empty() {
            return Ok(values);
        }
        rest = expect(rest, "OR")?;
    }
}

/// One comparison: the value, and what follows it.
fn comparison(text: &str) -> Result<(String, &str), String> {
    let (path, rest) = text
        .split_once('=')
        .ok_or("only comparisons with `=` are understood")?;
    let path = path.trim().replace('\'', "");
    if !PATHS.contains(&path.as_str()) {
        return Err(format!(
            "`{path}` is none of the comparisons that are understood: {}",
            PATHS.join(", ")
        ));
    }
    let rest = expect(rest.trim_start(), "'")?;
    let mut value = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => return Ok((value, rest[at + 1..].trim_start())),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    Err("the closing quote is missing".to_owned())
}

fn expect<'t>(text: &'t str, expected: &str) -> Result<&'t str, String> {
    let after = text.strip_prefix(expected).map(|after| {
        // Nothing inside a value is trimmed.
        if expected == "'" {
            after
        } else {
            after.trim_start()
        }
    });
    after.ok_or_else(|| {
        let found: String = text.chars().take(20).collect();
        format!("expected `{expected}` where `{found}` stands: only comparisons with `=` joined by OR are understood")
    })
}
