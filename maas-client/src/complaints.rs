//! Complaints: what a program says of a copy that is registered, passes its probes, and gives no answers.
//!
//! The service cannot see that; only those who call it can. So a client that has got no answer for a while puts down an
//! ephemeral znode of its own that says so, for operators to read, and takes it away when a call goes well, when the copy is
//! gone, or when it has long asked nothing. It never unregisters the copy: the fault may be on the way between the two.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::discovery::{Endpoint, Snapshots};
use crate::ejection::Failing;
use crate::held::Held;
use crate::layout::Layout;
use crate::name::InstanceId;
use crate::session::Session;
use crate::wire::complaint::Complaint;
use crate::wire::state::now_ms;

/// For how long calls must have failed before it is worth a complaint: longer than it takes to withdraw a copy that is
/// found to be dead.
const AFTER: Duration = Duration::from_secs(10);

/// For how long a failure is news. An ejection may last half of it.
const NEWS: Duration = Duration::from_secs(60);

/// How often a client looks at those that fail, while any do.
const PACE: Duration = Duration::from_secs(1);

/// How many complaints one client has at most. Where more copies fail, the fault is probably its own.
const MOST: usize = 20;

/// Complains of copies for as long as the client lives. `failed` is told whenever a copy was put out.
pub(crate) async fn complain(
    session: Session,
    layout: Layout,
    snapshots: Snapshots,
    mut failed: mpsc::Receiver<()>,
) {
    let program = Program::this_one();
    let mut complaints: HashMap<InstanceId, Held> = HashMap::new();
    while failed.recv().await.is_some() {
        loop {
            let now = snapshots.current();
            let failing: Vec<(&Endpoint, Failing)> = now
                .all()
                .filter_map(|endpoint| Some((&**endpoint, endpoint.conduct.failing()?)))
                .filter(|(_, failing)| failing.last < NEWS)
                .collect();
            let is_bad = |instance: &InstanceId| {
                failing
                    .iter()
                    .any(|(endpoint, _)| endpoint.instance == *instance)
            };
            complaints.retain(|instance, complaint| {
                if !is_bad(instance) && complaint.is_wanted() {
                    info!(%instance, "the copy is complained of no more");
                    complaint.set(None);
                }
                is_bad(instance) || !complaint.is_settled()
            });
            for (endpoint, failing) in &failing {
                let is_new = complaints
                    .get(&endpoint.instance)
                    .is_none_or(|complaint| !complaint.is_wanted());
                if failing.since < AFTER || !is_new || complaints.len() >= MOST {
                    continue;
                }
                if !is_welcome(&session, &layout).await {
                    break;
                }
                warn!(
                    model = %endpoint.name, version = %endpoint.version, instance = %endpoint.instance,
                    url = endpoint.url, why = %failing.fault, "a copy is registered and gives no answers"
                );
                let path = layout
                    .complaints_root()
                    .join(&format!("{}~{}", endpoint.instance, program.id));
                let complaint = complaints
                    .entry(endpoint.instance.clone())
                    .or_insert_with(|| Held::new(&session, path));
                complaint.set(Some(program.complaint(endpoint, failing).to_bytes()));
            }
            if failing.is_empty() && complaints.is_empty() {
                break;
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// Whether a service of ours looks after this ZooKeeper. Where none does, nothing of ours is put there.
async fn is_welcome(session: &Session, layout: &Layout) -> bool {
    match session.stat(&layout.complaints_root()).await {
        Ok(stat) => stat.is_some(),
        Err(error) => {
            debug!(%error, "a complaint can't be made now");
            false
        }
    }
}

/// Who complains.
struct Program {
    id: String,
    host: String,
    name: String,
}

impl Program {
    fn this_one() -> Self {
        let path = std::env::current_exe().unwrap_or_default();
        let name = path.file_name().unwrap_or_default();
        Self {
            id: Uuid::new_v4().simple().to_string(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            name: name.to_string_lossy().into_owned(),
        }
    }

    fn complaint(&self, endpoint: &Endpoint, failing: &Failing) -> Complaint {
        Complaint {
            instance: endpoint.instance.clone(),
            name: endpoint.name.clone(),
            version: endpoint.version.clone(),
            why: failing.fault.to_string(),
            since_ms: now_ms() - i64::try_from(failing.since.as_millis()).unwrap_or(0),
            host: self.host.clone(),
            program: self.name.clone(),
            pid: std::process::id(),
        }
    }
}
