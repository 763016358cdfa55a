//! The few things a store asks of a file system, done on the local disk or in HDFS.
//!
//! This module touches the disk and the network; everything above decides. Every answer has a deadline, so a NameNode that
//! does not answer is an error that names it, and never a hang.

mod hdfs;
mod local;

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hdfs_native::HdfsError;

use crate::hadoop::Hadoop;
use crate::location::Location;
use crate::store::StoreError;
use crate::tree::Tree;

/// How long any one answer may take: a listing, a rename, one chunk of a file. A DataNode that dies while it writes costs
/// HDFS a good minute before another takes over, so this is longer than that.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How much of a file is in memory at a time.
const CHUNK: usize = 1024 * 1024;

/// What went wrong in a file system, doing what, and where.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} `{location}`")]
pub struct FileSystemError {
    doing: &'static str,
    location: Location,
    #[source]
    source: Cause,
}

/// Why a file system did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The local disk or its permissions.
    #[error(transparent)]
    Local(io::Error),
    /// HDFS said no, or could not be reached.
    #[error(transparent)]
    Hdfs(Box<HdfsError>),
    /// Nobody answered.
    #[error("there was no answer within {} s", .0.as_secs())]
    Silent(Duration),
}

impl FileSystemError {
    fn new(doing: &'static str, location: &Location, source: Cause) -> Self {
        Self {
            doing,
            location: location.clone(),
            source,
        }
    }

    /// Why.
    pub fn cause(&self) -> &Cause {
        &self.source
    }

    /// Whether the file system is out of reach, and may be back any moment; not when it refuses, or lacks what was asked for.
    pub fn is_away(&self) -> bool {
        match &self.source {
            Cause::Local(error) => matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::StaleNetworkFileHandle
            ),
            Cause::Hdfs(error) => hdfs::is_away(error),
            Cause::Silent(_) => true,
        }
    }

    /// Whether writing the same file again at the pace [`Pace::BlockByBlock`] will help.
    pub(crate) fn was_too_fast(&self) -> bool {
        matches!(&self.source, Cause::Hdfs(error) if hdfs::is_not_replicated_yet(error))
    }

    fn is_not_found(&self) -> bool {
        match &self.source {
            Cause::Local(error) => error.kind() == io::ErrorKind::NotFound,
            Cause::Hdfs(error) => matches!(**error, HdfsError::FileNotFound(_)),
            Cause::Silent(_) => false,
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self::Local(error)
    }
}

impl From<HdfsError> for Cause {
    fn from(error: HdfsError) -> Self {
        Self::Hdfs(Box::new(error))
    }
}

/// Waits for one answer, and gives every error its place. The larger futures of hdfs-native (30 kB) come boxed: they would
/// make every future around them, up to the caller's task, as large.
async fn answer<T, E: Into<Cause>>(
    doing: &'static str,
    location: &Location,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, FileSystemError> {
    let result = tokio::time::timeout(ANSWER_WITHIN, call).await;
    let result = result
        .map_err(|_| Cause::Silent(ANSWER_WITHIN))
        .and_then(|result| result.map_err(Into::into));
    result.map_err(|cause| FileSystemError::new(doing, location, cause))
}

/// One file system: the local one, or one HDFS.
#[derive(Clone, Debug)]
pub(crate) enum FileSystem {
    Local,
    Hdfs(hdfs_native::Client),
}

/// How to write a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it goes.
    Straight,
    /// In HDFS, waiting after each block until the NameNode knows of it.
    BlockByBlock,
}

/// One thing in a folder.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) modified: SystemTime,
}

impl FileSystem {
    pub(crate) fn open(location: &Location, hadoop: &Hadoop) -> Result<Self, FileSystemError> {
        match location.authority() {
            None => Ok(Self::Local),
            Some(authority) => hdfs::connect(authority, hadoop)
                .map(Self::Hdfs)
                .map_err(|error| FileSystemError::new("set up the way to", location, error.into())),
        }
    }

    pub(crate) async fn exists(&self, location: &Location) -> Result<bool, FileSystemError> {
        let found = match self {
            Self::Local => answer(
                "look for",
                location,
                tokio::fs::symlink_metadata(location.path()),
            )
            .await
            .map(drop),
            Self::Hdfs(client) => {
                answer("look for", location, client.get_file_info(location.path()))
                    .await
                    .map(drop)
            }
        };
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Everything below a folder; an error if there are more files than that.
    pub(crate) async fn walk(
        &self,
        folder: &Location,
        max_files: usize,
    ) -> Result<Tree, StoreError> {
        match self {
            Self::Local => local::walk(folder, max_files).await,
            Self::Hdfs(client) => hdfs::walk(client, folder, max_files).await,
        }
    }

    /// What is directly in a folder.
    pub(crate) async fn children(&self, folder: &Location) -> Result<Vec<Child>, FileSystemError> {
        match self {
            Self::Local => answer("list", folder, local::children(folder)).await,
            Self::Hdfs(client) => hdfs::children(client, folder).await,
        }
    }

    /// Makes a folder and all folders above it.
    pub(crate) async fn make_folders(&self, folder: &Location) -> Result<(), FileSystemError> {
        match self {
            Self::Local => {
                answer(
                    "make the folder",
                    folder,
                    tokio::fs::create_dir_all(folder.path()),
                )
                .await
            }
            Self::Hdfs(client) => {
                answer(
                    "make the folder",
                    folder,
                    client.mkdirs(folder.path(), 0o755, true),
                )
                .await
            }
        }
    }

    /// Gives a folder its final name, in one step, unless something has that name already.
    pub(crate) async fn rename(
        &self,
        from: &Location,
        to: &Location,
    ) -> Result<(), FileSystemError> {
        match self {
            Self::Local => {
                answer(
                    "rename to its final name",
                    to,
                    tokio::fs::rename(from.path(), to.path()),
                )
                .await
            }
            Self::Hdfs(client) => {
                answer(
                    "rename to its final name",
                    to,
                    client.rename(from.path(), to.path(), false),
                )
                .await
            }
        }
    }

    /// Removes a file, or a folder with everything in it. Says whether anything was there.
    pub(crate) async fn remove(&self, location: &Location) -> Result<bool, FileSystemError> {
        match self {
            Self::Local => match answer("remove", location, local::remove(location)).await {
                Err(error) if error.is_not_found() => Ok(false),
                done => done.map(|()| true),
            },
            Self::Hdfs(client) => {
                answer("remove", location, client.delete(location.path(), true)).await
            }
        }
    }

    /// Opens a file for reading.
    pub(crate) async fn read(&self, file: &Location) -> Result<Reader, FileSystemError> {
        let source = match self {
            Self::Local => {
                Source::Local(answer("read", file, tokio::fs::File::open(file.path())).await?)
            }
            Self::Hdfs(client) => {
                let reader = answer("read", file, Box::pin(client.read(file.path()))).await?;
                Source::Hdfs(Box::pin(reader.read_range_stream(0, reader.file_length())))
            }
        };
        Ok(Reader {
            file: file.clone(),
            source,
        })
    }

    /// Creates a new file. It is complete only after [`Writer::close`].
    pub(crate) async fn create(
        &self,
        file: &Location,
        executable: bool,
        pace: Pace,
    ) -> Result<Writer, FileSystemError> {
        let sink = match self {
            Self::Local => Sink::Local(
                answer(
                    "create",
                    file,
                    local::create(file.path().as_ref(), executable),
                )
                .await?,
            ),
            Self::Hdfs(client) => Sink::Hdfs(Box::new(
                answer(
                    "create",
                    file,
                    Box::pin(hdfs::HdfsFile::create(client, file, executable, pace)),
                )
                .await?,
            )),
        };
        Ok(Writer {
            file: file.clone(),
            sink,
        })
    }
}

/// A file that is being read.
pub(crate) struct Reader {
    file: Location,
    source: Source,
}

enum Source {
    Local(tokio::fs::File),
    Hdfs(hdfs::Chunks),
}

impl Reader {
    /// The next part of the file, or nothing at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FileSystemError> {
        match &mut self.source {
            Source::Local(file) => answer("read", &self.file, local::next(file)).await,
            Source::Hdfs(chunks) => answer("read", &self.file, hdfs::next(chunks)).await,
        }
    }
}

/// A file that is being written.
pub(crate) struct Writer {
    file: Location,
    sink: Sink,
}

enum Sink {
    Local(tokio::fs::File),
    Hdfs(Box<hdfs::HdfsFile>),
}

impl Writer {
    pub(crate) async fn write(&mut self, chunk: Bytes) -> Result<(), FileSystemError> {
        match &mut self.sink {
            Sink::Local(file) => answer("write", &self.file, local::write(file, &chunk)).await,
            Sink::Hdfs(writer) => answer("write", &self.file, writer.write(chunk)).await,
        }
    }

    pub(crate) async fn close(mut self) -> Result<(), FileSystemError> {
        match &mut self.sink {
            Sink::Local(file) => answer("write", &self.file, local::close(file)).await,
            Sink::Hdfs(writer) => answer("write", &self.file, writer.close()).await,
        }
    }
}

/// The local disk again, for the machine's own side of a copy.
pub(crate) use local::{create as create_local, next as next_local};
