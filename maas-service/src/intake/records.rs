//! Records of what became of requests and of versions: kept for a while, and never too many.
//!
//! Whether there are too many, their folder's number of children tells. Only when there are, the oldest are read and
//! deleted, a tenth more than must go, so that this comes seldom. How old a record is, its name tells, for it begins with
//! the transaction that put the request into the queue; the few that have a name of the sender's choice are read.
//!
//! The history of a version goes on when the version comes again, so it is kept when the version is gone; but only of those
//! that went last.

use std::collections::HashSet;
use std::time::Duration;

use maas_client::layout::{Layout, ZnodePath};
use maas_client::queue::offered_by;
use maas_client::session::{CommitError, Session, Step, ZkError};
use maas_client::wire::state::now_ms;
use tracing::{debug, info, warn};

use crate::leader::Lead;

/// How much is kept of one kind.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// So many at most.
    many: usize,
    /// None for longer.
    time: Duration,
}

/// Results and dead letters: as many as may wait in the queue by default, so that whoever waits for an answer finds it even
/// when the queue was full.
const RECORDS: Limits = Limits {
    many: 20_000,
    time: Duration::from_secs(7 * 24 * 3600),
};

/// Histories of versions of which nothing is to run any more.
const HISTORIES: Limits = Limits {
    many: 1000,
    time: Duration::from_secs(365 * 24 * 3600),
};

/// After so many versions have gone their histories are looked through again.
pub(super) const GONE_BEFORE_A_LOOK: usize = HISTORIES.many / 10;

/// How many are read, and how many deleted, at once.
const AT_ONCE: usize = 500;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Only whether there are too many.
    Number,
    /// Also whether some are too old.
    Age,
}

/// What is kept of requests and of versions.
pub(super) struct Records {
    tree: Session,
    layout: Layout,
}

impl Records {
    pub(super) fn new(tree: Session, layout: Layout) -> Self {
        Self { tree, layout }
    }

    /// Deletes what is too old or too much of everything.
    pub(super) async fn prune_all(&self, lead: &Lead) {
        self.prune(Look::Age).await;
        self.prune_histories(lead).await;
    }

    /// Deletes what is too much of what became of requests.
    pub(super) async fn prune_surplus(&self) {
        self.prune(Look::Number).await;
    }

    async fn prune(&self, look: Look) {
        for root in [self.layout.results_root(), self.layout.dead_root()] {
            if let Err(error) = prune(&self.tree, &root, RECORDS, look).await {
                debug!(znode = %root, %error, "old records stay a while longer");
            }
        }
    }

    /// Deletes the histories of versions that are gone, where they are too many or too old.
    pub(super) async fn prune_histories(&self, lead: &Lead) {
        match self.forget(lead, HISTORIES).await {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "histories of versions gone long ago are deleted"),
            Err(error) => {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "old histories stay a while longer"
                );
            }
        }
    }

    /// Deletes the histories of versions that went long ago, and tells how many.
    async fn forget(&self, lead: &Lead, limits: Limits) -> Result<usize, CommitError> {
        let (histories, desired) = (self.layout.history_root(), self.layout.desired_root());
        let mut gone: Vec<ZnodePath> = Vec::new();
        let names = self.tree.children(&histories).await?;
        let below = |root: &ZnodePath| names.iter().map(|name| root.join(name)).collect();
        let (folders, wanted): (Vec<ZnodePath>, Vec<ZnodePath>) =
            (below(&histories), below(&desired));
        let versions = self.tree.children_many(&folders).await?;
        let wanted = self.tree.children_many(&wanted).await?;
        for ((folder, versions), wanted) in folders.iter().zip(versions).zip(wanted) {
            let wanted: HashSet<String> = wanted?.into_iter().collect();
            let versions = versions?;
            let old = versions.iter().filter(|version| !wanted.contains(*version));
            gone.extend(old.map(|version| folder.join(version)));
        }
        let contents = self.tree.get_many(&gone).await?;
        let mut dated: Vec<_> = contents
            .into_iter()
            .zip(gone)
            .filter_map(|(content, path)| {
                let stat = content.ok()??.1;
                Some((stat.mzxid, stat.mtime, stat.version, path))
            })
            .collect();
        dated.sort();
        let (surplus, oldest) = (surplus(dated.len(), limits), oldest_kept(limits));
        let old: Vec<(ZnodePath, i32)> = dated
            .into_iter()
            .enumerate()
            .filter(|(n, (_, changed, ..))| *n < surplus || *changed < oldest)
            .map(|(_, (_, _, version, path))| (path, version))
            .collect();
        for some in old.chunks(AT_ONCE) {
            let mut steps = vec![lead.still_leads()];
            steps.extend(some.iter().map(|(path, version)| Step::Delete {
                path: path.clone(),
                version: Some(*version),
            }));
            while steps.len() > 1 {
                match self.tree.commit(&steps).await {
                    Ok(_) => break,
                    // Its version has come again meanwhile.
                    Err(CommitError::Step { index, source }) if index > 0 => {
                        debug!(error = &source as &dyn std::error::Error, "a history stays");
                        steps.remove(index);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let folders: HashSet<ZnodePath> =
            old.iter().filter_map(|(path, _)| path.parent()).collect();
        for folder in folders {
            match self.tree.delete(&folder, None).await {
                // Other versions are in it.
                Err(error) if !error.is_not_empty() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(old.len())
    }
}

/// How many must go. A tenth more goes than must, so that this is not done again for every request.
fn surplus(there: usize, limits: Limits) -> usize {
    match there {
        many if many > limits.many => many - limits.many + limits.many / 10,
        _ => 0,
    }
}

/// What is older than this is kept no longer, in milliseconds since 1970.
fn oldest_kept(limits: Limits) -> i64 {
    now_ms() - i64::try_from(limits.time.as_millis()).unwrap_or(i64::MAX)
}

/// Deletes the oldest records in a folder when there are too many, and those that are too old.
async fn prune(
    session: &Session,
    root: &ZnodePath,
    limits: Limits,
    look: Look,
) -> Result<(), ZkError> {
    let there = session.stat(root).await?;
    let there = there.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0));
    if look == Look::Number && there <= limits.many {
        return Ok(());
    }
    let all = in_order(session, root).await?;
    let (surplus, oldest) = (surplus(all.len(), limits), oldest_kept(limits));
    let mut looked = 0;
    for some in all.chunks(AT_ONCE) {
        let contents = session.get_many(some).await?;
        let mut old: Vec<Step> = contents
            .into_iter()
            .zip(some)
            .enumerate()
            .filter_map(|(n, (content, path))| {
                let made = content.ok()??.1.ctime;
                let goes = looked + n < surplus || made < oldest;
                goes.then(|| Step::Delete {
                    path: path.clone(),
                    version: None,
                })
            })
            .collect();
        looked += some.len();
        if old.is_empty() && looked >= surplus {
            break;
        }
        while !old.is_empty() {
            match session.commit(&old).await {
                Ok(()) => break,
                // Somebody else has deleted it, or put something below it.
                Err(CommitError::Step { index, source })
                    if source.is_no_node() || source.is_not_empty() || source.is_lasting() =>
                {
                    if !source.is_no_node() {
                        let error = &source as &dyn std::error::Error;
                        warn!(error, "an old record can't be deleted and stays");
                    }
                    old.remove(index);
                }
                Err(CommitError::Step { source, .. } | CommitError::Whole(source)) => {
                    return Err(source);
                }
            }
        }
    }
    Ok(())
}

/// All records in a folder, the oldest first.
async fn in_order(session: &Session, root: &ZnodePath) -> Result<Vec<ZnodePath>, ZkError> {
    let (mut dated, mut named) = (Vec::new(), Vec::new());
    for name in session.children(root).await? {
        match offered_by(&name) {
            Some(zxid) => dated.push((zxid, root.join(&name))),
            None => named.push(root.join(&name)),
        }
    }
    let contents = session.get_many(&named).await?;
    let read = contents.into_iter().zip(named);
    dated.extend(read.filter_map(|(content, path)| Some((content.ok()??.1.czxid, path))));
    dated.sort();
    Ok(dated.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use maas_client::SessionConfig;
    use maas_client::session::CreateMode;
    use test_support::ZooKeeper;

    use super::*;
    use crate::intake::Intake;
    use crate::plan::Room;

    const ROOM: Room = Room {
        memory_mb: 1000,
        vcores: None,
    };

    async fn count(session: &Session, root: &ZnodePath) -> usize {
        session.children(root).await.unwrap().len()
    }

    #[tokio::test]
    async fn the_oldest_records_go_when_there_are_too_many_whatever_they_are_called() {
        let zookeeper = ZooKeeper::shared().await;
        let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
            .await
            .unwrap();
        let root = Layout::default().results_root();
        session.ensure(&root).await.unwrap();
        let limits = Limits {
            many: 20,
            ..RECORDS
        };
        for n in 0..31 {
            let zxid = session.stat(&root).await.unwrap().unwrap().pzxid + 1;
            // Every third is named by its sender, so that its name does not tell.
            let name = match n % 3 {
                0 => format!("{:02}-mine", 50 - n),
                _ => format!("{zxid:016x}-qn-{n:010}"),
            };
            session
                .create(
                    &root.join(&name),
                    n.to_string().as_bytes(),
                    CreateMode::Persistent,
                )
                .await
                .unwrap();
            prune(&session, &root, limits, Look::Number).await.unwrap();
            // A tenth more than must goes at once.
            assert!(count(&session, &root).await <= 20);
        }
        let left = in_order(&session, &root).await.unwrap();
        let contents = session.get_many(&left).await.unwrap();
        let left: Vec<String> = contents
            .into_iter()
            .map(|content| String::from_utf8(content.unwrap().unwrap().0).unwrap())
            .collect();
        let newest: Vec<String> = (31 - left.len()..31).map(|n| n.to_string()).collect();
        assert!(left.len() >= 18 && left == newest, "{left:?}");

        let brief = Limits {
            time: Duration::ZERO,
            ..limits
        };
        prune(&session, &root, brief, Look::Number).await.unwrap();
        assert_eq!(count(&session, &root).await, left.len());
        // One that can't be deleted keeps no other.
        let kept = in_order(&session, &root).await.unwrap().remove(1);
        session.ensure(&kept.join("somebody's")).await.unwrap();
        let aged = async || {
            prune(&session, &root, brief, Look::Age).await.unwrap();
            session.children(&root).await.unwrap() == [kept.name()]
        };
        test_support::eventually(Duration::from_secs(60), "all to be too old", aged).await;
        session.close().await;
    }

    #[tokio::test]
    async fn histories_of_the_versions_that_went_first_go_and_those_of_what_runs_stay() {
        let zookeeper = ZooKeeper::shared().await;
        let session = Session::connect(SessionConfig::new(zookeeper.connect_string()))
            .await
            .unwrap();
        let layout = Layout::default();
        let intake = Intake::new(session.clone(), layout.clone(), ROOM);
        intake.layout_ready().await.unwrap();
        let records = Records::new(session.clone(), layout.clone());
        session.ensure(&layout.epoch()).await.unwrap();
        let epoch = session.stat(&layout.epoch()).await.unwrap().unwrap();
        let lead = Lead::of_epoch(layout.epoch(), epoch.version);
        let history = |name: &str| layout.history_root().join(name).join("1.0");
        // The first still runs.
        session
            .ensure(&layout.desired_root().join("m0").join("1.0"))
            .await
            .unwrap();
        for n in 0..12 {
            session.ensure(&history(&format!("m{n}"))).await.unwrap();
        }
        let limits = Limits {
            many: 10,
            ..HISTORIES
        };
        // Eleven are gone: one is too many, and one more goes with it.
        assert_eq!(records.forget(&lead, limits).await.unwrap(), 2);
        let mut left = session.children(&layout.history_root()).await.unwrap();
        left.sort();
        assert!(left.contains(&"m0".to_owned()) && left.len() == 10);
        assert!(!left.contains(&"m1".to_owned()) && !left.contains(&"m2".to_owned()));
        assert_eq!(records.forget(&lead, limits).await.unwrap(), 0);

        session.set(&layout.epoch(), b"", None).await.unwrap();
        let brief = Limits {
            many: 0,
            ..HISTORIES
        };
        records
            .forget(&lead, brief)
            .await
            .expect_err("who leads no more deletes nothing");
        assert_eq!(count(&session, &layout.history_root()).await, 10);
        session.close().await;
    }
}
