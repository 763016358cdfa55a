//! The command line of `maas_service`: every option of the original, and a few of our own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, value_parser};
use maas_client::SessionConfig;
use maas_client::layout::{DEFAULT_CONFIG_NODE, ZnodePath};
use maas_client::spelling::ShortForms;

use crate::cgroup;
use crate::instance_folder::{LONGEST, RunnerSettings};
use crate::launcher::LaunchSettings;
use crate::plan::Room;
use crate::runner::is_this_host;
use crate::service::{OnStop, ServiceConfig};

/// The short options of the original that have several letters.
pub const SHORT_FORMS: ShortForms = &[
    ("zq", "zk_quorum"),
    ("zk", "zk_quorum"),
    ("zr", "zk_root"),
    ("mm", "master_memory"),
    ("mc", "master_vcores"),
    ("va", "view_acls"),
    ("ma", "modify_acls"),
    ("nle", "node_label_expression"),
    ("e", "shell_env"),
];

/// Takes ADD and REMOVE requests from the queue in ZooKeeper and keeps the copies of models running that were asked for.
///
/// Copies run as processes of this machine and outlive the service: a service that is started again adopts them.
#[derive(Debug, Parser)]
#[command(name = "maas_service", version, max_term_width = 110)]
#[command(after_help = "\
Exit codes: 0 stopped when told to; 1 could not start, or not stop all models; 2 the command line can't be understood.

Options of several letters may also be written behind one dash, as the original has them: -zq, -zr, -mm, -mc, -va, -ma, -nle.
The log level is set by MAAS_LOG (error, warn, info, debug); MAAS_LOG_FORMAT=json writes one JSON object per line.")]
pub struct Options {
    /// ZooKeeper's servers as host:port, separated by commas; a /chroot may follow  [-zq]
    #[arg(long = "zk_quorum", value_name = "QUORUM", env = "MAAS_ZOOKEEPER")]
    zk_quorum: String,

    /// The znode that holds the config; the defaults hold where there is none  [-zr]
    #[arg(long = "zk_root", value_name = "ZNODE", default_value = DEFAULT_CONFIG_NODE)]
    zk_root: String,

    /// Put NAME=VALUE into the environment of every model; may be repeated  [-e]
    #[arg(long = "shell_env", value_name = "NAME=VALUE")]
    shell_env: Vec<String>,

    /// The name of this host in the URLs of models. Default: this machine's name if it is known to mean this machine,
    /// else localhost
    #[arg(long, value_name = "HOST", env = "MAAS_HOSTNAME")]
    hostname: Option<String>,

    /// Where the folders of running copies are made: a new folder, an empty one, or one that a service has used. Default:
    /// instances below $MAAS_HOME, or below $XDG_STATE_HOME/maas, or below ~/.local/state/maas
    #[arg(long = "instances_dir", value_name = "FOLDER")]
    instances_dir: Option<PathBuf>,

    /// How long a model may take until it serves, in seconds
    #[arg(long = "start_timeout", value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    start_timeout: u64,

    /// How long a copy goes on answering after it is withdrawn, for callers that have not heard of it, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = milliseconds())]
    drain: u64,

    /// How long a withdrawn copy may take at most for the calls it is still answering, in seconds
    #[arg(long = "drain_limit", value_name = "SECONDS", default_value_t = 10, value_parser = seconds())]
    drain_limit: u64,

    /// How long a model may take to end when told to, before it is killed, in seconds
    #[arg(long = "stop_grace", value_name = "SECONDS", default_value_t = 10, value_parser = seconds())]
    stop_grace: u64,

    /// How long to wait before a model that failed is started again for the first time, in milliseconds; each further time it
    /// is twice as long, up to a minute
    #[arg(long = "restart_delay", value_name = "MS", default_value_t = 500, value_parser = milliseconds())]
    restart_delay: u64,

    /// How often a serving model is asked whether it still answers, in milliseconds; after three times without an answer it
    /// is withdrawn and started again
    #[arg(long = "health_interval", value_name = "MS", default_value_t = 10_000, value_parser = milliseconds())]
    health_interval: u64,

    /// The memory that copies may be given together, in MB; a copy that finds none left waits. Default: nine tenths of this
    /// machine's
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,

    /// How many virtual cores copies may be given together, one to each; a copy that finds none left waits. Default:
    /// memory alone decides, as with YARN's default calculator
    #[arg(long, value_name = "N")]
    vcores: Option<u32>,

    /// How long ZooKeeper waits for a lost service or runner before it forgets its znodes, in milliseconds
    #[arg(long = "session_timeout", value_name = "MS", default_value_t = 6000, value_parser = milliseconds())]
    session_timeout: u64,

    /// Stop all models when the service is stopped, instead of leaving them to the next one
    #[arg(long = "stop_models")]
    stop_models: bool,

    /// The runner's binary. Default: maas_runner beside this one
    #[arg(long, value_name = "FILE")]
    runner: Option<PathBuf>,

    #[command(flatten)]
    yarn: YarnOptions,
}

/// Options that mean something on YARN only. Accepted, so that existing scripts keep working.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options for YARN, without effect on this machine alone")]
struct YarnOptions {
    /// The ResourceManager's queue to submit to
    #[arg(short = 'q', long, value_name = "QUEUE", default_value = "default")]
    queue: String,

    /// How long the application may take to start, in milliseconds
    #[arg(short = 't', long, value_name = "MS", default_value_t = 600_000)]
    timeout: u64,

    /// Memory of the application master, in MB  [-mm]
    #[arg(long = "master_memory", value_name = "MB", default_value_t = 10)]
    master_memory: u32,

    /// Virtual cores of the application master  [-mc]
    #[arg(long = "master_vcores", value_name = "N", default_value_t = 1)]
    master_vcores: u32,

    /// The jar with the application master
    #[arg(short = 'j', long, value_name = "FILE")]
    jar: Option<PathBuf>,

    /// The log4j properties file to load
    #[arg(short = 'l', long, value_name = "FILE")]
    log4j: Option<PathBuf>,

    /// The timeline domain to put timeline entities into
    #[arg(short = 'd', long, value_name = "ID")]
    domain: Option<String>,

    /// Create the timeline domain
    #[arg(short = 'c', long)]
    create: bool,

    /// Who may read the timeline domain  [-va]
    #[arg(long = "view_acls", value_name = "ACL")]
    view_acls: Option<String>,

    /// Who may write the timeline domain  [-ma]
    #[arg(long = "modify_acls", value_name = "ACL")]
    modify_acls: Option<String>,

    /// On which nodes containers may run  [-nle]
    #[arg(long = "node_label_expression", value_name = "LABELS")]
    node_label_expression: Option<String>,
}

impl YarnOptions {
    /// The options that were given, though they have no effect here.
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("--queue", self.queue != "default"),
            ("--timeout", self.timeout != 600_000),
            ("--master_memory", self.master_memory != 10),
            ("--master_vcores", self.master_vcores != 1),
            ("--jar", self.jar.is_some()),
            ("--log4j", self.log4j.is_some()),
            ("--domain", self.domain.is_some()),
            ("--create", self.create),
            ("--view_acls", self.view_acls.is_some()),
            ("--modify_acls", self.modify_acls.is_some()),
            (
                "--node_label_expression",
                self.node_label_expression.is_some(),
            ),
        ];
        given
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(name, _)| name)
            .collect()
    }
}

impl Options {
    /// What the daemon is to do.
    ///
    /// # Errors
    /// When an option's value can't be used.
    pub async fn into_config(self) -> anyhow::Result<ServiceConfig> {
        let without_effect = self.yarn.given();
        if !without_effect.is_empty() {
            tracing::warn!(
                options = without_effect.join(" "),
                "these options mean something on YARN only"
            );
        }
        let session_timeout = Duration::from_millis(self.session_timeout);
        let hostname = match self.hostname {
            Some(hostname) if is_this_host(hostname.clone()).await => hostname,
            Some(hostname) => bail!(
                "--hostname `{hostname}` is not this machine: its addresses can't be bound here"
            ),
            None => default_hostname().await,
        };
        let instances = match self.instances_dir {
            Some(folder) => std::path::absolute(folder)?,
            None => default_instances_dir()?,
        };
        let runner = match self.runner {
            Some(runner) => std::path::absolute(runner)?,
            None => std::env::current_exe()?.with_file_name("maas_runner"),
        };
        if !runner.is_file() {
            bail!(
                "there is no runner at `{}`; install maas_runner there or name it with --runner",
                runner.display()
            );
        }
        let environment: BTreeMap<String, String> = self
            .shell_env
            .iter()
            .map(|pair| parse_pair(pair))
            .collect::<anyhow::Result<_>>()?;
        Ok(ServiceConfig {
            session: SessionConfig {
                session_timeout,
                ..SessionConfig::new(&self.zk_quorum)
            },
            config_node: ZnodePath::new(&self.zk_root).context("--zk_root")?,
            launch: LaunchSettings {
                instances,
                runner,
                copies: RunnerSettings {
                    quorum: self.zk_quorum,
                    config_node: self.zk_root,
                    tree: String::new(),
                    session_timeout,
                    hostname,
                    environment,
                    start_timeout: Duration::from_secs(self.start_timeout),
                    drain: Duration::from_millis(self.drain),
                    drain_limit: Duration::from_secs(self.drain_limit),
                    stop_grace: Duration::from_secs(self.stop_grace),
                    health_interval: Duration::from_millis(self.health_interval.max(1)),
                    restart_delay: Duration::from_millis(self.restart_delay.max(1)),
                    cgroups: None,
                },
            },
            machine: Room {
                memory_mb: self.memory.unwrap_or_else(default_memory_mb),
                vcores: self.vcores,
            },
            on_stop: if self.stop_models {
                OnStop::StopModels
            } else {
                OnStop::LeaveModels
            },
        })
    }
}

/// So many seconds as anything may last.
fn seconds() -> RangedU64ValueParser {
    value_parser!(u64).range(..=LONGEST.as_secs())
}

/// So many milliseconds as anything may last.
fn milliseconds() -> RangedU64ValueParser {
    value_parser!(u64).range(..=LONGEST.as_secs() * 1000)
}

fn parse_pair(pair: &str) -> anyhow::Result<(String, String)> {
    match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => bail!("--shell_env `{pair}` is not of the form NAME=VALUE"),
    }
}

async fn default_hostname() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if is_this_host(name.clone()).await {
        name
    } else {
        "localhost".to_owned()
    }
}

/// Nine tenths of what there is: of the machine's memory, or of what this process's cgroups leave of it, as in a container.
fn default_memory_mb() -> u64 {
    let system = rustix::system::sysinfo();
    let bytes: u64 = system.totalram;
    let machine = bytes.saturating_mul(system.mem_unit.into());
    let there_is = cgroup::memory_limit().map_or(machine, |limit| limit.min(machine));
    there_is / 10 * 9 / (1024 * 1024)
}

fn default_instances_dir() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let home = variable("MAAS_HOME")
        .or_else(|| Some(variable("XDG_STATE_HOME")?.join("maas")))
        .or_else(|| Some(variable("HOME")?.join(".local/state/maas")));
    let Some(home) = home else {
        bail!("HOME is not set; say with --instances_dir where copies may run")
    };
    Ok(home.join("instances"))
}
