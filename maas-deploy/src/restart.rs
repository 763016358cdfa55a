//! RESTART: offer the request.

use std::time::Duration;

use maas_client::Session;
use maas_client::layout::Layout;
use maas_client::queue::Queue;
use maas_client::wire::request::{Action, DEFAULT_DEADLINE_S, ModelRequest};

use crate::exit::Failure;
use crate::follow::{self, Goal};
use crate::options::Restart;

/// Starts all copies of a model anew, one after the other.
pub(crate) async fn restart(
    session: &Session,
    layout: &Layout,
    restart: &Restart,
    patience: Option<Duration>,
) -> Result<(), Failure> {
    let request = ModelRequest {
        name: restart.name.clone(),
        version: restart.version.clone(),
        instances: 0,
        memory_mb: 0,
        action: Action::Restart,
        path: None,
        replace: None,
        deadline_s: DEFAULT_DEADLINE_S,
        id: None,
    };
    let offered = Queue::new(session.clone(), layout.clone())
        .offer(&request.to_bytes())
        .await?;
    follow::follow(
        session,
        layout,
        &offered,
        Goal::Restarted(&request),
        patience,
    )
    .await
}
