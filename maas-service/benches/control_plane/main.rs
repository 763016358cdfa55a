//! What the control plane promises about speed, size and calls that don't fail, measured on the real thing: the daemon, its
//! runners, models as processes of their own, a ZooKeeper. Each measurement prints its floor, or the plain alternative, of
//! the same run, and the goal. A goal that is missed makes the run end with a failure. It panics when it could not measure, or when what it measured did not do its work.
//!
//! ```text
//! cargo bench --bench control_plane -- NAME [NUMBER]
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that meets what it does not expect has failed"
)]

mod crash_to_withdrawn;
mod daemon_killed_under_load;
mod daemon_memory;
mod drain;
mod figures;
mod killed_before_registration;
mod load;
mod many_instances;
mod model;
mod poison;
mod rolling_update_under_load;
mod stand;
mod takeover;
mod zookeeper_away;
mod zookeeper_server_gone;

use std::process::ExitCode;

use test_support::goals_met;

const USAGE: &str = "name one: drain [REQUESTS], poison [REQUESTS], crash_to_withdrawn, daemon_killed_under_load, \
    killed_before_registration, takeover, zookeeper_server_gone, zookeeper_away [SECONDS], \
    rolling_update_under_load, many_instances [COPIES], daemon_memory [COPIES]";

fn main() -> ExitCode {
    // `cargo bench` adds this one by itself.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    if args.first().is_some_and(|name| name == model::ARGUMENT) {
        model::serve(args.get(1).map(String::as_str));
        return ExitCode::SUCCESS;
    }
    let number = args.get(1).map(|number| number.parse().expect(USAGE));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match args.first().map(String::as_str) {
            Some("drain") => drain::run(number.unwrap_or(10_000)).await,
            Some("poison") => poison::run(number.unwrap_or(5_000)).await,
            Some("crash_to_withdrawn") => crash_to_withdrawn::run().await,
            Some("daemon_killed_under_load") => daemon_killed_under_load::run().await,
            Some("killed_before_registration") => killed_before_registration::run().await,
            Some("takeover") => takeover::run().await,
            Some("zookeeper_server_gone") => zookeeper_server_gone::run().await,
            Some("zookeeper_away") => zookeeper_away::run(number.unwrap_or(60)).await,
            Some("rolling_update_under_load") => rolling_update_under_load::run().await,
            Some("many_instances") => many_instances::run(number.unwrap_or(200)).await,
            Some("daemon_memory") => daemon_memory::run(number.unwrap_or(1000)).await,
            Some(_) | None => panic!("{USAGE}"),
        }
    });
    goals_met()
}
