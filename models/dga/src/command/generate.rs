//! `dga generate`

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use dga::families::{FAMILIES, Seed, sample_words};
use jiff::civil::Date;
use jiff::{ToSpan, Zoned};

use super::{print, words_of};

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The family.
    #[arg(value_parser = PossibleValuesParser::new(FAMILIES.map(|family| family.name)))]
    family: String,
    /// The number that tells one botnet of the family from another.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// The first day to make names for; without it, yesterday.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// For how many days.
    #[arg(long, default_value_t = 9)]
    days: u32,
    /// How many names a day.
    #[arg(long, default_value_t = 100)]
    count: usize,
    /// The words of a family that strings words together, one a line; without it, a sample to try it out.
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
}

impl Generate {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let family = FAMILIES
            .iter()
            .find(|family| family.name == self.family)
            .context("the family was checked")?;
        let file = match &self.words {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("could not read `{}`", path.display()))?,
            None => String::new(),
        };
        let words = match &self.words {
            Some(path) => words_of(path, &file)?,
            None => sample_words().to_vec(),
        };
        let name = family.name;
        eprintln!(
            "dga: these names have the shape of {name}'s, for training and trials; no botnet asks for them"
        );
        let mut date = match self.from {
            Some(date) => date,
            None => Zoned::now()
                .date()
                .yesterday()
                .context("there is no day before today")?,
        };
        for _ in 0..self.days {
            let seed = Seed {
                date,
                number: self.seed,
                words: &words,
            };
            let names = family.names(&seed, self.count);
            let lines: String = names
                .iter()
                .map(|name| format!("{name} {} {date} {}\n", family.name, self.seed))
                .collect();
            print(&lines)?;
            date = date.checked_add(1.day()).context("there is no such day")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
