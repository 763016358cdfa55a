//! What the text of a name tells, without asking anybody: a source of features that always answers.
//!
//! How familiar a name looks is told by the tables of the DGA detector: how common its runs of characters are in labels of
//! popular sites, and how likely they follow each other there.

use std::sync::{Arc, LazyLock};

use dga::features::{FEATURES as ROW, Group, row};
use dga::model_files::ModelFiles;
use dga::ngrams::{Levels, Tables};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gatherers::{
    Category, Content, Exchange, FeatureSpec, Leaks, Missing, Question, Reading, Source,
    SubjectForm, Value, ValueType,
};
use jiff::Timestamp;

/// What the source is called.
pub const NAME: &str = "lexical";

/// The tables that come along.
static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let tables = ModelFiles::shipped().tables_alone();
    tables.expect("the tables that come along are read by the tests")
});

/// The features of the text alone, with the types of their values.
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

/// All features, in the order of the readings.
static SPECS: LazyLock<Vec<FeatureSpec>> = LazyLock::new(|| {
    let gatherer: Arc<str> = NAME.into();
    let of_text = FEATURES.map(|(name, value_type)| (name.into(), value_type));
    let familiar = FAMILIAR.iter().map(|(_, name)| {
        let name = format!("{NAME}_{name}").into();
        (name, ValueType::Number)
    });
    let features = of_text.into_iter().chain(familiar);
    let spec = |(name, value_type)| FeatureSpec {
        name,
        category: Category::Lexical,
        value_type,
        gatherer: gatherer.clone(),
    };
    features.map(spec).collect()
});

/// Where in a row of the detector the features of familiarity are, and what they are called there.
static FAMILIAR: LazyLock<Vec<(usize, &str)>> = LazyLock::new(|| {
    let tells = |(_, feature): &(usize, &dga::features::Feature)| match feature.group {
        Group::Familiarity | Group::Flow => true,
        Group::Shape | Group::Digits | Group::Sound => false,
    };
    let found = ROW.iter().enumerate().filter(tells);
    found.map(|(at, feature)| (at, feature.name)).collect()
});

/// The text of names.
#[derive(Clone, Copy, Debug)]
pub struct LexicalSource;

impl Source for LexicalSource {
    fn name(&self) -> &str {
        NAME
    }

    fn features(&self) -> &[FeatureSpec] {
        &SPECS
    }

    fn leaks(&self) -> Leaks {
        Leaks::Nothing
    }

    fn version(&self) -> &str {
        "2"
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

/// The part of a name in lower-case ASCII that somebody chose: the label left of the suffix.
pub fn chosen_label(name: &str) -> &str {
    let registrable = psl::domain_str(name).unwrap_or(name);
    registrable.split('.').next().unwrap_or_default()
}

/// The readings of a name in lower-case ASCII, by the names of the features.
pub fn readings(name: &str) -> Vec<(Arc<str>, Reading)> {
    readings_by(name, &*TABLES)
}

/// The same of a name that the tables were counted from, as if it had not been: otherwise what a model learns from would look
/// more familiar than anything it will ever see.
pub fn readings_left_out(name: &str) -> Vec<(Arc<str>, Reading)> {
    readings_by(name, &TABLES.without_one())
}

fn readings_by(name: &str, real: &impl Levels) -> Vec<(Arc<str>, Reading)> {
    let label = chosen_label(name);
    let row = row(label.as_bytes(), real);
    // Of a name in another script the letters say nothing.
    let is_known_script = !label.starts_with("xn--");
    let familiar = FAMILIAR.iter().map(|(at, _)| {
        if is_known_script {
            Reading::number(f64::from(row[*at]))
        } else {
            Reading::Missing(Missing::NotApplicable)
        }
    });
    let told = of_text(name)
        .map(Reading::Value)
        .into_iter()
        .chain(familiar);
    let names = SPECS.iter().map(|spec| spec.name.clone());
    names.zip(told).collect()
}

/// The values of [`FEATURES`].
fn of_text(name: &str) -> [Value; FEATURES.len()] {
    let suffix = psl::suffix_str(name).unwrap_or_default();
    let label = chosen_label(name).as_bytes();
    let length = label.len().max(1) as f64;
    let count = |is: fn(&u8) -> bool| label.iter().filter(|byte| is(byte)).count() as f64;
    let is_vowel = |byte: &u8| b"aeiou".contains(byte);
    let is_consonant = |byte: &u8| byte.is_ascii_alphabetic() && !b"aeiou".contains(byte);
    let switches = label
        .windows(2)
        .filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit())
        .count();
    let is_hexadecimal = label.len() >= 8 && label.iter().all(u8::is_ascii_hexdigit);
    [
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
    ]
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
            let found = readings.iter().find(|(feature, _)| **feature == *name);
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
    fn a_name_that_was_counted_looks_less_familiar_when_it_is_left_out() {
        let mean_of_five = |readings: Vec<(Arc<str>, Reading)>| {
            let found = readings.iter().find(|(name, _)| **name == *"lexical_fives");
            match found.unwrap().1.value() {
                Some(Value::Number(number)) => *number,
                other => panic!("{other:?} is no number"),
            }
        };
        let (seen, left_out) = (
            readings("wikipedia.org"),
            readings_left_out("wikipedia.org"),
        );
        assert!(mean_of_five(seen.clone()) > mean_of_five(left_out));
        assert!(mean_of_five(seen) > mean_of_five(readings("qxjzvkwq.org")));
    }

    #[test]
    fn of_a_name_in_another_script_nothing_is_said_about_how_familiar_it_looks() {
        for (feature, reading) in readings("www.xn--mnchen-3ya.de") {
            assert_eq!(
                reading.value().is_none(),
                FAMILIAR
                    .iter()
                    .any(|(_, name)| *feature == *format!("{NAME}_{name}")),
                "{feature}"
            );
        }
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
            let readings = readings(name);
            assert_eq!(readings.len(), SPECS.len());
            for ((feature, reading), spec) in readings.iter().zip(&*SPECS) {
                let value = reading.value().unwrap();
                assert_eq!((feature, value.value_type()), (&spec.name, spec.value_type));
                assert!(
                    !matches!(value, Value::Number(n) if !n.is_finite()),
                    "{name}"
                );
            }
        }
    }
}
