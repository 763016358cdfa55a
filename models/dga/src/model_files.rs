//! A model on disk: what it was made of, the trees, and the n-gram tables.
//!
//! Three files in a folder. `manifest.json` is the one to read: it says which lists and recipe made the model, what it was
//! measured at, how margins become scores, and the digests of the other two, so that files of two models never mix.
//! Nothing in it depends on when or where the model was made: the same input makes the same bytes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use boosted_trees::{Model, xgboost};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::evaluation::Quality;
use crate::ngrams::{Tables, TablesError};
use crate::training::{Learned, Recipe};
use model_evaluation::calibration::Calibration;

/// The form of these files. It changes when a detector could no longer read them rightly.
const FORM: u32 = 1;

const MANIFEST: &str = "manifest.json";
const TREES: &str = "trees.ubj";
const TABLES: &str = "ngrams.bin";

/// The largest file that is read.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What a model is and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of the files.
    pub form: u32,
    /// The list of real names.
    pub real: Source,
    /// The list of generated names.
    pub generated: Source,
    /// The families whose generators added names.
    pub families: Vec<String>,
    /// How it was made.
    pub recipe: Recipe,
    /// What it was measured at, on names it had not learned from.
    pub quality: Quality,
    /// How margins become scores.
    pub calibration: Calibration,
    /// The scores that rest on too few real names to be measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supposed_scores: Vec<f64>,
    /// Labels and their margins, to see that another machine computes the same.
    pub golden: Vec<(String, f32)>,
    /// SHA-256 of the trees.
    pub trees: String,
    /// SHA-256 of the tables.
    pub tables: String,
}

/// A list a model was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// SHA-256 of the file.
    pub digest: String,
    /// How many labels it gave.
    pub labels: usize,
}

/// The three files.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    manifest: Vec<u8>,
    trees: Vec<u8>,
    tables: Vec<u8>,
}

impl ModelFiles {
    /// The files that come along in this program.
    pub fn shipped() -> ModelFiles {
        ModelFiles {
            manifest: include_bytes!("../model/manifest.json").to_vec(),
            trees: include_bytes!("../model/trees.ubj").to_vec(),
            tables: include_bytes!("../model/ngrams.bin").to_vec(),
        }
    }

    /// The files of a model that was just made. `describe` gets the digests of the trees and the tables.
    ///
    /// # Errors
    /// When the manifest cannot be written as JSON.
    pub fn of(
        learned: &Learned,
        describe: impl FnOnce(String, String) -> Manifest,
    ) -> serde_json::Result<ModelFiles> {
        let trees = xgboost::to_ubjson(&learned.model);
        let tables = learned.tables.to_bytes();
        let manifest = describe(digest(&trees), digest(&tables));
        let mut manifest = serde_json::to_vec_pretty(&manifest)?;
        manifest.push(b'\n');
        Ok(ModelFiles {
            manifest,
            trees,
            tables,
        })
    }

    /// Files that somebody has read: the manifest, the trees and the tables.
    pub fn of_files(manifest: Vec<u8>, trees: Vec<u8>, tables: Vec<u8>) -> ModelFiles {
        ModelFiles {
            manifest,
            trees,
            tables,
        }
    }

    /// Reads the files of a folder.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(folder: &Path) -> Result<ModelFiles, LoadError> {
        let read = |name: &str| {
            let path = folder.join(name);
            let bytes = fs::metadata(&path).and_then(|about| {
                if about.len() > MAX_FILE {
                    return Err(io::Error::other("it is larger than any model"));
                }
                fs::read(&path)
            });
            bytes.map_err(|source| LoadError::Read { path, source })
        };
        let [manifest, trees, tables] = [MANIFEST, TREES, TABLES].map(read);
        Ok(ModelFiles::of_files(manifest?, trees?, tables?))
    }

    /// Writes the files into a folder, which is made if need be. The manifest comes last: only with it they are a model.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for (name, bytes) in [
            (TREES, &self.trees),
            (TABLES, &self.tables),
            (MANIFEST, &self.manifest),
        ] {
            let hidden = folder.join(format!(".{name}.{}", std::process::id()));
            fs::write(&hidden, bytes)?;
            fs::rename(&hidden, folder.join(name))?;
        }
        Ok(())
    }

    /// The tables, without the trees that go with them.
    ///
    /// # Errors
    /// When they are not those that the manifest speaks of, or none.
    pub fn tables_alone(&self) -> Result<Tables, LoadError> {
        self.tables(&self.manifest()?)
    }

    pub(crate) fn manifest(&self) -> Result<Manifest, LoadError> {
        let manifest: Manifest =
            serde_json::from_slice(&self.manifest).map_err(LoadError::Manifest)?;
        if manifest.form != FORM {
            return Err(LoadError::Form {
                found: manifest.form,
            });
        }
        Ok(manifest)
    }

    pub(crate) fn trees(&self, manifest: &Manifest) -> Result<Model, LoadError> {
        check(TREES, &self.trees, &manifest.trees)?;
        xgboost::from_ubjson(&self.trees).map_err(LoadError::Trees)
    }

    pub(crate) fn tables(&self, manifest: &Manifest) -> Result<Tables, LoadError> {
        check(TABLES, &self.tables, &manifest.tables)?;
        Tables::from_bytes(&self.tables).map_err(LoadError::Tables)
    }
}

impl Manifest {
    /// The form written by this program.
    pub const FORM: u32 = FORM;

    /// What tells this model from others: the beginning of the digest of its trees.
    pub fn id(&self) -> &str {
        self.trees.get(..12).unwrap_or(&self.trees)
    }
}

fn check(file: &'static str, bytes: &[u8], expected: &str) -> Result<(), LoadError> {
    if digest(bytes) == expected {
        return Ok(());
    }
    Err(LoadError::Digest { file })
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Why files are no model for this detector.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file that cannot be read.
    #[error("could not read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A manifest that is none.
    #[error("`{MANIFEST}` is no manifest of a model")]
    Manifest(#[source] serde_json::Error),
    /// Files of another form.
    #[error(
        "these files have the form {found}; this program reads {FORM}: make the model anew with `dga train`"
    )]
    Form {
        /// Theirs.
        found: u32,
    },
    /// A file that belongs to another model, or was changed.
    #[error("`{file}` is not the file that the manifest speaks of")]
    Digest {
        /// Which.
        file: &'static str,
    },
    /// Trees that are none.
    #[error("`{TREES}` holds no trees")]
    Trees(#[source] xgboost::LoadError),
    /// Tables that are none.
    #[error("`{TABLES}` holds no n-gram tables")]
    Tables(#[source] TablesError),
    /// Trees over other features.
    #[error(
        "the trees were made for other features than this program computes: make the model anew with `dga train`"
    )]
    Contract,
    /// Another answer than when the model was made.
    #[error(
        "for the label `{label}` the margin is {found} here and was {expected} where the model was made"
    )]
    Golden {
        /// The label.
        label: String,
        /// What it was.
        expected: f32,
        /// What it is.
        found: f32,
    },
}
