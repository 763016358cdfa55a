//! Bundles: a model as files. `manifest.json` says everything about it, `trees.ubj` (or `trees.json`) holds the trees in
//! XGBoost's own form. The manifest has the trees' digest, so that files of two models never mix, and the digest of the
//! manifest is what a bundle is known by. Nothing in a bundle is code.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boosted_trees::{Model, xgboost};
use gatherers::Value;
use model_evaluation::calibration::Calibration;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::contract::Contract;

/// The form of these files. It changes when a program could no longer read them rightly.
pub const FORM: u32 = 1;

/// For which indicators a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Addresses.
    Ip,
    /// Names.
    Domain,
}

impl ModelKind {
    /// The name in manifests and options.
    pub fn name(self) -> &'static str {
        match self {
            ModelKind::Ip => "ip",
            ModelKind::Domain => "domain",
        }
    }
}

/// What a model can tell of an indicator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tells {
    /// That it is malicious, and that it is not.
    #[default]
    Both,
    /// Only that it is malicious. That the model finds nothing means nothing: there is more to be found than it looks for.
    Malicious,
}

impl Tells {
    fn is_both(&self) -> bool {
        *self == Tells::Both
    }
}

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the files.
    pub form: u32,
    /// What people call this model.
    pub name: String,
    /// Its version, as its makers count.
    pub version: String,
    /// For which indicators it is.
    pub kind: ModelKind,
    /// What it can tell. A program that does not know this field refuses the model, rather than call harmless what it is silent of.
    #[serde(default, skip_serializing_if = "Tells::is_both")]
    pub tells: Tells,
    /// The features it wants.
    pub features: Contract,
    /// The share of them that must have a value for its answer to mean much, 0 to 1.
    pub minimum_coverage: f64,
    /// How margins become scores: 50 is the operating point, 90 one false alarm in ten thousand.
    pub calibration: Calibration,
    /// What it was measured at, on what it had not learned from.
    pub metrics: BTreeMap<String, serde_json::Value>,
    /// What it learned from.
    pub training_data: TrainingData,
    /// Examples, to see that this program computes what the one that made it did.
    pub golden: Vec<Golden>,
    /// SHA-256 of the trees.
    pub trees: String,
}

/// What a model learned from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingData {
    /// SHA-256 of the labelled, gathered rows.
    pub digest: String,
    /// How many rows.
    pub rows: usize,
    /// How many of them malicious.
    pub malicious: usize,
}

/// Values of features, and the margin they must give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Values by name; what is not named is missing.
    pub values: BTreeMap<Arc<str>, Value>,
    /// The margin.
    pub margin: f32,
}

/// The files of a model, read but not yet believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    manifest: Vec<u8>,
    trees_name: &'static str,
    trees: Vec<u8>,
}

impl Bundle {
    /// The name of the manifest.
    pub const MANIFEST: &str = "manifest.json";

    /// The names the trees may have.
    pub const TREES: [&str; 2] = ["trees.ubj", "trees.json"];

    /// The largest file that is read, in bytes.
    pub const MAX_FILE: u64 = 256 * 1024 * 1024;

    /// Puts a bundle together. `describe` gets the digest of the trees, for the manifest.
    ///
    /// # Errors
    /// When the manifest cannot be written as JSON.
    pub fn of(
        model: &Model,
        describe: impl FnOnce(String) -> Manifest,
    ) -> serde_json::Result<Bundle> {
        let trees = xgboost::to_ubjson(model);
        let mut manifest = serde_json::to_vec_pretty(&describe(digest(&trees)))?;
        manifest.push(b'\n');
        Ok(Bundle {
            manifest,
            trees_name: Bundle::TREES[0],
            trees,
        })
    }

    /// A bundle of what its files hold.
    pub fn of_files(manifest: Vec<u8>, trees: Vec<u8>) -> Bundle {
        Bundle {
            manifest,
            trees_name: Bundle::TREES[0],
            trees,
        }
    }

    /// Reads the files of a folder.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(folder: &Path) -> Result<Bundle, BundleError> {
        let manifest = read(&folder.join(Bundle::MANIFEST))?;
        let first = read(&folder.join(Bundle::TREES[0]));
        let (trees_name, trees) = match first {
            Err(BundleError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                (Bundle::TREES[1], read(&folder.join(Bundle::TREES[1]))?)
            }
            first => (Bundle::TREES[0], first?),
        };
        Ok(Bundle {
            manifest,
            trees_name,
            trees,
        })
    }

    /// The digest of the manifest in a folder: cheap to ask for, and another one for every other bundle.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn digest_in(folder: &Path) -> Result<String, BundleError> {
        read(&folder.join(Bundle::MANIFEST)).map(|manifest| digest(&manifest))
    }

    /// Writes the files into a folder, which is made if need be. The manifest comes last: only with it they are a bundle.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), BundleError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Write { path, source }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        for (name, bytes) in [
            (self.trees_name, &self.trees),
            (Bundle::MANIFEST, &self.manifest),
        ] {
            let path = folder.join(name);
            let hidden = folder.join(format!(".{name}.{}", std::process::id()));
            fs::write(&hidden, bytes).map_err(failed(&hidden))?;
            fs::rename(&hidden, &path).map_err(failed(&path))?;
        }
        Ok(())
    }

    /// What the bundle is known by.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// The manifest.
    ///
    /// # Errors
    /// When it is none, or one of another form.
    pub fn manifest(&self) -> Result<Manifest, BundleError> {
        // Asked for first, since another form may have other fields.
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let form: Form = serde_json::from_slice(&self.manifest).map_err(BundleError::Manifest)?;
        if form.form != FORM {
            return Err(BundleError::Form { found: form.form });
        }
        serde_json::from_slice(&self.manifest).map_err(BundleError::Manifest)
    }

    /// The trees.
    ///
    /// # Errors
    /// When they are not those of the manifest, or none.
    pub fn trees(&self, manifest: &Manifest) -> Result<Model, BundleError> {
        if digest(&self.trees) != manifest.trees {
            return Err(BundleError::Digest);
        }
        xgboost::from_bytes(&self.trees).map_err(BundleError::Trees)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BundleError> {
    let failed = |source| BundleError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let read = file.take(Bundle::MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(failed)?;
    if bytes.len() as u64 > Bundle::MAX_FILE {
        return Err(failed(io::Error::other("it is larger than any model")));
    }
    Ok(bytes)
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why files are no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file that cannot be read.
    #[error("could not read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("could not write `{path}`")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest that is none.
    #[error("`{}` is no manifest of a model", Bundle::MANIFEST)]
    Manifest(#[source] serde_json::Error),
    /// Files of another form.
    #[error("these files have the form {found}; this program reads {FORM}: make the model anew")]
    Form {
        /// Theirs.
        found: u32,
    },
    /// Trees of another model.
    #[error("the trees are not those that the manifest speaks of")]
    Digest,
    /// Trees that are none.
    #[error("the trees cannot be read")]
    Trees(#[source] xgboost::LoadError),
}
