//! What documents say of a CSV source or sink.

use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::column::{Columns, TextFormat};
use crate::flow::{OnBadRecord, QuarantineLimit};
use crate::location::{Compression, Mode};

/// A CSV file, or all files of a folder or pattern as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example_source())]
pub struct CsvSourceConfig {
    /// A path, a `file:` URL or the URI of an artifact; `*`, `?`, `[..]` and `**` match many files, read as one in sorted order.
    pub url: String,
    /// What stands between fields: one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: String,
    /// What stands around fields that hold a delimiter, a quote (doubled) or a line break: one ASCII character, or nothing
    /// for files without quotes.
    #[serde(default = "quote")]
    pub quote: String,
    /// Whether the first record names the columns; without it they are `column_1`, `column_2` and so on.
    #[serde(default = "yes")]
    pub header: bool,
    /// The encoding, by a label of the WHATWG Encoding Standard: `utf-8`, `utf-16`, `latin1`, `windows-1252`, `shift_jis` and so
    /// on. A byte order mark wins. `latin1` and `iso-8859-1` are read as windows-1252, as browsers do.
    #[serde(default = "utf8")]
    pub encoding: String,
    /// Texts that mean null, in quotes or not. But a quoted empty field in a text column is the empty text, not null.
    #[serde(default = "empty_is_null")]
    pub null_values: Vec<String>,
    /// The decimal sign: `.` or `,`.
    #[serde(default = "point")]
    pub decimal: char,
    /// How dates are written, as a `strftime` pattern such as `%d/%m/%Y`; without it ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// How timestamps are written, as a `strftime` pattern such as `%d/%m/%Y %H:%M`; without it RFC 3339 and its relatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<String>,
    /// Types by column name. Columns that it does not name get the narrowest type that fits the first 10,000 rows; a later row
    /// that does not fit is a bad record. Digits become int64, so give codes with leading zeros the type `string`.
    #[serde(default, skip_serializing_if = "Columns::is_empty")]
    pub schema: Columns,
    /// How the file is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// What to do with a record that can't be read.
    #[serde(default)]
    pub on_bad_record: OnBadRecord,
    /// How many bad records may be set aside under `on_bad_record: quarantine`; one more fails the step.
    #[serde(default)]
    pub max_quarantined: u64,
}

/// A CSV file or folder to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = example_sink())]
pub struct CsvSinkConfig {
    /// A path, a `file:` URL or `artifact://NAME`; with a slash at its end a folder of files.
    pub url: String,
    /// What happens to what is there already.
    #[serde(default)]
    pub mode: Mode,
    /// What stands between fields: one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: String,
    /// What stands around fields that need it: one ASCII character.
    #[serde(default = "quote")]
    pub quote: String,
    /// Whether the first record names the columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// The encoding, by a label of the WHATWG Encoding Standard. Text that it can't express fails the step.
    #[serde(default = "utf8")]
    pub encoding: String,
    /// The first of these is written for null. Text that is one of them is written in quotes. A row of one empty cell is written
    /// as two quotes, because readers skip an empty line; in a text column that reads back as the empty text.
    #[serde(default = "empty_is_null")]
    pub null_values: Vec<String>,
    /// The decimal sign: `.` or `,`.
    #[serde(default = "point")]
    pub decimal: char,
    /// How dates are written, as a `strftime` pattern; without it ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// How timestamps are written, as a `strftime` pattern; without it RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<String>,
    /// How the file is compressed.
    #[serde(default)]
    pub compression: Compression,
}

fn example_source() -> CsvSourceConfig {
    CsvSourceConfig {
        url: "data/flights-*.csv.gz".into(),
        delimiter: ";".into(),
        encoding: "latin1".into(),
        null_values: vec![String::new(), "NA".into()],
        decimal: ',',
        date_format: Some("%d/%m/%Y".into()),
        schema: Columns::from([("flight".into(), crate::column::ColumnType::String)]),
        ..CsvSourceConfig::at("")
    }
}

fn example_sink() -> CsvSinkConfig {
    CsvSinkConfig {
        url: "artifact://flights.csv.gz".into(),
        mode: Mode::Replace,
        delimiter: comma(),
        quote: quote(),
        header: true,
        encoding: utf8(),
        null_values: empty_is_null(),
        decimal: point(),
        date_format: None,
        timestamp_format: None,
        compression: Compression::Auto,
    }
}

impl CsvSourceConfig {
    /// A source with every default.
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            delimiter: comma(),
            quote: quote(),
            header: true,
            encoding: utf8(),
            null_values: empty_is_null(),
            decimal: point(),
            date_format: None,
            timestamp_format: None,
            schema: Columns::new(),
            compression: Compression::Auto,
            on_bad_record: OnBadRecord::Fail,
            max_quarantined: 0,
        }
    }

    /// What to do with bad records.
    pub(super) const fn limit(&self) -> QuarantineLimit {
        QuarantineLimit {
            on_bad_record: self.on_bad_record,
            max_quarantined: self.max_quarantined,
        }
    }

    /// How the text is to be read, or every fault as (key, message).
    pub(super) fn dialect(&self) -> Result<Dialect, Vec<(&'static str, String)>> {
        Dialect::new(
            &self.delimiter,
            &self.quote,
            &self.encoding,
            self.decimal,
            self.date_format.as_deref(),
            self.timestamp_format.as_deref(),
        )
    }
}

impl CsvSinkConfig {
    /// How the text is to be written, or every fault as (key, message).
    pub(super) fn dialect(&self) -> Result<Dialect, Vec<(&'static str, String)>> {
        Dialect::new(
            &self.delimiter,
            &self.quote,
            &self.encoding,
            self.decimal,
            self.date_format.as_deref(),
            self.timestamp_format.as_deref(),
        )
    }
}

/// A checked configuration of the text.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) encoding: &'static Encoding,
    pub(super) format: TextFormat,
}

impl Dialect {
    fn new(
        delimiter: &str,
        quote: &str,
        encoding: &str,
        decimal: char,
        date_format: Option<&str>,
        timestamp_format: Option<&str>,
    ) -> Result<Self, Vec<(&'static str, String)>> {
        let mut faults = Vec::new();
        let one = |text: &str| match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Some(*byte),
            b"\\t" => Some(b'\t'),
            _ => None,
        };
        let delimiter = one(delimiter);
        if delimiter.is_none() {
            faults.push((
                "delimiter",
                "must be one ASCII character, and no line break".to_owned(),
            ));
        }
        let quoted = one(quote);
        if quoted.is_none() && !quote.is_empty() {
            faults.push(("quote", "must be one ASCII character, or empty".to_owned()));
        }
        if delimiter.is_some() && delimiter == quoted {
            faults.push(("quote", "must not be the delimiter".to_owned()));
        }
        let found = Encoding::for_label_no_replacement(encoding.as_bytes());
        if found.is_none() {
            faults.push((
                "encoding",
                format!("{encoding:?} is not an encoding of the WHATWG Encoding Standard"),
            ));
        }
        let format = TextFormat::new(decimal, date_format, timestamp_format)
            .map_err(|fault| faults.push(fault))
            .ok();
        match (delimiter, found, format) {
            (Some(delimiter), Some(encoding), Some(format)) if faults.is_empty() => Ok(Self {
                delimiter,
                quote: quoted,
                encoding,
                format,
            }),
            _ => Err(faults),
        }
    }
}

fn comma() -> String {
    ",".into()
}

fn quote() -> String {
    "\"".into()
}

fn yes() -> bool {
    true
}

fn utf8() -> String {
    "utf-8".into()
}

fn empty_is_null() -> Vec<String> {
    vec![String::new()]
}

fn point() -> char {
    '.'
}
