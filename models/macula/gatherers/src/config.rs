//! Settings: which gatherers there are, and how each is asked. A gatherer that is not named here does not exist, so nothing
//! leaves this machine unless somebody wrote it down.
//!
//! ```toml
//! deadline = "2s"
//!
//! [cache]
//! disk = "/var/lib/macula/answers.redb"
//!
//! [gatherers.whoisxml]
//! key_file = "/etc/macula/whoisxml.key"
//! quota = { per_day = 500 }
//! cache = { ttl = "30days" }
//!
//! [gatherers.geo]
//! files = ["/usr/share/GeoIP/GeoLite2-City.mmdb"]
//!
//! [gatherers.dns]
//! resolve = { resolvers = ["192.0.2.53:53"] }
//! ```

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::breaker::BreakerPolicy;
use crate::gate::Tlp;
use crate::inside::Allowed;
use crate::query_log::QueryLogConfig;
use crate::quota::QuotaPolicy;
use crate::source::DnsConfig;
use crate::span::Span;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a question for features may take; what has not come by then is missing.
    pub deadline: Span,
    /// Ask nobody outside this machine.
    pub offline: bool,
    /// Private addresses, and names like `hq.corp`, of which others may be told all the same.
    pub allow: Vec<Allowed>,
    /// A folder of mappings; `censys.toml` there takes the place of the one that comes along.
    pub mappings: Option<PathBuf>,
    /// Where answers are kept.
    pub cache: StoreConfig,
    /// Where questions are logged.
    pub query_log: Option<QueryLogConfig>,
    /// The gatherers.
    pub gatherers: BTreeMap<String, GathererConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            deadline: Span::seconds(2),
            offline: false,
            allow: Vec::new(),
            mappings: None,
            cache: StoreConfig::default(),
            query_log: None,
            gatherers: BTreeMap::new(),
        }
    }
}

/// Where answers are kept besides memory: nowhere, in a file or in a database.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// A file; every copy needs its own.
    pub disk: Option<PathBuf>,
    /// A PostgreSQL connection string, for copies that share their answers.
    pub postgres: Option<String>,
}

impl std::fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The connection string may hold a password.
        let postgres = self.postgres.as_ref().map(|_| "…");
        f.debug_struct("StoreConfig")
            .field("disk", &self.disk)
            .field("postgres", &postgres)
            .finish()
    }
}

/// One gatherer. What is not said is as its mapping has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GathererConfig {
    /// Whether it is asked.
    pub enabled: bool,
    /// Where the service answers.
    pub base_url: Option<String>,
    /// The file with the key.
    pub key_file: Option<PathBuf>,
    /// The environment variable with the key; `MACULA_<NAME>_KEY` if neither is said.
    pub key_env: Option<String>,
    /// Words that its requests need, like a user's name.
    pub parameters: BTreeMap<String, String>,
    /// How its answers are remembered.
    pub cache: Option<toml::Table>,
    /// How often it may be asked.
    pub quota: Option<QuotaPolicy>,
    /// When it is left alone.
    pub breaker: Option<BreakerPolicy>,
    /// How long an answer may take.
    pub timeout: Option<Span>,
    /// The strictest marking it may hear of.
    pub max_tlp: Option<Tlp>,
    /// For `geo`: database files to read instead of asking the service.
    pub files: Vec<PathBuf>,
    /// For `safe_browsing`: its list.
    pub list: Option<PathBuf>,
    /// For `dns`: how names are resolved.
    pub resolve: DnsConfig,
}

impl Default for GathererConfig {
    fn default() -> Self {
        GathererConfig {
            enabled: true,
            base_url: None,
            key_file: None,
            key_env: None,
            parameters: BTreeMap::new(),
            cache: None,
            quota: None,
            breaker: None,
            timeout: None,
            max_tlp: None,
            files: Vec::new(),
            list: None,
            resolve: DnsConfig::default(),
        }
    }
}

impl Config {
    /// Reads settings.
    ///
    /// # Errors
    /// When the text is no TOML, or has a setting that there is not.
    pub fn parse(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }
}

impl GathererConfig {
    /// The key, from where the settings say; `None` when there is none.
    ///
    /// # Errors
    /// When the file that should hold it cannot be read.
    pub(crate) fn key(&self, gatherer: &str) -> Result<Option<String>, KeyError> {
        if let Some(path) = &self.key_file {
            return read_key(path).map(Some);
        }
        let usual = || format!("MACULA_{}_KEY", gatherer.to_ascii_uppercase());
        let variable = self.key_env.clone().unwrap_or_else(usual);
        let key = env::var(variable).ok();
        Ok(key.filter(|key| !key.is_empty()))
    }
}

fn read_key(path: &Path) -> Result<String, KeyError> {
    let text = fs::read_to_string(path).map_err(|source| KeyError {
        path: path.into(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

/// A key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the key file `{path}` cannot be read")]
pub struct KeyError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_this_toml_and_misspelt_ones_are_refused() {
        let text = r#"
            deadline = "500ms"
            [cache]
            postgres = "host=db password=secret"
            [gatherers.whoisxml]
            key_env = "W"
            cache = { ttl = "30days" }
            [gatherers.dns]
            resolve = { resolvers = ["192.0.2.53:53"], allow = ["10.0.0.0/8"] }
        "#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.deadline.to_string(), "500ms");
        assert_eq!(config.gatherers.len(), 2);
        assert!(!format!("{config:?}").contains("secret"));
        assert!(Config::parse("[gatherers.geo]\nfile = []").is_err());
        // Now and so long together are no time that there is.
        let endless = Config::parse("deadline = \"500000000000years\"").unwrap_err();
        assert!(endless.to_string().contains("100 years"), "{endless}");
    }

    #[test]
    fn the_settings_and_the_mapping_that_the_readme_shows_are_good() {
        let readme = include_str!("../README.md");
        let shown = readme.split("```toml\n").skip(1);
        let shown: Vec<&str> = shown.filter_map(|rest| rest.split("```").next()).collect();
        let [settings, mapping] = shown[..] else {
            panic!("{} pieces of TOML", shown.len());
        };
        assert_eq!(Config::parse(settings).unwrap().gatherers.len(), 4);
        let mapping = crate::mapping::Mapping::parse(mapping).unwrap();
        assert_eq!(mapping.features().len(), 2);
    }
}
