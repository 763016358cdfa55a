//! `endpoint.dat`: how a model tells the service that launched it where it answers.
//!
//! It may appear only when we answer: whoever waits for it calls the URL at once. So it is written after the lists are loaded
//! and the port is bound, and it comes into being by a rename, complete or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

/// A written endpoint file. Dropping it takes the file away, so that none outlives its process in good order.
#[derive(Debug)]
pub struct EndpointFile {
    path: PathBuf,
}

impl EndpointFile {
    /// Removes what an earlier process may have left at `path`. Its URL leads nowhere, or worse, to somebody else.
    ///
    /// # Errors
    /// When there is something that cannot be removed.
    pub fn clear(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(path: &Path, url: &str) -> io::Result<EndpointFile> {
        let content =
            json!({ "url": url, "functions": { "apply": "apply", "score": "api/score" } });
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("the path names no file"))?;
        let hidden = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        let temporary = path.with_file_name(hidden);
        let written = write_whole(&temporary, &format!("{content}\n"))
            .and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // The first error is the one to report; that there may be nothing to remove is fine.
            let _ = fs::remove_file(&temporary);
        }
        written.map(|()| EndpointFile {
            path: path.to_owned(),
        })
    }
}

impl Drop for EndpointFile {
    fn drop(&mut self) {
        if let Err(error) = Self::clear(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "endpoint file not removed");
        }
    }
}

fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_complete_alone_in_its_folder_and_gone_afterwards() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("endpoint.dat");
        EndpointFile::clear(&path).expect("nothing to remove is fine");
        let file = EndpointFile::write(&path, "http://localhost:1").expect("must be written");
        let content: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).expect("must be there")).expect("must be JSON");
        assert_eq!(content["url"], "http://localhost:1");
        assert_eq!(content["functions"]["apply"], "apply");
        let count = || fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(count(), 1);
        drop(file);
        assert_eq!(count(), 0);
    }
}
