//! The steps as a program of their own: `cargo run --release -p indicator-training --example training -- train …`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicator_training::command::{CommandError, MlEvalArgs, Step, run, run_ml_eval};

/// From labelled indicators to a model bundle
#[derive(Parser)]
struct Training {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Step(Step),
    /// Gather and enrich at once
    #[command(name = "ml_eval")]
    MlEval(MlEvalArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done: Result<(), CommandError> = match Training::parse().command {
        Command::Step(step) => run(step, &mut std::io::stdout()).await,
        Command::MlEval(args) => run_ml_eval(args).await,
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    drop(std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("error: {}\n", causes.join(": ")).as_bytes(),
    ));
    ExitCode::FAILURE
}
