//! What brings the running copies to what is desired. Pure: the same inputs give the same plan.

use std::collections::BTreeMap;
use std::time::Instant;

use maas_client::wire::state::Phase;
use maas_client::{InstanceId, ModelName, Version};

/// One version of a model.
pub type ModelKey = (ModelName, Version);

/// How many copies of a model should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many.
    pub copies: u32,
    /// Not to be started before this time: its last runners died.
    pub not_before: Option<Instant>,
}

/// One copy as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which copy.
    pub instance: InstanceId,
    /// Of which version of which model; `None` when its folder no longer tells.
    pub model: Option<ModelKey>,
    /// Its life.
    pub life: Life,
}

/// Whether a copy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its runner runs. The phase is known when its status could be read.
    Running(Option<Phase>),
    /// Its runner runs, and has been told to end.
    Stopping,
    /// Its runner has been told to end so long ago that it must hang.
    Hanging,
    /// It runs where this daemon can't reach it: on another host, or in another folder.
    Elsewhere,
    /// Its runner is gone, and its folder is left.
    Dead,
}

/// One step towards what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take away what a dead runner left.
    Clean(InstanceId),
    /// End a runner that does not end by itself.
    Kill(InstanceId),
    /// Tell a runner to end.
    Stop(InstanceId),
    /// Start one more copy.
    Launch(ModelKey),
}

/// What brings `observed` to `desired`: cleaning first, then stopping, then starting.
#[must_use]
pub fn plan(desired: &BTreeMap<ModelKey, Wanted>, observed: &[Copy], now: Instant) -> Vec<Action> {
    let mut running: BTreeMap<&ModelKey, Vec<(&InstanceId, Option<Phase>)>> = BTreeMap::new();
    let mut elsewhere: BTreeMap<&ModelKey, usize> = BTreeMap::new();
    let mut actions = Vec::new();
    for copy in observed {
        match (copy.life, &copy.model) {
            (Life::Dead, _) => actions.push(Action::Clean(copy.instance.clone())),
            (Life::Running(phase), Some(model)) => running
                .entry(model)
                .or_default()
                .push((&copy.instance, phase)),
            // A runner whose folder was spoilt serves nobody knows what.
            (Life::Running(_), None) => actions.push(Action::Stop(copy.instance.clone())),
            (Life::Hanging, _) => actions.push(Action::Kill(copy.instance.clone())),
            // Not ours to stop, but not to be started a second time either.
            (Life::Elsewhere, Some(model)) => *elsewhere.entry(model).or_default() += 1,
            (Life::Stopping, _) | (Life::Elsewhere, None) => {}
        }
    }
    for (model, copies) in &mut running {
        let wanted = desired
            .get(*model)
            .map_or(0, |wanted| wanted.copies as usize);
        let surplus = copies.len().saturating_sub(wanted);
        // Those that serve nobody go first; of the others the newest, which have the fewest callers.
        copies.sort_by_key(|(instance, phase)| {
            (
                phase.is_some_and(Phase::is_serving),
                std::cmp::Reverse(*instance),
            )
        });
        actions.extend(
            copies
                .iter()
                .take(surplus)
                .map(|(instance, _)| Action::Stop((*instance).clone())),
        );
    }
    for (model, wanted) in desired {
        let there = running.get(model).map_or(0, Vec::len) + elsewhere.get(model).unwrap_or(&0);
        let missing = (wanted.copies as usize).saturating_sub(there);
        if wanted.not_before.is_none_or(|time| time <= now) {
            actions.extend(std::iter::repeat_n(Action::Launch(model.clone()), missing));
        }
    }
    actions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> ModelKey {
        (
            ModelName::new(name).expect("a name"),
            Version::new("1").expect("a version"),
        )
    }

    fn id(id: &str) -> InstanceId {
        InstanceId::new(id).expect("an id")
    }

    fn wanted(copies: u32) -> Wanted {
        Wanted {
            copies,
            not_before: None,
        }
    }

    /// `desired` as `dga x2, echo x1`; `observed` as `dga/a serving, dga/b dead`.
    fn check(desired: &str, observed: &str, expected: &[Action]) {
        let desired = desired.split(", ").filter(|s| !s.is_empty()).map(|entry| {
            let (name, count) = entry.split_once(" x").expect("name xN");
            (key(name), wanted(count.parse().expect("a number")))
        });
        let observed = observed.split(", ").filter(|s| !s.is_empty()).map(|entry| {
            let (place, life) = entry.split_once(' ').expect("place life");
            let (name, instance) = place.split_once('/').expect("name/id");
            let life = match life {
                "serving" => Life::Running(Some(Phase::Serving)),
                "backoff" => Life::Running(Some(Phase::Backoff)),
                "running" => Life::Running(None),
                "stopping" => Life::Stopping,
                "hanging" => Life::Hanging,
                "elsewhere" => Life::Elsewhere,
                "dead" => Life::Dead,
                other => panic!("{other}?"),
            };
            Copy {
                instance: id(instance),
                model: (name != "?").then(|| key(name)),
                life,
            }
        });
        let observed: Vec<Copy> = observed.collect();
        assert_eq!(
            plan(&desired.collect(), &observed, Instant::now()),
            expected
        );
    }

    fn launch(name: &str) -> Action {
        Action::Launch(key(name))
    }

    fn stop(instance: &str) -> Action {
        Action::Stop(id(instance))
    }

    #[test]
    fn what_is_right_is_left_alone() {
        check(
            "dga x2, echo x1",
            "dga/a serving, dga/b backoff, echo/c running",
            &[],
        );
        check("", "", &[]);
    }

    #[test]
    fn a_dead_copy_is_cleaned_and_replaced_and_its_sibling_left_alone() {
        check(
            "dga x2",
            "dga/a serving, dga/b dead",
            &[Action::Clean(id("b")), launch("dga")],
        );
    }

    #[test]
    fn of_too_many_the_unhealthy_go_first_and_then_the_newest() {
        check(
            "dga x1",
            "dga/a serving, dga/b backoff, dga/c serving",
            &[stop("b"), stop("c")],
        );
        check(
            "dga x2",
            "dga/a serving, dga/b running, dga/c serving",
            &[stop("b")],
        );
        check("", "dga/a serving", &[stop("a")]);
    }

    #[test]
    fn a_copy_that_is_already_stopping_is_not_stopped_again_and_does_not_count() {
        check("dga x1", "dga/a stopping, dga/b serving", &[]);
        check("dga x1", "dga/a stopping", &[launch("dga")]);
    }

    #[test]
    fn a_runner_that_does_not_end_is_killed() {
        check(
            "dga x1",
            "dga/a hanging, dga/b serving",
            &[Action::Kill(id("a"))],
        );
    }

    #[test]
    fn a_copy_that_runs_elsewhere_counts_and_is_not_acted_on() {
        check("dga x2", "dga/a elsewhere, dga/b serving", &[]);
        check("dga x1", "dga/a elsewhere, dga/b serving", &[]);
        check("dga x2", "dga/a elsewhere", &[launch("dga")]);
        check("", "dga/a elsewhere", &[]);
    }

    #[test]
    fn a_runner_whose_folder_is_spoilt_is_stopped() {
        check("dga x1", "?/a running, dga/b serving", &[stop("a")]);
    }

    #[test]
    fn nothing_is_started_before_its_time() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let desired = [(
            key("dga"),
            Wanted {
                copies: 1,
                not_before: Some(later),
            },
        )]
        .into();
        assert_eq!(plan(&desired, &[], now), []);
        assert_eq!(plan(&desired, &[], later), [launch("dga")]);
    }

    fn any_life() -> impl Strategy<Value = Life> {
        prop_oneof![
            Just(Life::Running(None)),
            Just(Life::Running(Some(Phase::Serving))),
            Just(Life::Running(Some(Phase::Starting))),
            Just(Life::Stopping),
            Just(Life::Hanging),
            Just(Life::Dead),
        ]
    }

    /// Carries out a plan as the world does in the end: the stopped are gone, the launched run.
    fn carry_out(observed: &[Copy], actions: Vec<Action>) -> Vec<Copy> {
        let mut copies: Vec<Copy> = observed
            .iter()
            .filter(|c| c.life != Life::Stopping)
            .cloned()
            .collect();
        for (n, action) in actions.into_iter().enumerate() {
            match action {
                Action::Clean(instance) | Action::Kill(instance) | Action::Stop(instance) => {
                    let before = copies.len();
                    copies.retain(|copy| copy.instance != instance);
                    assert_eq!(
                        copies.len() + 1,
                        before,
                        "{instance} is not there, or was acted on twice"
                    );
                }
                Action::Launch(model) => {
                    copies.push(Copy {
                        instance: id(&format!("new-{n}")),
                        model: Some(model),
                        life: Life::Running(None),
                    });
                }
            }
        }
        copies
    }

    proptest! {
        #[test]
        fn carrying_out_a_plan_arrives_at_what_is_desired(
            counts in prop::collection::btree_map("[a-c]", 0u32..4, 0..3),
            lives in prop::collection::vec(("[a-d]", any_life()), 0..12),
        ) {
            let desired: BTreeMap<ModelKey, Wanted> = counts.iter().map(|(n, &c)| (key(n), wanted(c))).collect();
            let observed: Vec<Copy> = lives.iter().enumerate()
                .map(|(n, (name, life))| Copy { instance: id(&format!("i{n}")), model: Some(key(name)), life: *life })
                .collect();
            let now = Instant::now();
            let arrived = carry_out(&observed, plan(&desired, &observed, now));
            // "Nothing left to do" would also pass a planner that never does anything: assert the arrival.
            for name in ["a", "b", "c", "d"] {
                let running = arrived.iter().filter(|copy| copy.model == Some(key(name))).count();
                prop_assert_eq!(running, desired.get(&key(name)).map_or(0, |w| w.copies as usize));
            }
            prop_assert_eq!(plan(&desired, &arrived, now), []);
            // What was right was not touched.
            for copy in observed.iter().filter(|c| matches!(c.life, Life::Running(_))) {
                let kept = arrived.contains(copy);
                let siblings = observed.iter().filter(|c| c.model == copy.model && matches!(c.life, Life::Running(_))).count();
                let wanted = desired.get(copy.model.as_ref().expect("it has one")).map_or(0, |w| w.copies as usize);
                prop_assert!(kept || siblings > wanted, "{:?} was stopped without need", copy);
            }
        }
    }
}
