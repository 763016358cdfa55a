//! One schedule: what happens, in which order, drawn from a seed; then rest, and the reckoning.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use maas_client::layout::{Layout, ZnodePath};
use maas_client::session::{CreateMode, Step};
use maas_client::wire::history::{Change, History};
use maas_client::wire::progress::{Leader, Progress};
use maas_client::wire::state::{DeadLetter, Desired, Outcome, RequestResult};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::machine::{Hands, Machine};
use super::model_tree::{Fault, Handle, ModelTree};
use super::oracle::{Ask, MODELS, MOST, SECRET, VERSIONS, draw_asks, expected};
use crate::intake::Intake;
use crate::intake::letter::{EXCERPT, REASON};
use crate::leader::Lead;
use crate::plan::{ModelKey, Room};
use crate::reconcile::{Halt, Reconciler};

/// Who offers requests.
const SENDER: usize = 0;

/// All that the machine has, in copies of 100 MB: sometimes too few.
const ROOM: Room = Room {
    memory_mb: MOST as u64 * 100,
    vcores: None,
};

/// How often a healthy daemon may have to look until nothing changes any more.
const ROUNDS: usize = 150;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// One daemon: its two loops, each at some step.
struct Daemon {
    who: usize,
    intake: Option<Task>,
    reconciler: Option<Task>,
    fault: Rc<Cell<Fault>>,
}

struct World {
    dice: StdRng,
    layout: Layout,
    tree: Rc<RefCell<ModelTree>>,
    machine: Rc<RefCell<Machine>>,
    clock: Rc<Cell<Duration>>,
    began: Instant,
    daemons: Vec<Daemon>,
    /// Who leads; who else acts believes wrongly that it does.
    leader: usize,
    asked: Vec<(Ask, Option<String>)>,
    checked_commits: usize,
    /// What happened, for whoever has to understand it.
    told: Vec<String>,
    aloud: bool,
}

/// Runs the schedule of a seed; gives what happened, or what should not have.
pub(super) fn run(seed: u64, aloud: bool) -> Result<Vec<String>, String> {
    let mut world = World::new(seed, aloud);
    let with_updates = world.dice.random_ratio(1, 3);
    let with_overtaking = world.dice.random_ratio(1, 3);
    if world.dice.random_ratio(1, 4) {
        world.machine.borrow_mut().broken = |(_, version)| version.as_str() == VERSIONS[1];
    }
    let faulty = world.dice.random_range(0..8);
    let mut left: Vec<(Ask, Option<String>)> = draw_asks(&mut world.dice, with_updates);
    let removes =
        |ask: &Ask, name: &str| matches!(ask, Ask::Remove { model, .. } if MODELS[*model] == name);
    let steady = MODELS
        .into_iter()
        .filter(|name| !left.iter().any(|(ask, _)| removes(ask, name)));
    world.machine.borrow_mut().steady = steady.collect();
    world.machine.borrow_mut().forgetful = !with_updates;
    left.reverse();
    if world.dice.random_ratio(1, 6) {
        for _ in 0..world.dice.random_range(1..3) {
            let (model, version) = (world.dice.random_range(0..2), world.dice.random_range(0..2));
            let model = key(MODELS[model], VERSIONS[version]);
            world.machine.borrow_mut().add_elsewhere(model);
        }
    }
    world.new_leader();
    for _ in 0..world.dice.random_range(20..180) {
        let passes = match world.dice.random_range(0..20) {
            0 => 4000,
            _ => world.dice.random_range(0..400),
        };
        world
            .clock
            .set(world.clock.get() + Duration::from_millis(passes));
        match world.dice.random_range(0..100) {
            kind @ 0..75 => {
                for _ in 0..world.dice.random_range(1..12) {
                    world.poll(kind >= 35, faulty)?;
                }
            }
            75..87 => {
                let World { machine, dice, .. } = &mut world;
                machine.borrow_mut().turn(dice);
            }
            87..96 => {
                if let Some((ask, id)) = left.pop() {
                    world.offer(ask, id);
                }
            }
            96..98 => {
                world.tell("every daemon is killed, and one is started");
                world.daemons.clear();
                world.new_leader();
            }
            _ if with_overtaking => {
                world.tell("another daemon takes the lead, and the old one has not heard of it");
                world.new_leader();
            }
            _ => {}
        }
    }
    while let Some((ask, id)) = left.pop() {
        world.offer(ask, id);
    }
    world.rest()?;
    world.reckon(with_updates)?;
    Ok(world.told)
}

impl World {
    fn new(seed: u64, aloud: bool) -> Self {
        let layout = Layout::default();
        let tree = Rc::new(RefCell::new(ModelTree::default()));
        tree.borrow_mut().ensure(&layout.queue);
        tree.borrow_mut().ensure(&layout.epoch());
        let mut machine = Machine::new(tree.clone(), layout.clone());
        machine.aloud = aloud;
        Self {
            dice: StdRng::seed_from_u64(seed),
            layout,
            tree,
            machine: Rc::new(RefCell::new(machine)),
            clock: Rc::default(),
            began: Instant::now(),
            daemons: Vec::new(),
            leader: SENDER,
            asked: Vec::new(),
            checked_commits: 0,
            told: Vec::new(),
            aloud,
        }
    }

    fn tell(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.aloud {
            println!("{:>8} ms  {what}", self.clock.get().as_millis());
        }
        self.told.push(what);
    }

    fn offer(&mut self, ask: Ask, id: Option<String>) {
        let item = ask.item(id.as_deref());
        self.tell(format!("offered: {item}"));
        let step = Step::Create {
            path: self.layout.queue.join("qn-"),
            data: item.into_bytes(),
            mode: CreateMode::PersistentSequential,
        };
        self.tree
            .borrow_mut()
            .commit(SENDER, &[step])
            .expect("the queue is there");
        self.asked.push((ask, id));
    }

    /// A daemon takes the lead. Those before it are not told.
    fn new_leader(&mut self) {
        let who = self.leader + 1;
        self.leader = who;
        let epoch = self.layout.epoch();
        let step = Step::Set {
            path: epoch.clone(),
            data: Vec::new(),
            version: None,
        };
        let mut tree = self.tree.borrow_mut();
        tree.commit(who, &[step]).expect("the epoch is there");
        let version = tree.get(&epoch).map_or(0, |(_, stat)| stat.version);
        drop(tree);
        let fault = Rc::new(Cell::new(Fault::None));
        let handle = Handle {
            who,
            tree: self.tree.clone(),
            fault: fault.clone(),
            last_call: Rc::default(),
        };
        let reconcilers = Handle {
            last_call: Rc::default(),
            ..handle.clone()
        };
        let lead = Lead::of_epoch(epoch, version);
        let mut intake = Intake::new(handle, self.layout.clone(), ROOM);
        let leader = Leader {
            host: "here".to_owned(),
            pid: 1,
            since_ms: 0,
            memory_mb: ROOM.memory_mb,
            memory_used_mb: 0,
            vcores: ROOM.vcores,
            copies: 0,
            held: None,
            halted: None,
        };
        let dice = StdRng::seed_from_u64(self.dice.random());
        let hands = Hands::new(self.machine.clone(), reconcilers.last_call.clone());
        let mut reconciler = Reconciler::new(reconcilers, self.layout.clone(), hands, leader, dice);
        let (clock, began, lead_too) = (self.clock.clone(), self.began, lead.clone());
        self.daemons.push(Daemon {
            who,
            intake: Some(Box::pin(async move {
                while intake.layout_ready().await.is_err() {}
                while intake.round(&lead).await.is_ok() {}
            })),
            reconciler: Some(Box::pin(async move {
                loop {
                    let pass = reconciler.reconcile(&lead_too, began + clock.get()).await;
                    if matches!(pass, Err(Halt::Overtaken)) {
                        return;
                    }
                }
            })),
            fault,
        });
    }

    /// One of the loops of some daemon takes a step; `faulty` of a hundred calls go wrong.
    fn poll(&mut self, reconciler: bool, faulty: u32) -> Result<(), String> {
        if self.daemons.is_empty() {
            return Ok(());
        }
        let index = self.dice.random_range(0..self.daemons.len());
        let fault = match self.dice.random_range(0..100) {
            n if n < faulty => Fault::Unsent,
            n if n < 2 * faulty => Fault::Unanswered,
            _ => Fault::None,
        };
        let daemon = &mut self.daemons[index];
        daemon.fault.set(fault);
        let (who, task) = match reconciler {
            true => (daemon.who, &mut daemon.reconciler),
            false => (daemon.who, &mut daemon.intake),
        };
        if let Some(running) = task {
            let ended = running
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if ended == Poll::Ready(()) {
                *task = None;
                // Whoever has heard that it leads no more stops with both.
                self.daemons.remove(index);
                self.tell(format!("daemon {who} leads no more"));
            }
        }
        self.check_commits()
    }

    /// Only the leader changes what should run, nobody changes what a living copy has published, and no secret of a sender's is
    /// written anywhere.
    fn check_commits(&mut self) -> Result<(), String> {
        let tree = self.tree.borrow();
        let desired = self.layout.desired_root();
        let published = [
            self.layout.service_root.clone(),
            self.layout.instances_root(),
        ];
        let by_daemons = tree.commits[self.checked_commits..].iter();
        for (who, steps) in by_daemons.filter(|(who, _)| *who != SENDER) {
            for step in steps {
                let (path, data) = match step {
                    Step::Check { .. } => continue,
                    Step::Create { path, data, .. } | Step::Set { path, data, .. } => (path, data),
                    Step::Delete { path, .. } => (path, &Vec::new()),
                };
                let below: Vec<&str> = path.below(&desired).into_iter().flatten().collect();
                if let [name, version] = below[..] {
                    if *who != self.leader {
                        return Err(format!("daemon {who} does not lead and has done {step:?}"));
                    }
                    let mut machine = self.machine.borrow_mut();
                    if matches!(step, Step::Delete { .. }) || !machine.forgetful {
                        machine.given_up(name, version);
                    }
                }
                if published.iter().any(|root| path.below(root).is_some()) {
                    let mut machine = self.machine.borrow_mut();
                    if machine.lives(path.name()) {
                        return Err(format!(
                            "daemon {who} has done {step:?} to what a living copy has published"
                        ));
                    }
                    machine.check_registry();
                }
                if data
                    .windows(SECRET.len())
                    .any(|part| part == SECRET.as_bytes())
                {
                    let data = String::from_utf8_lossy(data);
                    return Err(format!("daemon {who} has written a secret: {path} {data}"));
                }
            }
        }
        self.checked_commits = tree.commits.len();
        Ok(())
    }

    /// Leaves a healthy daemon alone until nothing changes any more.
    fn rest(&mut self) -> Result<(), String> {
        self.tell("all is well from now on");
        self.daemons.clear();
        self.new_leader();
        let mut quiet = 0;
        for _ in 0..ROUNDS {
            let before = self.shape();
            self.clock.set(self.clock.get() + Duration::from_secs(4));
            // Enough steps for several rounds of both loops.
            for _ in 0..40 {
                self.poll(false, 0)?;
                self.poll(true, 0)?;
            }
            self.machine.borrow_mut().settle();
            let still = self.shape() == before && !self.is_updating();
            quiet = if still { quiet + 1 } else { 0 };
            if quiet == 2 {
                return Ok(());
            }
        }
        Err(format!("it does not come to rest: {:?}", self.shape()))
    }

    fn is_updating(&self) -> bool {
        let desired = |(name, version): &ModelKey| {
            self.read(&self.layout.desired(name, version), Desired::parse)
        };
        all_keys()
            .iter()
            .filter_map(desired)
            .any(|desired| desired.replaces.is_some())
    }

    /// All that may still change: what waits, what should run, what runs, what is published.
    fn shape(&self) -> Vec<String> {
        let tree = self.tree.borrow();
        let machine = self.machine.borrow();
        let mut all = tree.children(&self.layout.queue);
        for (name, version) in all_keys() {
            for path in [
                self.layout.desired(&name, &version),
                self.layout.progress(&name, &version),
            ] {
                let data = tree.get(&path).map(|(data, _)| data).unwrap_or_default();
                all.push(String::from_utf8_lossy(&data).into_owned());
            }
        }
        all.extend(machine.runners.iter().map(|(instance, runner)| {
            format!(
                "{instance} {} {} {}",
                runner.phase, runner.alive, runner.stopping
            )
        }));
        all
    }

    fn read<T, E: std::fmt::Debug>(
        &self,
        path: &ZnodePath,
        parse: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Option<T> {
        self.tree
            .borrow()
            .get(path)
            .map(|(data, _)| parse(&data).expect("what we wrote can be read"))
    }

    fn reckon(&self, with_updates: bool) -> Result<(), String> {
        let violations = &self.machine.borrow().violations;
        if let Some(violation) = violations.first() {
            return Err(violation.clone());
        }
        self.every_request_was_answered_once(with_updates)?;
        for key in all_keys() {
            self.what_is_desired_runs(&key)?;
        }
        self.nothing_is_left()
    }

    fn every_request_was_answered_once(&self, with_updates: bool) -> Result<(), String> {
        let tree = self.tree.borrow();
        let waiting = tree.children(&self.layout.queue);
        if !waiting.is_empty() {
            return Err(format!("still in the queue: {waiting:?}"));
        }
        let root = self.layout.results_root();
        let mut outcomes = [0; 3];
        let mut accepted: BTreeMap<ModelKey, usize> = BTreeMap::new();
        for name in tree.children(&root) {
            let (data, _) = tree.get(&root.join(&name)).expect("it was listed");
            let result = RequestResult::parse(&data).expect("what we wrote can be read");
            outcomes[match result.outcome {
                Outcome::Accepted | Outcome::Superseded => 0,
                Outcome::Refused => 1,
                Outcome::SetAside => 2,
            }] += 1;
            if let (Outcome::Accepted | Outcome::Superseded, Some(name), Some(version)) =
                (result.outcome, result.name, result.version)
            {
                *accepted.entry((name, version)).or_default() += 1;
            }
        }
        drop(tree);
        for key in all_keys() {
            let history = self
                .read(&self.layout.history(&key.0, &key.1), History::parse)
                .unwrap_or_default();
            let by_request = |change: Change| {
                matches!(change, Change::Added | Change::Removed | Change::Restarted)
            };
            let changes = history
                .generations
                .iter()
                .filter(|g| by_request(g.change))
                .count();
            let answers = accepted.get(&key).copied().unwrap_or(0);
            if changes != answers && history.generations.len() < 20 {
                return Err(format!(
                    "{key:?}: {answers} requests were accepted, {changes} took effect: {history:?}"
                ));
            }
            let desired = self.read(&self.layout.desired(&key.0, &key.1), Desired::parse);
            let last = history.generations.last();
            let (should, last) = (
                desired.map_or(0, |d| d.instances),
                last.map_or(0, |g| g.instances),
            );
            if should != last {
                return Err(format!(
                    "{key:?}: {should} copies should run, after a history that ends with {last}"
                ));
            }
        }
        if with_updates {
            return Ok(());
        }
        let (counts, expected_outcomes) = expected(&self.asked);
        if outcomes != expected_outcomes {
            return Err(format!(
                "accepted, refused, set aside: {outcomes:?} instead of {expected_outcomes:?}"
            ));
        }
        for (model, name) in MODELS.iter().enumerate() {
            for (version, text) in VERSIONS.iter().enumerate() {
                let (name, text) = key(name, text);
                let desired = self.read(&self.layout.desired(&name, &text), Desired::parse);
                let should = counts.get(&(model, version)).copied().unwrap_or(0);
                let does = desired.map_or(0, |desired| desired.instances);
                if does != should {
                    return Err(format!(
                        "{name} {text}: {does} copies are desired, {should} were asked for"
                    ));
                }
            }
        }
        Ok(())
    }

    fn what_is_desired_runs(&self, key: &ModelKey) -> Result<(), String> {
        let desired = self.read(&self.layout.desired(&key.0, &key.1), Desired::parse);
        if desired
            .as_ref()
            .is_some_and(|desired| desired.replaces.is_some())
        {
            return Err(format!("{key:?}: its rolling update has no end"));
        }
        let progress = self.read(&self.layout.progress(&key.0, &key.1), Progress::parse);
        let pending = progress
            .and_then(|progress| progress.pending)
            .map_or(0, |pending| pending.copies);
        let machine = self.machine.borrow();
        let live = u32::try_from(machine.live(key).count()).expect("few");
        let should = desired.as_ref().map_or(0, |desired| desired.instances);
        let elsewhere = machine.elsewhere.values().filter(|model| *model == key);
        let elsewhere = u32::try_from(elsewhere.count()).expect("few");
        // Copies elsewhere are counted when one is to be started. When one is to be stopped they are not: they may just have ended.
        let enough = should.saturating_sub(elsewhere)..=should;
        // Where the last copy is to be restarted and there is no room for another one, it stays.
        let last_stays =
            live == should && pending == 1 && desired.as_ref().is_some_and(|d| d.restarted > 0);
        if !enough.contains(&(live + pending)) && !last_stays {
            return Err(format!(
                "{key:?}: {live} copies run, {elsewhere} elsewhere, and {pending} are pending of {should}"
            ));
        }
        let restarted = desired.as_ref().map_or(0, |desired| desired.restarted);
        let outdated = machine
            .live(key)
            .any(|runner| runner.generation < restarted);
        if outdated && pending == 0 && !(machine.broken)(key) {
            return Err(format!("{key:?}: a copy was never restarted"));
        }
        Ok(())
    }

    /// No folder, registration or status without a running copy; no result, letter or folder too many.
    fn nothing_is_left(&self) -> Result<(), String> {
        let tree = self.tree.borrow();
        let machine = self.machine.borrow();
        if let Some((instance, _)) = machine.runners.iter().find(|(_, runner)| !runner.alive) {
            return Err(format!("{instance} is dead and was not cleaned away"));
        }
        let statuses = tree.children(&self.layout.instances_root());
        let there = machine.runners.len() + machine.elsewhere.len();
        if statuses.len() != there {
            return Err(format!("{there} runners have {statuses:?}"));
        }
        for name in MODELS {
            let folder = self.layout.service_root.join(name);
            for entry in tree.children(&folder) {
                let lives = machine.runners.iter().any(|(id, runner)| {
                    id.as_str() == entry
                        && runner.model.0.as_str() == name
                        && runner.phase.is_serving()
                });
                if !lives && !machine.lives(&entry) {
                    return Err(format!("{name}: {entry} is registered and does not serve"));
                }
            }
        }
        for name in tree.children(&self.layout.progress_root()) {
            if tree
                .children(&self.layout.progress_root().join(&name))
                .is_empty()
            {
                return Err(format!("the folder {name} of the board is empty"));
            }
        }
        let letters = tree.children(&self.layout.dead_root());
        let garbage = self.asked.iter().filter(|(ask, _)| ask.is_garbage());
        let garbage = garbage.count();
        if letters.len() != garbage {
            return Err(format!(
                "{letters:?} are the dead letters of {garbage} items that were no requests"
            ));
        }
        for letter in letters {
            let letter = self.layout.dead_root().join(&letter);
            let letter = self
                .read(&letter, DeadLetter::parse)
                .expect("it was listed");
            if letter.excerpt.len() > EXCERPT || letter.reason.len() > REASON {
                return Err(format!("{letter:?} is too long"));
            }
        }
        Ok(())
    }
}

fn key(name: &str, version: &str) -> ModelKey {
    (
        name.parse().expect("a name"),
        version.parse().expect("a version"),
    )
}

fn all_keys() -> Vec<ModelKey> {
    let versions = |name: &&'static str| VERSIONS.map(|version| key(name, version));
    MODELS.iter().flat_map(versions).collect()
}
