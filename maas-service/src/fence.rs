//! The fence around a folder of copies: only the daemon that came to lead last starts, stops and kills.
//!
//! ZooKeeper refuses what a daemon writes that was overtaken while it slept. It can't keep it from starting a process when it
//! wakes; the folder of copies can, which all who may lead share. A daemon that comes to lead makes a folder in it, named by
//! the transaction by which it does, and takes those of all before it away. Copies' folders are put together there and
//! then moved to their place: who has been overtaken meanwhile has nothing to move, and where there is no folder no runner
//! is started. Before a daemon stops or kills a runner it looks whether its own folder is still there.
//!
//! On a full disk no folder can be made. Then nothing is started, but stopping goes on: a full disk is often mended by just
//! that, and a model that is to go must not run on because of it. All that is looked for then is the folder of a later
//! daemon. Should that one have come on the full disk, too, a daemon that was overtaken may stop copies in the pass in which
//! it wakes; the later one starts them again as soon as there is room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use maas_client::InstanceId;

use crate::crash::{Point, crash_point};
use crate::instances;

/// What the name of such a folder begins with.
const PREFIX: &str = ".lead-";

/// Whether this daemon is the last that came to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is.
    Ours,
    /// Another one has come to lead since.
    Overtaken,
}

/// A daemon's part of the folder of copies, while it leads.
#[derive(Debug)]
pub struct Fence {
    folder: PathBuf,
    transaction: i64,
}

/// Whether this is the name of a daemon's part of the folder.
pub(crate) fn is_fence(name: &str) -> bool {
    let lead = name.strip_prefix(PREFIX).unwrap_or_default();
    let transaction = lead.rsplit_once('-').map_or("", |(_, number)| number);
    transaction.len() == 16 && transaction.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Fence {
    /// Comes to lead below `instances` by a transaction in the ZooKeeper tree `tree`. `None` when another daemon has come to
    /// lead after us.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub fn raise(instances: &Path, tree: &str, transaction: i64) -> io::Result<Option<Self>> {
        let folder = instances.join(format!("{PREFIX}{tree}-{transaction:016x}"));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return match later(instances, tree, transaction)? {
                    Some(_) => Ok(None),
                    None => Err(error),
                };
            }
            _ => {}
        }
        let fence = Self {
            folder,
            transaction,
        };
        crash_point(Point::LeadAfterMark);
        // In this order: of two that raise theirs at once, at least one sees the other's.
        for (other, path) in all(instances, tree)? {
            if other > transaction {
                fence.lower()?;
                return Ok(None);
            }
            if other < transaction {
                let earlier = Self {
                    folder: path,
                    transaction: other,
                };
                earlier.lower()?;
            }
        }
        Ok(Some(fence))
    }

    /// Whether it is that of a lead.
    pub(crate) fn is_of(&self, transaction: i64) -> bool {
        self.transaction == transaction
    }

    /// Whether it stands.
    #[must_use]
    pub fn hold(&self) -> Hold {
        if self.folder.is_dir() {
            Hold::Ours
        } else {
            Hold::Overtaken
        }
    }

    /// Where the folders of copies are put together.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes it away, with whatever its daemon was putting together.
    fn lower(&self) -> io::Result<()> {
        // It goes in one step, so that nothing is moved out of it any more; whatever is still put into it stays behind.
        let gone = self
            .folder
            .with_file_name(instances::leftover(InstanceId::generate().as_str()));
        match fs::rename(&self.folder, &gone).and_then(|()| fs::remove_dir_all(&gone)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The part of a daemon that came to lead after `transaction`, if there is one.
///
/// # Errors
/// When the folder can't be read.
pub fn later(instances: &Path, tree: &str, transaction: i64) -> io::Result<Option<PathBuf>> {
    let all = all(instances, tree)?.into_iter();
    let mut later = all.filter(|(other, _)| *other > transaction);
    Ok(later.next().map(|(_, path)| path))
}

/// The parts of all daemons of a ZooKeeper tree, by their transactions.
fn all(instances: &Path, tree: &str) -> io::Result<Vec<(i64, PathBuf)>> {
    let prefix = format!("{PREFIX}{tree}-");
    let mut found = Vec::new();
    for entry in fs::read_dir(instances)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if let Some(number) = number.and_then(|number| i64::from_str_radix(number, 16).ok()) {
            found.push((number, entry.path()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use test_support::TempDir;

    use super::*;

    #[test]
    fn the_last_that_came_to_lead_holds_the_folder_and_nobody_takes_it_back() {
        let instances = TempDir::new().expect("a folder");
        let raise = |tree, transaction| Fence::raise(instances.path(), tree, transaction).unwrap();
        let first = raise("a", 0x10).expect("nobody else is there");
        fs::create_dir(first.folder().join("half a copy")).unwrap();
        let other_tree = raise("b", 0x5).expect("another tree's");
        assert_eq!(first.hold(), Hold::Ours);
        let second = raise("a", 0x20).expect("it is later");
        assert_eq!(first.hold(), Hold::Overtaken);
        assert_eq!(second.hold(), Hold::Ours);
        let moved = fs::rename(
            first.folder().join("half a copy"),
            instances.path().join("copy"),
        );
        assert_eq!(moved.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(raise("a", 0x10).is_none(), "it was overtaken");
        assert_eq!((second.hold(), other_tree.hold()), (Hold::Ours, Hold::Ours));
        let left: Vec<_> = fs::read_dir(instances.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
        // The same lead may ask again.
        assert!(raise("a", 0x20).is_some());
    }

    #[test]
    fn of_many_that_raise_theirs_at_once_only_the_last_is_left() {
        let instances = TempDir::new().expect("a folder");
        let path = instances.path();
        std::thread::scope(|scope| {
            for transaction in 1..=8 {
                scope.spawn(move || Fence::raise(path, "a", transaction).unwrap());
            }
        });
        let left = all(path, "a").unwrap();
        let transactions: Vec<i64> = left.iter().map(|(transaction, _)| *transaction).collect();
        assert_eq!(transactions, [8]);
    }
}
