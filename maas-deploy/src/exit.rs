//! How the program ends: exit codes, and errors told so that they can be mended.

use std::process::ExitCode;

use maas_client::queue::OfferError;
use maas_client::session::ZkError;

use crate::follow::harmless;

/// The exit codes. 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed.
    Error = 1,
    /// The command line can't be carried out as it is.
    Usage = 2,
    /// The request was not answered, or its models were not ready, in time; or another request came before.
    NotReady = 3,
    /// The service turned the request down.
    Refused = 4,
    /// ZooKeeper can't be reached.
    Unavailable = 5,
}

/// An error and its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Ends with `exit` because of `error`.
    pub(crate) fn new(exit: Exit, error: anyhow::Error) -> Self {
        Self { exit, error }
    }

    /// Tells the error with its causes.
    #[expect(clippy::print_stderr, reason = "this is where errors are told")]
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("error: {}", harmless(&self.error.to_string()));
        for cause in self.error.chain().skip(1) {
            eprintln!("  because {}", harmless(&cause.to_string()));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Error, error)
    }
}

impl From<ZkError> for Failure {
    fn from(error: ZkError) -> Self {
        let exit = if matches!(error, ZkError::BadQuorum { .. }) {
            Exit::Usage
        } else if error.outcome_unknown() {
            Exit::Unavailable
        } else {
            Exit::Error
        };
        Self::new(exit, error.into())
    }
}

impl From<OfferError> for Failure {
    fn from(error: OfferError) -> Self {
        let exit = match &error {
            OfferError::Unknown { .. } => Exit::Unavailable,
            OfferError::Failed { source, .. } if source.outcome_unknown() => Exit::Unavailable,
            OfferError::Failed { .. } | OfferError::Full { .. } => Exit::Error,
        };
        Self::new(exit, error.into())
    }
}

impl From<maas_client::ConnectError> for Failure {
    fn from(error: maas_client::ConnectError) -> Self {
        match error {
            maas_client::ConnectError::ZooKeeper(error) => error.into(),
            config @ (maas_client::ConnectError::Config { .. }
            | maas_client::ConnectError::Path { .. }) => Self::new(Exit::Error, config.into()),
            http @ maas_client::ConnectError::Http(_) => Self::new(Exit::Error, http.into()),
        }
    }
}
