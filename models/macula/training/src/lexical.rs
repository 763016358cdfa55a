//! What the text of a name tells, without asking anybody: a source of features that always answers.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gatherers::{
    Category, Content, Exchange, FeatureSpec, Leaks, Question, Reading, Source, SubjectForm, Value,
    ValueType,
};
use jiff::Timestamp;

const NAME: &str = "lexical";

/// The features, with the types of their values.
const FEATURES: [(&str, ValueType); 15] = [
    ("lexical_length", ValueType::Number),
    ("lexical_labels", ValueType::Number),
    ("lexical_registered_length", ValueType::Number),
    ("lexical_entropy", ValueType::Number),
    ("lexical_distinct_share", ValueType::Number),
    ("lexical_digit_share", ValueType::Number),
    ("lexical_vowel_share", ValueType::Number),
    ("lexical_hyphens", ValueType::Number),
    ("lexical_longest_consonants", ValueType::Number),
    ("lexical_longest_digits", ValueType::Number),
    ("lexical_switches", ValueType::Number),
    ("lexical_rare_letters", ValueType::Number),
    ("lexical_hexadecimal", ValueType::Flag),
    ("lexical_punycode", ValueType::Flag),
    ("lexical_suffix", ValueType::Text),
];

/// The text of names.
#[derive(Debug)]
pub struct LexicalSource {
    features: Vec<FeatureSpec>,
}

impl Default for LexicalSource {
    fn default() -> Self {
        let features = FEATURES.map(|(name, value_type)| FeatureSpec {
            name: name.into(),
            category: Category::Lexical,
            value_type,
            gatherer: NAME.into(),
        });
        LexicalSource {
            features: features.into(),
        }
    }
}

impl Source for LexicalSource {
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
        "1"
    }

    fn subject(&self, question: &Question) -> Option<String> {
        match question {
            Question::Features(indicator) => SubjectForm::Name.of(indicator),
            Question::RecentDomains { .. } | Question::Addresses(..) => None,
        }
    }

    fn ask<'a>(
        &'a self,
        _: &'a Question,
        subject: &'a str,
        _: Timestamp,
    ) -> BoxFuture<'a, Exchange> {
        async move { Exchange::new(Ok(Content::Features(readings(subject)))) }.boxed()
    }
}

/// The readings of a name in lower-case ASCII.
pub fn readings(name: &str) -> Vec<(String, Reading)> {
    let suffix = psl::suffix_str(name).unwrap_or_default();
    let registrable = psl::domain_str(name).unwrap_or(name);
    let label = registrable.split('.').next().unwrap_or_default().as_bytes();
    let length = label.len().max(1) as f64;
    let count = |is: fn(&u8) -> bool| label.iter().filter(|byte| is(byte)).count() as f64;
    let is_vowel = |byte: &u8| b"aeiou".contains(byte);
    let is_consonant = |byte: &u8| byte.is_ascii_alphabetic() && !b"aeiou".contains(byte);
    let switches = label
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    let is_hexadecimal = label.len() >= 8 && label.iter().all(u8::is_ascii_hexdigit);
    let values = [
        Value::Number(name.len() as f64),
        Value::Number(name.split('.').count() as f64),
        Value::Number(label.len() as f64),
        Value::Number(entropy(label)),
        Value::Number(distinct(label) / length),
        Value::Number(count(u8::is_ascii_digit) / length),
        Value::Number(count(is_vowel) / length),
        Value::Number(count(|byte| *byte == b'-')),
        Value::Number(longest(label, is_consonant)),
        Value::Number(longest(label, u8::is_ascii_digit)),
        Value::Number(switches as f64),
        Value::Number(count(|byte| b"jqxzvk".contains(byte))),
        Value::Flag(is_hexadecimal),
        Value::Flag(name.split('.').any(|label| label.starts_with("xn--"))),
        Value::Text(suffix.to_owned()),
    ];
    let names = FEATURES.iter().map(|(name, _)| (*name).to_owned());
    names.zip(values.map(Reading::Value)).collect()
}

fn counts(label: &[u8]) -> impl Iterator<Item = f64> {
    let mut counts = [0_u32; 256];
    for byte in label {
        counts[usize::from(*byte)] += 1;
    }
    counts.into_iter().filter(|n| *n > 0).map(f64::from)
}

fn distinct(label: &[u8]) -> f64 {
    counts(label).count() as f64
}

/// Shannon's, in bits for each character.
fn entropy(label: &[u8]) -> f64 {
    let length = label.len() as f64;
    let bits = counts(label).map(|n| -(n / length) * (n / length).log2());
    bits.sum()
}

fn longest(label: &[u8], is: fn(&u8) -> bool) -> f64 {
    let runs = label.split(|byte| !is(byte)).map(<[u8]>::len);
    runs.max().unwrap_or(0) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_measured_at_the_part_somebody_chose() {
        let readings = readings("www.xn--kqz99bbb.co.uk");
        let value = |name: &str| {
            let found = readings.iter().find(|(feature, _)| feature == name);
            found.unwrap().1.value().unwrap().clone()
        };
        assert_eq!(value("lexical_length"), Value::Number(22.0));
        assert_eq!(value("lexical_labels"), Value::Number(4.0));
        assert_eq!(value("lexical_registered_length"), Value::Number(12.0));
        assert_eq!(value("lexical_hyphens"), Value::Number(2.0));
        assert_eq!(value("lexical_longest_consonants"), Value::Number(3.0));
        assert_eq!(value("lexical_longest_digits"), Value::Number(2.0));
        assert_eq!(value("lexical_punycode"), Value::Flag(true));
        assert_eq!(value("lexical_suffix"), Value::Text("co.uk".into()));
        assert!((entropy(b"abab") - 1.0).abs() < 1e-12 && entropy(b"aaaa") == 0.0);
    }

    #[test]
    fn every_reading_has_the_type_it_promises_whatever_the_name() {
        for name in [
            "a.b",
            "com",
            "1.2.3.test",
            "_x._y.test",
            "a-b.c-d.e-f.museum",
        ] {
            for ((name, reading), (_, value_type)) in readings(name).into_iter().zip(FEATURES) {
                assert_eq!(reading.value().unwrap().value_type(), value_type, "{name}");
            }
        }
    }
}
