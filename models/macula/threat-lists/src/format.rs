//! The forms lists come in: plain lines, CSV with a header, MISP warninglists and STIX 2.1 bundles.

mod csv;
mod lines;
mod misp;
mod stix;

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checksums;
use crate::list::{List, ListBuilder, ListKind};

/// A JSON list is read whole; a larger one is refused.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// How a list file is to be read, by the extension of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.txt`: one entry per line.
    Lines,
    /// `.csv`: a header names the columns.
    Csv,
    /// `.json`: a MISP warninglist or a STIX bundle; the content tells which.
    Json,
}

/// What is known of a list before it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) kind: ListKind,
    pub(crate) name: &'a str,
    /// Where a long list's entries may be kept.
    pub(crate) folder: &'a Path,
    /// Entries that have expired by now are left out.
    pub(crate) now: Timestamp,
}

impl Format {
    pub(crate) fn of_extension(extension: &str) -> Option<Format> {
        match extension {
            "txt" => Some(Format::Lines),
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            _ => None,
        }
    }

    /// Reads a list to its end. What can't be used of it is set aside.
    ///
    /// # Errors
    /// When it can't be read, or is as a whole not of this form.
    pub(crate) fn read(self, input: &Input<'_>, content: &mut dyn Read) -> io::Result<List> {
        let mut content = BufReader::with_capacity(1 << 16, Digesting::new(content));
        let mut list = ListBuilder::new(input.kind, input.name, input.folder);
        match self {
            Format::Lines => lines::read(&mut list, &mut content)?,
            Format::Csv => csv::read(&mut list, &mut content)?,
            Format::Json => {
                let mut json = Vec::new();
                content
                    .by_ref()
                    .take(MAX_JSON_BYTES)
                    .read_to_end(&mut json)?;
                if !content.fill_buf()?.is_empty() {
                    return Err(invalid(format!(
                        "it has more than {MAX_JSON_BYTES} bytes; a list of that size belongs into a text file"
                    )));
                }
                read_json(&mut list, &json, input.now)?;
            }
        }
        io::copy(&mut content, &mut io::sink())?;
        let digest = content.into_inner().digest();
        // So many digits are enough to tell versions apart.
        let list = list.finish(format!("sha256:{}", &digest.to_string()[..12]))?;
        Ok(list.with_digest(digest))
    }
}

fn read_json(list: &mut ListBuilder, json: &[u8], now: Timestamp) -> io::Result<()> {
    let json: Value = serde_json::from_slice(json)
        .map_err(|error| invalid(format!("it is not JSON: {error}")))?;
    if json.get("type").is_some_and(|kind| kind == "bundle") {
        stix::read(list, &json, now)
    } else if json.get("list").is_some() {
        misp::read(list, &json)
    } else {
        Err(invalid(
            "it is neither a STIX bundle (`\"type\": \"bundle\"`) nor a MISP warninglist (`\"list\": […]`)".to_owned(),
        ))
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The date a text begins with, be it a date or a time in any of the usual spellings.
fn date(text: &str) -> Result<jiff::civil::Date, String> {
    let day = text.trim().get(..10).unwrap_or(text);
    crate::line::parse_date(day)
}

/// The weight of a confidence in percent. One of 0 is no report: its own source does not stand behind it.
fn weight_of(percent: f64) -> Result<f64, String> {
    if percent == 0.0 {
        return Err("its confidence is 0, so nobody stands behind it".to_owned());
    }
    let range = 0.0..=100.0;
    let percent = Some(percent).filter(|percent| range.contains(percent));
    let weight = percent.map(|percent| percent / 100.0);
    weight.ok_or_else(|| "its confidence is not between 0 and 100".to_owned())
}

/// Passes everything on and digests it.
struct Digesting<'r> {
    content: &'r mut dyn Read,
    hasher: Sha256,
}

impl<'r> Digesting<'r> {
    fn new(content: &'r mut dyn Read) -> Self {
        let hasher = Sha256::new();
        Digesting { content, hasher }
    }

    /// The content's SHA-256.
    fn digest(self) -> checksums::Digest {
        checksums::Digest(self.hasher.finalize().into())
    }
}

impl Read for Digesting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
