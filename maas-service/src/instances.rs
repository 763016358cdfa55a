//! The folder in which the folders of all copies lie, and what in it is ours.
//!
//! ```text
//! <instances>/
//!   .maas-instances   the mark: copies are run here, and what they leave is deleted
//!   .lead-…/          a daemon's part of the folder (fence.rs)
//!   .gone-…/          what is being taken away
//!   <instance id>/    a copy's (instance_folder.rs)
//! ```
//! What dead copies leave is deleted, and nothing else may ever be, whatever folder the daemon is given. So a folder without the
//! mark is taken only when all in it is provably ours; and in one with the mark, what is not provably ours is left alone.
//! Provably ours are folders with such names as above, and a folder with a launch file that names it. Where that is spoilt, by the
//! model or as the machine went down, it is known by its living runner, or by an id of ours for its name and nothing in it but what
//! we put there.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use maas_client::InstanceId;
use tracing::warn;

use crate::fence;
use crate::instance_folder::InstanceFolder;

/// The mark's name.
const MARK: &str = ".maas-instances";

/// What the mark says to whoever finds it.
const MARK_TEXT: &[u8] =
    b"maas_service runs copies of models in this folder, and deletes what dead ones leave in it.\n";

/// What the name of a folder begins with that is being taken away.
const GONE: &str = ".gone-";

/// What a disk has of itself. It is nobody's, and no harm.
const LOST_AND_FOUND: &str = "lost+found";

/// How long after its making what is unfinished is left to whoever may be at it.
const MAKING: Duration = Duration::from_secs(60);

/// Why a folder can't be taken for copies.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It is not there, and can't be made.
    #[error("the folder `{}` for copies can't be made", .0.display())]
    Make(PathBuf, #[source] io::Error),
    /// It can't be looked into.
    #[error("the folder `{}` for copies can't be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// There is something else in it.
    #[error(
        "the folder `{}` for copies holds `{}`, which is nothing of maas_service's; what dead copies leave is deleted there, so \
         name an empty folder or a new one with --instances_dir, or take what is not of maas_service out of this one (nothing \
         in it was touched)", .folder.display(), .entry.display()
    )]
    NotOurs {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        entry: OsString,
    },
}

/// What there is in the folder.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The folders that may be copies' by their names, oldest first.
    pub(crate) folders: Vec<(InstanceId, InstanceFolder)>,
    /// What is being made or taken away, or was when its daemon was killed.
    pub(crate) leftovers: Vec<InstanceFolder>,
    /// The names of what can't be ours, in their order.
    pub(crate) foreign: Vec<OsString>,
}

/// Takes the folder `instances` for copies: makes it if it is not there, and marks it as ours.
///
/// # Errors
/// When it can't be made or read, or there is something in it that is not provably ours.
pub fn claim(instances: &Path) -> Result<(), ClaimError> {
    let folder = instances.to_owned();
    fs::create_dir_all(instances).map_err(|error| ClaimError::Make(folder.clone(), error))?;
    let mark = instances.join(MARK);
    if fs::symlink_metadata(&mark).is_ok() {
        return Ok(());
    }
    let contents = look(instances).map_err(|error| ClaimError::Read(folder.clone(), error))?;
    let mut folders = contents.folders.iter();
    // One that is gone by now was a copy that has just ended.
    let foreign = folders
        .find(|(instance, folder)| !folder.is_provably_of(instance) && folder.path().exists());
    let foreign = foreign.map(|(instance, _)| OsString::from(instance.as_str()));
    if let Some(entry) = contents.foreign.into_iter().next().or(foreign) {
        return Err(ClaimError::NotOurs { folder, entry });
    }
    if let Err(error) = File::create(&mark).and_then(|mut mark| mark.write_all(MARK_TEXT)) {
        warn!(%error, "the folder for copies can't be marked as ours now; the next service tries it again");
    }
    Ok(())
}

/// Looks what there is in the folder.
///
/// # Errors
/// When it can't be listed.
pub(crate) fn look(instances: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for entry in fs::read_dir(instances)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match name.to_str() {
            Some(MARK | LOST_AND_FOUND) => {}
            Some(name) if is_folder && fence::is_fence(name) => {}
            Some(name) if is_folder && is_leftover(name) => {
                contents.leftovers.push(InstanceFolder::at(entry.path()));
            }
            Some(id) if is_folder && !id.starts_with('.') => match InstanceId::new(id) {
                Ok(instance) => {
                    let folder = InstanceFolder::at(entry.path());
                    contents.folders.push((instance, folder));
                }
                Err(_) => contents.foreign.push(name),
            },
            _ => contents.foreign.push(name),
        }
    }
    contents.folders.sort_by(|(a, _), (b, _)| a.cmp(b));
    contents.foreign.sort();
    Ok(contents)
}

/// The name of what is being taken away and was called `name`.
pub(crate) fn leftover(name: impl AsRef<OsStr>) -> OsString {
    let mut leftover = OsString::from(GONE);
    leftover.push(name);
    leftover
}

/// Whether it is such a name. Earlier releases have put a mere dot before an id of ours.
fn is_leftover(name: &str) -> bool {
    name.starts_with(GONE) || name.strip_prefix('.').is_some_and(is_id)
}

/// Whether it is the name of a copy as we give them.
pub(crate) fn is_id(name: &str) -> bool {
    let groups: Vec<usize> = name.split('-').map(str::len).collect();
    let digits = name.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    digits && groups == [8, 4, 4, 4, 12]
}

/// Removes what daemons left that were killed while they took something away: what is still there after a minute.
///
/// # Errors
/// When something can't be removed. All else is, all the same.
pub(crate) fn remove_leftovers(leftovers: &[InstanceFolder]) -> io::Result<()> {
    let remove = |leftover: &InstanceFolder| -> io::Result<()> {
        let made = fs::symlink_metadata(leftover.path())?.modified()?;
        if made.elapsed().unwrap_or_default() > MAKING {
            leftover.delete()?;
        }
        Ok(())
    };
    let mut outcome = Ok(());
    for leftover in leftovers {
        match remove(leftover) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                outcome = outcome.and(Err(error));
            }
            _ => {}
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use test_support::TempDir;

    use super::*;
    use crate::instance_folder::tests::spec;

    fn make_copy(instances: &Path, instance: &str) -> InstanceFolder {
        let spec = spec(instance, "dga", "1.0");
        let folder = InstanceFolder::new(instances, &spec.instance);
        let workshop = TempDir::new_in(instances.parent().expect("it is in a folder"));
        fs::create_dir_all(instances).expect("made");
        let lock = folder.create(&spec, workshop.expect("a workshop").path());
        drop(lock.expect("made"));
        folder
    }

    /// Every file and folder below a path, with what is in it.
    fn all_below(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(path).expect("listed") {
            let path = entry.expect("an entry").path();
            all.extend(
                path.is_dir()
                    .then(|| all_below(&path))
                    .into_iter()
                    .flatten(),
            );
            all.insert(path.clone(), fs::read(&path).unwrap_or_default());
        }
        all
    }

    #[test]
    fn a_new_folder_and_an_empty_one_are_taken_and_marked_and_may_be_taken_again() {
        let home = TempDir::new().expect("a folder");
        let (new, empty) = (home.path().join("a/b"), home.path().join("empty"));
        fs::create_dir_all(empty.join(LOST_AND_FOUND)).expect("made");
        for folder in [new, empty] {
            claim(&folder).expect("it is nobody's");
            assert_eq!(fs::read(folder.join(MARK)).expect("marked"), MARK_TEXT);
            // Whatever somebody puts into it afterwards.
            fs::write(folder.join("notes.txt"), "mine").expect("written");
            claim(&folder).expect("it is ours");
        }
    }

    #[test]
    fn a_folder_of_the_release_before_is_taken_with_all_that_is_in_it() {
        let home = TempDir::new().expect("a folder");
        let folder = home.path().join("instances");
        let id = InstanceId::generate();
        for name in [
            format!(".lead-{id}-00000000000000a7"),
            format!(".{id}"),
            format!("{GONE}{id}"),
        ] {
            fs::create_dir_all(folder.join(name).join("half a copy")).expect("made");
        }
        make_copy(&folder, id.as_str());
        let before = all_below(&folder);
        claim(&folder).expect("all in it is ours");
        let mut after = all_below(&folder);
        assert!(after.remove(&folder.join(MARK)).is_some());
        assert_eq!(after, before);
    }

    #[test]
    fn a_copy_whose_launch_file_was_not_on_the_disk_when_the_machine_went_down_is_known_by_what_is_there()
     {
        let id = InstanceId::generate();
        let check = |launch: &str, more: Option<&str>, is_ours: bool| {
            let home = TempDir::new().expect("a folder");
            let folder = home.path().join("instances");
            let copy = make_copy(&folder, id.as_str());
            fs::write(copy.path().join("launch.json"), launch).expect("written");
            if let Some(more) = more {
                fs::write(copy.path().join(more), "").expect("written");
            }
            assert_eq!(claim(&folder).is_ok(), is_ours, "{launch:?} {more:?}");
        };
        check("", None, true);
        check("\0\0\0\0", Some("runner.json"), true);
        check("", Some("thesis"), false);
        check("{}", None, false);
    }

    #[test]
    fn a_folder_with_anything_else_in_it_is_not_taken_and_nothing_in_it_is_touched() {
        let as_ours = r#"{"instance":"project","name":"dga","version":"1.0"}"#;
        let other = InstanceId::generate();
        for (path, content) in [
            ("notes.txt", "mine"),
            (".bashrc", "mine"),
            (".ssh/id", "mine"),
            ("Documents/thesis/chapter 1", "mine"),
            ("project/launch.json", r#"{"configurations":[]}"#),
            ("project/launch.json", as_ours),
            // What is of ours by its name is no file.
            (&format!(".{other}"), "mine"),
            (".lead-a-00000000000000a7", "mine"),
            (".lead-singer/song", "mine"),
        ] {
            let home = TempDir::new().expect("a folder");
            let folder = home.path().join("home");
            let copy = make_copy(&folder, "i1");
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("made");
            fs::write(&path, content).expect("written");
            let before = all_below(&folder);
            let error = claim(&folder).expect_err("something in it is not ours");
            let entry = path.strip_prefix(&folder).expect("it is in it").iter();
            let entry = entry.map(|part| part.to_string_lossy()).next();
            let text = error.to_string();
            let named = [folder.to_str(), entry.as_deref(), Some("--instances_dir")];
            assert!(
                named.iter().flatten().all(|part| text.contains(part)),
                "{text}"
            );
            assert_eq!(all_below(&folder), before);
            // A copy's folder alone would do, if it were what it says it is.
            fs::remove_dir_all(&folder).expect("removed");
            make_copy(&folder, "i1");
            fs::rename(copy.path(), folder.join("i2")).expect("renamed");
            claim(&folder).expect_err("it is another copy's by its launch file");
        }
    }

    #[test]
    fn what_was_never_taken_away_goes_after_a_while_and_nothing_else_does() {
        let instances = TempDir::new().expect("a folder");
        let id = InstanceId::generate();
        let names = [
            format!("{GONE}old"),
            format!(".{id}"),
            format!("{GONE}new"),
            "copy".to_owned(),
            format!(".lead-{id}-0000000000000001"),
            ".config".to_owned(),
        ];
        let all = names.map(|name| instances.path().join(name));
        for folder in &all {
            fs::create_dir_all(folder.join("logs")).expect("made");
        }
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(61);
        for folder in all.iter().filter(|folder| !folder.ends_with(".gone-new")) {
            let folder = File::open(folder).expect("opened");
            folder.set_modified(long_ago).expect("set");
        }
        let contents = look(instances.path()).expect("listed");
        remove_leftovers(&contents.leftovers).expect("removed");
        let there = all.map(|folder| folder.exists());
        assert_eq!(there, [false, false, true, true, true, true]);
        assert_eq!(contents.foreign, [".config"]);
        let folders: Vec<_> = contents.folders.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(folders, ["copy"]);
    }
}
