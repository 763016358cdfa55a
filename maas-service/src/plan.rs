//! What brings the running copies to what is desired. Pure: the same inputs give the same plan.
//!
//! Where there is not room for all, those asked for first come first, and who does not fit holds up nobody: whatever is asked
//! for later and fits is started. Lest a large copy wait for ever behind small ones that keep coming, the room that
//! becomes free is kept for the one that was asked for first, from those asked for later, in every other five minutes of
//! its waiting. What ran before it was asked for never waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use maas_client::wire::state::Phase;
use maas_client::{InstanceId, ModelName, Version};

/// One version of a model.
pub type ModelKey = (ModelName, Version);

/// How long those that wait for room go without it being kept for them, and how long it is kept then, by turns.
const TURN: Duration = Duration::from_secs(5 * 60);

/// How many copies of a model should run, and which ones are good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// So many.
    pub copies: u32,
    /// What one takes.
    pub memory_mb: u32,
    /// The generation that asks for them. A copy of an earlier one that has failed is given up for a new one.
    pub generation: u64,
    /// A copy launched before this generation is to be replaced, even if it serves.
    pub restarted: u64,
    /// Not to be started before this time: its last runners died.
    pub not_before: Option<Instant>,
    /// When it was asked for first, as a place in the order of all that happened.
    pub asked: i64,
    /// Since when there has been no room for its next copy.
    pub crowded_since: Option<Instant>,
}

/// One copy as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which copy.
    pub instance: InstanceId,
    /// Of which version of which model; `None` when its folder no longer tells.
    pub model: Option<ModelKey>,
    /// The generation by which it was launched.
    pub generation: u64,
    /// What it may take.
    pub memory_mb: u32,
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
    /// Its runner hangs: it was told to end long ago, or does nothing at all.
    Hanging,
    /// It runs where this daemon can't reach it: on another host, or in another folder.
    Elsewhere,
    /// Its runner is gone, and its folder is left.
    Dead,
}

/// What this machine still has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Memory, in MB.
    pub memory_mb: u64,
    /// Virtual cores, one to each copy; without end when `None`.
    pub vcores: Option<u32>,
}

impl Room {
    /// What is left of it beside `copies`.
    #[must_use]
    pub fn beside(self, copies: &[Copy]) -> Self {
        let here = copies.iter().filter(|copy| copy.takes_room());
        here.fold(self, |room, copy| room.less(copy.memory_mb))
    }

    fn less(self, memory_mb: u32) -> Self {
        Self {
            memory_mb: self.memory_mb.saturating_sub(memory_mb.into()),
            vcores: self.vcores.map(|vcores| vcores.saturating_sub(1)),
        }
    }
}

impl Copy {
    fn takes_room(&self) -> bool {
        !matches!(self.life, Life::Dead | Life::Elsewhere)
    }
}

/// One step towards what is desired.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

/// Why copies that should run can't be started now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// There is too little memory.
    Memory {
        /// So much is free.
        free_mb: u64,
    },
    /// Every virtual core is taken.
    Vcores,
    /// What is free is kept for another model, which has waited for room for long.
    KeptFor(ModelKey),
    /// The runners of the model died, and it is to wait until then.
    TooSoon(Instant),
    /// So many copies that can't be reached have the place of one that is to replace another.
    Elsewhere(u32),
}

impl Shortage {
    /// Whether the machine has not what the copy needs.
    #[must_use]
    pub fn is_of_room(&self) -> bool {
        match self {
            Self::Memory { .. } | Self::Vcores => true,
            Self::KeptFor(_) | Self::TooSoon(_) | Self::Elsewhere(_) => false,
        }
    }
}

/// What is to be done now, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// How many copies of which model can't be started, and why.
    pub pending: BTreeMap<ModelKey, (u32, Shortage)>,
}

/// What brings `observed` to `desired` where `room` is left beside it: stopping first, for that is decided by what was seen and
/// nobody should have to wait for it; then cleaning, then starting.
#[must_use]
pub fn plan(
    desired: &BTreeMap<ModelKey, Wanted>,
    observed: &[Copy],
    mut room: Room,
    now: Instant,
) -> Plan {
    let mut models: BTreeMap<&ModelKey, Running<'_>> = BTreeMap::new();
    let (mut actions, mut cleanings, mut launches) = (Vec::new(), Vec::new(), Vec::new());
    for copy in observed {
        match (copy.life, &copy.model) {
            (Life::Dead, _) => cleanings.push(Action::Clean(copy.instance.clone())),
            (Life::Running(phase), Some(model)) => {
                models.entry(model).or_default().copies.push((copy, phase));
            }
            // A runner whose folder was spoilt serves nobody knows what.
            (Life::Running(_), None) => actions.push(Action::Stop(copy.instance.clone())),
            (Life::Hanging, _) => actions.push(Action::Kill(copy.instance.clone())),
            // Not ours to stop, but not to be started a second time either.
            (Life::Elsewhere, Some(model)) => models.entry(model).or_default().elsewhere += 1,
            (Life::Stopping, _) | (Life::Elsewhere, None) => {}
        }
    }
    for (model, running) in &mut models {
        actions.extend(running.give_up(desired.get(*model)));
    }
    let mut pending = BTreeMap::new();
    let mut in_order: Vec<(&ModelKey, &Wanted)> = desired.iter().collect();
    in_order.sort_by_key(|(_, wanted)| wanted.asked);
    let mut kept_for: Option<&ModelKey> = None;
    for (model, wanted) in in_order {
        let running = models.get(model);
        let missing = running.map_or(wanted.copies, |running| running.missing(wanted));
        if let Some(copies) = running.and_then(|running| running.in_the_way(wanted)) {
            pending.insert(model.clone(), (1, Shortage::Elsewhere(copies)));
        }
        for started in 0..missing {
            let shortage = shortage(wanted, room, now);
            let shortage = shortage.or_else(|| kept_for.cloned().map(Shortage::KeptFor));
            if let Some(shortage) = shortage {
                if shortage.is_of_room() {
                    actions.extend(running.and_then(|running| running.make_way(wanted)));
                    if has_its_turn(wanted, now) {
                        kept_for.get_or_insert(model);
                    }
                }
                pending.insert(model.clone(), (missing - started, shortage));
                break;
            }
            room = room.less(wanted.memory_mb);
            launches.push(Action::Launch(model.clone()));
        }
    }
    actions.extend(cleanings);
    actions.extend(launches);
    Plan { actions, pending }
}

/// Whether room is kept for a model now that has waited for it.
fn has_its_turn(wanted: &Wanted, now: Instant) -> bool {
    let waited = wanted
        .crowded_since
        .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    (waited.as_secs() / TURN.as_secs()) % 2 == 1
}

fn shortage(wanted: &Wanted, room: Room, now: Instant) -> Option<Shortage> {
    if let Some(time) = wanted.not_before.filter(|&time| time > now) {
        return Some(Shortage::TooSoon(time));
    }
    if room.vcores == Some(0) {
        return Some(Shortage::Vcores);
    }
    (room.memory_mb < wanted.memory_mb.into()).then_some(Shortage::Memory {
        free_mb: room.memory_mb,
    })
}

/// The copies of one model that run and have not been told to end.
#[derive(Default)]
struct Running<'a> {
    copies: Vec<(&'a Copy, Option<Phase>)>,
    elsewhere: u32,
}

impl Running<'_> {
    /// Stops those that are not wanted, and keeps the others.
    fn give_up(&mut self, wanted: Option<&Wanted>) -> Vec<Action> {
        let serves = |phase: &Option<Phase>| phase.is_some_and(Phase::is_serving);
        // One whose status can't be read may serve all the same: its session may just have ended.
        let may_serve = |phase: &Option<Phase>| phase.is_none_or(Phase::is_serving);
        let is_outdated = |copy: &Copy| wanted.is_some_and(|w| copy.generation < w.restarted);
        let has_failed = |copy: &Copy, phase: &Option<Phase>| {
            phase.is_some_and(Phase::has_failed)
                && wanted.is_some_and(|wanted| copy.generation < wanted.generation)
        };
        let fresh_serving = self
            .copies
            .iter()
            .filter(|(copy, phase)| serves(phase) && !is_outdated(copy))
            .count();
        let copies = wanted.map_or(0, |wanted| wanted.copies as usize);
        // Those that serve nobody go first; of the others the newest, which have the fewest callers.
        let (mut outdated, mut fresh): (Vec<_>, Vec<_>) = std::mem::take(&mut self.copies)
            .into_iter()
            .partition(|(copy, phase)| is_outdated(copy) || has_failed(copy, phase));
        let newest_last =
            |(copy, phase): &(&Copy, Option<Phase>)| (!serves(phase), copy.instance.clone());
        outdated.sort_by_key(|copy| (!may_serve(&copy.1), newest_last(copy)));
        fresh.sort_by_key(newest_last);
        // An outdated copy that serves may stay until a fresh one serves in its stead.
        let useful = outdated
            .iter()
            .filter(|(_, phase)| may_serve(phase))
            .count();
        let mut surplus = outdated.split_off(useful.min(copies.saturating_sub(fresh_serving)));
        surplus.reverse();
        surplus.extend(fresh.split_off(fresh.len().min(copies)).into_iter().rev());
        self.copies = fresh;
        self.copies.extend(outdated);
        surplus
            .iter()
            .map(|(copy, _)| Action::Stop(copy.instance.clone()))
            .collect()
    }

    /// Where there is no room for one more, an outdated copy ends before its successor comes, but never the last that serves.
    fn make_way(&self, wanted: &Wanted) -> Option<Action> {
        let all_there = count(self.copies.len()) >= wanted.copies;
        let others_serve = self
            .copies
            .iter()
            .all(|(_, phase)| phase.is_some_and(Phase::is_serving));
        let outdated = self
            .copies
            .iter()
            .rfind(|(copy, _)| copy.generation < wanted.restarted);
        outdated
            .filter(|_| all_there && others_serve && self.copies.len() > 1)
            .map(|(copy, _)| Action::Stop(copy.instance.clone()))
    }

    /// How many more must be started, once those given up are told to end. Copies elsewhere are not doubled.
    fn missing(&self, wanted: &Wanted) -> u32 {
        self.short(wanted).saturating_sub(self.elsewhere)
    }

    /// How many copies elsewhere keep an outdated one from being replaced.
    fn in_the_way(&self, wanted: &Wanted) -> Option<u32> {
        let is_outdated = |copy: &Copy| copy.generation < wanted.restarted;
        let waits = self.copies.iter().any(|(copy, _)| is_outdated(copy))
            && self.short(wanted) > 0
            && self.missing(wanted) == 0;
        waits.then_some(self.elsewhere)
    }

    /// How many fresh copies are missing here.
    fn short(&self, wanted: &Wanted) -> u32 {
        let (fresh, outdated): (Vec<_>, Vec<_>) = self
            .copies
            .iter()
            .partition(|(copy, _)| copy.generation >= wanted.restarted);
        let fresh_serving = fresh
            .iter()
            .filter(|(_, phase)| phase.is_some_and(Phase::is_serving));
        let (there, outdated) = (count(fresh.len()), count(outdated.len()));
        let whole = wanted.copies.saturating_sub(outdated);
        // Where all places are taken by outdated copies, one more is started, whose serving frees the first of them.
        let one_more = (count(fresh_serving.count()) + 1).min(wanted.copies);
        whole.max(one_more).saturating_sub(there)
    }
}

fn count(copies: usize) -> u32 {
    u32::try_from(copies).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOMY: Room = Room {
        memory_mb: 1 << 40,
        vcores: None,
    };

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
            memory_mb: 100,
            generation: 2,
            restarted: 0,
            not_before: None,
            asked: 0,
            crowded_since: None,
        }
    }

    /// `dga x2, echo x1`; `dga x2!` has been restarted.
    fn all_wanted(text: &str) -> BTreeMap<ModelKey, Wanted> {
        let entries = text.split(", ").filter(|entry| !entry.is_empty());
        let parse = |entry: &str| {
            let (name, count) = entry.split_once(" x").expect("name xN");
            let restarted = if count.ends_with('!') { 2 } else { 0 };
            let copies = count.trim_end_matches('!').parse().expect("a number");
            let wanted = Wanted {
                restarted,
                ..wanted(copies)
            };
            (key(name), wanted)
        };
        entries.map(parse).collect()
    }

    /// `dga/a serving, dga/b dead`; with `old` in front, launched by the generation before.
    fn all_observed(text: &str) -> Vec<Copy> {
        let entries = text.split(", ").filter(|entry| !entry.is_empty());
        let parse = |entry: &str| {
            let (place, life) = entry.split_once(' ').expect("place life");
            let (name, instance) = place.split_once('/').expect("name/id");
            let (old, life) = match life.strip_prefix("old ") {
                Some(life) => (true, life),
                None => (false, life),
            };
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
                generation: if old { 1 } else { 2 },
                memory_mb: 100,
                life,
            }
        };
        entries.map(parse).collect()
    }

    fn check(desired: &str, observed: &str, expected: &[Action]) {
        let plan = plan(
            &all_wanted(desired),
            &all_observed(observed),
            ROOMY,
            Instant::now(),
        );
        assert_eq!(plan.actions, expected);
        assert!(plan.pending.is_empty(), "{:?}", plan.pending);
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
    fn what_is_to_go_does_not_wait_for_the_cleaning_of_others() {
        check(
            "dga x1, echo x1",
            "dga/a dead, dga/b serving, dga/c serving, echo/d hanging",
            &[
                Action::Kill(id("d")),
                stop("c"),
                Action::Clean(id("a")),
                launch("echo"),
            ],
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
    fn a_restart_that_copies_elsewhere_hold_up_says_so() {
        let check = |desired: &str, observed: &str, in_the_way: Option<u32>| {
            let (desired, observed) = (all_wanted(desired), all_observed(observed));
            let plan = plan(&desired, &observed, ROOMY, Instant::now());
            assert_eq!(plan.actions, []);
            let waits = in_the_way.map(|copies| (1, Shortage::Elsewhere(copies)));
            assert_eq!(plan.pending.get(&key("dga")), waits.as_ref());
        };
        check("dga x1!", "dga/a old serving, dga/b elsewhere", Some(1));
        check("dga x2!", "dga/a old serving, dga/b elsewhere", Some(1));
        check(
            "dga x3!",
            "dga/a old serving, dga/b elsewhere, dga/c elsewhere",
            Some(2),
        );
        check("dga x2!", "dga/a serving, dga/b elsewhere", None);
        check("dga x2", "dga/a old serving, dga/b elsewhere", None);
    }

    #[test]
    fn a_runner_whose_folder_is_spoilt_is_stopped() {
        check("dga x1", "?/a running, dga/b serving", &[stop("a")]);
    }

    #[test]
    fn a_new_generation_gives_up_what_has_failed_under_an_older_one() {
        check(
            "dga x3",
            "dga/a old backoff, dga/b old serving, dga/c backoff",
            &[stop("a"), launch("dga")],
        );
    }

    #[test]
    fn after_a_restart_each_copy_is_replaced_when_a_new_one_serves_in_its_stead() {
        // One more first …
        check(
            "dga x2!",
            "dga/a old serving, dga/b old serving",
            &[launch("dga")],
        );
        check(
            "dga x2!",
            "dga/a old serving, dga/b old serving, dga/c running",
            &[],
        );
        // … then the first of the old ones goes, and so on.
        check(
            "dga x2!",
            "dga/a old serving, dga/b old serving, dga/c serving",
            &[stop("b"), launch("dga")],
        );
        check(
            "dga x2!",
            "dga/a old serving, dga/c serving, dga/d serving",
            &[stop("a")],
        );
        // What serves nobody need not be waited for.
        check("dga x1!", "dga/a old backoff", &[stop("a"), launch("dga")]);
        // One of which nothing is heard may serve.
        check("dga x1!", "dga/a old running", &[launch("dga")]);
    }

    #[test]
    fn where_there_is_no_room_a_restarted_copy_ends_first_but_never_the_last_one() {
        let crowded = |desired: &str, observed: &str| {
            let room = Room {
                memory_mb: 99,
                vcores: None,
            };
            plan(
                &all_wanted(desired),
                &all_observed(observed),
                room,
                Instant::now(),
            )
            .actions
        };
        assert_eq!(
            crowded("dga x2!", "dga/a old serving, dga/b old serving"),
            [stop("b")]
        );
        assert_eq!(
            crowded("dga x2!", "dga/a old serving, dga/c serving"),
            [stop("a")]
        );
        assert_eq!(crowded("dga x2!", "dga/a old serving, dga/c running"), []);
        assert_eq!(crowded("dga x1!", "dga/a old serving"), []);
    }

    #[test]
    fn nothing_is_started_before_its_time() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let desired = [(
            key("dga"),
            Wanted {
                not_before: Some(later),
                ..wanted(1)
            },
        )]
        .into();
        let early = plan(&desired, &[], ROOMY, now);
        assert_eq!(early.actions, []);
        assert_eq!(early.pending[&key("dga")], (1, Shortage::TooSoon(later)));
        assert_eq!(plan(&desired, &[], ROOMY, later).actions, [launch("dga")]);
    }

    #[test]
    fn what_does_not_fit_waits_with_the_reason_and_holds_up_nobody() {
        let mut desired = all_wanted("a x1, b x2, c x1");
        desired.entry(key("a")).and_modify(|a| a.memory_mb = 1000);
        let room = Room {
            memory_mb: 250,
            vcores: None,
        };
        let crowded = plan(&desired, &[], room, Instant::now());
        assert_eq!(crowded.actions, [launch("b"), launch("b")]);
        assert_eq!(
            crowded.pending[&key("a")],
            (1, Shortage::Memory { free_mb: 250 })
        );
        assert_eq!(
            crowded.pending[&key("c")],
            (1, Shortage::Memory { free_mb: 50 })
        );
        let room = Room {
            memory_mb: 5000,
            vcores: Some(3),
        };
        let few_cores = plan(&desired, &[], room, Instant::now());
        assert_eq!(few_cores.actions, [launch("a"), launch("b"), launch("b")]);
        assert_eq!(few_cores.pending[&key("c")], (1, Shortage::Vcores));
    }

    #[test]
    fn room_is_kept_by_turns_for_the_oldest_that_waits_from_those_asked_for_later() {
        let start = Instant::now();
        let mut desired = all_wanted("big x1, bigger x1, early x1, late x1");
        for (name, asked, memory_mb) in [
            ("early", 1, 100),
            ("bigger", 2, 1000),
            ("big", 3, 500),
            ("late", 4, 100),
        ] {
            let wanted = desired.get_mut(&key(name)).expect("it is wanted");
            (wanted.asked, wanted.memory_mb) = (asked, memory_mb);
            wanted.crowded_since = Some(start);
        }
        let room = |memory_mb| Room {
            memory_mb,
            vcores: None,
        };
        let minutes = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let launched = |memory_mb, at| plan(&desired, &[], room(memory_mb), at).actions;
        for open in [0, 4, 10, 14] {
            let actions = launched(300, minutes(open));
            assert_eq!(actions, [launch("early"), launch("late")], "{open}");
        }
        for kept in [5, 9, 15, 19] {
            let now = minutes(kept);
            assert_eq!(launched(300, now), [launch("early")], "{kept}");
            let waiting = plan(&desired, &[], room(300), now).pending;
            let for_bigger = (1, Shortage::KeptFor(key("bigger")));
            assert_eq!(waiting[&key("late")], for_bigger);
            assert!(waiting[&key("bigger")].1.is_of_room());
            // As soon as there is enough, it comes, and then the next that waits has its turn.
            let enough = plan(&desired, &[], room(1200), now);
            assert_eq!(enough.actions, [launch("early"), launch("bigger")]);
            let for_big = (1, Shortage::KeptFor(key("big")));
            assert_eq!(enough.pending[&key("late")], for_big);
            let all = [
                launch("early"),
                launch("bigger"),
                launch("big"),
                launch("late"),
            ];
            assert_eq!(launched(1700, now), all);
        }
    }

    #[test]
    fn a_copy_that_is_still_ending_takes_its_room_and_a_dead_one_none() {
        let observed = all_observed("a/a serving, a/b stopping, a/c dead, a/d elsewhere");
        let room = Room {
            memory_mb: 1000,
            vcores: Some(1),
        };
        let left = Room {
            memory_mb: 800,
            vcores: Some(0),
        };
        assert_eq!(room.beside(&observed), left);
    }

    fn any_life() -> impl Strategy<Value = Life> {
        prop_oneof![
            Just(Life::Running(None)),
            Just(Life::Running(Some(Phase::Serving))),
            Just(Life::Running(Some(Phase::Starting))),
            Just(Life::Running(Some(Phase::Backoff))),
            Just(Life::Stopping),
            Just(Life::Hanging),
            Just(Life::Dead),
        ]
    }

    fn any_life_anywhere() -> impl Strategy<Value = Life> {
        prop_oneof![4 => any_life(), 1 => Just(Life::Elsewhere)]
    }

    /// Carries out a plan as the world does in the end: the stopped are gone, the running serve.
    fn carry_out(observed: &[Copy], actions: Vec<Action>, launched: &mut usize) -> Vec<Copy> {
        let in_the_end = |copy: &Copy| {
            if matches!(copy.life, Life::Running(_)) {
                Life::Running(Some(Phase::Serving))
            } else {
                copy.life
            }
        };
        let mut copies: Vec<Copy> = observed
            .iter()
            .filter(|copy| copy.life != Life::Stopping)
            .map(|copy| Copy {
                life: in_the_end(copy),
                ..copy.clone()
            })
            .collect();
        for action in actions {
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
                    *launched += 1;
                    copies.push(Copy {
                        instance: id(&format!("new-{launched}")),
                        model: Some(model),
                        generation: 2,
                        memory_mb: 100,
                        life: Life::Running(Some(Phase::Serving)),
                    });
                }
            }
        }
        copies
    }

    /// What should run, by the number of copies of each model and whether they are to be started anew.
    fn desired_of(counts: &BTreeMap<String, (u32, bool)>) -> BTreeMap<ModelKey, Wanted> {
        let wanted = |&(copies, restarted)| Wanted {
            restarted: if restarted { 2 } else { 0 },
            ..wanted(copies)
        };
        let each = counts.iter();
        each.map(|(name, count)| (key(name), wanted(count)))
            .collect()
    }

    /// What there is: the model, life and generation of each copy.
    fn observed_of(lives: &[(String, Life, u64)]) -> Vec<Copy> {
        let copy = |(n, (name, life, generation)): (usize, &(String, Life, u64))| Copy {
            instance: id(&format!("i{n}")),
            model: Some(key(name)),
            generation: *generation,
            memory_mb: 100,
            life: *life,
        };
        lives.iter().enumerate().map(copy).collect()
    }

    proptest! {
        #[test]
        fn carrying_out_plans_arrives_at_what_is_desired(
            counts in prop::collection::btree_map("[a-c]", (0u32..4, any::<bool>()), 0..3),
            lives in prop::collection::vec(("[a-d]", any_life(), 1u64..=2), 0..12),
        ) {
            let (desired, observed) = (desired_of(&counts), observed_of(&lives));
            let now = Instant::now();
            let serving = |copies: &[Copy], model: &ModelKey| copies.iter()
                .filter(|copy| copy.model.as_ref() == Some(model) && copy.life == Life::Running(Some(Phase::Serving))).count();
            let (mut arrived, mut launched) = (observed.clone(), 0);
            for round in 0.. {
                prop_assert!(round < 12, "it does not come to rest: {arrived:?}");
                let actions = plan(&desired, &arrived, ROOMY, now).actions;
                let nothing_to_do = actions.is_empty();
                let next = carry_out(&arrived, actions, &mut launched);
                let at_rest = nothing_to_do && next == arrived;
                // At no step fewer serve than before, unless there are more than enough.
                for (model, wanted) in &desired {
                    let before = serving(&arrived, model).min(wanted.copies as usize);
                    prop_assert!(serving(&next, model) >= before, "{model:?}: {arrived:?} -> {next:?}");
                }
                arrived = next;
                if at_rest {
                    break;
                }
            }
            // "Nothing left to do" would also pass a planner that never does anything: assert the arrival.
            for name in ["a", "b", "c", "d"] {
                let running: Vec<&Copy> = arrived.iter().filter(|copy| copy.model == Some(key(name))).collect();
                let wanted = desired.get(&key(name)).copied().unwrap_or(wanted(0));
                prop_assert_eq!(running.len(), wanted.copies as usize);
                prop_assert!(running.iter().all(|copy| copy.generation >= wanted.restarted));
            }
            // What was right was not touched.
            for copy in observed.iter().filter(|c| matches!(c.life, Life::Running(_)) && c.generation == 2) {
                let siblings = observed.iter().filter(|c| c.model == copy.model && matches!(c.life, Life::Running(_))).count();
                let wanted = desired.get(copy.model.as_ref().expect("it has one")).map_or(0, |w| w.copies as usize);
                prop_assert!(arrived.iter().any(|there| there.instance == copy.instance) || siblings > wanted, "{:?} was stopped without need", copy);
            }
        }

        #[test]
        fn with_little_room_and_copies_out_of_reach_plans_come_to_rest_with_what_there_can_be_or_the_reason(
            counts in prop::collection::btree_map("[a-c]", (0u32..4, any::<bool>()), 0..3),
            lives in prop::collection::vec(("[a-d]", any_life_anywhere(), 1u64..=2), 0..10),
            machine in (0u64..8, prop::option::of(0u32..8)),
        ) {
            let machine = Room { memory_mb: machine.0 * 100 + 50, vcores: machine.1 };
            let (desired, observed) = (desired_of(&counts), observed_of(&lives));
            let now = Instant::now();
            let of = |copies: &[Copy], model: &ModelKey, is: fn(Life) -> bool| copies.iter()
                .filter(|copy| copy.model.as_ref() == Some(model) && is(copy.life)).count();
            let serves = |life| life == Life::Running(Some(Phase::Serving));
            let elsewhere = |life| life == Life::Elsewhere;
            let taken = |copies: &[Copy]| copies.iter().filter(|copy| copy.takes_room()).count();
            let (mut arrived, mut launched) = (observed.clone(), 0);
            let at_rest = loop {
                prop_assert!(launched < 40, "it does not come to rest: {arrived:?}");
                let step = plan(&desired, &arrived, machine.beside(&arrived), now);
                let launches = step.actions.iter().filter(|action| matches!(action, Action::Launch(_))).count();
                let room = machine.beside(&arrived);
                prop_assert!(launches as u64 * 100 <= room.memory_mb, "{step:?} in {room:?}");
                prop_assert!(room.vcores.is_none_or(|vcores| launches <= vcores as usize), "{step:?} in {room:?}");
                for action in &step.actions {
                    let (Action::Clean(instance) | Action::Kill(instance) | Action::Stop(instance)) = action else {
                        continue;
                    };
                    let copy = arrived.iter().find(|copy| copy.instance == *instance);
                    prop_assert!(copy.is_some_and(|copy| !elsewhere(copy.life)), "{action:?} is out of reach");
                }
                let next = carry_out(&arrived, step.actions.clone(), &mut launched);
                for (model, wanted) in &desired {
                    let is_started = step.actions.contains(&Action::Launch(model.clone()));
                    let most = wanted.copies as usize + usize::from(wanted.restarted > 0);
                    let there_are = of(&next, model, serves) + of(&next, model, elsewhere);
                    prop_assert!(!is_started || there_are <= most, "one is doubled: {arrived:?} -> {next:?}");
                }
                // To make room, one that serves may go before its successor comes, but never the last.
                for (model, wanted) in &desired {
                    let before = of(&arrived, model, serves).min(wanted.copies as usize);
                    let crowded = step.pending.get(model).is_some_and(|(_, shortage)| shortage.is_of_room());
                    let least = if crowded { before.saturating_sub(1).max(before.min(1)) } else { before };
                    prop_assert!(of(&next, model, serves) >= least, "{model:?}: {arrived:?} -> {next:?}");
                }
                let same = step.actions.is_empty() && next == arrived;
                arrived = next;
                if same {
                    break step;
                }
            };
            prop_assert!(taken(&arrived) <= taken(&observed).max(machine.memory_mb as usize / 100));
            let left = machine.beside(&arrived);
            for name in ["a", "b", "c", "d"] {
                let model = key(name);
                let wanted = desired.get(&model).copied().unwrap_or(wanted(0));
                let (here, there) = (of(&arrived, &model, serves), of(&arrived, &model, elsewhere));
                let outdated = arrived.iter().any(|copy| {
                    copy.model.as_ref() == Some(&model) && serves(copy.life) && copy.generation < wanted.restarted
                });
                prop_assert!(here <= wanted.copies as usize, "too many of {name}: {arrived:?}");
                match at_rest.pending.get(&model) {
                    None => {
                        prop_assert!(here + there >= wanted.copies as usize, "too few of {name}: {arrived:?}");
                        prop_assert!(!outdated, "{name} was never restarted: {arrived:?}");
                    }
                    Some((copies, shortage)) if shortage.is_of_room() => {
                        prop_assert!(left.memory_mb < 100 || left.vcores == Some(0), "there is room: {at_rest:?} in {left:?}");
                        prop_assert!(outdated || here + there + *copies as usize == wanted.copies as usize, "{at_rest:?}: {arrived:?}");
                    }
                    Some((_, shortage)) => {
                        prop_assert_eq!(shortage, &Shortage::Elsewhere(count(there)));
                        prop_assert!(outdated && there > 0, "{at_rest:?}: {arrived:?}");
                    }
                }
            }
        }
    }
}
