//! A bundle: a folder that can be deployed.
//!
//! It holds exactly one file on top whose name ends in `.sh`, the start script, and whatever else the model needs, in any
//! sub-folders. Links to files are followed. What the model writes when it runs, `endpoint.dat`, is left out if a former
//! run left it there: it would point callers to a model that is long gone.

use std::io;
use std::path::{Path, PathBuf};

use crate::manifest::MANIFEST;
use crate::tree::Tree;

/// What a running model writes to say where it answers.
pub(crate) const ENDPOINT_DAT: &str = "endpoint.dat";

/// A local folder, looked through and found fit to be deployed.
#[derive(Clone, Debug)]
pub struct Bundle {
    root: PathBuf,
    script: String,
    tree: Tree,
    leaves_out_endpoint_dat: bool,
}

/// One file of a [`Bundle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleFile<'a> {
    /// Relative to the bundle's folder, with `/` between its parts.
    pub path: &'a str,
    /// In bytes.
    pub size: u64,
    /// Whether anybody may execute it.
    pub executable: bool,
}

/// A folder is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Nothing is there.
    #[error("there is no folder `{folder}`")]
    NoFolder {
        /// Where it was looked for.
        folder: String,
    },
    /// It is a file.
    #[error("`{folder}` is no folder; give the folder that holds the model and its start script")]
    NotAFolder {
        /// What was given.
        folder: String,
    },
    /// No `*.sh`.
    #[error(
        "`{folder}` has no start script; put exactly one file with a name ending in `.sh` on its top level"
    )]
    NoScript {
        /// The folder.
        folder: String,
    },
    /// More than one `*.sh`.
    #[error(
        "`{folder}` has several files that could be the start script: {scripts}; keep exactly one on the top level and move the \
         others into a sub-folder"
    )]
    SeveralScripts {
        /// The folder.
        folder: String,
        /// Their names.
        scripts: String,
    },
    /// A pipe, socket or device.
    #[error("`{path}` is {kind}, which cannot be copied; only files and folders can")]
    Special {
        /// Where.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// A link to nothing.
    #[error("`{path}` is a link to `{target}`, and nothing is there; remove the link or mend it")]
    DanglingLink {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// A link to itself.
    #[error("`{path}` is a link that leads back to itself; remove it")]
    LinkLoop {
        /// The link.
        path: String,
    },
    /// A link to a folder.
    #[error(
        "`{path}` is a link to a folder; only links to files are followed, so copy the folder into its place"
    )]
    LinkToFolder {
        /// The link.
        path: String,
    },
    /// A name that is no text.
    #[error("the name of `{path}` is not UTF-8; rename it")]
    NotUtf8 {
        /// Where, as far as it can be shown.
        path: String,
    },
    /// The store keeps this name for itself.
    #[error("`{path}` has a name that the model store needs for itself; rename or remove it")]
    Reserved {
        /// Where.
        path: String,
    },
    /// Too much.
    #[error("`{folder}` holds more than {limit} files")]
    TooManyFiles {
        /// The folder.
        folder: String,
        /// How many are allowed.
        limit: usize,
    },
    /// The disk or the permissions.
    #[error("could not read `{path}`")]
    Read {
        /// What.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Bundle {
    /// Looks through a folder. Reads no file's content, but may take a moment: it blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be deployed; the message names the path and says what to do about it.
    pub fn scan(folder: &Path) -> Result<Self, BundleError> {
        let mut tree = Tree::of_local_folder(folder, usize::MAX)?;
        if tree.remove(MANIFEST).is_some() {
            return Err(BundleError::Reserved {
                path: folder.join(MANIFEST).display().to_string(),
            });
        }
        let leaves_out_endpoint_dat = tree.remove(ENDPOINT_DAT).is_some();
        let script = tree.script(&folder.display().to_string())?.to_owned();
        Ok(Self {
            root: folder.to_owned(),
            script,
            tree,
            leaves_out_endpoint_dat,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.root
    }

    /// The start script's name.
    pub fn script(&self) -> &str {
        &self.script
    }

    /// All files, sorted by path.
    pub fn files(&self) -> impl ExactSizeIterator<Item = BundleFile<'_>> {
        self.tree.files.iter().map(|file| BundleFile {
            path: &file.path,
            size: file.size,
            executable: file.executable,
        })
    }

    /// The size of all files together, in bytes.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Whether an `endpoint.dat` lies in the folder, which is not deployed.
    pub fn leaves_out_endpoint_dat(&self) -> bool {
        self.leaves_out_endpoint_dat
    }

    pub(crate) fn tree(&self) -> &Tree {
        &self.tree
    }
}
