//! A way to a server that can be made slow, lossy or cut, or be stopped up one way: a TCP proxy on 127.0.0.1.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    requests: Way,
    answers: Way,
}

/// One way of the two, from client to server or back, of all connections.
#[derive(Debug, Default)]
struct Way {
    stopped_up: watch::Sender<bool>,
    /// What has been sent since it was stopped up.
    held: Mutex<Vec<u8>>,
}

impl Way {
    fn set_stopped_up(&self, stopped_up: bool) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clear();
        self.stopped_up.send_replace(stopped_up);
    }

    /// Keeps in mind what is sent while nothing gets through.
    fn note(&self, piece: &[u8]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.stopped_up.borrow() {
            held.extend_from_slice(piece);
        }
    }

    async fn is_open(&self) {
        let mut stopped_up = self.stopped_up.subscribe();
        let _it_lives_as_long_as_we = stopped_up.wait_for(|stopped_up| !*stopped_up).await;
    }
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

    /// Holds back what clients send from now on. Connections stay, also those whose clients have gone, and what is held back
    /// arrives when it is let through.
    pub fn hold_requests(&self) {
        self.state.requests.set_stopped_up(true);
    }

    /// Holds back what servers answer from now on, as [`hold_requests`](Self::hold_requests) does what clients send.
    pub fn hold_answers(&self) {
        self.state.answers.set_stopped_up(true);
    }

    /// Whether what clients have sent since it was held back contains `text`.
    pub fn holds_request(&self, text: &str) -> bool {
        let held = &self.state.requests.held;
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pieces = held.windows(text.len());
        pieces.any(|piece| piece == text.as_bytes())
    }

    /// Lets through what was held back, and all that follows.
    pub fn let_through(&self) {
        self.state.requests.set_stopped_up(false);
        self.state.answers.set_stopped_up(false);
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
            // Each way ends by itself: what a client sent before it went is still to arrive.
            let both = async {
                tokio::join!(
                    pass(&mut from_client, &mut to_server, &state, &state.requests),
                    pass(&mut from_server, &mut to_client, &state, &state.answers),
                )
            };
            tokio::select! {
                ((), ()) = both => {}
                _ = cut.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes data on, in order, each piece after its delay; what comes behind it travels at the same time. When no more comes, the
/// other side is told so.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    state: &State,
    way: &Way,
) {
    let (on_its_way, mut arrivals) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut pieces = 0_u64;
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let latency = Duration::from_millis(state.latency_ms.load(Ordering::SeqCst));
            // Spread evenly over the pieces, so that a test is the same every time.
            pieces += 1;
            way.note(&buffer[..read]);
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
            way.is_open().await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _it_may_have_gone = to.shutdown().await;
    };
    tokio::join!(read, write);
}
