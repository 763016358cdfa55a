//! A model of the machine: runners that come to serve, die, and end when told to, with the znodes they hold.

use std::cell::RefCell;
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
    /// Dead runners whose folders are gone and whose sessions have not expired yet.
    ghosts: Vec<(InstanceId, ModelKey)>,
    tree: Rc<RefCell<ModelTree>>,
    layout: Layout,
    launched: u64,
    /// The last lead that somebody acted by.
    lead: i64,
    /// Whether copies of a model come to serve at all.
    pub(super) broken: fn(&ModelKey) -> bool,
    /// What was done that must never be.
    pub(super) violations: Vec<String>,
    /// Two daemons may act at the same moment, so that one acts on what the other has just changed.
    pub(super) crowded: bool,
    /// Models of which nobody asks to remove a copy. Once a copy of theirs serves, none of our actions may leave them without;
    /// unless one that served has died, for what was decided before may then be carried out after.
    pub(super) steady: BTreeSet<&'static str>,
}

pub(super) struct Runner {
    pub(super) model: ModelKey,
    pub(super) generation: u64,
    memory_mb: u32,
    pub(super) alive: bool,
    pub(super) stopping: bool,
    pub(super) phase: Phase,
}

impl Machine {
    pub(super) fn new(tree: Rc<RefCell<ModelTree>>, layout: Layout) -> Self {
        Self {
            runners: BTreeMap::new(),
            ghosts: Vec::new(),
            tree,
            layout,
            launched: 0,
            lead: 0,
            broken: |_| false,
            violations: Vec::new(),
            crowded: false,
            steady: BTreeSet::new(),
        }
    }

    fn publish(&self, instance: &InstanceId) {
        let Some(runner) = self.runners.get(instance) else {
            return;
        };
        let (name, version) = runner.model.clone();
        let registration = self.layout.registration(&name, instance);
        let status = InstanceStatus {
            instance: instance.clone(),
            name,
            version,
            host: "here".to_owned(),
            phase: runner.phase,
            // Of no time that has been: the simulation has a clock of its own.
            since_ms: i64::MAX,
            restarts: 0,
            pid: None,
            url: None,
            reason: None,
            retry_at_ms: None,
            generation: runner.generation,
            last_failure: None,
        };
        let mut tree = self.tree.borrow_mut();
        tree.put(&self.layout.instance(instance), status.to_bytes());
        if runner.phase.is_serving() {
            tree.put(&registration, Vec::new());
        } else {
            tree.take(&registration);
        }
    }

    fn unpublish(&self, instance: &InstanceId, model: &ModelKey) {
        let mut tree = self.tree.borrow_mut();
        tree.take(&self.layout.registration(&model.0, instance));
        tree.take(&self.layout.instance(instance));
    }

    /// Something happens to some runner.
    pub(super) fn turn(&mut self, dice: &mut StdRng) {
        if dice.random_ratio(1, 3)
            && let Some((instance, model)) = self.ghosts.pop()
        {
            self.unpublish(&instance, &model);
            return;
        }
        let Some(instance) = self.runners.keys().choose(dice).cloned() else {
            return;
        };
        self.move_on(&instance, dice.random_ratio(1, 12));
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
        if runner.stopping {
            // It withdraws, ends its model, and takes its folder away.
            let model = runner.model.clone();
            self.runners.remove(instance);
            self.unpublish(instance, &model);
            return;
        }
        if dies {
            runner.alive = false;
            if runner.phase.is_serving() {
                let name = runner.model.0.clone();
                self.steady.remove(name.as_str());
            }
            return;
        }
        runner.phase = if runner.phase == Phase::Pending {
            Phase::Starting
        } else if broken(&runner.model) {
            Phase::CrashLoop
        } else {
            Phase::Serving
        };
        let (model, serves) = (runner.model.clone(), runner.phase.is_serving());
        self.publish(instance);
        let desired = self.layout.desired(&model.0, &model.1);
        if serves && self.tree.borrow().get(&desired).is_none() {
            // It came to serve when it had been given up.
            self.steady.remove(model.0.as_str());
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
}

impl Hands {
    pub(super) fn new(machine: Rc<RefCell<Machine>>) -> Self {
        Self {
            machine,
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

    /// Notes it when a model is left without a copy that serves, although nobody asked for that.
    fn check_stop(&mut self, instance: &InstanceId) {
        if !self.serving.remove(instance) {
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
        let is_left = self
            .serving
            .iter()
            .any(|other| name(other).as_ref() == Some(&model));
        if !is_left && !machine.crowded {
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

impl Launcher for Hands {
    fn hold(&mut self, lead: i64) -> io::Result<Hold> {
        let mut machine = self.machine.borrow_mut();
        self.lead = lead;
        machine.lead = machine.lead.max(lead);
        drop(machine);
        Ok(self.check_lead().map_or(Hold::Overtaken, |()| Hold::Ours))
    }

    fn observe(&mut self, phases: &HashMap<InstanceId, Phase>) -> io::Result<Vec<Copy>> {
        let machine = self.machine.borrow();
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
        if live >= most && !machine.crowded {
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
        };
        machine.runners.insert(instance.clone(), runner);
        machine.publish(&instance);
        Ok(instance)
    }

    fn stop(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.check_lead()?;
        self.check_stop(instance);
        let mut machine = self.machine.borrow_mut();
        match machine.runners.get_mut(instance) {
            Some(runner) if runner.alive => runner.stopping = true,
            _ => {}
        }
        Ok(())
    }

    fn kill(&mut self, instance: &InstanceId) -> io::Result<()> {
        self.stop(instance)
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
            None => {}
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
