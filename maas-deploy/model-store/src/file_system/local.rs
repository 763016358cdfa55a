//! The local disk.

use std::io;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHUNK, Child};
use crate::location::Location;
use crate::store::StoreError;
use crate::tree::Tree;

pub(super) async fn walk(folder: &Location, max_files: usize) -> Result<Tree, StoreError> {
    let path = folder.path().to_owned();
    // Walking a tree is hundreds of short system calls; one hop to a thread that may block serves them all.
    let walk =
        tokio::task::spawn_blocking(move || Tree::of_local_folder(Path::new(&path), max_files));
    Ok(walk.await.expect("walking a folder does not panic")?)
}

pub(super) async fn children(folder: &Location) -> io::Result<Vec<Child>> {
    let mut children = Vec::new();
    let mut entries = fs::read_dir(folder.path()).await?;
    while let Some(entry) = entries.next_entry().await? {
        let modified = match entry.metadata().await {
            Ok(metadata) => metadata.modified()?,
            // It went away between the two calls.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Ok(name) = entry.file_name().into_string() {
            children.push(Child { name, modified });
        }
    }
    Ok(children)
}

pub(super) async fn remove(location: &Location) -> io::Result<()> {
    if fs::symlink_metadata(location.path()).await?.is_dir() {
        fs::remove_dir_all(location.path()).await
    } else {
        fs::remove_file(location.path()).await
    }
}

/// A new file, which must not exist yet.
pub(crate) async fn create(path: &Path, executable: bool) -> io::Result<File> {
    let mode = if executable { 0o755 } else { 0o644 };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .await
}

/// The next part of a file, or nothing at its end.
pub(crate) async fn next(file: &mut File) -> io::Result<Option<Bytes>> {
    let mut chunk = BytesMut::with_capacity(CHUNK);
    let count = file.read_buf(&mut chunk).await?;
    Ok((count > 0).then(|| chunk.freeze()))
}

pub(super) async fn write(file: &mut File, chunk: &[u8]) -> io::Result<()> {
    file.write_all(chunk).await
}

pub(super) async fn close(file: &mut File) -> io::Result<()> {
    // Without this an error of the last write would be lost: tokio writes behind the caller's back.
    file.flush().await
}
