//! Families whose names can be spoken, or nearly.

use super::{Seed, letter, microsoft, minimal_standard, pick};

/// A stem of consonants and vowels in turn, and an ending like that of a noun, below a dynamic-DNS suffix.
pub(super) fn kraken(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 5] = ["dyndns.org", "yi.org", "mooo.com", "dynserv.com", "com"];
    const ENDINGS: [&str; 12] = [
        "able", "dom", "hood", "ment", "ness", "ship", "ency", "ly", "er", "ing", "ous", "ed",
    ];
    let mut state = seed.number ^ seed.days();
    let name = |_| {
        let ending = pick(&ENDINGS, microsoft(&mut state));
        let length = 6 + microsoft(&mut state) as usize % 7;
        let stem = length
            .saturating_sub(ending.len())
            .max(3)
            .min(12 - ending.len());
        let mut label = String::new();
        let mut vowel = microsoft(&mut state) & 1 == 0;
        while label.len() < stem {
            let letters: &[&str] = if vowel {
                &["a", "e", "i", "o", "u", "y"]
            } else {
                &CONSONANTS
            };
            label.push_str(pick(letters, microsoft(&mut state)));
            // Now and then a sound is followed by one of its own kind.
            vowel = if microsoft(&mut state).is_multiple_of(6) {
                vowel
            } else {
                !vowel
            };
        }
        format!("{label}{ending}.{}", pick(&SUFFIXES, microsoft(&mut state)))
    };
    (0..count).map(name).collect()
}

const CONSONANTS: [&str; 20] = [
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "q", "r", "s", "t", "v", "w", "x",
    "z",
];

/// Syllables of a consonant, a vowel and sometimes a consonant more.
pub(super) fn pushdo(seed: &Seed, count: usize) -> Vec<String> {
    let mut state = seed.number.wrapping_mul(31) ^ seed.days() << 4 | 1;
    let mut next = move || {
        state = minimal_standard(state);
        state >> 3
    };
    let name = |_| {
        let length = 9 + next() as usize % 4;
        let mut label = String::new();
        while label.len() < length {
            label.push_str(pick(&CONSONANTS, next()));
            label.push_str(pick(&["a", "e", "i", "o", "u"], next()));
            if next().is_multiple_of(3) {
                label.push_str(pick(&CONSONANTS, next()));
            }
        }
        label.truncate(length);
        format!("{label}.kz")
    };
    (0..count).map(name).collect()
}

/// Letters by class: after two consonants a vowel is likely, and after a vowel nearly anything is.
pub(super) fn pykspa(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 6] = ["com", "net", "org", "info", "biz", "cc"];
    let mut state = seed.number ^ (seed.days() / 2).wrapping_mul(0x1_0003) | 1;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let name = |_| {
        let length = 6 + next() as usize % 10;
        let mut label = String::new();
        let mut consonants = 0;
        while label.len() < length {
            let vowel = match consonants {
                0 => next() % 10 < 3,
                1 => next() % 10 < 5,
                _ => next() % 10 < 6,
            };
            if vowel {
                label.push_str(pick(&["a", "e", "i", "o", "u", "y"], next()));
                consonants = 0;
            } else {
                label.push_str(pick(&CONSONANTS, next()));
                consonants += 1;
            }
        }
        format!("{label}.{}", pick(&SUFFIXES, next()))
    };
    (0..count).map(name).collect()
}

/// Seven letters, consonants and vowels in turn.
pub(super) fn simda(seed: &Seed, count: usize) -> Vec<String> {
    const FIRST: [&str; 20] = [
        "q", "w", "r", "t", "p", "s", "d", "f", "g", "h", "j", "k", "l", "z", "x", "c", "v", "b",
        "n", "m",
    ];
    const SECOND: [&str; 6] = ["e", "y", "u", "i", "o", "a"];
    let mut key = seed.number.wrapping_mul(0x1_F31D).wrapping_add(seed.days()) | 1;
    let name = |index: u32| {
        let mut label = String::new();
        for place in 0..7 {
            key = key
                .wrapping_mul(place + 3)
                .wrapping_add(index)
                .wrapping_mul(0x0808_8405)
                .wrapping_add(1);
            label.push_str(if place % 2 == 0 {
                pick(&FIRST, key >> 9)
            } else {
                pick(&SECOND, key >> 9)
            });
        }
        format!("{label}.com")
    };
    (0..count as u32).map(name).collect()
}

/// Vowels and consonants in turn, below a dynamic-DNS suffix; a new set every sixteen days.
pub(super) fn symmi(seed: &Seed, count: usize) -> Vec<String> {
    const VOWELS: [&str; 6] = ["e", "y", "u", "i", "o", "a"];
    const OTHERS: [&str; 19] = [
        "w", "r", "t", "p", "s", "d", "f", "g", "h", "j", "k", "l", "z", "x", "c", "v", "b", "n",
        "m",
    ];
    let mut state = seed
        .number
        .wrapping_add(seed.year() * 1000 + seed.month() * 10 + seed.day() / 16);
    let name = |_| {
        let length = 8 + microsoft(&mut state) % 8;
        let mut vowel = microsoft(&mut state) & 1 == 1;
        let mut label = String::new();
        for _ in 0..length {
            label.push_str(if vowel {
                pick(&VOWELS, microsoft(&mut state))
            } else {
                pick(&OTHERS, microsoft(&mut state))
            });
            vowel = !vowel;
        }
        format!("{label}.ddns.net")
    };
    (0..count).map(name).collect()
}

/// Random letters, with a vowel slipped in wherever three consonants would meet.
pub(super) fn vawtrak(seed: &Seed, count: usize) -> Vec<String> {
    const SUFFIXES: [&str; 3] = ["com", "net", "top"];
    let mut state = seed
        .number
        .wrapping_add(seed.days().wrapping_mul(0x41C6_4E6D));
    let mut next = move || {
        state = state.wrapping_mul(0x41C6_4E6D).wrapping_add(12_345);
        state >> 16
    };
    let is_vowel = |letter: char| "aeiou".contains(letter);
    let name = |_| {
        let length = 7 + next() as usize % 6;
        let mut label = String::new();
        while label.len() < length {
            let run = label
                .chars()
                .rev()
                .take_while(|letter| !is_vowel(*letter))
                .count();
            if run >= 2 {
                label.push_str(pick(&["a", "e", "i", "o", "u"], next()));
            } else {
                label.push(letter(next(), 26));
            }
        }
        format!("{label}.{}", pick(&SUFFIXES, next()))
    };
    (0..count).map(name).collect()
}
