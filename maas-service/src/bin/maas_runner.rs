//! `maas_runner`: runs one copy of a model. Started by `maas_service`, not by hand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use maas_service::instance_folder::InstanceFolder;
use maas_service::runner::{self, RunnerLog, warden};
use maas_service::{logging, signals};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.as_slice() {
        [flag, script, logs, cgroup @ ..] if flag == warden::ARGUMENT && cgroup.len() < 2 => {
            let cgroup = cgroup.first().map(Path::new);
            match warden::run(Path::new(script), Path::new(logs), cgroup) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&format!("the warden can't do its work: {error}")),
            }
        }
        // The tree is for those who look for runners. A daemon of an earlier release does not name it.
        [folder] | [_, folder] if Path::new(folder).is_dir() => {
            let folder = InstanceFolder::at(PathBuf::from(folder));
            logging::start_in(RunnerLog::new(runner::log_file(&folder)));
            signals::run_until_told_to_stop(async |stop| runner::run(folder, stop).await)
        }
        _ => complain(
            "usage: maas_runner TREE FOLDER\n\nRuns one copy of a model in a folder that maas_service has prepared.",
        ),
    }
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn complain(text: &str) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(2)
}
