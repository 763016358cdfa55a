//! The workspace's own programs, built for the tests of other packages.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The programs that tests run.
const PROGRAMS: [&str; 3] = ["maas_service", "maas_runner", "maas_deploy"];

/// By this variable a test program is told where they lie, when it can't build them itself.
pub const PROGRAMS_FOLDER: &str = "MAAS_TEST_PROGRAMS";

/// Where the program called `name` lies, as new as its sources. Builds all of them the first time it is asked, unless
/// [`PROGRAMS_FOLDER`] says where they are.
///
/// # Panics
///
/// When they don't build; the compiler has said why.
pub fn binary(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if let Some(built) = std::env::var_os(PROGRAMS_FOLDER) {
            return built.into();
        }
        // A test program lies in <target>/<profile>/deps.
        let own = std::env::current_exe().expect("a running program can find itself");
        let profile = own
            .ancestors()
            .nth(2)
            .expect("a test lies two folders below its profile's");
        let mut build = Command::new(env!("CARGO"));
        // What cargo has set for this program would look like a change to build scripts that ask for it, and have half of
        // all crates built again: here now, and then in the next build from outside.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        build.args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "maas-service",
            "-p",
            "maas-deploy",
        ]);
        // Of the checkout that is being tested, not of the one this helper was compiled in: they may share a target folder.
        let tested = std::env::var("CARGO_MANIFEST_DIR");
        build.arg("--manifest-path");
        build.arg(
            Path::new(tested.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR"))).join("Cargo.toml"),
        );
        build.arg("--target-dir").arg(
            profile
                .parent()
                .expect("a profile's folder lies in the target folder"),
        );
        if profile.ends_with("release") {
            build.arg("--release");
        }
        for program in PROGRAMS {
            build.args(["--bin", program]);
        }
        let status = build
            .status()
            .expect("cargo, which runs this test, can be run");
        assert!(
            status.success(),
            "the programs under test don't build: {status}"
        );
        profile.to_owned()
    });
    folder.join(name)
}
