//! Bringing a bundle from the store to this machine.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::fs;
use tokio::io::AsyncWriteExt;

use super::{Fault, Store, StoreError, damaged};
use crate::bundle::{BundleError, ENDPOINT_DAT};
use crate::digest::Digest;
use crate::file_system::create_local;
use crate::location::Location;
use crate::manifest::{MANIFEST, Manifest};
use crate::tree::{Tree, TreeFile};

/// A manifest of a hundred thousand files with long names has half of this.
const MAX_MANIFEST: u64 = 64 * 1024 * 1024;

/// How much a fetched bundle may be at most. More is refused before anything is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of all files together.
    pub bytes: u64,
    /// The number of files.
    pub files: usize,
}

impl Default for Limits {
    /// 100 GiB in 100,000 files.
    fn default() -> Self {
        Self {
            bytes: 100 << 30,
            files: 100_000,
        }
    }
}

/// A bundle on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The digest of its content; of a bundle without a manifest, the one it would have.
    pub digest: Digest,
    /// The start script, which is executable.
    pub script: PathBuf,
    /// The size of all files together.
    pub bytes: u64,
    /// Whether an `endpoint.dat` lay there, which was not fetched.
    pub left_out_endpoint_dat: bool,
}

impl Store {
    /// Fetches a bundle into the folder `into`, which is made and must not exist yet.
    ///
    /// Every file's size and content is checked against the manifest, and the manifest against `expected` and against the
    /// digest in the location's own name. A location without a manifest is a flat folder as Metron's tools made it; it is
    /// fetched as it is, unless a digest is expected.
    ///
    /// # Errors
    ///
    /// When there is no such bundle, it is damaged or too large, the folder exists, or a file system refuses. Then `into`
    /// does not stay behind.
    ///
    /// # Cancel safety
    ///
    /// A fetch that is dropped leaves a part of the bundle in `into`.
    pub async fn fetch(
        &self,
        location: &Location,
        expected: Option<&Digest>,
        into: &Path,
        limits: &Limits,
    ) -> Result<Fetched, StoreError> {
        self.check_own(location)?;
        if !self.files.exists(location).await? {
            return Err(StoreError::NotThere {
                location: location.clone(),
            });
        }
        // The manifest and a forgotten `endpoint.dat` do not count.
        let mut tree = self
            .files
            .walk(location, limits.files.saturating_add(2))
            .await?;
        let own_name = location.file_name().parse().ok();
        let plan = if tree.files.iter().any(|file| file.path == MANIFEST) {
            self.plan_by_manifest(location, &mut tree, expected.copied(), own_name)
                .await?
        } else if expected.is_some() || own_name.is_some() {
            return Err(damaged(location, Fault::NoManifest));
        } else {
            Plan::without_manifest(location, tree)?
        };
        if plan
            .files
            .iter()
            .map(|(file, _)| file.size)
            .fold(0, u64::saturating_add)
            > limits.bytes
        {
            return Err(StoreError::TooLarge {
                location: location.clone(),
                limit: limits.bytes,
            });
        }
        if plan.files.len() > limits.files {
            let folder = location.to_string();
            return Err(BundleError::TooManyFiles {
                folder,
                limit: limits.files,
            }
            .into());
        }
        make_fresh(into).await?;
        match self.copy(location, &plan, into).await {
            Ok(fetched) => Ok(fetched),
            Err(error) => {
                // The first error is the one to tell.
                let _ = fs::remove_dir_all(into).await;
                Err(error)
            }
        }
    }

    /// Reads a bundle's manifest, and takes it out of what was found in its folder.
    pub(super) async fn read_manifest(
        &self,
        location: &Location,
        found: &mut Tree,
    ) -> Result<Vec<u8>, StoreError> {
        let Some(file) = found.remove(MANIFEST) else {
            return Err(damaged(location, Fault::NoManifest));
        };
        let too_large = || {
            damaged(
                location,
                Fault::LargeManifest {
                    limit: MAX_MANIFEST,
                },
            )
        };
        if file.size > MAX_MANIFEST {
            return Err(too_large());
        }
        let mut reader = self.files.read(&location.join(MANIFEST)).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > MAX_MANIFEST {
                return Err(too_large());
            }
        }
        Ok(bytes)
    }

    async fn plan_by_manifest(
        &self,
        location: &Location,
        found: &mut Tree,
        expected: Option<Digest>,
        own_name: Option<Digest>,
    ) -> Result<Plan, StoreError> {
        let fault = |fault| damaged(location, fault);
        let bytes = self.read_manifest(location, found).await?;
        let digest = Digest::of(&bytes);
        for expected in [expected, own_name].into_iter().flatten() {
            check_digest(&expected, &digest).map_err(fault)?;
        }
        let manifest = Manifest::from_bytes(&bytes).map_err(fault)?;
        manifest.compare(found).map_err(fault)?;
        let tree = manifest.tree();
        let script = tree.script(&location.to_string())?.to_owned();
        Ok(Plan {
            files: tree
                .files
                .into_iter()
                .zip(manifest.files.into_iter().map(|file| Some(file.sha256)))
                .collect(),
            empty_folders: tree.empty_folders,
            script,
            left_out_endpoint_dat: false,
        })
    }

    async fn copy(&self, from: &Location, plan: &Plan, into: &Path) -> Result<Fetched, StoreError> {
        let sub_folders = plan
            .files
            .iter()
            .filter_map(|(file, _)| file.path.rsplit_once('/'))
            .map(|(folder, _)| folder);
        for folder in sub_folders.chain(plan.empty_folders.iter().map(String::as_str)) {
            let folder = into.join(folder);
            fs::create_dir_all(&folder)
                .await
                .map_err(local("make the folder", &folder))?;
        }
        let mut fetched = Tree {
            empty_folders: plan.empty_folders.clone(),
            ..Tree::default()
        };
        let mut digests = Vec::new();
        for (file, expected) in &plan.files {
            let executable = file.executable || file.path == plan.script;
            let found = self
                .copy_file(from, file, &into.join(&file.path), executable)
                .await?;
            if let Some(expected) = expected
                && *expected != found
            {
                let fault = Fault::Content {
                    path: file.path.clone(),
                    expected: *expected,
                    found,
                };
                return Err(damaged(from, fault));
            }
            fetched.files.push(file.clone());
            digests.push(found);
        }
        Ok(Fetched {
            digest: Manifest::new(&fetched, digests).digest(),
            script: into.join(&plan.script),
            bytes: fetched.size(),
            left_out_endpoint_dat: plan.left_out_endpoint_dat,
        })
    }

    /// Copies one file, of exactly the size it is known to have, and says what its content is.
    async fn copy_file(
        &self,
        folder: &Location,
        file: &TreeFile,
        to: &Path,
        executable: bool,
    ) -> Result<Digest, StoreError> {
        let mut reader = self.files.read(&folder.join(&file.path)).await?;
        let mut writer = create_local(to, executable)
            .await
            .map_err(local("create", to))?;
        let mut hasher = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = reader.next().await? {
            size += chunk.len() as u64;
            if size > file.size {
                break;
            }
            hasher.update(&chunk);
            writer.write_all(&chunk).await.map_err(local("write", to))?;
        }
        if size != file.size {
            let fault = Fault::Size {
                path: file.path.clone(),
                expected: file.size,
                found: size,
            };
            return Err(damaged(folder, fault));
        }
        writer.flush().await.map_err(local("write", to))?;
        Ok(Digest::finish(hasher))
    }
}

/// What to copy.
struct Plan {
    files: Vec<(TreeFile, Option<Digest>)>,
    empty_folders: Vec<String>,
    script: String,
    left_out_endpoint_dat: bool,
}

impl Plan {
    fn without_manifest(location: &Location, mut tree: Tree) -> Result<Self, StoreError> {
        let left_out_endpoint_dat = tree.remove(ENDPOINT_DAT).is_some();
        let script = tree.script(&location.to_string())?.to_owned();
        Ok(Self {
            files: tree.files.into_iter().map(|file| (file, None)).collect(),
            empty_folders: tree.empty_folders,
            script,
            left_out_endpoint_dat,
        })
    }
}

pub(super) fn check_digest(expected: &Digest, found: &Digest) -> Result<(), Fault> {
    if expected == found {
        Ok(())
    } else {
        Err(Fault::Digest {
            expected: *expected,
            found: *found,
        })
    }
}

async fn make_fresh(folder: &Path) -> Result<(), StoreError> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)
            .await
            .map_err(local("make the folder", parent))?;
    }
    match fs::create_dir(folder).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::NotFresh {
            folder: folder.to_owned(),
        }),
        done => done.map_err(local("make the folder", folder)),
    }
}

fn local(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Local {
        doing,
        path,
        source,
    }
}
