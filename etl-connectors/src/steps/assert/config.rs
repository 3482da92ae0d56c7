//! What documents say of an `assert` step.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::endpoint::InputConfig;

/// What an `assert` step checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "input": "{{ steps.join.artifacts['joined.parquet'] }}",
    "checks": {
        "row_count": {"min": 1000},
        "not_null": ["carrier", "origin"],
        "unique": ["flight_date", "carrier", "flight"],
        "accepted_values": {"column": "origin", "values": ["EWR", "JFK", "LGA"]},
        "query": {"name": "no flight lands before it leaves", "sql": "SELECT * FROM input WHERE arrival < departure"},
    },
}))]
pub struct AssertConfig {
    /// The rows: a source, or the URL of an artifact or file whose extension says what it is. It is read once and once more for
    /// `unique`, for each `query`, and for the examples of each check that failed.
    pub input: InputConfig,
    /// What must be true of them. All checks are made, whichever fail.
    pub checks: Checks,
}

/// What must be true of the rows. At least one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// How many rows there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_count: Option<RowCount>,
    /// Columns that have a value in every row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_null: Vec<String>,
    /// Columns whose values, taken together, come at most once. As in SQL, rows without a value in one of them are equal to no
    /// other; name the columns in `not_null` too to forbid them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<String>,
    /// The only values that a column has: one such check or a list.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub accepted_values: OneOrMany<AcceptedValues>,
    /// A query that gives the rows that should not be: one such check or a list.
    #[serde(default, skip_serializing_if = "OneOrMany::is_empty")]
    pub query: OneOrMany<QueryCheck>,
}

/// How many rows there are: at least `min`, at most `max`, or exactly `equals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    /// The least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// Exactly this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<u64>,
}

/// The only values that a column has. A row without a value passes; `not_null` forbids those.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptedValues {
    /// The column.
    pub column: String,
    /// The values, as text, numbers, or true and false. Text is read as the column's type, so that dates are written as text.
    #[schemars(length(min = 1))]
    pub values: Vec<Scalar>,
}

/// A rule in SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryCheck {
    /// What the rule says, for people.
    pub name: String,
    /// A query that gives the rows that break the rule, and none if all is well. The checked rows are the table `input`.
    pub sql: String,
}

/// A single value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// A number.
    Number(serde_json::Number),
    /// Text.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// One thing, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> OneOrMany<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its JSON pointer below `pointer`; a single one is written without a list, so it has none of its own.
    fn at<'a>(&'a self, pointer: &'a str) -> impl Iterator<Item = (String, &'a T)> {
        let is_list = self.0.len() > 1;
        self.0.iter().enumerate().map(move |(index, item)| {
            let place = if is_list {
                format!("{pointer}/{index}")
            } else {
                pointer.to_owned()
            };
            (place, item)
        })
    }
}

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

// By hand, because serde's own way for untagged enums forgets what was wrong with the variant that was meant.
impl<'de, T: DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            list @ Value::Array(_) => Vec::deserialize(list),
            one => T::deserialize(one).map(|one| vec![one]),
        }
        .map(Self)
        .map_err(D::Error::custom)
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, {"type": "array", "items": one}] })
    }
}

impl Checks {
    /// How many checks these are: one of each kind, `not_null` one for each column.
    pub(super) fn count(&self) -> usize {
        usize::from(self.row_count.is_some())
            + self.not_null.len()
            + usize::from(!self.unique.is_empty())
            + self.accepted_values.0.len()
            + self.query.0.len()
    }

    /// The columns that they name.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let accepted = self.accepted_values.0.iter().map(|check| &check.column);
        let named = self.not_null.iter().chain(&self.unique);
        named.chain(accepted).map(String::as_str)
    }

    /// What the schema can't say about them, with a JSON pointer each, the checks themselves being at `pointer`.
    pub(super) fn faults(&self, pointer: &str) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        if self.count() == 0 {
            faults.push((
                pointer.to_owned(),
                "there is nothing to check; give at least one of row_count, not_null, unique, accepted_values and query"
                    .into(),
            ));
        }
        if let Some(fault) = self.row_count.and_then(RowCount::fault) {
            faults.push((format!("{pointer}/row_count"), fault.into()));
        }
        for (place, check) in self.query.at(&format!("{pointer}/query")) {
            if check.sql.trim().is_empty() {
                faults.push((format!("{place}/sql"), "the query is empty".into()));
            }
        }
        for (place, check) in self
            .accepted_values
            .at(&format!("{pointer}/accepted_values"))
        {
            if check.values.is_empty() {
                faults.push((
                    format!("{place}/values"),
                    "at least one value is wanted here".into(),
                ));
            }
        }
        faults
    }
}

impl RowCount {
    fn fault(self) -> Option<&'static str> {
        match (self.min, self.max, self.equals) {
            (None, None, None) => Some("give `min`, `max` or `equals`"),
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                Some("`equals` says it all; leave `min` and `max` out")
            }
            (Some(min), Some(max), None) if min > max => Some("`min` is more than `max`"),
            _ => None,
        }
    }

    /// What is wanted, if `rows` is not it.
    pub(super) fn refuses(self, rows: u64) -> Option<String> {
        match (self.min, self.max, self.equals) {
            (_, _, Some(equals)) if rows != equals => Some(format!("exactly {equals}")),
            (Some(min), _, _) if rows < min => Some(format!("at least {min}")),
            (_, Some(max), _) if rows > max => Some(format!("at most {max}")),
            _ => None,
        }
    }
}
