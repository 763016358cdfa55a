//! What a folder holds: its files with their sizes, and its empty folders.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::io::Errno;

use crate::bundle::BundleError;

/// Everything below a folder, sorted by path. Paths are relative and use `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) files: Vec<TreeFile>,
    /// Folders that no file's path implies.
    pub(crate) empty_folders: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeFile {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
}

impl Tree {
    /// Walks a local folder. Links to files count as files; whatever is neither file nor folder is refused, since it
    /// cannot be copied. Blocks while it reads.
    pub(crate) fn of_local_folder(root: &Path, max_files: usize) -> Result<Self, BundleError> {
        let place = root.display().to_string();
        let at_root = |source: io::Error| {
            let folder = place.clone();
            if source.kind() == io::ErrorKind::NotFound {
                BundleError::NoFolder { folder }
            } else if source.kind() == io::ErrorKind::NotADirectory {
                BundleError::NotAFolder { folder }
            } else {
                BundleError::Read {
                    path: folder,
                    source,
                }
            }
        };
        if !fs::metadata(root).map_err(at_root)?.is_dir() {
            return Err(BundleError::NotAFolder { folder: place });
        }
        let mut tree = Self::default();
        let mut folders = VecDeque::from([String::new()]);
        while let Some(folder) = folders.pop_front() {
            let path = root.join(&folder);
            let failed = |source| BundleError::Read {
                path: path.display().to_string(),
                source,
            };
            let mut is_empty = true;
            for entry in fs::read_dir(&path).map_err(failed)? {
                is_empty = false;
                let entry = entry.map_err(failed)?;
                let shown = entry.path().display().to_string();
                let name = entry
                    .file_name()
                    .into_string()
                    .map_err(|_| BundleError::NotUtf8 {
                        path: shown.clone(),
                    })?;
                let name = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                if entry.file_type().map_err(failed)?.is_dir() {
                    folders.push_back(name);
                    continue;
                }
                let metadata = regular_file(&entry.path(), shown)?;
                let executable = metadata.permissions().mode() & 0o111 != 0;
                tree.add(
                    TreeFile {
                        path: name,
                        size: metadata.len(),
                        executable,
                    },
                    max_files,
                    &place,
                )?;
            }
            if is_empty && !folder.is_empty() {
                tree.empty_folders.push(folder);
            }
        }
        tree.sort();
        Ok(tree)
    }

    pub(crate) fn add(
        &mut self,
        file: TreeFile,
        max_files: usize,
        place: &str,
    ) -> Result<(), BundleError> {
        if self.files.len() >= max_files {
            return Err(BundleError::TooManyFiles {
                folder: place.to_owned(),
                limit: max_files,
            });
        }
        self.files.push(file);
        Ok(())
    }

    pub(crate) fn sort(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.empty_folders.sort();
    }

    /// Takes the file with this path out.
    pub(crate) fn remove(&mut self, path: &str) -> Option<TreeFile> {
        let index = self.files.iter().position(|file| file.path == path)?;
        Some(self.files.remove(index))
    }

    pub(crate) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The one start script: a file on top whose name ends in `.sh`.
    pub(crate) fn script(&self, place: &str) -> Result<&str, BundleError> {
        let scripts: Vec<&str> = self
            .files
            .iter()
            .map(|file| file.path.as_str())
            .filter(|path| path.ends_with(".sh") && !path.contains('/'))
            .collect();
        match scripts[..] {
            [script] => Ok(script),
            [] => Err(BundleError::NoScript {
                folder: place.to_owned(),
            }),
            _ => Err(BundleError::SeveralScripts {
                folder: place.to_owned(),
                scripts: scripts.join(", "),
            }),
        }
    }
}

/// The metadata of a regular file or of the one that a link leads to, or what is wrong with it.
fn regular_file(path: &Path, shown: String) -> Result<Metadata, BundleError> {
    let is_link = path.is_symlink();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if is_link && error.kind() == io::ErrorKind::NotFound => {
            let target = fs::read_link(path)
                .map(|target| target.display().to_string())
                .unwrap_or_default();
            return Err(BundleError::DanglingLink {
                path: shown,
                target,
            });
        }
        Err(error) if is_link && Errno::from_io_error(&error) == Some(Errno::LOOP) => {
            return Err(BundleError::LinkLoop { path: shown });
        }
        Err(source) => {
            return Err(BundleError::Read {
                path: shown,
                source,
            });
        }
    };
    let kind = metadata.file_type();
    if kind.is_file() {
        return Ok(metadata);
    }
    let kind = match () {
        () if kind.is_dir() => return Err(BundleError::LinkToFolder { path: shown }),
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    };
    Err(BundleError::Special { path: shown, kind })
}
