//! A model of the machine: runners that come to serve, die, and end when told to, with the znodes they hold. Beside them,
//! copies that live elsewhere, which nobody here may touch.
//!
//! What a launcher does with processes is not in it; only which copies it is asked to act on. That it signals none but a
//! copy's own runner, whoever has its number now, is a matter of [`process`](crate::process) and its tests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::rc::Rc;

use maas_client::InstanceId;
use maas_client::layout::Layout;
use maas_client::wire::state::{Desired, InstanceStatus, Phase};
use rand::rngs::StdRng;
use rand::{RngExt, seq::IteratorRandom};

use super::model_tree::ModelTree;
use crate::fence::Hold;
use crate::launcher::Launcher;
use crate::plan::{Copy, Life, ModelKey};

/// All runners there are, and the folders of those that died.
pub(super) struct Machine {
    pub(super) runners: BTreeMap<InstanceId, Runner>,
    /// Copies that serve where no daemon of this machine reaches them.
    pub(super) elsewhere: BTreeMap<InstanceId, ModelKey>,
    /// Dead runners whose folders are gone and whose sessions have not expired yet.
    ghosts: Vec<(InstanceId, ModelKey)>,
    tree: Rc<RefCell<ModelTree>>,
    layout: Layout,
    launched: u64,
    /// The last lead that somebody acted by.
    lead: i64,
    /// Whether copies of a model come to serve at all.
    pub(super) broken: fn(&ModelKey) -> bool,
    /// Whether what happens is told, for whoever has to understand it.
    pub(super) aloud: bool,
    /// What was done that must never be.
    pub(super) violations: Vec<String>,
    /// Models of which nobody asks to remove a copy. Once a copy of theirs serves, none of our actions may leave them without;
    /// unless one that served has died, for what was decided before may then be carried out after.
    pub(super) steady: BTreeSet<&'static str>,
    /// Those of which one that served has died, until a daemon has looked again.
    shaken: BTreeSet<&'static str>,
    /// Copies that have come to serve since whoever leads has looked, and after how many calls of all.
    news: BTreeMap<InstanceId, u64>,
    /// A daemon decides by what it sees in one look, and nothing that it has written down earlier.
    pub(super) forgetful: bool,
    /// Those of them of which there is a copy that serves, as whoever leads has seen.
    found: BTreeSet<&'static str>,
}

pub(super) struct Runner {
    pub(super) model: ModelKey,
    pub(super) generation: u64,
    memory_mb: u32,
    pub(super) alive: bool,
    pub(super) stopping: bool,
    pub(super) phase: Phase,
    /// Its session has expired though it lives, and is not back yet.
    silent: bool,
    /// It does nothing any more, and will not.
    hangs: bool,
}

impl Machine {
    pub(super) fn new(tree: Rc<RefCell<ModelTree>>, layout: Layout) -> Self {
        Self {
            runners: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            ghosts: Vec::new(),
            tree,
            layout,
            launched: 0,
            lead: 0,
            broken: |_| false,
            aloud: false,
            violations: Vec::new(),
            steady: BTreeSet::new(),
            shaken: BTreeSet::new(),
            news: BTreeMap::new(),
            forgetful: false,
            found: BTreeSet::new(),
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("             {}", what());
        }
    }

    fn publish(&mut self, instance: &InstanceId) {
        if let Some(runner) = self.runners.get(instance).filter(|runner| !runner.silent) {
            let (model, phase, generation) = (&runner.model, runner.phase, runner.generation);
            self.publish_as("here", instance, model, phase, generation);
            self.check_registry();
        }
    }

    fn publish_as(
        &self,
        host: &str,
        instance: &InstanceId,
        model: &ModelKey,
        phase: Phase,
        generation: u64,
    ) {
        let (name, version) = model.clone();
        let registration = self.layout.registration(&name, instance);
        let status = InstanceStatus {
            instance: instance.clone(),
            name,
            version,
            host: host.to_owned(),
            phase,
            // Of no time that has been: the simulation has a clock of its own.
            since_ms: i64::MAX,
            restarts: 0,
            pid: None,
            url: None,
            reason: None,
            retry_at_ms: None,
            generation,
            last_failure: None,
        };
        let mut tree = self.tree.borrow_mut();
        tree.put(&self.layout.instance(instance), status.to_bytes());
        if phase.is_serving() {
            tree.put(&registration, Vec::new());
        } else {
            tree.take(&registration);
        }
    }

    fn unpublish(&mut self, instance: &InstanceId, model: &ModelKey) {
        let mut tree = self.tree.borrow_mut();
        tree.take(&self.layout.registration(&model.0, instance));
        tree.take(&self.layout.instance(instance));
        drop(tree);
        self.check_registry();
    }

    /// A copy serves elsewhere.
    pub(super) fn add_elsewhere(&mut self, model: ModelKey) {
        let instance = format!("there-{}", self.elsewhere.len());
        let instance = InstanceId::new(instance).expect("an id");
        self.publish_as("there", &instance, &model, Phase::Serving, 0);
        self.elsewhere.insert(instance, model);
    }

    /// A copy that served elsewhere ends.
    pub(super) fn lose_elsewhere(&mut self) {
        if let Some((instance, model)) = self.elsewhere.pop_first() {
            self.steady.remove(model.0.as_str());
            self.shaken.remove(model.0.as_str());
            self.unpublish(&instance, &model);
        }
    }

    /// Whether a copy lives, here or elsewhere.
    pub(super) fn lives(&self, instance: &str) -> bool {
        let Ok(instance) = InstanceId::new(instance) else {
            return false;
        };
        let here = self.runners.get(&instance);
        here.is_some_and(|runner| runner.alive) || self.elsewhere.contains_key(&instance)
    }

    /// Whoever leads looks, after it has read these phases.
    fn look(&mut self, phases: &HashMap<InstanceId, Phase>) {
        self.tell(|| format!("lead {} looks", self.lead));
        // Whatever was decided before has been done, or is refused from now on.
        self.steady.append(&mut self.shaken);
        for (instance, _) in phases.iter().filter(|(_, phase)| phase.is_serving()) {
            self.news.remove(instance);
            let here = self.runners.get(instance);
            let here = here.filter(|runner| runner.alive && !runner.stopping && !runner.silent);
            let model = here.map(|runner| &runner.model);
            let model = model.or_else(|| self.elsewhere.get(instance));
            let name = model.and_then(|(name, _)| self.steady.get(name.as_str()));
            self.found.extend(name);
        }
    }

    /// A version is wanted less, or no more: whoever decided that has not seen its news.
    pub(super) fn given_up(&mut self, name: &str, version: &str) {
        let is_of_it = |instance: &InstanceId| {
            let runner = self.runners.get(instance);
            runner.is_some_and(|runner| {
                (runner.model.0.as_str(), runner.model.1.as_str()) == (name, version)
            })
        };
        if self.news.keys().any(is_of_it) {
            self.steady.remove(name);
            self.shaken.remove(name);
        }
    }

    /// The registry as a client sees it: of a steady model of which there was a copy that serves, there always is one.
    pub(super) fn check_registry(&mut self) {
        for name in self.steady.intersection(&self.found) {
            let entries = self.layout.service_root.join(name);
            let entries = self.tree.borrow().children(&entries);
            let serves = |instance: &InstanceId| {
                let here = self.runners.get(instance);
                here.is_some_and(|runner| runner.alive && runner.phase.is_serving())
                    || self.elsewhere.contains_key(instance)
            };
            let mut instances = entries
                .iter()
                .flat_map(|name| InstanceId::new(name.as_str()));
            if !instances.any(|instance| serves(&instance)) {
                let violation = format!("{name}: no client finds a copy any more in {entries:?}");
                self.violations.push(violation);
            }
        }
    }

    /// Something happens to some runner.
    pub(super) fn turn(&mut self, dice: &mut StdRng) {
        if dice.random_ratio(1, 3)
            && let Some((instance, model)) = self.ghosts.pop()
        {
            self.unpublish(&instance, &model);
            return;
        }
        if !self.elsewhere.is_empty() && dice.random_ratio(1, 20) {
            self.lose_elsewhere();
            return;
        }
        let Some(instance) = self.runners.keys().choose(dice).cloned() else {
            return;
        };
        match dice.random_range(0..48) {
            0 => self.fall_silent(&instance, false),
            1 => self.fall_silent(&instance, true),
            2..6 => self.move_on(&instance, true),
            _ => self.move_on(&instance, false),
        }
    }

    /// A living runner's session expires: it was cut off and comes back, or `hangs`.
    fn fall_silent(&mut self, instance: &InstanceId, hangs: bool) {
        let Some(runner) = self.runners.get_mut(instance).filter(|runner| runner.alive) else {
            return;
        };
        runner.silent = true;
        runner.hangs |= hangs;
        let (model, served) = (runner.model.clone(), runner.phase.is_serving());
        self.tell(|| format!("{instance} of {model:?} falls silent, hangs: {hangs}"));
        self.news.remove(instance);
        if served {
            self.lose_sight(&model);
        }
        self.unpublish(instance, &model);
    }

    /// A copy that serves is lost, and that is nobody's fault.
    fn lose_sight(&mut self, (name, _): &ModelKey) {
        self.found.remove(name.as_str());
        let name = self.steady.take(name.as_str());
        self.shaken.extend(name.filter(|_| self.forgetful));
    }

    /// A runner's next step in life; with `dies`, its sudden end.
    fn move_on(&mut self, instance: &InstanceId, dies: bool) {
        let broken = self.broken;
        let Some(runner) = self.runners.get_mut(instance) else {
            return;
        };
        if !runner.alive {
            // Its session expires.
            let model = runner.model.clone();
            self.unpublish(instance, &model);
            return;
        }
        if runner.hangs && !dies {
            return;
        }
        if runner.stopping {
            // It withdraws, ends its model, and takes its folder away.
            let model = runner.model.clone();
            self.tell(|| format!("{instance} has ended"));
            self.runners.remove(instance);
            self.unpublish(instance, &model);
            return;
        }
        if dies {
            runner.alive = false;
            if self.aloud {
                println!("             {instance} of {:?} dies", runner.model);
            }
            if runner.phase.is_serving() {
                let model = runner.model.clone();
                self.lose_sight(&model);
            }
            return;
        }
        let served = runner.phase.is_serving() && !runner.silent;
        // Its session is back.
        runner.silent = false;
        runner.phase = if runner.phase == Phase::Pending {
            Phase::Starting
        } else if broken(&runner.model) {
            Phase::CrashLoop
        } else {
            Phase::Serving
        };
        let (model, serves) = (runner.model.clone(), runner.phase.is_serving());
        if serves && !served {
            let calls = self.tree.borrow().calls;
            self.news.insert(instance.clone(), calls);
        }
        let phase = self.runners[instance].phase;
        self.tell(|| format!("{instance} of {model:?}: {phase}"));
        self.publish(instance);
        let desired = self.layout.desired(&model.0, &model.1);
        if serves && self.tree.borrow().get(&desired).is_none() {
            // It came to serve when it had been given up.
            self.steady.remove(model.0.as_str());
            self.shaken.remove(model.0.as_str());
        }
    }

    /// All that was begun comes to its end.
    pub(super) fn settle(&mut self) {
        for (instance, model) in std::mem::take(&mut self.ghosts) {
            self.unpublish(&instance, &model);
        }
        for _ in 0..3 {
            let all: Vec<InstanceId> = self.runners.keys().cloned().collect();
            for instance in all {
                self.move_on(&instance, false);
            }
        }
    }

    pub(super) fn live<'a>(&'a self, model: &'a ModelKey) -> impl Iterator<Item = &'a Runner> {
        let of_model = self
            .runners
            .values()
            .filter(move |runner| runner.model == *model);
        of_model.filter(|runner| runner.alive && !runner.stopping)
    }
}

/// The hands of one daemon.
pub(super) struct Hands {
    machine: Rc<RefCell<Machine>>,
    /// The copies that served when it looked last, but for those it has stopped since.
    serving: BTreeSet<InstanceId>,
    lead: i64,
    /// Which of all calls to ZooKeeper was its last.
    last_call: Rc<Cell<u64>>,
}

impl Hands {
    pub(super) fn new(machine: Rc<RefCell<Machine>>, last_call: Rc<Cell<u64>>) -> Self {
        Self {
            machine,
            last_call,
            serving: BTreeSet::new(),
            lead: 0,
        }
    }

    /// As the fence in the folder of copies does it.
    fn check_lead(&self) -> io::Result<()> {
        if self.machine.borrow().lead > self.lead {
            return Err(io::Error::other("another daemon leads"));
        }
        Ok(())
    }

    /// Notes it when a copy is stopped for serving nobody that has come to serve since, unless it did so after the last call.
    fn check_news(&self, instance: &InstanceId) {
        let mut machine = self.machine.borrow_mut();
        let runner = machine.runners.get(instance);
        let is_steady =
            runner.is_some_and(|runner| machine.steady.contains(runner.model.0.as_str()));
        let came = machine.news.get(instance).copied();
        if let Some(came) = came.filter(|&came| came < self.last_call.get())
            && is_steady
            && machine.forgetful
        {
            let last = self.last_call.get();
            let violation = format!(
                "{instance} was stopped after call {last} and has come to serve after call {came}"
            );
            machine.violations.push(violation);
        }
    }

    /// Notes it when a model is left without a copy that serves, although nobody asked for that.
    fn check_stop(&mut self, instance: &InstanceId) {
        if !self.serving.remove(instance) {
            self.check_news(instance);
            return;
        }
        let mut machine = self.machine.borrow_mut();
        let name = |instance| {
            let runner: Option<&Runner> = machine.runners.get(instance);
            runner.map(|runner| runner.model.0.clone())
        };
        let Some(model) = name(instance).filter(|model| machine.steady.contains(model.as_str()))
        else {
            return;
        };
        let mut elsewhere = machine.elsewhere.values();
        let is_left = elsewhere.any(|(name, _)| *name == model)
            || self
                .serving
                .iter()
                .any(|other| name(other).as_ref() == Some(&model));
        if !is_left {
            let of_model = machine.runners.iter();
            let of_model = of_model.filter(|(_, runner)| runner.model.0 == model);
            let there: Vec<String> = of_model
                .map(|(id, runner)| {
                    let state = (runner.phase, runner.alive, runner.stopping);
                    format!("{id} {} {state:?}", runner.model.1)
                })
                .collect();
            let violation =
                format!("{model}: {instance} was stopped, the last that served, of {there:?}");
            machine.violations.push(violation);
        }
    }
}

/// What lives elsewhere, and what has ended and left nothing, is none of ours, whoever goes by its name now.
fn touched(instance: &InstanceId) -> String {
    format!("{instance} is no copy of ours and was to be stopped or cleaned away")
}

impl Launcher for Hands {
    fn hold(&mut self, lead: i64) -> io::Result<Hold> {
        let mut machine = self.machine.borrow_mut();
        self.lead = lead;
        machine.lead = machine.lead.max(lead);
        drop(machine);
        Ok(self.check_lead().map_or(Hold::Overtaken, |()| Hold::Ours))
    }

    fn observe(&mut self, phases: &HashMap<InstanceId, Phase>) -> io::Result<Vec<Copy>> {
        let mut machine = self.machine.borrow_mut();
        if self.lead == machine.lead {
            machine.look(phases);
        }
        let machine = &*machine;
        let serves = |(instance, runner): &(&InstanceId, &Runner)| {
            let says_so = phases
                .get(*instance)
                .is_some_and(|phase| phase.is_serving());
            runner.alive && !runner.stopping && says_so
        };
        let serving = machine.runners.iter().filter(serves);
        self.serving = serving.map(|(instance, _)| instance.clone()).collect();
        let copy = |(instance, runner): (&InstanceId, &Runner)| Copy {
            instance: instance.clone(),
            model: Some(runner.model.clone()),
            generation: runner.generation,
            memory_mb: runner.memory_mb,
            life: match (runner.alive, runner.stopping) {
                (false, _) => Life::Dead,
                (true, _) if runner.hangs => Life::Hanging,
                (true, true) => Life::Stopping,
                (true, false) => Life::Running(phases.get(instance).copied()),
            },
        };
        Ok(machine.runners.iter().map(copy).collect())
    }

    fn launch(&mut self, desired: &Desired) -> io::Result<InstanceId> {
        self.check_lead()?;
        let mut machine = self.machine.borrow_mut();
        machine.launched += 1;
        let instance =
            InstanceId::new(format!("i{:08}", machine.launched)).map_err(io::Error::other)?;
        let model = (desired.name.clone(), desired.version.clone());
        let live = machine.live(&model).count();
        // One more than wanted may run while copies are replaced, and no other way.
        let most = desired.instances as usize + usize::from(desired.restarted > 0);
        if live >= most {
            let violation = format!("{model:?}: a copy was started beside {live} of {most}");
            machine.violations.push(violation);
        }
        let runner = Runner {
            model,
            generation: desired.generation,
            memory_mb: desired.memory_mb,
            alive: true,
            stopping: false,
            phase: Phase::Pending,
            silent: false,
            hangs: false,
        };
        let (lead, generation) = (self.lead, runner.generation);
        machine.tell(|| {
            format!(
                "{instance} of {:?}, generation {generation}, is launched by lead {lead}",
                runner.model
            )
        });
        machine.runners.insert(instance.clone(), runner);
        machine.publish(&instance);
        Ok(instance)
    }

    fn stop(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.check_lead()?;
        self.check_stop(instance);
        let mut machine = self.machine.borrow_mut();
        match machine.runners.get_mut(instance) {
            Some(runner) if runner.alive => {
                runner.stopping = true;
                machine.tell(|| format!("{instance} is stopped by lead {}", self.lead));
            }
            Some(_) => {}
            None => machine.violations.push(touched(instance)),
        }
        Ok(())
    }

    fn kill(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.check_lead()?;
        let mut machine = self.machine.borrow_mut();
        match machine.runners.get_mut(instance) {
            Some(runner) if runner.hangs => runner.alive = false,
            Some(runner) if runner.alive => {
                let violation = format!("{instance} was killed and does not hang");
                machine.violations.push(violation);
            }
            Some(_) => {}
            None => machine.violations.push(touched(instance)),
        }
        Ok(())
    }

    fn clean(&mut self, instance: &InstanceId) -> io::Result<Vec<String>> {
        self.check_lead()?;
        let mut machine = self.machine.borrow_mut();
        let dead = machine
            .runners
            .get(instance)
            .map(|runner| (runner.alive, runner.model.clone()));
        match dead {
            Some((true, model)) => {
                let violation = format!("{model:?}: {instance} lives and was cleaned away");
                machine.violations.push(violation);
            }
            Some((false, model)) => {
                machine.runners.remove(instance);
                machine.ghosts.push((instance.clone(), model));
            }
            None => machine.violations.push(touched(instance)),
        }
        Ok(Vec::new())
    }

    fn was_told_to_end(&self, instance: &InstanceId) -> bool {
        let machine = self.machine.borrow();
        machine
            .runners
            .get(instance)
            .is_some_and(|runner| runner.stopping)
    }
}
