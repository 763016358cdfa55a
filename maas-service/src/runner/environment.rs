//! What a model finds in its environment: what any program needs of ours, what is its own, and what the operator added.

use std::collections::BTreeMap;
use std::path::Path;

use crate::instance_folder::LaunchSpec;

/// The environment of the copy that runs in the folder `work`. Nothing secret of ours is in it.
pub(super) fn environment(spec: &LaunchSpec, work: &Path) -> BTreeMap<String, String> {
    let needed = |name: &str| {
        const NAMES: [&str; 9] = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "TMPDIR",
            "TZ",
            "LANG",
            "JAVA_HOME",
        ];
        NAMES.contains(&name) || name.starts_with("LC_")
    };
    let mut environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| needed(name))
        .collect();
    let own = [
        ("PWD", work.display().to_string()),
        ("CONTAINER_ID", spec.instance.to_string()),
        ("MAAS_INSTANCE", spec.instance.to_string()),
        ("MAAS_MODEL", spec.name.to_string()),
        ("MAAS_VERSION", spec.version.to_string()),
        ("MAAS_MEMORY_MB", spec.memory_mb.to_string()),
        ("MAAS_HOST", spec.settings.hostname.clone()),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    environment.extend(spec.settings.environment.clone());
    environment
}
