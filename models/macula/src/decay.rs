//! How much an old report still counts.
//!
//! The curve is MISP's: full weight on the day of the last sighting, none once the lifetime is over, `1 - (t / lifetime)^(1 /
//! speed)` between. A higher speed loses more of it early.

use jiff::civil::Date;
use jiff::{ToSpan, Unit};

/// How reports of one kind of list age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// After so many days a report counts no more.
    pub lifetime_days: u16,
    /// How fast it loses weight at the beginning; 1 is a straight line.
    pub speed: f64,
}

impl Default for Decay {
    fn default() -> Self {
        Decay {
            lifetime_days: 120,
            speed: 2.0,
        }
    }
}

impl Decay {
    /// What is left of a report's weight, from 1 to 0. A sighting in the future counts as one of today: clocks differ.
    pub fn left(&self, seen: Date, today: Date) -> f64 {
        let age = seen
            .until((Unit::Day, today))
            .map_or(0, |span| span.get_days());
        let lifetime = f64::from(self.lifetime_days);
        let age = f64::from(age.max(0));
        if age >= lifetime {
            return 0.0;
        }
        1.0 - (age / lifetime).powf(1.0 / self.speed.max(f64::MIN_POSITIVE))
    }

    /// The first day on which a report counts no more.
    pub fn expires(&self, seen: Date) -> Date {
        seen.saturating_add(i32::from(self.lifetime_days).days())
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_report_fades_over_its_lifetime() {
        let seen = date(2026, 1, 1);
        let curve = Decay::default();
        // With speed 2 a quarter of the lifetime costs half of the weight.
        for (today, left) in [
            (seen, 1.0),
            (date(2025, 12, 1), 1.0),
            (date(2026, 1, 31), 0.5),
            (date(2026, 5, 1), 0.0),
            (date(2036, 5, 1), 0.0),
        ] {
            assert!((curve.left(seen, today) - left).abs() < 1e-9, "{today}");
        }
        assert_eq!(curve.expires(seen), date(2026, 5, 1));
        let straight = Decay {
            lifetime_days: 100,
            speed: 1.0,
        };
        assert!((straight.left(seen, date(2026, 1, 26)) - 0.75).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_never_rises_and_stays_within_bounds(
            lifetime_days in 0u16..1000, speed in 0.1..10.0f64, age in 0i32..2000, more in 0i32..50,
        ) {
            let curve = Decay { lifetime_days, speed };
            let seen = date(2026, 1, 1);
            let left = |age: i32| curve.left(seen, seen.saturating_add(age.days()));
            prop_assert!((0.0..=1.0).contains(&left(age)));
            prop_assert!(left(age + more) <= left(age));
        }
    }
}
