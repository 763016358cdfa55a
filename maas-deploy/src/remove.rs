//! REMOVE: offer the request.

use std::time::Duration;

use maas_client::Session;
use maas_client::layout::Layout;
use maas_client::queue::Queue;
use maas_client::wire::request::{Action, DEFAULT_DEADLINE_S, ModelRequest};

use crate::exit::Failure;
use crate::follow::{self, Goal};
use crate::options::Remove;

/// Removes copies of a model.
pub(crate) async fn remove(
    session: &Session,
    layout: &Layout,
    remove: &Remove,
    patience: Option<Duration>,
) -> Result<(), Failure> {
    let request = ModelRequest {
        name: remove.name.clone(),
        version: remove.version.clone(),
        instances: remove.instances,
        memory_mb: 0,
        action: Action::Remove,
        path: None,
        replace: None,
        deadline_s: DEFAULT_DEADLINE_S,
        id: None,
    };
    let offered = Queue::new(session.clone(), layout.clone())
        .offer(&request.to_bytes())
        .await?;
    follow::follow(session, layout, &offered, Goal::Gone(&request), patience).await
}
