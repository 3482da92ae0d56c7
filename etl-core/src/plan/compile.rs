//! A pipeline made ready to run: positions instead of names, templates parsed, the graph built. Immutable and shared by
//! every job of the same version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::graph::Dag;
use crate::model::{
    EffectClass, ExecutorKind, Fault, ForEach, Hook, Pipeline, Resources, RetryPolicy, Step,
    TriggerRule, When,
};
use crate::registry::Registry;
use crate::template::Template;

/// A pipeline version ready to run.
#[derive(Debug)]
pub struct Plan {
    /// The document that it was made from.
    pub pipeline: Arc<Pipeline>,
    /// Who waits for whom.
    pub dag: Dag,
    /// The steps, by position.
    pub steps: Vec<PlanStep>,
    /// What to do after a job that succeeded.
    pub on_success: Vec<PlanHook>,
    /// What to do after a job that failed or ran longer than it may.
    pub on_failure: Vec<PlanHook>,
}

/// A step ready to run.
#[derive(Debug)]
pub struct PlanStep {
    /// Its name.
    pub name: Arc<str>,
    /// Its connector.
    pub connector_type: Arc<str>,
    /// The credential that it gets.
    pub credential: Option<Arc<str>>,
    /// Its configuration, to be rendered.
    pub config: Template,
    /// Its condition.
    pub when: Option<Template>,
    /// What it fans out over.
    pub for_each: Option<Template>,
    /// The steps that its templates name, by name and position.
    pub reads: Vec<(Arc<str>, u32)>,
    /// Whether some template names it, so that its output has to be kept at hand.
    pub is_read: bool,
    /// What of its dependencies lets it run.
    pub trigger_rule: TriggerRule,
    /// How many attempts may follow a failed first one.
    pub retry_count: u32,
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// How long one attempt may run.
    pub timeout: Duration,
    /// Where attempts run.
    pub executor: ExecutorKind,
    /// What an isolated attempt may use.
    pub resources: Option<Resources>,
    /// How often its effect may happen; `None` if that depends on what its templates give.
    pub effects: Option<EffectClass>,
}

/// A hook ready to be recorded.
#[derive(Debug)]
pub struct PlanHook {
    /// As the document has it.
    pub hook: Hook,
    /// The parameters of the job that it triggers, to be rendered.
    pub parameters: Template,
}

impl Plan {
    /// Makes a plan of a valid pipeline.
    ///
    /// # Errors
    /// What [`validate`](super::validate) would have found in the graph or the templates.
    pub fn compile(pipeline: Arc<Pipeline>, registry: &Registry) -> Result<Self, Vec<Fault>> {
        let dag = Dag::build(&pipeline.steps)?;
        let mut faults = Vec::new();
        let mut steps = Vec::with_capacity(pipeline.steps.len());
        for (position, step) in pipeline.steps.iter().enumerate() {
            match plan_step(step, &dag, registry) {
                Ok(step) => steps.push(step),
                Err(fault) => faults.push(fault.below(&format!("/steps/{position}"))),
            }
        }
        let on_success = plan_hooks(&pipeline.hooks.on_success, "/hooks/on_success", &mut faults);
        let on_failure = plan_hooks(&pipeline.hooks.on_failure, "/hooks/on_failure", &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let read: Vec<u32> = steps
            .iter()
            .flat_map(|step: &PlanStep| step.reads.iter().map(|(_, at)| *at))
            .collect();
        let read_by_hooks = on_success
            .iter()
            .chain(&on_failure)
            .flat_map(|hook| hook.parameters.steps());
        let read_by_hooks: Vec<u32> = read_by_hooks.filter_map(|name| dag.index(name)).collect();
        for position in read.into_iter().chain(read_by_hooks) {
            steps[position as usize].is_read = true;
        }
        Ok(Self {
            pipeline,
            dag,
            steps,
            on_success,
            on_failure,
        })
    }

    /// The step at this position.
    pub fn step(&self, position: u32) -> &PlanStep {
        &self.steps[position as usize]
    }
}

fn plan_step(step: &Step, dag: &Dag, registry: &Registry) -> Result<PlanStep, Fault> {
    let config = parse("/config", &step.config)?;
    let when = match &step.when {
        None => None,
        Some(When::Literal(literal)) => Some(parse("/when", &(*literal).into())?),
        Some(When::Template(text)) => Some(parse("/when", &text.as_str().into())?),
    };
    let for_each = match &step.for_each {
        None => None,
        Some(ForEach::Items(items)) => Some(parse("/for_each", &items.clone().into())?),
        Some(ForEach::Template(text)) => Some(parse("/for_each", &text.as_str().into())?),
    };
    let templates = [Some(&config), when.as_ref(), for_each.as_ref()];
    let mut reads = BTreeMap::new();
    for name in templates.into_iter().flatten().flat_map(Template::steps) {
        let Some(position) = dag.index(name) else {
            return Err(Fault::new(
                "",
                format!("a template names the unknown step {name:?}"),
            ));
        };
        reads.insert(position, Arc::from(name.as_str()));
    }
    let effects = registry
        .connector(&step.connector_type)
        .and_then(|connector| connector.effects(&step.config));
    Ok(PlanStep {
        name: step.name.as_str().into(),
        connector_type: step.connector_type.as_str().into(),
        credential: step.credential.as_deref().map(Into::into),
        config,
        when,
        for_each,
        reads: reads.into_iter().map(|(at, name)| (name, at)).collect(),
        is_read: false,
        trigger_rule: step.trigger_rule,
        retry_count: step.retry_count,
        retry: step.retry,
        timeout: Duration::from_secs(step.timeout_seconds),
        executor: step.executor,
        resources: step.resources,
        effects,
    })
}

fn plan_hooks(hooks: &[Hook], pointer: &str, faults: &mut Vec<Fault>) -> Vec<PlanHook> {
    let mut planned = Vec::new();
    for (position, hook) in hooks.iter().enumerate() {
        match parse("/parameters", &hook.parameters.clone().into()) {
            Ok(parameters) => planned.push(PlanHook {
                hook: hook.clone(),
                parameters,
            }),
            Err(fault) => faults.push(fault.below(&format!("{pointer}/{position}"))),
        }
    }
    planned
}

fn parse(pointer: &str, value: &serde_json::Value) -> Result<Template, Fault> {
    Template::parse(value).map_err(|faults| {
        let first = faults.into_iter().next();
        let (below, message) =
            first.map_or_else(Default::default, |fault| (fault.pointer, fault.message));
        Fault::new(format!("{pointer}{below}"), message)
    })
}
