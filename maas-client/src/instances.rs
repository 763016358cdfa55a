//! What is said of the copies: by their runners, one ephemeral znode each, and by programs that get no answers from them.

use tracing::debug;

use crate::layout::{Layout, ZnodePath};
use crate::session::{ReadResult, Session, ZkError};
use crate::wire::complaint::Complaint;
use crate::wire::state::InstanceStatus;

/// The status of every copy, sorted by model, version and age. One that can't be read is left out.
///
/// # Errors
/// When ZooKeeper can't be asked.
pub async fn statuses(session: &Session, layout: &Layout) -> Result<Vec<InstanceStatus>, ZkError> {
    let root = layout.instances_root();
    let paths: Vec<ZnodePath> = session
        .children(&root)
        .await?
        .iter()
        .map(|id| root.join(id))
        .collect();
    let contents = session.get_many(&paths).await?;
    Ok(readable(&paths, contents))
}

/// The statuses that were read at `paths`, sorted by model, version and age. One that can't be understood is left out.
#[must_use]
pub fn readable(paths: &[ZnodePath], contents: Vec<ReadResult>) -> Vec<InstanceStatus> {
    let mut all = Vec::with_capacity(paths.len());
    for (path, content) in paths.iter().zip(contents) {
        match content.map(|content| content.map(|(data, _)| InstanceStatus::parse(&data))) {
            Ok(Some(Ok(status))) => all.push(status),
            Ok(None) => {}
            Ok(Some(Err(error))) => debug!(znode = %path, %error, "a status can't be understood"),
            Err(error) => debug!(znode = %path, %error, "a status can't be read"),
        }
    }
    all.sort_by(|a, b| (&a.name, &a.version, &a.instance).cmp(&(&b.name, &b.version, &b.instance)));
    all
}

/// What programs say of copies that give them no answers, the longest first. What can't be read is left out.
///
/// # Errors
/// When ZooKeeper can't be asked.
pub async fn complaints(session: &Session, layout: &Layout) -> Result<Vec<Complaint>, ZkError> {
    let root = layout.complaints_root();
    let names = session.children(&root).await?;
    let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
    let contents = session.get_many(&paths).await?.into_iter();
    let mut all: Vec<Complaint> = contents
        .filter_map(|content| Complaint::parse(&content.ok()??.0).ok())
        .collect();
    all.sort_by_key(|complaint| complaint.since_ms);
    Ok(all)
}
