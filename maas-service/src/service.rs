//! The daemon's life: connect, wait for the lead, take requests and keep copies running until told to stop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::CreateMode;
use maas_client::wire::progress::{HeldItem, Leader};
use maas_client::{InstanceId, Session, SessionConfig};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cgroup;
use crate::complaints;
use crate::descriptors;
use crate::fence;
use crate::instances;
use crate::intake::Intake;
use crate::launcher::{Ended, LaunchSettings, LocalLauncher};
use crate::leader::{Candidacy, Lead, Place};
use crate::outage::tell_of_outages;
use crate::plan::Room;
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
    /// What this machine has for copies.
    pub machine: Room,
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
    let started = tokio::select! {
        started = Service::start(config) => started?,
        () = stop.cancelled() => return Ok(()),
    };
    started.serve(stop).await
}

struct Service {
    session: Session,
    layout: Layout,
    intake: Intake,
    reconciler: Reconciler,
    /// Tells of runners that ended.
    ends: mpsc::UnboundedReceiver<Ended>,
    /// Tells what holds up the queue.
    held: watch::Receiver<Option<HeldItem>>,
    place: Place,
    config: ServiceConfig,
}

impl Service {
    async fn start(mut config: ServiceConfig) -> anyhow::Result<Self> {
        descriptors::take_all_there_may_be();
        instances::claim(&config.launch.instances)?;
        config.launch.copies.cgroups = limit_memory();
        let session = Session::connect(config.session.clone())
            .await
            .context("the service can't start")?;
        let layout = Layout::read(&session, &config.config_node).await?;
        config.launch.copies.tree = tree_identity(&session, &layout).await?;
        let (launcher, ends) = LocalLauncher::new(config.launch.clone());
        let place = Place {
            host: config.launch.copies.hostname.clone(),
            instances: config.launch.instances.clone(),
        };
        let intake = Intake::new(session.clone(), layout.clone(), config.machine);
        let held = intake.held_up();
        let leader = Leader {
            host: place.host.clone(),
            pid: std::process::id(),
            since_ms: 0,
            memory_mb: config.machine.memory_mb,
            memory_used_mb: 0,
            vcores: config.machine.vcores,
            copies: 0,
            held: None,
            halted: None,
        };
        let reconciler = Reconciler::new(
            session.clone(),
            layout.clone(),
            launcher,
            leader,
            rand::make_rng(),
        );
        Ok(Self {
            session,
            layout,
            intake,
            reconciler,
            ends,
            held,
            place,
            config,
        })
    }

    async fn serve(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let session = self.session.clone();
        let meanwhile = "models and calls go on, and models that fail are started again; requests wait, and no copy is added";
        let _telling = tell_of_outages(&session, &self.config.session.quorum, meanwhile);
        // ZooKeeper forgets a daemon that was killed, or this machine's before it went down, only when its session is over, and
        // looks for that every few seconds.
        let patience = self.config.session.session_timeout + Duration::from_secs(5);
        let (layout, place) = (self.layout.clone(), self.place.clone());
        let mut candidacy = Candidacy::new(session.clone(), layout, place, patience);
        let (mut stopped, mut has_led) = (Ok(()), false);
        while !stop.is_cancelled() {
            let lead = tokio::select! {
                lead = candidacy.lead() => lead,
                () = stop.cancelled() => {
                    stopped = self.stop_without_lead(has_led);
                    break;
                }
            };
            let lead = match lead {
                Ok(lead) => lead,
                Err(error) => {
                    session.close().await;
                    return Err(error.into());
                }
            };
            has_led = true;
            tokio::select! {
                biased;
                () = stop.cancelled() => stopped = self.stop_as_leader().await,
                () = self.act(&lead) => {
                    if let Some(mark) = self.mark_of_another_time(&lead).await {
                        session.close().await;
                        return Err(SetBack { mark }.into());
                    }
                    warn!("another daemon leads now");
                }
                () = lead.lost(&session) => warn!("the lead is lost"),
            }
        }
        session.close().await;
        stopped
    }

    /// The mark of a later lead in the folder of copies, if ZooKeeper knows of none: it would keep us from starting copies
    /// for ever, and nobody comes to lead who would take it away.
    async fn mark_of_another_time(&self, lead: &Lead) -> Option<PathBuf> {
        let launch = &self.config.launch;
        let mark =
            fence::later(&launch.instances, &launch.copies.tree, lead.transaction()).ok()??;
        // A transaction tells what is so now, where a mere look may be told what was.
        let leads = self.session.commit(&[lead.still_leads()]).await.is_ok();
        leads.then_some(mark)
    }

    /// Takes requests and keeps copies running, until we lead no more.
    async fn act(&mut self, lead: &Lead) {
        while let Err(error) = self.intake.layout_ready().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "the service's znodes can't be made yet"
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let layout = &self.layout;
        info!(queue = %layout.queue, registry = %layout.service_root, host = %self.place.host, "ready to accept requests");
        tokio::select! {
            () = self.intake.run(lead) => {}
            () = self.reconciler.run(lead, &mut self.ends, &mut self.held) => {}
            () = complaints::report(&self.session, &self.layout) => {}
        }
    }

    /// Who does not lead has no copies to stop: they are the leader's. Who has led, and may be the only one there is, says so.
    fn stop_without_lead(&self, has_led: bool) -> anyhow::Result<()> {
        match self.config.on_stop {
            OnStop::StopModels if has_led => anyhow::bail!(
                "this service does not lead at this moment, so it has stopped no copies; whoever leads next stops or adopts them"
            ),
            OnStop::StopModels | OnStop::LeaveModels => Ok(()),
        }
    }

    async fn stop_as_leader(&mut self) -> anyhow::Result<()> {
        match self.config.on_stop {
            OnStop::StopModels => {
                info!("stopping all copies");
                // Who hangs is killed then, and cleaned up after.
                let extra = Duration::from_secs(5);
                self.reconciler.stop_all(&mut self.ends, extra).await
            }
            OnStop::LeaveModels => {
                info!("the service stops; copies run on and the next service adopts them");
                Ok(())
            }
        }
    }
}

/// ZooKeeper was put back to an earlier state than the folder of copies is of.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{}` is the mark of a lead that ZooKeeper does not know of yet, so ZooKeeper was set back to an earlier state; if no other \
     maas_service uses this folder, remove the mark and start the service again", mark.display()
)]
struct SetBack {
    mark: PathBuf,
}

/// Who holds the copies to their memory: the kernel, below the cgroup that is returned, or else each copy's watchdog.
fn limit_memory() -> Option<PathBuf> {
    match cgroup::take_base() {
        Ok(base) => {
            info!(cgroup = %base.display(), "the kernel holds each copy to its memory in a cgroup of its own (without a delegated cgroup, a watchdog would)");
            Some(base)
        }
        Err(why) => {
            info!(
                why = &why as &dyn std::error::Error,
                "a watchdog holds each copy to its memory; for the kernel to do it, put `Delegate=memory pids` and `DelegateSubgroup=daemon` (systemd 254 or later) into the service's unit"
            );
            None
        }
    }
}

/// The identity of our tree, made by the first daemon there ever was: a ZooKeeper may be called by many names.
async fn tree_identity(session: &Session, layout: &Layout) -> anyhow::Result<String> {
    let node = layout.tree_identity();
    loop {
        if let Some((data, _)) = session.get(&node).await? {
            return String::from_utf8(data)
                .with_context(|| format!("znode `{node}` holds no text"));
        }
        session.ensure(&layout.state_root).await?;
        match session
            .create(
                &node,
                InstanceId::generate().as_str().as_bytes(),
                CreateMode::Persistent,
            )
            .await
        {
            Err(error) if !error.is_node_exists() => return Err(error.into()),
            _ => {}
        }
    }
}
