//! The URL of a model, kept to the letter.
//!
//! What a model wrote is what callers of all kinds read, so its text is never made prettier: `http://node1:80/` stays just
//! that, where a URL library would drop the port and add or remove slashes.

use std::fmt;

use url::Url;

/// A URL with a host, as text and taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl {
    text: String,
    parsed: Url,
}

impl EndpointUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// With the reason, when it is none, has no host, or holds a control character.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(control) = text.chars().find(|c| c.is_control()) {
            return Err(format!(
                "`{}` holds the control character {control:?}",
                text.escape_debug()
            ));
        }
        let parsed = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
        if parsed.host().is_none() {
            return Err(format!("`{text}` has no host"));
        }
        Ok(Self {
            text: text.to_owned(),
            parsed,
        })
    }

    /// The text, to the letter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL, taken apart.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.parsed
    }

    /// The host as it is written; an IPv6 address in its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host_and_port().0
    }

    /// The port, if one is written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.host_and_port().1
    }

    /// The same URL on another host, without credentials and fragment, which are nobody else's business.
    ///
    /// # Errors
    /// When `host` can't stand in a URL.
    pub fn on_host(&self, host: &str) -> Result<Self, String> {
        let host = match host.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("[{address}]"),
            Err(_) => host.to_owned(),
        };
        let (scheme, _, rest) = self.split();
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let port = self.port().map_or(String::new(), |port| format!(":{port}"));
        Self::parse(&format!("{scheme}://{host}{port}{rest}"))
    }

    /// Scheme, authority, and all behind it.
    fn split(&self) -> (&str, &str, &str) {
        let (scheme, rest) = self.text.split_once("://").unwrap_or(("", &self.text));
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (scheme, &rest[..end], &rest[end..])
    }

    fn host_and_port(&self) -> (&str, Option<u16>) {
        let (_, authority, _) = self.split();
        let address = authority
            .rsplit_once('@')
            .map_or(authority, |(_, address)| address);
        match address.rsplit_once(':') {
            Some((host, port)) if !host.contains('[') || host.ends_with(']') => {
                (host, port.parse().ok())
            }
            _ => (address, None),
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kept_to_the_letter() {
        for text in [
            "http://node1:80",
            "http://node1:80/",
            "http://node1",
            "HTTP://Node1:8080/a?b=c",
            "http://[::1]:443/x",
        ] {
            let url = EndpointUrl::parse(text).expect(text);
            assert_eq!(url.as_str(), text);
        }
        let check = |text: &str, host: &str, port: Option<u16>| {
            let url = EndpointUrl::parse(text).expect(text);
            assert_eq!((url.host(), url.port()), (host, port), "{text}");
        };
        check("http://node1:80/", "node1", Some(80));
        check("http://node1/a:b", "node1", None);
        check("http://[::1]/", "[::1]", None);
        check("http://[::1]:81", "[::1]", Some(81));
        check("http://user:secret@node1:82", "node1", Some(82));
    }

    #[test]
    fn on_another_host_all_but_credentials_and_fragment_stay() {
        let check = |text: &str, host: &str, made: &str| {
            assert_eq!(
                EndpointUrl::parse(text)
                    .expect(text)
                    .on_host(host)
                    .expect("a URL")
                    .as_str(),
                made
            );
        };
        check("http://0.0.0.0:1500", "node1", "http://node1:1500");
        check("http://localhost", "node1", "http://node1");
        check(
            "https://127.0.0.1:8443/a/b?x=1#f",
            "node1",
            "https://node1:8443/a/b?x=1",
        );
        check("http://user:pw@localhost:1/", "node1", "http://node1:1/");
        check("http://localhost:1", "fe80::1", "http://[fe80::1]:1");
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for bad in [
            "",
            "node1:80",
            "file:///etc/passwd",
            "http://",
            "http://node1/\n",
            "http://no de",
        ] {
            assert!(EndpointUrl::parse(bad).is_err(), "{bad} was accepted");
        }
    }
}
