//! From the errors of the query engine to step errors.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use etl_core::model::{StepError, nearest};

use crate::flow::fault;

/// The error of the source that failed first. The engine may wrap or share what a source reports; here it stays whole.
#[derive(Debug, Clone, Default)]
pub(super) struct FirstFault(Arc<Mutex<Option<StepError>>>);

impl FirstFault {
    /// Keeps `error` if it is the first, and gives what the engine is told.
    pub(super) fn keep(&self, error: StepError) -> DataFusionError {
        let told = DataFusionError::Execution("an input can't be read".into());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        told
    }

    fn take(&self) -> Option<StepError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A query that failed, or an input of it.
pub(super) fn query_failed(
    what: &str,
    error: DataFusionError,
    first_fault: &FirstFault,
) -> StepError {
    if let Some(error) = first_fault.take() {
        return error;
    }
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match &**schema_error {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => return StepError::permanent(unknown_column(field, valid_fields)),
            _ => StepError::permanent(format!("{what} failed")),
        },
        DataFusionError::ResourcesExhausted(_) => StepError::permanent(format!(
            "{what} failed: the query needs more memory than a step has; reduce what it sorts, joins or groups at once"
        )),
        DataFusionError::IoError(io) => {
            let kind = io.kind();
            return fault::io(what, std::io::Error::new(kind, error));
        }
        _ => StepError::permanent(format!("{what} failed")),
    }
    .because(Shown(error))
}

/// How many columns a message lists.
const LISTED: usize = 50;

fn unknown_column(field: &Column, known: &[Column]) -> String {
    let hint = nearest(&field.name, known.iter().map(|column| column.name.as_str()))
        .map(|near| format!("; did you mean {near:?}?"))
        .unwrap_or_default();
    let mut names: Vec<String> = known.iter().take(LISTED).map(Column::flat_name).collect();
    if known.len() > LISTED {
        names.push(format!("{} more", known.len() - LISTED));
    }
    let columns = if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    };
    format!(
        "the query names a column {:?}, which is not there{hint}\nof columns {columns}",
        field.flat_name()
    )
}

/// The engine's error as people should see it.
#[derive(Debug)]
struct Shown(DataFusionError);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.strip_backtrace())
    }
}

impl std::error::Error for Shown {}
