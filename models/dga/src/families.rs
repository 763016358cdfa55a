//! Generators of names in the shapes of documented families.
//!
//! Written from what has been published about them: which letters and lengths come out, in which order, how many a day. They
//! exist so that the detector can be trained on and tested against more shapes than one list has. The shape is what is meant
//! to be right, not each single name: these are not the names that a botnet asks for. Where a description gives sample names
//! a test holds the generator against them. [`SuppoboxWords`] alone knows the very names.

mod pronounceable;
mod random;
mod suppobox;
mod wordlist;

pub use suppobox::{SuppoboxWords, WrongWordCount};

use jiff::civil::Date;

/// How the names of a family look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Letters or digits without any order.
    Random,
    /// Letters that can be spoken, or nearly.
    Pronounceable,
    /// Words in a row. What each single name looks like does not give them away.
    Wordlist,
}

impl Kind {
    /// As shown to a reader.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Random => "random",
            Kind::Pronounceable => "pronounceable",
            Kind::Wordlist => "wordlist",
        }
    }
}

/// What a family's names depend on.
#[derive(Clone, Copy, Debug)]
pub struct Seed<'a> {
    /// The day the names are for.
    pub date: Date,
    /// The number that tells one botnet of a family from another.
    pub number: u32,
    /// The words of a family that strings words together.
    pub words: &'a [&'a str],
}

impl Seed<'_> {
    fn year(&self) -> u32 {
        u32::from(self.date.year().unsigned_abs())
    }

    fn month(&self) -> u32 {
        u32::from(self.date.month().unsigned_abs())
    }

    fn day(&self) -> u32 {
        u32::from(self.date.day().unsigned_abs())
    }

    /// The days since 1970, for what changes with the date in no special way.
    fn days(&self) -> u32 {
        let since = self
            .date
            .duration_since(Date::constant(1970, 1, 1))
            .as_hours()
            / 24;
        u32::try_from(since).unwrap_or(0)
    }
}

/// A family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What it is called.
    pub name: &'static str,
    /// How its names look.
    pub kind: Kind,
    generate: fn(&Seed, usize) -> Vec<String>,
}

impl Family {
    /// So many names with their suffixes. The same seed gives the same names.
    pub fn names(&self, seed: &Seed, count: usize) -> Vec<String> {
        (self.generate)(seed, count)
    }
}

/// All families, by kind and name.
pub const FAMILIES: [Family; 21] = [
    family("banjori", Kind::Random, random::banjori),
    family("chinad", Kind::Random, random::chinad),
    family("conficker", Kind::Random, random::conficker),
    family("cryptolocker", Kind::Random, random::cryptolocker),
    family("dyre", Kind::Random, random::dyre),
    family("murofet", Kind::Random, random::murofet),
    family("necurs", Kind::Random, random::necurs),
    family("newgoz", Kind::Random, random::newgoz),
    family("qakbot", Kind::Random, random::qakbot),
    family("ramnit", Kind::Random, random::ramnit),
    family("ranbyus", Kind::Random, random::ranbyus),
    family("tinba", Kind::Random, random::tinba),
    family("kraken", Kind::Pronounceable, pronounceable::kraken),
    family("pushdo", Kind::Pronounceable, pronounceable::pushdo),
    family("pykspa", Kind::Pronounceable, pronounceable::pykspa),
    family("simda", Kind::Pronounceable, pronounceable::simda),
    family("symmi", Kind::Pronounceable, pronounceable::symmi),
    family("vawtrak", Kind::Pronounceable, pronounceable::vawtrak),
    family("gozi", Kind::Wordlist, wordlist::gozi),
    family("matsnu", Kind::Wordlist, wordlist::matsnu),
    family("suppobox", Kind::Wordlist, wordlist::suppobox),
];

const fn family(
    name: &'static str,
    kind: Kind,
    generate: fn(&Seed, usize) -> Vec<String>,
) -> Family {
    Family {
        name,
        kind,
        generate,
    }
}

/// The words that come along, for trying out families whose own lists are not ours to ship.
pub fn sample_words() -> &'static [&'static str] {
    &wordlist::SAMPLE
}

/// Microsoft's linear congruential generator, which gives the upper half of its state.
fn microsoft(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(214_013).wrapping_add(2_531_011);
    *state >> 16 & 0x7fff
}

/// Park and Miller's minimal standard generator, by Schrage's method in wrapping arithmetic, as programs have it.
fn minimal_standard(state: u32) -> u32 {
    let (high, low) = (state / 127_773, state % 127_773);
    let next = low
        .wrapping_mul(16_807)
        .wrapping_sub(high.wrapping_mul(2_836));
    // What falls below zero wraps around; the sign bit goes.
    if next & 0x8000_0000 != 0 {
        next.wrapping_add(0x7fff_ffff)
    } else {
        next
    }
}

/// One of `choices`.
fn pick<'a, T: ?Sized>(choices: &[&'a T], number: u32) -> &'a T {
    choices[number as usize % choices.len()]
}

/// The lower-case letter at this place, of the first `count`.
fn letter(number: u32, count: u32) -> char {
    char::from(b'a' + (number % count.min(26)) as u8)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn seed(number: u32) -> Seed<'static> {
        Seed {
            date: Date::constant(2015, 2, 16),
            number,
            words: sample_words(),
        }
    }

    fn labels(name: &str, seed: &Seed, count: usize) -> Vec<String> {
        let family = FAMILIES
            .iter()
            .find(|family| family.name == name)
            .expect("a family");
        let names = family.names(seed, count);
        names
            .iter()
            .map(|name| name.split('.').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn every_family_makes_names_that_dns_would_take_the_same_each_time() {
        for family in FAMILIES {
            for number in [0, 1, 0xdead_beef] {
                let names = family.names(&seed(number), 200);
                assert_eq!(names.len(), 200, "{}", family.name);
                assert_eq!(names, family.names(&seed(number), 200));
                let distinct: HashSet<_> = names.iter().collect();
                assert!(distinct.len() >= 100, "{}: {names:?}", family.name);
                for name in &names {
                    let labels: Vec<&str> = name.split('.').collect();
                    assert!(labels.len() >= 2, "{name}");
                    for label in labels {
                        assert!(!label.is_empty() && label.len() <= 63, "{name}");
                        assert!(
                            label.bytes().all(|byte| byte.is_ascii_lowercase()
                                || byte.is_ascii_digit()
                                || byte == b'-'),
                            "{name}"
                        );
                    }
                }
            }
            assert_ne!(
                family.names(&seed(1), 20),
                family.names(&seed(2), 20),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn names_are_as_long_as_their_generators_say() {
        for (name, lengths) in [
            ("banjori", 26..=26),
            ("chinad", 16..=16),
            ("cryptolocker", 12..=15),
            ("dyre", 34..=34),
            ("necurs", 7..=21),
            ("newgoz", 20..=28),
            ("qakbot", 8..=25),
            ("ramnit", 8..=19),
            ("ranbyus", 14..=14),
            ("tinba", 12..=12),
            ("simda", 7..=7),
            ("pykspa", 6..=15),
            ("kraken", 6..=12),
            ("suppobox", 8..=30),
        ] {
            for label in labels(name, &seed(7), 300) {
                assert!(lengths.contains(&label.len()), "{name}: {label}");
            }
        }
    }

    #[test]
    fn banjori_goes_on_from_a_name_as_published() {
        let names = random::banjori_from("earnestnessbiophysicalohax", 3);
        assert_eq!(
            names,
            [
                "kwtoestnessbiophysicalohax",
                "rvcxestnessbiophysicalohax",
                "hjbtestnessbiophysicalohax"
            ]
        );
    }

    #[test]
    fn the_textbook_example_of_a_date_comes_out() {
        // The sample of the encyclopaedias: the name for 7 January 2014.
        assert_eq!(random::mixed_date(2014, 1, 7, 16), "intgmxdeadnxuyla");
    }
}
