//! HDFS, by the crate hdfs-native.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use hdfs_native::file::FileWriter;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};

use super::{Child, FileSystemError, Pace, answer};
use crate::hadoop::Hadoop;
use crate::location::Location;
use crate::store::StoreError;
use crate::tree::{Tree, TreeFile};

pub(super) type Chunks = BoxStream<'static, Result<Bytes, HdfsError>>;

/// Where a NameNode listens if nobody says otherwise.
const DEFAULT_PORT: u16 = 8020;

/// How often to try again, with growing pauses, when there is only one NameNode: a few seconds in all. Hadoop's own fifteen
/// times are meant for two that take turns; with one they only keep a person waiting for minutes.
const TRIES_OF_A_SINGLE_NAMENODE: &str = "2";

/// A client; nothing is connected before it is used.
pub(super) fn connect(authority: &str, hadoop: &Hadoop) -> Result<Client, HdfsError> {
    let builder = |authority: &str| {
        let builder = ClientBuilder::new().with_url(format!("hdfs://{authority}"));
        match hadoop.conf_dir().and_then(|folder| folder.to_str()) {
            Some(folder) => builder.with_config_dir(folder),
            None => builder,
        }
    };
    let single = |authority: &str| {
        builder(authority)
            .with_config([(
                "dfs.client.failover.max.attempts",
                TRIES_OF_A_SINGLE_NAMENODE,
            )])
            .build()
    };
    // An address without a port is the name of a configured name service, or else one NameNode on the usual port.
    match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => single(authority),
        _ => match builder(authority).build() {
            Err(HdfsError::InvalidArgument(_)) => single(&format!("{authority}:{DEFAULT_PORT}")),
            result => result,
        },
    }
}

pub(super) async fn walk(
    client: &Client,
    folder: &Location,
    max_files: usize,
) -> Result<Tree, StoreError> {
    let place = folder.to_string();
    let root = answer("list", folder, client.get_file_info(folder.path()))
        .await
        .map_err(|error| {
            if error.is_not_found() {
                StoreError::NotThere {
                    location: folder.clone(),
                }
            } else {
                error.into()
            }
        })?;
    if !root.isdir {
        return Err(crate::BundleError::NotAFolder { folder: place }.into());
    }
    let mut tree = Tree::default();
    let mut folders = vec![String::new()];
    while let Some(sub_folder) = folders.pop() {
        let location = if sub_folder.is_empty() {
            folder.clone()
        } else {
            folder.join(&sub_folder)
        };
        let listing = client.list_status_iter(location.path(), false);
        let mut is_empty = true;
        while let Some(status) = answer("list", &location, async {
            listing.next().await.transpose()
        })
        .await?
        {
            is_empty = false;
            let name = status.path.rsplit('/').next().unwrap_or_default();
            let path = if sub_folder.is_empty() {
                name.to_owned()
            } else {
                format!("{sub_folder}/{name}")
            };
            if status.isdir {
                folders.push(path);
            } else {
                let file = TreeFile {
                    path,
                    size: status.length as u64,
                    executable: status.permission & 0o111 != 0,
                };
                tree.add(file, max_files, &place)?;
            }
        }
        if is_empty && !sub_folder.is_empty() {
            tree.empty_folders.push(sub_folder);
        }
    }
    tree.sort();
    Ok(tree)
}

pub(super) async fn children(
    client: &Client,
    folder: &Location,
) -> Result<Vec<Child>, FileSystemError> {
    let found = answer("list", folder, client.list_status(folder.path(), false)).await?;
    Ok(found
        .into_iter()
        .map(|status| Child {
            name: status
                .path
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            modified: SystemTime::UNIX_EPOCH + Duration::from_millis(status.modification_time),
        })
        .collect())
}

/// A file that is being written.
///
/// hdfs-native 0.14.8 asks for a file's next block at once, and gives the file up when the NameNode has not heard yet from
/// the DataNode that an earlier block is complete ("Not replicated yet"; Java's client waits and asks again). It does wait
/// when it closes a file. So at the pace [`Pace::BlockByBlock`] each block ends with a close, and the next one begins with
/// an append. That costs half a second for each block, so it is for files that met the trouble only.
pub(super) struct HdfsFile {
    client: Client,
    path: String,
    writer: FileWriter,
    /// After how many bytes to close; never, unless it goes block by block.
    block_size: usize,
    /// How many bytes have been written since.
    written: usize,
}

impl HdfsFile {
    pub(super) async fn create(
        client: &Client,
        file: &Location,
        executable: bool,
        pace: Pace,
    ) -> Result<Self, HdfsError> {
        let options = WriteOptions::default().permission(if executable { 0o755 } else { 0o644 });
        let path = file.path().to_owned();
        let writer = client.create(&path, options).await?;
        let block_size = match pace {
            Pace::Straight => None,
            Pace::BlockByBlock => client.get_file_info(&path).await?.blocksize,
        };
        let block_size = block_size
            .and_then(|size| usize::try_from(size).ok())
            .filter(|size| *size > 0);
        Ok(Self {
            client: client.clone(),
            path,
            writer,
            block_size: block_size.unwrap_or(usize::MAX),
            written: 0,
        })
    }

    pub(super) async fn write(&mut self, mut chunk: Bytes) -> Result<(), HdfsError> {
        while !chunk.is_empty() {
            if self.written == self.block_size {
                self.close().await?;
                self.writer = self.client.append(&self.path).await?;
                self.written = 0;
            }
            let part = chunk.split_to(chunk.len().min(self.block_size - self.written));
            self.written += part.len();
            Box::pin(self.writer.write_bytes(part)).await?;
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), HdfsError> {
        Box::pin(self.writer.close()).await
    }
}

/// Whether this is the trouble that [`Pace::BlockByBlock`] is for.
pub(super) fn is_not_replicated_yet(error: &HdfsError) -> bool {
    matches!(error, HdfsError::RPCError(class, _) if class.ends_with(".NotReplicatedYetException"))
}

/// Whether no namenode could be reached that acts, or no data node that has what was asked for.
pub(super) fn is_away(error: &HdfsError) -> bool {
    const PASSING: [&str; 3] = [
        ".StandbyException",
        ".SafeModeException",
        ".RetriableException",
    ];
    if let HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) = error {
        return PASSING.iter().any(|passing| class.ends_with(passing));
    }
    matches!(
        error,
        HdfsError::IOError(_) | HdfsError::DataTransferError(_) | HdfsError::BlocksNotFound(_)
    )
}

pub(super) async fn next(chunks: &mut Chunks) -> Result<Option<Bytes>, HdfsError> {
    chunks.next().await.transpose()
}
