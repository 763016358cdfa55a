//! Following a request to its result, and the result to its effect.

use std::time::Duration;

use anyhow::anyhow;
use maas_client::Session;
use maas_client::instances::statuses;
use maas_client::layout::Layout;
use maas_client::queue::Offered;
use maas_client::session::{WatchScope, ZkError};
use maas_client::wire::history::{Change, History};
use maas_client::wire::progress::Progress;
use maas_client::wire::request::ModelRequest;
use maas_client::wire::state::{Desired, InstanceStatus, Outcome, Phase, RequestResult};
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

/// After so many failed starts a copy is not waited for any longer.
const TRIES: u32 = 3;

/// What a request is to lead to.
#[derive(Clone, Copy)]
pub(crate) enum Goal<'a> {
    /// As many copies serve as should.
    Serving(&'a ModelRequest),
    /// Every copy has been started anew and serves.
    Restarted(&'a ModelRequest),
    /// No more copies are left than should be.
    Gone(&'a ModelRequest),
}

impl Goal<'_> {
    fn request(&self) -> &ModelRequest {
        match self {
            Self::Serving(request) | Self::Restarted(request) | Self::Gone(request) => request,
        }
    }

    fn what(&self) -> String {
        let request = self.request();
        format!("model {} {}", request.name, request.version)
    }
}

/// A text without what a terminal would obey: some of it comes from models.
pub(crate) fn harmless(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// Tells a person what happens.
#[expect(
    clippy::print_stderr,
    reason = "messages are for people, and go beside the output"
)]
pub(crate) fn say(text: &str) {
    eprintln!("{}", harmless(text));
}

/// Follows a request for as long as `patience` says; without any, only tells that it was offered.
pub(crate) async fn follow(
    session: &Session,
    layout: &Layout,
    offered: &Offered,
    goal: Goal<'_>,
    patience: Option<Duration>,
) -> Result<(), Failure> {
    if matches!(services(session, layout).await, Ok(0)) {
        say(
            "note: no maas_service is running on this ZooKeeper; the request waits in the queue until one is",
        );
    }
    let Some(patience) = patience else {
        say(&format!(
            "request for {} offered; `-mo STATUS` shows what becomes of it, --wait waits for it",
            goal.what()
        ));
        return Ok(());
    };
    let deadline = Instant::now() + patience;
    let late = |progress: String| {
        Failure::new(
            Exit::NotReady,
            anyhow!(
                "{} is not ready after {} s: {progress}",
                goal.what(),
                patience.as_secs()
            ),
        )
    };
    let result = match tokio::time::timeout_at(deadline, result(session, layout, offered)).await {
        Ok(result) => result?,
        Err(_) => return Err(late("the service has not answered the request".to_owned())),
    };
    let reason = result.reason.clone().unwrap_or_default();
    match result.outcome {
        Outcome::Accepted => {}
        Outcome::Superseded => {
            return Err(Failure::new(
                Exit::NotReady,
                anyhow!("{}: superseded; {reason}", goal.what()),
            ));
        }
        Outcome::Refused => {
            return Err(Failure::new(
                Exit::Refused,
                anyhow!("the service refused the request: {reason}"),
            ));
        }
        Outcome::SetAside => {
            return Err(Failure::new(
                Exit::Refused,
                anyhow!("the service could not read the request: {reason}"),
            ));
        }
    }
    let copies = result.instances.unwrap_or_default();
    say(&format!(
        "accepted: {} of {} should run",
        counted(copies as usize),
        goal.what()
    ));
    if !reason.is_empty() {
        say(&format!("note: {reason}"));
    }
    let mut progress = "nothing has been heard of its copies".to_owned();
    let reached = reach(session, layout, goal, &result, &mut progress);
    match tokio::time::timeout_at(deadline, reached).await {
        Ok(reached) => reached,
        Err(_) => Err(late(progress)),
    }
}

/// Asks ZooKeeper again for as long as it is out of reach: the request goes on meanwhile, and so may who waits for it.
async fn persistently<T>(ask: impl AsyncFn() -> Result<T, ZkError>) -> Result<T, ZkError> {
    loop {
        match ask().await {
            Err(error) if error.outcome_unknown() => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            answer => return answer,
        }
    }
}

/// Waits for the service's answer.
async fn result(
    session: &Session,
    layout: &Layout,
    offered: &Offered,
) -> Result<RequestResult, Failure> {
    let root = layout.results_root();
    let mut changes = session.watch(&root, WatchScope::Node);
    loop {
        changes.next().await;
        let names = persistently(async || session.children(&root).await).await?;
        let Some(name) = names
            .iter()
            .find(|name| name.starts_with(&offered.identity_prefix))
        else {
            continue;
        };
        let answer = root.join(name);
        let Some((data, _)) = persistently(async || session.get(&answer).await).await? else {
            continue;
        };
        return RequestResult::parse(&data)
            .map_err(|e| anyhow!("the service's answer can't be read: {e}").into());
    }
}

/// Waits until the copies are as they should be, or will not be.
async fn reach(
    session: &Session,
    layout: &Layout,
    goal: Goal<'_>,
    result: &RequestResult,
    progress: &mut String,
) -> Result<(), Failure> {
    let request = goal.request();
    let desired = layout.desired(&request.name, &request.version);
    let mut copies = session.watch(&layout.instances_root(), WatchScope::Tree);
    let mut wanted = session.watch(&desired, WatchScope::Node);
    let mut doing = session.watch(
        &layout.progress(&request.name, &request.version),
        WatchScope::Node,
    );
    loop {
        tokio::select! {
            _ = copies.next() => {}
            _ = wanted.next() => {}
            _ = doing.next() => {}
        }
        let view = persistently(async || View::take(session, layout, request).await).await?;
        view.still_possible(&goal, result)?;
        if let Some(reached) = view.reached(&goal, result) {
            reached.iter().for_each(|line| say(line));
            return Ok(());
        }
        let told = view.told(&goal, result);
        if *progress != told {
            say(&told);
            *progress = told;
        }
    }
}

/// How a model stands at one moment.
struct View {
    copies: Vec<InstanceStatus>,
    desired: Option<Desired>,
    progress: Option<Progress>,
    history: History,
}

impl View {
    async fn take(
        session: &Session,
        layout: &Layout,
        request: &ModelRequest,
    ) -> Result<Self, ZkError> {
        let (name, version) = (&request.name, &request.version);
        let paths = [
            layout.desired(name, version),
            layout.progress(name, version),
            layout.history(name, version),
        ];
        let mut contents = session.get_many(&paths).await?.into_iter();
        let mut next = || -> Result<Option<Vec<u8>>, ZkError> {
            let content = contents.next().unwrap_or(Ok(None))?;
            Ok(content.map(|(data, _)| data))
        };
        let desired = next()?.and_then(|data| Desired::parse(&data).ok());
        let progress = next()?.and_then(|data| Progress::parse(&data).ok());
        let history = next()?.and_then(|data| History::parse(&data).ok());
        let mut copies = statuses(session, layout).await?;
        copies.retain(|s| s.name == *name && s.version == *version);
        Ok(Self {
            copies,
            desired,
            progress,
            history: history.unwrap_or_default(),
        })
    }

    /// Fails when what was asked for will not come any more.
    fn still_possible(&self, goal: &Goal<'_>, result: &RequestResult) -> Result<(), Failure> {
        if matches!(goal, Goal::Gone(_)) {
            return Ok(());
        }
        let fail = |text: String| Err(Failure::new(Exit::NotReady, anyhow!(text)));
        let asked = result.instances.unwrap_or_default();
        let fewer = match &self.desired {
            None => true,
            Some(desired) => {
                Some(desired.generation) > result.generation && desired.instances < asked
            }
        };
        if fewer {
            let last = self.history.generations.last();
            return fail(match last {
                Some(last) if last.change == Change::RolledBack => format!(
                    "{} was given up; {}",
                    goal.what(),
                    last.note.as_deref().unwrap_or("nobody said why")
                ),
                Some(last) => format!(
                    "{}: superseded by request {}, after which {} should run",
                    goal.what(),
                    last.request,
                    counted(last.instances as usize)
                ),
                None => format!("{} is not wanted any more", goal.what()),
            });
        }
        // Copies of an earlier generation that have failed are just being replaced.
        let is_ours = |copy: &&InstanceStatus| Some(copy.generation) >= result.generation;
        match self
            .copies
            .iter()
            .filter(is_ours)
            .find(|copy| is_lost(copy))
        {
            // A rolling update ends by itself, and says why.
            Some(lost) if self.desired.as_ref().is_none_or(|d| d.replaces.is_none()) => {
                fail(format!("{} fails: {}", goal.what(), describe(lost)))
            }
            _ => Ok(()),
        }
    }

    /// What is to be told when all is as was asked for.
    fn reached(&self, goal: &Goal<'_>, result: &RequestResult) -> Option<Vec<String>> {
        let asked = result.instances.unwrap_or_default() as usize;
        let serving: Vec<_> = self
            .copies
            .iter()
            .filter(|s| s.phase.is_serving())
            .collect();
        let serving_at = || {
            let url = |s: &&InstanceStatus| s.url.clone().unwrap_or_else(|| "?".to_owned());
            serving
                .iter()
                .map(|s| format!("serving at {}", url(s)))
                .collect()
        };
        match goal {
            Goal::Serving(_) => {
                let in_place = self.desired.as_ref().is_some_and(|d| d.replaces.is_none());
                (serving.len() >= asked && in_place).then(serving_at)
            }
            Goal::Restarted(_) => {
                let is_new = |s: &&InstanceStatus| Some(s.generation) >= result.generation;
                let all_new = self.copies.len() == serving.len() && serving.iter().all(is_new);
                (serving.len() >= asked && all_new).then(serving_at)
            }
            Goal::Gone(_) => (self.copies.len() <= asked).then(|| {
                vec![format!(
                    "{} of {} left",
                    counted(self.copies.len()),
                    goal.what()
                )]
            }),
        }
    }

    /// How far it is, in one line.
    fn told(&self, goal: &Goal<'_>, result: &RequestResult) -> String {
        let asked = result.instances.unwrap_or_default();
        if matches!(goal, Goal::Gone(_)) {
            return format!("{} left, {asked} should be", counted(self.copies.len()));
        }
        let serving = self.copies.iter().filter(|s| s.phase.is_serving()).count();
        let mut parts = vec![format!("{serving} of {asked} copies serve")];
        if let Some(progress) = &self.progress {
            parts.extend(progress.doing.iter().cloned());
            parts.extend(progress.pending.iter().map(|pending| {
                format!(
                    "{} can't be started: {}",
                    counted(pending.copies as usize),
                    pending.reason
                )
            }));
        }
        let troubled = self.copies.iter().filter(|s| s.reason.is_some());
        parts.extend(troubled.map(describe));
        parts.join("; ")
    }
}

/// How many services run, the leading one among them.
pub(crate) async fn services(session: &Session, layout: &Layout) -> Result<usize, ZkError> {
    let (names, candidate) = (
        session.children(&layout.leader_root()).await?,
        layout.candidate(),
    );
    let services = names
        .iter()
        .filter(|name| name.starts_with(candidate.name()));
    Ok(services.count())
}

/// Whether waiting is of no use. A store that is away may be back any moment.
fn is_lost(status: &InstanceStatus) -> bool {
    let failure = status.last_failure.as_ref();
    let store_away = failure.is_some_and(|failure| failure.store_away);
    matches!(status.phase, Phase::Failed | Phase::CrashLoop)
        || (status.phase == Phase::Backoff && status.restarts + 1 >= TRIES && !store_away)
}

/// So many copies, in words.
fn counted(copies: usize) -> String {
    if copies == 1 {
        "1 copy".to_owned()
    } else {
        format!("{copies} copies")
    }
}

/// A copy's state in one line, with the reason for it.
pub(crate) fn describe(status: &InstanceStatus) -> String {
    let mut text = format!(
        "copy {} on {} is {}",
        status.instance, status.host, status.phase
    );
    if status.restarts > 0 {
        text.push_str(&format!(" (restart {})", status.restarts));
    }
    if let Some(reason) = &status.reason {
        text.push_str(&format!(": {reason}"));
    }
    if let Some(failure) = &status.last_failure
        && !status.phase.is_serving()
        && !failure.last_output.is_empty()
    {
        text.push_str(&format!(
            " (it printed last: {})",
            failure.last_output.join(" | ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_given_up_after_three_failures_of_its_own_and_not_for_a_store_that_is_away() {
        let status = |phase: &str, restarts: u32, store_away: bool| {
            let document = serde_json::json!({
                "instance": "a", "name": "dga", "version": "1.0", "host": "h", "phase": phase, "since_ms": 0,
                "restarts": restarts, "generation": 1,
                "last_failure": {"at_ms": 0, "why": "why", "store_away": store_away},
            });
            InstanceStatus::parse(document.to_string().as_bytes()).expect("a status")
        };
        assert!(!is_lost(&status("backoff", 1, false)));
        assert!(is_lost(&status("backoff", 2, false)));
        assert!(!is_lost(&status("backoff", 9, true)));
        assert!(!is_lost(&status("serving", 9, false)));
        assert!(is_lost(&status("crash_loop", 0, false)));
    }
}
