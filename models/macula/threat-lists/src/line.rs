//! One line of a list file.
//!
//! ```text
//! #! version: 2026-11-20            settings of the list, before its entries: version, weight, class
//! # a remark
//! evil.test                         an entry
//! 198.51.100.0/24   # a remark      a remark after an entry needs a space before it, for URLs may contain a #
//! evil.test,0.8,2026-10-01,2026-11-19        entry, weight, first seen, last seen; trailing fields may be left out
//! "http://evil.test/a,b",0.8        an entry with a comma in it is quoted
//! ```

use std::sync::Arc;

use jiff::civil::Date;
use serde::Serialize;

use super::{Class, ListKind};
use indicators::{DomainName, Indicator};

/// The longest line looked at. An entry has at most 2048 bytes; anything far longer is not a list of ours.
pub(crate) const MAX_LINE: usize = 8192;

/// One entry as its list gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The entry as it is written in the file.
    pub text: Arc<str>,
    /// Where it stands.
    pub line: u32,
    /// How much it counts, if it says so itself.
    pub weight: Option<f64>,
    /// When the source first saw it.
    pub first_seen: Option<Date>,
    /// When the source last saw it.
    pub last_seen: Option<Date>,
    /// The first day on which it counts no more, if its source says so.
    pub expires: Option<Date>,
}

impl Entry {
    /// An entry of which nothing but its text is known.
    pub(crate) fn new(text: &str) -> Self {
        Entry {
            text: text.into(),
            line: 0,
            weight: None,
            first_seen: None,
            last_seen: None,
            expires: None,
        }
    }
}

/// A line that could not be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub reason: String,
}

/// What one line turned out to be.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    Nothing,
    Version(String),
    Weight(f64),
    Class(Class),
    Entry(Pattern, Entry),
}

/// What an entry speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// Exactly this address, range, URL, mail address or hash.
    One(Indicator),
    /// A name, the names below it, or both.
    Names {
        name: DomainName,
        itself: bool,
        below: bool,
    },
    /// Whatever this regular expression is found in, in its normal form.
    Regex(String),
}

/// Takes one line apart; the error is the reason a person should read.
pub(super) fn parse(kind: ListKind, number: u32, bytes: &[u8]) -> Result<Line, String> {
    if bytes.len() > MAX_LINE {
        return Err(format!(
            "the line has {} bytes; at most {MAX_LINE} are read",
            bytes.len()
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the line is not valid UTF-8".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Some(setting) = text.strip_prefix("#!") {
        return parse_setting(kind, setting);
    }
    let text = without_remark(text);
    if text.is_empty() {
        return Ok(Line::Nothing);
    }
    let (entry, rest) = split_entry(text)?;
    let mut fields = rest
        .split(',')
        .map(str::trim)
        .map(|field| (!field.is_empty()).then_some(field));
    let weight = fields.next().flatten().map(parse_weight).transpose()?;
    let first_seen = fields.next().flatten().map(parse_date).transpose()?;
    let last_seen = fields.next().flatten().map(parse_date).transpose()?;
    if fields.next().is_some() {
        return Err("too many fields: expected entry,weight,first_seen,last_seen (quote an entry that contains commas)".to_owned());
    }
    let pattern = parse_pattern(kind, entry)?;
    let entry = Entry {
        text: entry.into(),
        line: number,
        weight,
        first_seen,
        last_seen,
        expires: None,
    };
    Ok(Line::Entry(pattern, entry))
}

fn parse_setting(kind: ListKind, setting: &str) -> Result<Line, String> {
    let (key, value) = setting
        .split_once(':')
        .ok_or("a setting must read `#! name: value`")?;
    match (key.trim(), value.trim()) {
        ("version", "") => Err("the version is empty".to_owned()),
        ("version", version) => Ok(Line::Version(version.to_owned())),
        ("weight", weight) => parse_weight(weight).map(Line::Weight),
        ("class", class) if kind == ListKind::Whitelist => match class {
            "owned" => Ok(Line::Class(Class::Owned)),
            "shared" => Ok(Line::Class(Class::Shared)),
            _ => Err(format!(
                "the class `{class}` is neither `owned` nor `shared`"
            )),
        },
        ("class", _) => Err("only a whitelist has a class".to_owned()),
        (key, _) => Err(format!(
            "unknown setting `{key}`; known are version, weight and class"
        )),
    }
}

fn without_remark(text: &str) -> &str {
    if text.starts_with('#') {
        return "";
    }
    let remark = text.find(" #").into_iter().chain(text.find("\t#")).min();
    remark.map_or(text, |at| text[..at].trim_end())
}

/// The entry, and what follows its comma.
fn split_entry(text: &str) -> Result<(&str, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (entry, rest) = text.split_once(',').unwrap_or((text, ""));
        return Ok((entry.trim(), rest));
    };
    let (entry, rest) = quoted
        .split_once('"')
        .ok_or("the closing quote is missing")?;
    let rest = rest.trim();
    match rest.strip_prefix(',') {
        Some(rest) => Ok((entry.trim(), rest)),
        None if rest.is_empty() => Ok((entry.trim(), "")),
        None => Err("a comma must follow the closing quote".to_owned()),
    }
}

pub(crate) fn parse_weight(text: &str) -> Result<f64, String> {
    let weight = text
        .parse()
        .ok()
        .filter(|weight| *weight > 0.0 && *weight <= 1.0);
    weight.ok_or_else(|| format!("the weight `{text}` is not a number above 0 and up to 1"))
}

pub(crate) fn parse_date(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not a date of the form 2026-11-20"))
}

pub(crate) fn parse_pattern(kind: ListKind, text: &str) -> Result<Pattern, String> {
    if let Some(suffix) = text.strip_prefix("*.") {
        return parse_wildcard(kind, suffix, false);
    }
    if let Some(suffix) = text.strip_prefix('.') {
        return parse_wildcard(kind, suffix, true);
    }
    let indicator: Indicator = without_port(text)
        .parse()
        .map_err(|error: indicators::IndicatorError| error.to_string())?;
    let Indicator::Domain(name) = indicator else {
        return Ok(Pattern::One(indicator));
    };
    if name.is_public_suffix() {
        return Err(format!(
            "`{name}` is a public suffix: names of unrelated people stand below it"
        ));
    }
    // Who owns a registrable name owns everything below it. A deeper name may be one customer among many, so that it speaks
    // for itself only; a wildcard entry says otherwise where that is known.
    let below = name.is_registrable();
    Ok(Pattern::Names {
        name,
        itself: true,
        below,
    })
}

/// `203.0.113.9:443` in a list speaks of the host, and not of the one URL it could be read as.
fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, port))
            if (1..=5).contains(&port.len())
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && !host.contains([':', '/', '@']) =>
        {
            host
        }
        _ => text,
    }
}

fn parse_wildcard(kind: ListKind, suffix: &str, itself: bool) -> Result<Pattern, String> {
    let name = DomainName::parse_suffix(suffix).map_err(|error| error.to_string())?;
    if kind == ListKind::Whitelist && name.is_public_suffix() {
        return Err(format!(
            "`{name}` is a public suffix: nobody can vouch for all names below it"
        ));
    }
    Ok(Pattern::Names {
        name,
        itself,
        below: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, String> {
        parse(ListKind::Blacklist, 1, text.as_bytes())
    }

    fn entry(text: &str) -> Entry {
        match line(text) {
            Ok(Line::Entry(_, entry)) => entry,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn fields_remarks_and_quotes_are_understood() {
        let full = entry("evil.test , 0.8, 2026-10-01, 2026-11-19  # seen twice");
        assert_eq!(&*full.text, "evil.test");
        assert_eq!(full.weight, Some(0.8));
        assert_eq!(
            full.last_seen.map(|date| date.to_string()).as_deref(),
            Some("2026-11-19")
        );
        assert_eq!(entry("evil.test,,2026-10-01").weight, None);
        assert_eq!(&*entry("http://evil.test/a#b").text, "http://evil.test/a#b");
        let quoted = entry(r#""http://evil.test/a,b",0.5"#);
        assert_eq!(
            (&*quoted.text, quoted.weight),
            ("http://evil.test/a,b", Some(0.5))
        );
        assert_eq!(line("  # remark"), Ok(Line::Nothing));
        assert_eq!(line(""), Ok(Line::Nothing));
        assert_eq!(
            line("#! version: 2026-11-20"),
            Ok(Line::Version("2026-11-20".to_owned()))
        );
        assert_eq!(line("#! weight: 0.25"), Ok(Line::Weight(0.25)));
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        for (text, part) in [
            ("evil.test,2", "weight"),
            ("evil.test,0", "weight"),
            ("evil.test,NaN", "weight"),
            ("evil.test,0.5,yesterday", "date"),
            ("evil.test,0.5,2026-02-30", "date"),
            ("evil.test,0.5,2026-02-01,2026-02-02,x", "too many fields"),
            ("\"http://evil.test/", "closing quote"),
            ("\"http://evil.test/\"x", "comma"),
            ("#! colour: red", "unknown setting"),
            ("#! class: owned", "only a whitelist"),
            ("github.io", "public suffix"),
            ("<html>", "not recognised"),
            ("0.0.0.0/0", "too wide"),
        ] {
            let reason = line(text).expect_err(text);
            assert!(reason.contains(part), "{text}: {reason}");
        }
        assert!(parse(ListKind::Blacklist, 1, b"\xff\xfe").is_err());
    }

    #[test]
    fn a_whitelist_may_say_whose_its_names_are() {
        let setting = |text: &str| parse(ListKind::Whitelist, 1, text.as_bytes());
        assert_eq!(setting("#! class: owned"), Ok(Line::Class(Class::Owned)));
        assert_eq!(setting("#! class:shared"), Ok(Line::Class(Class::Shared)));
        assert!(setting("#! class: ours").is_err_and(|reason| reason.contains("`ours`")));
    }

    #[test]
    fn a_wildcard_over_a_public_suffix_may_condemn_but_not_clear() {
        assert!(line("*.zip").is_ok());
        assert!(parse(ListKind::Whitelist, 1, b"*.github.io").is_err());
    }
}
