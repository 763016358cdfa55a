//! Tests that need a kernel of their own: to divide its cgroups, to set its clock.
//!
//! They are run twice over. Outside, the first of them starts this test program again in a kernel of its own, with all of
//! them, and each then looks up what became of it there. A start takes seconds, so there is one for all.

use std::time::Duration;

use test_support::{PROGRAMS_FOLDER, binary, run_in_own_kernel};
use tokio::sync::OnceCell;

/// The modules in which all tests are of this kind.
const MODULES: [&str; 2] = ["cgroups::", "clock::"];

/// By this variable the program knows that it is inside.
const INSIDE: &str = "MAAS_TEST_IN_OWN_KERNEL";

/// For all of them. It is one slow processor.
const ALL: Duration = Duration::from_secs(600);

/// Runs a test in a kernel of its own; `test` must be written in the test's own function, by which it is known.
///
/// # Panics
///
/// When it fails there, with all that was printed there.
pub(crate) async fn in_own_kernel<Test: AsyncFnOnce()>(test: Test) {
    if std::env::var_os(INSIDE).is_some() {
        return test().await;
    }
    let function = std::any::type_name::<Test>();
    let (_, name) = function.split_once("::").unwrap();
    let (name, _) = name.split_once("::{{closure}}").unwrap();
    match all().await {
        Ok(printed) if printed.contains(&format!("\ntest {name} ... ok\n")) => {}
        Ok(printed) => panic!("{name} has failed inside:\n{printed}"),
        Err(printed) => panic!("the kernel did not end within {ALL:?}:\n{printed}"),
    }
}

async fn all() -> &'static Result<String, String> {
    static ALL_OF_THEM: OnceCell<Result<String, String>> = OnceCell::const_new();
    ALL_OF_THEM
        .get_or_init(async || {
            let own = std::env::current_exe().unwrap();
            let programs = binary("maas_service").parent().unwrap().to_owned();
            let own = own.to_str().unwrap();
            let program = [&[own, "--test-threads=1", "--color=never"], &MODULES[..]].concat();
            let environment = [
                (INSIDE, "yes"),
                (PROGRAMS_FOLDER, programs.to_str().unwrap()),
                ("RUST_BACKTRACE", "0"),
            ];
            run_in_own_kernel(&program, &environment, ALL).await
        })
        .await
}
