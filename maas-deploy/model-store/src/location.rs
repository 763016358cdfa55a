//! Where a bundle lies: a file system and a path in it.
//!
//! A location is written with its file system (`file:/models`, `hdfs://namenode:8020/models`), so that it means the same to
//! every program that reads it, whatever that program's configuration. Only [`Location::parse`] knows the short forms. Names
//! are taken literally, as Hadoop does: `%20` is three characters.

use std::fmt;

use crate::hadoop::{Hadoop, HadoopError};

/// A folder or file in the local file system or in an HDFS. Never relative.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The HDFS: `host:port` or the name of a highly available name service; none for the local file system.
    authority: Option<String>,
    /// Absolute, without empty or `.` parts and without a slash at the end; the root is the empty text.
    path: String,
}

/// A text is no location that can be used.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Nothing is there.
    #[error("the path is empty")]
    Empty,
    /// A scheme we don't know.
    #[error(
        "`{text}` is in a file system this program does not know (`{scheme}`); use `file:/…`, `hdfs://host:port/…` or a plain \
         path (write `./` in front of a local name with a colon)"
    )]
    Scheme {
        /// What was given.
        text: String,
        /// Its scheme.
        scheme: String,
    },
    /// A `file:` location on another host, or a relative one.
    #[error("`{text}` is no local path; write `file:/` and an absolute path of this machine")]
    NotLocal {
        /// What was given.
        text: String,
    },
    /// An HDFS location without a path.
    #[error("`{text}` has no absolute path; write `hdfs://host:port/path` or `hdfs:///path`")]
    NoPath {
        /// What was given.
        text: String,
    },
    /// `hdfs:///…` without a configured HDFS.
    #[error(
        "`{text}` does not say which HDFS; write `hdfs://host:port/…`, or set HADOOP_CONF_DIR to a folder whose core-site.xml \
         has an hdfs:// address as fs.defaultFS"
    )]
    WhichHdfs {
        /// What was given.
        text: String,
    },
    /// The default file system is one we don't know.
    #[error(
        "`{text}` is meant for the default file system `{default_fs}` of core-site.xml, which this program does not know; write \
         `file:/…` or `hdfs://host:port/…`"
    )]
    DefaultFs {
        /// What was given.
        text: String,
        /// The setting.
        default_fs: String,
    },
    /// A relative HDFS path and no user.
    #[error(
        "`{text}` is relative to your home folder in HDFS, but who are you? Set HADOOP_USER_NAME, or write an absolute path"
    )]
    WhoseHome {
        /// What was given.
        text: String,
    },
    /// `..` in an HDFS path.
    #[error("`{text}` has a part `..`, which means nothing in HDFS; write the path without it")]
    Upwards {
        /// What was given.
        text: String,
    },
    /// The working directory is unknown or not UTF-8.
    #[error(
        "`{text}` is relative, and the working directory is gone or its name is not UTF-8; write an absolute path"
    )]
    NoWorkingDirectory {
        /// What was given.
        text: String,
    },
    /// Hadoop's configuration is broken.
    #[error(transparent)]
    Hadoop(#[from] HadoopError),
}

impl Location {
    /// Understands what a person writes, with Hadoop's configuration from the environment.
    ///
    /// # Errors
    ///
    /// When it means no place this program can reach; the message says what to write instead.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        Self::parse_with(text, &Hadoop::from_env()?)
    }

    /// Understands what a person writes, with the given configuration.
    ///
    /// # Errors
    ///
    /// As [`Location::parse`].
    pub fn parse_with(text: &str, hadoop: &Hadoop) -> Result<Self, LocationError> {
        let owned = || text.to_owned();
        match split_scheme(text) {
            _ if text.is_empty() => Err(LocationError::Empty),
            (Some("file"), rest) => Self::local(
                strip_local_host(rest).ok_or_else(|| LocationError::NotLocal { text: owned() })?,
                text,
            ),
            (Some("hdfs"), rest) => {
                let (authority, path) =
                    split_authority(rest).ok_or_else(|| LocationError::NoPath { text: owned() })?;
                let authority = match authority {
                    "" => default_authority(hadoop)
                        .ok_or_else(|| LocationError::WhichHdfs { text: owned() })?,
                    given => given,
                };
                Self::hdfs(authority, path, text)
            }
            (Some(scheme), _) => Err(LocationError::Scheme {
                text: owned(),
                scheme: scheme.to_owned(),
            }),
            (None, path) => match (hadoop.default_fs(), default_authority(hadoop)) {
                (_, Some(authority)) if path.starts_with('/') => Self::hdfs(authority, path, text),
                (_, Some(authority)) => {
                    let user = hadoop
                        .user()
                        .ok_or_else(|| LocationError::WhoseHome { text: owned() })?;
                    Self::hdfs(authority, &format!("/user/{user}/{path}"), text)
                }
                (None, None) => Self::local(path, text),
                (Some(local), None) if local.starts_with("file:") => Self::local(path, text),
                (Some(default_fs), None) => Err(LocationError::DefaultFs {
                    text: owned(),
                    default_fs: default_fs.to_owned(),
                }),
            },
        }
    }

    fn local(path: &str, text: &str) -> Result<Self, LocationError> {
        let absolute = std::path::absolute(path)
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok());
        let path = absolute.ok_or_else(|| LocationError::NoWorkingDirectory {
            text: text.to_owned(),
        })?;
        Ok(Self {
            authority: None,
            path: normal(&path),
        })
    }

    fn hdfs(authority: &str, path: &str, text: &str) -> Result<Self, LocationError> {
        if path.split('/').any(|part| part == "..") {
            return Err(LocationError::Upwards {
                text: text.to_owned(),
            });
        }
        Ok(Self {
            authority: Some(authority.to_owned()),
            path: normal(path),
        })
    }

    /// The place `name` inside this folder. `name` may have several parts, but leads nowhere else than down.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        debug_assert!(
            !name.split('/').any(|part| matches!(part, "" | "." | "..")),
            "`{name}` does not lead down"
        );
        Self {
            authority: self.authority.clone(),
            path: format!("{}/{name}", self.path),
        }
    }

    /// The absolute path in its file system.
    pub fn path(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }

    /// The last part of the path, empty for the root.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The HDFS it is in: `host:port`, or the name of a name service. None if it is local.
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.authority {
            Some(authority) => write!(f, "hdfs://{authority}{}", self.path()),
            None => write!(f, "file:{}", self.path()),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As a URL's scheme is defined: a letter, then letters, digits, `+`, `-` and `.`, up to a colon.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')) =>
        {
            (Some(scheme), rest)
        }
        _ => (None, text),
    }
}

/// Splits `//host/path` and `/path` (an empty host) before the path.
fn split_authority(rest: &str) -> Option<(&str, &str)> {
    match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map(|slash| rest.split_at(slash)),
        None => rest.starts_with('/').then_some(("", rest)),
    }
}

fn strip_local_host(rest: &str) -> Option<&str> {
    split_authority(rest)
        .filter(|(host, _)| matches!(*host, "" | "localhost"))
        .map(|(_, path)| path)
}

fn default_authority(hadoop: &Hadoop) -> Option<&str> {
    let authority = hadoop.default_fs()?.strip_prefix("hdfs://")?;
    authority
        .split('/')
        .next()
        .filter(|authority| !authority.is_empty())
}

fn normal(path: &str) -> String {
    path.split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .fold(String::new(), |path, part| path + "/" + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_default_fs(default_fs: &str) -> Hadoop {
        let folder = tempfile::tempdir().unwrap();
        let property =
            format!("<property><name>fs.defaultFS</name><value>{default_fs}</value></property>");
        std::fs::write(
            folder.path().join("core-site.xml"),
            format!("<configuration>{property}</configuration>"),
        )
        .unwrap();
        Hadoop::from_dir(folder.path()).unwrap().with_user("ada")
    }

    #[track_caller]
    fn check(text: &str, hadoop: &Hadoop, expected: &str) {
        let shown = match Location::parse_with(text, hadoop) {
            Ok(location) => {
                let shown = location.to_string();
                assert_eq!(
                    Location::parse_with(&shown, &Hadoop::none()).unwrap(),
                    location,
                    "{text} does not survive"
                );
                shown
            }
            Err(error) => error.to_string(),
        };
        assert!(
            shown == expected
                || (expected.ends_with('…') && shown.starts_with(expected.trim_end_matches('…'))),
            "{text}: {shown}"
        );
    }

    #[test]
    fn without_a_configuration_a_plain_path_is_local() {
        let none = Hadoop::none();
        let here = std::env::current_dir().unwrap().display().to_string();
        check("/models//a/./b/", &none, "file:/models/a/b");
        check("models/a", &none, &format!("file:{here}/models/a"));
        check("./od:d", &none, &format!("file:{here}/od:d"));
        check("/", &none, "file:/");
        check("file:/models/a%20b", &none, "file:/models/a%20b");
        check("file:///models/ä b", &none, "file:/models/ä b");
        check("file://localhost/models", &none, "file:/models");
        check("hdfs://nn:8020/models/", &none, "hdfs://nn:8020/models");
        check("hdfs://cluster/", &none, "hdfs://cluster/");
    }

    #[test]
    fn with_hdfs_as_the_default_file_system_a_plain_path_is_there() {
        let hdfs = with_default_fs("hdfs://nn:8020/");
        check("/models", &hdfs, "hdfs://nn:8020/models");
        check("models/dga", &hdfs, "hdfs://nn:8020/user/ada/models/dga");
        check("hdfs:///models", &hdfs, "hdfs://nn:8020/models");
        check("hdfs:/models", &hdfs, "hdfs://nn:8020/models");
        check("hdfs://other/models", &hdfs, "hdfs://other/models");
        check("file:/models", &hdfs, "file:/models");
        check("/models", &with_default_fs("file:///"), "file:/models");
    }

    #[test]
    fn what_means_no_place_is_refused_with_what_to_write_instead() {
        let none = Hadoop::none();
        check("", &none, "the path is empty");
        check(
            "s3a://bucket/x",
            &none,
            "`s3a://bucket/x` is in a file system this program does not know (`s3a`)…",
        );
        check(
            "file://elsewhere/x",
            &none,
            "`file://elsewhere/x` is no local path…",
        );
        check("file:x", &none, "`file:x` is no local path…");
        check(
            "hdfs://nn:8020",
            &none,
            "`hdfs://nn:8020` has no absolute path…",
        );
        check(
            "hdfs:///models",
            &none,
            "`hdfs:///models` does not say which HDFS…",
        );
        check(
            "hdfs://nn/a/../b",
            &none,
            "`hdfs://nn/a/../b` has a part `..`…",
        );
        check(
            "/models",
            &with_default_fs("viewfs://all/"),
            "`/models` is meant for the default file system `viewfs://all/`…",
        );
    }
}
