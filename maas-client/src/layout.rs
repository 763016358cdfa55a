//! Where things lie in ZooKeeper.
//!
//! Two places are Metron's and named by its config node: the request queue and the service root. Everything of our own
//! lies in a sibling tree, because an old strict reader of the service root goes blind at the first child it does not know.

use std::fmt;

use crate::name::{InstanceId, ModelName, Version};
use crate::wire::config::MaasConfig;

/// The config node every program reads at its start unless told otherwise. It usually does not exist.
pub const DEFAULT_CONFIG_NODE: &str = "/metron/maas/config";

/// An absolute znode path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZnodePath(String);

/// The text is no absolute znode path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no znode path: {why}")]
pub struct ZnodePathError {
    text: String,
    why: &'static str,
}

impl ZnodePath {
    /// Parses an absolute path such as `/maas/queue`.
    ///
    /// # Errors
    /// When ZooKeeper would refuse the path: not absolute, a trailing `/`, or an empty, `.` or `..` segment.
    pub fn new(text: impl Into<String>) -> Result<Self, ZnodePathError> {
        let text = text.into();
        let why = match text.strip_prefix('/') {
            None => Some("it must start with `/`"),
            Some("") => Some("the root itself can't be used"),
            Some(rest)
                if rest
                    .split('/')
                    .any(|s| s.is_empty() || s == "." || s == "..") =>
            {
                Some("it holds an empty, `.` or `..` segment")
            }
            Some(rest) if rest.chars().any(char::is_control) => {
                Some("it holds a control character")
            }
            Some(_) => None,
        };
        match why {
            Some(why) => Err(ZnodePathError { text, why }),
            None => Ok(Self(text)),
        }
    }

    /// The child called `segment`, which must be one path segment.
    #[must_use]
    pub fn join(&self, segment: &str) -> Self {
        debug_assert!(
            !segment.is_empty() && !segment.contains('/'),
            "`{segment}` is not one segment"
        );
        Self(format!("{}/{segment}", self.0))
    }

    /// The path above, unless this one lies directly under the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.0.rsplit_once('/')?;
        (!parent.is_empty()).then(|| Self(parent.to_owned()))
    }

    /// The last segment.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The segments below `ancestor`, or `None` when this path does not lie below it.
    pub fn below<'a>(
        &'a self,
        ancestor: &ZnodePath,
    ) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        Some(
            self.0
                .strip_prefix(ancestor.as_str())?
                .strip_prefix('/')?
                .split('/'),
        )
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The paths one deployment of the control plane uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Where requests wait.
    pub queue: ZnodePath,
    /// Under which running copies are published.
    pub service_root: ZnodePath,
    /// Our own tree: desired state, instance status, results.
    pub state_root: ZnodePath,
    /// How many requests may wait in the queue.
    pub queue_limit: u32,
}

impl Layout {
    /// The layout a config node asks for.
    ///
    /// # Errors
    /// When a path in it is no znode path.
    pub fn of(config: &MaasConfig) -> Result<Self, ZnodePathError> {
        Ok(Self {
            queue: ZnodePath::new(config.queue_path.as_str())?,
            service_root: ZnodePath::new(config.service_root.as_str())?,
            state_root: ZnodePath::new(config.state_root.as_str())?,
            queue_limit: config.queue_limit,
        })
    }

    /// Where all copies of a model are published.
    #[must_use]
    pub fn service(&self, name: &ModelName) -> ZnodePath {
        self.service_root.join(name.as_str())
    }

    /// Where one copy is published.
    #[must_use]
    pub fn registration(&self, name: &ModelName, instance: &InstanceId) -> ZnodePath {
        self.service(name).join(instance.as_str())
    }

    /// The tree of what should run: `<name>/<version>`.
    #[must_use]
    pub fn desired_root(&self) -> ZnodePath {
        self.state_root.join("desired")
    }

    /// What should run of one version.
    #[must_use]
    pub fn desired(&self, name: &ModelName, version: &Version) -> ZnodePath {
        self.desired_root()
            .join(name.as_str())
            .join(version.as_str())
    }

    /// The last generations of what should run: `<name>/<version>`.
    #[must_use]
    pub fn history_root(&self) -> ZnodePath {
        self.state_root.join("history")
    }

    /// The last generations of what should run of one version.
    #[must_use]
    pub fn history(&self, name: &ModelName, version: &Version) -> ZnodePath {
        self.history_root()
            .join(name.as_str())
            .join(version.as_str())
    }

    /// What the leading service says of itself; below it, what it is doing: `<name>/<version>`.
    #[must_use]
    pub fn progress_root(&self) -> ZnodePath {
        self.state_root.join("progress")
    }

    /// What the leading service is doing about one version.
    #[must_use]
    pub fn progress(&self, name: &ModelName, version: &Version) -> ZnodePath {
        self.progress_root()
            .join(name.as_str())
            .join(version.as_str())
    }

    /// What each runner sees of its copy.
    #[must_use]
    pub fn instances_root(&self) -> ZnodePath {
        self.state_root.join("instances")
    }

    /// What the runner of one copy sees.
    #[must_use]
    pub fn instance(&self, instance: &InstanceId) -> ZnodePath {
        self.instances_root().join(instance.as_str())
    }

    /// Outcomes of requests.
    #[must_use]
    pub fn results_root(&self) -> ZnodePath {
        self.state_root.join("results")
    }

    /// Requests that were set aside, and why.
    #[must_use]
    pub fn dead_root(&self) -> ZnodePath {
        self.state_root.join("dead")
    }

    /// Where deploy clients leave the mark by which they recognise their own request.
    #[must_use]
    pub fn offers_root(&self) -> ZnodePath {
        self.state_root.join("offers")
    }

    /// What tells this tree from all others, whatever its ZooKeeper is called by.
    #[must_use]
    pub fn tree_identity(&self) -> ZnodePath {
        self.state_root.join("identity")
    }

    /// What programs say of copies that give them no answers: `<instance>~<program>`.
    #[must_use]
    pub fn complaints_root(&self) -> ZnodePath {
        self.state_root.join("complaints")
    }

    /// Where daemons contend for the lead.
    #[must_use]
    pub fn leader_root(&self) -> ZnodePath {
        self.state_root.join("leader")
    }

    /// A daemon's place in the line for the lead, as far as all have the same name: ZooKeeper adds a number.
    #[must_use]
    pub fn candidate(&self) -> ZnodePath {
        self.leader_root().join("candidate-")
    }

    /// Whose version is the fencing epoch.
    #[must_use]
    pub fn epoch(&self) -> ZnodePath {
        self.state_root.join("epoch")
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::of(&MaasConfig::default()).expect("the built-in paths are good ones")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_without_tricks_are_znode_paths() {
        for bad in [
            "",
            "/",
            "maas",
            "/maas/",
            "//maas",
            "/maas/../x",
            "/a/./b",
            "/a\nb",
        ] {
            assert!(ZnodePath::new(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_path_knows_what_it_lies_below() {
        let root = ZnodePath::new("/maas/service").expect("a path");
        let entry = root.join("dga").join("1");
        assert_eq!(
            entry.below(&root).expect("below").collect::<Vec<_>>(),
            ["dga", "1"]
        );
        assert!(
            ZnodePath::new("/maas/service2/x")
                .expect("a path")
                .below(&root)
                .is_none()
        );
        assert!(root.below(&root).is_none());
        assert_eq!(entry.parent().and_then(|p| p.parent()), Some(root));
    }
}
