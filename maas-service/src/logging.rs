//! The log: lines on standard error, or JSON objects for machines.

use tracing_subscriber::EnvFilter;

/// Starts the log. `MAAS_LOG` sets the level, `MAAS_LOG_FORMAT=json` the form.
pub fn start() {
    let filter = EnvFilter::try_from_env("MAAS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,zookeeper_client=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::env::var("MAAS_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().init();
    } else {
        log.with_target(false)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init();
    }
}
