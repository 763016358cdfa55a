//! Callers who never pause: each finds the model by its name and applies it, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use maas_client::{MaasClient, SessionConfig};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::{LIMIT, World};

/// Steady calls of one model.
pub(crate) struct Load {
    callers: JoinSet<Vec<String>>,
    calls: Arc<AtomicU64>,
    stop: CancellationToken,
    client: Arc<MaasClient>,
}

impl Load {
    /// Four callers of a model that serves.
    pub(crate) async fn start(world: &World, name: &str) -> Self {
        let client = MaasClient::connect(SessionConfig::new(&world.quorum));
        let client = Arc::new(client.await.unwrap());
        let calls = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let (client, calls, stop) = (client.clone(), calls.clone(), stop.clone());
            let name = name.to_owned();
            callers.spawn(async move {
                let mut failures = Vec::new();
                while !stop.is_cancelled() {
                    let called = async {
                        let endpoint = client
                            .get_endpoint(&name, None)
                            .map_err(|e| e.to_string())?;
                        let answer = client.model_apply(&endpoint, None, &[("x", "1")]).await;
                        answer.map_err(|e| format!("{}: {e:?}", endpoint.url))
                    };
                    if let Err(error) = called.await {
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
        };
        load.goes_on(100).await;
        load
    }

    /// Waits until so many more calls have been made.
    pub(crate) async fn goes_on(&self, more: u64) {
        let goal = self.calls.load(Ordering::Relaxed) + more;
        test_support::eventually(LIMIT, "calls to be made", async || {
            self.calls.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// Ends the calls; not one may have failed.
    pub(crate) async fn none_failed(self) {
        self.goes_on(100).await;
        self.stop.cancel();
        let failures: Vec<String> = self.callers.join_all().await.concat();
        let calls = self.calls.load(Ordering::Relaxed);
        assert!(
            failures.is_empty(),
            "{} of {calls} calls failed, the first: {}",
            failures.len(),
            failures[0]
        );
        Arc::into_inner(self.client).unwrap().close().await;
    }
}
