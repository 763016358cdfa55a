//! The very names that suppobox asks for, where its words are known.
//!
//! Source: J. Geffner, "End-to-End Analysis of a Domain Generating Algorithm Malware Family", Black Hat USA 2013. Held against
//! published samples.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// How many words a list has: 128 that a name begins with, then 256 that it ends with.
const WORDS: usize = 384;

/// A name is for a slot of this many seconds.
const SLOT_SECONDS: i64 = 512;

/// From its own slot on, a bot tries the names of so many slots.
const SLOTS_TRIED: i64 = 85;

/// To which bit of the two words' places each bit of the slot's number goes, from the lowest on. The lower eight bits of the
/// result are the place of the second word, the upper seven that of the first.
const GOES_TO: [u32; 15] = [11, 5, 1, 8, 12, 10, 3, 7, 0, 13, 4, 9, 6, 2, 14];

/// The list of words that one strain carries.
#[derive(Clone, Debug)]
pub struct SuppoboxWords<'a>(Vec<&'a str>);

impl<'a> SuppoboxWords<'a> {
    /// Words in the order the strain has them.
    ///
    /// # Errors
    /// When there are not 384 of them: with any other list every name would be wrong.
    pub fn new(words: Vec<&'a str>) -> Result<SuppoboxWords<'a>, WrongWordCount> {
        match words.len() {
            WORDS => Ok(SuppoboxWords(words)),
            count => Err(WrongWordCount(count)),
        }
    }

    /// The names asked for on this day (UTC), each with the day of its slot: the last are for the morning after.
    pub fn names(&self, date: Date) -> Vec<(String, Date)> {
        let midnight = |date: Date| {
            let zoned = date.to_zoned(TimeZone::UTC);
            zoned.map_or(0, |zoned| zoned.timestamp().as_second())
        };
        let first = midnight(date) / SLOT_SECONDS;
        let last = (midnight(date.saturating_add(jiff::Span::new().days(1))) - 1) / SLOT_SECONDS
            + SLOTS_TRIED
            - 1;
        let dated = |slot: i64| {
            let starts = Timestamp::from_second(slot * SLOT_SECONDS).unwrap_or(Timestamp::MAX);
            (self.name(slot), starts.to_zoned(TimeZone::UTC).date())
        };
        (first..=last).map(dated).collect()
    }

    fn name(&self, slot: i64) -> String {
        let places = (0..).zip(GOES_TO).fold(0, |places, (bit, goes_to)| {
            places | (slot as usize >> bit & 1) << goes_to
        });
        let (first, second) = (places >> 8, 128 + (places & 0xff));
        format!("{}{}.net", self.0[first], self.0[second])
    }
}

/// A list is no suppobox list.
#[derive(Debug, thiserror::Error)]
#[error("a list of suppobox has {WORDS} words, this one has {0}")]
pub struct WrongWordCount(usize);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn numbered() -> Vec<String> {
        (0..WORDS).map(|number| format!("w{number}-")).collect()
    }

    #[test]
    fn words_come_in_the_order_of_a_published_sample() {
        // The sample begins with increaseinside, wouldinstead, rememberinstead, wouldexplain, rememberexplain, wouldbright and
        // comes to journeyready after four more; these are the words' places in the list published with it.
        let words = numbered();
        let words = SuppoboxWords::new(words.iter().map(String::as_str).collect()).expect("words");
        let names: Vec<String> = (5367..5377).map(|slot| words.name(slot)).collect();
        let places = [
            (28, 378),
            (21, 344),
            (29, 344),
            (21, 376),
            (29, 376),
            (21, 346),
            (29, 346),
            (21, 378),
            (29, 378),
            (0, 209),
        ];
        let expected = places.map(|(first, second)| format!("w{first}-w{second}-.net"));
        assert_eq!(names, expected);
    }

    #[test]
    fn a_day_holds_the_names_of_all_bots_that_start_on_it() {
        let words = numbered();
        let words = SuppoboxWords::new(words.iter().map(String::as_str).collect()).expect("words");
        let (day, next) = (Date::constant(2026, 3, 1), Date::constant(2026, 3, 2));
        let names = words.names(day);
        assert!((253..=254).contains(&names.len()), "{}", names.len());
        // The first slot may have begun on the day before.
        assert!(names[1..168].iter().all(|(_, date)| *date == day));
        assert_eq!(names.last().map(|(_, date)| *date), Some(next));
        let distinct: HashSet<_> = names.iter().map(|(name, _)| name).collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let error = SuppoboxWords::new(vec!["word"; 383]).expect_err("a word is missing");
        assert_eq!(
            error.to_string(),
            "a list of suppobox has 384 words, this one has 383"
        );
    }
}
