//! The status znode, and what of it must be remembered from phase to phase.

use std::time::{Duration, Instant};

use maas_client::held::Held;
use maas_client::wire::state::{Failure, InstanceStatus, Phase, now_ms};

use super::restarts::{Attempt, Retry};
use crate::instance_folder::LaunchSpec;
use crate::redaction::harmless;

/// What the runner tells of its copy.
pub(super) struct Status {
    znode: Held,
    now: InstanceStatus,
    /// Whether we came to start the script in this attempt.
    started: bool,
    /// For how long the copy served in this attempt, or since when it does.
    serving_since: Option<Instant>,
    served: Option<Duration>,
}

impl Status {
    /// The status of a copy that has done nothing yet, in `znode`.
    pub(super) fn new(spec: &LaunchSpec, znode: Held) -> Self {
        let now = InstanceStatus {
            instance: spec.instance.clone(),
            name: spec.name.clone(),
            version: spec.version.clone(),
            host: spec.settings.hostname.clone(),
            phase: Phase::Pending,
            since_ms: now_ms(),
            restarts: 0,
            pid: None,
            url: None,
            reason: None,
            retry_at_ms: None,
            generation: spec.generation,
            last_failure: None,
        };
        let status = Self {
            znode,
            now,
            started: false,
            serving_since: None,
            served: None,
        };
        status.tell_if_it_lasts();
        status
    }

    fn tell(&self) {
        self.znode.set(Some(self.now.to_bytes()));
    }

    /// A copy that starts well is in its first phases for moments only, and where many start at once, telling ZooKeeper each
    /// of them would take more time than the phases themselves.
    fn tell_if_it_lasts(&self) {
        self.znode.set_if_it_lasts(self.now.to_bytes());
    }

    /// Begins another attempt.
    pub(super) fn attempts(&mut self) {
        self.started = false;
        self.served = None;
        self.enter(Phase::Fetching, None);
    }

    /// Enters a phase, with the reason for it if that is not as it should be.
    pub(super) fn enter(&mut self, phase: Phase, reason: Option<String>) {
        if self.now.phase != phase {
            self.now.since_ms = now_ms();
        }
        self.now.phase = phase;
        // After a restart, the reason for it stays visible until the copy serves again.
        if reason.is_some() || self.now.restarts == 0 {
            self.now.reason = reason.as_deref().map(harmless);
        }
        self.now.retry_at_ms = None;
        self.tell_if_it_lasts();
    }

    /// The script is about to be started: from here on a failure is the model's.
    pub(super) fn starts(&mut self) {
        self.started = true;
    }

    /// The script runs.
    pub(super) fn runs(&mut self, pid: u32) {
        self.now.pid = Some(pid);
        self.enter(Phase::Starting, None);
    }

    /// The copy is registered, perhaps at another place than before.
    pub(super) fn serving(&mut self, url: String) {
        self.serving_since.get_or_insert_with(Instant::now);
        if self.now.phase != Phase::Serving {
            self.now.since_ms = now_ms();
        }
        self.now.phase = Phase::Serving;
        self.now.url = Some(url);
        self.now.reason = None;
        self.tell();
    }

    /// The copy is out of the registry.
    pub(super) fn withdrawn(&mut self) {
        self.now.url = None;
        if let Some(since) = self.serving_since.take() {
            self.served = Some(since.elapsed());
        }
    }

    /// How far the attempt came.
    pub(super) fn attempt(&self) -> Attempt {
        match self.served {
            Some(time) => Attempt::Served(time),
            None if self.started => Attempt::Started,
            None => Attempt::NotStarted,
        }
    }

    /// The copy has failed and will be started again.
    pub(super) fn retries(&mut self, failure: Failure, retry: Retry) {
        let reason = if retry.phase == Phase::CrashLoop {
            format!(
                "it fails again and again without ever serving, and is started again only every few minutes: {}",
                failure.why
            )
        } else {
            failure.why.clone()
        };
        let delay_ms = i64::try_from(retry.delay.as_millis()).unwrap_or(i64::MAX);
        self.fail(retry.phase, reason, failure, Some(delay_ms));
    }

    /// The copy has failed for good.
    pub(super) fn gives_up(&mut self, failure: Failure) {
        self.fail(Phase::Failed, failure.why.clone(), failure, None);
    }

    fn fail(&mut self, phase: Phase, reason: String, failure: Failure, delay_ms: Option<i64>) {
        let (reason, why) = (harmless(&reason), harmless(&failure.why));
        let failure = Failure { why, ..failure };
        self.now.pid = None;
        if self.now.phase != phase {
            self.now.since_ms = now_ms();
        }
        self.now.phase = phase;
        self.now.reason = Some(reason);
        self.now.retry_at_ms = delay_ms.map(|delay| failure.at_ms.saturating_add(delay));
        self.now.last_failure = Some(failure);
        self.tell();
    }

    /// The copy is started again.
    pub(super) fn restarted(&mut self) {
        self.now.restarts += 1;
    }

    /// Takes the status away.
    pub(super) async fn end(&self, limit: Duration) {
        self.znode.set(None);
        self.znode.settled(limit).await;
    }
}
