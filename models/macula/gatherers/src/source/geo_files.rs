//! Geolocation from database files on this machine (MMDB, the form of MaxMind and others). Nobody is asked.
//!
//! The mapping is that of the web service: its answers and the records of the files have the same form. Of several files, as
//! for places and for networks, the records are laid over each other. What the web service leaves out it means to deny; a file
//! may just not have it. So a trait that is not there is denied only where a file has such traits.

use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use maxminddb::{MaxMindDbError, Reader};
use serde_json::{Map, Value};

use super::{Content, Exchange, Failure, Question, Source, SubjectForm};
use crate::feature::FeatureSpec;
use crate::gate::Leaks;
use crate::mapping::Mapping;

/// Files for networks and for who hides say these at the top, the web service among the traits.
const TRAITS: [&str; 4] = [
    "autonomous_system_number",
    "autonomous_system_organization",
    "is_anonymous",
    "is_hosting_provider",
];

/// What the types of files have in their names that tell who hides behind an address, or that nobody does.
const TELLS_WHO_HIDES: &str = "Anonymous";

/// Database files.
pub struct GeoFiles {
    mapping: Mapping,
    features: Vec<FeatureSpec>,
    readers: Vec<Reader<Vec<u8>>>,
    version: String,
}

impl GeoFiles {
    /// Reads the files into memory.
    ///
    /// # Errors
    /// When one cannot be read, or is no database.
    pub fn open(mapping: Mapping, files: &[PathBuf]) -> Result<GeoFiles, GeoFilesError> {
        let readers = files.iter().map(|file| open(file));
        let readers = readers.collect::<Result<Vec<_>, _>>()?;
        Ok(GeoFiles::of(mapping, readers))
    }

    pub(crate) fn of(mapping: Mapping, readers: Vec<Reader<Vec<u8>>>) -> GeoFiles {
        let builds = readers.iter().map(|reader| {
            let about = reader.metadata();
            format!("-{}", about.build_epoch)
        });
        GeoFiles {
            version: builds.fold(mapping.version().to_owned(), |all, one| all + &one),
            features: mapping.features(),
            mapping,
            readers,
        }
    }

    pub(crate) fn look_up(&self, subject: &str, now: Timestamp) -> Result<Content, Failure> {
        let ip = subject
            .parse()
            .map_err(|_| Failure::Malformed("no address".into()))?;
        let mut record = Map::new();
        let mut denies = false;
        for reader in &self.readers {
            let found = reader
                .lookup(ip)
                .and_then(|found| found.decode::<Map<String, Value>>());
            let more = match found {
                Ok(more) => more,
                // A file for IPv4 knows nothing of IPv6.
                Err(MaxMindDbError::InvalidInput { .. }) => continue,
                Err(error) => return Err(Failure::Malformed(error.to_string())),
            };
            denies |= reader.metadata().database_type.contains(TELLS_WHO_HIDES);
            lay_over(&mut record, more.unwrap_or_default());
        }
        if record.is_empty() && !denies {
            return Ok(Content::Nothing);
        }
        let Some(request) = self.mapping.requests.first() else {
            return Ok(Content::Nothing);
        };
        let record = Value::Object(record);
        let mut content = request.read(&record, now)?;
        if !denies && let Content::Features(readings) = &mut content {
            readings.retain(|(name, _)| !request.is_supposed(name, &record));
        }
        Ok(content)
    }
}

impl Source for GeoFiles {
    fn name(&self) -> &str {
        &self.mapping.name
    }

    fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    fn leaks(&self) -> Leaks {
        Leaks::Nothing
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn subject(&self, question: &Question) -> Option<String> {
        match question {
            Question::Features(indicator) => SubjectForm::Ip.of(indicator),
            Question::RecentDomains { .. } | Question::Addresses(..) => None,
        }
    }

    fn ask<'a>(
        &'a self,
        _: &'a Question,
        subject: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Exchange> {
        async move { Exchange::new(self.look_up(subject, now)) }.boxed()
    }
}

fn open(file: &Path) -> Result<Reader<Vec<u8>>, GeoFilesError> {
    Reader::open_readfile(file).map_err(|source| GeoFilesError {
        file: file.into(),
        source,
    })
}

fn lay_over(record: &mut Map<String, Value>, mut more: Map<String, Value>) {
    for name in TRAITS {
        if let Some(value) = more.remove(name) {
            let traits = more.entry("traits").or_insert_with(|| Map::new().into());
            if let Value::Object(traits) = traits {
                traits.insert(name.into(), value);
            }
        }
    }
    for (name, value) in more {
        match (record.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => {
                record.insert(name, value);
            }
        }
    }
}

/// A file that is no database.
#[derive(Debug, thiserror::Error)]
#[error("`{file}` cannot be read as a geolocation database (MMDB)")]
pub struct GeoFilesError {
    /// Which.
    pub file: PathBuf,
    /// Why.
    #[source]
    pub source: MaxMindDbError,
}
