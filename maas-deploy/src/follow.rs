//! Following a request to its result, and the result to its effect.

use std::time::Duration;

use anyhow::anyhow;
use maas_client::Session;
use maas_client::instances::statuses;
use maas_client::layout::Layout;
use maas_client::queue::Offered;
use maas_client::session::WatchScope;
use maas_client::wire::request::ModelRequest;
use maas_client::wire::state::{InstanceStatus, Outcome, Phase, RequestResult};
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

/// After so many failed starts a copy is not waited for any longer.
const TRIES: u32 = 3;

/// What a request is to lead to.
#[derive(Clone, Copy)]
pub(crate) enum Goal<'a> {
    /// As many copies serve as should.
    Serving(&'a ModelRequest),
    /// No more copies are left than should be.
    Gone(&'a ModelRequest),
}

impl Goal<'_> {
    fn request(&self) -> &ModelRequest {
        match self {
            Self::Serving(request) | Self::Gone(request) => request,
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
    let alone = session.children(&layout.leader_root()).await?.is_empty();
    if alone {
        say(
            "note: no maas_service is running on this ZooKeeper; the request waits in the queue until one is",
        );
    }
    let Some(patience) = patience else {
        say(&format!(
            "request for {} offered; `-mo LIST` shows what becomes of it, --wait waits for it",
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
    let reached = reach(session, layout, goal, copies as usize, &mut progress);
    match tokio::time::timeout_at(deadline, reached).await {
        Ok(reached) => reached,
        Err(_) => Err(late(progress)),
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
        let names = session.children(&root).await?;
        let Some(name) = names
            .iter()
            .find(|name| name.starts_with(&offered.identity_prefix))
        else {
            continue;
        };
        let Some((data, _)) = session.get(&root.join(name)).await? else {
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
    copies: usize,
    progress: &mut String,
) -> Result<(), Failure> {
    let mut changes = session.watch(&layout.instances_root(), WatchScope::Tree);
    loop {
        changes.next().await;
        let request = goal.request();
        let all = statuses(session, layout).await?;
        let of_model: Vec<_> = all
            .iter()
            .filter(|s| s.name == request.name && s.version == request.version)
            .collect();
        let told = match goal {
            Goal::Serving(_) => {
                let serving: Vec<_> = of_model.iter().filter(|s| s.phase.is_serving()).collect();
                if serving.len() >= copies {
                    for status in serving {
                        say(&format!(
                            "serving at {}",
                            status.url.as_deref().unwrap_or("?")
                        ));
                    }
                    return Ok(());
                }
                if let Some(lost) = of_model.iter().find(|s| is_lost(s)) {
                    return Err(Failure::new(
                        Exit::NotReady,
                        anyhow!("{} fails: {}", goal.what(), describe(lost)),
                    ));
                }
                let troubles: Vec<String> = of_model
                    .iter()
                    .filter(|s| s.reason.is_some())
                    .map(|s| describe(s))
                    .collect();
                format!(
                    "{} of {copies} copies serve{}{}",
                    serving.len(),
                    if troubles.is_empty() { "" } else { "; " },
                    troubles.join("; ")
                )
            }
            Goal::Gone(_) => {
                if of_model.len() <= copies {
                    say(&format!(
                        "{} of {} left",
                        counted(of_model.len()),
                        goal.what()
                    ));
                    return Ok(());
                }
                format!("{} left, {copies} should be", counted(of_model.len()))
            }
        };
        if *progress != told {
            say(&told);
            *progress = told;
        }
    }
}

fn is_lost(status: &InstanceStatus) -> bool {
    matches!(status.phase, Phase::Failed | Phase::CrashLoop)
        || (status.phase == Phase::Backoff && status.restarts + 1 >= TRIES)
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
