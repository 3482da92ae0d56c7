//! Keeps an attempt's credential out of everything that is remembered of the attempt: log lines, outputs, checkpoints, errors.
//! A program that echoes its password must not write it into rows that others read.
//!
//! It finds the credential's texts as they are, and as JSON, URLs, hexadecimal and base64 write them. A step that changes a
//! secret in another way, or says it in pieces, is not caught: this guards against mistakes, and is no wall around a program.

use serde_json::{Map, Value};

use crate::model::{BoxError, Report, StepError};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";
/// Shorter texts are not looked for: they would be found in every other line.
const SHORTEST: usize = 4;
/// Lines of a longer text, such as a key in PEM, are looked for by themselves from this length on.
const SHORTEST_LINE: usize = 8;

/// Finds the texts of one credential.
#[derive(Default)]
pub(super) struct Redactor {
    /// Longest first, so that a secret within another leaves no rest.
    secrets: Vec<String>,
}

impl Redactor {
    /// For a credential: every text and number in it, whatever its name.
    pub(super) fn of(credential: &Value) -> Self {
        let mut secrets = Vec::new();
        collect(credential, &mut secrets);
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The text without secrets.
    pub(super) fn text(&self, mut text: String) -> String {
        for secret in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, REDACTED);
            }
        }
        text
    }

    /// The value without secrets, in keys too.
    pub(super) fn value(&self, value: Value) -> Value {
        if self.secrets.is_empty() {
            return value;
        }
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(map) => Value::Object(self.map(map)),
            Value::Number(number) => {
                let text = number.to_string();
                if self.secrets.contains(&text) {
                    Value::String(REDACTED.into())
                } else {
                    Value::Number(number)
                }
            }
            plain => plain,
        }
    }

    /// The same for the details of a log line.
    pub(super) fn map(&self, map: Map<String, Value>) -> Map<String, Value> {
        if self.secrets.is_empty() {
            return map;
        }
        let entries = map.into_iter();
        entries
            .map(|(key, value)| (self.text(key), self.value(value)))
            .collect()
    }

    /// A report whose output has none.
    pub(super) fn report(&self, report: Report) -> Report {
        Report {
            output: self.value(report.output),
            ..report
        }
    }

    /// An error without secrets in its message, its place and its causes.
    pub(super) fn error(&self, mut error: StepError) -> StepError {
        error.message = self.text(error.message);
        if let Some(place) = &mut error.place {
            for text in [&mut place.file, &mut place.column] {
                *text = text.take().map(|text| self.text(text));
            }
        }
        error.source = error.source.map(|source| self.cause(source));
        error
    }

    /// The cause as it is, or, if a secret is said anywhere in it, its words.
    fn cause(&self, source: BoxError) -> BoxError {
        let mut said = Vec::new();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*source);
        while let Some(error) = next {
            said.push(error.to_string());
            next = error.source();
        }
        let said = said.join(": ");
        if self.secrets.iter().any(|secret| said.contains(secret)) {
            self.text(said).into()
        } else {
            source
        }
    }
}

fn collect(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            forms_of(text, secrets);
            let lines = text.lines().map(str::trim);
            for line in lines.filter(|line| line.len() >= SHORTEST_LINE && *line != text) {
                forms_of(line, secrets);
            }
        }
        Value::Number(number) => secrets.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Object(map) => map.values().for_each(|value| collect(value, secrets)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A text as it is written in several places.
fn forms_of(text: &str, secrets: &mut Vec<String>) {
    if text.len() < SHORTEST {
        return;
    }
    secrets.push(text.to_owned());
    let quoted = Value::from(text).to_string();
    let quoted = &quoted[1..quoted.len() - 1];
    let bytes = text.as_bytes();
    let lower: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let in_url: String = bytes
        .iter()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(*byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let base64 = base64(bytes);
    let for_urls = base64.replace('+', "-").replace('/', "_");
    for form in [
        quoted.to_owned(),
        lower.to_uppercase(),
        lower,
        in_url,
        base64,
        for_urls,
    ] {
        if form != text {
            secrets.push(form);
        }
    }
}

/// Base64 (RFC 4648) without padding, which whoever pads has after it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 2);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0_u32, |group, (at, byte)| {
            group | u32::from(*byte) << (16 - 8 * at)
        });
        for digit in 0..=chunk.len() {
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS[index as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_in_which_it_is_usually_written() {
        let secret = "p\"ä/ß w+rd\n";
        let redactor = Redactor::of(&json!({ "nested": [{ "password": secret }], "pin": 123_456 }));
        let forms = [
            secret.to_owned(),
            json!(secret).to_string().trim_matches('"').to_owned(),
            "p%22%C3%A4%2F%C3%9F%20w%2Brd%0A".into(),
            "7022c3a42fc39f20772b72640a".into(),
            "7022C3A42FC39F20772B72640A".into(),
            "cCLDpC/DnyB3K3JkCg==".into(),
            "cCLDpC_DnyB3K3JkCg".into(),
            "123456".into(),
        ];
        for form in forms {
            let text = redactor.text(format!("before {form} after"));
            let padding = text.replace("==", "");
            assert_eq!(padding, "before [redacted] after", "{form}");
        }
        assert_eq!(
            redactor.value(json!({ "n": 123_456 })),
            json!({ "n": REDACTED })
        );
        assert_eq!(redactor.text("a plain line".into()), "a plain line");
    }

    #[test]
    fn each_line_of_a_key_is_found_by_itself() {
        let pem =
            "-----BEGIN KEY-----\r\nMIIEvQIBADANBgkqhkiG\r\nh7Qw9A==\r\nshort\n-----END KEY-----\n";
        let redactor = Redactor::of(&json!({ "key": pem }));
        // The last line of a key is as long as there is left.
        assert_eq!(redactor.text("x h7Qw9A== y".into()), "x [redacted] y");
        assert_eq!(
            redactor.text("x MIIEvQIBADANBgkqhkiG y".into()),
            "x [redacted] y"
        );
        assert_eq!(redactor.text("short".into()), "short");
    }

    #[test]
    fn values_reports_and_errors_are_gone_through_whole() {
        let redactor = Redactor::of(&json!({ "password": "hunter2", "user": "etl" }));
        let value =
            json!({ "hunter2": ["a hunter2 b", { "x": "hunter2" }, 1, null], "user": "etl" });
        let expected =
            json!({ "[redacted]": ["a [redacted] b", { "x": REDACTED }, 1, null], "user": "etl" });
        assert_eq!(redactor.value(value.clone()), expected);
        let report = redactor.report(Report::default().with_output(value));
        assert_eq!(report.output, expected);

        let cause = StepError::permanent("it said hunter2");
        let error = StepError::auth("refused: hunter2").because(cause);
        let error = redactor.error(error);
        assert_eq!(error.message, "refused: [redacted]");
        assert_eq!(error.source.unwrap().to_string(), "it said [redacted]");
        let innocent = StepError::permanent("no").because(std::io::Error::other("reset"));
        let innocent = redactor.error(innocent).source.unwrap();
        assert!(
            innocent.downcast_ref::<std::io::Error>().is_some(),
            "it stays what it is"
        );
    }

    #[test]
    fn no_credential_changes_nothing() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text("hunter2".into()), "hunter2");
        assert!(
            Redactor::of(&json!({ "a": "", "b": "xyz", "c": true, "d": 1 }))
                .secrets
                .is_empty()
        );
    }
}
