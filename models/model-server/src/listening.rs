//! From a bound port to a clean stop.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::EndpointFile;

/// How long requests under way may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Where a model listens and whom it tells.
#[derive(Clone, Debug, Args)]
pub struct Listening {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Write the URL to this file once everything is ready, and remove it at the end.
    #[arg(long, value_name = "FILE")]
    endpoint_file: Option<PathBuf>,
}

impl Listening {
    /// Removes an endpoint file left over, and binds the port.
    ///
    /// # Errors
    /// When there is no such host here, the port is taken, or the old file cannot be removed.
    pub async fn bind(&self) -> Result<Bound, ServeError> {
        if let Some(path) = &self.endpoint_file {
            EndpointFile::clear(path).map_err(|source| ServeError::OldEndpoint {
                path: path.clone(),
                source,
            })?;
        }
        let bound = Bound::bind(&self.listen).await?;
        Ok(Bound {
            endpoint_file: self.endpoint_file.clone(),
            ..bound
        })
    }
}

/// A port that is bound and not yet served: whoever connects now waits and is not turned away.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    url: String,
    endpoint_file: Option<PathBuf>,
}

impl Bound {
    /// Binds `HOST:PORT`; port 0 takes any free one.
    ///
    /// # Errors
    /// When there is no such host here, or the port is taken.
    pub async fn bind(address: &str) -> Result<Bound, ServeError> {
        let failed = |source| ServeError::Bind {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        // The name that was given, not the address it stands for: others know this machine by it.
        let host = address
            .rsplit_once(':')
            .map_or("127.0.0.1", |(host, _)| host);
        Ok(Bound {
            listener,
            url: format!("http://{host}:{port}"),
            endpoint_file: None,
        })
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        let address = self.listener.local_addr();
        address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
    }

    /// Writes the endpoint file, if one was asked for. It goes away with what is given back.
    ///
    /// # Errors
    /// When its folder cannot be written to.
    pub fn announce(&self, functions: &[(&str, &str)]) -> Result<Option<EndpointFile>, ServeError> {
        let Some(path) = &self.endpoint_file else {
            return Ok(None);
        };
        let file = EndpointFile::write(path, &self.url, functions);
        file.map(Some).map_err(|source| ServeError::Endpoint {
            path: path.clone(),
            source,
        })
    }

    /// Serves until `shutdown` completes, then lets what is under way finish.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        self,
        router: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let told = CancellationToken::new();
        let telling = told.clone().drop_guard();
        // Answers are small and whole, so that waiting for more to send would only delay them.
        let listener = self.listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "small answers may be delayed");
            }
        });
        let served = axum::serve(listener, router).with_graceful_shutdown(async move {
            shutdown.await;
            drop(telling);
        });
        let grace = async {
            told.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = served.into_future() => result.map_err(|source| ServeError::Serve { url: self.url, source }),
            () = grace => {
                tracing::warn!("stopped with requests under way");
                Ok(())
            }
        }
    }
}

/// Completes at the first SIGTERM or SIGINT from now on.
///
/// # Errors
/// When the process cannot listen to signals.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, ServeError> {
    let failed = |source| ServeError::Signals { source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Why a server did not come to serve, or no longer does.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No such host, or the port is taken.
    #[error("could not listen on `{address}`")]
    Bind {
        /// As it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// What an earlier process left.
    #[error("could not remove the old `{}`", path.display())]
    OldEndpoint {
        /// The endpoint file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The endpoint file.
    #[error("could not write `{}`", path.display())]
    Endpoint {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody could tell the process to stop.
    #[error("could not listen to signals")]
    Signals {
        /// What the system said.
        source: io::Error,
    },
    /// The listener.
    #[error("the server at `{url}` failed")]
    Serve {
        /// Where it answered.
        url: String,
        /// What the system said.
        source: io::Error,
    },
}
