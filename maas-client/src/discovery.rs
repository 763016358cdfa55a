//! Discovery: which endpoints serve which model, right now.
//!
//! Keeps a [`Snapshot`] fresh from the registry's znodes. A lookup takes the snapshot that is there, without a lock and
//! without the network; while ZooKeeper is away it answers from the last one. One task follows the watches and replaces
//! the snapshot: after a change it reads just what changed, after a reconnect everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use rand::RngExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::apply::CallTarget;
use crate::ejection::Conduct;
use crate::layout::{Layout, ZnodePath};
use crate::name::{InstanceId, ModelName, Version};
use crate::registry::{Entry, Registry};
use crate::session::{Session, TreeEvent, TreeWatch, WatchScope, ZkError};
use crate::wire::endpoint_dat::Functions;
use crate::wire::registration::Registration;

/// One running copy of a model, as callers need it.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
    /// Which copy.
    pub instance: InstanceId,
    /// Where it answers.
    pub url: String,
    /// Its functions.
    pub functions: Functions,
    pub(crate) target: CallTarget,
    pub(crate) conduct: Conduct,
}

impl From<Registration> for Endpoint {
    fn from(entry: Registration) -> Self {
        let target = CallTarget::new(entry.url.url());
        let Registration {
            name,
            version,
            instance,
            url,
            functions,
            ..
        } = entry;
        Self {
            name,
            version,
            instance,
            url: url.as_str().to_owned(),
            functions,
            target,
            conduct: Conduct::default(),
        }
    }
}

/// The live copies of one version; never empty.
type Copies = Arc<[Arc<Endpoint>]>;

/// All live copies of all models at one moment. Never changes.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Of each model its versions, oldest first.
    models: HashMap<ModelName, Vec<(Version, Copies)>>,
    problems: Vec<(ZnodePath, String)>,
}

/// Why there is no endpoint to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No copy of the model is registered.
    #[error(
        "model `{name}` is not registered; {}",
        hint("models serving now are", known)
    )]
    UnknownModel {
        /// The model asked for.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// Copies of the model are registered, but none of this version.
    #[error(
        "model `{name}` {version} is not registered; {}",
        hint("versions serving now are", serving)
    )]
    UnknownVersion {
        /// The model asked for.
        name: String,
        /// The version asked for.
        version: String,
        /// Those that are.
        serving: Vec<String>,
    },
}

fn hint(what: &str, names: &[String]) -> String {
    match names {
        [] => "nothing is serving now".to_owned(),
        names => format!("{what} {}", names.join(", ")),
    }
}

impl Snapshot {
    fn of<'a>(entries: impl Iterator<Item = &'a Known>) -> Self {
        let mut sorted: HashMap<&ModelName, BTreeMap<&Version, Vec<Arc<Endpoint>>>> =
            HashMap::new();
        let mut problems = Vec::new();
        for known in entries {
            match &known.endpoint {
                Ok(endpoint) => {
                    sorted
                        .entry(&endpoint.name)
                        .or_default()
                        .entry(&endpoint.version)
                        .or_default()
                        .push(endpoint.clone());
                }
                Err(why) => problems.push((known.path.clone(), why.clone())),
            }
        }
        let models = sorted
            .into_iter()
            .map(|(name, versions)| {
                (
                    name.clone(),
                    versions
                        .into_iter()
                        .map(|(version, copies)| (version.clone(), copies.into()))
                        .collect(),
                )
            })
            .collect();
        Self { models, problems }
    }

    /// A live copy, drawn with equal chances: of the version asked for, or else of the highest. One whose calls have failed
    /// again and again is left out for a while, unless they all have.
    ///
    /// # Errors
    /// [`LookupError`] names what could be had instead.
    pub fn pick(&self, name: &str, version: Option<&str>) -> Result<&Arc<Endpoint>, LookupError> {
        Ok(draw(self.copies(name, version)?))
    }

    fn copies(&self, name: &str, version: Option<&str>) -> Result<&Copies, LookupError> {
        let versions = self
            .models
            .get(name)
            .ok_or_else(|| LookupError::UnknownModel {
                name: name.to_owned(),
                known: self.models().map(ToString::to_string).collect(),
            })?;
        let found = match version {
            None => versions.last(),
            Some(version) => versions.iter().rfind(|(v, _)| v.as_str() == version),
        };
        found
            .map(|(_, copies)| copies)
            .ok_or_else(|| LookupError::UnknownVersion {
                name: name.to_owned(),
                version: version.unwrap_or_default().to_owned(),
                serving: versions.iter().map(|(v, _)| v.to_string()).collect(),
            })
    }

    /// The names of all models, sorted.
    pub fn models(&self) -> impl Iterator<Item = &ModelName> {
        let mut names: Vec<&ModelName> = self.models.keys().collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// All live copies, of one model or of all, of one version or of all; sorted by name, version and id.
    #[must_use]
    pub fn endpoints(&self, name: Option<&str>, version: Option<&str>) -> Vec<Arc<Endpoint>> {
        let wanted = |e: &&Arc<Endpoint>| {
            name.is_none_or(|n| e.name.as_str() == n)
                && version.is_none_or(|v| e.version.as_str() == v)
        };
        let mut found: Vec<Arc<Endpoint>> = self.all().filter(wanted).cloned().collect();
        found.sort_by(|a, b| {
            (&a.name, &a.version, &a.instance).cmp(&(&b.name, &b.version, &b.instance))
        });
        found
    }

    /// All copies, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let versions = self.models.values().flatten();
        versions.flat_map(|(_, copies)| copies.iter())
    }

    /// The entries that could not be read, each with the reason. They hide nothing else.
    #[must_use]
    pub fn problems(&self) -> &[(ZnodePath, String)] {
        &self.problems
    }
}

fn draw(copies: &Copies) -> &Arc<Endpoint> {
    match &**copies {
        [only] => only,
        several => {
            let drawn = &several[rand::rng().random_range(0..several.len())];
            if drawn.conduct.is_out() {
                draw_again(several).unwrap_or(drawn)
            } else {
                drawn
            }
        }
    }
}

/// One of the copies whose calls don't fail; `None` when all do.
#[cold]
fn draw_again(copies: &[Arc<Endpoint>]) -> Option<&Arc<Endpoint>> {
    let well: Vec<&Arc<Endpoint>> = copies
        .iter()
        .filter(|copy| !copy.conduct.is_out())
        .collect();
    well.get(rand::rng().random_range(0..well.len().max(1)))
        .copied()
}

/// One entry of the registry, read.
struct Known {
    path: ZnodePath,
    endpoint: Result<Arc<Endpoint>, String>,
}

/// Keeps the snapshot. Cheap to share behind an `Arc`; ends when dropped.
pub struct Discovery {
    current: Arc<ArcSwap<Snapshot>>,
    freshness: watch::Receiver<Freshness>,
    task: JoinHandle<()>,
}

/// How fresh the snapshot is.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// Counts the snapshots.
    pub edition: u64,
    /// When ZooKeeper last confirmed the snapshot.
    pub confirmed: Instant,
}

impl Discovery {
    /// Starts following the registry, and waits for the first snapshot.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked for it.
    pub async fn start(session: &Session, layout: &Layout) -> Result<Self, ZkError> {
        let registry = Registry::new(session.clone(), layout.clone());
        let mut watch = session.watch(registry.root(), WatchScope::Tree);
        // Watch first, then list: what changes in between is reported.
        let first = watch.next();
        tokio::time::timeout(Duration::from_secs(30), first)
            .await
            .map_err(|_| ZkError::Deadline {
                operation: "watch",
                znode: registry.root().to_string(),
                waited: Duration::from_secs(30),
            })?;
        let mut view = View {
            registry,
            entries: BTreeMap::new(),
        };
        view.reload().await?;
        let current = Arc::new(ArcSwap::from_pointee(Snapshot::of(view.entries.values())));
        let (publish, freshness) = watch::channel(Freshness {
            edition: 1,
            confirmed: Instant::now(),
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "its parent is this value, which aborts it"
        )]
        let task = tokio::spawn(follow(view, watch, current.clone(), publish));
        Ok(Self {
            current,
            freshness,
            task,
        })
    }

    /// The snapshot of this moment.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A live copy, as [`Snapshot::pick`] draws it. Takes no lock and asks nobody.
    ///
    /// # Errors
    /// [`LookupError`] names what could be had instead.
    pub fn pick(&self, name: &str, version: Option<&str>) -> Result<Arc<Endpoint>, LookupError> {
        self.current.load().pick(name, version).cloned()
    }

    /// A handle for many lookups of the same model.
    #[must_use]
    pub fn handle(&self, name: ModelName, version: Option<Version>) -> ModelHandle {
        ModelHandle {
            current: arc_swap::Cache::new(self.current.clone()),
            name,
            version,
            resolved: None,
        }
    }

    /// One snapshot after the other, from this one on.
    pub(crate) fn follow(&self) -> Snapshots {
        let mut freshness = self.freshness.clone();
        freshness.mark_unchanged();
        Snapshots {
            current: self.current.clone(),
            freshness,
        }
    }

    /// Tells when there is a newer snapshot, and how fresh it is.
    #[must_use]
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.clone()
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One snapshot after the other. Of those that come faster than they are asked for, the newest.
pub(crate) struct Snapshots {
    current: Arc<ArcSwap<Snapshot>>,
    freshness: watch::Receiver<Freshness>,
}

impl Snapshots {
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The next one; `None` when there will be none any more.
    pub(crate) async fn next(&mut self) -> Option<Arc<Snapshot>> {
        self.freshness.changed().await.ok()?;
        Some(self.current())
    }
}

/// Looks up one model again and again: finds its copies anew only when the snapshot is another one.
pub struct ModelHandle {
    current: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    name: ModelName,
    version: Option<Version>,
    resolved: Option<(Arc<Snapshot>, Copies)>,
}

impl ModelHandle {
    /// A live copy, drawn with equal chances.
    ///
    /// # Errors
    /// [`LookupError`] names what could be had instead.
    pub fn pick(&mut self) -> Result<&Arc<Endpoint>, LookupError> {
        let snapshot = self.current.load();
        let fresh = self
            .resolved
            .as_ref()
            .is_some_and(|(seen, _)| Arc::ptr_eq(seen, snapshot));
        if !fresh {
            let copies = snapshot
                .copies(
                    self.name.as_str(),
                    self.version.as_ref().map(Version::as_str),
                )?
                .clone();
            self.resolved = Some((snapshot.clone(), copies));
        }
        let (_, copies) = self
            .resolved
            .as_ref()
            .expect("it was resolved just now or before");
        Ok(draw(copies))
    }
}

/// What the task knows of the registry.
struct View {
    registry: Registry,
    entries: BTreeMap<ZnodePath, Known>,
}

impl View {
    /// Reads everything.
    async fn reload(&mut self) -> Result<(), ZkError> {
        let entries = self.registry.list().await?;
        let before = std::mem::take(&mut self.entries);
        for entry in entries {
            self.learn(entry, &before);
        }
        Ok(())
    }

    /// Reads the entries named, which may be gone.
    async fn refresh(&mut self, paths: &BTreeSet<ZnodePath>) -> Result<(), ZkError> {
        let asked: Vec<ZnodePath> = paths.iter().cloned().collect();
        let entries = self.registry.read(&asked).await?;
        let before: BTreeMap<_, _> = asked
            .iter()
            .filter_map(|path| Some((path.clone(), self.entries.remove(path)?)))
            .collect();
        for entry in entries {
            self.learn(entry, &before);
        }
        Ok(())
    }

    fn learn(&mut self, entry: Entry, before: &BTreeMap<ZnodePath, Known>) {
        let endpoint = match entry.registration {
            Ok(Some(registration)) => {
                let endpoint = Endpoint::from(registration);
                // The same endpoint stays the same value, so that whoever holds it sees that nothing changed.
                match before.get(&entry.path).map(|known| &known.endpoint) {
                    Some(Ok(same)) if **same == endpoint => Ok(same.clone()),
                    _ => Ok(Arc::new(endpoint)),
                }
            }
            Ok(None) => return,
            Err(error) => {
                let why = error.to_string();
                if before
                    .get(&entry.path)
                    .is_none_or(|known| known.endpoint.as_ref().err() != Some(&why))
                {
                    warn!(znode = %entry.path, reason = %why, "an entry of the registry can't be read; it is left out");
                }
                Err(why)
            }
        };
        self.entries.insert(
            entry.path.clone(),
            Known {
                path: entry.path,
                endpoint,
            },
        );
    }
}

/// Collects what changed, reads it, and publishes the next snapshot.
async fn follow(
    mut view: View,
    mut watch: TreeWatch,
    current: Arc<ArcSwap<Snapshot>>,
    publish: watch::Sender<Freshness>,
) {
    let mut dirty = Dirty::default();
    loop {
        if dirty.is_clean() {
            let event = watch.next().await;
            dirty.note(event, view.registry.root());
        }
        // A burst of changes becomes one snapshot.
        while let Ok(event) = tokio::time::timeout(Duration::ZERO, watch.next()).await {
            dirty.note(event, view.registry.root());
        }
        let read = if dirty.everything {
            view.reload().await
        } else {
            view.refresh(&dirty.entries).await
        };
        match read {
            Ok(()) => {
                dirty = Dirty::default();
                current.store(Arc::new(Snapshot::of(view.entries.values())));
                publish.send_modify(|freshness| {
                    *freshness = Freshness {
                        edition: freshness.edition + 1,
                        confirmed: Instant::now(),
                    };
                });
            }
            Err(error) => {
                debug!(%error, "the registry can't be read now; the last snapshot stands");
                dirty.everything = true;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What must be read again.
#[derive(Default)]
struct Dirty {
    everything: bool,
    entries: BTreeSet<ZnodePath>,
}

impl Dirty {
    fn is_clean(&self) -> bool {
        !self.everything && self.entries.is_empty()
    }

    fn note(&mut self, event: TreeEvent, root: &ZnodePath) {
        match event {
            TreeEvent::Reload => self.everything = true,
            TreeEvent::Changed(path) => {
                // Only `<root>/<model>/<instance>` is an entry; folders come and go with their entries' own events.
                if path
                    .below(root)
                    .is_some_and(|segments| segments.count() == 2)
                {
                    self.entries.insert(path);
                }
            }
        }
    }
}
