//! The part of Hadoop's own configuration that decides what a path means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What `core-site.xml` and the environment say about file systems.
#[derive(Clone, Debug, Default)]
pub struct Hadoop {
    conf_dir: Option<PathBuf>,
    default_fs: Option<String>,
    user: Option<String>,
}

/// The configuration cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HadoopError {
    /// The file exists and cannot be read.
    #[error("could not read Hadoop's configuration `{}` (from HADOOP_CONF_DIR or HADOOP_HOME)", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no XML.
    #[error("Hadoop's configuration `{}` is no valid XML", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: roxmltree::Error,
    },
}

impl Hadoop {
    /// As Hadoop's own tools find it: in `HADOOP_CONF_DIR`, else in `HADOOP_HOME/etc/hadoop`, else nowhere.
    ///
    /// # Errors
    ///
    /// When there is a `core-site.xml` that cannot be understood.
    pub fn from_env() -> Result<Self, HadoopError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = set("HADOOP_CONF_DIR")
            .map(PathBuf::from)
            .or_else(|| set("HADOOP_HOME").map(|home| PathBuf::from(home).join("etc/hadoop")));
        let user = ["HADOOP_USER_NAME", "USER", "LOGNAME"]
            .into_iter()
            .find_map(set);
        let mut hadoop = folder
            .map(|folder| Self::from_dir(&folder))
            .transpose()?
            .unwrap_or_default();
        hadoop.user = user.and_then(|user| user.into_string().ok());
        Ok(hadoop)
    }

    /// From the configuration files in one folder, whatever the environment says.
    ///
    /// # Errors
    ///
    /// When there is a `core-site.xml` that cannot be understood.
    pub fn from_dir(folder: &Path) -> Result<Self, HadoopError> {
        let file = folder.join("core-site.xml");
        let default_fs = match fs::read_to_string(&file) {
            Ok(text) => {
                default_fs(&text).map_err(|source| HadoopError::Malformed { file, source })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(HadoopError::Read { file, source }),
        };
        Ok(Self {
            conf_dir: Some(folder.to_owned()),
            default_fs,
            user: None,
        })
    }

    /// Without any configuration: a plain path is a local one.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same, acting as this user.
    #[must_use]
    pub fn with_user(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// The folder of the configuration files.
    pub fn conf_dir(&self) -> Option<&Path> {
        self.conf_dir.as_deref()
    }

    /// `fs.defaultFS`, as it is written there.
    pub fn default_fs(&self) -> Option<&str> {
        self.default_fs.as_deref()
    }

    /// The user's name as far as the environment tells, for the home folder.
    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

fn default_fs(core_site: &str) -> Result<Option<String>, roxmltree::Error> {
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..Default::default()
    };
    let document = roxmltree::Document::parse_with_options(core_site, options)?;
    let text_of = |property: roxmltree::Node<'_, '_>, tag: &str| {
        let node = property.children().find(|node| node.has_tag_name(tag))?;
        Some(node.text()?.trim().to_owned())
    };
    Ok(document
        .descendants()
        .filter(|node| node.has_tag_name("property"))
        // `fs.default.name` is the same setting's name in Hadoop 1, which Hadoop still accepts.
        .filter(|node| {
            matches!(
                text_of(*node, "name").as_deref(),
                Some("fs.defaultFS" | "fs.default.name")
            )
        })
        .filter_map(|node| text_of(node, "value"))
        .rfind(|value| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_default_file_system_in_the_file_counts() {
        let property = |name, value| {
            format!("<property>\n<name>{name}</name> <value> {value}\n</value></property>")
        };
        let file = |content: &str| {
            format!("<?xml version=\"1.0\"?>\n<configuration>{content}</configuration>")
        };
        let one = property("fs.defaultFS", "hdfs://one:8020");
        let two = property("fs.defaultFS", "hdfs://two");
        assert_eq!(
            default_fs(&file(&one)).unwrap().as_deref(),
            Some("hdfs://one:8020")
        );
        assert_eq!(
            default_fs(&file(&format!("{one}{two}")))
                .unwrap()
                .as_deref(),
            Some("hdfs://two")
        );
        assert_eq!(
            default_fs(&file(&property("hadoop.tmp.dir", "/tmp"))).unwrap(),
            None
        );
        assert!(default_fs("<configuration>").is_err());
    }
}
