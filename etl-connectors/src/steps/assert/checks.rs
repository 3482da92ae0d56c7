//! Making the checks: counts of all rows in one scan, and scans of their own for what must look at rows together.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, ident, in_list, lit, when};
use datafusion::prelude::DataFrame;
use etl_core::contract::Progress;
use etl_core::model::{StepError, nearest};
use futures_util::StreamExt;
use serde::Serialize;
use serde_json::Value;

use super::TABLE;
use super::config::{AcceptedValues, Checks, QueryCheck, Scalar};
use crate::flow::{Flow, Rows};
use crate::json::to_json;
use crate::query::Session;
use crate::steps::report::stopping;

/// How many rows that break a check are shown.
const EXAMPLES: usize = 5;

/// What a check found.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// The key of the check in the document.
    pub(super) check: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) columns: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// How many rows break it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows_failed: Option<u64>,
    /// What is wrong; `None` if nothing is.
    #[serde(skip)]
    pub(super) fault: Option<String>,
    /// Some of the rows that break it.
    #[serde(skip)]
    pub(super) examples: Vec<Value>,
}

/// Makes all checks: how many rows there are, and what each check found, in the order in which the schema lists them.
pub(super) async fn run(
    checks: &Checks,
    session: &Session,
    flow: &Flow,
) -> Result<(u64, Vec<Finding>), StepError> {
    let input = Input {
        table: session.table(TABLE).await?,
        session,
        flow,
    };
    let schema = input.table.schema().as_arrow();
    refuse_unknown_columns(checks, schema)?;
    let accepted: Vec<Accepted<'_>> = checks
        .accepted_values
        .0
        .iter()
        .map(|check| Accepted::new(check, schema))
        .collect::<Result<_, _>>()?;

    let nulls = checks.not_null.iter().map(|name| ident(name).is_null());
    let others = accepted.iter().map(|accepted| accepted.refused.clone());
    let counts = input.count(nulls.chain(others).collect()).await?;
    let (total, counts) = counts.split_first().unwrap_or((&0, &[]));
    let (nulls, others) = counts.split_at(checks.not_null.len());

    let mut findings = Vec::with_capacity(checks.count());
    let tell = |findings: &[Finding]| {
        flow.ctx.progress(Progress {
            percent: Some((findings.len() * 100 / checks.count().max(1)) as u8),
            rows_processed: *total,
            bytes_transferred: flow.meter.bytes_read(),
            estimated_remaining: None,
        });
    };
    if let Some(wanted) = checks.row_count {
        findings.push(Finding {
            check: "row_count",
            columns: Vec::new(),
            name: None,
            rows_failed: None,
            fault: wanted
                .refuses(*total)
                .map(|wanted| format!("there are {total}, and {wanted} are wanted")),
            examples: Vec::new(),
        });
    }
    for (column, failed) in checks.not_null.iter().zip(nulls) {
        findings.push(Finding {
            check: "not_null",
            columns: vec![column.clone()],
            name: None,
            rows_failed: Some(*failed),
            fault: (*failed > 0).then(|| format!("no value in {}", rows(*failed))),
            examples: input.examples(*failed, ident(column).is_null()).await?,
        });
        tell(&findings);
    }
    if !checks.unique.is_empty() {
        findings.push(input.unique(&checks.unique).await?);
        tell(&findings);
    }
    for (accepted, failed) in accepted.iter().zip(others) {
        findings.push(Finding {
            check: "accepted_values",
            columns: vec![accepted.check.column.clone()],
            name: None,
            rows_failed: Some(*failed),
            fault: (*failed > 0).then(|| {
                format!(
                    "another value than {} in {}",
                    accepted.list(),
                    rows(*failed)
                )
            }),
            examples: input.examples(*failed, accepted.refused.clone()).await?,
        });
        tell(&findings);
    }
    for check in &checks.query.0 {
        findings.push(input.query(check).await?);
        tell(&findings);
    }
    Ok((*total, findings))
}

/// A count of rows for people.
fn rows(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} row{plural}")
}

fn refuse_unknown_columns(checks: &Checks, schema: &Schema) -> Result<(), StepError> {
    let known = || schema.fields().iter().map(|field| field.name().as_str());
    let mut faults: Vec<String> = Vec::new();
    for column in checks.columns() {
        if known().any(|name| name == column) {
            continue;
        }
        let hint = nearest(column, known())
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default();
        let fault = format!("the input has no column {column:?}{hint}");
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let known: Vec<_> = known().collect();
    Err(StepError::permanent(format!(
        "{}\nits columns are {}",
        faults.join("\n"),
        known.join(", ")
    )))
}

/// The checked rows.
struct Input<'a> {
    table: DataFrame,
    session: &'a Session,
    flow: &'a Flow,
}

impl Input<'_> {
    /// How many rows there are, and how many of them meet each condition, in one scan.
    async fn count(&self, conditions: Vec<Expr>) -> Result<Vec<u64>, StepError> {
        let failed = |error| self.session.failed("counting rows", error);
        let mut counts = vec![count(lit(1)).alias("0")];
        for (index, condition) in conditions.into_iter().enumerate() {
            let met = when(condition, lit(1)).end().map_err(failed)?;
            counts.push(count(met).alias((index + 1).to_string()));
        }
        let frame = self.table.clone().aggregate(Vec::new(), counts);
        let mut rows = self.open(frame.map_err(failed)?).await?;
        let mut found = Vec::new();
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            found.extend((0..batch.num_columns()).map(|column| sum(&batch, column)));
        }
        Ok(found)
    }

    /// Some of the `failed` rows that meet a condition.
    async fn examples(&self, failed: u64, condition: Expr) -> Result<Vec<Value>, StepError> {
        if failed == 0 {
            return Ok(Vec::new());
        }
        let frame = self
            .table
            .clone()
            .filter(condition)
            .and_then(|frame| frame.limit(0, Some(EXAMPLES)))
            .map_err(|error| self.session.failed("looking for examples", error))?;
        let rows = self.open(frame).await?;
        Ok(Tally::of(rows, |_| 0).await?.examples)
    }

    async fn unique(&self, columns: &[String]) -> Result<Finding, StepError> {
        let failed = |error| {
            self.session
                .failed("looking for rows that come twice", error)
        };
        let mut times = "times".to_owned();
        while columns.contains(&times) {
            times.push('_');
        }
        let has_value = columns
            .iter()
            .map(|name| ident(name).is_not_null())
            .fold(lit(true), Expr::and);
        let group = columns.iter().map(ident).collect();
        let frame = self
            .table
            .clone()
            .filter(has_value)
            .and_then(|frame| frame.aggregate(group, vec![count(lit(1)).alias(&times)]))
            .and_then(|frame| frame.filter(ident(&times).gt(lit(1))))
            .map_err(failed)?;
        let last = columns.len();
        let found = Tally::of(self.open(frame).await?, |batch| sum(batch, last)).await?;
        let combinations = match (columns.len(), found.rows) {
            (1, 1) => "value comes",
            (1, _) => "values come",
            (_, 1) => "combination comes",
            _ => "combinations come",
        };
        Ok(Finding {
            check: "unique",
            columns: columns.to_vec(),
            name: None,
            rows_failed: Some(found.sum),
            fault: (found.rows > 0).then(|| {
                format!(
                    "{} {combinations} more than once, in {}",
                    found.rows,
                    rows(found.sum)
                )
            }),
            examples: found.examples,
        })
    }

    async fn query(&self, check: &QueryCheck) -> Result<Finding, StepError> {
        let opened = self.session.query(&check.sql).await;
        let named = |error: StepError| StepError {
            message: format!("check {:?}: {}", check.name, error.message),
            ..error
        };
        let found = stopping(opened.map_err(named)?, self.flow);
        let found = Tally::of(found, |_| 0).await.map_err(named)?;
        Ok(Finding {
            check: "query",
            columns: Vec::new(),
            name: Some(check.name.clone()),
            rows_failed: Some(found.rows),
            fault: (found.rows > 0)
                .then(|| format!("{} where there should be none", rows(found.rows))),
            examples: found.examples,
        })
    }

    async fn open(&self, frame: DataFrame) -> Result<Rows, StepError> {
        Ok(stopping(self.session.run(frame).await?, self.flow))
    }
}

/// Rows that were counted and let go, but for a few.
#[derive(Default)]
struct Tally {
    rows: u64,
    sum: u64,
    examples: Vec<Value>,
}

impl Tally {
    async fn of(mut rows: Rows, sum_of: impl Fn(&RecordBatch) -> u64) -> Result<Self, StepError> {
        let mut tally = Self::default();
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            let wanted = (EXAMPLES - tally.examples.len()).min(batch.num_rows());
            tally.examples.extend(to_json(&batch.slice(0, wanted))?);
            tally.rows += batch.num_rows() as u64;
            tally.sum += sum_of(&batch);
        }
        Ok(tally)
    }
}

/// The sum of a column of counts.
fn sum(batch: &RecordBatch, column: usize) -> u64 {
    let counts = batch.column(column).as_primitive_opt::<Int64Type>();
    counts
        .and_then(arrow::compute::sum)
        .map_or(0, i64::cast_unsigned)
}

/// An `accepted_values` check whose values are of the column's type.
struct Accepted<'a> {
    check: &'a AcceptedValues,
    /// True of the rows that break it, null of those without a value.
    refused: Expr,
}

impl<'a> Accepted<'a> {
    fn new(check: &'a AcceptedValues, schema: &Schema) -> Result<Self, StepError> {
        let data_type = schema
            .column_with_name(&check.column)
            .map_or(&DataType::Null, |(_, field)| field.data_type());
        let values = check
            .values
            .iter()
            .map(|value| literal(value, data_type).map(lit))
            .collect::<Result<_, _>>()
            .map_err(|(value, error)| {
                StepError::permanent(format!(
                    "accepted_values: {value:?} can't be a value of column {:?}, whose type is {data_type}",
                    check.column
                ))
                .because(error)
            })?;
        Ok(Self {
            check,
            refused: in_list(ident(&check.column), values, true),
        })
    }

    /// The accepted values for people: the first of them, if there are many.
    fn list(&self) -> String {
        const SHOWN: usize = 10;
        let values = &self.check.values;
        let mut shown: Vec<String> = values
            .iter()
            .take(SHOWN)
            .map(|value| value.to_string().chars().take(60).collect())
            .collect();
        if values.len() > SHOWN {
            shown.push(format!("{} more", values.len() - SHOWN));
        }
        shown.join(", ")
    }
}

/// A value as one of a column's type. By way of its text, so that what does not fit, such as 1.5 among whole numbers, is an error.
fn literal<'a>(
    value: &'a Scalar,
    data_type: &DataType,
) -> Result<ScalarValue, (&'a Scalar, datafusion::error::DataFusionError)> {
    let data_type = match data_type {
        DataType::Dictionary(_, of) => of,
        other => other,
    };
    let text = match value {
        // YAML writes 1.0 for a whole number where a person thinks of floating point ones.
        Scalar::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() < 2f64.powi(53) => float.to_string(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    ScalarValue::from(text)
        .cast_to(data_type)
        .map_err(|error| (value, error))
}
