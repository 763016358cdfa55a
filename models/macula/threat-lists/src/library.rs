//! The lists as they are now: read once at the start, and again whenever their files change.
//!
//! A changed file is read aside, while everybody goes on with what there was. It takes the old one's place, in one step, if it
//! looks sane; a file that is suddenly empty, a fraction or a multiple of what it was, does not, and neither does one that
//! can't be read: then the last good one stays, and [`Library::status`] says why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tracing::{info, warn};

use crate::format::Input;
use crate::list::{List, ListKind};
use crate::lists::Lists;
use crate::schedule::{Group, Schedule};
use crate::source::{ListFile, ListsError, Source, Stamp};

/// How often the files of a local folder are looked at for changes.
const LOOK: Duration = Duration::from_secs(2);

/// However long it is until the next time of a schedule, the clock is looked at again after this: it may have been set.
const NAP: Duration = Duration::from_secs(60);

/// Shorter lists may change as they like.
const SMALL: usize = 100;

/// The lists of one place, kept up to date.
#[derive(Debug)]
pub struct Library {
    source: Source,
    place: String,
    settings: Settings,
    current: ArcSwap<Lists>,
    shelf: Mutex<Shelf>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

/// What a library may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a changed file may be like.
    pub limits: Limits,
    /// Where the entries of long lists are kept, in files without a name.
    pub scratch: PathBuf,
}

/// How far a list may change at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The part of its entries, from 0 to 1, that a list may lose.
    pub shrink: f64,
    /// How many times as long a list may get.
    pub growth: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            limits: Limits::default(),
            scratch: std::env::temp_dir(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            shrink: 0.5,
            growth: 10.0,
        }
    }
}

/// The files there are, by what tells them apart, and what there is to say about the place as a whole.
#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<(bool, String), Volume>,
    problem: Option<String>,
}

/// One file and the list that was made of it.
#[derive(Debug)]
struct Volume {
    list: Arc<List>,
    /// Of the file that was read last, whether it was taken or not.
    stamp: Stamp,
    loaded: Timestamp,
    checked: Timestamp,
    problem: Option<String>,
}

/// What is known about a list.
#[derive(Clone, Debug, Serialize)]
pub struct ListStatus {
    /// What it means to be on it.
    pub kind: ListKind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many entries it has.
    pub entries: usize,
    /// How many lines could not be used.
    pub set_aside: usize,
    /// When it was read.
    pub loaded: Timestamp,
    /// When its file was looked at last.
    pub checked: Timestamp,
    /// Why the file that lies there now is not used, if it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Which lists are to be reloaded.
#[derive(Clone, Debug)]
pub enum Selection {
    /// All of them.
    All,
    /// Those of some groups.
    Groups(Vec<Group>),
    /// The ones of this name.
    Named(String),
}

/// What became of one list.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// What it means to be on it.
    pub kind: ListKind,
    /// Its name.
    pub name: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What reloading a list came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// Its file is the one that was read before.
    Unchanged,
    /// The new one has taken the old one's place.
    Reloaded {
        /// How many entries there were; 0 for a list that is new.
        before: usize,
        /// How many there are.
        entries: usize,
    },
    /// The last good one stays.
    Kept {
        /// Why.
        reason: String,
    },
    /// Its file is gone, and so is the list, for that was asked for.
    Removed,
}

impl Outcome {
    /// Whether the lists are others than before.
    pub fn is_change(&self) -> bool {
        matches!(self, Outcome::Reloaded { .. } | Outcome::Removed)
    }
}

impl Selection {
    fn includes(&self, kind: ListKind, name: &str) -> bool {
        match self {
            Selection::All => true,
            Selection::Groups(groups) => groups.contains(&Group::of(kind, name)),
            Selection::Named(wanted) => wanted == name,
        }
    }
}

impl Library {
    /// Reads the lists of a folder, or of what a URL names (`hdfs://…`, `s3://…`).
    ///
    /// # Errors
    /// When the place or a file in it cannot be read, holds a file that is none of ours, or a list of which no line is
    /// usable. Every message names the file, and the line where there is one.
    pub async fn open(place: &str, settings: Settings) -> Result<Library, ListsError> {
        let library = Library {
            source: Source::open(place)?,
            place: place.to_owned(),
            settings,
            current: ArcSwap::default(),
            shelf: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
        };
        let (files, strangers) = library.source.files().await?;
        if let Some(stranger) = strangers.into_iter().next() {
            return Err(stranger);
        }
        if files.is_empty() {
            return Err(ListsError::NoLists {
                place: library.place,
            });
        }
        for file in files {
            let list = library.read(&file).await?;
            library.take(&file, list);
        }
        library.publish();
        Ok(library)
    }

    /// What the lists say now. It does not change under whoever holds it.
    pub fn current(&self) -> Arc<Lists> {
        self.current.load_full()
    }

    /// What is known about each list.
    pub fn status(&self) -> Vec<ListStatus> {
        let shelf = self.shelf();
        let status = |volume: &Volume| ListStatus {
            kind: volume.list.kind(),
            name: volume.list.name().to_owned(),
            version: volume.list.version().to_owned(),
            entries: volume.list.len(),
            set_aside: volume.list.set_aside_count(),
            loaded: volume.loaded,
            checked: volume.checked,
            problem: volume.problem.clone(),
        };
        shelf.files.values().map(status).collect()
    }

    /// What keeps the place as a whole from being up to date, if something does.
    pub fn problem(&self) -> Option<String> {
        self.shelf().problem.clone()
    }

    /// Looks at the files of the selected lists, and reads those again that have changed. With `force` also those that have
    /// not; then a list may change as much as it likes, and go if its file has gone.
    ///
    /// # Errors
    /// When the place can't be looked at. What is wrong with one list is told in its [`Outcome`].
    pub async fn reload(
        &self,
        selection: &Selection,
        force: bool,
    ) -> Result<Vec<Reload>, ListsError> {
        let _one_at_a_time = self.reloading.lock().await;
        let found = self.source.files().await;
        let problem = match &found {
            Ok((_, strangers)) => strangers.first().map(ToString::to_string),
            Err(error) => Some(describe(error)),
        };
        self.set_problem(problem);
        let (files, _) = found?;
        let mut reloads = Vec::new();
        for file in &files {
            if selection.includes(file.kind, &file.name) {
                let outcome = self.reload_file(file, force).await;
                reloads.push(Reload {
                    kind: file.kind,
                    name: file.name.clone(),
                    outcome,
                });
            }
        }
        reloads.extend(self.miss(&files, selection, force));
        Ok(reloads)
    }

    /// Follows the changes until it is dropped, and tells of each: of a folder of this machine at once, of other places by the
    /// schedule.
    pub async fn follow(&self, schedule: &Schedule, changed: impl Fn(Arc<Lists>)) {
        loop {
            let next = schedule.next(Timestamp::now());
            let (groups, wait) = next.unwrap_or_else(|| (Vec::new(), NAP));
            let look = if self.source.is_local() { LOOK } else { NAP };
            tokio::time::sleep(wait.min(look)).await;
            let selection = match (wait <= look, self.source.is_local()) {
                (_, true) => Selection::All,
                (true, false) => Selection::Groups(groups),
                (false, false) => continue,
            };
            // What goes wrong is logged, and is in the status.
            let reloads = self.reload(&selection, false).await.unwrap_or_default();
            if reloads.iter().any(|reload| reload.outcome.is_change()) {
                changed(self.current());
            }
        }
    }

    async fn reload_file(&self, file: &ListFile, force: bool) -> Outcome {
        let before = self.look(file);
        if let Some((_, stamp)) = &before
            && *stamp == file.stamp
            && !force
        {
            return Outcome::Unchanged;
        }
        let before = before.map(|(list, _)| list);
        let list = match self.read(file).await {
            Ok(list) => list,
            Err(error) => return self.keep(file, describe(&error), error.may_pass()),
        };
        let sane = match &before {
            Some(before) if !force => self.settings.limits.check(before, &list),
            _ => Ok(()),
        };
        match sane {
            Ok(()) => {
                let entries = list.len();
                info!(
                    list = list.title(),
                    version = list.version(),
                    entries,
                    "list loaded"
                );
                self.take(file, list);
                self.publish();
                Outcome::Reloaded {
                    before: before.map_or(0, |before| before.len()),
                    entries,
                }
            }
            Err(reason) => self.keep(file, reason, false),
        }
    }

    /// Reads a list, aside.
    async fn read(&self, file: &ListFile) -> Result<List, ListsError> {
        let path = self.source.path_of(file);
        let unreadable = |source| ListsError::Read {
            path: path.clone(),
            source,
        };
        let scratch = self.settings.scratch.clone();
        let content = self
            .source
            .fetch(file, &scratch)
            .await
            .map_err(unreadable)?;
        let (work, shown) = (file.clone(), path.clone());
        let read = tokio::task::spawn_blocking(move || {
            let mut content = content;
            let input = Input {
                kind: work.kind,
                name: &work.name,
                folder: &scratch,
                now: Timestamp::now(),
            };
            let list = work.format.read(&input, &mut content)?;
            // Written in place while we read: what we have may be half of it.
            match content.metadata()?.len() {
                size if size == work.size() => Ok(list),
                _ => Err(std::io::Error::other("it changed while it was read")),
            }
        });
        let read = read.await.map_err(std::io::Error::other);
        let list = read.and_then(|list| list).map_err(unreadable)?;
        for bad in list.set_aside().iter().take(10) {
            warn!(path = shown, line = bad.line, reason = %bad.reason, "list line set aside");
        }
        match list.set_aside().first() {
            Some(first) if list.is_empty() => Err(ListsError::NothingUsable {
                path,
                count: list.set_aside_count(),
                first: first.clone(),
            }),
            _ => Ok(list),
        }
    }

    fn look(&self, file: &ListFile) -> Option<(Arc<List>, Stamp)> {
        let mut shelf = self.shelf();
        let volume = shelf.files.get_mut(&place_of(file))?;
        volume.checked = Timestamp::now();
        Some((Arc::clone(&volume.list), volume.stamp.clone()))
    }

    fn take(&self, file: &ListFile, list: List) {
        let now = Timestamp::now();
        let volume = Volume {
            list: Arc::new(list),
            stamp: file.stamp.clone(),
            loaded: now,
            checked: now,
            problem: None,
        };
        self.shelf().files.insert(place_of(file), volume);
    }

    /// Notes why a list stays as it was. With `again` its file is tried again although it has not changed since.
    fn keep(&self, file: &ListFile, reason: String, again: bool) -> Outcome {
        let mut shelf = self.shelf();
        let problem = match shelf.files.get_mut(&place_of(file)) {
            Some(volume) => {
                if !again {
                    volume.stamp = file.stamp.clone();
                }
                &mut volume.problem
            }
            None => &mut shelf.problem,
        };
        if problem.as_ref() != Some(&reason) {
            let path = self.source.path_of(file);
            warn!(
                path,
                reason, "the list is not taken; what was there before stays"
            );
            *problem = Some(reason.clone());
        }
        Outcome::Kept { reason }
    }

    /// Lists whose file is gone stay, unless they are told to go.
    fn miss(&self, files: &[ListFile], selection: &Selection, force: bool) -> Vec<Reload> {
        let reason = "its file is gone; the last version of it stays until a forced reload";
        let there: Vec<_> = files.iter().map(place_of).collect();
        let mut shelf = self.shelf();
        let mut missed = Vec::new();
        shelf.files.retain(|place, volume| {
            let list = &volume.list;
            if there.contains(place) || !selection.includes(list.kind(), list.name()) {
                return true;
            }
            let outcome = if force {
                Outcome::Removed
            } else {
                let reason = reason.to_owned();
                Outcome::Kept { reason }
            };
            if !force && volume.problem.as_deref() != Some(reason) {
                warn!(list = list.title(), reason, "the list is not taken away");
                volume.problem = Some(reason.to_owned());
            }
            missed.push(Reload {
                kind: list.kind(),
                name: list.name().to_owned(),
                outcome,
            });
            !force
        });
        drop(shelf);
        if force && !missed.is_empty() {
            self.publish();
        }
        missed
    }

    fn publish(&self) {
        let lists = {
            let shelf = self.shelf();
            shelf
                .files
                .values()
                .map(|volume| Arc::clone(&volume.list))
                .collect()
        };
        self.current.store(Arc::new(Lists::of(lists)));
    }

    fn set_problem(&self, problem: Option<String>) {
        let mut shelf = self.shelf();
        if let Some(problem) = problem
            .as_ref()
            .filter(|problem| shelf.problem.as_ref() != Some(problem))
        {
            warn!(problem, "the lists' place is not as it should be");
        }
        shelf.problem = problem;
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limits {
    fn check(self, before: &List, after: &List) -> Result<(), String> {
        let (was, is) = (before.len(), after.len());
        if is == 0 && was > 0 {
            return Err(format!("it is empty, and had {was} entries"));
        }
        if was < SMALL {
            return Ok(());
        }
        // List lengths are far below 2^52.
        let ratio = is as f64 / was as f64;
        if ratio < 1.0 - self.shrink || ratio > self.growth {
            return Err(format!(
                "it has {is} entries, and had {was}; a forced reload takes it nevertheless"
            ));
        }
        Ok(())
    }
}

/// The absolute lists come before the feeds.
fn place_of(file: &ListFile) -> (bool, String) {
    (file.kind == ListKind::Feed, file.id().to_owned())
}

/// An error with its causes, in one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
