//! LIST: what serves, read from the registry without side effects; and what does not serve, and why.

use std::collections::BTreeMap;

use maas_client::instances::statuses;
use maas_client::layout::Layout;
use maas_client::registry::Registry;
use maas_client::wire::registration::Registration;
use maas_client::wire::state::InstanceStatus;
use maas_client::{InstanceId, ModelName, Session, Version};
use serde::Serialize;

use crate::exit::Failure;
use crate::follow::{describe, harmless, say};
use crate::options::{Filter, Output};

/// One copy, as the registry and its runner know it.
#[derive(Serialize)]
struct Copy {
    instance: InstanceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    functions: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_ms: Option<i64>,
    /// Absent for a copy that an old runner registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<InstanceStatus>,
}

#[derive(Serialize)]
struct Model {
    name: ModelName,
    version: Version,
    copies: Vec<Copy>,
}

/// Lists the copies of all models, or of those the filter names.
pub(crate) async fn list(
    session: &Session,
    layout: &Layout,
    filter: &Filter,
    output: Output,
) -> Result<(), Failure> {
    let wanted = |name: &ModelName, version: &Version| {
        filter.name.as_ref().is_none_or(|n| n == name)
            && filter.version.as_ref().is_none_or(|v| v == version)
    };
    let mut registrations = Vec::new();
    let mut problems = Vec::new();
    for entry in Registry::new(session.clone(), layout.clone())
        .list()
        .await?
    {
        match entry.registration {
            Ok(Some(registration)) if wanted(&registration.name, &registration.version) => {
                registrations.push(registration)
            }
            Ok(_) => {}
            Err(error) => problems.push((entry.path.to_string(), error.to_string())),
        }
    }
    registrations.sort_by(|a, b| {
        (&a.name, &a.version, &a.instance).cmp(&(&b.name, &b.version, &b.instance))
    });
    let mut statuses = statuses(session, layout).await?;
    statuses.retain(|status| wanted(&status.name, &status.version));
    match output {
        Output::Text => {
            print(&text(&registrations));
            for status in statuses.iter().filter(|status| !status.phase.is_serving()) {
                say(&format!(
                    "{}:{} {}",
                    status.name,
                    status.version,
                    describe(status)
                ));
            }
            for (znode, reason) in &problems {
                say(&format!(
                    "warning: the entry `{znode}` can't be read: {reason}"
                ));
            }
        }
        Output::Json => {
            let problems: Vec<_> = problems
                .iter()
                .map(|(znode, reason)| serde_json::json!({ "znode": znode, "reason": reason }))
                .collect();
            let document = serde_json::json!({ "models": merge(&registrations, statuses), "problems": problems });
            print(&format!("{document:#}\n"));
        }
    }
    Ok(())
}

/// Prints what was asked for.
#[expect(clippy::print_stdout, reason = "this is the output")]
pub(crate) fn print(text: &str) {
    print!("{text}");
}

/// The original's form: a title for each version, then its copies, and below each its functions.
fn text(registrations: &[Registration]) -> String {
    let mut text = String::new();
    let mut title = None;
    for entry in registrations {
        if title != Some((&entry.name, &entry.version)) {
            title = Some((&entry.name, &entry.version));
            text.push_str(&format!("Model {} @ {}\n", entry.name, entry.version));
        }
        text.push_str(&format!(
            "{}:{} @ {} serving:\n",
            entry.name, entry.version, entry.url
        ));
        let mut functions: Vec<_> = entry.functions.iter().collect();
        functions.sort_unstable();
        for (alias, path) in functions {
            text.push_str(&format!("\t{}={}\n", harmless(alias), harmless(path)));
        }
    }
    text
}

fn merge(registrations: &[Registration], statuses: Vec<InstanceStatus>) -> Vec<Model> {
    let mut models: BTreeMap<(ModelName, Version), BTreeMap<InstanceId, Copy>> = BTreeMap::new();
    for entry in registrations {
        let copy = Copy {
            instance: entry.instance.clone(),
            url: Some(entry.url.to_string()),
            functions: Some(
                entry
                    .functions
                    .iter()
                    .map(|(a, p)| (a.to_owned(), p.to_owned()))
                    .collect(),
            ),
            registered_ms: Some(entry.registered_ms),
            status: None,
        };
        let model = models
            .entry((entry.name.clone(), entry.version.clone()))
            .or_default();
        model.insert(entry.instance.clone(), copy);
    }
    for status in statuses {
        let model = models
            .entry((status.name.clone(), status.version.clone()))
            .or_default();
        let copy = model
            .entry(status.instance.clone())
            .or_insert_with(|| Copy {
                instance: status.instance.clone(),
                url: None,
                functions: None,
                registered_ms: None,
                status: None,
            });
        copy.status = Some(status);
    }
    models
        .into_iter()
        .map(|((name, version), copies)| Model {
            name,
            version,
            copies: copies.into_values().collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, version: &str, url: &str) -> Registration {
        Registration {
            name: ModelName::new(name).expect("a name"),
            version: Version::new(version).expect("a version"),
            instance: InstanceId::generate(),
            url: maas_client::endpoint_url::EndpointUrl::parse(url).expect("a URL"),
            functions: [("score", "api/score"), ("apply", "apply")]
                .into_iter()
                .collect(),
            registered_ms: 1,
        }
    }

    #[test]
    fn a_list_is_printed_as_the_original_prints_it() {
        let entries = [
            entry("dga", "1.0", "http://node1:36161"),
            entry("dga", "1.0", "http://node2:1"),
        ];
        assert_eq!(
            text(&entries),
            "Model dga @ 1.0\n\
             dga:1.0 @ http://node1:36161 serving:\n\tapply=apply\n\tscore=api/score\n\
             dga:1.0 @ http://node2:1 serving:\n\tapply=apply\n\tscore=api/score\n"
        );
    }
}
