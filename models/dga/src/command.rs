//! What the program does, a command each, and the options that several share.

pub(crate) mod added;
pub(crate) mod evaluate;
pub(crate) mod generate;
pub(crate) mod openapi;
pub(crate) mod predict;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod train;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use dga::corpus::List;
use dga::detector::Detector;
use dga::evaluation::{Detection, Quality};
use dga::model_files::ModelFiles;
use dga::prediction_list::PredictionLists;
use dga::training::Recipe;
use model_evaluation::calibration::OPERATING_POINT;

/// Which model judges, and from where on.
#[derive(Debug, Args)]
pub(crate) struct Judging {
    /// The folder of the model; without it, the one that comes along.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The score, 0 to 100, from which on a name is called generated. 50 is reached by one real name in a hundred, 75 by one
    /// in a thousand, 90 by one in ten thousand.
    #[arg(long, value_name = "SCORE", default_value_t = OPERATING_POINT, value_parser = score_value)]
    threshold: f64,
    /// A list of names known to be coming, as `dga predict` makes them. May be given several times. `dga serve` follows its changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Vec<PathBuf>,
}

impl Judging {
    pub(crate) fn detector(&self) -> Result<Detector> {
        let detector = detector(self.model.as_deref())?;
        let predictions = PredictionLists::read(&self.predictions)?;
        Ok(detector
            .with_threshold(self.threshold)
            .with_predictions(predictions))
    }
}

pub(crate) fn detector(folder: Option<&Path>) -> Result<Detector> {
    match folder {
        None => Detector::shipped().context("the model that comes along is damaged"),
        Some(folder) => ModelFiles::read(folder)
            .and_then(|files| Detector::new(&files))
            .with_context(|| format!("there is no usable model in `{}`", folder.display())),
    }
}

/// The lists to learn from or measure on.
#[derive(Debug, Args)]
pub(crate) struct Lists {
    /// Real names, one a line; may be gzipped.
    #[arg(value_name = "LEGIT")]
    real: PathBuf,
    /// Generated names, one a line; may be gzipped.
    #[arg(value_name = "DGA")]
    generated: PathBuf,
}

impl Lists {
    pub(crate) fn read(&self) -> Result<(List, List)> {
        Ok((List::read(&self.real)?, List::read(&self.generated)?))
    }
}

/// How a model is made.
#[derive(Debug, Args)]
pub(crate) struct RecipeOptions {
    /// For everything that is drawn. The same lists, options and seed make the same model, byte for byte.
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
    /// How many trees.
    #[arg(long, default_value_t = Recipe::default().trees)]
    trees: usize,
    /// How deep they are.
    #[arg(long, default_value_t = Recipe::default().depth)]
    depth: usize,
    /// By how much each tree's answer is shrunk.
    #[arg(long, default_value_t = Recipe::default().eta)]
    eta: f64,
    /// How many names each family's generator adds.
    #[arg(long, value_name = "NAMES", default_value_t = Recipe::default().each_family)]
    each_family: usize,
    /// How much each name counts that a generator added; one of the list counts 1.
    #[arg(long, value_name = "WEIGHT", default_value_t = Recipe::default().added_weight)]
    added_weight: f64,
}

impl RecipeOptions {
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            seed: self.seed,
            trees: self.trees,
            depth: self.depth,
            eta: self.eta,
            each_family: self.each_family,
            added_weight: self.added_weight,
        }
    }
}

/// A list as the report names it. Where it lay is no business of whoever reads the report.
pub(crate) fn described(list: &List) -> String {
    let name = list.path.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "{name}, {} labels, SHA-256 {}",
        list.labels.len(),
        list.digest
    )
}

/// Tells where a long command stands.
pub(crate) fn tell(step: &impl std::fmt::Display) {
    eprintln!("dga: {step} …");
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

pub(crate) fn write_report(path: &Path, html: &str) -> Result<()> {
    std::fs::write(path, html).with_context(|| format!("could not write `{}`", path.display()))?;
    eprintln!("dga: the report is in {}", path.display());
    Ok(())
}

pub(crate) fn detection_text(title: &str, detection: &Detection) -> String {
    format!(
        "{title}: {} real, {} generated\n  area under the ROC curve    {}\n  found at 1 % false alarms   {}\n  \
         found at 0.1 % false alarms {}\n",
        detection.real,
        detection.generated,
        detection.auc,
        detection.recall_at_1_percent,
        detection.recall_at_0_1_percent,
    )
}

pub(crate) fn quality_text(quality: &Quality) -> String {
    let mut text = detection_text("On folds, labels longer than six", &quality.folds);
    text += &detection_text("On folds, all labels", &quality.folds_all_lengths);
    text += "On families left out of training, found at 1 % false alarms:\n";
    for family in &quality.unseen {
        text += &format!(
            "  {:<14} {:<14} {:.3}\n",
            family.family, family.kind, family.recall
        );
    }
    text += &format!("  mean without wordlist families {}\n", quality.unseen_mean);
    text + &format!(
        "  mean with wordlist families    {}\n",
        quality.unseen_mean_with_wordlists
    )
}

/// The words of a file, one a line.
pub(crate) fn words_of<'a>(path: &Path, text: &'a str) -> Result<Vec<&'a str>> {
    let words: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        bail!("the word list `{}` is empty", path.display());
    }
    let wrong = |word: &&&str| {
        !word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if let Some(word) = words.iter().find(wrong) {
        bail!(
            "`{word}` in `{}` is no word a name could have: lower-case letters and digits make one, and a line holds one",
            path.display()
        );
    }
    Ok(words)
}

fn score_value(text: &str) -> Result<f64, String> {
    let score = text
        .parse()
        .ok()
        .filter(|score| (0.0..=100.0).contains(score));
    score.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}
