//! Records of what became of requests: kept for a while, and never too many.

use std::time::Duration;

use maas_client::layout::ZnodePath;
use maas_client::session::{CommitError, Step, ZkError};
use maas_client::wire::state::now_ms;
use tracing::debug;

use super::Intake;
use crate::tree::Tree;

/// How many results and how many dead letters are kept, and for how long. As many as may wait in the queue by default, so
/// that whoever waits for an answer finds it even when the queue was full.
pub(super) const KEPT: usize = 20_000;
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many are deleted in one transaction.
const DELETED_AT_ONCE: usize = 500;

impl<T: Tree> Intake<T> {
    /// Goes through the records wherever there are more than `tolerated`.
    pub(super) async fn prune_all(&self, tolerated: usize) {
        for root in [self.layout.results_root(), self.layout.dead_root()] {
            if let Err(error) = self.prune(&root, tolerated).await {
                debug!(znode = %root, %error, "old records stay a while longer");
            }
        }
    }

    /// Deletes the oldest records in a folder when there are too many, and those that are too old.
    async fn prune(&self, root: &ZnodePath, tolerated: usize) -> Result<(), ZkError> {
        let names = self.tree.children(root).await?;
        if names.len() <= tolerated {
            return Ok(());
        }
        let paths: Vec<ZnodePath> = names.iter().map(|name| root.join(name)).collect();
        let mut records: Vec<(i64, ZnodePath)> = self
            .tree
            .get_many(&paths)
            .await?
            .into_iter()
            .zip(paths)
            .filter_map(|(content, path)| Some((content.ok()??.1.ctime, path)))
            .collect();
        records.sort();
        let oldest_kept = now_ms() - i64::try_from(KEPT_FOR.as_millis()).unwrap_or(i64::MAX);
        // A tenth more goes than must, so that this is not done again for every request.
        let surplus = match records.len() {
            many if many > KEPT => many - KEPT + KEPT / 10,
            _ => 0,
        };
        let old: Vec<Step> = records
            .into_iter()
            .enumerate()
            .filter(|(n, (ctime, _))| *n < surplus || *ctime < oldest_kept)
            .map(|(_, (_, path))| Step::Delete {
                path,
                version: None,
            })
            .collect();
        for steps in old.chunks(DELETED_AT_ONCE) {
            match self.tree.commit(steps).await {
                Ok(()) => {}
                // Somebody else has deleted one of them; the others go the next time.
                Err(CommitError::Step { source, .. } | CommitError::Whole(source)) => {
                    return Err(source);
                }
            }
        }
        Ok(())
    }
}
