//! Complaints of programs about copies that serve and give them no answers: the log tells of each copy once.
//!
//! Nothing is done about such a copy: the fault may as well be on the program's side, or on the way between the two. A bundle
//! that names a path for its health lets the runner see for itself.

use std::collections::BTreeSet;
use std::time::Duration;

use maas_client::instances::complaints;
use maas_client::layout::Layout;
use maas_client::session::WatchScope;
use maas_client::{InstanceId, Session};
use tracing::{debug, info, warn};

/// How soon after one look there may be the next, however many programs complain.
const PACE: Duration = Duration::from_secs(1);

/// Tells of complaints, and of their end, for ever.
pub(crate) async fn report(session: &Session, layout: &Layout) {
    let mut changes = session.watch(&layout.complaints_root(), WatchScope::Tree);
    let mut known: BTreeSet<InstanceId> = BTreeSet::new();
    loop {
        changes.next().await;
        tokio::time::sleep(PACE).await;
        // What has changed meanwhile is seen by the same look.
        while tokio::time::timeout(Duration::ZERO, changes.next())
            .await
            .is_ok()
        {}
        let now = match complaints(session, layout).await {
            Ok(now) => now,
            Err(error) => {
                debug!(%error, "complaints can't be read now; the next change shows them");
                continue;
            }
        };
        for complaint in &now {
            if known.insert(complaint.instance.clone()) {
                warn!(
                    model = %complaint.name, version = %complaint.version, instance = %complaint.instance,
                    why = complaint.why, program = complaint.program, host = complaint.host, pid = complaint.pid,
                    "a copy serves and gives a program no answers"
                );
            }
        }
        known.retain(|instance| {
            let goes_on = now.iter().any(|complaint| complaint.instance == *instance);
            if !goes_on {
                info!(%instance, "no program complains of the copy any more");
            }
            goes_on
        });
    }
}
