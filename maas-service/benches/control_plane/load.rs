//! Callers who never pause: each finds the model by its name and applies it, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use maas_client::{MaasClient, SessionConfig};
use test_support::{eventually, verdict};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::figures::rate;
use crate::stand::{LIMIT, Stand};

const CALLERS: usize = 4;

/// Steady calls of one model.
pub(crate) struct Load {
    callers: JoinSet<Vec<String>>,
    calls: Arc<AtomicUsize>,
    stop: CancellationToken,
    client: Arc<MaasClient>,
    since: Instant,
}

/// What became of the calls.
pub(crate) struct Outcome {
    pub(crate) calls: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) per_second: f64,
}

impl Load {
    /// Some callers of a model that serves.
    pub(crate) async fn start<Z>(stand: &Stand<Z>, name: &'static str) -> Self {
        let client = MaasClient::connect(SessionConfig::new(&stand.quorum));
        let client = Arc::new(client.await.unwrap());
        let calls = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (client, calls, stop) = (client.clone(), calls.clone(), stop.clone());
            callers.spawn(async move {
                let mut failures = Vec::new();
                while !stop.is_cancelled() {
                    if let Err(error) = call(&client, name).await {
                        failures.push(error);
                    }
                    calls.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                failures
            });
        }
        let load = Self {
            callers,
            calls,
            stop,
            client,
            since: Instant::now(),
        };
        load.goes_on(100).await;
        load
    }

    /// Waits until so many more calls have been made.
    pub(crate) async fn goes_on(&self, more: usize) {
        let goal = self.calls.load(Ordering::Relaxed) + more;
        eventually(LIMIT, "calls to be made", async || {
            self.calls.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends the calls.
    pub(crate) async fn end(self) -> Outcome {
        self.goes_on(100).await;
        let time = self.since.elapsed();
        self.stop.cancel();
        let failures = self.callers.join_all().await.concat();
        Arc::into_inner(self.client).unwrap().close().await;
        let calls = self.calls.load(Ordering::Relaxed);
        Outcome {
            calls,
            failures,
            per_second: rate(calls, time),
        }
    }
}

impl Outcome {
    /// Prints how many failed.
    pub(crate) fn print(&self) {
        println!(
            "  {} calls by {CALLERS} callers, {:.0}/s; failed: {} (goal: 0, {})",
            self.calls,
            self.per_second,
            self.failures.len(),
            verdict(self.failures.is_empty())
        );
        for failure in self.failures.iter().take(5) {
            println!("    {failure}");
        }
    }
}

async fn call(client: &MaasClient, name: &str) -> Result<(), String> {
    let endpoint = client.get_endpoint(name, None).map_err(|e| e.to_string())?;
    let answer = client.model_apply(&endpoint, None, &[("x", "1")]).await;
    let answer = answer.map_err(|e| format!("{}: {e:?}", endpoint.url))?;
    match answer.get("ready") {
        Some(serde_json::Value::Bool(true)) => Ok(()),
        _ => Err(format!("{}: {answer:?}", endpoint.url)),
    }
}
