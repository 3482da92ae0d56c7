//! From the text of a query to its statement: one, a query, and of known tables only.

use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::Statement;
use etl_core::model::{StepError, nearest};

/// Reads the one query in `sql`.
pub(super) fn parse(sql: &str, state: &SessionState) -> Result<Statement, StepError> {
    let recursion_limit = state.config_options().sql_parser.recursion_limit.get();
    let mut statements = DFParserBuilder::new(sql)
        .with_recursion_limit(recursion_limit)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| {
            let cause = match error {
                DataFusionError::SQL(error, _) => error.to_string(),
                other => other.strip_backtrace(),
            };
            StepError::permanent("the query is not valid SQL").because(cause)
        })?;
    let only = statements.pop_front();
    if !statements.is_empty() {
        return Err(StepError::permanent(
            "the query has more than one statement; a step runs one query, and another one is another step",
        ));
    }
    match only {
        None => Err(StepError::permanent("the query is empty")),
        Some(Parsed::Statement(statement)) if matches!(*statement, Statement::Query(_)) => {
            Ok(*statement)
        }
        Some(other) => {
            let text = other.to_string();
            let verb = text.split_whitespace().next().unwrap_or_default();
            Err(StepError::permanent(format!(
                "only a query may stand here, which begins with SELECT, WITH or VALUES; this is {verb}. Rows are written by \
                 the step's sink"
            )))
        }
    }
}

/// Refuses a query of a table that is no input of the step. Nothing else is ever looked for: no file, no URL.
pub(super) fn refuse_unknown_tables(
    statement: &Statement,
    known: &[String],
    state: &SessionState,
) -> Result<(), StepError> {
    let parsed = Parsed::Statement(Box::new(statement.clone()));
    let Ok((tables, _)) = resolve_table_references(&parsed, true) else {
        return Ok(());
    };
    for table in tables {
        let name = table.table();
        let is_plain = table.schema().is_none();
        let is_known = known
            .iter()
            .any(|known| known == name || known.to_lowercase() == name);
        // Functions such as `generate_series` are told from tables by their name alone.
        if (is_plain && is_known) || state.table_functions().contains_key(name) {
            continue;
        }
        let tables = match known {
            [] => "there are none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        let hint = nearest(name, known.iter().map(String::as_str))
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default();
        return Err(StepError::permanent(format!(
            "the query names a table {:?}, which is not there{hint}\nof tables, which are the step's inputs, {tables}",
            table.to_string()
        )));
    }
    Ok(())
}
