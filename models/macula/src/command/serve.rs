//! `macula serve`

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use macula::server::{FUNCTIONS, router};
use model_server::{Listening, stop_signal};

use super::Scoring;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    scoring: Scoring,
}

impl Serve {
    /// The life of the server: bind, load, say where, answer, stop.
    #[tokio::main]
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let shutdown = stop_signal()?;
        let bound = self.listening.bind().await?;
        let scorer = Arc::new(self.scoring.load()?);
        let _file = bound.announce(&FUNCTIONS)?;
        tracing::info!(
            url = bound.url(),
            lists = scorer.lists().iter().count(),
            entries = scorer.lists().entries(),
            "serving"
        );
        bound.serve(router(scorer), shutdown).await?;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
