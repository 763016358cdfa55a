//! Draining: a copy that is withdrawn goes on answering until nobody waits for it any more.
//!
//! First comes a short time for those who have not heard of the withdrawal yet, then a longer one at most, as long as
//! connections to its port are open. Our own client closes those it does not use as soon as it hears of the withdrawal; so
//! what is open then is a call under way, or somebody who keeps connections without a reason.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::place::Place;
use super::sockets;
use crate::crash::{Point, crash_point};
use crate::instance_folder::RunnerSettings;

/// How often the connections are counted.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until no call is under way at `place`, within the time the settings give.
pub(super) async fn drain(place: &Place, settings: &RunnerSettings) {
    let began = Instant::now();
    tokio::time::sleep(settings.drain).await;
    crash_point(Point::DrainBegun);
    let Some(port) = place.url.url().port_or_known_default() else {
        return;
    };
    let limit = settings.drain.max(settings.drain_limit);
    let mut told = false;
    loop {
        let counted = tokio::task::spawn_blocking(move || sockets::connections(port)).await;
        let open = match counted {
            Ok(Ok(0)) => break,
            Ok(Ok(open)) => open,
            Ok(Err(error)) => {
                return warn!(%error, "connections can't be counted; the model is stopped without knowing of them");
            }
            Err(_) => return,
        };
        if began.elapsed() >= limit {
            return warn!(
                connections = open,
                "connections are still open; the model is stopped all the same"
            );
        }
        if !std::mem::replace(&mut told, true) {
            info!(
                connections = open,
                "waiting for calls under way before the model is stopped"
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    if told {
        let elapsed_ms = began.elapsed().as_millis();
        info!(elapsed_ms, "all calls are answered");
    }
}
