//! `dga train`

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use dga::corpus::List;
use dga::detector::Detector;
use dga::evaluation::{Evaluation, added, evaluate, learned_families};
use dga::features::FEATURES;
use dga::model_files::{Manifest, ModelFiles, Source};
use dga::report::{About, of_evaluation};
use dga::training::{Learned, Recipe, learn};
use model_evaluation::calibration::Calibration;

use super::{Lists, RecipeOptions, described, print, quality_text, tell, write_report};

/// Labels whose margins go with a model, to see that another machine computes the same.
const GOLDEN: [&str; 8] = [
    "wikipedia",
    "stackoverflow",
    "a",
    "xn3kq-77-zz",
    "intgmxdeadnxuyla",
    "kwtoestnessbiophysicalohax",
    "3322org",
    "the-longest-label-there-may-be-is-of-sixty-three-characters-abc",
];

#[derive(Debug, Args)]
pub(crate) struct Train {
    #[command(flatten)]
    lists: Lists,
    /// The folder to write the model into.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write a report to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    recipe: RecipeOptions,
}

impl Train {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let recipe = self.recipe.recipe();
        let (real, generated) = self.lists.read()?;
        let evaluation = evaluate(&recipe, &real.labels, &generated.labels, |step| tell(&step))
            .context("could not measure the recipe")?;
        tell(&"the model, from all names");
        let learned = learned(&recipe, &real, &generated)?;
        let files = ModelFiles::of(&learned, |trees, tables| {
            manifest(
                &recipe,
                [&real, &generated],
                &learned,
                &evaluation,
                [trees, tables],
            )
        })
        .context("could not describe the model")?;
        Detector::new(&files).context("the model that was made cannot be used")?;
        files
            .write(&self.out)
            .with_context(|| format!("could not write into `{}`", self.out.display()))?;
        if let Some(path) = &self.html {
            let (real, generated) = (described(&real), described(&generated));
            let about = About {
                real: &real,
                generated: &generated,
                recipe: Some(&recipe),
                importance: &importance(&learned),
            };
            write_report(path, &of_evaluation(&evaluation, &about))?;
        }
        print(&quality_text(&evaluation.quality))?;
        if let Some(caveat) = Calibration::caveat(&evaluation.scores) {
            eprintln!("dga: {caveat}");
        }
        print(&format!("The model is in {}\n", self.out.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn learned(recipe: &Recipe, real: &List, generated: &List) -> Result<Learned> {
    let texts = |list: &'_ List| -> Vec<String> { list.labels.clone() };
    let (real, generated) = (texts(real), texts(generated));
    let real: Vec<&str> = real.iter().map(String::as_str).collect();
    let generated: Vec<&str> = generated.iter().map(String::as_str).collect();
    learn(
        recipe,
        &real,
        &generated,
        &added(recipe, learned_families()),
        |_| ControlFlow::Continue(()),
    )
    .context("could not learn from the lists")
}

/// The share of each feature in what all splits gained.
pub(super) fn importance(learned: &Learned) -> Vec<(&'static str, f64)> {
    let gain = learned.model.total_gain();
    let total: f64 = gain.iter().sum();
    FEATURES
        .iter()
        .zip(gain)
        .map(|(feature, gain)| (feature.name, gain / total.max(f64::MIN_POSITIVE)))
        .collect()
}

fn manifest(
    recipe: &Recipe,
    [real, generated]: [&List; 2],
    learned: &Learned,
    evaluation: &Evaluation,
    [trees, tables]: [String; 2],
) -> Manifest {
    let source = |list: &List| Source {
        digest: list.digest.clone(),
        labels: list.labels.len(),
    };
    let golden = GOLDEN
        .iter()
        .map(|label| (*label).to_owned())
        .zip(learned.margins(GOLDEN));
    Manifest {
        form: Manifest::FORM,
        real: source(real),
        generated: source(generated),
        families: learned_families()
            .map(|family| family.name.to_owned())
            .collect(),
        recipe: recipe.clone(),
        quality: evaluation.quality.clone(),
        calibration: Calibration::fit(&evaluation.scores),
        supposed_scores: Calibration::supposed(&evaluation.scores),
        golden: golden.collect(),
        trees,
        tables,
    }
}
