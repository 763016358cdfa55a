//! Durations in settings, written as people do: `30s`, `6h`, `1day 12h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time that settings speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// So many days.
    pub const fn days(days: u64) -> Span {
        Span::seconds(days * 24 * 60 * 60)
    }
}

/// What nobody means to wait for, and clocks cannot count.
const TOO_LONG: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A text that is no length of time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpanError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] humantime::DurationError),
    /// It is longer than a century.
    #[error("it is longer than 100 years")]
    TooLong,
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let span = humantime::parse_duration(text)?;
        if span > TOO_LONG {
            return Err(SpanError::TooLong);
        }
        Ok(Span(span))
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}
