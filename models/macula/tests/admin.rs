//! The admin routes, on a listener of their own.

#[path = "running/server.rs"]
mod running;

use std::fs;
use std::sync::Arc;

use macula::admin::{Admin, Token};
use running::{Reply, Server, Serving, ask};
use serde_json::Value;
use tempfile::TempDir;
use threat_lists::{Library, Settings};

/// Macula by the lists of a folder, with its admin routes.
struct Site {
    folder: TempDir,
    public: Server,
    admin: Serving,
}

impl Site {
    fn start(blacklist: &str, token: Option<&str>) -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("blacklist.txt"), blacklist).expect("a list");
        let place = folder.path().to_str().expect("a path of letters");
        let library = tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(Library::open(place, Settings::default()))
            .expect("good lists");
        let public = Server::with(library.current());
        let token = token.and_then(Token::new);
        let scorer = Arc::clone(&public.scorer);
        let told = Arc::clone(&scorer);
        library.tell(move |lists| told.replace_lists(lists));
        let admin = Admin::new(scorer, Arc::new(library), token);
        Site {
            admin: Serving::start(admin.router()),
            folder,
            public,
        }
    }

    fn write(&self, blacklist: &str) {
        fs::write(self.folder.path().join("blacklist.txt"), blacklist).expect("a list");
    }

    fn admin(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        ask(self.admin.address, method, path, headers, b"")
    }

    fn score(&self, indicator: &str) -> Value {
        let path = format!("/api/score?indicators={indicator}");
        self.public.get(&path)[indicator]["rescaled"].clone()
    }
}

#[test]
fn lists_are_changed_by_a_reload_and_kept_if_it_fails() {
    let site = Site::start("one.test\n", None);
    assert_eq!(
        (site.score("one.test"), site.score("two.test")),
        (100.0.into(), 50.0.into())
    );
    site.write("two.test\n");
    assert_eq!(site.score("two.test"), 50.0);
    let status = site.admin("POST", "/admin/reload", &[]);
    assert_eq!(
        (status.status, &status.json()["loaded"]["epoch"]),
        (200, &1.into())
    );
    // What was scored by the old lists is not given again.
    assert_eq!(
        (site.score("one.test"), site.score("two.test")),
        (50.0.into(), 100.0.into())
    );
    site.write("<html>\n");
    let refused = site.admin("POST", "/admin/reload", &[]);
    assert_eq!(
        (refused.status, &refused.json()["error"]["code"]),
        (422, &"lists_not_loaded".into())
    );
    assert!(refused.body.contains("blacklist.txt"), "{}", refused.body);
    assert_eq!(site.score("two.test"), 100.0);
    assert_eq!(
        site.admin("GET", "/admin/status", &[]).json()["loaded"]["entries"],
        1
    );
}

#[test]
fn the_lists_of_one_name_are_reloaded_alone() {
    let site = Site::start("one.test\n", None);
    site.write("two.test\n");
    let whitelist = site.folder.path().join("whitelist.txt");
    fs::write(whitelist, "three.test\n").expect("a list");
    let unknown = site.admin("POST", "/admin/reload/blacklst", &[]);
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (404, &"no_such_list".into()),
        "{}",
        unknown.body
    );
    assert_eq!(site.score("one.test"), 100.0);
    let reloaded = site.admin("POST", "/admin/reload/blacklist", &[]);
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(
        ["one.test", "two.test", "three.test"].map(|name| site.score(name)),
        [50.0, 100.0, 50.0]
    );
    assert_eq!(site.admin("POST", "/admin/reload", &[]).status, 200);
    assert_eq!(site.score("three.test"), 0.0);
}

#[test]
fn a_list_that_shrank_is_taken_when_forced_and_one_whose_file_is_gone_goes() {
    let many: String = (0..1000).map(|n| format!("n{n}.test\n")).collect();
    let site = Site::start(&many, None);
    site.write("one.test\n");
    let refused = site.admin("POST", "/admin/reload", &[]);
    assert_eq!(refused.status, 422, "{}", refused.body);
    let reason = "it has 1 entries, and had 1000";
    assert!(refused.body.contains(reason), "{}", refused.body);
    let wrong = site.admin("POST", "/admin/reload?force=perhaps", &[]);
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let wrong = site.admin("POST", "/admin/reload?forced=true", &[]);
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    assert_eq!(site.score("n7.test"), 100.0);
    let forced = site.admin("POST", "/admin/reload?force=true", &[]);
    assert_eq!(forced.status, 200, "{}", forced.body);
    assert_eq!(
        ["n7.test", "one.test"].map(|name| site.score(name)),
        [50.0, 100.0]
    );
    let other = site.folder.path().join("blacklist-other.txt");
    fs::write(&other, "other.test\n").expect("a list");
    assert_eq!(site.admin("POST", "/admin/reload", &[]).status, 200);
    assert_eq!(site.score("other.test"), 100.0);
    fs::remove_file(other).expect("it is there");
    let kept = site.admin("POST", "/admin/reload", &[]);
    assert_eq!(kept.status, 422, "{}", kept.body);
    assert_eq!(site.score("other.test"), 100.0);
    let forced = site.admin("POST", "/admin/reload/blacklist-other?force=true", &[]);
    assert_eq!(forced.status, 200, "{}", forced.body);
    assert_eq!(site.score("other.test"), 50.0);
}

#[test]
fn the_cache_can_be_cleared() {
    let site = Site::start("one.test\n", None);
    site.score("one.test");
    let cached =
        || site.public.get("/api/score?indicators=one.test")["one.test"]["meta"]["cached"].clone();
    assert_eq!(cached(), true);
    assert_eq!(
        site.admin("DELETE", "/admin/cache", &[]).json()["cache"]["entries"],
        0
    );
    assert_eq!(cached(), Value::Null);
}

#[test]
fn a_token_is_asked_for_before_anything_is_told() {
    let site = Site::start("one.test\n", Some("  open sesame\n"));
    for headers in [
        &[][..],
        &[("Authorization", "Bearer open")],
        &[("Authorization", "Bearer")],
        &[("Authorization", "Basic open sesame")],
        &[("Authorization", "open sesame")],
    ] {
        for (method, path) in [
            ("POST", "/admin/reload"),
            ("GET", "/admin/status"),
            ("GET", "/else"),
        ] {
            let reply = site.admin(method, path, headers);
            assert_eq!(reply.status, 401, "{headers:?}");
            assert!(
                reply.head.contains("www-authenticate: bearer"),
                "{}",
                reply.head
            );
            assert_eq!(reply.json()["error"]["code"], "unauthorized");
        }
    }
    let open = [("Authorization", "Bearer open sesame")];
    assert_eq!(site.admin("GET", "/admin/status", &open).status, 200);
    assert_eq!(site.admin("GET", "/else", &open).status, 404);
    // What the public listener answers is not here, and the other way round.
    assert_eq!(
        site.admin("GET", "/api/score?indicators=one.test", &open)
            .status,
        404
    );
}
