//! One query engine per running step: its inputs are its only tables, and queries are all that it does.

use std::sync::Arc;

use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use etl_core::model::StepError;
use futures_util::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::build_side::{Sizes, SmallerBuildSide};
use super::fault::{FirstFault, query_failed};
use super::names::Columns;
use super::statement;
use super::stop::{StoppableJoins, YieldingJoins};
use super::table::Scan;
use super::threads::Threads;
use crate::endpoint::SourceConfig;
use crate::flow::{Flow, Rows, Source};
use crate::location::{Input, Location, inputs};

/// How much memory the operators of a query may hold together; sorts and aggregates then go on on disk.
const MEMORY_BYTES: usize = 256 * 1024 * 1024;

/// How many threads a query uses.
const PARTITIONS: usize = 2;

const BATCH_ROWS: usize = 8192;

/// How many batches of an answer may wait to be taken.
const BATCHES_AHEAD: usize = 2;

/// Whether the records of an input are counted as they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metering {
    /// Each is.
    Records,
    /// They are not: the engine reads the files by itself, and only what a query needs of them.
    None,
}

/// A query engine with the tables of one step.
pub(crate) struct Session {
    context: SessionContext,
    flow: Flow,
    first_fault: FirstFault,
    columns: Columns,
    tables: Vec<String>,
    sizes: Arc<Sizes>,
    threads: Arc<Threads>,
}

impl Session {
    /// An engine without tables.
    pub(crate) fn new(flow: &Flow) -> Result<Self, StepError> {
        Self::with_memory(flow, MEMORY_BYTES)
    }

    /// An engine whose operators may hold `memory` bytes together.
    pub(super) fn with_memory(flow: &Flow, memory: usize) -> Result<Self, StepError> {
        let first_fault = FirstFault::default();
        let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(|error| query_failed("starting the query engine", error, &first_fault))?;
        let mut config = SessionConfig::new()
            .with_target_partitions(PARTITIONS)
            .with_batch_size(BATCH_ROWS)
            .with_information_schema(false);
        let options = config.options_mut();
        // Sinks see the plain types; a view of strings would only be copied back.
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.schema_force_view_types = false;
        let stop = flow.ctx.cancelled().child_token();
        let sizes = Arc::<Sizes>::default();
        let mut rules = PhysicalOptimizer::new().rules;
        rules.insert(0, Arc::new(SmallerBuildSide(sizes.clone())));
        rules.push(Arc::new(YieldingJoins));
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rules(rules)
            .with_optimizer_rule(Arc::new(StoppableJoins::new(stop.clone())))
            .build();
        Ok(Self {
            context: SessionContext::new_with_state(state),
            flow: flow.clone(),
            first_fault,
            columns: Columns::default(),
            tables: Vec::new(),
            sizes,
            threads: Arc::new(Threads::new(PARTITIONS, stop)?),
        })
    }

    /// Makes what a source configuration says the table `name`, in the way that reads it fastest.
    pub(crate) async fn add_input(
        &mut self,
        name: &str,
        config: &SourceConfig,
    ) -> Result<Metering, StepError> {
        if let Some(url) = config.parquet_url() {
            let files = inputs(url, &self.flow.again()).await?;
            if self.add_parquet(name, &files).await? {
                return Ok(Metering::None);
            }
        }
        self.add(name, Arc::from(config.source())).await?;
        Ok(Metering::Records)
    }

    /// Makes a source the table `name`. It is opened now, for its columns, and again for every further scan of it.
    pub(crate) async fn add(
        &mut self,
        name: &str,
        source: Arc<dyn Source>,
    ) -> Result<(), StepError> {
        let before = self.flow.meter.bytes_expected();
        let rows = source.open(&self.flow).await?;
        let bytes = self.flow.meter.bytes_expected() - before;
        let schema = rows.schema.clone();
        let scan = Arc::new(Scan::new(
            source,
            rows,
            self.flow.clone(),
            self.first_fault.clone(),
        ));
        if bytes > 0 {
            self.sizes.insert(scan.clone(), bytes);
        }
        let table = StreamingTable::try_new(schema, vec![scan])
            .map_err(|error| self.failed("registering an input", error))?;
        self.register(name, Arc::new(table))
    }

    /// Makes Parquet files of this machine the table `name`, read by the engine itself, which skips columns and row groups that
    /// the query has no use for. False if these files can't be read that way.
    async fn add_parquet(&mut self, name: &str, files: &[Input]) -> Result<bool, StepError> {
        let mut urls = Vec::with_capacity(files.len());
        for file in files {
            let Location::Local(path) = &file.place else {
                return Ok(false);
            };
            let (Some(path), true) = (path.to_str(), file.partitions.is_empty()) else {
                return Ok(false);
            };
            // Every other character is encoded, so that no part of a name is taken for a pattern or a query.
            let encoded = path
                .split('/')
                .map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string())
                .collect::<Vec<_>>()
                .join("/");
            let url = ListingTableUrl::parse(format!("file://{encoded}"))
                .map_err(|error| self.failed("registering an input", error))?;
            urls.push(url);
        }
        let options =
            ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension("");
        let state = self.context.state();
        let table = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(options)
            .infer_schema(&state)
            .await
            .and_then(ListingTable::try_new)
            .map_err(|error| self.failed(&format!("reading input {name:?}"), error))?;
        self.register(name, Arc::new(table))?;
        Ok(true)
    }

    fn register(
        &mut self,
        name: &str,
        table: Arc<dyn datafusion::catalog::TableProvider>,
    ) -> Result<(), StepError> {
        for field in table.schema().fields() {
            self.columns.add(field.name());
        }
        self.tables.push(name.to_owned());
        // Names in SQL are folded to lower case unless quoted; an input is found either way it is written.
        let lower = name.to_lowercase();
        if lower != name {
            self.context
                .register_table(TableReference::bare(lower), table.clone())
                .map_err(|error| self.failed("registering an input", error))?;
        }
        self.context
            .register_table(TableReference::bare(name), table)
            .map_err(|error| self.failed("registering an input", error))?;
        Ok(())
    }

    /// Runs a query. Anything else than a query is refused.
    pub(crate) async fn query(&self, sql: &str) -> Result<Rows, StepError> {
        let state = self.context.state();
        let failed = |error| self.failed("planning the query", error);
        let mut statement = statement::parse(sql, &state)?;
        statement::refuse_unknown_tables(&statement, &self.tables, &state)?;
        self.columns.spell(&mut statement);
        let plan = state
            .statement_to_plan(Statement::Statement(Box::new(statement)))
            .await
            .map_err(failed)?;
        // A query may hold what is none, such as an INSERT that follows WITH.
        let only_queries = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        only_queries.verify_plan(&plan).map_err(failed)?;
        self.run(DataFrame::new(state, plan)).await
    }

    /// A table, to build a query on without SQL.
    pub(crate) async fn table(&self, name: &str) -> Result<DataFrame, StepError> {
        self.context
            .table(TableReference::bare(name))
            .await
            .map_err(|error| self.failed("reading the input", error))
    }

    /// Runs a query that is built already.
    pub(crate) async fn run(&self, frame: DataFrame) -> Result<Rows, StepError> {
        let failed = |error| self.failed("planning the query", error);
        let task = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(failed)?;
        let schema = plan.schema();
        let mut names = std::collections::BTreeSet::new();
        if let Some(twice) = schema.fields().iter().find(|f| !names.insert(f.name())) {
            return Err(StepError::permanent(format!(
                "the query gives two columns named {:?}; give one of them another name with AS",
                twice.name()
            )));
        }
        let mut ahead = RecordBatchReceiverStreamBuilder::new(schema.clone(), BATCHES_AHEAD);
        let sender = ahead.tx();
        let computing = async move {
            let mut stream = execute_stream(plan, task)?;
            while let Some(batch) = stream.next().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        ahead.spawn_on(computing, self.threads.handle());
        let first_fault = self.first_fault.clone();
        let threads = self.threads.clone();
        let batches = ahead
            .build()
            .map(move |batch| {
                // Held for as long as the rows are.
                let _ = &threads;
                batch.map_err(|error| query_failed("running the query", error, &first_fault))
            })
            .boxed();
        Ok(Rows { schema, batches })
    }

    /// A failure of this engine as a failure of the step.
    pub(crate) fn failed(
        &self,
        what: &str,
        error: datafusion::error::DataFusionError,
    ) -> StepError {
        query_failed(what, error, &self.first_fault)
    }
}
