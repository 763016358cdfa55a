//! `dga serve` judges names over HTTP, `dga score` on the command line; `dga train` and `dga evaluate` make and measure models.

mod command;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use command::{
    added::Added, evaluate::Evaluate, generate::Generate, openapi::OpenApi, predict::Predict,
    score::Score, serve::Serve, train::Train,
};

/// Tells generated domain names, as malware uses them, from real ones.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer over HTTP until SIGTERM or SIGINT.
    Serve(Serve),
    /// Judge names and print the verdicts. Exits with 1 if one of them was generated, with 2 if nothing could be judged.
    Score(Score),
    /// Make a model of a list of real and a list of generated names, and measure it.
    Train(Train),
    /// Measure a recipe on folds of the lists and on families left out, or a model that exists on the lists.
    Evaluate(Evaluate),
    /// Print the very names that a known strain will ask for, as a prediction list.
    Predict(Predict),
    /// Print names in the shape of a family's, for training and trials, as a prediction list.
    Generate(Generate),
    /// Print the labels that training adds to the lists, each with the family whose generator made it, or `made-up`.
    Added(Added),
    /// Print what is promised about the HTTP API, as an OpenAPI 3.1 document.
    #[command(name = "openapi")]
    OpenApi(OpenApi),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(
            tracing_subscriber::EnvFilter::builder()
                .with_default_directive(tracing::Level::INFO.into())
                .from_env_lossy(),
        )
        .init();
    run(cli.command).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve.run(),
        Command::Score(score) => score.run(),
        Command::Train(train) => train.run(),
        Command::Evaluate(evaluate) => evaluate.run(),
        Command::Predict(predict) => predict.run(),
        Command::Generate(generate) => generate.run(),
        Command::Added(added) => added.run(),
        Command::OpenApi(openapi) => openapi.run(),
    }
}
