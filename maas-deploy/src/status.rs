//! STATUS: how all stands and why, in one look: the service, what waits, and of every model what should run, what is being
//! done about it, each copy with its phase and its last failure, and the last changes.

use std::collections::{BTreeMap, BTreeSet};

use maas_client::instances::{complaints, statuses};
use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{ListResult, ReadResult};
use maas_client::wire::complaint::Complaint;
use maas_client::wire::history::History;
use maas_client::wire::progress::{Leader, Progress};
use maas_client::wire::state::{
    DeadLetter, Desired, Failure as CopyFailure, InstanceStatus, Outcome, RequestResult, now_ms,
};
use maas_client::{ModelName, Session, Version};
use serde::Serialize;

use crate::exit::Failure;
use crate::follow::{harmless, services};
use crate::list::print;
use crate::options::{Filter, Output};

/// How many of the last requests that were not carried out are told of.
const RECENT: usize = 10;

/// All that is to be told.
#[derive(Serialize)]
struct Status {
    /// Absent when no service leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Leader>,
    /// How many services run, the leading one among them.
    services: usize,
    /// How many requests wait in the queue.
    waiting: u32,
    models: Vec<Model>,
    /// Why there may be more models than are told of: what can't be listed, one reason a znode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unlisted: Vec<String>,
    /// The last requests that were refused or superseded, newest first.
    turned_down: Vec<RequestResult>,
    /// The last items of the queue that were no requests, newest first.
    set_aside: Vec<DeadLetter>,
}

#[derive(Serialize)]
struct Model {
    name: ModelName,
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    desired: Option<Desired>,
    /// Why it can't be told what should run; the copies are left as they are then.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    copies: Vec<InstanceStatus>,
    /// What programs say of copies that serve and give them no answers, the longest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    complaints: Vec<Complaint>,
    history: History,
}

/// Tells how all models stand, or those the filter names.
pub(crate) async fn status(
    session: &Session,
    layout: &Layout,
    filter: &Filter,
    output: Output,
) -> Result<(), Failure> {
    let status = gather(session, layout, filter).await?;
    match output {
        Output::Text => print(&text(&status)),
        Output::Json => {
            let document = serde_json::to_string_pretty(&status).map_err(anyhow::Error::from)?;
            print(&format!("{document}\n"));
        }
    }
    Ok(())
}

async fn gather(session: &Session, layout: &Layout, filter: &Filter) -> Result<Status, Failure> {
    let leader = session.get(&layout.progress_root()).await?;
    let services = services(session, layout).await?;
    let waiting = session
        .stat(&layout.queue)
        .await?
        .map_or(0, |stat| stat.num_children);
    let mut copies: BTreeMap<(ModelName, Version), Vec<InstanceStatus>> = BTreeMap::new();
    for status in statuses(session, layout).await? {
        let key = (status.name.clone(), status.version.clone());
        copies.entry(key).or_default().push(status);
    }
    let mut complaints = complaints(session, layout).await?;
    let mut keys: BTreeSet<(ModelName, Version)> = copies.keys().cloned().collect();
    let mut unlisted = Vec::new();
    for root in [
        layout.desired_root(),
        layout.progress_root(),
        layout.history_root(),
    ] {
        // A model of which nothing runs any more is told of only when it is asked for.
        if root == layout.history_root() && filter.name.is_none() {
            continue;
        }
        keys.extend(versions(session, &root, &mut unlisted).await?);
    }
    keys.retain(|(name, version)| {
        filter.name.as_ref().is_none_or(|n| n == name)
            && filter.version.as_ref().is_none_or(|v| v == version)
    });
    let mut models = Vec::new();
    for (name, version) in keys {
        let paths = [
            layout.desired(&name, &version),
            layout.progress(&name, &version),
            layout.history(&name, &version),
        ];
        let mut contents = session.get_many(&paths).await?.into_iter();
        let (desired, unreadable) = match desired(&paths[0], contents.next()) {
            Ok(desired) => (desired, None),
            Err(why) => (None, Some(why)),
        };
        let mut contents = contents.map(|content| Some(content.ok()??.0));
        let mut next = || contents.next().flatten();
        models.push(Model {
            desired,
            unreadable,
            progress: next().and_then(|data| Progress::parse(&data).ok()),
            history: next()
                .and_then(|data| History::parse(&data).ok())
                .unwrap_or_default(),
            copies: copies
                .remove(&(name.clone(), version.clone()))
                .unwrap_or_default(),
            complaints: complaints
                .extract_if(.., |complaint| {
                    complaint.name == name && complaint.version == version
                })
                .collect(),
            name,
            version,
        });
    }
    let mut turned_down = records(session, &layout.results_root(), RequestResult::parse).await?;
    turned_down.retain(|result| matches!(result.outcome, Outcome::Refused | Outcome::Superseded));
    turned_down.retain(|result| filter.name.is_none() || filter.name == result.name);
    turned_down.sort_by_key(|result| std::cmp::Reverse(result.answered_ms));
    turned_down.truncate(RECENT);
    let mut set_aside = records(session, &layout.dead_root(), DeadLetter::parse).await?;
    set_aside.sort_by_key(|letter| std::cmp::Reverse(letter.at_ms));
    set_aside.truncate(RECENT);
    Ok(Status {
        service: leader
            .filter(|_| services > 0)
            .and_then(|(data, _)| Leader::parse(&data).ok()),
        services,
        waiting: u32::try_from(waiting).unwrap_or(0),
        models,
        unlisted,
        turned_down,
        set_aside,
    })
}

/// What should run, by what was read of its znode; or why that can't be told.
fn desired(znode: &ZnodePath, read: Option<ReadResult>) -> Result<Option<Desired>, String> {
    match read.transpose().map(Option::flatten) {
        Ok(None) => Ok(None),
        Ok(Some((data, _))) => Desired::parse(&data)
            .map(Some)
            .map_err(|error| format!("znode `{znode}`: {error}")),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

/// What is told of below a root. What ZooKeeper refuses to list for good is left out, and why.
async fn versions(
    session: &Session,
    root: &ZnodePath,
    unlisted: &mut Vec<String>,
) -> Result<Vec<(ModelName, Version)>, Failure> {
    let mut children = |listed: ListResult| match listed {
        Err(error) if error.is_lasting() => {
            unlisted.push(format!("{:#}", anyhow::Error::from(error)));
            Ok(Vec::new())
        }
        listed => listed,
    };
    let names = children(session.children(root).await)?;
    let folders: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
    let mut all = Vec::new();
    for (name, listed) in names.iter().zip(session.children_many(&folders).await?) {
        for version in children(listed)? {
            if let (Ok(name), Ok(version)) = (ModelName::new(name.as_str()), Version::new(version))
            {
                all.push((name, version));
            }
        }
    }
    Ok(all)
}

async fn records<T, E>(
    session: &Session,
    root: &ZnodePath,
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<Vec<T>, Failure> {
    let names = session.children(root).await?;
    let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
    let contents = session.get_many(&paths).await?.into_iter();
    Ok(contents
        .filter_map(|content| parse(&content.ok()??.0).ok())
        .collect())
}

fn text(status: &Status) -> String {
    let mut lines = vec![match &status.service {
        Some(leader) => format!(
            "service: leads on {} (process {}) for {}; {} standing by; {} MB of {} MB given to {} copies",
            leader.host,
            leader.pid,
            span(leader.since_ms),
            status.services.saturating_sub(1),
            leader.memory_used_mb,
            leader.memory_mb,
            leader.copies
        ),
        None => "service: none leads; copies run on, requests wait in the queue".to_owned(),
    }];
    let service = status.service.as_ref();
    let halted = service.and_then(|leader| leader.halted.as_ref());
    lines.extend(halted.map(|halted| {
        let (span, why) = (span(halted.since_ms), &halted.why);
        format!(
            "  leaves all copies as they are for {span}, for something can't be seen or done: {why}"
        )
    }));
    lines.push(match status.waiting {
        1 => "queue: 1 request waits".to_owned(),
        waiting => format!("queue: {waiting} requests wait"),
    });
    let held = service.and_then(|leader| leader.held.as_ref());
    lines.extend(held.map(|held| {
        let (span, item, why) = (span(held.since_ms), &held.item, &held.why);
        if item.starts_with('/') {
            format!("  held up for {span}, for {item} can't be read: {why}")
        } else {
            format!("  held up for {span} by item {item}, which can't be taken: {why}")
        }
    }));
    lines.extend(status.unlisted.iter().map(|why| {
        format!("there may be more models than are told of here, for not all can be listed: {why}")
    }));
    for model in &status.models {
        lines.push(String::new());
        lines.extend(model_lines(model));
    }
    if !status.turned_down.is_empty() || !status.set_aside.is_empty() {
        lines.push(String::new());
    }
    for result in &status.turned_down {
        let verb = match result.outcome {
            Outcome::Superseded => "superseded",
            Outcome::Accepted | Outcome::Refused | Outcome::SetAside => "refused",
        };
        let reason = result.reason.as_deref().unwrap_or("nobody said why");
        lines.push(format!(
            "request {} {verb} {}: {reason}",
            result.request,
            ago(result.answered_ms)
        ));
    }
    for letter in &status.set_aside {
        lines.push(format!(
            "queue item {} set aside {}: {}",
            letter.item,
            ago(letter.at_ms),
            letter.reason
        ));
    }
    let harmless: Vec<String> = lines.iter().map(|line| harmless(line)).collect();
    harmless.join("\n") + "\n"
}

fn model_lines(model: &Model) -> Vec<String> {
    let serving = model
        .copies
        .iter()
        .filter(|copy| copy.phase.is_serving())
        .count();
    let mut lines = vec![match (&model.desired, &model.unreadable) {
        (Some(desired), _) => format!(
            "{} {}: {serving} of {} copies serve; {} MB each, generation {}",
            model.name, model.version, desired.instances, desired.memory_mb, desired.generation
        ),
        (None, Some(why)) => format!(
            "{} {}: {}; what should run can't be read, so they are left as they are: {why}",
            model.name,
            model.version,
            match serving {
                1 => "1 copy serves".to_owned(),
                serving => format!("{serving} copies serve"),
            }
        ),
        (None, None) => format!("{} {}: should not run", model.name, model.version),
    }];
    if let Some(progress) = &model.progress {
        lines.extend(
            progress
                .doing
                .iter()
                .map(|doing| format!("  {doing}, for {}", span(progress.since_ms))),
        );
        lines.extend(progress.pending.iter().map(|pending| {
            let since_ms = match pending.since_ms {
                0 => progress.since_ms,
                since_ms => since_ms,
            };
            format!(
                "  pending: {} for {}: {}",
                pending.copies,
                span(since_ms),
                pending.reason
            )
        }));
        lines.extend(elsewhere_line(progress.elsewhere));
        if let Some(lost) = &progress.lost {
            lines.push(format!(
                "  copy {} was lost {}: {}",
                lost.instance,
                ago(lost.failure.at_ms),
                lost.failure.why
            ));
            lines.extend(failure_lines(&lost.failure));
        }
    }
    for copy in &model.copies {
        lines.extend(copy_lines(copy));
        let of_copy = |complaint: &&Complaint| complaint.instance == copy.instance;
        let complaints: Vec<&Complaint> = model.complaints.iter().filter(of_copy).collect();
        lines.extend(complaints_line(&complaints));
    }
    lines.extend(
        model
            .history
            .generations
            .iter()
            .rev()
            .take(5)
            .map(|generation| {
                let note = generation
                    .note
                    .as_ref()
                    .map_or(String::new(), |note| format!(" ({note})"));
                format!(
                    "  generation {}: {} {}, {} should run from {}; request {}{note}",
                    generation.generation,
                    generation.change,
                    ago(generation.at_ms),
                    generation.instances,
                    generation.path,
                    generation.request
                )
            }),
    );
    lines
}

/// Of copies that the service counts and can't stop.
fn elsewhere_line(copies: u32) -> Option<String> {
    let (run, they, them) = match copies {
        0 => return None,
        1 => ("copy runs", "it counts", "it"),
        _ => ("copies run", "they count", "them"),
    };
    Some(format!(
        "  {copies} {run} out of the service's reach, on another host or in another folder: {they}, and the service \
         can't stop {them}; end {them} there"
    ))
}

fn copy_lines(copy: &InstanceStatus) -> Vec<String> {
    let mut line = format!(
        "  copy {} on {}: {} for {}",
        copy.instance,
        copy.host,
        copy.phase,
        span(copy.since_ms)
    );
    if let Some(pid) = copy.pid {
        line.push_str(&format!(", process {pid}"));
    }
    if let Some(url) = &copy.url {
        line.push_str(&format!(", at {url}"));
    }
    if copy.restarts > 0 {
        line.push_str(&format!(", restarted {} times", copy.restarts));
    }
    let mut lines = vec![line];
    if let Some(reason) = &copy.reason {
        lines.push(format!("    {reason}"));
    }
    if let Some(at) = copy.retry_at_ms {
        let seconds = (at - now_ms()).max(0) / 1000;
        lines.push(format!("    started again in {seconds} s"));
    }
    if let Some(failure) = &copy.last_failure {
        // While it waits to be started again, its reason is that very failure.
        if copy.reason.as_ref() != Some(&failure.why) {
            lines.push(format!(
                "    failed {}: {}",
                ago(failure.at_ms),
                failure.why
            ));
        }
        lines.extend(failure_lines(failure));
    }
    lines
}

/// What programs say of a copy, the longest first.
fn complaints_line(complaints: &[&Complaint]) -> Option<String> {
    let first = complaints.first()?;
    let who = match complaints.len() {
        1 => "a program gets".to_owned(),
        several => format!("{several} programs get"),
    };
    Some(format!(
        "    {who} no answers from it, for {}: {} (`{}` on {}, process {})",
        span(first.since_ms),
        first.why,
        first.program,
        first.host,
        first.pid
    ))
}

fn failure_lines(failure: &CopyFailure) -> Vec<String> {
    let mut lines = Vec::new();
    let mut facts = Vec::new();
    facts.extend(failure.exit_code.map(|code| format!("exit code {code}")));
    facts.extend(failure.signal.map(|signal| format!("signal {signal}")));
    facts.extend(failure.out_of_memory.map(|memory| {
        format!(
            "out of memory: {} MB used of {} MB",
            memory.used_mb, memory.limit_mb
        )
    }));
    if !facts.is_empty() {
        lines.push(format!("    {}", facts.join(", ")));
    }
    lines.extend(
        failure
            .last_output
            .iter()
            .map(|line| format!("    | {line}")),
    );
    lines
}

/// How long a time is past, as a person says it.
fn span(ms: i64) -> String {
    let seconds = (now_ms() - ms).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn ago(ms: i64) -> String {
    format!("{} ago", span(ms))
}
