//! Who leads: one daemon of those that share a ZooKeeper tree, fenced by an epoch.
//!
//! Each daemon has an ephemeral sequential znode; the oldest leads. A daemon that comes to lead writes the epoch znode, and
//! every transaction of its intake checks that it still has the version of that write. So a daemon that was asleep while
//! another took over can't change anything any more, whatever it believes.

use std::time::Duration;

use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{Session, Step, TreeWatch, WatchScope, ZkError};
use tracing::{debug, info};
use zookeeper_client::CreateMode;

/// The lead, while it lasts.
#[derive(Clone, Debug)]
pub struct Lead {
    epoch: ZnodePath,
    epoch_version: i32,
    candidate: ZnodePath,
    generation: u64,
}

impl Lead {
    /// The step by which a transaction fails when we lead no more.
    #[must_use]
    pub fn still_leads(&self) -> Step {
        Step::Check {
            path: self.epoch.clone(),
            version: self.epoch_version,
        }
    }

    /// Waits until the lead is lost.
    pub async fn lost(&self, session: &Session) {
        let mut health = session.health();
        let expired = async {
            let changed = health
                .wait_for(|health| health.generation != self.generation)
                .await;
            changed.map(|_| ()).unwrap_or_default();
        };
        let mut events = session.watch(&self.candidate, WatchScope::Node);
        let deleted = async {
            loop {
                events.next().await;
                if matches!(session.stat(&self.candidate).await, Ok(None)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = expired => {}
            () = deleted => {}
        }
    }
}

/// Waits until we lead. `who` is for the eyes of operators.
pub async fn lead(session: &Session, layout: &Layout, who: &str) -> Lead {
    let root = layout.leader_root();
    let mut events = session.watch(&root, WatchScope::Node);
    loop {
        match contend(session, layout, who, &mut events).await {
            Ok(Some(lead)) => return lead,
            Ok(None) => debug!("our place in the line is lost; taking another one"),
            Err(error) => {
                debug!(%error, "contending for the lead again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Takes a place in the line and waits until it is the first. `None` when the place is lost, with the session or alone.
async fn contend(
    session: &Session,
    layout: &Layout,
    who: &str,
    events: &mut TreeWatch,
) -> Result<Option<Lead>, ZkError> {
    let root = layout.leader_root();
    session.ensure(&root).await?;
    session.ensure(&layout.epoch()).await?;
    let generation = session.health().borrow().generation;
    let Some(candidate) = take_place(session, &root, who).await? else {
        return Ok(None);
    };
    let mut waiting = false;
    loop {
        let mut names = session.children(&root).await?;
        names.sort_unstable();
        if !names.iter().any(|name| name == candidate.name())
            || session.health().borrow().generation != generation
        {
            return Ok(None);
        }
        if names.first().is_some_and(|first| first == candidate.name()) {
            break;
        }
        if !waiting {
            waiting = true;
            info!(ahead = names.len() - 1, "another daemon leads; standing by");
        }
        events.next().await;
    }
    let stat = session.set(&layout.epoch(), who.as_bytes(), None).await?;
    info!(epoch = stat.version, "this daemon leads");
    Ok(Some(Lead {
        epoch: layout.epoch(),
        epoch_version: stat.version,
        candidate,
        generation,
    }))
}

/// Our own place in the line: the one we have, for a create whose answer was lost may have made it already, or a new one.
async fn take_place(
    session: &Session,
    root: &ZnodePath,
    who: &str,
) -> Result<Option<ZnodePath>, ZkError> {
    let own = async || -> Result<Option<ZnodePath>, ZkError> {
        let places: Vec<ZnodePath> = session
            .children(root)
            .await?
            .iter()
            .map(|name| root.join(name))
            .collect();
        let contents = session.get_many(&places).await?;
        let id = session.id();
        let mut all = places.into_iter().zip(contents);
        Ok(all.find_map(|(place, content)| (content?.1.ephemeral_owner == id).then_some(place)))
    };
    if let Some(place) = own().await? {
        return Ok(Some(place));
    }
    session
        .create(
            &root.join("candidate-"),
            who.as_bytes(),
            CreateMode::EphemeralSequential,
        )
        .await?;
    own().await
}
