//! Finds a deployed model by its name, asks it something, and prints the answer: all that a program needs which wants
//! a model's opinion. Copy it and go on from here.
//!
//! ```console
//! $ apply_model --zookeeper node1:2181 dga host=yahoo.com
//! {"is_malicious":"legit"}
//! ```
//!
//! A program that runs for long makes one [`MaasClient`] at its start and keeps it: looking up a model then costs next to
//! nothing, since the client hears from ZooKeeper what comes and goes, and connections to models are used again.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use maas_client::{MaasClient, SessionConfig};
use serde_json::Value;

/// Finds a deployed model by its name, asks it something, and prints the answer.
#[derive(Parser)]
#[command(max_term_width = 110)]
struct Options {
    /// The servers of ZooKeeper: host:port,host:port/chroot
    #[arg(long, value_name = "HOST:PORT", env = "MAAS_ZOOKEEPER")]
    zookeeper: String,

    /// The model; without a version, the highest that serves
    #[arg(value_name = "NAME[@VERSION]")]
    model: String,

    /// What the model is asked, such as host=yahoo.com
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    arguments: Vec<(String, String)>,

    /// The function of the model to call. Default: the one it calls `apply`
    #[arg(long)]
    function: Option<String>,

    /// Print the answer over several lines
    #[arg(long)]
    pretty: bool,

    /// Print this field of the answer only; may be repeated, with tabs between the values
    #[arg(long, value_name = "FIELD", conflicts_with = "pretty")]
    get: Vec<String>,

    /// Only print where a copy of the model answers
    #[arg(long, conflicts_with_all = ["arguments", "function", "pretty", "get"])]
    url: bool,
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the output"
)]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<String> {
    let maas = MaasClient::connect(SessionConfig::new(&options.zookeeper)).await?;
    let outcome = ask(&maas, &options).await;
    // Whatever came of it: a session that is closed is forgotten at once, one that is not only when it times out.
    maas.close().await;
    outcome
}

async fn ask(maas: &MaasClient, options: &Options) -> anyhow::Result<String> {
    let (name, version) = match options.model.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (options.model.as_str(), None),
    };
    let endpoint = maas.get_endpoint(name, version)?;
    if options.url {
        return Ok(endpoint.url.clone());
    }
    let arguments: Vec<(&str, &str)> = options
        .arguments
        .iter()
        .map(|(key, value)| (&**key, &**value))
        .collect();
    let answer = maas
        .model_apply(&endpoint, options.function.as_deref(), &arguments)
        .await
        .with_context(|| format!("model `{name}` {} gave no answer", endpoint.version))?;
    if !options.get.is_empty() {
        let fields = options.get.iter().map(|field| {
            let value = answer.get(field).unwrap_or(&Value::Null);
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        });
        return Ok(fields.collect::<Vec<_>>().join("\t"));
    }
    let answer = Value::Object(answer);
    Ok(if options.pretty {
        format!("{answer:#}")
    } else {
        answer.to_string()
    })
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it is not of the form KEY=VALUE".to_owned()),
    }
}
