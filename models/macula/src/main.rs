//! `macula serve` scores indicators over HTTP, `macula score` on the command line; `macula gather` and what follows it make models.

mod command;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use indicator_training::command::{MlEvalArgs, Step};

use command::{openapi::OpenApi, score::Score, serve::Serve};

/// Scores threat indicators: IP addresses and ranges, domains, URLs, e-mail addresses and file hashes.
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
    /// Score indicators and print the answers. Exits with 1 if one of them is no indicator, with 2 if nothing could be scored.
    Score(Score),
    /// Print what is promised about the HTTP API, as an OpenAPI 3.1 document.
    #[command(name = "openapi")]
    OpenApi(OpenApi),
    #[command(flatten)]
    Training(Step),
    /// Gather and enrich in one go, by the old names: -t trainingset -f raw-out -r enriched-out
    #[command(name = "ml_eval")]
    MlEval(MlEvalArgs),
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
        Command::OpenApi(openapi) => openapi.run(),
        Command::Training(step) => command::training::run(step),
        Command::MlEval(args) => command::training::run_ml_eval(args),
    }
}
