//! Who leads: one daemon of those that share a ZooKeeper tree, fenced by an epoch.
//!
//! Each daemon has an ephemeral sequential znode; the oldest leads. A daemon that comes to lead writes the epoch znode, and
//! every transaction of its intake checks that it still has the version of that write. So a daemon that was asleep while
//! another took over can't change anything any more, whatever it believes. Nor can it start a copy: see
//! [`fence`](crate::fence).
//!
//! The znode of a daemon that was killed stays until ZooKeeper gives its session up. Each says in it which process it is; so
//! one on the same machine that finds it dead takes it away, and does not wait. Were it mistaken, it would be as with any
//! daemon that is overtaken.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{CreateMode, ReadResult, Session, Step, TreeWatch, WatchScope, ZkError};
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use crate::crash::{Point, crash_point};
use crate::process::Mortal;

/// The lead, while it lasts.
#[derive(Clone, Debug)]
pub struct Lead {
    epoch: ZnodePath,
    epoch_version: i32,
    /// The transaction that wrote the epoch. It only ever grows, even where somebody deletes the znode, unless ZooKeeper is set
    /// back.
    transaction: i64,
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

    /// The transaction by which we came to lead. Whoever leads after us has a greater one.
    #[must_use]
    pub fn transaction(&self) -> i64 {
        self.transaction
    }

    /// The lead of the epoch that is the znode's version, as a simulation hands it out.
    #[cfg(test)]
    pub(crate) fn of_epoch(epoch: ZnodePath, epoch_version: i32) -> Self {
        Self {
            candidate: epoch.clone(),
            epoch,
            epoch_version,
            transaction: epoch_version.into(),
            generation: 0,
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

/// Where a daemon runs its copies. Only a daemon at the same place can take over: it must reach what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The folder with the copies' folders.
    pub instances: PathBuf,
}

/// What a daemon says of itself in its place in the line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Candidate {
    #[serde(flatten)]
    place: Place,
    /// Which process it is, where that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Mortal>,
}

impl Candidate {
    fn own(place: &Place) -> Self {
        Self {
            place: place.clone(),
            process: Mortal::own().ok(),
        }
    }
}

/// The znode of a daemon in the line, with what it says of itself where that can be read.
type InLine = (ZnodePath, Option<Candidate>);

/// A daemon stands in line that runs its copies where we can't reach them.
#[derive(Debug, thiserror::Error)]
pub enum OtherPlace {
    /// It says that it does so at another place.
    #[error(
        "a maas_service on {} with its copies in {} serves this ZooKeeper; a standby must share both, or it could not reach what \
         runs", .0.host, .0.instances.display()
    )]
    Named(Place),
    /// It calls its place as we call ours, and is on another machine or in another container.
    #[error(
        "a maas_service on another machine or in another container that is called {}, too, with its copies in {} there, serves \
         this ZooKeeper; a standby must be on the same machine and see the same processes, or it could not reach what runs",
        .0.host, .0.instances.display()
    )]
    SameName(Place),
}

/// A daemon that stands for the lead, again and again.
pub struct Candidacy {
    session: Session,
    layout: Layout,
    place: Place,
    patience: Duration,
    /// Our last place in the line, and the session it was of.
    last: Option<(ZnodePath, i64)>,
}

impl Candidacy {
    /// Stands for the lead from `place`. A daemon at another place may just have been killed: it is given `patience` to
    /// vanish.
    #[must_use]
    pub fn new(session: Session, layout: Layout, place: Place, patience: Duration) -> Self {
        Self {
            session,
            layout,
            place,
            patience,
            last: None,
        }
    }

    /// Waits until we lead.
    ///
    /// # Errors
    /// [`OtherPlace`] when a daemon at another place leads or stands in line, and goes on doing so.
    pub async fn lead(&mut self) -> Result<Lead, OtherPlace> {
        let root = self.layout.leader_root();
        let mut events = self.session.watch(&root, WatchScope::Node);
        let mut elsewhere_since: Option<Instant> = None;
        loop {
            let contest = self.contend(&mut events).await;
            if !matches!(contest, Ok(Contest::Elsewhere(_))) {
                elsewhere_since = None;
            }
            match contest {
                Ok(Contest::Won(lead)) => return Ok(lead),
                Ok(Contest::Elsewhere(other)) => {
                    if elsewhere_since.is_none() {
                        warn!(%other, "a daemon at another place is in line; waiting whether its session ends");
                    }
                    if elsewhere_since.get_or_insert_with(Instant::now).elapsed() > self.patience {
                        return Err(other);
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(Contest::PlaceLost) => {
                    debug!("our place in the line is lost; taking another one");
                }
                Err(error) => {
                    debug!(%error, "contending for the lead again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Takes a place in the line and waits until it is the first.
    async fn contend(&mut self, events: &mut TreeWatch) -> Result<Contest, ZkError> {
        let session = &self.session;
        session.ensure(&self.layout.leader_root()).await?;
        session.ensure(&self.layout.epoch()).await?;
        let generation = session.health().borrow().generation;
        let own = Candidate::own(&self.place);
        if let Some(other) = other_place(&line(session, &self.layout).await?, &own) {
            return Ok(Contest::Elsewhere(other));
        }
        let who = serde_json::to_vec(&own).unwrap_or_default();
        let Some(candidate) = take_place(session, &self.layout, &who).await? else {
            return Ok(Contest::PlaceLost);
        };
        // That of a session that has ended for us stays until ZooKeeper finds out, and we would wait behind ourselves.
        if let Some((earlier, owner)) = &self.last
            && *owner != session.id()
            && let Some(stat) = session.stat(earlier).await?
            && stat.ephemeral_owner == *owner
        {
            session.delete(earlier, None).await?;
        }
        self.last = Some((candidate.clone(), session.id()));
        let mut waiting = false;
        loop {
            let line = line(session, &self.layout).await?;
            if !line.iter().any(|(znode, _)| *znode == candidate)
                || session.health().borrow().generation != generation
            {
                return Ok(Contest::PlaceLost);
            }
            let ahead: Vec<_> = line
                .iter()
                .take_while(|(znode, _)| *znode != candidate)
                .collect();
            if ahead.is_empty() {
                break;
            }
            // Two that came at once have not seen each other before they stood in line.
            if let Some(other) = other_place(&line, &own) {
                return Ok(Contest::Elsewhere(other));
            }
            if let Some((dead, _)) = ahead.iter().find(|ahead| has_died(ahead)) {
                session.delete(dead, None).await?;
                info!(znode = %dead, "a daemon in the line has died; its place is taken away");
                continue;
            }
            if !waiting {
                waiting = true;
                info!(ahead = ahead.len(), "another daemon leads; standing by");
            }
            tokio::select! {
                () = a_death(&ahead) => {}
                _ = events.next() => {}
            }
        }
        let stat = session.set(&self.layout.epoch(), &who, None).await?;
        crash_point(Point::LeadAfterEpoch);
        info!(epoch = stat.version, "this daemon leads");
        Ok(Contest::Won(Lead {
            epoch: self.layout.epoch(),
            epoch_version: stat.version,
            transaction: stat.mzxid,
            candidate,
            generation,
        }))
    }
}

/// How standing in line ended.
enum Contest {
    Won(Lead),
    /// Our place in the line is gone, with the session or alone.
    PlaceLost,
    /// Another daemon in the line runs its copies elsewhere.
    Elsewhere(OtherPlace),
}

/// All daemons in the line, in their order. What lies there and ends with nobody's session is none.
async fn line(session: &Session, layout: &Layout) -> Result<Vec<InLine>, ZkError> {
    let znodes = places(session, layout).await?;
    let contents = session.get_many(&znodes).await?;
    let in_line = |(znode, content): (ZnodePath, ReadResult)| match content {
        Ok(Some((_, stat))) if stat.ephemeral_owner == 0 => None,
        Ok(Some((data, _))) => Some((znode, serde_json::from_slice(&data).ok())),
        Ok(None) | Err(_) => Some((znode, None)),
    };
    Ok(znodes
        .into_iter()
        .zip(contents)
        .filter_map(in_line)
        .collect())
}

/// The znodes in the line, in their order.
async fn places(session: &Session, layout: &Layout) -> Result<Vec<ZnodePath>, ZkError> {
    let (root, candidate) = (layout.leader_root(), layout.candidate());
    let mut names = session.children(&root).await?;
    names.retain(|name| name.starts_with(candidate.name()));
    names.sort_unstable();
    Ok(names.iter().map(|name| root.join(name)).collect())
}

/// A place in the line that is not ours. Two machines may call theirs the same; by the time of their being up they are told
/// apart, even where one is a copy of the other, and two containers of one machine by the processes they see. To a machine that has come
/// up again its own earlier life is elsewhere, too, until that session ends.
fn other_place(line: &[InLine], own: &Candidate) -> Option<OtherPlace> {
    let candidates = line.iter().filter_map(|(_, candidate)| candidate.as_ref());
    let mut others = candidates.filter_map(|other| {
        if other.place != own.place {
            return Some(OtherPlace::Named(other.place.clone()));
        }
        let is_elsewhere = other.process.is_some_and(|process| process.is_elsewhere());
        is_elsewhere.then(|| OtherPlace::SameName(own.place.clone()))
    });
    others.next()
}

/// Waits until one of these daemons is known to have died.
async fn a_death(line: &[&InLine]) {
    let mut looks = tokio::time::interval(Duration::from_millis(200));
    while !line.iter().any(|in_line| has_died(in_line)) {
        looks.tick().await;
    }
}

fn has_died((_, candidate): &InLine) -> bool {
    let process = candidate.as_ref().and_then(|candidate| candidate.process);
    process.is_some_and(|process| process.has_died())
}

/// Our own place in the line: the one we have, for a create whose answer was lost may have made it already, or a new one.
async fn take_place(
    session: &Session,
    layout: &Layout,
    who: &[u8],
) -> Result<Option<ZnodePath>, ZkError> {
    let own = async || -> Result<Option<ZnodePath>, ZkError> {
        let places = places(session, layout).await?;
        let contents = session.get_many(&places).await?;
        let id = session.id();
        let mut all = places.into_iter().zip(contents);
        Ok(all
            .find_map(|(place, content)| (content.ok()??.1.ephemeral_owner == id).then_some(place)))
    };
    if let Some(place) = own().await? {
        return Ok(Some(place));
    }
    session
        .create(&layout.candidate(), who, CreateMode::EphemeralSequential)
        .await?;
    own().await
}
