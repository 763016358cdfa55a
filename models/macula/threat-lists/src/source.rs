//! The files of a place that are lists.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use futures_util::StreamExt;
use jiff::Timestamp;
use object_place::Place;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectMeta, ObjectStoreExt};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::checksums::Expected;
use crate::format::Format;
use crate::line::BadLine;
use crate::list::ListKind;

/// A place with list files.
#[derive(Debug)]
pub(crate) struct Source(Place);

/// One file, as its place shows it before it is read.
#[derive(Clone, Debug)]
pub(crate) struct ListFile {
    pub(crate) kind: ListKind,
    /// The file's name without the extension.
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) stamp: Stamp,
    location: Path,
}

/// What changes when a file does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    size: u64,
    modified: i64,
    tag: Option<String>,
    /// What is asked of it: if that changes, it is looked at anew.
    pub(crate) expected: Expected,
}

impl Source {
    pub(crate) fn open(place: &str) -> Result<Source, ListsError> {
        let unusable = |source| ListsError::Store {
            place: place.to_owned(),
            source,
        };
        Place::open(place).map(Source).map_err(unusable)
    }

    /// Whether looking for changes costs nothing.
    pub(crate) fn is_local(&self) -> bool {
        self.0.is_local
    }

    /// The list files there are: the absolute ones by name, then the feeds by name. What is called like no list is in the
    /// second answer.
    pub(crate) async fn files(&self) -> Result<(Vec<ListFile>, Vec<ListsError>), ListsError> {
        let mut files = Vec::new();
        let mut strangers = Vec::new();
        for (folder, kind) in [
            (self.0.prefix.clone(), None),
            (self.0.prefix.clone().join("feeds"), Some(ListKind::Feed)),
        ] {
            let listed = match self.0.store.list_with_delimiter(Some(&folder)).await {
                Ok(listed) => listed.objects,
                // Not everybody has feeds.
                Err(object_store::Error::NotFound { .. }) if kind.is_some() => Vec::new(),
                Err(source) => {
                    return Err(ListsError::Store {
                        place: self.0.name.clone(),
                        source,
                    });
                }
            };
            // To S3 a folder that somebody made is an object of no bytes, in the folder itself.
            let mut listed = listed;
            listed.retain(|object| object.location != folder);
            listed.sort_by(|a, b| a.location.cmp(&b.location));
            for object in listed {
                let name = object.location.filename().unwrap_or_default();
                let format = object.location.extension().and_then(Format::of_extension);
                let path = || self.path(&object.location);
                match (kind.or_else(|| kind_of(name)), format) {
                    (Some(kind), Some(format)) => {
                        files.push(ListFile::new(kind, format, &object));
                    }
                    (None, Some(_)) => strangers.push(ListsError::UnknownList { path: path() }),
                    (Some(_), None) if !is_beside_lists(name) => {
                        strangers.push(ListsError::UnknownEnding { path: path() });
                    }
                    // A README, for one, is no list and nobody's mistake.
                    (_, None) => {}
                }
            }
        }
        Ok((files, strangers))
    }

    /// Where a file is, for people.
    pub(crate) fn path_of(&self, file: &ListFile) -> String {
        self.path(&file.location)
    }

    fn path(&self, location: &Path) -> String {
        format!("{}/{}", self.0.name, self.below(location))
    }

    /// The name of a file from the place on, like `feeds/phish.txt`.
    pub(crate) fn name_of(&self, file: &ListFile) -> String {
        self.below(&file.location)
    }

    fn below(&self, location: &Path) -> String {
        let below: Vec<_> = location
            .prefix_match(&self.0.prefix)
            .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect())
            .unwrap_or_default();
        below.join("/")
    }

    /// A file's content, from its beginning. What is not of this machine is copied into `folder` first.
    pub(crate) async fn fetch(
        &self,
        file: &ListFile,
        folder: &std::path::Path,
    ) -> io::Result<File> {
        let found = self
            .0
            .store
            .get(&file.location)
            .await
            .map_err(io::Error::other)?;
        match found.payload {
            GetResultPayload::File(content, _) => Ok(content),
            GetResultPayload::Stream(mut pieces) => {
                let mut copy = tokio::fs::File::from_std(tempfile::tempfile_in(folder)?);
                while let Some(piece) = pieces.next().await {
                    copy.write_all(&piece.map_err(io::Error::other)?).await?;
                }
                copy.rewind().await?;
                Ok(copy.into_std().await)
            }
        }
    }
}

impl ListFile {
    fn new(kind: ListKind, format: Format, object: &ObjectMeta) -> ListFile {
        let name = object.location.filename().unwrap_or_default();
        ListFile {
            kind,
            name: name
                .rsplit_once('.')
                .map_or(name, |(stem, _)| stem)
                .to_owned(),
            format,
            stamp: Stamp {
                size: object.size,
                modified: object.last_modified.timestamp_micros(),
                tag: object.e_tag.clone(),
                expected: Expected::Anything,
            },
            location: object.location.clone(),
        }
    }

    /// What tells it from the other files of its place.
    pub(crate) fn id(&self) -> &str {
        self.location.as_ref()
    }

    /// When it was written.
    pub(crate) fn written(&self) -> Timestamp {
        Timestamp::from_microsecond(self.stamp.modified).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// How many bytes it has.
    pub(crate) fn size(&self) -> u64 {
        self.stamp.size
    }
}

impl ListsError {
    /// Whether it may go well the next time although nothing has changed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            ListsError::Store { .. } | ListsError::Checksums { .. } => true,
            ListsError::Read { source, .. } => source.kind() != io::ErrorKind::InvalidData,
            ListsError::NoLists { .. }
            | ListsError::UnknownList { .. }
            | ListsError::UnknownEnding { .. }
            | ListsError::NothingUsable { .. }
            | ListsError::Checksum { .. }
            | ListsError::NotVouched { .. } => false,
        }
    }
}

/// Whether a file is one of those that lie beside lists: that tells of them, that is being written, or that an editor left.
fn is_beside_lists(name: &str) -> bool {
    const ENDINGS: [&str; 23] = [
        "md",
        "sha1",
        "sha256",
        "sha512",
        "md5",
        "etag",
        "asc",
        "sig",
        "new",
        "tmp",
        "part",
        "partial",
        "filepart",
        "crdownload",
        "download",
        "lock",
        "_copying_",
        "bak",
        "old",
        "orig",
        "swp",
        "swo",
        "swx",
    ];
    const COMPRESSED: [&str; 5] = ["gz", "bz2", "xz", "zst", "zip"];
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map(|(_, ending)| ending);
    // A list that is on its way to its name has another behind it: `blacklist.txt.aB3xQ9`.
    let is_on_its_way = [".txt.", ".csv.", ".json."]
        .iter()
        .any(|inside| lower.contains(inside))
        && ending.is_some_and(|ending| !COMPRESSED.contains(&ending));
    name.starts_with(['.', '_', '#'])
        || name.ends_with('~')
        || is_on_its_way
        || ["readme", "license", "copying", "sha256sums", "index.htm"]
            .iter()
            .any(|word| lower.starts_with(word))
        || ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

fn kind_of(name: &str) -> Option<ListKind> {
    let kinds = [ListKind::Whitelist, ListKind::Blacklist, ListKind::Darklist];
    kinds.into_iter().find(|kind| name.starts_with(kind.name()))
}

/// Why lists could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ListsError {
    /// The place as a whole.
    #[error("could not look for lists in `{place}`")]
    Store {
        /// Where they were looked for.
        place: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A place without a single list, most likely the wrong one.
    #[error(
        "`{place}` holds no list; expected are whitelist*, blacklist* and darklist* and feeds/*, each as .txt, .csv or .json"
    )]
    NoLists {
        /// The place.
        place: String,
    },
    /// A file whose name does not say what it lists. A misspelt `blaklist.txt` must not be passed over in silence.
    #[error(
        "`{path}` is no list: its name must begin with whitelist, blacklist or darklist, or it belongs into the folder feeds"
    )]
    UnknownList {
        /// The file.
        path: String,
    },
    /// A file that is called like a list and can't be read as one, as it ends.
    #[error(
        "`{path}` is no list: its name must end with .txt, .csv or .json, in small letters and not compressed"
    )]
    UnknownEnding {
        /// The file.
        path: String,
    },
    /// The file with the checksums.
    #[error("could not read the checksums of lists in `{path}`")]
    Checksums {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A list that is not what somebody vouches for.
    #[error("the list `{path}` has the SHA-256 digest {found}, and {expected} is expected")]
    Checksum {
        /// The file.
        path: String,
        /// The digest that was told.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A list that decides alone and that nobody vouches for.
    #[error(
        "the checksums of lists do not name `{path}`; a whitelist or blacklist is not taken without"
    )]
    NotVouched {
        /// The file.
        path: String,
    },
    /// One file.
    #[error("could not read the list `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Not one good line, but bad ones.
    #[error("no usable line in the list `{path}` ({count} set aside); line {}: {}", first.line, first.reason)]
    NothingUsable {
        /// The file.
        path: String,
        /// How many lines it tried.
        count: usize,
        /// The first of them.
        first: BadLine,
    },
}
