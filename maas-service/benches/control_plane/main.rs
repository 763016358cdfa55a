//! What the control plane promises about speed, size and calls that don't fail, measured on the real thing: the daemon, its
//! runners, models as processes of their own, a ZooKeeper. Each measurement prints its floor, or the plain alternative, of
//! the same run, and the goal. It panics when it could not measure, or when what it measured did not do its work.
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
mod load;
mod many_instances;
mod model;
mod rolling_update_under_load;
mod stand;
mod takeover;
mod zookeeper_away;

const USAGE: &str = "name one: drain [REQUESTS], crash_to_withdrawn, daemon_killed_under_load, \
    takeover, zookeeper_away [SECONDS], rolling_update_under_load, many_instances [COPIES], \
    daemon_memory [COPIES]";

fn main() {
    // `cargo bench` adds this one by itself.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let number = args.get(1).map(|number| number.parse().expect(USAGE));
    if args.first().is_some_and(|name| name == model::ARGUMENT) {
        return model::serve();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match args.first().map(String::as_str) {
            Some("drain") => drain::run(number.unwrap_or(10_000)).await,
            Some("crash_to_withdrawn") => crash_to_withdrawn::run().await,
            Some("daemon_killed_under_load") => daemon_killed_under_load::run().await,
            Some("takeover") => takeover::run().await,
            Some("zookeeper_away") => zookeeper_away::run(number.unwrap_or(60)).await,
            Some("rolling_update_under_load") => rolling_update_under_load::run().await,
            Some("many_instances") => many_instances::run(number.unwrap_or(200)).await,
            Some("daemon_memory") => daemon_memory::run(number.unwrap_or(1000)).await,
            Some(_) | None => panic!("{USAGE}"),
        }
    });
}
