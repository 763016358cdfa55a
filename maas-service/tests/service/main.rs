//! The service against real parties: a real ZooKeeper, real runners, real models.
//!
//! Which faults are shown to be survived, by their numbers in the doc comments of the tests:
//!
//! | fault | shown by |
//! | --- | --- |
//! | F1, F3 to F9 anything of ours killed at any point of its program | `crash_points::…` |
//! | F1, F3 the daemon killed before and after its transaction | `crashes::an_add_takes_effect_once…` |
//! | F2 killed while its transaction is under way, or the answer lost | `zookeeper_faults::a_request_takes_effect_once_when…`, `…requests_take_effect_once_however_often…`, and the simulation |
//! | F4 a runner killed while it fetches | `interruptions::a_runner_killed_while_it_fetches…` |
//! | F5 the daemon killed while it starts a copy | `interruptions::a_daemon_killed_while_it_starts_a_copy…` |
//! | F6 the daemon killed before the copy is registered | `interruptions::a_copy_whose_daemon_is_killed_before_it_answers…`; how long it takes: `benches/control_plane`'s `killed_before_registration` |
//! | F7 daemon or runner killed while a copy drains | `draining::a_drain_goes_on_without_the_daemon…` |
//! | F8 a runner or warden killed | `life::a_runner_that_is_killed…`, `life::a_warden_that_is_killed…`, `interruptions::a_warden_or_runner_killed_before…` |
//! | F9 everything killed at once, as when the host goes down | `crashes::when_everything_is_killed_at_once…`; `instances::a_copy_whose_launch_file…`; `process::a_process_is_known_by_id_start_and_boot` |
//! | F10, F11 a server of ZooKeeper gone | `zookeeper_faults::with_one_server_of_three_gone…`; how long it takes: `benches/control_plane`'s `zookeeper_server_gone` |
//! | F12 no quorum | `zookeeper_faults::without_a_quorum…`, `interruptions::a_copy_that_starts_while_zookeeper_is_away…`; how long it takes afterwards: `benches/control_plane`'s `zookeeper_away` |
//! | F13 the daemon's session ended | `zookeeper_faults::a_daemon_whose_session_ends…`; with the runners' `life::copies_and_registrations_survive_a_restart…` |
//! | F14 a client's session ended | `maas-client/tests/discovery.rs`, `lookups_go_on_when_the_clients_session_ends…` |
//! | F15 an old leader that does not know it | `life::a_daemon_that_is_overtaken…`, `crashes::a_copy_is_not_doubled…`, and the simulation; one that is cut off: `zookeeper_faults::a_leader_cut_off…`, `…what_a_leader_was_about_to_do…`, `…what_a_leader_sent…`; how long it takes, also of one that is killed or hangs: `benches/control_plane`'s `takeover` |
//! | F16 ZooKeeper slow, lossy, cut off | `zookeeper_faults::over_a_slow_and_lossy_way…` |
//! | F17 a full disk | `disks::on_a_full_disk…`, and the unit tests of `runner::output` |
//! | F18 a full disk under the state, which is ZooKeeper's | `zookeeper_faults::when_zookeepers_disk_is_full…` |
//! | F19 a disk that can't be written | `disks::on_a_disk_that_cannot_be_written…`, `disks::when_a_disk_can_be_written_no_more…` |
//! | F20 a model that hangs | `places::a_model_that_is_not_well…` |
//! | F21 a model that is half alive | `maas-client/tests/ejection.rs`, `maas-deploy/tests/cli/operating.rs` |
//! | F22, F23 a model that answers slowly or without end | `maas-client/tests/hostile_models.rs`, `discovery.rs` |
//! | F24 no `endpoint.dat` | `model_faults::a_script_that_never_writes…` |
//! | F25 one that is garbage, a link, a pipe or a gigabyte | `model_faults::an_endpoint_dat…` |
//! | F26 one that names another host | `model_faults::an_endpoint_dat_that_names_another_host` |
//! | F27 one that is written anew | `places::a_model_that_moves_is_followed…` |
//! | F28 a script that leaves its server behind, or nothing | `life::processes_that_detach…`, `healing::a_script_that_ends_well…` |
//! | F29 a model that ignores SIGTERM | `life::a_model_that_ignores_sigterm…` |
//! | F30 a port that is somebody else's | `places::a_server_of_somebody_else…` |
//! | F31 too much memory | `resources::a_copy_that_uses_more_memory…`, `resources::what_forked_workers_share…`, `cgroups::…` |
//! | F32 too many processes, files, lines | `resources::a_copy_that_starts_processes…`, `…a_script_starts_without_core_files…`, `…a_flood_of_output…`; of the daemon's own `resources::the_daemon_takes_all_open_files…` |
//! | F33 a model that always exits at once | `healing::a_model_that_always_exits_at_once…`, `updates::a_crash_loop_is_left…` |
//! | F34 the time of day jumps | `clock::when_the_time_of_day_jumps…` |
//! | F36 a bundle that is replaced while it is fetched | `bundles::…` |
//! | F37 items that are no requests | `queue_items::what_is_no_request…`, `…deeply_nested_items…`, `model_faults::an_endpoint_dat_that_is_deeply…`; how long it takes: `benches/control_plane`'s `poison` |
//! | F38 a request that comes twice | `queue_items::a_request_that_names_itself…`, and the simulation |
//! | F39 a REMOVE of what is not there | `queue_items::requests_that_make_no_sense…` |
//! | F40 a long queue | `long_queue::…`; with 100,000 requests `benches/control_plane`'s `drain`; above the cap `maas-client/tests/discovery.rs` |
//! | F41 an ADD that does not fit | `admission::what_does_not_fit…` |
//! | F42 two daemons on one root | `life::a_second_daemon_stands_by…`, `life::a_daemon_that_could_not_reach…`, `life::nobody_on_the_same_machine…` |
//! | F43 znodes deleted or written by hand | `meddling::…`, `maas-client/tests/session.rs` |
//! | F46 copies of an earlier release | `instance_folder::a_launch_file_of_an_earlier_release…`, `instances::a_folder_without_a_mark…`; no test runs two releases |

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets what it does not expect has failed"
)]

mod admission;
mod bundles;
mod cgroups;
mod clock;
mod command_line;
mod crash_points;
mod crashes;
mod disks;
mod draining;
mod healing;
mod instances;
mod interruptions;
mod life;
mod load;
mod long_queue;
mod meddling;
mod model_faults;
mod own_kernel;
mod places;
mod queue_items;
mod resources;
mod updates;
mod world;
mod zookeeper_faults;
