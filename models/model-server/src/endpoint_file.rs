//! `endpoint.dat`: how a model tells the service that launched it where it answers.
//!
//! Whoever waits for the file calls the URL as soon as it is there. So it is written last, and under another name first: it
//! appears complete or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// A written endpoint file. Dropping it takes the file away.
#[derive(Debug)]
pub struct EndpointFile {
    path: PathBuf,
}

impl EndpointFile {
    /// Removes what an earlier process may have left: its URL leads nowhere, or to somebody else.
    ///
    /// # Errors
    /// When there is something that cannot be removed.
    pub fn clear(path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file: where the model answers, and under which path each of its functions does.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn write(path: &Path, url: &str, functions: &[(&str, &str)]) -> io::Result<EndpointFile> {
        let functions: Map<String, Value> = functions
            .iter()
            .map(|(name, path)| ((*name).to_owned(), (*path).into()))
            .collect();
        let content = format!("{}\n", json!({ "url": url, "functions": functions }));
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::other("the path names no file"))?;
        let aside = path.with_file_name(format!(
            ".{}.{}",
            name.to_string_lossy(),
            std::process::id()
        ));
        let written = File::create(&aside)
            .and_then(|mut file| {
                file.write_all(content.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .and_then(|()| fs::rename(&aside, path));
        match written {
            Ok(()) => Ok(EndpointFile {
                path: path.to_owned(),
            }),
            Err(error) => {
                // The first error is the one to report; there may be nothing to remove.
                let _ = fs::remove_file(&aside);
                Err(error)
            }
        }
    }
}

impl Drop for EndpointFile {
    fn drop(&mut self) {
        if let Err(error) = Self::clear(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "endpoint file not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_complete_and_alone_in_its_folder_and_gone_with_its_owner() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("endpoint.dat");
        EndpointFile::clear(&path).expect("nothing to remove is fine");
        let file = EndpointFile::write(&path, "http://localhost:1", &[("apply", "apply")])
            .expect("must be written");
        let content: Value =
            serde_json::from_slice(&fs::read(&path).expect("must be there")).expect("must be JSON");
        assert_eq!(
            content,
            json!({ "url": "http://localhost:1", "functions": { "apply": "apply" } })
        );
        let names = || fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(names(), 1);
        drop(file);
        assert_eq!(names(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        EndpointFile::write(
            &folder.path().join("no/endpoint.dat"),
            "http://localhost:1",
            &[],
        )
        .expect_err("no folder");
        EndpointFile::write(Path::new("/"), "http://localhost:1", &[]).expect_err("no name");
    }
}
