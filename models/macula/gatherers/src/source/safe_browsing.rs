//! Safe Browsing: whether a URL's hash begins as one on a local list of bad ones does. Nobody is asked.
//!
//! Such lists hold the first bytes of SHA-256 hashes, so that they stay small and say nothing in clear. The list is a text
//! file, one entry on each line: the kind of threat and the first bytes in hexadecimal, 4 to 32 of them.
//!
//! ```text
//! MALWARE d31f02a9
//! SOCIAL_ENGINEERING 8e1f0f6c3a…
//! ```
//!
//! Four bytes are a hint, thirty-two are certainty: how many matched is a feature of its own. How a URL is brought into the
//! forms that are hashed is told in the public description of Safe Browsing: up to five hosts by up to six paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use indicators::{Host, Indicator};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::Url;

use super::{Content, Exchange, Question, Source, host};
use crate::feature::{Category, FeatureSpec, Reading, Value, ValueType};
use crate::gate::Leaks;

const NAME: &str = "safe_browsing";

/// What the canonical form escapes: controls, space, `#`, `%` and everything above ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%');

/// The shortest and the longest beginnings of hashes.
const PREFIX_BYTES: std::ops::RangeInclusive<usize> = 4..=32;

/// A list of beginnings of hashes.
#[derive(Debug)]
pub struct SafeBrowsing {
    features: Vec<FeatureSpec>,
    /// The names of the threats; entries speak of them by their place here.
    threats: Vec<String>,
    /// By length, sorted: the beginnings, filled up with zeros, and the threat.
    prefixes: BTreeMap<usize, Vec<([u8; 32], u16)>>,
    version: String,
}

impl SafeBrowsing {
    /// What it can tell.
    pub fn specs() -> Vec<FeatureSpec> {
        [
            ("safe_browsing_match", ValueType::Flag),
            ("safe_browsing_threats", ValueType::Number),
            ("safe_browsing_matched_bytes", ValueType::Number),
            ("safe_browsing_threat", ValueType::Text),
        ]
        .map(|(name, value_type)| FeatureSpec {
            name: name.into(),
            category: Category::OnlineReputation,
            value_type,
            gatherer: NAME.into(),
        })
        .into()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// When the file cannot be read, or has a line that is no entry.
    pub fn open(path: &Path) -> Result<SafeBrowsing, SafeBrowsingError> {
        let text = fs::read_to_string(path).map_err(|source| SafeBrowsingError::Read {
            path: path.into(),
            source,
        })?;
        SafeBrowsing::parse(&text)
    }

    /// Reads the text of a list.
    ///
    /// # Errors
    /// When it has a line that is no entry.
    pub fn parse(text: &str) -> Result<SafeBrowsing, SafeBrowsingError> {
        let mut threats: Vec<String> = Vec::new();
        let mut prefixes: BTreeMap<usize, Vec<([u8; 32], u16)>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || SafeBrowsingError::Line { line: at + 1 };
            let (threat, prefix) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            let (prefix, bytes) = unhex(prefix.trim()).ok_or_else(wrong)?;
            let known = threats.iter().position(|known| known == threat);
            let threat = known.unwrap_or_else(|| {
                threats.push(threat.into());
                threats.len() - 1
            });
            let threat = u16::try_from(threat).map_err(|_| wrong())?;
            prefixes.entry(bytes).or_default().push((prefix, threat));
        }
        for entries in prefixes.values_mut() {
            entries.sort_unstable();
            entries.dedup();
        }
        let digest = Sha256::digest(text);
        Ok(SafeBrowsing {
            features: SafeBrowsing::specs(),
            threats,
            prefixes,
            version: digest[..4].iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    /// How many entries the list has.
    pub fn len(&self) -> usize {
        self.prefixes.values().map(Vec::len).sum()
    }

    /// Whether the list has no entry.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    fn judge(&self, indicator: &Indicator) -> Content {
        let mut threats = BTreeSet::new();
        let mut longest = 0;
        for expression in expressions(indicator) {
            let hash: [u8; 32] = Sha256::digest(expression).into();
            for (bytes, entries) in &self.prefixes {
                let mut start = [0; 32];
                start[..*bytes].copy_from_slice(&hash[..*bytes]);
                let first = entries.partition_point(|(prefix, _)| *prefix < start);
                let matching = entries[first..]
                    .iter()
                    .take_while(|(prefix, _)| *prefix == start);
                for (_, threat) in matching {
                    threats.insert(*threat);
                    longest = longest.max(*bytes);
                }
            }
        }
        let threat = threats.first().map(|at| &self.threats[usize::from(*at)]);
        let mut readings: Vec<(Arc<str>, Reading)> = vec![
            (
                "safe_browsing_match".into(),
                Reading::Value(Value::Flag(!threats.is_empty())),
            ),
            (
                "safe_browsing_threats".into(),
                Reading::number(threats.len() as f64),
            ),
            (
                "safe_browsing_matched_bytes".into(),
                Reading::number(longest as f64),
            ),
        ];
        if let Some(threat) = threat {
            let threat = Reading::Value(Value::Text(threat.clone()));
            readings.push(("safe_browsing_threat".into(), threat));
        }
        Content::Features(readings)
    }
}

impl Source for SafeBrowsing {
    fn name(&self) -> &str {
        NAME
    }

    fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    fn leaks(&self) -> Leaks {
        Leaks::Nothing
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn subject(&self, question: &Question) -> Option<String> {
        match question {
            Question::Features(Indicator::Url(url)) => Some(url.as_str().into()),
            Question::Features(indicator) => match host(indicator)? {
                Host::Ip(ip) => Some(ip.to_string()),
                Host::Name(name) => Some(name.as_str().into()),
            },
            Question::RecentDomains { .. } | Question::Addresses(..) => None,
        }
    }

    fn ask<'a>(
        &'a self,
        question: &'a Question,
        _: &'a str,
        _: Timestamp,
    ) -> BoxFuture<'a, Exchange> {
        async move { Exchange::new(Ok(self.judge(&question.indicator()))) }.boxed()
    }
}

/// What is hashed for an indicator: its host and the hosts above it, each with its path and the paths above that.
fn expressions(indicator: &Indicator) -> Vec<String> {
    let Some(host) = host(indicator) else {
        return Vec::new();
    };
    let paths = match indicator {
        Indicator::Url(url) => {
            Url::parse(url.as_str()).map_or_else(|_| vec!["/".into()], |url| paths(&url))
        }
        Indicator::Ip(_)
        | Indicator::Range(_)
        | Indicator::Domain(_)
        | Indicator::Email(_)
        | Indicator::Hash(_) => vec!["/".to_owned()],
    };
    let with_paths = |host: String| paths.iter().map(move |path| format!("{host}{path}"));
    hosts(&host).into_iter().flat_map(with_paths).collect()
}

/// The host itself, and up to four made of its last five labels by leaving off the first, down to two.
fn hosts(host: &Host) -> Vec<String> {
    let name = match host {
        Host::Ip(IpAddr::V4(ip)) => return vec![ip.to_string()],
        Host::Ip(IpAddr::V6(ip)) => return vec![format!("[{ip}]")],
        Host::Name(name) => name.as_str(),
    };
    let labels: Vec<&str> = name.split('.').collect();
    let mut hosts = vec![name.to_owned()];
    let first = labels.len().saturating_sub(5).max(1);
    for from in first..labels.len().saturating_sub(1) {
        hosts.push(labels[from..].join("."));
    }
    hosts
}

/// The path with its query, without it, and up to four of the folders above it, beginning at the root.
fn paths(url: &Url) -> Vec<String> {
    let path = escape(url.path());
    let mut paths = Vec::new();
    if let Some(query) = url.query() {
        paths.push(format!("{path}?{}", escape(query)));
    }
    paths.push(path.clone());
    for (at, _) in path.match_indices('/').take(4) {
        let folder = path[..=at].to_owned();
        if !paths.contains(&folder) {
            paths.push(folder);
        }
    }
    paths
}

/// Unescapes until nothing is left to, brings slashes together, and escapes what has to be.
fn escape(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..8 {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            break;
        }
        text = decoded;
    }
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    utf8_percent_encode(&text, ESCAPED).to_string()
}

fn unhex(text: &str) -> Option<([u8; 32], usize)> {
    let bytes = text.len() / 2;
    if !text.is_ascii() || !text.len().is_multiple_of(2) || !PREFIX_BYTES.contains(&bytes) {
        return None;
    }
    let mut prefix = [0; 32];
    for (at, byte) in prefix.iter_mut().take(bytes).enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some((prefix, bytes))
}

/// Why a file is no list.
#[derive(Debug, thiserror::Error)]
pub enum SafeBrowsingError {
    /// The file.
    #[error("could not read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line that is no entry.
    #[error("line {line} is no threat with 4 to 32 bytes in hexadecimal")]
    Line {
        /// Which.
        line: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(indicator: &str, expected: &[&str]) {
        let indicator: Indicator = indicator.parse().unwrap();
        assert_eq!(expressions(&indicator), expected, "{indicator}");
    }

    #[test]
    fn a_url_is_looked_for_with_the_hosts_and_paths_above_it() {
        check(
            "http://a.b.c/1/2.html?param=1",
            &[
                "a.b.c/1/2.html?param=1",
                "a.b.c/1/2.html",
                "a.b.c/",
                "a.b.c/1/",
                "b.c/1/2.html?param=1",
                "b.c/1/2.html",
                "b.c/",
                "b.c/1/",
            ],
        );
        check(
            "http://a.b.c.d.e.f.g/1.html",
            &[
                "a.b.c.d.e.f.g/1.html",
                "a.b.c.d.e.f.g/",
                "c.d.e.f.g/1.html",
                "c.d.e.f.g/",
                "d.e.f.g/1.html",
                "d.e.f.g/",
                "e.f.g/1.html",
                "e.f.g/",
                "f.g/1.html",
                "f.g/",
            ],
        );
        check("http://192.0.2.1/1/", &["192.0.2.1/1/", "192.0.2.1/"]);
        check("www.example.com", &["www.example.com/", "example.com/"]);
        check(
            "http://host.test/%2541%20b",
            &["host.test/A%20b", "host.test/"],
        );
    }

    #[test]
    fn a_match_says_which_threat_and_how_certain() {
        let hash = |text: &str| -> String {
            Sha256::digest(text)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        };
        let list = format!(
            "# two entries\nMALWARE {}\nSOCIAL_ENGINEERING {}\n",
            &hash("evil.test/")[..8],
            hash("www.evil.test/login"),
        );
        let list = SafeBrowsing::parse(&list).unwrap();
        assert_eq!(list.len(), 2);
        let judge = |indicator: &str| {
            let Content::Features(readings) = list.judge(&indicator.parse().unwrap()) else {
                panic!("no features");
            };
            let value = |at: usize| readings.get(at).and_then(|(_, r)| r.value().cloned());
            (value(0), value(1), value(2), value(3))
        };
        let number = |number| Some(Value::Number(number));
        let text = |text: &str| Some(Value::Text(text.into()));
        let yes = Some(Value::Flag(true));
        assert_eq!(
            judge("https://www.evil.test/login"),
            (yes.clone(), number(2.0), number(32.0), text("MALWARE"))
        );
        assert_eq!(
            judge("deep.evil.test"),
            (yes, number(1.0), number(4.0), text("MALWARE"))
        );
        assert_eq!(
            judge("good.test"),
            (Some(Value::Flag(false)), number(0.0), number(0.0), None)
        );
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for wrong in [
            "MALWARE",
            "MALWARE d31f02",
            "MALWARE d31f02zz",
            "MALWARE d31f02a9a",
        ] {
            let error = SafeBrowsing::parse(&format!("# x\n{wrong}\n")).unwrap_err();
            assert!(
                matches!(error, SafeBrowsingError::Line { line: 2 }),
                "{wrong}"
            );
        }
    }
}
