//! What the runners say of their copies: one ephemeral znode each.

use tracing::debug;

use crate::layout::{Layout, ZnodePath};
use crate::session::{ReadResult, Session, ZkError};
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
