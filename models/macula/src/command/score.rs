//! `macula score`

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use macula::CacheSettings;
use macula::options::Options;
use macula::request::{Item, ScoreRequest};
use macula::table;

use super::{Scoring, print};

#[derive(Debug, Args)]
pub(crate) struct Score {
    /// What to score, in any spelling (`hxxp://evil[.]test`).
    #[arg(required = true, value_name = "INDICATOR")]
    indicators: Vec<String>,
    /// How to print the answers: a table, or what the HTTP API answers.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show what every feature of a model contributed, as bars below each line of the table.
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    scoring: Scoring,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

impl Score {
    #[tokio::main(flavor = "current_thread")]
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let lists = self.scoring.library().await?.current();
        let (analyst, _mirrors) = self.scoring.analyst().await?;
        let scorer = self
            .scoring
            .scorer(lists, analyst, CacheSettings::default());
        let items = self
            .indicators
            .iter()
            .map(|text| Item::new(text, None))
            .collect();
        let request = ScoreRequest {
            items,
            options: Options {
                explain: true,
                ..Options::default()
            },
            warnings: Vec::new(),
        };
        let prepared = scorer.prepare(&request.items, &request.options).await;
        let answers = scorer.answer(&request, &prepared);
        let text = match self.format {
            Format::Table if self.explain => table::render_explained(&answers),
            Format::Table => table::render(&answers),
            Format::Json => {
                serde_json::to_string_pretty(&answers).context("could not write JSON")? + "\n"
            }
        };
        print(&text)?;
        let all_good = request.items.iter().all(|item| item.indicator.is_ok());
        Ok(ExitCode::from(u8::from(!all_good)))
    }
}
