//! A real PostgreSQL for one test: its own folder and port, and gone with the test.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use test_support::{Leash, Program, TempDir, eventually, free_port};

/// A database server.
pub(crate) struct Postgres {
    leash: Leash,
    port: u16,
}

impl Postgres {
    pub(crate) async fn start() -> Postgres {
        let folder = TempDir::new().unwrap();
        let bin = binaries();
        let data = folder.path().join("data");
        own(folder.path());
        let initdb = as_user(bin.join("initdb").as_os_str().to_owned());
        let made = Command::new(&initdb[0])
            .args(&initdb[1..])
            .args(["--auth=trust", "--username=macula", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir("/")
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb: {complaint}");
        let port = free_port();
        let mut words = as_user(bin.join("postgres").into_os_string()).into_iter();
        let server = Program::new(words.next().unwrap())
            .args(words)
            .args(["-h", "127.0.0.1", "-F", "-p", &port.to_string()])
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path());
        let postgres = Postgres {
            leash: Leash::start("PostgreSQL", folder, &server),
            port,
        };
        eventually(
            Duration::from_secs(60),
            "PostgreSQL takes connections",
            async || {
                let ready = Command::new(bin.join("pg_isready"))
                    .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                    .status();
                if ready.unwrap().success() {
                    Ok(())
                } else {
                    Err(postgres.leash.log_tail())
                }
            },
        )
        .await;
        postgres
    }

    pub(crate) fn settings(&self) -> String {
        let port = self.port;
        format!("host=127.0.0.1 port={port} user=macula dbname=postgres")
    }

    pub(crate) fn kill(&mut self) {
        self.leash.kill();
    }
}

/// The folder of the newest PostgreSQL on this machine.
fn binaries() -> PathBuf {
    let version = |path: &PathBuf| -> u32 {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.parse().ok()).unwrap_or(0)
    };
    let folders = std::fs::read_dir("/usr/lib/postgresql").map(|entries| {
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.max_by_key(version)
    });
    let newest = folders.ok().flatten();
    newest
        .expect("PostgreSQL is not installed: run scripts/setup test")
        .join("bin")
}

/// The server refuses to run as root; then it runs as the user that its package made.
fn as_user(program: OsString) -> Vec<OsString> {
    if !is_root() {
        return vec![program];
    }
    let change = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ];
    change
        .map(OsString::from)
        .into_iter()
        .chain([program])
        .collect()
}

fn own(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").arg("postgres").arg(folder).status();
        assert!(done.unwrap().success());
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}
