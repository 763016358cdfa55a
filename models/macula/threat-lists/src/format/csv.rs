//! Comma-separated values with a header. The header may stand in a remark, as exports of public feeds have it:
//!
//! ```text
//! # "first_seen_utc","ioc_value","confidence_level"
//! "2026-11-20 10:00:00","evil.test","75"
//! ```

use std::io::{self, BufRead, Read};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{date, invalid, lines};
use crate::line::{self, Entry, parse_pattern, parse_weight};
use crate::list::ListBuilder;

/// The names a column with indicators goes by; the first one that the header has is taken.
const INDICATOR: [&str; 17] = [
    "indicator",
    "ioc",
    "ioc_value",
    "value",
    "url",
    "domain",
    "hostname",
    "host",
    "ip",
    "ip_address",
    "dst_ip",
    "email",
    "hash",
    "sha256_hash",
    "sha256",
    "sha1",
    "md5",
];
/// Between 0 and 1.
const WEIGHT: [&str; 1] = ["weight"];
/// Between 0 and 100.
const CONFIDENCE: [&str; 3] = ["confidence", "confidence_level", "score"];
const FIRST_SEEN: [&str; 4] = ["first_seen", "first_seen_utc", "dateadded", "date"];
const LAST_SEEN: [&str; 3] = ["last_seen", "last_seen_utc", "last_online"];

/// Where in a row the fields stand.
struct Columns {
    indicator: usize,
    weight: Option<usize>,
    confidence: Option<usize>,
    first_seen: Option<usize>,
    last_seen: Option<usize>,
}

pub(super) fn read(list: &mut ListBuilder, content: &mut impl BufRead) -> io::Result<()> {
    let (head, lines) = head(list, content)?;
    let rest = Tight {
        // Behind the last row we then stand on the line after it, as behind all others.
        content: head.as_bytes().chain(content).chain(&b"\n"[..]),
        line: Vec::new(),
        read: 0,
    };
    let mut rows = ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(Trim::All)
        .flexible(true)
        .has_headers(true)
        .from_reader(rest);
    let header = rows.headers().map_err(|error| invalid(error.to_string()))?;
    let columns = Columns::of(header).ok_or_else(|| {
        let known = INDICATOR.join(", ");
        invalid(format!(
            "no column of the header holds indicators: one must be called {known}"
        ))
    })?;
    let mut row = StringRecord::new();
    loop {
        let read = rows.read_record(&mut row);
        let number = rows.position().line() - 1 + lines - 1;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        match read {
            Ok(false) => return Ok(()),
            Ok(true) => match columns.entry(list, number, &row) {
                Ok((pattern, entry)) => list.add(&pattern, &entry)?,
                Err(reason) => list.set_aside(number, reason),
            },
            Err(error) if matches!(error.kind(), csv::ErrorKind::Io(_)) => {
                return Err(io::Error::other(error));
            }
            Err(error) => list.set_aside(number, error.to_string()),
        }
    }
}

/// The remarks above the rows are taken in; what comes back is the header, and on which line it stands.
fn head(list: &mut ListBuilder, content: &mut impl BufRead) -> io::Result<(String, u64)> {
    let mut last_remark = String::new();
    for number in 1u32.. {
        let mut bytes = Vec::new();
        content
            .by_ref()
            .take(line::MAX_LINE as u64)
            .read_until(b'\n', &mut bytes)?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
        let remark = text.trim_start_matches('\u{feff}').trim_start();
        if let Some(remark) = remark.strip_prefix('#') {
            if remark.starts_with('!') {
                lines::take(list, number, text.as_bytes())?;
            }
            let could_be_a_header = remark.contains(',');
            last_remark = if could_be_a_header {
                remark.trim().to_owned() + "\n"
            } else {
                last_remark
            };
        } else if !text.is_empty() && remark.trim().is_empty() {
            // An empty line.
        } else {
            // The first row, or the end. The header is above it, or the row is the header.
            return Ok(match is_header(&last_remark) {
                true => (last_remark + &text, u64::from(number) - 1),
                false => (remark.to_owned(), u64::from(number)),
            });
        }
    }
    Ok((last_remark, 1))
}

/// The content without the blanks that some exports have between a comma and the quote after it. To a CSV reader such a quote
/// is a part of the field, and the commas in the field end it.
struct Tight<R> {
    content: R,
    line: Vec<u8>,
    read: usize,
}

impl<R: BufRead> Read for Tight<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.line.len() {
            let mut line = Vec::new();
            let mut piece = self.content.by_ref().take(line::MAX_LINE as u64);
            piece.read_until(b'\n', &mut line)?;
            self.line.clear();
            for byte in line {
                if byte == b'"' && self.line.ends_with(b"\", ") {
                    self.line.pop();
                }
                self.line.push(byte);
            }
            self.read = 0;
        }
        let some = (self.line.len() - self.read).min(buffer.len());
        buffer[..some].copy_from_slice(&self.line[self.read..self.read + some]);
        self.read += some;
        Ok(some)
    }
}

fn is_header(text: &str) -> bool {
    let text = text.replace("\", \"", "\",\"");
    let mut rows = ReaderBuilder::new()
        .trim(Trim::All)
        .from_reader(text.as_bytes());
    rows.headers()
        .is_ok_and(|header| Columns::of(header).is_some())
}

impl Columns {
    fn of(header: &StringRecord) -> Option<Columns> {
        let header: Vec<String> = header.iter().map(str::to_lowercase).collect();
        let find = |names: &[&str]| {
            let find = |name: &&str| header.iter().position(|column| column == name);
            names.iter().find_map(find)
        };
        Some(Columns {
            indicator: find(&INDICATOR)?,
            weight: find(&WEIGHT),
            confidence: find(&CONFIDENCE),
            first_seen: find(&FIRST_SEEN),
            last_seen: find(&LAST_SEEN),
        })
    }

    fn entry(
        &self,
        list: &ListBuilder,
        line: u32,
        row: &StringRecord,
    ) -> Result<(line::Pattern, Entry), String> {
        let field = |at: Option<usize>| {
            at.and_then(|at| row.get(at))
                .filter(|text| !text.is_empty())
        };
        let text = field(Some(self.indicator)).ok_or("the row has no indicator")?;
        let weight = match field(self.weight) {
            Some(weight) => Some(parse_weight(weight)?),
            None => field(self.confidence)
                .map(confidence)
                .transpose()?
                .flatten(),
        };
        let entry = Entry {
            line,
            weight,
            first_seen: field(self.first_seen).map(date).transpose()?,
            last_seen: field(self.last_seen).map(date).transpose()?,
            ..Entry::new(text)
        };
        Ok((parse_pattern(list.kind(), text)?, entry))
    }
}

/// A weight of a confidence in percent; none at all says nothing.
fn confidence(text: &str) -> Result<Option<f64>, String> {
    let percent = text.parse::<f64>().ok();
    let percent = percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| format!("the confidence `{text}` is not a number from 0 to 100"))?;
    Ok((percent > 0.0).then_some(percent / 100.0))
}
