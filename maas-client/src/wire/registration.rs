//! A running copy in the registry: Curator x-discovery's `ServiceInstance` with Metron's `ModelEndpoint` as its payload.
//!
//! ```json
//! {"name":"dga","id":"2","address":"node1","port":36161,"sslPort":null,"payload":{"@class":"org.apache.metron.maas.config.ModelEndpoint","endpoint":{"url":"http://node1:36161","functions":{"apply":"apply"}},"name":"dga","version":"1.0","containerId":"2"},"registrationTimeUTC":1571163620277,"serviceType":"STATIC","uriSpec":null}
//! ```
//! Written with exactly these fields in this order: one field more, and every old reader goes blind. Read as Curator 4 and
//! later read it; readers trust the payload, not the envelope around it.

use super::endpoint_dat::Functions;
use super::{WireError, fields, lenient_long, lenient_text};
use crate::endpoint_url::EndpointUrl;
use crate::name::{InstanceId, ModelName, Version};
use serde::Serialize;
use serde_json::value::RawValue;

const PAYLOAD_CLASS: &str = "org.apache.metron.maas.config.ModelEndpoint";

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
    /// Which copy. Old daemons write small numbers, we write ids that are unique for ever.
    pub instance: InstanceId,
    /// Where it answers.
    pub url: EndpointUrl,
    /// Its functions.
    pub functions: Functions,
    /// When it was registered, in milliseconds since 1970.
    pub registered_ms: i64,
}

impl Registration {
    /// Reads an entry's data.
    ///
    /// # Errors
    /// When it is no entry of a model: callers set it aside and go on with its neighbours.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let envelope = fields(bytes)?;
        let payload = envelope
            .get("payload")
            .and_then(|p| fields(p.get().as_bytes()).ok())
            .ok_or_else(|| WireError::field("payload", "is missing or no object"))?;
        let text = |field: &'static str| {
            lenient_text(field, payload.get(field).map(AsRef::<RawValue>::as_ref))?
                .ok_or_else(|| WireError::field(field, "is missing in the payload"))
        };
        let class = text("@class")?;
        if class != PAYLOAD_CLASS {
            return Err(WireError::field(
                "@class",
                format!("is `{class}`, not a model's"),
            ));
        }
        let endpoint = payload
            .get("endpoint")
            .and_then(|e| fields(e.get().as_bytes()).ok())
            .ok_or_else(|| WireError::field("endpoint", "is missing or no object"))?;
        let url = lenient_text("url", endpoint.get("url").map(AsRef::<RawValue>::as_ref))?
            .ok_or_else(|| WireError::field("url", "is missing"))?;
        let functions = match endpoint.get("functions") {
            None => Functions::default(),
            Some(null) if null.get() == "null" => Functions::none(),
            Some(value) => Functions::parse(value)?,
        };
        Ok(Self {
            name: ModelName::new(text("name")?)
                .map_err(|e| WireError::field("name", e.to_string()))?,
            version: Version::new(text("version")?)
                .map_err(|e| WireError::field("version", e.to_string()))?,
            instance: InstanceId::new(text("containerId")?)
                .map_err(|e| WireError::field("containerId", e.to_string()))?,
            url: EndpointUrl::parse(&url).map_err(|why| WireError::field("url", why))?,
            functions,
            registered_ms: lenient_long(
                "registrationTimeUTC",
                envelope
                    .get("registrationTimeUTC")
                    .map(AsRef::<RawValue>::as_ref),
            )?,
        })
    }

    /// Whether an entry says of itself that it is switched off: newer Curators write `"enabled":false` for that.
    #[must_use]
    pub fn is_disabled(bytes: &[u8]) -> bool {
        fields(bytes).is_ok_and(|f| {
            f.get("enabled")
                .is_some_and(|enabled| enabled.get() == "false")
        })
    }

    /// The entry's data, as Curator 2.7.1 and 5.4.0 write it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            name: &'a str,
            id: &'a str,
            address: &'a str,
            port: i32,
            ssl_port: Option<u16>,
            payload: Payload<'a>,
            #[serde(rename = "registrationTimeUTC")]
            registration_time_utc: i64,
            service_type: &'static str,
            uri_spec: Option<&'static str>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload<'a> {
            #[serde(rename = "@class")]
            class: &'static str,
            endpoint: Endpoint<'a>,
            name: &'a str,
            version: &'a str,
            container_id: &'a str,
        }
        #[derive(Serialize)]
        struct Endpoint<'a> {
            url: &'a str,
            functions: &'a Functions,
        }
        let envelope = Envelope {
            name: self.name.as_str(),
            id: self.instance.as_str(),
            address: self.url.host(),
            port: self.url.port().map_or(-1, i32::from),
            ssl_port: None,
            payload: Payload {
                class: PAYLOAD_CLASS,
                endpoint: Endpoint {
                    url: self.url.as_str(),
                    functions: &self.functions,
                },
                name: self.name.as_str(),
                version: self.version.as_str(),
                container_id: self.instance.as_str(),
            },
            registration_time_utc: self.registered_ms,
            service_type: "STATIC",
            uri_spec: None,
        };
        serde_json::to_vec(&envelope).expect("texts and numbers always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"name":"dga","id":"2","address":"node1","port":36161,"sslPort":null,"payload":{"@class":"org.apache.metron.maas.config.ModelEndpoint","endpoint":{"url":"http://node1:36161","functions":{"apply":"apply"}},"name":"dga","version":"1.0","containerId":"2"},"registrationTimeUTC":1571163620277,"serviceType":"STATIC","uriSpec":null}"#;

    #[test]
    fn an_entry_is_written_as_curator_writes_it() {
        let entry = Registration::parse(GOLDEN.as_bytes()).expect("an entry");
        assert_eq!(String::from_utf8(entry.to_bytes()).expect("UTF-8"), GOLDEN);
        assert_eq!(GOLDEN.len(), 327);
    }

    #[test]
    fn a_url_without_port_is_registered_with_minus_one() {
        let mut entry = Registration::parse(GOLDEN.as_bytes()).expect("an entry");
        entry.url = EndpointUrl::parse("http://node1/base?q=1").expect("a URL");
        let written = String::from_utf8(entry.to_bytes()).expect("UTF-8");
        assert!(
            written.contains(r#""address":"node1","port":-1,"#)
                && written.contains(r#""http://node1/base?q=1""#)
        );
    }

    #[test]
    fn entries_are_read_as_newer_curators_read_them() {
        let check = |from: &str, to: &str| Registration::parse(GOLDEN.replace(from, to).as_bytes());
        for (from, to) in [
            (r#""port":36161,"#, r#""port":"36161","#),
            (r#""port":36161,"#, ""),
            (
                r#""uriSpec":null"#,
                r#""uriSpec":{"parts":[]},"enabled":true,"more":1"#,
            ),
            (r#""containerId":"2""#, r#""containerId":2,"extra":{}"#),
            (r#":1571163620277"#, r#":"1571163620277""#),
            (r#""STATIC""#, r#""DYNAMIC_SEQUENTIAL""#),
        ] {
            let entry = check(from, to).unwrap_or_else(|e| panic!("{to}: {e}"));
            assert_eq!(
                (entry.instance.as_str(), entry.url.port()),
                ("2", Some(36161))
            );
        }
        let defaulted = check(r#","functions":{"apply":"apply"}"#, "").expect("an entry");
        assert_eq!(defaulted.functions.get("apply"), Some("apply"));
        let nulled = check(r#"{"apply":"apply"}"#, "null").expect("an entry");
        assert_eq!(nulled.functions.iter().count(), 0);
    }

    #[test]
    fn what_is_no_models_entry_is_an_error() {
        let check = |from: &str, to: &str| Registration::parse(GOLDEN.replace(from, to).as_bytes());
        assert!(
            check(
                r#""@class":"org.apache.metron.maas.config.ModelEndpoint","#,
                ""
            )
            .is_err()
        );
        assert!(check("ModelEndpoint", "Other").is_err());
        assert!(check(r#""version":"1.0""#, r#""version":null"#).is_err());
        assert!(check("http://node1:36161", "not a URL").is_err());
        assert!(check(r#""name":"dga","version""#, r#""name":"a/b","version""#).is_err());
        for bad in ["", "null", "127.0.0.1", "{}"] {
            assert!(Registration::parse(bad.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_switched_off_entry_is_recognised() {
        assert!(Registration::is_disabled(
            GOLDEN
                .replace(r#""uriSpec":null"#, r#""uriSpec":null,"enabled":false"#)
                .as_bytes()
        ));
        assert!(!Registration::is_disabled(GOLDEN.as_bytes()));
    }
}
