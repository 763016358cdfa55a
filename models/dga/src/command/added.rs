//! `dga added`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use dga::corpus::{List, generated};
use dga::evaluation::{TRAINING_YEARS, learned_families};
use dga::training::{Recipe, made_up};

use super::print;

#[derive(Debug, Args)]
pub(crate) struct Added {
    /// Real names, one a line; may be gzipped.
    #[arg(value_name = "LEGIT")]
    real: PathBuf,
    /// For everything that is drawn.
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// How many names each family's generator adds, and how many are made up.
    #[arg(long, value_name = "NAMES", default_value_t = Recipe::default().each_family)]
    each_family: usize,
}

impl Added {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (each, seed) = (self.each_family, self.seed);
        let real = List::read(&self.real)?;
        let real: Vec<&str> = real.labels.iter().map(String::as_str).collect();
        let names = generated(learned_families(), each, TRAINING_YEARS, seed);
        let names = names
            .iter()
            .map(|(family, label)| format!("{label} {family}\n"));
        let made_up = made_up(&real, each, seed);
        let made_up = made_up.iter().map(|label| format!("{label} made-up\n"));
        print(&names.chain(made_up).collect::<String>())?;
        Ok(ExitCode::SUCCESS)
    }
}
