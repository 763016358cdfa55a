//! How often runs of characters occur in labels.
//!
//! A label is read with a mark at either end, so that beginnings and endings count as runs of their own. For runs of one to
//! five characters the tables say in how many labels a run occurs, as a *level*: the binary logarithm in eighths, in one
//! byte. What occurs in fewer than [`LEAST`] labels has level 0, as if it never did.
//!
//! [`Counts`] is what is gathered from a list of labels; [`Tables`] is what the detector carries, smaller and faster. A label
//! that was counted itself can be looked at [as if it had not been](LeaveOneOut): otherwise what a model learns from would
//! look more familiar than anything it will ever see.

use hashbrown::HashMap;

/// The longest runs.
pub const MAX_ORDER: usize = 5;

/// Marks, letters, digits, the hyphen, and one for everything else.
pub const SYMBOLS: u32 = 39;

/// A run in fewer labels counts as unknown: it says more about its label than about the language.
pub const LEAST: u32 = 2;

/// Likewise for runs of four and five, of which there are many.
const LEAST_LONG: [u32; 2] = [2, 3];

/// The longest label that DNS has room for.
pub const MAX_LABEL: usize = 63;

/// The symbol of the mark at either end.
const MARK: u32 = 0;

/// The numbers `SYMBOLS` to the power of the index.
const POWERS: [u32; MAX_ORDER + 1] = [1, 39, 1521, 59_319, 2_313_441, 90_224_199];

/// The number of a character.
pub fn symbol(byte: u8) -> u32 {
    match byte {
        b'a'..=b'z' => u32::from(byte - b'a') + 1,
        b'0'..=b'9' => u32::from(byte - b'0') + 27,
        b'-' => 37,
        _ => 38,
    }
}

/// A label as runs: for each position, the number of the run of every length that ends there.
#[derive(Clone, Debug)]
pub struct Runs {
    keys: [[u32; MAX_LABEL + 2]; MAX_ORDER],
    length: usize,
}

impl Runs {
    /// The runs of a label; what is beyond the longest label possible is not looked at.
    pub fn of(label: &[u8]) -> Runs {
        let label = &label[..label.len().min(MAX_LABEL)];
        let length = label.len() + 2;
        let mut keys = [[0; MAX_LABEL + 2]; MAX_ORDER];
        // The runs that end at the position before: each grows by a symbol and so becomes the next longer one here.
        let mut before = [0_u32; MAX_ORDER];
        let marked = std::iter::once(MARK)
            .chain(label.iter().map(|byte| symbol(*byte)))
            .chain([MARK]);
        for (at, symbol) in marked.enumerate() {
            let mut shorter = 0;
            for order in 0..MAX_ORDER {
                let key = shorter * SYMBOLS + symbol;
                shorter = before[order];
                before[order] = key;
                keys[order][at] = key;
            }
        }
        Runs { keys, length }
    }

    /// How many positions there are: the characters and two marks.
    pub fn positions(&self) -> usize {
        self.length
    }

    /// The numbers of the runs of this length, by the position they end at, from the first that there is.
    pub fn of_order(&self, order: usize) -> &[u32] {
        &self.keys[order - 1][order - 1..self.length.max(order - 1)]
    }
}

/// What says how common runs are.
pub trait Levels {
    /// The level of the run of this length and number.
    fn level(&self, order: usize, key: u32) -> u8;
}

/// About how many labels a level stands for: exactly, while there are few.
fn count(level: u8) -> u32 {
    if level == 0 {
        return 0;
    }
    2.0_f64.powf(f64::from(level) / 8.0).round() as u32
}

fn level(count: u32, order: usize) -> u8 {
    let least = if order > 3 {
        LEAST_LONG[order - 4]
    } else {
        LEAST
    };
    if count < least {
        return 0;
    }
    // 2 to the power of 31 would be level 248: there is room for any number of labels.
    (f64::from(count).log2() * 8.0).round() as u8
}

/// In how many labels of a list each run occurs.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    runs: [HashMap<u32, u32>; MAX_ORDER],
    labels: u32,
}

impl Counts {
    /// Counts the runs of these labels.
    pub fn of<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Counts {
        let mut counts = Counts::default();
        for label in labels {
            let runs = Runs::of(label);
            for order in 1..=MAX_ORDER {
                let keys = runs.of_order(order);
                for (index, key) in keys.iter().enumerate() {
                    // A run counts once in each label.
                    if !keys[..index].contains(key) {
                        *counts.runs[order - 1].entry(*key).or_default() += 1;
                    }
                }
            }
            counts.labels += 1;
        }
        counts
    }

    /// The same, without one label that was counted.
    pub fn without_one(&self) -> LeaveOneOut<'_> {
        LeaveOneOut(self)
    }

    fn count(&self, order: usize, key: u32) -> u32 {
        self.runs[order - 1].get(&key).copied().unwrap_or(0)
    }
}

impl Levels for Counts {
    fn level(&self, order: usize, key: u32) -> u8 {
        level(self.count(order, key), order)
    }
}

/// Counts for the runs of a label that was counted itself, as if it had not been.
#[derive(Clone, Copy, Debug)]
pub struct LeaveOneOut<'a>(&'a Counts);

impl Levels for LeaveOneOut<'_> {
    fn level(&self, order: usize, key: u32) -> u8 {
        level(self.0.count(order, key).saturating_sub(1), order)
    }
}

/// The same by tables, which know of common runs only about how many labels have them.
#[derive(Clone, Copy, Debug)]
pub struct TablesWithoutOne<'a>(&'a Tables);

impl Levels for TablesWithoutOne<'_> {
    fn level(&self, order: usize, key: u32) -> u8 {
        level(count(self.0.level(order, key)).saturating_sub(1), order)
    }
}

/// Levels, laid out to be looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Tables {
    /// For runs of up to four: the level of every run there could be.
    dense: [Vec<u8>; MAX_ORDER - 1],
    long: LongRuns,
}

/// Runs of five in an open hash table. Each slot is a key and a level; a level of 0 is an empty slot.
#[derive(Clone, Debug, PartialEq)]
struct LongRuns {
    slots: Vec<(u32, u8)>,
    mask: usize,
}

impl LongRuns {
    fn new(entries: &[(u32, u8)]) -> LongRuns {
        let size = (entries.len() * 2 + 1).next_power_of_two();
        let mut runs = LongRuns {
            slots: vec![(0, 0); size],
            mask: size - 1,
        };
        for (key, level) in entries {
            let mut at = runs.start(*key);
            while runs.slots[at].1 != 0 {
                at = (at + 1) & runs.mask;
            }
            runs.slots[at] = (*key, *level);
        }
        runs
    }

    fn start(&self, key: u32) -> usize {
        // Fibonacci hashing: neighbours in the alphabet must not be neighbours in the table.
        (u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as usize & self.mask
    }

    #[inline]
    fn level(&self, key: u32) -> u8 {
        let mut at = self.start(key);
        // At most half of the slots are taken, so that an empty one ends the search.
        loop {
            let (found, level) = self.slots[at];
            if level == 0 || found == key {
                return level;
            }
            at = (at + 1) & self.mask;
        }
    }
}

impl From<&Counts> for Tables {
    fn from(counts: &Counts) -> Tables {
        let entries = |order: usize| {
            let levels = counts.runs[order - 1]
                .iter()
                .map(|(key, count)| (*key, level(*count, order)));
            let mut entries: Vec<(u32, u8)> = levels.filter(|(_, level)| *level > 0).collect();
            entries.sort_unstable();
            entries
        };
        Tables::from_entries([1, 2, 3, 4, 5].map(entries))
    }
}

impl Tables {
    /// The same, without one label that was counted.
    pub fn without_one(&self) -> TablesWithoutOne<'_> {
        TablesWithoutOne(self)
    }

    fn from_entries(entries: [Vec<(u32, u8)>; MAX_ORDER]) -> Tables {
        let dense = std::array::from_fn(|index| {
            let mut levels = vec![0; POWERS[index + 1] as usize];
            for (key, level) in &entries[index] {
                levels[*key as usize] = *level;
            }
            levels
        });
        Tables {
            dense,
            long: LongRuns::new(&entries[MAX_ORDER - 1]),
        }
    }

    /// The tables as bytes: for each length the number of runs, then for each run, in order, how much its number is above the
    /// one before, in groups of seven bits, and its level.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for order in 1..=MAX_ORDER {
            let entries = self.entries(order);
            bytes.extend((entries.len() as u32).to_le_bytes());
            let mut before = 0;
            for (key, level) in entries {
                let mut step = key - before;
                before = key;
                while step >= 0x80 {
                    bytes.push(step as u8 | 0x80);
                    step >>= 7;
                }
                bytes.extend([step as u8, level]);
            }
        }
        bytes
    }

    /// Reads what [`to_bytes`](Tables::to_bytes) wrote.
    ///
    /// # Errors
    /// When these bytes are no tables.
    pub fn from_bytes(bytes: &[u8]) -> Result<Tables, TablesError> {
        let mut rest = bytes;
        let mut all: [Vec<(u32, u8)>; MAX_ORDER] = Default::default();
        for (index, entries) in all.iter_mut().enumerate() {
            let count = take::<4>(&mut rest)?;
            let mut before = 0_u32;
            for _ in 0..u32::from_le_bytes(count) {
                let mut step = 0_u64;
                for shift in [0, 7, 14, 21, 28] {
                    let [byte] = take::<1>(&mut rest)?;
                    step |= u64::from(byte & 0x7f) << shift;
                    if byte < 0x80 {
                        break;
                    }
                }
                let key = u32::try_from(u64::from(before) + step).ok();
                let key = key
                    .filter(|key| *key < POWERS[index + 1])
                    .ok_or(TablesError::Key)?;
                let [level] = take::<1>(&mut rest)?;
                let rises = entries.last().is_none_or(|(last, _)| *last < key);
                if level == 0 || !rises {
                    return Err(TablesError::Key);
                }
                entries.push((key, level));
                before = key;
            }
        }
        if !rest.is_empty() {
            return Err(TablesError::Longer);
        }
        Ok(Tables::from_entries(all))
    }

    fn entries(&self, order: usize) -> Vec<(u32, u8)> {
        let mut entries: Vec<(u32, u8)> = match self.dense.get(order - 1) {
            Some(levels) => (0..)
                .zip(levels.iter().copied())
                .filter(|(_, level)| *level > 0)
                .collect(),
            None => self
                .long
                .slots
                .iter()
                .copied()
                .filter(|(_, level)| *level > 0)
                .collect(),
        };
        entries.sort_unstable();
        entries
    }
}

impl Levels for Tables {
    #[inline]
    fn level(&self, order: usize, key: u32) -> u8 {
        match self.dense.get(order - 1) {
            Some(levels) => levels[key as usize],
            None => self.long.level(key),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TablesError> {
    let (taken, more) = rest.split_first_chunk().ok_or(TablesError::Shorter)?;
    *rest = more;
    Ok(*taken)
}

/// Why bytes are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// They end too early.
    #[error("the n-gram tables end too early")]
    Shorter,
    /// They go on after the end.
    #[error("there is something after the end of the n-gram tables")]
    Longer,
    /// A run that cannot be.
    #[error("the n-gram tables hold a run that is out of order or does not exist")]
    Key,
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that meets what it does not expect has failed"
    )]

    use proptest::prelude::*;

    use super::*;

    fn counts(labels: &[&str]) -> Counts {
        Counts::of(labels.iter().map(|label| label.as_bytes()))
    }

    #[test]
    fn a_run_counts_once_in_each_label_with_its_place_at_the_ends() {
        let counts = counts(&["aaa", "aab", "ba"]);
        let key =
            |label: &str, order: usize, at: usize| Runs::of(label.as_bytes()).of_order(order)[at];
        // "a" alone; "aa"; "a" at the beginning; "a" at the end.
        assert_eq!(counts.count(1, key("a", 1, 1)), 3);
        assert_eq!(counts.count(2, key("aa", 2, 1)), 2);
        assert_eq!(counts.count(2, key("a", 2, 0)), 2);
        assert_eq!(counts.count(2, key("a", 2, 1)), 2);
        assert_eq!(counts.without_one().level(2, key("aa", 2, 1)), 0);
    }

    #[test]
    fn a_label_can_be_left_out_of_tables_as_well_as_of_counts() {
        for labels in 1..5000 {
            for order in 1..=MAX_ORDER {
                let (by_table, by_counts) = (
                    level(count(level(labels, order)).saturating_sub(1), order),
                    level(labels - 1, order),
                );
                let off = by_table.abs_diff(by_counts);
                assert!(off <= u8::from(labels > 13), "{labels} {order}: {off}");
            }
        }
    }

    #[test]
    fn runs_of_a_short_label_are_those_that_fit() {
        let runs = Runs::of(b"");
        assert_eq!(runs.positions(), 2);
        assert_eq!(
            [1, 2, 3, 4, 5].map(|order| runs.of_order(order).len()),
            [2, 1, 0, 0, 0]
        );
        assert_eq!(Runs::of(&[b'x'; 500]).positions(), MAX_LABEL + 2);
    }

    proptest! {
        // Tables are made for few and large lists, and take their time.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn tables_say_what_the_counts_say_and_survive_as_bytes(labels in proptest::collection::vec("[a-c0-]{0,8}", 0..60)) {
            let counts = Counts::of(labels.iter().map(String::as_bytes));
            let tables = Tables::from(&counts);
            for label in &labels {
                let runs = Runs::of(label.as_bytes());
                for order in 1..=MAX_ORDER {
                    for key in runs.of_order(order) {
                        prop_assert_eq!(tables.level(order, *key), counts.level(order, *key));
                    }
                }
            }
            let bytes = tables.to_bytes();
            let again = Tables::from_bytes(&bytes).unwrap();
            prop_assert_eq!(again.to_bytes(), bytes);
        }

        #[test]
        fn arbitrary_bytes_are_tables_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Tables::from_bytes(&bytes);
        }
    }
}
