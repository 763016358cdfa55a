//! `macula serve` scores indicators over HTTP, `macula score` on the command line.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use macula::endpoint_file::EndpointFile;
use macula::judgement::Policy;
use macula::options::Options;
use macula::request::{Item, ScoreRequest};
use macula::scorer::Scorer;
use macula::{server, table};
use threat_lists::Lists;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

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
}

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Write the URL to this file once everything is ready, and remove it at the end.
    #[arg(long, value_name = "FILE")]
    endpoint_file: Option<PathBuf>,
    #[command(flatten)]
    scoring: Scoring,
}

#[derive(Debug, Args)]
struct Score {
    /// What to score, in any spelling (`hxxp://evil[.]test`).
    #[arg(required = true, value_name = "INDICATOR")]
    indicators: Vec<String>,
    /// How to print the answers: a table, or what the HTTP API answers.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    scoring: Scoring,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Debug, Args)]
struct Scoring {
    /// The folder with the lists: whitelist*.txt, blacklist*.txt, darklist*.txt and feeds/*.txt.
    #[arg(long, value_name = "DIR", default_value = "lists")]
    lists: PathBuf,
    /// The score, 0 to 99, of what nobody has an opinion about.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().neutral_score, value_parser = score)]
    neutral_score: f64,
    /// The score from which on the verdict is malicious.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().malicious_from, value_parser = score)]
    malicious_from: f64,
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
    let result = match cli.command {
        Command::Serve(serve) => run(serve).map(|()| ExitCode::SUCCESS),
        Command::Score(score) => print_scores(&score),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

/// The life of the server: bind, load, say where, answer, stop.
#[tokio::main]
async fn run(serve: Serve) -> Result<()> {
    let shutdown = stop_signal().context("could not listen to signals")?;
    if let Some(path) = &serve.endpoint_file {
        EndpointFile::clear(path)
            .with_context(|| format!("could not remove the old `{}`", path.display()))?;
    }
    let listener = TcpListener::bind(&serve.listen)
        .await
        .with_context(|| format!("could not listen on `{}`", serve.listen))?;
    let scorer = serve.scoring.load()?;
    let port = listener
        .local_addr()
        .context("the listener has no address")?
        .port();
    // The name we were given, not the address it stands for: it is the name that others know this machine by.
    let host = serve
        .listen
        .rsplit_once(':')
        .map_or("127.0.0.1", |(host, _)| host);
    let url = format!("http://{host}:{port}");
    let file = serve.endpoint_file.as_ref().map(|path| {
        EndpointFile::write(path, &url)
            .with_context(|| format!("could not write `{}`", path.display()))
    });
    let _file = file.transpose()?;
    tracing::info!(
        url,
        lists = scorer.lists().iter().count(),
        entries = scorer.lists().entries(),
        "serving"
    );
    server::serve(listener, Arc::new(scorer), shutdown)
        .await
        .context("the server failed")?;
    tracing::info!("stopped");
    Ok(())
}

fn print_scores(score: &Score) -> Result<ExitCode> {
    let scorer = score.scoring.load()?;
    let items = score
        .indicators
        .iter()
        .map(|text| Item::new(text))
        .collect();
    let request = ScoreRequest {
        items,
        options: Options {
            explain: true,
            ..Options::default()
        },
    };
    let text = match score.format {
        Format::Table => table::render(&scorer, &request),
        Format::Json => {
            serde_json::to_string_pretty(&scorer.answer(&request))
                .context("could not write JSON")?
                + "\n"
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `macula score … | head` is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(error).context("could not print");
        }
        _ => {}
    }
    let all_good = request.items.iter().all(|item| item.indicator.is_ok());
    Ok(ExitCode::from(u8::from(!all_good)))
}

impl Scoring {
    fn load(&self) -> Result<Scorer> {
        let lists = Lists::load(&self.lists).context("could not load the lists")?;
        let policy = Policy {
            neutral_score: self.neutral_score,
            malicious_from: self.malicious_from,
            ..Policy::default()
        };
        Ok(Scorer::new(lists, policy))
    }
}

/// Completes at the first SIGTERM or SIGINT from now on.
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn score(text: &str) -> Result<f64, String> {
    let score = text
        .parse()
        .ok()
        .filter(|score| (0.0..=99.0).contains(score));
    score.ok_or_else(|| "expected a number from 0 to 99".to_owned())
}
