//! `macula gather | enrich | select | train | evaluate | export`, and their old form `ml_eval`.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use indicator_training::command::{self, MlEvalArgs, Step};

/// Takes one step from a labelled set to a model.
#[tokio::main]
pub(crate) async fn run(step: Step) -> Result<ExitCode> {
    command::run(step, &mut io::stdout()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Gathers and enriches in one go.
#[tokio::main]
pub(crate) async fn run_ml_eval(args: MlEvalArgs) -> Result<ExitCode> {
    command::run_ml_eval(args).await?;
    Ok(ExitCode::SUCCESS)
}
