//! What is counted, under which names, and the text of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use etl_core::contract::{Observation, Observer};
use etl_core::model::PipelineRef;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::labels::Names;

/// What [`Metrics::render`] gives, as the header of an answer says it.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const JOB_SECONDS: [f64; 6] = [60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0];
const STEP_SECONDS: [f64; 6] = [10.0, 30.0, 60.0, 300.0, 600.0, 1800.0];
const LAG_SECONDS: [f64; 8] = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0];
const OPERATION_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    pipeline: String,
    status: &'static str,
    trigger_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PipelineLabels {
    pipeline: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    connector: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectorLabels {
    connector: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of this process. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    pipelines: Names,
    connectors: Names,
    jobs: Family<JobLabels, Counter>,
    steps: Family<StepLabels, Counter>,
    job_duration: Histograms<PipelineLabels>,
    step_duration: Histograms<ConnectorLabels>,
    active_jobs: Gauge,
    queue_depth: Gauge<u64, AtomicU64>,
    workers_available: Gauge,
    rows: Family<ConnectorLabels, Counter>,
    bytes: Family<ConnectorLabels, Counter>,
    retries: Family<ConnectorLabels, Counter>,
    dead_letters: Counter,
    lease_lost: Counter,
    schedule_lag: Histogram,
    operations: Histograms<OperationLabels>,
}

/// What is so now, and can't be counted from what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Jobs that this process runs.
    pub active_jobs: usize,
    /// Jobs of the deployment that wait to be run; `None` leaves the figure as it was.
    pub queue_depth: Option<u64>,
    /// Whether this process would take a job now.
    pub is_available: bool,
}

impl Metrics {
    /// Of a process that has done nothing yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("etl");
        // The client adds `_total` to a counter's name when it writes it.
        let inner = Inner {
            pipelines: Names::default(),
            connectors: Names::default(),
            jobs: add(&mut registry, "jobs", "Jobs that ended", Family::default()),
            steps: add(
                &mut registry,
                "steps",
                "Step executions that ended",
                Family::default(),
            ),
            job_duration: add(
                &mut registry,
                "job_duration_seconds",
                "How long jobs took from their first claim to their end",
                Family::new_with_constructor(|| Histogram::new(JOB_SECONDS)),
            ),
            step_duration: add(
                &mut registry,
                "step_duration_seconds",
                "How long step executions took from their first attempt to their end",
                Family::new_with_constructor(|| Histogram::new(STEP_SECONDS)),
            ),
            active_jobs: add(
                &mut registry,
                "active_jobs",
                "Jobs that this process runs now",
                Gauge::default(),
            ),
            queue_depth: add(
                &mut registry,
                "queue_depth",
                "Jobs of the whole deployment that wait to be run",
                Gauge::default(),
            ),
            workers_available: add(
                &mut registry,
                "workers_available",
                "Whether this process is a worker that would take a job now",
                Gauge::default(),
            ),
            rows: add(
                &mut registry,
                "rows_processed",
                "Rows that steps handled",
                Family::default(),
            ),
            bytes: add(
                &mut registry,
                "bytes_transferred",
                "Bytes that steps moved",
                Family::default(),
            ),
            retries: add(
                &mut registry,
                "step_retries",
                "Attempts that failed or were lost and were to be repeated",
                Family::default(),
            ),
            dead_letters: add(
                &mut registry,
                "dead_letters",
                "Steps that failed for good",
                Counter::default(),
            ),
            lease_lost: add(
                &mut registry,
                "lease_lost",
                "Jobs that this process lost while it had them",
                Counter::default(),
            ),
            schedule_lag: add(
                &mut registry,
                "schedule_lag_seconds",
                "How long after their time schedules made their jobs",
                Histogram::new(LAG_SECONDS),
            ),
            operations: add(
                &mut registry,
                "store_operation_seconds",
                "How long the store took to answer",
                Family::new_with_constructor(|| Histogram::new(OPERATION_SECONDS)),
            ),
            registry,
        };
        Self(Arc::new(inner))
    }

    /// All of it, in the text format of OpenMetrics.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Only a label that can't be formatted could fail, and all of ours are text.
        let _ = text::encode(&mut text, &self.0.registry);
        text
    }

    /// Says what is so now.
    pub fn set(&self, gauges: Gauges) {
        let count = i64::try_from(gauges.active_jobs).unwrap_or(i64::MAX);
        self.0.active_jobs.set(count);
        if let Some(depth) = gauges.queue_depth {
            self.0.queue_depth.set(depth);
        }
        self.0.workers_available.set(i64::from(gauges.is_available));
    }

    /// The store took so long for this.
    pub(crate) fn store_operation(&self, operation: &'static str, took: Duration) {
        let labels = OperationLabels { operation };
        let histogram = self.0.operations.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
    }

    fn pipeline(&self, pipeline: &PipelineRef) -> String {
        // As everywhere, the default namespace goes without saying.
        let name = match &*pipeline.namespace {
            "default" => pipeline.name.to_string(),
            namespace => format!("{namespace}/{}", pipeline.name),
        };
        self.0.pipelines.label(&name)
    }

    fn connector(&self, connector: &Arc<str>) -> ConnectorLabels {
        ConnectorLabels {
            connector: self.0.connectors.label(connector),
        }
    }
}

/// Takes a metric into the registry, and gives it back to be counted with.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Observer for Metrics {
    fn observe(&self, observation: &Observation) {
        let inner = &*self.0;
        match observation {
            Observation::JobEnded {
                pipeline,
                status,
                trigger,
                took,
            } => {
                let pipeline = self.pipeline(pipeline);
                if let Some(took) = took {
                    let labels = PipelineLabels {
                        pipeline: pipeline.clone(),
                    };
                    let histogram = inner.job_duration.get_or_create(&labels);
                    histogram.observe(took.as_secs_f64());
                }
                let labels = JobLabels {
                    pipeline,
                    status: status.as_str(),
                    trigger_type: trigger.as_str(),
                };
                inner.jobs.get_or_create(&labels).inc();
            }
            Observation::StepEnded {
                connector,
                status,
                took,
                rows,
                bytes,
            } => {
                let labels = self.connector(connector);
                if let Some(took) = took {
                    let histogram = inner.step_duration.get_or_create(&labels);
                    histogram.observe(took.as_secs_f64());
                }
                if *rows > 0 {
                    inner.rows.get_or_create(&labels).inc_by(*rows);
                }
                if *bytes > 0 {
                    inner.bytes.get_or_create(&labels).inc_by(*bytes);
                }
                let labels = StepLabels {
                    connector: labels.connector,
                    status: status.as_str(),
                };
                inner.steps.get_or_create(&labels).inc();
            }
            Observation::StepRetried { connector } => {
                let labels = self.connector(connector);
                inner.retries.get_or_create(&labels).inc();
            }
            Observation::Buried => {
                inner.dead_letters.inc();
            }
            Observation::LeaseLost => {
                inner.lease_lost.inc();
            }
            Observation::Fired { lag } => inner.schedule_lag.observe(lag.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests;
