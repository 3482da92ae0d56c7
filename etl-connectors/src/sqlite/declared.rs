//! How columns are declared in tables that are made here, and read back from there.
//!
//! SQLite knows no exact decimals and no JSON type, and turns text that looks like a number into one unless the declared type
//! has `TEXT` in it (<https://www.sqlite.org/datatype3.html#affname>). So these are text, and the declared type says of what.

use arrow::datatypes::{DataType, Field};
use sqlx::sqlite::{SqliteColumn, SqliteConnection};
use sqlx::{Column, ColumnOrigin, TypeInfo};

use super::encode::stored;
use crate::column::{ColumnType, is_json};

const DECIMAL: &str = "DECIMAL_TEXT";
const JSON: &str = "JSON_TEXT";

/// What a column of these values is declared as.
pub(super) fn declaration(field: &Field) -> String {
    match (field.data_type(), stored(field.data_type())) {
        (DataType::Decimal128(precision, scale @ 0..), _) => {
            format!("{DECIMAL}({precision},{scale})")
        }
        _ if is_json(field) => JSON.into(),
        (_, DataType::Int64) => "INTEGER".into(),
        (_, DataType::Float64) => "REAL".into(),
        (_, DataType::Boolean) => "BOOLEAN".into(),
        (_, DataType::Date32) => "DATE".into(),
        (_, DataType::Timestamp(..)) => "DATETIME".into(),
        (_, DataType::Binary) => "BLOB".into(),
        _ => "TEXT".into(),
    }
}

/// What a column of a statement is declared as.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Declared {
    /// Text of which more is known.
    Text(ColumnType),
    /// One of sqlx's names for SQLite's types; `NULL` if there is none.
    Other(String),
}

/// How the column of a table that a statement's column comes from is declared.
pub(super) async fn declared_type(
    column: &SqliteColumn,
    connection: &mut SqliteConnection,
) -> Result<Declared, sqlx::Error> {
    let name = column.type_info().name();
    if let (ColumnOrigin::Table(origin), "TEXT") = (column.origin(), name) {
        let table = origin
            .table
            .rsplit_once('.')
            .map_or(&*origin.table, |(_, table)| table);
        let declared: Option<String> =
            sqlx::query_scalar("SELECT type FROM pragma_table_info(?) WHERE name = ?")
                .bind(table.to_owned())
                .bind(origin.name.to_string())
                .fetch_optional(connection)
                .await?;
        if let Some(of) = declared.as_deref().and_then(text_of) {
            return Ok(Declared::Text(of));
        }
    }
    Ok(Declared::Other(name.to_owned()))
}

fn text_of(declared: &str) -> Option<ColumnType> {
    let upper = declared.to_ascii_uppercase();
    match upper.strip_prefix(DECIMAL) {
        Some(arguments) => format!("decimal{arguments}").parse().ok(),
        None => (upper == JSON).then_some(ColumnType::Json),
    }
}

/// Whether values of `field` stay what they are in a column declared as `existing`: SQLite makes numbers of text that looks like
/// some in a column of numbers, and text of numbers in a column of text.
pub(super) fn keeps(field: &Field, existing: &str) -> bool {
    let existing = existing.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| existing.contains(word));
    let is_text = !has(&["INT"]) && has(&["CHAR", "CLOB", "TEXT"]);
    let is_free = existing.is_empty() || (!has(&["INT"]) && has(&["BLOB"]));
    match stored(field.data_type()) {
        DataType::Int64 | DataType::Float64 | DataType::Boolean => !is_text,
        DataType::Utf8 => is_text || is_free,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_reads_back() {
        for column_type in [ColumnType::Decimal(18, 2), ColumnType::Json] {
            let declared = declaration(&column_type.field("x"));
            assert!(declared.contains("TEXT"), "{declared}");
            assert_eq!(text_of(&declared), Some(column_type));
        }
        for other in ["TEXT", "DECIMAL(10,2)", "DECIMAL_TEXT(x)", "JSON", ""] {
            assert_eq!(text_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_column_of_numbers_does_not_keep_text_nor_one_of_text_numbers() {
        for (column_type, existing, expected) in [
            (ColumnType::String, "INTEGER", false),
            (ColumnType::String, "NUMERIC(10,2)", false),
            (ColumnType::String, "VARCHAR(20)", true),
            (ColumnType::String, "", true),
            (ColumnType::Int64, "TEXT", false),
            (ColumnType::Int64, "NUMERIC", true),
            (ColumnType::Float64, "INTEGER", true),
            (ColumnType::Decimal(10, 2), "DECIMAL(10,2)", false),
            (ColumnType::Date, "TEXT", true),
            (ColumnType::Date, "DATE", true),
            (ColumnType::Binary, "INTEGER", true),
        ] {
            let field = column_type.field("x");
            assert_eq!(
                keeps(&field, existing),
                expected,
                "{column_type} {existing}"
            );
        }
    }
}
