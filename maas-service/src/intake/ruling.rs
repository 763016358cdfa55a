//! What becomes of a request. Pure: the same request and the same standing state give the same ruling.

use maas_client::wire::request::{Action, ModelRequest};
use maas_client::wire::state::{Desired, Outcome, RequestResult};

/// The most copies of one version.
const MAX_COPIES: u32 = 10_000;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    /// What should run of this version from now on; `None` for nothing.
    pub desired: Option<Desired>,
    /// The answer to the sender.
    pub result: RequestResult,
}

/// Rules on `request`, known as `identity`, where `standing` is what should run of its version so far.
#[must_use]
pub(super) fn rule(
    request: &ModelRequest,
    identity: &str,
    standing: Option<&Desired>,
    now_ms: i64,
) -> Ruling {
    let before = standing.map_or(0, |desired| desired.instances);
    let accepted = |instances: u32, desired: Option<Desired>, reason: Option<String>| Ruling {
        result: result(
            request,
            identity,
            Outcome::Accepted,
            instances,
            reason,
            now_ms,
        ),
        desired,
    };
    let refused = |reason: String| Ruling {
        result: result(
            request,
            identity,
            Outcome::Refused,
            before,
            Some(reason),
            now_ms,
        ),
        desired: standing.cloned(),
    };
    match (request.action, standing) {
        (Action::Add, standing) => {
            let path = request.path.clone().unwrap_or_default();
            if let Some(standing) = standing
                && standing.path != path
            {
                return refused(format!(
                    "model `{}` {} runs from `{}`, and the request is for `{path}`; a version never changes its content, so \
                     deploy this as another version",
                    request.name, request.version, standing.path
                ));
            }
            let Some(instances) = before
                .checked_add(request.instances)
                .filter(|&sum| sum <= MAX_COPIES)
            else {
                return refused(format!(
                    "{before} copies and {} more are over the limit of {MAX_COPIES}",
                    request.instances
                ));
            };
            let reason = standing
                .filter(|s| s.memory_mb != request.memory_mb)
                .map(|standing| {
                    format!(
                        "copies started from now on get {} MB, the running ones keep {} MB",
                        request.memory_mb, standing.memory_mb
                    )
                });
            let desired = Desired {
                name: request.name.clone(),
                version: request.version.clone(),
                instances,
                memory_mb: request.memory_mb,
                path,
                generation: standing.map_or(0, |s| s.generation) + 1,
                request: identity.to_owned(),
                restarted: standing.map_or(0, |s| s.restarted),
                replaces: standing.and_then(|s| s.replaces.clone()),
            };
            accepted(instances, Some(desired), reason)
        }
        (Action::Remove, None) => refused(format!(
            "nothing runs of model `{}` {}, so nothing can be removed",
            request.name, request.version
        )),
        (Action::Remove, Some(standing)) => {
            let instances = before.saturating_sub(request.instances);
            let reason = (request.instances > before).then(|| {
                format!(
                    "{} copies were to be removed, and only {before} ran: all are removed",
                    request.instances
                )
            });
            let desired = (instances > 0).then(|| Desired {
                instances,
                generation: standing.generation + 1,
                request: identity.to_owned(),
                ..standing.clone()
            });
            accepted(instances, desired, reason)
        }
    }
}

fn result(
    request: &ModelRequest,
    identity: &str,
    outcome: Outcome,
    instances: u32,
    reason: Option<String>,
    now_ms: i64,
) -> RequestResult {
    RequestResult {
        request: identity.to_owned(),
        outcome,
        reason,
        action: Some(request.action),
        name: Some(request.name.clone()),
        version: Some(request.version.clone()),
        instances: Some(instances),
        answered_ms: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: &str, instances: u32, path: &str) -> ModelRequest {
        let json = format!(
            r#"{{"name":"dga","version":"1.0","numInstances":{instances},"memory":512,"action":"{action}","path":"{path}"}}"#
        );
        ModelRequest::parse(json.as_bytes()).expect("a request")
    }

    /// Rules on a request where `before` copies of `/m` stand, and tells the outcome, how many stand then, and the reason.
    fn check(action: &str, instances: u32, path: &str, before: u32) -> (Outcome, u32, String) {
        let standing = rule(&request("ADD", before.max(1), "/m"), "r0", None, 0)
            .desired
            .filter(|_| before > 0);
        let ruling = rule(
            &request(action, instances, path),
            "r1",
            standing.as_ref(),
            1,
        );
        let after = ruling.desired.as_ref().map_or(0, |d| d.instances);
        assert_eq!(
            ruling.result.instances,
            Some(after),
            "the answer tells what stands"
        );
        if ruling.result.outcome == Outcome::Refused {
            assert_eq!(ruling.desired, standing, "a refusal changes nothing");
        }
        (
            ruling.result.outcome,
            after,
            ruling.result.reason.unwrap_or_default(),
        )
    }

    #[test]
    fn an_add_adds_and_a_remove_removes() {
        assert_eq!(
            check("ADD", 2, "/m", 0),
            (Outcome::Accepted, 2, String::new())
        );
        assert_eq!(
            check("ADD", 2, "/m", 3),
            (Outcome::Accepted, 5, String::new())
        );
        assert_eq!(
            check("REMOVE", 1, "", 3),
            (Outcome::Accepted, 2, String::new())
        );
        assert_eq!(
            check("REMOVE", 3, "", 3),
            (Outcome::Accepted, 0, String::new())
        );
    }

    #[test]
    fn removing_more_than_runs_removes_all_and_says_so() {
        let (outcome, after, reason) = check("REMOVE", 5, "", 3);
        assert_eq!((outcome, after), (Outcome::Accepted, 0));
        assert!(reason.contains("only 3 ran"), "{reason}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let (outcome, _, reason) = check("REMOVE", 1, "", 0);
        assert!(
            outcome == Outcome::Refused && reason.contains("nothing runs of model `dga` 1.0"),
            "{reason}"
        );
        let (outcome, _, reason) = check("ADD", 1, "/other", 1);
        assert!(
            outcome == Outcome::Refused && reason.contains("another version"),
            "{reason}"
        );
        let (outcome, _, reason) = check("ADD", MAX_COPIES, "/m", 1);
        assert!(
            outcome == Outcome::Refused && reason.contains("limit"),
            "{reason}"
        );
    }

    #[test]
    fn each_accepted_change_is_a_new_generation_of_its_request() {
        let first = rule(&request("ADD", 2, "/m"), "r1", None, 0)
            .desired
            .expect("it stands");
        let second = rule(&request("REMOVE", 1, ""), "r2", Some(&first), 0)
            .desired
            .expect("it stands");
        assert_eq!(
            (first.generation, second.generation, second.request.as_str()),
            (1, 2, "r2")
        );
        assert_eq!((second.path.as_str(), second.memory_mb), ("/m", 512));
    }
}
