//! `maas.json`: what a bundle may say about how its copies are to be run.
//!
//! ```json
//! {"health": "/health", "start_timeout_s": 30, "health_interval_ms": 2000}
//! ```
//! It is optional, lies at the bundle's top, and is read once, when the bundle has been fetched. A misspelt word would
//! otherwise be a setting that silently does not hold, so nothing unknown is passed over.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::untrusted;

/// The file's name.
const SETTINGS_FILE: &str = "maas.json";

/// The most bytes it may have.
const MAX_BYTES: u64 = 64 * 1024;

/// What holds for the copies of one bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BundleSettings {
    /// The path on the model's server that tells by its status whether the model is well.
    pub(super) health: Option<String>,
    /// How long the model may take until it answers, in place of the service's own time.
    pub(super) start_timeout: Option<Duration>,
    /// How often a serving model is asked, in place of the service's own time.
    pub(super) health_interval: Option<Duration>,
    /// Who may listen where the model says it answers.
    pub(super) listener: Listener,
}

/// Whose server may answer for a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Listener {
    /// One that its script started.
    #[default]
    Own,
    /// Any: one in a container, or a server for several models.
    Any,
}

/// The file's form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    health: Option<String>,
    start_timeout_s: Option<u64>,
    health_interval_ms: Option<u64>,
    listener: Option<Listener>,
}

impl BundleSettings {
    /// Reads the settings of the bundle in `folder`; where there is no file, nothing is set.
    ///
    /// # Errors
    /// With the reason, when the file is none of this form. It will be none the next time either.
    pub(super) fn read(folder: &Path) -> Result<Self, String> {
        let bytes = match untrusted::read(&folder.join(SETTINGS_FILE), MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{SETTINGS_FILE} can't be read: it {error}")),
        };
        Self::parse(&bytes).map_err(|why| format!("{SETTINGS_FILE} can't be used: {why}"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let within = |field: &str, value: Option<u64>, least: u64, most: u64| match value {
            Some(value) if !(least..=most).contains(&value) => Err(format!(
                "`{field}` is {value}; it must lie between {least} and {most}"
            )),
            value => Ok(value),
        };
        let start_timeout = within("start_timeout_s", written.start_timeout_s, 1, 86_400)?;
        let health_interval = within(
            "health_interval_ms",
            written.health_interval_ms,
            100,
            3_600_000,
        )?;
        if let Some(health) = &written.health
            && (!health.starts_with('/')
                || health.len() > 1024
                || !health.chars().all(|c| c.is_ascii_graphic() && c != '#'))
        {
            return Err(format!(
                "`health` is `{}`; it must be a path of printable characters that begins with `/`",
                health.escape_debug()
            ));
        }
        Ok(Self {
            health: written.health,
            start_timeout: start_timeout.map(Duration::from_secs),
            health_interval: health_interval.map(Duration::from_millis),
            listener: written.listener.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use test_support::TempDir;

    use super::*;

    #[test]
    fn all_that_can_be_said_is_understood() {
        let text = br#"{"health": "/health?deep=1", "start_timeout_s": 30, "health_interval_ms": 2000, "listener": "any"}"#;
        let all = BundleSettings {
            health: Some("/health?deep=1".to_owned()),
            start_timeout: Some(Duration::from_secs(30)),
            health_interval: Some(Duration::from_secs(2)),
            listener: Listener::Any,
        };
        assert_eq!(BundleSettings::parse(text), Ok(all));
        assert_eq!(BundleSettings::parse(b"{}"), Ok(BundleSettings::default()));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, named) in [
            (r#"{"helth": "/health"}"#, "unknown field `helth`"),
            (r#"{"health": "health"}"#, "`health` is `health`"),
            (r#"{"health": "/a b"}"#, "`health` is `/a b`"),
            (r#"{"health": "/a\r\nHost: x"}"#, r"`/a\r\nHost: x`"),
            (r#"{"start_timeout_s": 0}"#, "between 1 and 86400"),
            (r#"{"start_timeout_s": "30"}"#, "invalid type"),
            (r#"{"health_interval_ms": 1}"#, "between 100 and"),
            (r#"{"listener": "all"}"#, "unknown variant `all`"),
            ("[]", "invalid"),
            ("", "EOF"),
            (r#"{"start_timeout_s": 1} more"#, "trailing characters"),
        ] {
            let why = BundleSettings::parse(text.as_bytes()).expect_err(text);
            assert!(why.contains(named), "{text}: {why}");
        }
    }

    #[test]
    fn only_a_small_regular_file_is_read_and_none_need_be_there() {
        let folder = TempDir::new().expect("a folder");
        assert_eq!(
            BundleSettings::read(folder.path()),
            Ok(BundleSettings::default())
        );
        let file = folder.path().join(SETTINGS_FILE);
        std::os::unix::fs::symlink("/etc/passwd", &file).expect("linked");
        let why = BundleSettings::read(folder.path()).expect_err("a link");
        assert!(why.contains("is a symbolic link"), "{why}");
        std::fs::remove_file(&file).expect("removed");
        std::fs::write(&file, vec![b' '; 70_000]).expect("written");
        let why = BundleSettings::read(folder.path()).expect_err("large");
        assert!(why.contains("70000 bytes"), "{why}");
    }
}
