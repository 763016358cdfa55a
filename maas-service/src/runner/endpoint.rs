//! `endpoint.dat`: waiting for it, reading it without trusting it, and making its URL one that other hosts can use.
//!
//! A model is hostile input. The file may be a link to somewhere else, a pipe that never ends, a gigabyte, or garbage; it
//! may name another host to which all callers would then be sent. None of that may do more than fail this one copy.

use std::io;
use std::mem::MaybeUninit;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use maas_client::endpoint_url::EndpointUrl;
use maas_client::wire::endpoint_dat::{EndpointDat, MAX_ENDPOINT_BYTES};
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use url::Host;

use crate::process::watched;
use crate::untrusted;

/// The file's name, in the folder the script runs in.
pub(super) const ENDPOINT_FILE: &str = "endpoint.dat";

/// What stands in `endpoint.dat` at this moment.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// Something that may still become an endpoint: it is perhaps being written.
    NotYet(String),
    /// An endpoint.
    Endpoint(EndpointDat),
    /// Something that will never be one.
    Never(String),
}

/// Reads the file as it is now: never through a link, never more than its limit, never waiting.
#[must_use]
pub(super) fn read(folder: &Path) -> Found {
    let bytes = match untrusted::read(&folder.join(ENDPOINT_FILE), MAX_ENDPOINT_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge
            ) =>
        {
            return Found::Never(format!("endpoint.dat {error}"));
        }
        Err(error) => return Found::NotYet(format!("endpoint.dat can't be read: {error}")),
    };
    match EndpointDat::parse(&bytes) {
        Ok(endpoint) => Found::Endpoint(endpoint),
        Err(_) if bytes.is_empty() => Found::Nothing,
        Err(error) => Found::NotYet(format!("endpoint.dat is not usable yet: {error}")),
    }
}

/// Tells when something in a folder changed.
pub(super) struct FolderWatch {
    /// None where the system has no watch to spare; then the folder is looked at from time to time.
    events: Option<AsyncFd<OwnedFd>>,
}

impl FolderWatch {
    /// Watches `folder`.
    #[must_use]
    pub(super) fn new(folder: &Path) -> Self {
        let watch = || -> std::io::Result<AsyncFd<OwnedFd>> {
            use inotify::{CreateFlags, WatchFlags};
            let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            let flags = WatchFlags::CREATE
                | WatchFlags::MODIFY
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_TO;
            inotify::add_watch(&fd, folder, flags)?;
            watched(fd)
        };
        let events = watch().inspect_err(|error| {
            tracing::warn!(%error, "no file watch is to be had; endpoint.dat is looked at from time to time instead");
        });
        Self {
            events: events.ok(),
        }
    }

    /// One as where no watch is to be had.
    #[cfg(test)]
    pub(super) fn unwatched() -> Self {
        Self { events: None }
    }

    /// Waits until something changed, or until it is worth looking anyway: where there is no watch, after `pause`.
    pub(super) async fn changed(&mut self, pause: Duration) {
        let Some(events) = &self.events else {
            return tokio::time::sleep(pause).await;
        };
        // Some network file systems report nothing; a look each second keeps them working.
        let Ok(Ok(mut ready)) =
            tokio::time::timeout(Duration::from_secs(1), events.readable()).await
        else {
            return;
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(events.get_ref(), &mut buffer);
        // Not without end: a model can make changes faster than they are read.
        if (0..100).any(|_| reader.next().is_err()) {
            ready.clear_ready();
        }
    }
}

/// The URL under which other hosts reach what the model calls `url`.
///
/// # Errors
/// With the reason, when it is no `http` or `https` URL, or one of another host.
pub(super) async fn public_url(url: &str, hostname: &str) -> Result<EndpointUrl, String> {
    let written = EndpointUrl::parse(url)
        .map_err(|why| format!("endpoint.dat names a URL that can't be used: {why}"))?;
    let scheme = written.url().scheme();
    if !matches!(scheme, "http" | "https") {
        return Err(format!(
            "endpoint.dat names `{url}`; models are called by http or https, not by {scheme}"
        ));
    }
    let Some(host) = written.url().host() else {
        return Err(format!("endpoint.dat names `{url}`, which has no host"));
    };
    if means_here(&host) {
        return written.on_host(hostname);
    }
    let name = host.to_string();
    if name.eq_ignore_ascii_case(hostname) || is_this_host(name.clone()).await {
        return written.on_host(&name);
    }
    Err(format!(
        "endpoint.dat names `{url}`, and `{name}` is not this host ({hostname}); calls would go elsewhere"
    ))
}

/// Loopback and wildcard, in all their spellings.
fn means_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
        Host::Ipv6(address) => {
            address.is_loopback()
                || address.is_unspecified()
                || address
                    .to_ipv4_mapped()
                    .is_some_and(|v4| v4.is_loopback() || v4.is_unspecified())
        }
    }
}

/// Whether every address of a name belongs to this host: only then can a socket be bound to it.
pub async fn is_this_host(name: String) -> bool {
    let resolve = move || {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<_> = (name, 0)
            .to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default();
        !addresses.is_empty()
            && addresses
                .iter()
                .all(|address| UdpSocket::bind(address).is_ok())
    };
    tokio::task::spawn_blocking(resolve).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use test_support::TempDir;

    use super::*;

    fn found(make: impl FnOnce(&Path)) -> Found {
        let folder = TempDir::new().expect("a folder");
        make(&folder.path().join(ENDPOINT_FILE));
        read(folder.path())
    }

    #[test]
    fn only_a_small_regular_file_of_its_own_is_read() {
        assert!(matches!(found(|_| ()), Found::Nothing));
        let good = found(|file| fs::write(file, r#"{"url":"http://0.0.0.0:1"}"#).expect("written"));
        assert!(matches!(good, Found::Endpoint(e) if e.url == "http://0.0.0.0:1"));
        assert!(matches!(
            found(|file| fs::write(file, r#"{"url":"#).expect("written")),
            Found::NotYet(_)
        ));
        let link = found(|file| std::os::unix::fs::symlink("/etc/passwd", file).expect("linked"));
        assert!(matches!(link, Found::Never(why) if why.contains("symbolic link")));
        assert!(matches!(
            found(|file| fs::create_dir(file).expect("made")),
            Found::Never(_)
        ));
        let gigabyte = found(|file| {
            File::create(file)
                .expect("made")
                .set_len(1 << 30)
                .expect("grown")
        });
        assert!(matches!(gigabyte, Found::Never(why) if why.contains("1073741824 bytes")));
        let pipe = found(|file| {
            let made = std::process::Command::new("mkfifo").arg(file).status();
            assert!(made.expect("mkfifo").success());
        });
        assert!(matches!(pipe, Found::Never(why) if why.contains("a pipe")));
    }

    #[tokio::test]
    async fn hosts_that_mean_here_become_the_public_name() {
        for (given, made) in [
            ("http://0.0.0.0:1500", "http://node1:1500"),
            ("http://localhost", "http://node1"),
            ("http://LOCALHOST:1", "http://node1:1"),
            ("http://127.0.0.2:5/a", "http://node1:5/a"),
            ("http://user:secret@[::1]:80/", "http://node1:80/"),
            ("http://[::]:81", "http://node1:81"),
            ("http://[::ffff:127.0.0.1]:81", "http://node1:81"),
            (
                "https://127.0.0.1:8443/a/b?x=1#f",
                "https://node1:8443/a/b?x=1",
            ),
            ("http://node1:5/x", "http://node1:5/x"),
        ] {
            assert_eq!(
                public_url(given, "node1").await.expect(given).as_str(),
                made
            );
        }
        assert_eq!(
            public_url("http://localhost:1/", "fe80::1")
                .await
                .expect("IPv6")
                .as_str(),
            "http://[fe80::1]:1/"
        );
    }

    #[tokio::test]
    async fn what_would_send_callers_elsewhere_is_refused() {
        for bad in [
            "http://192.0.2.1:80",
            "http://no-such-host.invalid:1",
            "",
            "node1:80",
            "file:///etc/passwd",
            "tcp://localhost:1",
            "http://localhost/\u{1b}[2J",
        ] {
            assert!(
                public_url(bad, "node1").await.is_err(),
                "{bad} was accepted"
            );
        }
    }
}
