//! What the trees look at: a label as numbers.
//!
//! Nothing here looks at the suffix: lists of generated names often come without one, and a model would learn the list.

use std::sync::LazyLock;

use crate::ngrams::{Levels, MAX_LABEL, MAX_ORDER, Runs, SYMBOLS, symbol};

/// A count times its binary logarithm, of which entropy is made.
static N_LOG_N: LazyLock<[f32; MAX_LABEL + 1]> = LazyLock::new(|| {
    std::array::from_fn(|count| {
        if count == 0 {
            0.0
        } else {
            (count as f64 * (count as f64).log2()) as f32
        }
    })
});

/// The features, in the order of a row: name, what kind of thing it looks at, and what it says to a reader.
pub const FEATURES: [Feature; COUNT] = [
    feature("length", Group::Shape, "its length"),
    feature("entropy", Group::Shape, "how evenly it uses its characters"),
    feature(
        "distinct_share",
        Group::Shape,
        "how many different characters it has",
    ),
    feature("repeats", Group::Shape, "its doubled characters"),
    feature("hyphens", Group::Shape, "hyphens"),
    feature("digit_share", Group::Digits, "its share of digits"),
    feature("digit_run", Group::Digits, "its longest run of digits"),
    feature(
        "switches",
        Group::Digits,
        "how often letters and digits alternate",
    ),
    feature("first_digit", Group::Digits, "a digit at the beginning"),
    feature("last_digit", Group::Digits, "a digit at the end"),
    feature(
        "hex_share",
        Group::Digits,
        "its share of hexadecimal digits",
    ),
    feature("vowel_share", Group::Sound, "its share of vowels"),
    feature(
        "consonant_run",
        Group::Sound,
        "its longest run of consonants",
    ),
    feature("vowel_run", Group::Sound, "its longest run of vowels"),
    feature(
        "alternation",
        Group::Sound,
        "how regularly vowels and consonants alternate",
    ),
    feature("rare_share", Group::Sound, "its share of rare letters"),
    feature(
        "pairs",
        Group::Familiarity,
        "how common its pairs of characters are",
    ),
    feature(
        "rarest_pair",
        Group::Familiarity,
        "its rarest pair of characters",
    ),
    feature(
        "triples",
        Group::Familiarity,
        "how common its runs of three are",
    ),
    feature(
        "unknown_triples",
        Group::Familiarity,
        "how many of its runs of three real names lack",
    ),
    feature(
        "rarest_triple",
        Group::Familiarity,
        "its rarest run of three",
    ),
    feature(
        "fours",
        Group::Familiarity,
        "how common its runs of four are",
    ),
    feature(
        "unknown_fours",
        Group::Familiarity,
        "how many of its runs of four real names lack",
    ),
    feature(
        "fives",
        Group::Familiarity,
        "how common its runs of five are",
    ),
    feature(
        "unknown_fives",
        Group::Familiarity,
        "how many of its runs of five real names lack",
    ),
    feature(
        "covered",
        Group::Familiarity,
        "how much of it consists of known pieces",
    ),
    feature(
        "longest_known",
        Group::Familiarity,
        "its longest known piece",
    ),
    feature(
        "short_flow",
        Group::Flow,
        "how likely each character follows the two before",
    ),
    feature(
        "short_flow_least",
        Group::Flow,
        "its least likely character after the two before",
    ),
    feature(
        "short_flow_spread",
        Group::Flow,
        "how uneven the flow of its characters is",
    ),
    feature(
        "short_flow_window",
        Group::Flow,
        "its least likely stretch of three",
    ),
    feature(
        "long_flow",
        Group::Flow,
        "how likely each character follows the four before",
    ),
    feature(
        "long_flow_least",
        Group::Flow,
        "its least likely character after the four before",
    ),
    feature(
        "long_flow_window",
        Group::Flow,
        "its least likely stretch of four",
    ),
];

/// How many features there are.
pub const COUNT: usize = 34;

/// A row of the trees.
pub type Row = [f32; COUNT];

/// What a feature looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Length and variety.
    Shape,
    /// Digits and where they are.
    Digits,
    /// Vowels and consonants.
    Sound,
    /// Whether real names have these pieces.
    Familiarity,
    /// Whether these pieces follow each other in real names.
    Flow,
}

/// One number of a row.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name in the model file.
    pub name: &'static str,
    /// What it looks at.
    pub group: Group,
    /// The same for a reader, to follow "because of".
    pub meaning: &'static str,
}

const fn feature(name: &'static str, group: Group, meaning: &'static str) -> Feature {
    Feature {
        name,
        group,
        meaning,
    }
}

/// The row of a label, by how common its runs are in real labels.
pub fn row(label: &[u8], real: &impl Levels) -> Row {
    let label = &label[..label.len().min(MAX_LABEL)];
    let mut row = [0.0; COUNT];
    if label.is_empty() {
        return row;
    }
    let (shape, rest) = row.split_at_mut(16);
    lexical(label, shape);
    familiarity(&Runs::of(label), real, rest);
    row
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Vowel,
    Consonant,
    Digit,
    Other,
}

fn class(byte: u8) -> Class {
    match byte {
        b'a' | b'e' | b'i' | b'o' | b'u' => Class::Vowel,
        b'a'..=b'z' => Class::Consonant,
        b'0'..=b'9' => Class::Digit,
        _ => Class::Other,
    }
}

fn lexical(label: &[u8], out: &mut [f32]) {
    let length = label.len() as f32;
    let mut seen = [0_u8; SYMBOLS as usize];
    let mut longest = [0_usize; 3];
    let mut run = [0_usize; 3];
    let mut totals = [0_usize; 3];
    let (mut hyphens, mut hex, mut rare) = (0, 0, 0);
    for byte in label {
        seen[symbol(*byte) as usize] += 1;
        let class = class(*byte);
        hyphens += usize::from(*byte == b'-');
        hex += usize::from(byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
        rare += usize::from(b"jqxzwkv".contains(byte));
        for (index, kind) in [Class::Vowel, Class::Consonant, Class::Digit]
            .into_iter()
            .enumerate()
        {
            let same = class == kind;
            run[index] = if same { run[index] + 1 } else { 0 };
            longest[index] = longest[index].max(run[index]);
            totals[index] += usize::from(same);
        }
    }
    let mut spread = 0.0;
    let mut distinct = 0;
    for count in seen.into_iter().filter(|count| *count > 0) {
        spread += N_LOG_N[usize::from(count)];
        distinct += 1;
    }
    let entropy = (N_LOG_N[label.len()] - spread) / length;
    let [repeats, switches, alternation] = neighbours(label);
    let [vowels, consonants, digits] = totals;
    let ends = [label.first(), label.last()]
        .map(|byte| f32::from(u8::from(byte.is_some_and(u8::is_ascii_digit))));
    out.copy_from_slice(&[
        length,
        entropy,
        share(distinct, label.len()),
        repeats,
        hyphens as f32,
        share(digits, label.len()),
        longest[2] as f32,
        switches,
        ends[0],
        ends[1],
        share(hex, label.len()),
        share(vowels, vowels + consonants),
        longest[1] as f32,
        longest[0] as f32,
        alternation,
        share(rare, label.len()),
    ]);
}

fn share(part: usize, whole: usize) -> f32 {
    if whole == 0 {
        0.0
    } else {
        part as f32 / whole as f32
    }
}

/// What characters make of those before them: doubled ones, switches between letters and digits, and the share of letters that
/// turn from vowel to consonant or back.
fn neighbours(label: &[u8]) -> [f32; 3] {
    let (mut repeats, mut switches, mut letters, mut turns) = (0, 0, 0, 0);
    for pair in label.windows(2) {
        let [one, other] = [class(pair[0]), class(pair[1])];
        repeats += usize::from(pair[0] == pair[1]);
        switches += usize::from((one == Class::Digit) != (other == Class::Digit));
        let sounds = |class| matches!(class, Class::Vowel | Class::Consonant);
        if sounds(one) && sounds(other) {
            letters += 1;
            turns += usize::from(one != other);
        }
    }
    [repeats as f32, switches as f32, share(turns, letters)]
}

/// The levels of all runs of a label, by length and the position a run ends at.
struct Levelled {
    levels: [[u8; MAX_LABEL + 2]; MAX_ORDER],
    positions: usize,
}

impl Levelled {
    fn of(runs: &Runs, levels: &impl Levels) -> Levelled {
        let mut found = Levelled {
            levels: [[0; MAX_LABEL + 2]; MAX_ORDER],
            positions: runs.positions(),
        };
        for order in 1..=MAX_ORDER {
            // A run is at most as common as its parts, so that where the shorter is unknown the longer is too.
            for (index, key) in runs.of_order(order).iter().enumerate() {
                let at = index + order - 1;
                if order == 1 || found.levels[order - 2][at] > 0 {
                    found.levels[order - 1][at] = levels.level(order, *key);
                }
            }
        }
        found
    }

    fn of_order(&self, order: usize) -> &[u8] {
        &self.levels[order - 1][(order - 1).min(self.positions)..self.positions]
    }

    /// The binary logarithm of how likely the character at `at` is after those before it, by the longest run of up to `order`
    /// that is known; each character less that is looked back costs a penalty.
    fn flow(&self, at: usize, order: usize) -> f32 {
        const PENALTY: f32 = 1.5;
        let mut lost = 0.0;
        for order in (2..=order.min(at + 1)).rev() {
            let level = self.levels[order - 1][at];
            if level > 0 {
                let context = self.levels[order - 2][at - 1];
                return f32::from(level) / 8.0 - f32::from(context) / 8.0 - lost;
            }
            lost += PENALTY;
        }
        // 17 is about the logarithm of how many labels there are: an unknown character is rarer than once in all of them.
        f32::from(self.levels[0][at]) / 8.0 - 17.0 - lost
    }
}

fn familiarity(runs: &Runs, real: &impl Levels, out: &mut [f32]) {
    let known = Levelled::of(runs, real);
    let [
        (pairs, _, rarest_pair),
        (triples, no_triple, rarest_triple),
        (fours, no_four, _),
        (fives, no_five, _),
    ] = [2, 3, 4, 5].map(|order| summary(known.of_order(order)));
    let (covered, longest) = coverage(&known);
    let short = flow(&known, 3, 3);
    let long = flow(&known, 5, 4);
    out.copy_from_slice(&[
        pairs,
        rarest_pair,
        triples,
        no_triple,
        rarest_triple,
        fours,
        no_four,
        fives,
        no_five,
        covered,
        longest,
        short.mean,
        short.least,
        short.spread,
        short.window,
        long.mean,
        long.least,
        long.window,
    ]);
}

/// Mean level, share of unknown runs, and the least level, of runs of one length.
fn summary(levels: &[u8]) -> (f32, f32, f32) {
    if levels.is_empty() {
        return (0.0, 0.0, 0.0);
    }
    let (mut sum, mut unknown, mut least) = (0_u32, 0_u32, u8::MAX);
    for level in levels {
        sum += u32::from(*level);
        unknown += u32::from(*level == 0);
        least = least.min(*level);
    }
    let count = levels.len() as f32;
    (
        sum as f32 / 8.0 / count,
        unknown as f32 / count,
        f32::from(least) / 8.0,
    )
}

/// The share of positions that lie in runs of five in at least eight labels, and the longest stretch of them.
fn coverage(known: &Levelled) -> (f32, f32) {
    const WELL_KNOWN: u8 = 3 * 8;
    let (mut covered, mut longest, mut stretch) = (0_usize, 0_usize, 0_usize);
    let mut until = 0;
    for at in 0..known.positions {
        // The run that covers this position may end up to four later.
        let last = (at + 4).min(known.positions - 1);
        for end in (at..=last).rev() {
            if known.levels[4][end] >= WELL_KNOWN {
                until = until.max(end + 1);
                break;
            }
        }
        if at < until {
            covered += 1;
            stretch += 1;
            longest = longest.max(stretch);
        } else {
            stretch = 0;
        }
    }
    (covered as f32 / known.positions as f32, longest as f32)
}

struct Flow {
    mean: f32,
    least: f32,
    spread: f32,
    window: f32,
}

fn flow(known: &Levelled, order: usize, window: usize) -> Flow {
    let mut steps = [0.0_f32; MAX_LABEL + 2];
    let count = known.positions - 1;
    for (step, at) in steps.iter_mut().zip(1..known.positions) {
        *step = known.flow(at, order);
    }
    let steps = &steps[..count];
    let mean = steps.iter().sum::<f32>() / count as f32;
    let variance = steps.iter().map(|step| (step - mean).powi(2)).sum::<f32>() / count as f32;
    let least = steps.iter().copied().fold(f32::INFINITY, f32::min);
    let window = window.min(count);
    let windows = steps.windows(window).map(|steps| steps.iter().sum::<f32>());
    Flow {
        mean,
        least,
        spread: variance.sqrt(),
        window: windows.fold(f32::INFINITY, f32::min) / window as f32,
    }
}
