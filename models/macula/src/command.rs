//! What the program does, a command each, and the options that several share.

pub(crate) mod openapi;
pub(crate) mod score;
pub(crate) mod serve;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use macula::CacheSettings;
use macula::decay::Decay;
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
    /// After how many days a report of a feed counts no more.
    #[arg(long, value_name = "DAYS", default_value_t = Decay::default().lifetime_days)]
    feed_lifetime: u16,
    /// How fast a feed's report loses weight at first; 1 is a straight line.
    #[arg(long, value_name = "SPEED", default_value_t = Decay::default().speed, value_parser = speed_value)]
    feed_speed: f64,
    /// After how many days a report of a darklist counts no more.
    #[arg(long, value_name = "DAYS", default_value_t = Decay::default().lifetime_days)]
    darklist_lifetime: u16,
    /// How fast a darklist's report loses weight at first.
    #[arg(long, value_name = "SPEED", default_value_t = Decay::default().speed, value_parser = speed_value)]
    darklist_speed: f64,
}

impl Scoring {
    pub(crate) fn folder(&self) -> &Path {
        &self.lists
    }

    pub(crate) fn load(&self, cache: CacheSettings) -> Result<Scorer> {
        let lists = Lists::load(&self.lists).context("could not load the lists")?;
        let policy = Policy {
            neutral_score: self.neutral_score,
            malicious_from: self.malicious_from,
            feed_decay: Decay {
                lifetime_days: self.feed_lifetime,
                speed: self.feed_speed,
            },
            darklist_decay: Decay {
                lifetime_days: self.darklist_lifetime,
                speed: self.darklist_speed,
            },
            ..Policy::default()
        };
        Ok(Scorer::new(lists, policy, cache))
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

fn speed_value(text: &str) -> Result<f64, String> {
    let speed = text
        .parse()
        .ok()
        .filter(|speed| (0.01..=100.0).contains(speed));
    speed.ok_or_else(|| "expected a number from 0.01 to 100".to_owned())
}
