//! The lists as they are now: read once at the start, and again whenever their files change.
//!
//! A changed file is read aside, while everybody goes on with what there was. It takes the old one's place, in one step, if it
//! looks sane; a file that is suddenly empty, a fraction or a multiple of what it was, does not, and neither does one that
//! can't be read: then the last good one stays, and [`Library::status`] says why.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tracing::{info, warn};

use crate::checksums::{Checksums, Expected};
use crate::format::Input;
use crate::list::{List, ListKind};
use crate::lists::Lists;
use crate::schedule::{Group, Schedule};
use crate::source::{ListFile, ListsError, Source, Stamp};

/// How often the files of a local folder are looked at for changes.
const LOOK: Duration = Duration::from_secs(2);

/// However long it is until the next time of a schedule, the clock is looked at again after this: it may have been set.
const NAP: Duration = Duration::from_secs(60);

/// So many minutes after what could not be read it is tried again, for the first time, the second and so on: its place is back
/// soon, or the trouble lasts until somebody does something.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 15];

/// Shorter lists may change as they like.
const SMALL: usize = 100;

/// Who is told of changes.
type Changed = Box<dyn Fn(Arc<Lists>) + Send + Sync>;

/// The lists of one place, kept up to date.
pub struct Library {
    source: Source,
    place: String,
    settings: Settings,
    current: ArcSwap<Lists>,
    changed: OnceLock<Changed>,
    shelf: Mutex<Shelf>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.place).finish()
    }
}

/// What a library may be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a changed file may be like.
    pub limits: Limits,
    /// Where the entries of long lists are kept, in files without a name.
    pub scratch: PathBuf,
    /// The file with the [`Checksums`](crate::Checksums) of the lists. It is read whenever lists are looked at.
    pub checksums: Option<PathBuf>,
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
            checksums: None,
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
    files: BTreeMap<Place, Volume>,
    /// Files that were read and not taken.
    refused: BTreeMap<Place, Refusal>,
    problem: Option<String>,
}

/// What tells files apart; the absolute lists come before the feeds.
type Place = (bool, String);

/// Why a file was not taken.
#[derive(Debug)]
struct Refusal {
    /// Of the file, if trying again is of no use until it changes.
    stamp: Option<Stamp>,
    reason: String,
    /// Which files are looked at together with it.
    group: Group,
}

/// One file and the list that was made of it.
#[derive(Debug)]
struct Volume {
    list: Arc<List>,
    stamp: Stamp,
    loaded: Timestamp,
    checked: Timestamp,
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
    /// When its file was written.
    pub written: Timestamp,
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

/// The groups that could not be read at their time, and when they are tried again.
#[derive(Debug, Default)]
struct Debts {
    groups: Vec<Group>,
    again_at: Option<Instant>,
    /// How often they were tried again.
    tries: usize,
}

impl Debts {
    /// How long it is until they are tried again.
    fn wait(&self, now: Instant) -> Option<Duration> {
        self.again_at.map(|at| at.saturating_duration_since(now))
    }

    /// What is to be looked at now, if `due` is by the schedule.
    fn due(&self, mut due: Vec<Group>, now: Instant) -> Vec<Group> {
        if self.again_at.is_some_and(|at| at <= now) {
            due.extend(&self.groups);
        }
        due
    }

    /// After a look at the groups of `due`, notes which of them could not be read.
    fn take(&mut self, due: &[Group], owed: Vec<Group>, now: Instant) {
        let is_new = owed.iter().any(|group| !self.groups.contains(group));
        let was_time = self.again_at.is_some_and(|at| at <= now);
        self.groups.retain(|group| !due.contains(group));
        self.groups.extend(owed);
        if self.groups.is_empty() {
            *self = Debts::default();
        } else if is_new || was_time {
            self.tries = if is_new { 0 } else { self.tries + 1 };
            let minutes = PAUSES[self.tries.min(PAUSES.len() - 1)];
            self.again_at = Some(now + Duration::from_secs(minutes * 60));
        }
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
            changed: OnceLock::new(),
            shelf: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
        };
        let (files, strangers) = library.files().await?;
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
        let status = |(place, volume): (&Place, &Volume)| ListStatus {
            kind: volume.list.kind(),
            name: volume.list.name().to_owned(),
            version: volume.list.version().to_owned(),
            entries: volume.list.len(),
            set_aside: volume.list.set_aside_count(),
            written: volume.list.written(),
            loaded: volume.loaded,
            checked: volume.checked,
            problem: shelf
                .refused
                .get(place)
                .map(|refusal| refusal.reason.clone()),
        };
        shelf.files.iter().map(status).collect()
    }

    /// What keeps the place as a whole from being up to date, if something does: that it can't be looked at, that a file is no
    /// list, or that a new list is not taken.
    pub fn problem(&self) -> Option<String> {
        let shelf = self.shelf();
        let new = shelf.refused.iter();
        let mut new = new.filter(|(place, _)| !shelf.files.contains_key(*place));
        let of_place = shelf.problem.clone();
        of_place.or_else(|| new.next().map(|(_, refusal)| refusal.reason.clone()))
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
        let found = self.files().await;
        let problem = match &found {
            Ok((_, strangers)) => strangers.first().map(ToString::to_string),
            Err(error) => Some(describe(error)),
        };
        self.set_problem(problem);
        let (files, _) = found?;
        if files.is_empty() {
            // A place that was not mounted, most likely. Nobody means to score by nothing.
            let error = ListsError::NoLists {
                place: self.place.clone(),
            };
            self.set_problem(Some(error.to_string()));
            return Err(error);
        }
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

    /// The files there are, each with what is asked of it, and what is no list.
    async fn files(&self) -> Result<(Vec<ListFile>, Vec<ListsError>), ListsError> {
        let (mut files, strangers) = self.source.files().await?;
        if let Some(path) = &self.settings.checksums {
            let checksums = Checksums::read(path).await;
            let checksums = checksums.map_err(|source| ListsError::Checksums {
                path: path.clone(),
                source,
            })?;
            for file in &mut files {
                let name = self.source.name_of(file);
                file.stamp.expected = checksums.expect(&name, file.kind);
            }
        }
        Ok((files, strangers))
    }

    /// Follows the changes until it is dropped: of a folder of this machine at once, of other places by the schedule.
    /// What could not be read at its time, and may be readable soon, is due until it was, after ever longer pauses.
    pub async fn follow(&self, schedule: &Schedule) {
        let mut last = Timestamp::now();
        let mut debts = Debts::default();
        loop {
            let look = if self.source.is_local() { LOOK } else { NAP };
            let wait = schedule.wait(Timestamp::now()).unwrap_or(look).min(look);
            let wait = debts.wait(Instant::now()).map_or(wait, |one| one.min(wait));
            tokio::time::sleep(wait).await;
            let now = Timestamp::now();
            if self.source.is_local() {
                // What goes wrong is logged, and is in the status.
                let _told_there = self.reload(&Selection::All, false).await;
            } else {
                let at = Instant::now();
                let due = debts.due(schedule.due(last, now), at);
                let owed = self.reload_groups(due.clone()).await;
                debts.take(&due, owed, at);
            }
            last = now;
        }
    }

    /// Looks at the files of some groups, and tells of which another look may soon find more.
    async fn reload_groups(&self, due: Vec<Group>) -> Vec<Group> {
        if due.is_empty() {
            return due;
        }
        let looked = self.reload(&Selection::Groups(due.clone()), false).await;
        let shelf = self.shelf();
        let is_owed = |group: &Group| {
            let mut refused = shelf.refused.values();
            looked.is_err() || refused.any(|one| one.group == *group && one.stamp.is_none())
        };
        let groups = Group::ALL.into_iter();
        groups
            .filter(|group| due.contains(group) && is_owed(group))
            .collect()
    }

    async fn reload_file(&self, file: &ListFile, force: bool) -> Outcome {
        let before = self.look(file);
        if !force && let Some(known) = self.known(file) {
            return known;
        }
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
        if file.stamp.expected == Expected::Vouched {
            return Err(ListsError::NotVouched { path });
        }
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
                size if size == work.size() => Ok(list.written_at(work.written())),
                _ => Err(std::io::Error::other("it changed while it was read")),
            }
        });
        let read = read.await.map_err(std::io::Error::other);
        let list = read.and_then(|list| list).map_err(unreadable)?;
        if let Expected::This(expected) = file.stamp.expected
            && expected != list.digest()
        {
            return Err(ListsError::Checksum {
                path,
                expected: expected.to_string(),
                found: list.digest().to_string(),
            });
        }
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

    /// The list that was made of an earlier version of a file.
    fn look(&self, file: &ListFile) -> Option<Arc<List>> {
        let mut shelf = self.shelf();
        let volume = shelf.files.get_mut(&place_of(file))?;
        volume.checked = Timestamp::now();
        Some(Arc::clone(&volume.list))
    }

    /// What is known of exactly this version of a file, without reading it.
    fn known(&self, file: &ListFile) -> Option<Outcome> {
        let mut shelf = self.shelf();
        let place = place_of(file);
        if shelf
            .files
            .get(&place)
            .is_some_and(|volume| volume.stamp == file.stamp)
        {
            shelf.refused.remove(&place);
            return Some(Outcome::Unchanged);
        }
        let refusal = shelf.refused.get(&place)?;
        let is_it = refusal.stamp.as_ref() == Some(&file.stamp);
        is_it.then(|| Outcome::Kept {
            reason: refusal.reason.clone(),
        })
    }

    fn take(&self, file: &ListFile, list: List) {
        let now = Timestamp::now();
        let volume = Volume {
            list: Arc::new(list),
            stamp: file.stamp.clone(),
            loaded: now,
            checked: now,
        };
        let mut shelf = self.shelf();
        shelf.refused.remove(&place_of(file));
        shelf.files.insert(place_of(file), volume);
    }

    /// Notes why a list stays as it was. With `again` its file is tried again although it has not changed since.
    fn keep(&self, file: &ListFile, reason: String, again: bool) -> Outcome {
        let stamp = (!again).then(|| file.stamp.clone());
        let group = Group::of(file.kind, &file.name);
        self.shelf().refuse(place_of(file), group, stamp, &reason);
        Outcome::Kept { reason }
    }

    /// Lists whose file is gone stay, unless they are told to go.
    fn miss(&self, files: &[ListFile], selection: &Selection, force: bool) -> Vec<Reload> {
        let reason = "its file is gone; the last version of it stays until a forced reload";
        let there: Vec<_> = files.iter().map(place_of).collect();
        let mut shelf = self.shelf();
        // What was never taken and is gone again is nobody's trouble any more.
        let Shelf { files, refused, .. } = &mut *shelf;
        refused.retain(|place, _| there.contains(place) || files.contains_key(place));
        let mut missed = Vec::new();
        let mut gone = Vec::new();
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
            gone.push((place.clone(), Group::of(list.kind(), list.name())));
            missed.push(Reload {
                kind: list.kind(),
                name: list.name().to_owned(),
                outcome,
            });
            !force
        });
        for (place, group) in gone {
            if force {
                shelf.refused.remove(&place);
            } else {
                shelf.refuse(place, group, None, reason);
            }
        }
        drop(shelf);
        if force && !missed.is_empty() {
            self.publish();
        }
        missed
    }

    fn publish(&self) {
        let lists: Vec<_> = {
            let shelf = self.shelf();
            shelf
                .files
                .values()
                .map(|volume| Arc::clone(&volume.list))
                .collect()
        };
        let lists = Arc::new(Lists::of(lists));
        self.current.store(Arc::clone(&lists));
        if let Some(changed) = self.changed.get() {
            changed(lists);
        }
    }

    /// Lets `changed` know of every change from now on, before the reload that brought it ends. Only the first to ask is told.
    pub fn tell(&self, changed: impl Fn(Arc<Lists>) + Send + Sync + 'static) {
        let _only_the_first = self.changed.set(Box::new(changed));
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

impl Shelf {
    fn refuse(&mut self, place: Place, group: Group, stamp: Option<Stamp>, reason: &str) {
        let reason = reason.to_owned();
        if self
            .refused
            .get(&place)
            .is_none_or(|known| known.reason != reason)
        {
            warn!(list = place.1, reason, "the list stays as it was");
        }
        let refusal = Refusal {
            stamp,
            reason,
            group,
        };
        self.refused.insert(place, refusal);
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

fn place_of(file: &ListFile) -> Place {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_stays_unreadable_is_tried_ever_more_rarely_and_soon_when_more_is() {
        let start = Instant::now();
        let minute = |minute: u64| start + Duration::from_secs(minute * 60);
        let mut debts = Debts::default();
        assert_eq!(debts.wait(start), None);
        debts.take(&[Group::Feeds], vec![Group::Feeds], start);
        let mut tried = Vec::new();
        for now in 1..=60 {
            let due = debts.due(Vec::new(), minute(now));
            if !due.is_empty() {
                tried.push(now);
                debts.take(&due, due.clone(), minute(now));
            }
        }
        assert_eq!(tried, [1, 3, 7, 15, 30, 45, 60]);

        // One that was read in its time changes nothing, another that was not does.
        debts.take(&[Group::Darklist], Vec::new(), minute(61));
        assert_eq!(debts.wait(minute(61)), Some(Duration::from_secs(14 * 60)));
        debts.take(&[Group::Whitelist], vec![Group::Whitelist], minute(62));
        assert_eq!(debts.wait(minute(62)), Some(Duration::from_secs(60)));
        let both = debts.due(Vec::new(), minute(63));
        assert_eq!(both, [Group::Feeds, Group::Whitelist]);
        debts.take(&both, Vec::new(), minute(63));
        assert_eq!(debts.wait(minute(63)), None);
    }

    #[tokio::test]
    async fn what_could_not_be_looked_at_in_its_time_is_due_until_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let lists = folder.path().join("lists");
        let aside = folder.path().join("aside");
        fs::create_dir(&lists).expect("a folder");
        fs::write(lists.join("whitelist.txt"), "good.test").expect("a list");
        fs::write(lists.join("darklist.txt"), "odd.test").expect("a list");
        let place = lists.to_str().expect("text");
        let library = Library::open(place, Settings::default())
            .await
            .expect("lists");
        let due = vec![Group::Whitelist, Group::Feeds];

        fs::rename(&lists, &aside).expect("moved");
        let owed = library.reload_groups(due.clone()).await;
        assert_eq!(owed, due, "the place is away");
        fs::rename(&aside, &lists).expect("moved");
        assert_eq!(library.reload_groups(owed).await, []);

        // Somebody is about to put another in its place.
        fs::remove_file(lists.join("whitelist.txt")).expect("a list");
        let owed = library.reload_groups(due.clone()).await;
        assert_eq!(owed, [Group::Whitelist]);
        fs::write(lists.join("whitelist.txt"), "better.test").expect("a list");
        assert_eq!(library.reload_groups(owed).await, []);

        // What is no list will be none in a minute.
        fs::write(lists.join("whitelist.txt"), "<html>").expect("a file");
        assert_eq!(library.reload_groups(due).await, []);
    }
}
