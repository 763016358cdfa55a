//! `maas_deploy`: put a model into the store and ask for copies of it, take copies away, start them anew, and tell what serves and
//! why the rest does not.
//!
//! What it finds goes to standard output, what it has to say to standard error.

mod add;
mod exit;
mod follow;
mod list;
mod options;
mod remove;
mod restart;
mod status;

use std::process::ExitCode;

use clap::Parser;
use maas_client::layout::Layout;
use maas_client::spelling::long_options;
use maas_client::{Session, SessionConfig};

use exit::{Exit, Failure};
use options::{Mode, Options, SHORT_FORMS};

fn main() -> ExitCode {
    let options = Options::parse_from(long_options(std::env::args_os(), SHORT_FORMS));
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAAS_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let outcome = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new(Exit::Error, error.into()))
        .and_then(|runtime| runtime.block_on(run(&options)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let task = options.task()?;
    let session = Session::connect(SessionConfig::new(&options.zk_quorum)).await?;
    let outcome = async {
        let layout = Layout::read(&session, &options.config_node()?).await?;
        match &task {
            Mode::Add(add) => add::add(&session, &layout, add, options.patience()).await,
            Mode::Remove(remove) => {
                remove::remove(&session, &layout, remove, options.patience()).await
            }
            Mode::Restart(restart) => {
                restart::restart(&session, &layout, restart, options.patience()).await
            }
            Mode::Status(filter) => status::status(&session, &layout, filter, options.output).await,
            Mode::List(filter) => list::list(&session, &layout, filter, options.output).await,
        }
    };
    let outcome = outcome.await;
    session.close().await;
    outcome
}
