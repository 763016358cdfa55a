//! What becomes of a request. Pure: the same request and the same standing state give the same ruling.

use maas_client::wire::request::{Action, ModelRequest};
use maas_client::wire::state::{Desired, Outcome, Replaces, RequestResult};

use crate::plan::Room;

/// The most copies of one version.
const MAX_COPIES: u32 = 10_000;

/// What stands when a request is ruled on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    /// What should run of the version so far.
    pub desired: Option<&'a Desired>,
    /// What should run of the version to be replaced, if the request names one.
    pub old: Option<&'a Desired>,
    /// Where the files of the version lie, also when nothing runs of it now; `None` when it is new.
    pub path: Option<&'a str>,
    /// The last generation there was of the version, also when nothing runs of it now.
    pub last_generation: u64,
    /// All that the machine has for copies.
    pub machine: Room,
    /// Now, in milliseconds since 1970.
    pub now_ms: i64,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    /// What should run of this version from now on; `None` for nothing.
    pub desired: Option<Desired>,
    /// The answer to the sender.
    pub result: RequestResult,
}

/// Rules on `request`, known as `identity`.
#[must_use]
pub(super) fn rule(request: &ModelRequest, identity: &str, standing: &Standing<'_>) -> Ruling {
    let ruled = match (request.action, standing.desired) {
        (Action::Add, _) => add(request, standing),
        (Action::Remove, Some(desired)) => Ok(remove(request, desired)),
        (Action::Restart, Some(desired)) => Ok(restart(desired, standing.last_generation + 1)),
        (Action::Remove, None) => Err(format!(
            "{}, so nothing can be removed",
            nothing_runs(request)
        )),
        (Action::Restart, None) => Err(format!(
            "{}, so nothing can be restarted",
            nothing_runs(request)
        )),
    };
    let before = standing.desired.map_or(0, |desired| desired.instances);
    let result = |outcome, instances, reason, generation| RequestResult {
        request: identity.to_owned(),
        outcome,
        reason,
        action: Some(request.action),
        name: Some(request.name.clone()),
        version: Some(request.version.clone()),
        instances: Some(instances),
        generation,
        answered_ms: standing.now_ms,
    };
    match ruled {
        Ok((desired, note)) => {
            let generation = standing.last_generation + 1;
            let desired = desired.map(|desired| Desired {
                generation,
                request: identity.to_owned(),
                ..desired
            });
            let instances = desired.as_ref().map_or(0, |desired| desired.instances);
            Ruling {
                result: result(Outcome::Accepted, instances, note, Some(generation)),
                desired,
            }
        }
        Err(reason) => Ruling {
            result: result(Outcome::Refused, before, Some(reason), None),
            desired: standing.desired.cloned(),
        },
    }
}

/// What should run after an accepted request, and what the sender should know about it.
type Accepted = (Option<Desired>, Option<String>);

fn add(request: &ModelRequest, standing: &Standing<'_>) -> Result<Accepted, String> {
    let path = request.path.clone().unwrap_or_default();
    let (name, version) = (&request.name, &request.version);
    let desired = standing.desired;
    if let Some(known) = standing.path.filter(|known| *known != path) {
        return Err(format!(
            "the files of model `{name}` {version} are `{known}`, and the request is for `{path}`; a version never changes its \
             content, also when nothing runs of it, so deploy this as another version"
        ));
    }
    let before = desired.map_or(0, |desired| desired.instances);
    let instances = before
        .checked_add(request.instances)
        .filter(|&sum| sum <= MAX_COPIES)
        .ok_or_else(|| {
            format!(
                "{before} copies and {} more are over the limit of {MAX_COPIES}",
                request.instances
            )
        })?;
    fits(instances, request.memory_mb, standing.machine)?;
    let replaces = match &request.replace {
        Some(old) => {
            replaceable(request, standing)?;
            let going_on = desired.and_then(|desired| desired.replaces.as_ref());
            Some(Replaces {
                version: old.clone(),
                deadline_s: request.deadline_s.into(),
                // What failed before it was given up says nothing about another try.
                since: going_on
                    .filter(|replaces| replaces.going_back.is_none())
                    .map_or(standing.last_generation + 1, |replaces| replaces.since),
                before: going_on.map_or(before, |replaces| replaces.before),
                going_back: None,
            })
        }
        // What is asked for beside the update stays when that is given up.
        None => desired
            .and_then(|desired| desired.replaces.clone())
            .map(|replaces| Replaces {
                before: replaces.before.saturating_add(request.instances),
                ..replaces
            }),
    };
    let note = desired
        .filter(|desired| desired.memory_mb != request.memory_mb)
        .map(|desired| {
            format!(
                "copies started from now on get {} MB, the running ones keep {} MB",
                request.memory_mb, desired.memory_mb
            )
        });
    let desired = Desired {
        name: name.clone(),
        version: version.clone(),
        instances,
        memory_mb: request.memory_mb,
        path,
        generation: 0,
        request: String::new(),
        restarted: desired.map_or(0, |desired| desired.restarted),
        replaces,
    };
    Ok((Some(desired), note))
}

/// More than the machine has is refused at once; what only has no room now is accepted and waits.
fn fits(instances: u32, memory_mb: u32, machine: Room) -> Result<(), String> {
    let memory = u64::from(instances) * u64::from(memory_mb);
    if memory > machine.memory_mb {
        return Err(format!(
            "{instances} copies of {memory_mb} MB would need {memory} MB, and this machine has {} MB for copies in all",
            machine.memory_mb
        ));
    }
    match machine.vcores {
        Some(vcores) if vcores < instances => Err(format!(
            "{instances} copies would need as many virtual cores, and this machine has {vcores} for copies in all"
        )),
        _ => Ok(()),
    }
}

fn replaceable(request: &ModelRequest, standing: &Standing<'_>) -> Result<(), String> {
    let (name, version) = (&request.name, &request.version);
    let (Some(wanted), Some(old)) = (&request.replace, standing.old) else {
        let old = request.replace.as_ref().map_or("", |old| old.as_str());
        return Err(format!(
            "nothing runs of model `{name}` {old}, so there is nothing to replace; deploy {version} as it is"
        ));
    };
    if let Some(older) = &old.replaces {
        return Err(format!(
            "model `{name}` {wanted} is itself still taking the place of {}; wait until it has, or remove it",
            older.version
        ));
    }
    match standing
        .desired
        .and_then(|desired| desired.replaces.as_ref())
    {
        Some(other) if other.version != *wanted => Err(format!(
            "model `{name}` {version} is already taking the place of {}; wait until it has, or remove it",
            other.version
        )),
        _ => Ok(()),
    }
}

fn remove(request: &ModelRequest, desired: &Desired) -> Accepted {
    let before = desired.instances;
    let instances = before.saturating_sub(request.instances);
    let mut notes = Vec::new();
    if request.instances > before {
        notes.push(format!(
            "{} copies were to be removed, and only {before} ran: all are removed",
            request.instances
        ));
    }
    if let Some(replaces) = desired.replaces.as_ref().filter(|_| instances == 0) {
        notes.push(format!(
            "it was taking the place of {}, which runs on as before",
            replaces.version
        ));
    }
    let replaces = desired.replaces.clone().map(|replaces| Replaces {
        before: replaces.before.min(instances),
        ..replaces
    });
    let left = (instances > 0).then(|| Desired {
        instances,
        replaces,
        ..desired.clone()
    });
    (left, (!notes.is_empty()).then(|| notes.join("; ")))
}

fn restart(desired: &Desired, generation: u64) -> Accepted {
    let desired = Desired {
        restarted: generation,
        ..desired.clone()
    };
    (Some(desired), None)
}

fn nothing_runs(request: &ModelRequest) -> String {
    format!(
        "nothing runs of model `{}` {}",
        request.name, request.version
    )
}

#[cfg(test)]
mod tests {
    use maas_client::Version;

    use super::*;

    fn request(action: &str, instances: u32, path: &str) -> ModelRequest {
        let text = format!(
            r#"{{"name":"dga","version":"1.0","numInstances":{instances},"memory":512,"action":"{action}","path":"{path}"}}"#
        );
        ModelRequest::parse(text.as_bytes()).expect("a request")
    }

    fn standing(copies: u32) -> Option<Desired> {
        (copies > 0).then(|| Desired {
            name: "dga".parse().expect("a name"),
            version: "1.0".parse().expect("a version"),
            instances: copies,
            memory_mb: 512,
            path: "/m".to_owned(),
            generation: 7,
            request: "before".to_owned(),
            restarted: 0,
            replaces: None,
        })
    }

    fn rule_on(request: &ModelRequest, desired: Option<&Desired>, old: Option<&Desired>) -> Ruling {
        let machine = Room {
            memory_mb: 100_000_000,
            vcores: Some(MAX_COPIES),
        };
        let standing = Standing {
            desired,
            old,
            path: desired.map(|desired| desired.path.as_str()),
            last_generation: 7,
            machine,
            now_ms: 0,
        };
        rule(request, "r", &standing)
    }

    /// The outcome of one request where so many copies should run, and how many should run after it.
    fn check(action: &str, instances: u32, path: &str, copies: u32) -> (Outcome, u32, String) {
        let standing = standing(copies);
        let ruling = rule_on(&request(action, instances, path), standing.as_ref(), None);
        let after = ruling
            .desired
            .as_ref()
            .map_or(0, |desired| desired.instances);
        assert_eq!(ruling.result.instances, Some(after));
        if ruling.result.outcome == Outcome::Refused {
            assert_eq!(ruling.desired, standing, "a refusal changes nothing");
        } else {
            assert_eq!(ruling.result.generation, Some(8));
            let made = ruling.desired.map(|d| (d.generation, d.request));
            assert!(made.is_none_or(|made| made == (8, "r".to_owned())));
        }
        (
            ruling.result.outcome,
            after,
            ruling.result.reason.unwrap_or_default(),
        )
    }

    #[test]
    fn an_add_adds_and_a_remove_removes() {
        for (action, instances, copies, after) in [
            ("ADD", 2, 0, 2),
            ("ADD", 3, 2, 5),
            ("REMOVE", 1, 3, 2),
            ("REMOVE", 3, 3, 0),
            ("RESTART", 0, 3, 3),
        ] {
            assert_eq!(
                check(action, instances, "/m", copies),
                (Outcome::Accepted, after, String::new())
            );
        }
    }

    #[test]
    fn removing_more_than_runs_removes_all_and_says_so() {
        let (outcome, after, reason) = check("REMOVE", 5, "", 3);
        assert_eq!((outcome, after), (Outcome::Accepted, 0));
        assert!(reason.contains("only 3 ran"), "{reason}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let refused = |action, instances, path, copies, why: &str| {
            let (outcome, _, reason) = check(action, instances, path, copies);
            assert!(
                outcome == Outcome::Refused && reason.contains(why),
                "{reason}"
            );
        };
        refused("REMOVE", 1, "", 0, "nothing runs of model `dga` 1.0");
        refused("RESTART", 0, "", 0, "nothing runs of model `dga` 1.0");
        refused("ADD", 1, "/other", 1, "another version");
        refused("ADD", MAX_COPIES, "/m", 1, "limit");
    }

    #[test]
    fn a_version_of_which_nothing_runs_comes_back_with_its_files_and_no_others() {
        let machine = Room {
            memory_mb: 1024,
            vcores: None,
        };
        for (path, outcome) in [("/m", Outcome::Accepted), ("/other", Outcome::Refused)] {
            let standing = Standing {
                desired: None,
                old: None,
                path: Some("/m"),
                last_generation: 7,
                machine,
                now_ms: 0,
            };
            let ruling = rule(&request("ADD", 1, path), "r", &standing);
            assert_eq!(ruling.result.outcome, outcome, "{path}");
        }
    }

    #[test]
    fn more_than_the_machine_has_is_refused_and_never_clamped() {
        let rule_in = |machine, instances| {
            let standing = Standing {
                desired: None,
                old: None,
                path: None,
                last_generation: 0,
                machine,
                now_ms: 0,
            };
            let ruling = rule(&request("ADD", instances, "/m"), "r", &standing);
            (
                ruling.result.outcome,
                ruling.result.reason.unwrap_or_default(),
            )
        };
        let room = |memory_mb, vcores| Room { memory_mb, vcores };
        assert_eq!(rule_in(room(1024, None), 2).0, Outcome::Accepted);
        let (outcome, reason) = rule_in(room(1023, None), 2);
        assert!(
            outcome == Outcome::Refused && reason.contains("1023 MB"),
            "{reason}"
        );
        let (outcome, reason) = rule_in(room(9999, Some(1)), 2);
        assert!(
            outcome == Outcome::Refused && reason.contains("virtual cores"),
            "{reason}"
        );
    }

    #[test]
    fn a_restart_replaces_all_copies_launched_before_it() {
        let standing = standing(2).expect("two");
        let ruling = rule_on(&request("RESTART", 0, ""), Some(&standing), None);
        let desired = ruling.desired.expect("it stands");
        assert_eq!((desired.generation, desired.restarted), (8, 8));
    }

    #[test]
    fn what_is_added_while_a_version_takes_a_place_stays_when_that_is_given_up() {
        let updating = Desired {
            replaces: Some(Replaces {
                version: Version::new("0.9").expect("a version"),
                deadline_s: 1,
                since: 1,
                before: 0,
                going_back: None,
            }),
            ..standing(2).expect("two")
        };
        let after = |request: &ModelRequest, desired: &Desired| {
            let desired = rule_on(request, Some(desired), None).desired;
            let desired = desired.expect("it stands");
            let before = desired.replaces.as_ref().map(|replaces| replaces.before);
            (desired.instances, before, desired)
        };
        let (instances, before, added) = after(&request("ADD", 3, "/m"), &updating);
        assert_eq!((instances, before), (5, Some(3)));
        // No more than are asked for at all.
        let (instances, before, _) = after(&request("REMOVE", 4, ""), &added);
        assert_eq!((instances, before), (1, Some(1)));
    }

    #[test]
    fn a_version_can_take_the_place_of_one_that_runs_and_is_whole() {
        let replacing = ModelRequest {
            version: Version::new("2.0").expect("a version"),
            replace: Some(Version::new("1.0").expect("a version")),
            ..request("ADD", 2, "/m2")
        };
        let old = standing(3).expect("three");
        let ruling = rule_on(&replacing, None, Some(&old));
        let desired = ruling.desired.expect("it stands");
        assert_eq!(
            desired.replaces.expect("it replaces").version.as_str(),
            "1.0"
        );

        let refused = |desired: Option<&Desired>, old: Option<&Desired>, why: &str| {
            let result = rule_on(&replacing, desired, old).result;
            let reason = result.reason.unwrap_or_default();
            assert!(
                result.outcome == Outcome::Refused && reason.contains(why),
                "{reason}"
            );
        };
        refused(None, None, "nothing to replace");
        let replaces = |version: &str| {
            Some(Replaces {
                version: Version::new(version).expect("a version"),
                deadline_s: 1,
                since: 1,
                before: 0,
                going_back: None,
            })
        };
        let unfinished = Desired {
            replaces: replaces("0.9"),
            ..old.clone()
        };
        refused(None, Some(&unfinished), "still taking the place of 0.9");
        let busy = Desired {
            path: "/m2".to_owned(),
            ..unfinished
        };
        refused(Some(&busy), Some(&old), "already taking the place of 0.9");
        // Asked for again, an update goes on; one that is being given up is a new try.
        for (going_back, since) in [(None, 1), (Some("why".to_owned()), 8)] {
            let replaces = Replaces {
                going_back,
                ..replaces("1.0").expect("it replaces")
            };
            let updating = Desired {
                replaces: Some(replaces),
                ..busy.clone()
            };
            let again = rule_on(&replacing, Some(&updating), Some(&old)).desired;
            let again = again.expect("it stands").replaces.expect("it replaces");
            assert_eq!((again.going_back, again.since), (None, since));
        }
        // Taken away before it is done, it leaves the old one alone.
        let (left, note) = remove(&request("REMOVE", 3, ""), &busy);
        assert!(left.is_none() && note.expect("a note").contains("0.9, which runs on"));
    }
}
