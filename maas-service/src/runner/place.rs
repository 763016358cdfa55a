//! Where a copy answers: found out from `endpoint.dat`, asked, and followed when the model moves.

use std::path::PathBuf;
use std::time::Duration;

use maas_client::endpoint_url::EndpointUrl;
use maas_client::wire::endpoint_dat::EndpointDat;
use maas_client::wire::state::Phase;
use tracing::warn;

use super::endpoint::{self, FolderWatch, Found};
use super::fault::Outcome;
use super::probe;
use super::settings::{BundleSettings, Listener};
use super::sockets;
use super::status::Status;
use crate::crash::{Point, crash_point};

/// The longest pause between two questions to a model that does not answer yet.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How often a serving model's `endpoint.dat` is looked at, however often the model writes into its folder.
const LOOK: Duration = Duration::from_millis(100);

/// How often `endpoint.dat` is looked for where nothing tells of changes.
const LOOK_FOR: Duration = Duration::from_millis(20);

/// How often it is looked at there when the model serves, which may be for months.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Where a copy answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The URL by which other hosts reach it.
    pub(super) url: EndpointUrl,
    /// What `endpoint.dat` said.
    pub(super) written: EndpointDat,
}

/// What is needed to find out where a copy answers.
pub(super) struct Search {
    /// The folder the script runs in.
    pub(super) work: PathBuf,
    /// The name of this host in published URLs.
    pub(super) hostname: String,
    /// What the bundle says.
    pub(super) settings: BundleSettings,
    /// The process below which all of the model is.
    pub(super) warden: u32,
}

impl Search {
    /// Waits for `endpoint.dat`, and asks the URL until it answers. Keeps `progress` telling what is being waited for.
    ///
    /// # Errors
    /// With what becomes of the attempt, when the file will never do.
    pub(super) async fn find(
        &self,
        changes: &mut FolderWatch,
        status: &mut Status,
        progress: &mut String,
    ) -> Result<Place, Outcome> {
        let mut pause = Duration::from_millis(5);
        let mut place: Option<Place> = None;
        let mut told = String::new();
        loop {
            let written = self.await_endpoint(changes, status, progress).await?;
            crash_point(Point::RunnerAfterEndpoint);
            // It may have been written anew since it was last looked at.
            let asked = match place.take() {
                Some(place) if place.written == written => place,
                _ => {
                    status.enter(Phase::Probing, None);
                    pause = Duration::from_millis(5);
                    told.clear();
                    self.place(written)
                        .await
                        .map_err(|why| Outcome::Failed(why.into()))?
                }
            };
            match self.ask(&asked).await {
                Ok(()) => return Ok(asked),
                Err(why) => {
                    // What passes within moments is not worth telling everybody.
                    if pause >= LONGEST_PAUSE && told != why {
                        status.enter(Phase::Probing, Some(why.clone()));
                        told.clone_from(&why);
                    }
                    *progress = why;
                }
            }
            place = Some(asked);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn await_endpoint(
        &self,
        changes: &mut FolderWatch,
        status: &mut Status,
        progress: &mut String,
    ) -> Result<EndpointDat, Outcome> {
        loop {
            match endpoint::read(&self.work) {
                Found::Endpoint(endpoint) => return Ok(endpoint),
                Found::Never(why) => return Err(Outcome::Failed(why.into())),
                Found::NotYet(why) if *progress != why => {
                    status.enter(Phase::Starting, Some(why.clone()));
                    *progress = why;
                }
                Found::NotYet(_) | Found::Nothing => {}
            }
            changes.changed(LOOK_FOR).await;
        }
    }

    async fn place(&self, written: EndpointDat) -> Result<Place, String> {
        let url = endpoint::public_url(&written.url, &self.hostname).await?;
        Ok(Place { url, written })
    }

    /// Asks once whether the model answers there.
    async fn ask(&self, place: &Place) -> Result<(), String> {
        let health = self.settings.health.as_deref();
        let Err(why) = probe::ask(place.url.url(), health).await else {
            return self.check_listener(&place.url).await;
        };
        match EndpointUrl::parse(&place.written.url) {
            // The usual mistake: other hosts can't reach what listens on the loopback address only.
            Ok(written)
                if written.host() != place.url.host()
                    && probe::ask(written.url(), health).await.is_ok() =>
            {
                Err(format!(
                    "{why}, though {written} answers; the server must listen on 0.0.0.0 or on $MAAS_HOST"
                ))
            }
            _ => Err(why),
        }
    }

    /// Whether it is the model that answers at a URL of this host, as far as that can be told.
    async fn check_listener(&self, url: &EndpointUrl) -> Result<(), String> {
        let (Listener::Own, Some(port)) =
            (self.settings.listener, url.url().port_or_known_default())
        else {
            return Ok(());
        };
        let warden = self.warden;
        let found = tokio::task::spawn_blocking(move || sockets::stranger_at(port, warden));
        match found.await.unwrap_or_default() {
            None => Ok(()),
            Some(stranger) => Err(format!(
                "{stranger} listens at {url}, and is no process of this copy; is the port taken?"
            )),
        }
    }

    /// Waits until the model has written another endpoint, and it answers there. What is wrong with one is told in the
    /// log, and where the model answered before stays its place.
    pub(super) async fn moved(&self, changes: &mut FolderWatch, current: &Place) -> Place {
        let mut told = String::new();
        loop {
            changes.changed(LOOK_AGAIN).await;
            let trouble = match endpoint::read(&self.work) {
                Found::Endpoint(written) if written == current.written => String::new(),
                Found::Nothing => String::new(),
                Found::Never(why) | Found::NotYet(why) => why,
                Found::Endpoint(written) => match self.place(written).await {
                    Err(why) => why,
                    Ok(place) => match self.ask(&place).await {
                        Ok(()) => return place,
                        Err(why) => why,
                    },
                },
            };
            if !trouble.is_empty() && trouble != told {
                warn!(reason = %trouble, "endpoint.dat was written anew and can't be used; the copy stays where it is");
            }
            told = trouble;
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use test_support::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_model_that_moves_is_followed_also_where_no_watch_is_to_be_had_and_looked_at_seldom()
    {
        let folder = TempDir::new().expect("a folder");
        let search = Search {
            work: folder.path().to_owned(),
            hostname: "127.0.0.1".to_owned(),
            settings: BundleSettings {
                listener: Listener::Any,
                ..BundleSettings::default()
            },
            warden: std::process::id(),
        };
        let written = |url: &str| {
            let json = format!(r#"{{"url":"{url}"}}"#);
            EndpointDat::parse(json.as_bytes()).expect("an endpoint")
        };
        let before = search.place(written("http://127.0.0.1:1")).await;
        let before = before.expect("a place");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let json = format!(r#"{{"url":"{url}"}}"#);
        std::fs::write(folder.path().join(endpoint::ENDPOINT_FILE), json).expect("written");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut first = [0; 4];
            stream.read_exact(&mut first).await.expect("a request");
            let answer = b"HTTP/1.1 200 OK\r\n\r\n";
            stream.write_all(answer).await.expect("written");
        };
        let began = Instant::now();
        let mut changes = FolderWatch::unwatched();
        let (after, ()) = tokio::join!(search.moved(&mut changes, &before), serve);
        assert!(began.elapsed() >= LOOK_AGAIN, "{:?}", began.elapsed());
        assert_eq!(after.written, written(&url));
    }
}
