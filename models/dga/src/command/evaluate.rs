//! `dga evaluate`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use dga::corpus::{List, SHORT};
use dga::detector::Detector;
use dga::evaluation::{Detection, evaluate};
use dga::report::{About, of_evaluation, of_measurement};
use model_evaluation::metrics::Scores;

use super::train::{importance, learned};
use super::{
    Lists, RecipeOptions, described, detection_text, detector, print, quality_text, tell,
    write_report,
};

#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    #[command(flatten)]
    lists: Lists,
    /// Measure the model in this folder on the lists, or with `shipped` the one that comes along. It must not have learned from them.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "trees", "depth", "eta", "each_family", "added_weight"])]
    model: Option<PathBuf>,
    /// Write a report with plots to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the figures as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recipe: RecipeOptions,
}

impl Evaluate {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (real, generated) = self.lists.read()?;
        match &self.model {
            Some(folder) => {
                let folder = (folder.as_os_str() != "shipped").then_some(folder.as_path());
                self.measure(&detector(folder)?, &real, &generated)
            }
            None => self.cross_validate(&real, &generated),
        }
    }

    fn cross_validate(&self, real: &List, generated: &List) -> Result<ExitCode> {
        let recipe = self.recipe.recipe();
        let evaluation = evaluate(&recipe, &real.labels, &generated.labels, |step| tell(&step))
            .context("could not measure the recipe")?;
        if let Some(path) = &self.html {
            tell(&"the importance of features, from all names");
            let learned = learned(&recipe, real, generated)?;
            let (real, generated) = (described(real), described(generated));
            let about = About {
                real: &real,
                generated: &generated,
                recipe: Some(&recipe),
                importance: &importance(&learned),
            };
            write_report(path, &of_evaluation(&evaluation, &about))?;
        }
        if self.json {
            print(&format!(
                "{}\n",
                serde_json::to_string_pretty(&evaluation.quality)?
            ))?;
        } else {
            print(&quality_text(&evaluation.quality))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self, detector: &Detector, real: &List, generated: &List) -> Result<ExitCode> {
        let scores = |shortest: usize| {
            let margins = |list: &List| {
                let long = list.labels.iter().filter(|label| label.len() > shortest);
                long.map(|label| detector.margin(label)).collect()
            };
            Scores::new(margins(real), margins(generated))
        };
        let long = scores(SHORT);
        let detection = Detection::of(&long);
        if let Some(path) = &self.html {
            let (real, generated) = (described(real), described(generated));
            let about = About {
                real: &real,
                generated: &generated,
                recipe: None,
                importance: &[],
            };
            write_report(path, &of_measurement(&long, &detection, &about))?;
        }
        if self.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&detection)?))?;
            return Ok(ExitCode::SUCCESS);
        }
        print(&detection_text("Labels longer than six", &detection))?;
        print(&detection_text("All labels", &Detection::of(&scores(0))))?;
        // What users meet: the threshold as it was set, not one that these lists would have set.
        let reached = |margins: &[f32]| {
            let reached = margins
                .iter()
                .filter(|margin| detector.score(**margin) >= detector.threshold());
            reached.count() as f64 / margins.len().max(1) as f64 * 100.0
        };
        print(&format!(
            "At the score {}: {:.2} % of the real and {:.2} % of the generated names longer than six raise an alarm\n",
            detector.threshold(),
            reached(long.negatives()),
            reached(long.positives()),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
