//! What may be asked about: any text at all, of which some is a name.

use std::net::IpAddr;
use std::str::FromStr;

use idna::punycode;
use unicode_script::{Script, UnicodeScript};

use crate::corpus::SHORT;

/// The longest name DNS has room for.
const MAX_NAME: usize = 253;

/// The longest label.
const MAX_LABEL: usize = 63;

/// Suffixes under which anyone gets a name, that the public suffix list does not have: without them the label that was
/// generated would not be the one next to the suffix.
const MORE_SUFFIXES: [&str; 6] = [
    "mooo.com",
    "yi.org",
    "dynserv.com",
    "chickenkiller.com",
    "strangled.net",
    "crabdance.com",
];

/// A host name, split into the labels somebody chose and the suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    text: String,
    /// Where the labels end: before the dot in front of the suffix.
    labels: usize,
}

impl Name {
    /// Reads a name as people and programs write it: in any case, with a dot at the end, in another script.
    ///
    /// # Errors
    /// When this is no name, or none that anybody chose.
    pub fn parse(text: &str) -> Result<Name, NotAName> {
        let text = text.trim_ascii();
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NotAName::Empty);
        }
        // Another script takes more room here than there, so that this bound is generous.
        if text.len() > 4 * MAX_NAME {
            return Err(NotAName::TooLong);
        }
        let text = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).map_err(|_| NotAName::Characters)?
        };
        if text.len() > MAX_NAME {
            return Err(NotAName::TooLong);
        }
        if is_address(&text) {
            return Err(NotAName::Address);
        }
        for label in text.split('.') {
            if label.is_empty() {
                return Err(NotAName::EmptyLabel);
            }
            if label.len() > MAX_LABEL {
                return Err(NotAName::TooLong);
            }
            if !label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            }) {
                return Err(NotAName::Characters);
            }
        }
        let labels = match text.rfind('.') {
            // One label alone is what was asked about, also where there is a suffix of this name.
            None => text.len(),
            Some(_) => text
                .len()
                .checked_sub(suffix(&text) + 1)
                .ok_or(NotAName::Suffix)?,
        };
        Ok(Name { text, labels })
    }

    /// The name in lower case and ASCII, without a dot at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// All labels left of the suffix.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.text[..self.labels].split('.')
    }

    /// The labels that are long enough to be judged, and in letters that say something.
    pub fn judged(&self) -> impl Iterator<Item = &str> {
        self.labels()
            .filter(|label| label.len() > SHORT && !label.starts_with("xn--"))
    }

    /// The label next to the suffix with the suffix: what was registered.
    pub fn registered(&self) -> &str {
        let start = self.text[..self.labels].rfind('.').map_or(0, |dot| dot + 1);
        &self.text[start..]
    }

    /// The label next to the suffix.
    pub fn registered_label(&self) -> &str {
        let start = self.text[..self.labels].rfind('.').map_or(0, |dot| dot + 1);
        &self.text[start..self.labels]
    }

    /// For labels in another script: the share of characters in the script that most are in, of the least uniform label.
    pub fn script_share(&self) -> Option<f64> {
        let encoded = self.labels().filter_map(|label| label.strip_prefix("xn--"));
        let shares = encoded
            .map(|label| punycode::decode_to_string(label).map_or(0.0, |text| uniformity(&text)));
        shares.min_by(f64::total_cmp)
    }
}

/// The length of the public suffix, private ones among them.
fn suffix(text: &str) -> usize {
    let listed = psl::suffix(text.as_bytes()).map_or(0, |suffix| suffix.as_bytes().len());
    let more = MORE_SUFFIXES.iter().filter(|suffix| {
        text.strip_suffix(*suffix)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    more.map(|suffix| suffix.len()).fold(listed, usize::max)
}

fn is_address(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    // With four numbers between dots nobody means a name, also where one of them is too large.
    let numbers = text.split('.').count() == 4
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
    numbers || IpAddr::from_str(bare).is_ok()
}

fn uniformity(text: &str) -> f64 {
    let scripts = text.chars().map(|character| character.script());
    let scripts: Vec<Script> = scripts
        .filter(|script| !matches!(script, Script::Common | Script::Inherited))
        .collect();
    let most = scripts
        .iter()
        .map(|script| scripts.iter().filter(|other| *other == script).count())
        .max();
    most.map_or(1.0, |most| most as f64 / scripts.len() as f64)
}

/// Why a text is no name that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// Two dots meet, or one is at the beginning.
    #[error("one of its labels is empty")]
    EmptyLabel,
    /// More than DNS has room for.
    #[error("it is longer than a name may be")]
    TooLong,
    /// Characters no name has.
    #[error("it has characters that no name has")]
    Characters,
    /// An address.
    #[error("it is an address")]
    Address,
    /// A suffix under which names are registered, such as `co.uk`.
    #[error("it is a public suffix")]
    Suffix,
}

impl NotAName {
    /// The same in one word, for programs.
    pub fn code(self) -> &'static str {
        match self {
            NotAName::Empty => "empty",
            NotAName::Address => "address",
            NotAName::Suffix => "public_suffix",
            NotAName::EmptyLabel | NotAName::TooLong | NotAName::Characters => "not_a_name",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(text: &str) -> Vec<String> {
        Name::parse(text).map_or_else(
            |error| vec![error.code().to_owned()],
            |name| name.judged().map(str::to_owned).collect(),
        )
    }

    #[test]
    fn the_labels_left_of_the_suffix_are_judged_if_they_are_long_enough() {
        for (text, expected) in [
            ("google", &[][..]),
            ("longenough", &["longenough"]),
            ("LongEnough.COM.", &["longenough"]),
            ("  www.longenough.co.uk ", &["longenough"]),
            ("firstlabel.secondlabel.com", &["firstlabel", "secondlabel"]),
            // A private suffix, as dynamic DNS has.
            ("qwkjhzxc.ddns.net", &["qwkjhzxc"]),
            ("qwkjhzxc.dyndns.org", &["qwkjhzxc"]),
            ("bltjhzqp.mooo.com", &["bltjhzqp"]),
            ("notmooo.com", &["notmooo"]),
            ("something.unheardof", &["something"]),
            ("photography", &["photography"]),
            ("_service.longenough.com", &["_service", "longenough"]),
            ("xn--mnchen-3ya.de", &[]),
            ("co.uk", &["public_suffix"]),
            ("mooo.com", &["public_suffix"]),
            ("10.0.0.1", &["address"]),
            ("999.0.0.1", &["address"]),
            ("2001:db8::1", &["address"]),
            ("[::1]", &["address"]),
            ("", &["empty"]),
            (" . ", &["empty"]),
            ("a..b", &["not_a_name"]),
            (".com", &["not_a_name"]),
            ("with space.com", &["not_a_name"]),
            ("http://longenough.com/", &["not_a_name"]),
            ("nul\0inside.com", &["not_a_name"]),
        ] {
            assert_eq!(judged(text), expected, "{text:?}");
        }
        assert_eq!(judged(&"x".repeat(64)), ["not_a_name"]);
        assert_eq!(judged(&"x.".repeat(200)), ["not_a_name"]);
        assert_eq!(judged(&"ü".repeat(100_000)), ["not_a_name"]);
    }

    #[test]
    fn what_was_registered_is_known() {
        let name = Name::parse("a.b.example.co.uk").expect("a name");
        assert_eq!(
            (name.registered(), name.registered_label()),
            ("example.co.uk", "example")
        );
        let name = Name::parse("alone").expect("a name");
        assert_eq!(
            (name.registered(), name.registered_label()),
            ("alone", "alone")
        );
    }

    #[test]
    fn names_in_another_script_tell_how_uniform_they_are() {
        let share = |text| Name::parse(text).expect("a name").script_share();
        assert_eq!(share("example.com"), None);
        assert_eq!(share("münchen.de"), Some(1.0));
        assert_eq!(share("пример.испытание"), Some(1.0));
        // Five Latin letters and a Cyrillic one.
        assert!(share("аpple1.com").is_some_and(|share| share < 0.9));
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_not(text in any::<String>()) {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(name.as_str().is_ascii());
                prop_assert!(name.judged().all(|label| label.len() > SHORT));
                prop_assert!(name.as_str().ends_with(name.registered()));
                let _ = name.script_share();
                prop_assert_eq!(&Name::parse(name.as_str()).map(|again| again.text), &Ok(name.text.clone()));
            }
        }

        #[test]
        fn any_labels_are_names_or_not(text in "[a-zA-Z0-9._ü-]{0,80}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(name.labels().all(|label| !label.is_empty()));
            }
        }
    }
}
