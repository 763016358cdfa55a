//! The command line of `maas_service`: scripts written for the original keep working.

use std::process::{Command, Output};

use test_support::{TempDir, binary, eventually};

use crate::world::{LIMIT, World};

fn service(args: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let mut command = Command::new(binary("maas_service"));
    command
        .args(args)
        .env_remove("MAAS_ZOOKEEPER")
        .env("MAAS_HOME", folder.path())
        .output()
        .unwrap()
}

#[tokio::test]
async fn every_option_of_the_original_is_taken_and_those_without_effect_are_named() {
    let options = [
        "-q",
        "root.models",
        "-t",
        "1000",
        "-mm",
        "512",
        "-mc",
        "2",
        "-j",
        "maas.jar",
        "-l",
        "log4j.properties",
        "-d",
        "domain",
        "-c",
        "-va",
        "reader",
        "-ma",
        "writer",
        "-nle",
        "gpu",
        "-zr",
        "/metron/maas/config",
        "-e",
        "A=B",
    ];
    let world = World::start(&options).await;
    world.leads().await;
    let log = world.daemon.log_tail();
    for option in [
        "queue",
        "timeout",
        "master_memory",
        "master_vcores",
        "jar",
        "log4j",
        "domain",
        "create",
        "view_acls",
        "modify_acls",
        "node_label_expression",
    ] {
        assert!(
            log.contains(&format!("--{option}")),
            "--{option} is not named in: {log}"
        );
    }
}

#[test]
fn help_alone_works_and_names_every_option() {
    for flag in ["-h", "--help"] {
        let help = service(&[flag]);
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout).unwrap();
        for option in [
            "zk_quorum",
            "zk_root",
            "queue",
            "timeout",
            "master_memory",
            "master_vcores",
            "jar",
            "log4j",
            "shell_env",
            "domain",
            "create",
            "view_acls",
            "modify_acls",
            "node_label_expression",
            "drain_limit",
            "restart_delay",
        ] {
            assert!(
                text.contains(&format!("--{option}")),
                "--{option} is not in the help"
            );
        }
    }
}

#[test]
fn a_service_that_cannot_start_says_why() {
    let check = |args: &[&str], code: i32, why: &str| {
        let output = service(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(code) && text.contains(why),
            "{args:?}: {:?} {text}",
            output.status
        );
    };
    check(&[], 2, "--zk_quorum");
    check(&["-zq", "localhost:1", "-mm", "much"], 2, "much");
    check(&["-zq", "localhost:1", "-e", "NOVALUE"], 1, "NOVALUE");
    check(&["-zq", "localhost:1", "-zr", "config"], 1, "--zk_root");
    check(
        &["-zq", "localhost:1", "--hostname", "192.0.2.1"],
        1,
        "is not this machine",
    );
    // Spelt with dashes, an option is the same.
    check(
        &[
            "--zk-quorum=localhost:1",
            "--stop-models",
            "--hostname=192.0.2.1",
        ],
        1,
        "is not this machine",
    );
    check(
        &["-zq", "localhost:1", "--runner", "/no/such/runner"],
        1,
        "/no/such/runner",
    );
    let forever = "18446744073709551615";
    for (option, longest) in [
        ("--start_timeout", "604800"),
        ("--drain_limit", "604800"),
        ("--stop_grace", "604800"),
        ("--drain", "604800000"),
        ("--restart_delay", "604800000"),
        ("--health_interval", "604800000"),
        ("--session_timeout", "604800000"),
    ] {
        let why = format!("{forever} is not in 0..={longest}");
        check(&["-zq", "localhost:1", option, forever], 2, &why);
    }
    // Nobody need wait for ZooKeeper to be told that.
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("thesis"), "mine").unwrap();
    let home = home.path().to_str().unwrap();
    check(
        &["-zq", "localhost:1", "--instances_dir", home],
        1,
        "holds `thesis`",
    );
}

#[tokio::test]
async fn what_is_put_into_the_models_environment_arrives_there_and_nothing_secret_else() {
    let world = World::start(&["--shell_env", "GREETING=hello there", "-e", "EMPTY="]).await;
    let model = test_support::ModelFolder::with_script(
        r#"exec "$python" -S -E serve.py "$GREETING" "${EMPTY-unset}" "$MAAS_MODEL" "$MAAS_VERSION" "$MAAS_MEMORY_MB" "${MAAS_LOG-unset}""#,
    );
    world.add("dga", 1, model.path()).await;
    world.serving("dga", 1).await;
    let arguments = eventually(LIMIT, "an answer", async || {
        world.apply("dga", &[]).await.remove("arguments")
    })
    .await;
    assert_eq!(
        arguments,
        serde_json::json!(["hello there", "", "dga", "1.0", "64", "unset"])
    );
}
