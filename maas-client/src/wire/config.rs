//! The config node: where the queue and the registry lie.
//!
//! ```json
//! {"queue":"ZOOKEEPER","queueConfig":{"zk_path":"/maas/queue"},"serviceRoot":"/maas/service"}
//! ```
//! Nothing ever creates it; most installations run on the defaults.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{WireError, fields, lenient_text};

/// The key inside `queueConfig`, the one place where old readers accept more than they know, that moves our own tree.
pub const STATE_PATH_KEY: &str = "maas_state_path";

/// The key inside `queueConfig` that says how many requests may wait in the queue before senders are turned away.
pub const QUEUE_LIMIT_KEY: &str = "maas_queue_limit";

/// How many requests may wait in the queue unless the config node says otherwise.
pub const DEFAULT_QUEUE_LIMIT: u32 = 20_000;

/// What the config node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaasConfig {
    /// `queueConfig.zk_path`
    pub queue_path: String,
    /// `serviceRoot`
    pub service_root: String,
    /// `queueConfig.maas_state_path`
    pub state_root: String,
    /// `queueConfig.maas_queue_limit`
    pub queue_limit: u32,
}

impl Default for MaasConfig {
    fn default() -> Self {
        Self {
            queue_path: "/maas/queue".to_owned(),
            service_root: "/maas/service".to_owned(),
            state_root: "/maas/state".to_owned(),
            queue_limit: DEFAULT_QUEUE_LIMIT,
        }
    }
}

impl MaasConfig {
    /// Reads the node's data.
    ///
    /// # Errors
    /// When the data is no JSON object, names an unknown field or another queue than `ZOOKEEPER`, or lacks a path the
    /// original would not run without.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let fields = fields(bytes)?;
        if let Some(unknown) = fields
            .keys()
            .find(|k| !["queue", "queueConfig", "serviceRoot"].contains(&k.as_str()))
        {
            return Err(WireError::field(
                unknown,
                "is not a field of the config node",
            ));
        }
        let get = |name: &str| fields.get(name).map(AsRef::<RawValue>::as_ref);
        if fields.contains_key("queue")
            && lenient_text("queue", get("queue"))?.as_deref() != Some("ZOOKEEPER")
        {
            return Err(WireError::field(
                "queue",
                "must be \"ZOOKEEPER\", the only kind of queue there is",
            ));
        }
        let mut config = Self::default();
        if let Some(queue_config) = get("queueConfig") {
            let keys = self::fields(queue_config.get().as_bytes())
                .map_err(|_| WireError::field("queueConfig", "must be an object"))?;
            let text = |key: &str| lenient_text(key, keys.get(key).map(AsRef::<RawValue>::as_ref));
            config.queue_path = text("zk_path")?.ok_or_else(|| {
                WireError::field("queueConfig", "must hold zk_path, the path of the queue")
            })?;
            if let Some(state_root) = text(STATE_PATH_KEY)? {
                config.state_root = state_root;
            }
            if let Some(limit) = text(QUEUE_LIMIT_KEY)? {
                config.queue_limit = limit.trim().parse().map_err(|_| {
                    WireError::field(
                        "queueConfig",
                        format!("has {QUEUE_LIMIT_KEY} `{limit}`, which is no number of requests"),
                    )
                })?;
            }
        }
        if fields.contains_key("serviceRoot") {
            config.service_root = lenient_text("serviceRoot", get("serviceRoot"))?
                .ok_or_else(|| WireError::field("serviceRoot", "must not be null"))?;
        }
        Ok(config)
    }

    /// The node's data, as the original writes it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            queue: &'static str,
            queue_config: QueueConfig<'a>,
            service_root: &'a str,
        }
        #[derive(Serialize)]
        struct QueueConfig<'a> {
            zk_path: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            maas_state_path: Option<&'a str>,
        }
        let moved = self.state_root != Self::default().state_root;
        let document = Document {
            queue: "ZOOKEEPER",
            queue_config: QueueConfig {
                zk_path: &self.queue_path,
                maas_state_path: moved.then_some(self.state_root.as_str()),
            },
            service_root: &self.service_root,
        };
        serde_json::to_vec(&document).expect("texts always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"queue":"ZOOKEEPER","queueConfig":{"zk_path":"/maas/queue"},"serviceRoot":"/maas/service"}"#;

    #[test]
    fn the_defaults_are_written_as_the_original_writes_them() {
        assert_eq!(
            String::from_utf8(MaasConfig::default().to_bytes()).expect("UTF-8"),
            GOLDEN
        );
        assert_eq!(GOLDEN.len(), 91);
    }

    #[test]
    fn missing_fields_take_their_defaults() {
        assert_eq!(
            MaasConfig::parse(b"{}").expect("a config"),
            MaasConfig::default()
        );
        assert_eq!(
            MaasConfig::parse(GOLDEN.as_bytes()).expect("a config"),
            MaasConfig::default()
        );
        assert_eq!(
            MaasConfig::parse(br#"{"serviceRoot":"/s"} trailing"#)
                .expect("a config")
                .service_root,
            "/s"
        );
    }

    #[test]
    fn our_own_tree_moves_by_a_key_old_readers_accept() {
        let config = MaasConfig::parse(
            br#"{"queueConfig":{"zk_path":"/q","maas_state_path":"/st","other":[1]}}"#,
        );
        let config = config.expect("a config");
        assert_eq!(
            (config.queue_path.as_str(), config.state_root.as_str()),
            ("/q", "/st")
        );
        assert_eq!(
            MaasConfig::parse(&config.to_bytes()).expect("a config"),
            config
        );
    }

    #[test]
    fn what_kills_the_original_is_an_error_here() {
        for bad in [
            "",
            "null",
            "[]",
            r#"{"queueConfig":{}}"#,
            r#"{"queue":"KAFKA"}"#,
            r#"{"extra":1}"#,
            r#"{"serviceRoot":null}"#,
        ] {
            assert!(
                MaasConfig::parse(bad.as_bytes()).is_err(),
                "{bad} was accepted"
            );
        }
    }
}
