//! The lists: what is known to be good, bad or suspicious, and by whom.
//!
//! A lists folder holds text files, and the name of a file says what it is: `whitelist*.txt`, `blacklist*.txt`,
//! `darklist*.txt`, and one file per feed in `feeds/`. A bad line is set aside and reported with its number, and its neighbours
//! count; a file of which nothing is usable, or which nobody can place, stops the start, because a scorer without its blacklist
//! looks healthy and is wrong.

mod line;
mod list;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use line::{BadLine, Entry};
pub use list::{Hit, List, ListKind, Match, Scope};

use indicators::Indicator;

/// Every list of one folder.
#[derive(Debug)]
pub struct Lists {
    lists: Vec<List>,
}

impl Lists {
    /// Reads a lists folder.
    ///
    /// # Errors
    /// When the folder or a file in it cannot be read, holds a text file that is none of ours, or a list of which no line
    /// is usable. Every message names the file, and the line where there is one.
    pub fn load(folder: &Path) -> Result<Lists, ListsError> {
        let mut files = Vec::new();
        for path in text_files(folder)? {
            let kind = kind_of(&path)?;
            files.push((kind, path));
        }
        let feeds = folder.join("feeds");
        if feeds.is_dir() {
            files.extend(
                text_files(&feeds)?
                    .into_iter()
                    .map(|path| (ListKind::Feed, path)),
            );
        }
        if files.is_empty() {
            return Err(ListsError::NoLists {
                folder: folder.to_owned(),
            });
        }
        let lists = files
            .into_iter()
            .map(|(kind, path)| load_list(kind, &path))
            .collect::<Result<_, _>>()?;
        Ok(Lists { lists })
    }

    /// Lists made elsewhere.
    pub fn new(lists: Vec<List>) -> Lists {
        Lists { lists }
    }

    /// Every list, in the order of kinds and names.
    pub fn iter(&self) -> impl Iterator<Item = &List> {
        self.lists.iter()
    }

    /// How many entries there are in all lists together.
    pub fn entries(&self) -> usize {
        self.lists.iter().map(List::len).sum()
    }

    /// What the lists of the `wanted` kinds say: at most one hit per list, the one that fits closest.
    pub fn find(&self, indicator: &Indicator, wanted: impl Fn(ListKind) -> bool) -> Vec<Hit<'_>> {
        let wanted = self.lists.iter().filter(|list| wanted(list.kind()));
        wanted.filter_map(|list| list.find(indicator)).collect()
    }
}

/// The `*.txt` files right inside `folder`, by name, so that two machines load the same lists in the same order.
fn text_files(folder: &Path) -> Result<Vec<PathBuf>, ListsError> {
    let unreadable = |source| ListsError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for found in fs::read_dir(folder).map_err(unreadable)? {
        let path = found.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn kind_of(path: &Path) -> Result<ListKind, ListsError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kinds = [ListKind::Whitelist, ListKind::Blacklist, ListKind::Darklist];
    kinds
        .into_iter()
        .find(|kind| name.starts_with(kind.name()))
        .ok_or_else(|| ListsError::UnknownList {
            path: path.to_owned(),
        })
}

fn load_list(kind: ListKind, path: &Path) -> Result<List, ListsError> {
    let bytes = fs::read(path).map_err(|source| ListsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let list = List::parse(kind, &name, &bytes);
    for bad in list.set_aside().iter().take(10) {
        tracing::warn!(path = %path.display(), line = bad.line, reason = %bad.reason, "list line set aside");
    }
    match list.set_aside().first() {
        Some(first) if list.is_empty() => Err(ListsError::NothingUsable {
            path: path.to_owned(),
            count: list.set_aside().len(),
            first: first.clone(),
        }),
        _ => Ok(list),
    }
}

/// Why the lists could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// The folder, or `feeds` in it.
    #[error("could not read the lists folder `{}`", folder.display())]
    Folder {
        /// Where it was looked for.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder without a single list, most likely the wrong one.
    #[error(
        "the folder `{}` holds no list; expected are whitelist*.txt, blacklist*.txt, darklist*.txt and feeds/*.txt",
        folder.display()
    )]
    NoLists {
        /// The folder.
        folder: PathBuf,
    },
    /// A text file whose name does not say what it lists. A misspelt `blaklist.txt` must not be passed over in silence.
    #[error(
        "`{}` is no list: its name must begin with whitelist, blacklist or darklist, or it belongs into the folder feeds",
        path.display()
    )]
    UnknownList {
        /// The file.
        path: PathBuf,
    },
    /// One file.
    #[error("could not read the list `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not one good line, but bad ones.
    #[error("no usable line in the list `{}` ({count} set aside); line {}: {}", path.display(), first.line, first.reason)]
    NothingUsable {
        /// The file.
        path: PathBuf,
        /// How many lines it tried.
        count: usize,
        /// The first of them.
        first: BadLine,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("feeds")).expect("a folder for feeds");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a list file");
        }
        folder
    }

    fn failure(files: &[(&str, &str)]) -> String {
        let error = Lists::load(folder(files).path()).expect_err("must not load");
        error.to_string()
    }

    #[test]
    fn a_folder_of_lists_is_loaded_by_file_names() {
        let folder = folder(&[
            ("whitelist.txt", "good.test"),
            ("whitelist-office.txt", "office.test"),
            ("blacklist.txt", "# nothing yet\n"),
            ("feeds/phish.txt", "bad.test"),
            ("README.md", "not a list"),
        ]);
        let lists = Lists::load(folder.path()).expect("must load");
        let names: Vec<_> = lists
            .iter()
            .map(|list| (list.kind().name(), list.name()))
            .collect();
        let expected = [
            ("blacklist", "blacklist"),
            ("whitelist", "whitelist-office"),
            ("whitelist", "whitelist"),
            ("feed", "phish"),
        ];
        assert_eq!(names, expected);
        assert_eq!(lists.entries(), 3);
    }

    #[test]
    fn a_file_with_nothing_usable_stops_the_start_and_names_file_and_line() {
        let message = failure(&[("blacklist.txt", "# header\n\n<html>\n")]);
        assert!(
            message.contains("blacklist.txt") && message.contains("line 3"),
            "{message}"
        );
    }

    #[test]
    fn a_misspelt_file_name_stops_the_start() {
        let message = failure(&[("blaklist.txt", "bad.test")]);
        assert!(message.contains("blaklist.txt"), "{message}");
    }

    #[test]
    fn a_folder_without_lists_or_no_folder_at_all_stops_the_start() {
        assert!(failure(&[]).contains("holds no list"));
        assert!(Lists::load(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn a_bad_line_is_set_aside_and_its_neighbours_count() {
        let folder = folder(&[("blacklist.txt", "bad.test\nnot an entry\n192.0.2.1\n")]);
        let lists = Lists::load(folder.path()).expect("must load");
        let list = lists.iter().next().expect("one list");
        assert_eq!(list.len(), 2);
        assert_eq!(list.set_aside()[0].line, 2);
    }
}
