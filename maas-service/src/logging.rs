//! The log: lines on standard error or in a file, or JSON objects for machines.

use std::io::{self, IsTerminal};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts the log on standard error. `MAAS_LOG` sets the level, `MAAS_LOG_FORMAT=json` the form.
pub fn start() {
    start_with(io::stderr, io::stderr().is_terminal());
}

/// The same, in a file.
pub fn start_in(file: impl io::Write + Send + 'static) {
    start_with(Mutex::new(file), false);
}

fn start_with(writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static, in_colour: bool) {
    let filter = EnvFilter::try_from_env("MAAS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,zookeeper_client=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    if std::env::var("MAAS_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().init();
    } else {
        log.with_target(false).with_ansi(in_colour).init();
    }
}
