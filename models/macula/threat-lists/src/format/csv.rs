//! Comma-separated values with a header. The header may stand in a remark, as exports of public feeds have it:
//!
//! ```text
//! # "first_seen_utc","ioc_value","confidence_level"
//! "2026-11-20 10:00:00","evil.test","75"
//! ```

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader};

use super::lines::each_line;
use super::{date, invalid, lines, weight_of};
use crate::line::{Entry, MAX_LINE, Pattern, parse_pattern, parse_weight};
use crate::list::{ListBuilder, ListKind};

/// So many fields of a row are looked at.
const MAX_FIELDS: usize = 256;

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
    let (mut columns, mut remark) = (None, None);
    let mut row = Row::default();
    each_line(content, |number, bytes| {
        let text = bytes.trim_ascii();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.starts_with(b"#!") {
            return lines::take(list, number, text);
        }
        if let Some(text) = text.strip_prefix(b"#") {
            // The last remark above the rows may be their header.
            let header = columns.is_none() && row.read(text.trim_ascii()).is_ok();
            remark = header
                .then(|| Columns::of(&row))
                .flatten()
                .or(remark.take());
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        let read = row.read(text);
        let Some(columns) = &columns else {
            let header = || read.ok().and_then(|()| Columns::of(&row));
            let is_header_above = remark.is_some();
            let found = remark.take().or_else(header).ok_or_else(|| {
                let known = INDICATOR.join(", ");
                invalid(format!(
                    "no column of the header holds indicators: one must be called {known}"
                ))
            })?;
            let taken =
                is_header_above.then(|| take_row(list, number, &found, row.read(text), &row));
            columns = Some(found);
            return taken.unwrap_or(Ok(()));
        };
        take_row(list, number, columns, read, &row)
    })
}

fn take_row(
    list: &mut ListBuilder,
    number: u32,
    columns: &Columns,
    read: Result<(), String>,
    row: &Row,
) -> io::Result<()> {
    match read.and_then(|()| columns.entry(list, number, row)) {
        Ok((pattern, entry)) => list.add(&pattern, &entry),
        Err(reason) => {
            list.set_aside(number, reason);
            Ok(())
        }
    }
}

/// The fields of one row. A row is a line: a quote that is not closed there would swallow all that follows.
struct Row {
    bytes: Vec<u8>,
    ends: [usize; MAX_FIELDS],
    count: usize,
}

impl Default for Row {
    fn default() -> Self {
        Row {
            bytes: vec![0; MAX_LINE],
            ends: [0; MAX_FIELDS],
            count: 0,
        }
    }
}

impl Row {
    fn read(&mut self, line: &[u8]) -> Result<(), String> {
        self.count = 0;
        if line.len() >= MAX_LINE {
            return Err(format!("the row has more than {MAX_LINE} bytes"));
        }
        // Some exports have a blank between a comma and the quote after it. To a CSV reader such a quote is a part of the
        // field, and the commas in the field end it.
        let mut tight = Vec::with_capacity(line.len() + 1);
        for byte in line {
            if *byte == b'"' && tight.ends_with(b"\", ") {
                tight.pop();
            }
            tight.push(*byte);
        }
        tight.push(b'\n');
        let mut reader = Reader::new();
        let (result, _, _, count) = reader.read_record(&tight, &mut self.bytes, &mut self.ends);
        match result {
            ReadRecordResult::Record => {
                self.count = count;
                Ok(())
            }
            ReadRecordResult::InputEmpty => Err("a quote is not closed on its line".to_owned()),
            ReadRecordResult::OutputFull
            | ReadRecordResult::OutputEndsFull
            | ReadRecordResult::End => Err(format!("it is no row of at most {MAX_FIELDS} fields")),
        }
    }

    fn get(&self, at: usize) -> Option<&str> {
        let end = *self.ends[..self.count].get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        std::str::from_utf8(&self.bytes[start..end])
            .ok()
            .map(str::trim)
    }

    fn fields(&self) -> impl Iterator<Item = Option<&str>> {
        (0..self.count).map(|at| self.get(at))
    }
}

impl Columns {
    fn of(header: &Row) -> Option<Columns> {
        let header: Vec<String> = header
            .fields()
            .map(|name| name.unwrap_or_default().to_lowercase())
            .collect();
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

    fn entry(&self, list: &ListBuilder, line: u32, row: &Row) -> Result<(Pattern, Entry), String> {
        let field = |at: Option<usize>| {
            at.and_then(|at| row.get(at))
                .filter(|text| !text.is_empty())
        };
        let text = field(Some(self.indicator)).ok_or("the row has no indicator")?;
        let weight = match field(self.weight) {
            Some(weight) => Some(parse_weight(weight)?),
            None => {
                let confidence = |text| confidence(list.kind(), text);
                field(self.confidence).map(confidence).transpose()?
            }
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

/// A weight of a confidence in percent. Where weights count, one of up to 1 is none: it is more likely a share, of which 1 is all.
fn confidence(kind: ListKind, text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>();
    let percent = percent.map_err(|_| format!("the confidence `{text}` is not a number"))?;
    let counts = matches!(kind, ListKind::Feed | ListKind::Darklist);
    if counts && 0.0 < percent && percent <= 1.0 {
        return Err(format!(
            "the confidence `{text}` is not above 1 percent; what is meant as a weight from 0 to 1 belongs in a column `weight`"
        ));
    }
    weight_of(percent)
}
