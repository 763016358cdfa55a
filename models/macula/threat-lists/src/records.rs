//! The entries of a list, written one after the other into a file of our own. Memory holds where an entry stands, not what it
//! says: most look-ups never come here, and the one that does reads a single record. Short lists stay in memory whole.
//!
//! A record, integers little-endian:
//!
//! ```text
//! u32 length of what follows
//! u32 line | u8 flags | u8 family | u16 n, n bytes of the key
//! where the flags say so: [u16 n, n bytes of the entry's text, if it is not the key]
//!     [f64 weight] [i32 first seen] [i32 last seen] [i32 expires]      in days since 1970-01-01
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Unit};
use tempfile::{SpooledData, SpooledTempFile};

use crate::key::Key;
use crate::line::Entry;

/// Up to so many bytes of records stay in memory.
const IN_MEMORY: usize = 4 << 20;

/// Records are read in pieces of this size; nearly all of them fit into one.
const PIECE: usize = 512;

/// Where a record stands.
pub(crate) type Offset = u64;

/// Offsets take this many bits, so that a list may have a terabyte of records.
pub(crate) const OFFSET_BITS: u32 = 40;

const WEIGHT: u8 = 1;
const FIRST_SEEN: u8 = 2;
const LAST_SEEN: u8 = 4;
const ITSELF: u8 = 8;
const BELOW: u8 = 16;
const TEXT: u8 = 32;
const EXPIRES: u8 = 64;

/// What a name's entry speaks of. Entries of other families speak of themselves only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) itself: bool,
    pub(crate) below: bool,
}

/// Writes records.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    file: io::BufWriter<SpooledTempFile>,
    end: Offset,
    record: Vec<u8>,
}

/// The records of a finished list.
#[derive(Debug)]
pub(crate) enum Records {
    Memory(Box<[u8]>),
    /// An unlinked file: it goes when the list does.
    File(File),
}

/// One record as it lies there.
pub(crate) struct Record<'b> {
    pub(crate) key: Key<'b>,
    pub(crate) reach: Reach,
    line: u32,
    text: &'b [u8],
    weight: Option<f64>,
    first_seen: Option<i32>,
    last_seen: Option<i32>,
    expires: Option<i32>,
}

impl RecordWriter {
    /// Writes into memory first, and into a file in `folder` once that gets too much.
    pub(crate) fn new(folder: &Path) -> Self {
        RecordWriter {
            file: io::BufWriter::with_capacity(
                1 << 16,
                tempfile::spooled_tempfile_in(IN_MEMORY, folder),
            ),
            end: 0,
            record: Vec::new(),
        }
    }

    pub(crate) fn write(
        &mut self,
        key: Key<'_>,
        reach: Reach,
        entry: &Entry,
    ) -> io::Result<Offset> {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(entry.weight.is_some(), WEIGHT)
            | flag(entry.first_seen.is_some(), FIRST_SEEN)
            | flag(entry.last_seen.is_some(), LAST_SEEN)
            | flag(entry.expires.is_some(), EXPIRES)
            | flag(reach.itself, ITSELF)
            | flag(reach.below, BELOW)
            | flag(entry.text.as_bytes() != key.bytes(), TEXT);
        let record = &mut self.record;
        record.clear();
        record.extend_from_slice(&[0; 4]);
        record.extend_from_slice(&entry.line.to_le_bytes());
        record.extend_from_slice(&[flags, key.family()]);
        let text = (flags & TEXT != 0).then_some(entry.text.as_bytes());
        for bytes in [Some(key.bytes()), text].into_iter().flatten() {
            let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
            record.extend_from_slice(&length.to_le_bytes());
            record.extend_from_slice(bytes);
        }
        if let Some(weight) = entry.weight {
            record.extend_from_slice(&weight.to_le_bytes());
        }
        let dates = [entry.first_seen, entry.last_seen, entry.expires];
        for date in dates.into_iter().flatten() {
            record.extend_from_slice(&days(date).to_le_bytes());
        }
        let length = u32::try_from(record.len() - 4).map_err(io::Error::other)?;
        record[..4].copy_from_slice(&length.to_le_bytes());
        let at = self.end;
        self.end += record.len() as u64;
        if self.end >> OFFSET_BITS != 0 {
            return Err(io::Error::other("a list may not have more than a terabyte"));
        }
        self.file.write_all(record)?;
        Ok(at)
    }

    pub(crate) fn finish(self) -> io::Result<Records> {
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        Ok(match file.into_inner() {
            SpooledData::InMemory(bytes) => Records::Memory(bytes.into_inner().into()),
            SpooledData::OnDisk(file) => Records::File(file),
        })
    }
}

impl Records {
    /// Shows the record at `at` to `look`.
    pub(crate) fn with<R>(&self, at: Offset, look: impl FnOnce(&Record<'_>) -> R) -> io::Result<R> {
        let broken = || io::Error::other("a record is broken");
        match self {
            Records::Memory(bytes) => {
                let at = usize::try_from(at).map_err(io::Error::other)?;
                let from = bytes.get(at..).ok_or_else(broken)?;
                Ok(look(&record(from).ok_or_else(broken)?))
            }
            Records::File(file) => {
                let mut piece = [0; PIECE];
                let read = read_up_to(file, &mut piece, at)?;
                let length = length(&piece[..read]).ok_or_else(broken)?;
                if length <= read {
                    return Ok(look(&record(&piece[..read]).ok_or_else(broken)?));
                }
                let mut whole = vec![0; length];
                file.read_exact_at(&mut whole, at)?;
                Ok(look(&record(&whole).ok_or_else(broken)?))
            }
        }
    }
}

impl Record<'_> {
    pub(crate) fn entry(&self) -> Entry {
        Entry {
            text: Arc::from(String::from_utf8_lossy(self.text)),
            line: self.line,
            weight: self.weight,
            first_seen: self.first_seen.and_then(date),
            last_seen: self.last_seen.and_then(date),
            expires: self.expires.and_then(date),
        }
    }
}

/// Reads until `piece` is full or the file ends.
fn read_up_to(file: &File, piece: &mut [u8], at: Offset) -> io::Result<usize> {
    let mut read = 0;
    while read < piece.len() {
        match file.read_at(&mut piece[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// How long the record at the beginning of `bytes` is, with the length itself.
fn length(bytes: &[u8]) -> Option<usize> {
    let (length, _) = bytes.split_first_chunk()?;
    usize::try_from(u32::from_le_bytes(*length))
        .ok()?
        .checked_add(4)
}

/// Takes apart the record at the beginning of `bytes`.
fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let mut rest = bytes.get(4..length(bytes)?)?;
    let line = u32::from_le_bytes(take(&mut rest)?);
    let [flags, family] = take(&mut rest)?;
    let mut field = || {
        let length = u16::from_le_bytes(take(&mut rest)?);
        let (field, after) = rest.split_at_checked(usize::from(length))?;
        rest = after;
        Some(field)
    };
    let key = Key::from_parts(family, field()?)?;
    let text = match flags & TEXT {
        0 => key.bytes(),
        _ => field()?,
    };
    let weight = match flags & WEIGHT {
        0 => None,
        _ => Some(f64::from_le_bytes(take(&mut rest)?)),
    };
    let mut day = |flag| match flags & flag {
        0 => Some(None),
        _ => Some(Some(i32::from_le_bytes(take(&mut rest)?))),
    };
    Some(Record {
        key,
        reach: Reach {
            itself: flags & ITSELF != 0,
            below: flags & BELOW != 0,
        },
        line,
        text,
        weight,
        first_seen: day(FIRST_SEEN)?,
        last_seen: day(LAST_SEEN)?,
        expires: day(EXPIRES)?,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

/// The day everything is counted from.
const EPOCH: Date = Date::constant(1970, 1, 1);

fn days(date: Date) -> i32 {
    // Dates are of the years -9999 to 9999, so that their days fit easily.
    EPOCH
        .until((Unit::Day, date))
        .map_or(0, |span| span.get_days())
}

fn date(days: i32) -> Option<Date> {
    EPOCH
        .checked_add(SignedDuration::from_hours(24 * i64::from(days)))
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = (String, Entry, bool, bool)> {
        let date = prop::option::of((1970i16..2100, 1i8..=12, 1i8..=28));
        let weight = prop::option::of(0.001..=1.0f64);
        (
            "[a-z0-9.]{1,40}",
            ".{0,700}",
            any::<u32>(),
            weight,
            date.clone(),
            (date.clone(), date),
            any::<(bool, bool)>(),
        )
            .prop_map(
                |(key, text, line, weight, first, (last, expires), (itself, below))| {
                    let day = |(year, month, day)| Date::constant(year, month, day);
                    let entry = Entry {
                        text: text.into(),
                        line,
                        weight,
                        first_seen: first.map(day),
                        last_seen: last.map(day),
                        expires: expires.map(day),
                    };
                    (key, entry, itself, below)
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in prop::collection::vec(entries(), 1..20), on_disk: bool) {
            let mut writer = RecordWriter::new(&std::env::temp_dir());
            if on_disk {
                writer.file.get_mut().roll().expect("a temporary file");
            }
            let mut offsets = Vec::new();
            for (key, entry, itself, below) in &entries {
                let reach = Reach { itself: *itself, below: *below };
                offsets.push(writer.write(Key::name(key), reach, entry).expect("it is written"));
            }
            let records = writer.finish().expect("it is written");
            prop_assert_eq!(matches!(records, Records::File(_)), on_disk);
            for ((key, entry, itself, below), at) in entries.iter().zip(offsets).rev() {
                let seen = records.with(at, |record| {
                    (record.key == Key::name(key), record.entry(), record.reach)
                });
                let reach = Reach { itself: *itself, below: *below };
                prop_assert_eq!(seen.expect("it is read"), (true, entry.clone(), reach));
            }
        }

        #[test]
        fn bytes_that_are_no_record_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let records = Records::Memory(bytes.into());
            for at in 0..70 {
                let _no_matter_what = records.with(at, |record| record.entry());
            }
        }
    }
}
