//! Bringing a bundle into the store.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::fetch::check_digest;
use super::{Store, StoreError, damaged};
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::file_system::{FileSystem, Pace};
use crate::location::Location;
use crate::manifest::{MANIFEST, Manifest, ManifestFile};

/// How the folder of an upload is called until it is complete.
const UPLOADING: &str = ".uploading-";

/// No upload takes a day, so an older one was cut short.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// A bundle in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRef {
    /// Where it is; its last part is the digest.
    pub location: Location,
    /// What it is.
    pub digest: Digest,
    /// Whether it was uploaded now, or had been there already.
    pub uploaded: bool,
}

impl Store {
    /// Brings a bundle to `<base>/<name>/<version>/sha256-<digest>`. `name` and `version` must be single path segments.
    ///
    /// `progress` is told how many bytes of [`Bundle::size`] have been uploaded, ever more. Before the first call the
    /// whole bundle is read once, for its digest. If the same content is there already, nothing is uploaded.
    ///
    /// # Errors
    ///
    /// When the bundle cannot be read or changes meanwhile, when the file system refuses, or when what is there already
    /// under this digest is damaged.
    ///
    /// # Cancel safety
    ///
    /// An upload that is dropped or killed leaves nothing under the final name. What it leaves beside is removed later; see
    /// [`Store::sweep`].
    pub async fn put(
        &self,
        bundle: &Bundle,
        base: &Location,
        name: &str,
        version: &str,
        mut progress: impl FnMut(u64),
    ) -> Result<BundleRef, StoreError> {
        self.check_own(base)?;
        let manifest = manifest_of(bundle).await?;
        let digest = manifest.digest();
        let folder = base.join(name).join(version);
        let location = folder.join(&digest.to_string());
        if self.holds(&location, &manifest).await? {
            progress(bundle.size());
            return Ok(BundleRef {
                location,
                digest,
                uploaded: false,
            });
        }
        let temporary = folder.join(&format!("{UPLOADING}{}", Uuid::new_v4()));
        let uploaded = match upload(&self.files, bundle, &manifest, &temporary, &mut progress).await
        {
            Ok(()) => self.give_final_name(&temporary, &location, &manifest).await,
            Err(error) => Err(error),
        };
        match uploaded {
            Ok(uploaded) => {
                // It is not this upload's fault if old rubbish cannot be removed; the next one tries again.
                let _ = self.sweep(base, name, version, STALE).await;
                Ok(BundleRef {
                    location,
                    digest,
                    uploaded,
                })
            }
            Err(error) => {
                // The first error is the one to tell; what stays here is removed later.
                let _ = self.files.remove(&temporary).await;
                Err(error)
            }
        }
    }

    /// Removes what uploads of this model's version left behind if they are older than that, and says how many.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub async fn sweep(
        &self,
        base: &Location,
        name: &str,
        version: &str,
        older_than: Duration,
    ) -> Result<usize, StoreError> {
        self.check_own(base)?;
        let folder = base.join(name).join(version);
        let now = SystemTime::now();
        let mut removed = 0;
        for child in self.files.children(&folder).await? {
            let is_old = now
                .duration_since(child.modified)
                .is_ok_and(|age| age >= older_than);
            if child.name.starts_with(UPLOADING)
                && is_old
                && self.files.remove(&folder.join(&child.name)).await?
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Says whether this upload became the bundle, or another one with the same content was faster.
    async fn give_final_name(
        &self,
        temporary: &Location,
        location: &Location,
        manifest: &Manifest,
    ) -> Result<bool, StoreError> {
        let Err(error) = self.files.rename(temporary, location).await else {
            return Ok(true);
        };
        if !self.holds(location, manifest).await? {
            return Err(error.into());
        }
        self.files.remove(temporary).await?;
        Ok(false)
    }

    /// Whether the complete bundle is there, judged by its manifest and the sizes of its files.
    async fn holds(&self, location: &Location, manifest: &Manifest) -> Result<bool, StoreError> {
        if !self.files.exists(location).await? {
            return Ok(false);
        }
        let mut found = self.files.walk(location, manifest.files.len() + 2).await?;
        let bytes = self.read_manifest(location, &mut found).await?;
        check_digest(&manifest.digest(), &Digest::of(&bytes))
            .map_err(|fault| damaged(location, fault))?;
        manifest
            .compare(&found)
            .map_err(|fault| damaged(location, fault))?;
        Ok(true)
    }
}

async fn upload(
    files: &FileSystem,
    bundle: &Bundle,
    manifest: &Manifest,
    to: &Location,
    progress: &mut impl FnMut(u64),
) -> Result<(), StoreError> {
    files.make_folders(to).await?;
    let sub_folders = manifest
        .files
        .iter()
        .filter_map(|file| file.path.rsplit_once('/'))
        .map(|(folder, _)| folder);
    let mut made = "";
    for folder in sub_folders.chain(manifest.empty_folders.iter().map(String::as_str)) {
        // The files of one folder mostly follow one another, so this saves most calls and needs no memory.
        if folder != made {
            files.make_folders(&to.join(folder)).await?;
            made = folder;
        }
    }
    let (mut done, mut told) = (0, 0);
    for file in &manifest.files {
        let from = bundle.folder().join(&file.path);
        let target = to.join(&file.path);
        // Whoever looks at the progress does not want to see it go back when a file is written a second time.
        let mut tell = |of_this_file: u64| {
            told = told.max(done + of_this_file);
            progress(told);
        };
        match upload_file(files, &from, file, &target, Pace::Straight, &mut tell).await {
            Err(StoreError::FileSystem(error)) if error.was_too_fast() => {
                tracing::warn!(file = %target, reason = %error.cause(), "upload of a file goes on block by block");
                files.remove(&target).await?;
                upload_file(files, &from, file, &target, Pace::BlockByBlock, &mut tell).await?;
            }
            done => done?,
        }
        done += file.size;
    }
    let mut writer = files
        .create(&to.join(MANIFEST), false, Pace::Straight)
        .await?;
    writer.write(Bytes::from(manifest.to_bytes())).await?;
    Ok(writer.close().await?)
}

/// Copies one file, and makes sure that it still is the one in the manifest.
async fn upload_file(
    files: &FileSystem,
    from: &Path,
    file: &ManifestFile,
    to: &Location,
    pace: Pace,
    mut progress: impl FnMut(u64),
) -> Result<(), StoreError> {
    let changed = || StoreError::Changed {
        path: from.to_owned(),
    };
    let failed = |source| StoreError::Local {
        doing: "read",
        path: from.to_owned(),
        source,
    };
    let mut reader = tokio::fs::File::open(from).await.map_err(failed)?;
    let mut writer = files.create(to, file.executable, pace).await?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    while let Some(chunk) = crate::file_system::next_local(&mut reader)
        .await
        .map_err(failed)?
    {
        size += chunk.len() as u64;
        // A file that grows without end must not fill the store.
        if size > file.size {
            return Err(changed());
        }
        hasher.update(&chunk);
        writer.write(chunk).await?;
        progress(size);
    }
    if Digest::finish(hasher) != file.sha256 {
        return Err(changed());
    }
    Ok(writer.close().await?)
}

/// Reads the whole bundle for its digests.
async fn manifest_of(bundle: &Bundle) -> Result<Manifest, StoreError> {
    let bundle = bundle.clone();
    // This is work for minutes if the model is large; the runtime's threads have other things to do.
    let work = tokio::task::spawn_blocking(move || {
        let digests: Result<Vec<_>, _> = bundle
            .files()
            .map(|file| {
                let path = bundle.folder().join(file.path);
                match digest_of(&path) {
                    Ok((digest, size)) if size == file.size => Ok(digest),
                    Ok(_) => Err(StoreError::Changed { path }),
                    Err(source) => Err(StoreError::Local {
                        doing: "read",
                        path,
                        source,
                    }),
                }
            })
            .collect();
        Ok(Manifest::new(bundle.tree(), digests?))
    });
    work.await.expect("reading files does not panic")
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok((Digest::finish(hasher), size));
        }
        hasher.update(&chunk[..count]);
        size += count as u64;
    }
}
