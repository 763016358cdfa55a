//! A way to a server that can be made slow, lossy or cut: a TCP proxy on 127.0.0.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A proxy. When it is dropped, its connections end.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    cuts: watch::Sender<u64>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    latency_ms: AtomicU64,
    /// Of a hundred pieces of data, so many are held up as if they had been lost and sent again.
    lost_of_hundred: AtomicU64,
    cut: AtomicBool,
}

/// How long a lost piece is held up: TCP's shortest wait before it sends again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

impl Proxy {
    /// A proxy to `target`, which is `host:port`.
    ///
    /// # Panics
    ///
    /// When no port of 127.0.0.1 is to be had.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is to be had");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let (cuts, _) = watch::channel(0);
        let mut serving = JoinSet::new();
        serving.spawn(serve(
            listener,
            target.to_owned(),
            state.clone(),
            cuts.clone(),
        ));
        Self {
            address,
            state,
            cuts,
            _serving: serving,
        }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Holds up everything for so long, each way.
    pub fn set_latency(&self, latency: Duration) {
        let ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        self.state.latency_ms.store(ms, Ordering::SeqCst);
    }

    /// Loses so many of a hundred pieces of data, which then come later.
    pub fn set_loss(&self, of_hundred: u64) {
        self.state
            .lost_of_hundred
            .store(of_hundred, Ordering::SeqCst);
    }

    /// Breaks every connection and lets none through.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Breaks every connection that there is; new ones are let through.
    pub fn break_connections(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}

async fn serve(listener: TcpListener, target: String, state: Arc<State>, cuts: watch::Sender<u64>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.cut.load(Ordering::SeqCst) {
            continue;
        }
        let (target, state, mut cut) = (target.clone(), state.clone(), cuts.subscribe());
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(&target).await else {
                return;
            };
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::select! {
                () = pass(&mut from_client, &mut to_server, &state) => {}
                () = pass(&mut from_server, &mut to_client, &state) => {}
                _ = cut.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes data on, in order, each piece after its delay; what comes behind it travels at the same time.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    state: &State,
) {
    let (on_its_way, mut arrivals) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut pieces = 0_u64;
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let latency = Duration::from_millis(state.latency_ms.load(Ordering::SeqCst));
            // Spread evenly over the pieces, so that a test is the same every time.
            pieces += 1;
            let lost = state.lost_of_hundred.load(Ordering::SeqCst);
            let held_up = if (pieces * lost) % 100 < lost {
                RETRANSMISSION
            } else {
                Duration::ZERO
            };
            let arrival = (Instant::now() + latency + held_up, buffer[..read].to_vec());
            if on_its_way.send(arrival).is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = arrivals.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
