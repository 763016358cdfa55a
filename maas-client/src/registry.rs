//! The registry of running copies: Curator x-discovery's znodes, `<service root>/<model>/<instance>`.
//!
//! We publish ephemerals, so a copy whose runner died is gone without anyone's help; old daemons publish persistent ones.
//! Readers can't tell the difference. Only [`wire::registration`](crate::wire::registration) knows their form.

use tracing::debug;

use crate::held::Held;
use crate::layout::{Layout, ZnodePath};
use crate::name::{InstanceId, ModelName};
use crate::session::{ReadResult, Session, ZkError};
use crate::wire::WireError;
use crate::wire::registration::Registration;

/// The registry of a layout.
#[derive(Clone)]
pub struct Registry {
    session: Session,
    layout: Layout,
}

/// One entry as it was found. A bad one never hides its neighbours.
#[derive(Debug)]
pub struct Entry {
    /// Its znode.
    pub path: ZnodePath,
    /// What it says, or why that can't be read. `None` when it says of itself that it is switched off.
    pub registration: Result<Option<Registration>, EntryError>,
}

/// Why an entry can't be used.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// ZooKeeper does not let us read it.
    #[error("it can't be read: {0}")]
    Unreadable(String),
    /// It is no entry of a model.
    #[error(transparent)]
    Malformed(#[from] WireError),
}

impl EntryError {
    fn unreadable(error: &ZkError) -> Self {
        let cause = std::error::Error::source(error).map_or(String::new(), ToString::to_string);
        Self::Unreadable(cause)
    }
}

impl Entry {
    /// Reads one entry's data.
    #[must_use]
    pub fn read(path: ZnodePath, data: &[u8]) -> Self {
        let registration = match Registration::parse(data) {
            Ok(_) if Registration::is_disabled(data) => Ok(None),
            read => read.map(Some).map_err(EntryError::from),
        };
        Self { path, registration }
    }
}

impl Registry {
    /// The registry of a layout.
    #[must_use]
    pub fn new(session: Session, layout: Layout) -> Self {
        Self { session, layout }
    }

    /// Where the registry begins.
    #[must_use]
    pub fn root(&self) -> &ZnodePath {
        &self.layout.service_root
    }

    /// The znode under which a copy will be published, while it is held.
    #[must_use]
    pub fn place(&self, name: &ModelName, instance: &InstanceId) -> Held {
        Held::new(&self.session, self.layout.registration(name, instance))
    }

    /// Takes a model's folder away if no copy is published in it any more.
    pub async fn tidy(&self, name: &ModelName) {
        if let Err(error) = self.session.delete(&self.layout.service(name), None).await
            && !error.is_not_empty()
        {
            debug!(%error, "an empty folder stays in the registry");
        }
    }

    /// All entries, sorted by znode.
    ///
    /// # Errors
    /// When ZooKeeper can't be asked.
    pub async fn list(&self) -> Result<Vec<Entry>, ZkError> {
        let (mut entries, mut paths) = (Vec::new(), Vec::new());
        let names = self.session.children(self.root()).await?;
        let folders: Vec<ZnodePath> = names.iter().map(|name| self.root().join(name)).collect();
        let listed = self.session.children_many(&folders).await?;
        for (folder, ids) in folders.into_iter().zip(listed) {
            match ids {
                Ok(ids) => paths.extend(ids.iter().map(|id| folder.join(id))),
                Err(error) if error.outcome_unknown() => return Err(error),
                Err(error) => entries.push(Entry {
                    path: folder,
                    registration: Err(EntryError::unreadable(&error)),
                }),
            }
        }
        entries.extend(self.read(&paths).await?);
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// Reads some entries; those that are gone are left out.
    pub(crate) async fn read(&self, paths: &[ZnodePath]) -> Result<Vec<Entry>, ZkError> {
        let contents = self.session.get_many(paths).await?;
        let entry = |(path, content): (&ZnodePath, ReadResult)| match content {
            Ok(None) => None,
            Ok(Some((data, _))) => Some(Entry::read(path.clone(), &data)),
            Err(error) => Some(Entry {
                path: path.clone(),
                registration: Err(EntryError::unreadable(&error)),
            }),
        };
        Ok(paths.iter().zip(contents).filter_map(entry).collect())
    }
}
