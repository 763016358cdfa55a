//! As much of a plan as is done in one pass: nobody else is to wait for hundreds of processes.

use std::collections::HashSet;

use super::model_of;
use crate::plan::{Action, Copy};

/// How many are ended, how many cleaned away, and how many started in one pass at most.
const AT_ONCE: usize = 64;

/// So many of each kind, in the plan's order, and whether more is left. Of what can't be done now there may be more than that, so what
/// `failed` in the pass before comes last among its kind, and no kind waits for another. What is to take the place of a copy that is
/// to be ended waits with that.
pub(super) fn portion(
    planned: Vec<Action>,
    failed: &HashSet<Action>,
    copies: &[Copy],
) -> (Vec<Action>, bool) {
    let (mut ending, mut cleaning, mut starting) = (Vec::new(), Vec::new(), Vec::new());
    for action in planned {
        match action {
            Action::Stop(_) | Action::Kill(_) => ending.push(action),
            Action::Clean(_) => cleaning.push(action),
            Action::Launch(_) => starting.push(action),
        }
    }
    let mut more = false;
    let mut waiting = Vec::new();
    for kind in [&mut ending, &mut cleaning, &mut starting] {
        kind.sort_by_key(|action| failed.contains(action));
        more |= kind.len() > AT_ONCE;
        waiting.extend(kind.drain(kind.len().min(AT_ONCE)..));
    }
    let is_waiting = |launch: &Action| {
        let model = model_of(launch, copies);
        let mut ending = waiting
            .iter()
            .filter(|action| matches!(action, Action::Stop(_) | Action::Kill(_)));
        ending.any(|action| model_of(action, copies) == model)
    };
    starting.retain(|launch| !is_waiting(launch));
    let all = [ending, cleaning, starting].concat();
    (all, more)
}

#[cfg(test)]
mod tests {
    use maas_client::{InstanceId, ModelName, Version};

    use super::*;
    use crate::plan::{Life, ModelKey};

    fn key(name: &str) -> ModelKey {
        let name = ModelName::new(name).expect("a name");
        (name, Version::new("1").expect("a version"))
    }

    fn ids(count: usize) -> Vec<InstanceId> {
        let id = |n: usize| InstanceId::new(format!("i{n:03}")).expect("an id");
        (0..count).map(id).collect()
    }

    #[test]
    fn what_cannot_be_done_holds_up_nothing_else() {
        let launch = Action::Launch(key("dga"));
        let cleanings = ids(100).into_iter().map(Action::Clean);
        let planned: Vec<Action> = cleanings.chain([launch.clone()]).collect();
        let (first, more) = portion(planned.clone(), &HashSet::new(), &[]);
        assert!(more && first.len() == AT_ONCE + 1 && first.contains(&launch));
        let failed: HashSet<Action> = first[..AT_ONCE].iter().cloned().collect();
        let (second, more) = portion(planned.clone(), &failed, &[]);
        assert!(more && second.contains(&launch));
        assert!(
            planned[AT_ONCE..]
                .iter()
                .all(|action| second.contains(action))
        );
        let few = planned[AT_ONCE..].to_vec();
        assert_eq!(portion(few.clone(), &failed, &[]), (few, false));
    }

    #[test]
    fn what_is_to_take_a_copys_place_waits_until_that_is_told_to_end() {
        let instances = ids(65);
        let of_dga = |instance: &InstanceId| Copy {
            instance: instance.clone(),
            model: Some(key("dga")),
            generation: 1,
            memory_mb: 1,
            life: Life::Running(None),
        };
        let copies: Vec<Copy> = instances.iter().map(of_dga).collect();
        let launches = ["dga", "echo"].map(|name| Action::Launch(key(name)));
        let stops = instances.iter().cloned().map(Action::Stop);
        let planned: Vec<Action> = stops.chain(launches.clone()).collect();
        let (some, _) = portion(planned.clone(), &HashSet::new(), &copies);
        assert!(!some.contains(&launches[0]) && some.contains(&launches[1]));
        let (all, more) = portion(planned[1..].to_vec(), &HashSet::new(), &copies);
        assert!(!more && all.contains(&launches[0]));
    }
}
