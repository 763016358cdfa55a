//! What the text of a name tells, without asking anybody: a source of features that always answers.
//!
//! How familiar a name looks is told by the tables of the DGA detector: how common its runs of characters are in labels of
//! popular sites, and how likely they follow each other there. What else the detector looks at, and the text alone does not tell
//! below, is taken from its row as well.

use std::sync::{Arc, LazyLock};

use dga::features::{FEATURES as ROW, Group, Row, row};
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
    let of_row = OF_ROW.iter().map(|feature| {
        let name = format!("{NAME}_{}", feature.name).into();
        (name, feature.value_type)
    });
    let features = of_text.into_iter().chain(of_row);
    let spec = |(name, value_type)| FeatureSpec {
        name,
        category: Category::Lexical,
        value_type,
        gatherer: gatherer.clone(),
    };
    features.map(spec).collect()
});

/// What of a row of the detector the text alone does not tell, by its name there, the name here and the type of its values.
const SHAPE_OF_ROW: [(&str, &str, ValueType); 8] = [
    ("repeats", "repeats", ValueType::Number),
    ("first_digit", "first_digit", ValueType::Flag),
    ("last_digit", "last_digit", ValueType::Flag),
    ("hex_share", "hex_share", ValueType::Number),
    // `lexical_vowel_share` is that of all characters.
    ("vowel_share", "vowels_of_letters", ValueType::Number),
    ("vowel_run", "longest_vowels", ValueType::Number),
    ("alternation", "alternation", ValueType::Number),
    ("rare_share", "rare_share", ValueType::Number),
];

/// A feature that is taken from a row of the detector.
struct OfRow {
    at: usize,
    name: &'static str,
    value_type: ValueType,
}

impl OfRow {
    fn read(&self, row: &Row) -> Reading {
        let number = row[self.at];
        match self.value_type {
            ValueType::Flag => Reading::Value(Value::Flag(number > 0.5)),
            ValueType::Number | ValueType::Text => Reading::number(f64::from(number)),
        }
    }
}

/// All that is taken from a row: what is familiar, and what the text alone does not tell.
static OF_ROW: LazyLock<Vec<OfRow>> = LazyLock::new(|| {
    let found = ROW.iter().enumerate().filter_map(|(at, feature)| {
        let (name, value_type) = match feature.group {
            Group::Familiarity | Group::Flow => (feature.name, ValueType::Number),
            Group::Shape | Group::Digits | Group::Sound => {
                let mut shape = SHAPE_OF_ROW.iter();
                let (_, name, value_type) = shape.find(|(there, ..)| *there == feature.name)?;
                (*name, *value_type)
            }
        };
        Some(OfRow {
            at,
            name,
            value_type,
        })
    });
    found.collect()
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
        "3"
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
    let of_row = OF_ROW.iter().map(|feature| {
        if is_known_script {
            feature.read(&row)
        } else {
            Reading::Missing(Missing::NotApplicable)
        }
    });
    let told = of_text(name).map(Reading::Value).into_iter().chain(of_row);
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
            let mut of_row = OF_ROW.iter();
            assert_eq!(
                reading.value().is_none(),
                of_row.any(|one| *feature == *format!("{NAME}_{}", one.name)),
                "{feature}"
            );
        }
    }

    #[test]
    fn everything_that_the_detector_looks_at_is_told() {
        // Under another name, where the text alone tells the same.
        let of_text = [
            ("length", "lexical_registered_length"),
            ("entropy", "lexical_entropy"),
            ("distinct_share", "lexical_distinct_share"),
            ("hyphens", "lexical_hyphens"),
            ("digit_share", "lexical_digit_share"),
            ("digit_run", "lexical_longest_digits"),
            ("switches", "lexical_switches"),
            ("consonant_run", "lexical_longest_consonants"),
        ];
        for label in ["wikipedia", "9a1bb-ee0ffx2", "qxwzkvj", "0", "aeiou-77"] {
            let readings = readings(&format!("{label}.org"));
            let seen = row(label.as_bytes(), &*TABLES);
            for (at, feature) in ROW.iter().enumerate() {
                let told = of_text.iter().find(|(there, _)| *there == feature.name);
                let name = match told {
                    Some((_, name)) => (*name).to_owned(),
                    None => {
                        let of_row = OF_ROW.iter().find(|one| one.at == at);
                        format!("{NAME}_{}", of_row.unwrap().name)
                    }
                };
                let (_, reading) = readings.iter().find(|(own, _)| **own == *name).unwrap();
                let told = match reading.value().unwrap() {
                    Value::Number(number) => *number,
                    Value::Flag(flag) => f64::from(u8::from(*flag)),
                    Value::Text(text) => panic!("{name} is `{text}`"),
                };
                assert!((told - f64::from(seen[at])).abs() < 1e-5, "{label}: {name}");
            }
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
