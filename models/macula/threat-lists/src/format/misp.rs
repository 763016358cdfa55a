//! MISP warninglists (<https://github.com/MISP/misp-warninglists>): JSON with a list of values and the way they are to be
//! compared: `string`, `substring`, `hostname`, `cidr` or `regex`.

use std::io;

use serde_json::Value;

use super::invalid;
use crate::kinds::Kinds;
use crate::line::{Entry, Pattern, parse_pattern};
use crate::list::ListBuilder;
use crate::patterns;

/// How a list's values are to be compared.
#[derive(Clone, Copy)]
enum Comparison {
    String,
    Substring,
    Hostname,
    Cidr,
    Regex,
}

pub(super) fn read(list: &mut ListBuilder, json: &Value) -> io::Result<()> {
    let text = |key| json.get(key).and_then(Value::as_str);
    let comparison = match text("type").unwrap_or("string") {
        "string" => Comparison::String,
        "substring" => Comparison::Substring,
        "hostname" => Comparison::Hostname,
        "cidr" => Comparison::Cidr,
        "regex" => Comparison::Regex,
        other => {
            return Err(invalid(format!(
                "its type is `{other}`; known are string, substring, hostname, cidr and regex"
            )));
        }
    };
    list.version = json.get("version").map(|version| match version.as_str() {
        Some(version) => version.to_owned(),
        None => version.to_string(),
    });
    if let Some(attributes) = json.get("matching_attributes").and_then(Value::as_array) {
        list.kinds = kinds(attributes.iter().filter_map(Value::as_str));
    }
    let values = json.get("list").and_then(Value::as_array);
    let values = values.ok_or_else(|| invalid("its `list` is not an array".to_owned()))?;
    for (number, value) in (1..).zip(values) {
        let pattern = match value.as_str() {
            Some(value) => {
                let value = value.trim();
                pattern(comparison, list, value).map(|pattern| (pattern, value))
            }
            None => Err("it is not a string".to_owned()),
        };
        match pattern {
            Ok((pattern, value)) => {
                let line = number;
                list.add(
                    &pattern,
                    &Entry {
                        line,
                        ..Entry::new(value)
                    },
                )?;
            }
            Err(reason) => list.set_aside(number, reason),
        }
    }
    Ok(())
}

fn pattern(comparison: Comparison, list: &ListBuilder, value: &str) -> Result<Pattern, String> {
    let regex = |expression: String| {
        patterns::check(&expression)?;
        Ok(Pattern::Regex(expression))
    };
    match comparison {
        Comparison::Cidr => parse_pattern(list.kind(), value),
        Comparison::String => Ok(match parse_pattern(list.kind(), value)? {
            Pattern::Names { name, .. } => Pattern::Names {
                name,
                itself: true,
                below: false,
            },
            other @ (Pattern::One(_) | Pattern::Regex(_)) => other,
        }),
        Comparison::Hostname => {
            let dotted = format!(".{}", value.trim_start_matches('.'));
            match parse_pattern(list.kind(), &dotted) {
                Ok(pattern) => Ok(pattern),
                // Lists of host names have addresses among them.
                Err(reason) => parse_pattern(list.kind(), value).map_err(|_| reason),
            }
        }
        Comparison::Substring if value.is_empty() => Err("it is empty".to_owned()),
        Comparison::Substring => regex(regex::escape(value)),
        Comparison::Regex => regex(undelimited(value)?),
    }
}

/// An expression without the slashes and flags around it that some lists have.
fn undelimited(value: &str) -> Result<String, String> {
    let Some((expression, flags)) = value
        .strip_prefix('/')
        .and_then(|value| value.rsplit_once('/'))
    else {
        return Ok(value.to_owned());
    };
    match flags {
        // Nothing is told from its capitals anyway.
        "" | "i" => Ok(expression.to_owned()),
        other => Err(format!("the flags `{other}` are not known")),
    }
}

/// The kinds of indicators that MISP's attributes are.
fn kinds<'a>(attributes: impl Iterator<Item = &'a str>) -> Kinds {
    let mut kinds = Kinds {
        ip: false,
        domain: false,
        url: false,
        email: false,
        hash: false,
    };
    for attribute in attributes {
        for part in attribute.split('|') {
            match part {
                "ip-src" | "ip-dst" | "ip" => kinds.ip = true,
                "domain" | "hostname" => kinds.domain = true,
                "url" | "uri" | "link" => kinds.url = true,
                "md5" | "sha1" | "sha256" | "sha512" => kinds.hash = true,
                part if part.starts_with("email") => kinds.email = true,
                _ => {}
            }
        }
    }
    kinds
}
