//! From a bound port to a clean stop.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long requests under way may take to finish once the server is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// A port that is bound and not yet served: whoever connects now waits and is not turned away.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    url: String,
}

impl Bound {
    /// Binds `HOST:PORT`; port 0 takes any free one.
    ///
    /// # Errors
    /// When there is no such host here, or the port is taken.
    pub async fn bind(address: &str) -> io::Result<Bound> {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        // The name that was given, not the address it stands for: others know this machine by it.
        let host = address
            .rsplit_once(':')
            .map_or("127.0.0.1", |(host, _)| host);
        Ok(Bound {
            listener,
            url: format!("http://{host}:{port}"),
        })
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `shutdown` completes, then lets what is under way finish.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        self,
        router: Router,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
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
            result = served.into_future() => result,
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
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
