//! The command line of `maas_deploy`: every option of the original, in its own spellings, and a few of ours.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use maas_client::layout::{DEFAULT_CONFIG_NODE, ZnodePath};
use maas_client::spelling::ShortForms;
use maas_client::wire::request::DEFAULT_DEADLINE_S;
use maas_client::{ModelName, Version};

use crate::exit::{Exit, Failure};

/// The short options of the original that have several letters.
pub(crate) const SHORT_FORMS: ShortForms = &[
    ("zq", "zk_quorum"),
    ("zk", "zk_quorum"),
    ("zr", "zk_root"),
    ("mo", "mode"),
    ("ni", "num_instances"),
    ("lmp", "local_model_path"),
    ("hmp", "hdfs_model_path"),
];

/// Puts a model into the model store and asks for copies of it, takes copies away, and lists what serves.
#[derive(Debug, Parser)]
#[command(
    name = "maas_deploy",
    disable_version_flag = true,
    max_term_width = 110
)]
#[command(after_help = "\
Examples:
  maas_deploy -zq node1:2181 -mo ADD -lmp ./mock_dga -hmp /user/root/models -n dga -v 1.0 -ni 1 -m 512 --wait
  maas_deploy -zq node1:2181 -mo ADD -lmp ./mock_dga -hmp /user/root/models -n dga -v 1.1 -m 512 --replace 1.0 --wait
  maas_deploy -zq node1:2181 -mo LIST
  maas_deploy -zq node1:2181 -mo STATUS -n dga
  maas_deploy -zq node1:2181 -mo REMOVE -n dga -v 1.0 -ni 1

Exit codes: 0 done; 1 failed; 2 the command line can't be carried out; 3 not answered or not ready in time, or superseded;
4 the service refused the request; 5 ZooKeeper can't be reached.

Options of several letters may also be written behind one dash, as the original has them: -zq (or -zk), -zr, -mo, -ni, -lmp, -hmp.")]
pub(crate) struct Options {
    /// ZooKeeper's servers as host:port, separated by commas; a /chroot may follow  [-zq]
    #[arg(long = "zk_quorum", value_name = "QUORUM", env = "MAAS_ZOOKEEPER")]
    pub zk_quorum: String,

    /// The znode that holds the config; the defaults hold where there is none  [-zr]
    #[arg(long = "zk_root", value_name = "ZNODE", default_value = DEFAULT_CONFIG_NODE)]
    zk_root: String,

    /// What to do  [-mo]
    #[arg(long, value_name = "MODE", ignore_case = true)]
    mode: ModeName,

    /// The model's name
    #[arg(short = 'n', long)]
    name: Option<ModelName>,

    /// The model's version
    #[arg(
        short = 'v',
        long = "version",
        value_name = "VERSION",
        id = "model_version"
    )]
    version: Option<Version>,

    /// How many copies to add or to remove. With --replace: as many as the old version has, unless given  [-ni]
    #[arg(
        long = "num_instances",
        value_name = "N",
        allow_negative_numbers = true
    )]
    num_instances: Option<i32>,

    /// Memory of one copy, in MB
    #[arg(short = 'm', long, value_name = "MB", allow_negative_numbers = true)]
    memory: Option<i32>,

    /// The folder on this machine with the start script and the model; without it, the files must be in the store
    /// already  [-lmp]
    #[arg(long = "local_model_path", value_name = "FOLDER")]
    local_model_path: Option<PathBuf>,

    /// The folder in the model store: hdfs://host:port/path, file:/path, or a plain path, which means the default file
    /// system of HADOOP_CONF_DIR if that is set and else this machine's  [-hmp]
    #[arg(long = "hdfs_model_path", value_name = "PATH")]
    hdfs_model_path: Option<String>,

    /// ADD: take the place of this version, copy by copy, and bring it back if the new copies don't come to serve
    #[arg(long, value_name = "OLD_VERSION")]
    replace: Option<Version>,

    /// How long the next new copy may take to serve before the old version is brought back, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = DEFAULT_DEADLINE_S,
        value_parser = clap::value_parser!(u32).range(1..),
        requires = "replace"
    )]
    deadline: u32,

    /// Wait until the copies serve (ADD, RESTART) or are gone (REMOVE), or until it is clear why not
    #[arg(long)]
    wait: bool,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    timeout: u64,

    /// How LIST and STATUS print what they find
    #[arg(short = 'o', long, value_name = "FORM", default_value = "text")]
    pub output: Output,

    /// The log4j properties file to load; without effect, accepted so that existing scripts keep working
    #[arg(short = 'l', long = "log4j", value_name = "FILE")]
    _log4j: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    /// Put the model into the store and ask for copies of it
    #[value(name = "ADD")]
    Add,
    /// Take copies away
    #[value(name = "REMOVE")]
    Remove,
    /// List the copies that serve
    #[value(name = "LIST")]
    List,
    /// Start all copies anew, one after the other: a new one serves before an old one ends
    #[value(name = "RESTART")]
    Restart,
    /// Tell how all stands and why: the service, what should run, every copy with its last failure, and recent requests
    #[value(name = "STATUS")]
    Status,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// As the original prints it, sorted
    Text,
    /// One JSON document, with the state of every copy
    Json,
}

/// What to do, with all it takes.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Add copies.
    Add(Add),
    /// Remove copies.
    Remove(Remove),
    /// List copies.
    List(Filter),
    /// Start copies anew.
    Restart(Restart),
    /// Tell how all stands.
    Status(Filter),
}

/// What to add.
#[derive(Debug)]
pub(crate) struct Add {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
    /// How many copies more; as many as the old version has, when it replaces one.
    pub instances: Option<u32>,
    /// Memory of one, in MB.
    pub memory_mb: u32,
    /// The folder to upload, if the files are not in the store yet.
    pub folder: Option<PathBuf>,
    /// Where in the store.
    pub store: String,
    /// The version to take the place of.
    pub replace: Option<Version>,
    /// How long that may take, in seconds.
    pub deadline_s: u32,
}

/// What to remove.
#[derive(Debug)]
pub(crate) struct Remove {
    /// Of which model.
    pub name: ModelName,
    /// Of which version.
    pub version: Version,
    /// How many copies.
    pub instances: u32,
}

/// What to start anew.
#[derive(Debug)]
pub(crate) struct Restart {
    /// Which model.
    pub name: ModelName,
    /// Which version of it.
    pub version: Version,
}

/// What to list.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Of one model, or of all.
    pub name: Option<ModelName>,
    /// Of one version, or of all.
    pub version: Option<Version>,
}

impl Options {
    /// What to do.
    ///
    /// # Errors
    /// When an option is missing or out of range; the message names it.
    pub(crate) fn task(&self) -> Result<Mode, Failure> {
        Ok(match self.mode {
            ModeName::List => Mode::List(self.filter()),
            ModeName::Status => Mode::Status(self.filter()),
            ModeName::Restart => Mode::Restart(Restart {
                name: required(&self.name, "the model's name (-n)")?,
                version: required(&self.version, "the model's version (-v)")?,
            }),
            ModeName::Add => Mode::Add(Add {
                name: required(&self.name, "the model's name (-n)")?,
                version: required(&self.version, "the model's version (-v)")?,
                instances: match self.num_instances {
                    None if self.replace.is_some() => None,
                    given => Some(positive(given, "how many copies to add (-ni)")?),
                },
                memory_mb: positive(self.memory, "the memory of one copy in MB (-m)")?,
                folder: self.local_model_path.clone(),
                store: required(
                    &self.hdfs_model_path,
                    "where in the model store the files are to lie (-hmp)",
                )?,
                replace: self.replace.clone(),
                deadline_s: self.deadline,
            }),
            ModeName::Remove => Mode::Remove(Remove {
                name: required(&self.name, "the model's name (-n)")?,
                version: required(&self.version, "the model's version (-v)")?,
                instances: positive(self.num_instances, "how many copies to remove (-ni)")?,
            }),
        })
    }

    fn filter(&self) -> Filter {
        Filter {
            name: self.name.clone(),
            version: self.version.clone(),
        }
    }

    /// Where the config node lies.
    ///
    /// # Errors
    /// When the option is no znode path.
    pub(crate) fn config_node(&self) -> Result<ZnodePath, Failure> {
        ZnodePath::new(&self.zk_root)
            .map_err(|error| Failure::new(Exit::Usage, anyhow!("--zk_root: {error}")))
    }

    /// How long to follow a request; `None` for not at all.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.wait.then_some(Duration::from_secs(self.timeout))
    }
}

fn required<T: Clone>(value: &Option<T>, what: &str) -> Result<T, Failure> {
    value
        .clone()
        .ok_or_else(|| Failure::new(Exit::Usage, anyhow!("say {what}; try --help")))
}

fn positive(value: Option<i32>, what: &str) -> Result<u32, Failure> {
    let value = required(&value, what)?;
    match u32::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(Failure::new(
            Exit::Usage,
            anyhow!("{what} must be more than 0, not {value}"),
        )),
    }
}
