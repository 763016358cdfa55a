//! Transactions: several writes that happen all or not at all.

use zookeeper_client as zk;

use super::{MAX_ZNODE_BYTES, OPEN, Session, ZkError, check_size};
use crate::layout::ZnodePath;

/// One step of a transaction.
#[derive(Clone, Debug)]
pub enum Step {
    /// The znode has this version.
    Check {
        /// Which znode.
        path: ZnodePath,
        /// The version it must have.
        version: i32,
    },
    /// Create a znode.
    Create {
        /// Which znode; for a sequential one, its prefix.
        path: ZnodePath,
        /// What it holds.
        data: Vec<u8>,
        /// Its kind.
        mode: zk::CreateMode,
    },
    /// Write a znode.
    Set {
        /// Which znode.
        path: ZnodePath,
        /// What it shall hold.
        data: Vec<u8>,
        /// The version it must have.
        version: Option<i32>,
    },
    /// Delete a znode.
    Delete {
        /// Which znode.
        path: ZnodePath,
        /// The version it must have.
        version: Option<i32>,
    },
}

impl Step {
    fn path(&self) -> &ZnodePath {
        match self {
            Self::Check { path, .. }
            | Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Check { .. } => "check",
            Self::Create { .. } => "create",
            Self::Set { .. } => "write",
            Self::Delete { .. } => "delete",
        }
    }

    fn add_to(&self, writer: &mut zk::MultiWriter<'_>) -> Result<(), zk::Error> {
        match self {
            Self::Check { path, version } => writer.add_check_version(path.as_str(), *version),
            Self::Create { path, data, mode } => {
                writer.add_create(path.as_str(), data, &mode.with_acls(OPEN))
            }
            Self::Set {
                path,
                data,
                version,
            } => writer.add_set_data(path.as_str(), data, *version),
            Self::Delete { path, version } => writer.add_delete(path.as_str(), *version),
        }
    }
}

/// Why a transaction did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// One step was refused, so none was carried out.
    #[error("step {index} of a transaction was refused")]
    Step {
        /// Which one, from 0.
        index: usize,
        /// Why.
        #[source]
        source: ZkError,
    },
    /// The transaction as a whole failed.
    #[error(transparent)]
    Whole(#[from] ZkError),
}

impl CommitError {
    /// Only reading can tell whether it happened.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Self::Step { .. } => false,
            Self::Whole(error) => error.outcome_unknown(),
        }
    }
}

impl Session {
    /// Carries out all steps or none.
    ///
    /// # Errors
    /// [`CommitError::Step`] tells which step was refused; then none happened.
    pub async fn commit(&self, steps: &[Step]) -> Result<(), CommitError> {
        let mut bytes = 0;
        for step in steps {
            bytes += step.path().as_str().len();
            if let Step::Create { path, data, .. } | Step::Set { path, data, .. } = step {
                check_size(path, data.len())?;
                bytes += data.len();
            }
        }
        let first = steps
            .first()
            .map_or(String::new(), |step| step.path().to_string());
        if bytes > MAX_ZNODE_BYTES {
            return Err(ZkError::TooLarge {
                znode: first,
                bytes,
            }
            .into());
        }
        let commit = |client: zk::Client| async move {
            let mut writer = client.new_multi_writer();
            for step in steps {
                step.add_to(&mut writer)?;
            }
            Ok(writer.commit().await)
        };
        match self.call("change", &first, commit).await? {
            Ok(_) => Ok(()),
            Err(zk::MultiWriteError::OperationFailed { index, source }) => {
                let step = steps
                    .get(index)
                    .or(steps.last())
                    .expect("a step that failed is one of them");
                let znode = step.path().to_string();
                Err(CommitError::Step {
                    index,
                    source: ZkError::Operation {
                        operation: step.verb(),
                        znode,
                        source,
                    },
                })
            }
            Err(zk::MultiWriteError::RequestFailed { source }) => Err(ZkError::Operation {
                operation: "change",
                znode: first,
                source,
            }
            .into()),
        }
    }
}
