//! `dga predict`

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use dga::families::SuppoboxWords;
use hashbrown::HashSet;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{print, words_of};

/// There are 2^15 names, one for every 512 seconds, and those of half a day are tried ahead. What came twice would be listed for its
/// first day alone, and the list would seem to end too early.
const MOST_DAYS: i64 = 193;

#[derive(Debug, Args)]
pub(crate) struct Predict {
    #[command(subcommand)]
    family: PredictedFamily,
}

#[derive(Debug, Subcommand)]
enum PredictedFamily {
    /// Two words in a row below `.net`, by the time of the day. Every strain has its own 384 words.
    Suppobox(Suppobox),
}

#[derive(Debug, Args)]
struct Suppobox {
    /// The words of the strain in its own order, one a line. The name of the file, without its ending, stands in the list as the seed.
    #[arg(long, value_name = "FILE")]
    words: PathBuf,
    /// The first day (UTC) to list names for; without it, yesterday.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// For how many days: at most 193, for then the names come again.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=MOST_DAYS))]
    days: u32,
}

impl Predict {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        match &self.family {
            PredictedFamily::Suppobox(suppobox) => suppobox.run(),
        }
    }
}

impl Suppobox {
    fn run(&self) -> Result<ExitCode> {
        let path = &self.words;
        let text = fs::read_to_string(path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        let words = SuppoboxWords::new(words_of(path, &text)?)
            .with_context(|| format!("`{}` can't be used", path.display()))?;
        let strain: String = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .replace([' ', '\t', ',', '#'], "_");
        let mut date = match self.from {
            Some(date) => date,
            None => Timestamp::now()
                .to_zoned(TimeZone::UTC)
                .date()
                .yesterday()
                .context("there is no day before today")?,
        };
        let mut listed = HashSet::new();
        for _ in 0..self.days {
            let names = words.names(date).into_iter();
            let lines: String = names
                .filter(|(name, _)| listed.insert(name.clone()))
                .map(|(name, date)| format!("{name} suppobox {date} {strain}\n"))
                .collect();
            print(&lines)?;
            date = date.checked_add(1.day()).context("there is no such day")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
