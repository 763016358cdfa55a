//! `maas_service`: the daemon.

use std::process::ExitCode;

use clap::Parser;
use maas_client::spelling::long_options;
use maas_service::options::{Options, SHORT_FORMS};
use maas_service::{service, signals};

fn main() -> ExitCode {
    let options = Options::parse_from(long_options(std::env::args_os(), SHORT_FORMS));
    maas_service::logging::start();
    signals::run_until_told_to_stop(async |stop| {
        service::run(options.into_config().await?, stop).await
    })
}
