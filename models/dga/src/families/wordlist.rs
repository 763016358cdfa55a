//! Families that string words together. Which words, only a sample of each tells: the lists are for the user to bring.

use super::{Seed, microsoft, minimal_standard, pick};

/// Common English words, for trying the generators out.
pub(super) const SAMPLE: [&str; 96] = [
    "above",
    "alone",
    "answer",
    "arrive",
    "autumn",
    "basket",
    "because",
    "before",
    "begin",
    "behind",
    "believe",
    "between",
    "bottle",
    "branch",
    "bridge",
    "broken",
    "brother",
    "button",
    "candle",
    "captain",
    "careful",
    "center",
    "chair",
    "chance",
    "change",
    "child",
    "circle",
    "clear",
    "company",
    "condition",
    "corner",
    "country",
    "courage",
    "create",
    "danger",
    "daughter",
    "decide",
    "degree",
    "desire",
    "difference",
    "distance",
    "doctor",
    "double",
    "dream",
    "early",
    "effort",
    "electric",
    "enemy",
    "english",
    "escape",
    "evening",
    "expect",
    "family",
    "famous",
    "father",
    "figure",
    "finger",
    "flower",
    "follow",
    "forest",
    "forward",
    "friend",
    "garden",
    "gather",
    "gentle",
    "glass",
    "ground",
    "guard",
    "happen",
    "heaven",
    "history",
    "hunger",
    "husband",
    "indeed",
    "journey",
    "kitchen",
    "language",
    "laughter",
    "leader",
    "library",
    "machine",
    "market",
    "matter",
    "measure",
    "middle",
    "mister",
    "moment",
    "morning",
    "mountain",
    "necessary",
    "nothing",
    "number",
    "office",
    "orange",
    "pleasure",
    "weather",
];

/// From the Declaration of Independence of the United States, 1776.
const DECLARATION: &str = "When in the Course of human events it becomes necessary for one people to dissolve the political \
    bands which have connected them with another and to assume among the powers of the earth the separate and equal station \
    to which the Laws of Nature and of Natures God entitle them a decent respect to the opinions of mankind requires that they \
    should declare the causes which impel them to the separation We hold these truths to be self evident that all men are \
    created equal that they are endowed by their Creator with certain unalienable Rights that among these are Life Liberty and \
    the pursuit of Happiness That to secure these rights Governments are instituted among Men deriving their just powers from \
    the consent of the governed That whenever any Form of Government becomes destructive of these ends it is the Right of the \
    People to alter or to abolish it and to institute new Government laying its foundation on such principles and organizing \
    its powers in such form as to them shall seem most likely to effect their Safety and Happiness";

/// Words of a public document, whole or cut, until the name is long enough.
pub(super) fn gozi(seed: &Seed, count: usize) -> Vec<String> {
    let text = DECLARATION.to_ascii_lowercase();
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| word.len() > 2)
        .collect();
    let mut state = seed.number ^ seed.days().wrapping_mul(7);
    let name = |_| {
        let length = 13 + microsoft(&mut state) as usize % 10;
        let mut label = String::new();
        while label.len() < length {
            let word = pick(&words, microsoft(&mut state));
            let cut = if microsoft(&mut state) & 1 == 0 {
                word.len()
            } else {
                word.len().div_ceil(2)
            };
            label.push_str(&word[..cut]);
        }
        label.truncate(22);
        format!("{label}.com")
    };
    (0..count).map(name).collect()
}

/// Words in a row, some joined by hyphens, up to a length.
pub(super) fn matsnu(seed: &Seed, count: usize) -> Vec<String> {
    let mut state = seed.number.wrapping_mul(17) ^ seed.days() | 1;
    let mut next = move || {
        state = minimal_standard(state);
        state >> 4
    };
    let name = |_| {
        let mut label = pick(seed.words, next()).to_owned();
        while label.len() < 16 {
            if next().is_multiple_of(3) {
                label.push('-');
            }
            label.push_str(pick(seed.words, next()));
        }
        label.truncate(24);
        let label = label.trim_end_matches('-');
        format!("{label}.com")
    };
    (0..count).map(name).collect()
}

/// Two words, by the time slot.
pub(super) fn suppobox(seed: &Seed, count: usize) -> Vec<String> {
    let start = seed.days().wrapping_mul(169).wrapping_add(seed.number);
    let name = |index: u32| {
        let slot = start.wrapping_add(index);
        let mut state = slot ^ 0x5_DEEC;
        let (first, second) = (microsoft(&mut state), microsoft(&mut state));
        format!(
            "{}{}.net",
            pick(seed.words, first),
            pick(seed.words, second)
        )
    };
    (0..count as u32).map(name).collect()
}
