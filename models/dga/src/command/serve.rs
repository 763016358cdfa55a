//! `dga serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use arc_swap::ArcSwap;
use clap::Args;
use dga::prediction_watch::PredictionWatch;
use dga::server::{FUNCTIONS, router};
use model_server::{Listening, stop_signal};
use tokio::task::JoinSet;

use super::Judging;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    judging: Judging,
}

impl Serve {
    /// The life of the server: bind, load, say where, answer, stop.
    #[tokio::main]
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let shutdown = stop_signal()?;
        let bound = self.listening.bind().await?;
        let detector = self.judging.detector()?;
        let _file = bound.announce(&FUNCTIONS)?;
        tracing::info!(
            url = bound.url(),
            model = detector.manifest().id(),
            predictions = detector.predictions().len(),
            "serving"
        );
        let detector = Arc::new(ArcSwap::from_pointee(detector));
        let mut meanwhile = JoinSet::new();
        if !self.judging.predictions.is_empty() {
            let lists = self.judging.predictions.clone();
            meanwhile.spawn(PredictionWatch::new(lists, detector.clone()).follow());
        }
        bound.serve(router(detector), shutdown).await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
