//! `dga serve`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use dga::server::{FUNCTIONS, router};
use model_server::{Bound, EndpointFile, stop_signal};

use super::Judging;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Write the URL to this file once everything is ready, and remove it at the end.
    #[arg(long, value_name = "FILE")]
    endpoint_file: Option<PathBuf>,
    #[command(flatten)]
    judging: Judging,
}

impl Serve {
    /// The life of the server: bind, load, say where, answer, stop.
    #[tokio::main]
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let shutdown = stop_signal().context("could not listen to signals")?;
        if let Some(path) = &self.endpoint_file {
            EndpointFile::clear(path)
                .with_context(|| format!("could not remove the old `{}`", path.display()))?;
        }
        let bound = Bound::bind(&self.listen)
            .await
            .with_context(|| format!("could not listen on `{}`", self.listen))?;
        let detector = self.judging.detector()?;
        let file = self.endpoint_file.as_ref().map(|path| {
            EndpointFile::write(path, bound.url(), &FUNCTIONS)
                .with_context(|| format!("could not write `{}`", path.display()))
        });
        let _file = file.transpose()?;
        tracing::info!(
            url = bound.url(),
            model = detector.manifest().id(),
            predictions = detector.predictions().len(),
            "serving"
        );
        bound
            .serve(router(Arc::new(detector)), shutdown)
            .await
            .context("the server failed")?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
