//! The pipeline document: what a YAML file, a JSON body and the Rust builder all mean. The names are a contract.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::status::TriggerRule;

/// A pipeline: a DAG of steps with the terms on which it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Unique in its namespace; the identity under which versions, schedules and jobs are kept.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,254}$"))]
    pub name: String,
    /// Names are unique within it.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,254}$"))]
    pub namespace: String,
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it runs by itself: a cron expression of 5 or 6 fields, or `@daily` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// IANA name of the zone that `schedule` is read in.
    #[serde(default = "default_timezone")]
    pub timezone: String,
    /// The business calendar that moves or replaces the fires of `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
    /// What becomes of fires that came while no scheduler ran.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catchup: Catchup,
    /// The job of a fire starts up to so many seconds after it: pipelines that are due together don't start together.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 3600))]
    pub start_jitter_seconds: u32,
    /// Whether its schedule fires.
    #[serde(default = "default_true")]
    pub is_active: bool,
    /// Free words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// JSON Schema (2020-12) of a job's parameters; its `default`s fill in what a job leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Map<String, Value>>,
    /// How many jobs of it may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// How many of its steps may run at once within a job. Without it, what the worker has free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_parallel_steps: Option<u32>,
    /// Which waiting job is taken first: 0 to 9, 9 first.
    #[serde(default = "default_priority")]
    #[schemars(range(min = 0, max = 9))]
    pub priority: u8,
    /// How long a whole job may run, in seconds; then its steps are stopped and it ends as `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<u64>,
    /// The steps, in any order; `dependencies` makes the graph. At most 100,000.
    pub steps: Vec<Step>,
    /// What happens after a job's end.
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
}

/// One step: a connector with its configuration, and how it behaves when things go wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique in the pipeline.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$"))]
    pub name: String,
    /// Which connector does the work.
    pub connector_type: String,
    /// The name of a stored credential that the connector gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The connector's own configuration; texts in it may be templates.
    #[serde(default = "empty_config", skip_serializing_if = "is_empty_config")]
    pub config: Value,
    /// The names of the steps that must be settled first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// What of its dependencies lets it run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trigger_rule: TriggerRule,
    /// A condition; when it is false the step is skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// A list; the step runs once for each item of it, with `item` and `index` in its templates. At most 100,000 items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEach>,
    /// How many attempts may follow a failed first one.
    #[serde(default = "default_retry_count")]
    #[schemars(range(max = 1000))]
    pub retry_count: u32,
    /// How long to wait between attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry: RetryPolicy,
    /// How long one attempt may run, in seconds.
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub timeout_seconds: u64,
    /// Where attempts run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub executor: ExecutorKind,
    /// What an isolated attempt may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

impl Step {
    /// A step with every default of the document.
    pub fn new(name: impl Into<String>, connector_type: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            connector_type: connector_type.into(),
            credential: None,
            config: empty_config(),
            dependencies: Vec::new(),
            trigger_rule: TriggerRule::default(),
            when: None,
            for_each: None,
            retry_count: default_retry_count(),
            retry: RetryPolicy::default(),
            timeout_seconds: default_timeout_seconds(),
            executor: ExecutorKind::default(),
            resources: None,
        }
    }
}

impl Pipeline {
    /// Whether it has a schedule, be it one that does not fire at the moment.
    pub fn has_schedule(&self) -> bool {
        let by_calendar = |calendar: &Calendar| calendar.nth_business_day.is_some();
        self.schedule.is_some() || self.calendar.as_ref().is_some_and(by_calendar)
    }

    /// Whether its schedule says the same as another version's, so that a change of version leaves what is due alone.
    pub fn has_schedule_of(&self, other: &Self) -> bool {
        let terms = |pipeline: &Self| {
            (
                pipeline.schedule.clone(),
                pipeline.timezone.clone(),
                pipeline.calendar.clone(),
                pipeline.start_jitter_seconds,
                pipeline.is_active,
            )
        };
        terms(self) == terms(other)
    }

    /// A pipeline without steps and with every default of the document.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            namespace: default_namespace(),
            description: None,
            schedule: None,
            timezone: default_timezone(),
            calendar: None,
            catchup: Catchup::default(),
            start_jitter_seconds: 0,
            is_active: true,
            tags: Vec::new(),
            parameters: None,
            concurrency: None,
            max_parallel_steps: None,
            priority: default_priority(),
            timeout_seconds: None,
            steps: Vec::new(),
            hooks: Hooks::default(),
        }
    }
}

/// A condition on a step: a template that gives a boolean, or the boolean itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum When {
    /// Always or never.
    Literal(bool),
    /// A template such as `{{ params.month != '2024-01' }}`.
    Template(String),
}

/// What a step fans out over: a template that gives a list, or the list itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ForEach {
    /// The items as they stand.
    Items(Vec<Value>),
    /// A template such as `{{ steps.list.output.files }}`.
    Template(String),
}

/// The wait after n failed attempts: `min(max_delay, base_delay · 2^(n-1))`, and with `jitter` a random part of that
/// (full jitter: AWS Architecture Blog, "Exponential Backoff And Jitter").
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Seconds before the first retry.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub base_delay_seconds: f64,
    /// The longest wait, in seconds.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub max_delay_seconds: f64,
    /// Whether to wait a random part of the delay, so that many failures don't come back at once.
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            base_delay_seconds: 1.0,
            max_delay_seconds: 60.0,
            jitter: true,
        }
    }
}

/// Where a step's attempts run.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorKind {
    /// In the worker's own process. For trusted connectors.
    #[default]
    InProcess,
    /// In a child process.
    Process,
    /// In a Docker container.
    Docker,
    /// In a Kubernetes Job.
    Kubernetes,
}

impl ExecutorKind {
    /// The name in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProcess => "in_process",
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// Whether an attempt goes on when its worker is gone, so that the next owner of its job can adopt it.
    pub const fn outlives_worker(self) -> bool {
        matches!(self, Self::Docker | Self::Kubernetes)
    }
}

impl std::fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an isolated attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor cores, such as 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.01))]
    pub cpu: Option<f64>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_mb: Option<u64>,
}

/// How many jobs of a pipeline may run at once, and what becomes of one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concurrency {
    /// The most jobs that run at once.
    #[schemars(range(min = 1))]
    pub limit: u32,
    /// What becomes of a job over the limit.
    #[serde(default)]
    pub on_limit: OnLimit,
}

/// What becomes of a job over its pipeline's `concurrency.limit`. Jobs that wait and jobs that run count, of all versions; one
/// whose end is asked for does not. The jobs of a backfill always wait, and don't count for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It waits.
    #[default]
    Queue,
    /// It is cancelled as it comes, with the limit as the reason, so that it can be seen.
    Skip,
    /// As many of the oldest as have to are cancelled for it, whether they wait or run.
    CancelOldest,
}

/// A business calendar: how it moves the fires of `schedule`, or the n-th business day in place of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// The calendar's name.
    pub name: String,
    /// What to do with a fire on a day that is no business day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<CalendarRule>,
    /// Fire on the n-th business day of each month, counted from 1, or from the end with a negative number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth_business_day: Option<i8>,
    /// The local time of that fire, `HH:MM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// More days that are no business days, each `YYYY-MM-DD`. With them `name` may be one that nobody ships: then
    /// Saturdays, Sundays and these are its days off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<String>,
}

/// What becomes of fires that came while no scheduler ran. Fires while a schedule was paused or inactive are never made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Catchup {
    /// They are left out.
    None,
    /// The last of them fires, once.
    #[default]
    Last,
    /// All of them fire, oldest first; of more than 1,000 the latest 1,000.
    All,
}

/// What to do with a fire on a day that is no business day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CalendarRule {
    /// Leave it out.
    Skip,
    /// The next business day.
    RollForward,
    /// The business day before.
    RollBack,
}

/// What happens after a job's end. After a cancelled job nothing does: who cancelled it knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// After a job that succeeded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_success: Vec<Hook>,
    /// After a job that failed, or that ran longer than its `timeout_seconds`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<Hook>,
}

impl Hooks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.on_success.is_empty() && self.on_failure.is_empty()
    }
}

/// One thing to do after a job's end: exactly one of `trigger_pipeline` and `webhook`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Start a job of this pipeline (of the same namespace).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_pipeline: Option<String>,
    /// That job's parameters; texts in it may be templates.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// Send the job's outcome to this URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The stored credential that signs the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl RetryPolicy {
    /// The longest wait before the attempt that follows `failures` failed ones (1 for the first retry).
    pub fn ceiling(&self, failures: u32) -> Duration {
        let factor = 2f64.powi(i32::try_from(failures.saturating_sub(1).min(64)).unwrap_or(64));
        let seconds = (self.base_delay_seconds * factor).min(self.max_delay_seconds);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO)
    }
}

fn default_namespace() -> String {
    "default".into()
}

fn default_timezone() -> String {
    "UTC".into()
}

const fn default_true() -> bool {
    true
}

const fn default_priority() -> u8 {
    5
}

const fn default_retry_count() -> u32 {
    3
}

const fn default_timeout_seconds() -> u64 {
    3600
}

fn empty_config() -> Value {
    Value::Object(Map::new())
}

fn is_empty_config(config: &Value) -> bool {
    config.as_object().is_some_and(Map::is_empty)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
