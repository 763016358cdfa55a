//! What the program does, a command each, and the options that several share.

pub(crate) mod score;
pub(crate) mod serve;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use macula::judgement::Policy;
use macula::scorer::Scorer;
use threat_lists::Lists;

/// By what is scored.
#[derive(Debug, Args)]
pub(crate) struct Scoring {
    /// The folder with the lists: whitelist*.txt, blacklist*.txt, darklist*.txt and feeds/*.txt.
    #[arg(long, value_name = "DIR", default_value = "lists")]
    lists: PathBuf,
    /// The score, 0 to 99, of what nobody has an opinion about.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().neutral_score, value_parser = score_value)]
    neutral_score: f64,
    /// The score from which on the verdict is malicious.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().malicious_from, value_parser = score_value)]
    malicious_from: f64,
}

impl Scoring {
    pub(crate) fn load(&self) -> Result<Scorer> {
        let lists = Lists::load(&self.lists).context("could not load the lists")?;
        let policy = Policy {
            neutral_score: self.neutral_score,
            malicious_from: self.malicious_from,
            ..Policy::default()
        };
        Ok(Scorer::new(lists, policy))
    }
}

/// Prints to standard output; that its reader went away is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("could not print")
        }
        _ => Ok(()),
    }
}

fn score_value(text: &str) -> Result<f64, String> {
    let score = text
        .parse()
        .ok()
        .filter(|score| (0.0..=99.0).contains(score));
    score.ok_or_else(|| "expected a number from 0 to 99".to_owned())
}
