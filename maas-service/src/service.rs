//! The daemon's life: connect, wait for the lead, take requests and keep copies running until told to stop.

use std::time::Duration;

use anyhow::Context;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::{Session, SessionConfig};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::intake::Intake;
use crate::launcher::{LaunchSettings, LocalLauncher};
use crate::leader;
use crate::reconcile::Reconciler;

/// What the daemon is to do.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// How to reach ZooKeeper.
    pub session: SessionConfig,
    /// Where the config node lies.
    pub config_node: ZnodePath,
    /// How copies are launched.
    pub launch: LaunchSettings,
    /// What becomes of the models when the daemon is told to stop.
    pub on_stop: OnStop,
}

/// What becomes of the models when the daemon is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They run on, and the next daemon adopts them.
    LeaveModels,
    /// They are stopped first. What should run is not forgotten: the next daemon starts them again.
    StopModels,
}

/// Runs the daemon until `stop` is cancelled.
///
/// # Errors
/// When it can't start: ZooKeeper is out of reach, or the config node or the folder for copies can't be used.
pub async fn run(config: ServiceConfig, stop: CancellationToken) -> anyhow::Result<()> {
    let session = Session::connect(config.session.clone())
        .await
        .context("the service can't start")?;
    let layout = Layout::read(&session, &config.config_node).await?;
    let (launcher, ends) = LocalLauncher::new(config.launch.clone()).with_context(|| {
        format!(
            "the folder `{}` for copies can't be made",
            config.launch.instances.display()
        )
    })?;
    let mut intake = Intake::new(session.clone(), layout.clone());
    let mut reconciler = Reconciler::new(session.clone(), layout.clone(), launcher, ends);
    let who = format!("{} {}", config.launch.copies.hostname, std::process::id());
    while !stop.is_cancelled() {
        let lead = tokio::select! {
            lead = leader::lead(&session, &layout, &who) => lead,
            () = stop.cancelled() => break,
        };
        while let Err(error) = intake.layout_ready().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "the service's znodes can't be made yet"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        info!(queue = %layout.queue, registry = %layout.service_root, host = %config.launch.copies.hostname, "ready to accept requests");
        tokio::select! {
            () = intake.run(&lead) => warn!("another daemon leads; standing by"),
            () = reconciler.run() => {}
            () = lead.lost(&session) => warn!("the lead is lost"),
            () = stop.cancelled() => {}
        }
    }
    match config.on_stop {
        OnStop::StopModels => {
            info!("stopping all copies");
            let launch = &config.launch;
            reconciler
                .stop_all(launch.copies.drain + launch.copies.stop_grace + Duration::from_secs(10))
                .await;
        }
        OnStop::LeaveModels => {
            info!("the service stops; copies run on and the next service adopts them")
        }
    }
    session.close().await;
    Ok(())
}
