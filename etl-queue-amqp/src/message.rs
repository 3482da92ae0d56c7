//! What stands in a message: few bytes, no secrets, nothing that the store does not know better.

use etl_core::model::{DeadLetter, Hint, JobId};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde::Serialize;

use crate::error::Fault;

/// What our messages are.
const CONTENT_TYPE: &str = "application/json";
/// The longest hint. One of ours has some 70 bytes; the rest is room for fields of later versions.
pub(crate) const HINT_LIMIT: usize = 1024;
/// How often a hint may come back before it is put aside. Brokers since RabbitMQ 4 have the same limit of their own.
const DELIVERY_LIMIT: i64 = 20;
/// How much of a step's error goes along with a dead letter; the store has all of it.
const ERROR_LIMIT: usize = 16 * 1024;
/// How much of a message that nobody can read is kept to be looked at.
const POISON_LIMIT: usize = 64 * 1024;

pub(crate) fn encode(hint: Hint) -> Result<Vec<u8>, Fault> {
    serde_json::to_vec(&hint).map_err(Fault::Encode)
}

/// Why a message is no hint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Poison {
    #[error("{0} bytes are more than {HINT_LIMIT}")]
    TooLarge(usize),
    #[error("its content type is {0:?}")]
    ContentType(String),
    #[error("it came back {0} times")]
    Returned(i64),
    #[error("not a hint: {0}")]
    Unreadable(serde_json::Error),
}

/// A message as a hint. One that keeps coming back, because whoever takes it dies of it or can't be rid of it, is none any more:
/// the store has its job.
pub(crate) fn read(data: &[u8], properties: &BasicProperties) -> Result<Hint, Poison> {
    match properties.content_type() {
        Some(kind) if kind.as_str() != CONTENT_TYPE => {
            return Err(Poison::ContentType(kind.to_string()));
        }
        // Whoever sends one by hand need not say what it is.
        Some(_) | None => {}
    }
    let hint = decode(data)?;
    match returned(properties) {
        count if count >= DELIVERY_LIMIT => Err(Poison::Returned(count)),
        _ => Ok(hint),
    }
}

/// How often a quorum queue has got the message back.
fn returned(properties: &BasicProperties) -> i64 {
    let headers = properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
    match count {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => i64::from(*count),
        Some(AMQPValue::LongUInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortUInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortUInt(count)) => i64::from(*count),
        _ => 0,
    }
}

/// Unknown fields are left alone: a newer publisher may say more.
fn decode(data: &[u8]) -> Result<Hint, Poison> {
    if data.len() > HINT_LIMIT {
        return Err(Poison::TooLarge(data.len()));
    }
    serde_json::from_slice(data).map_err(Poison::Unreadable)
}

#[derive(Serialize)]
struct Letter<'a> {
    job_id: JobId,
    step: &'a str,
    step_index: u32,
    item_index: Option<u32>,
    attempts: u32,
    error_class: &'a str,
    error: &'a str,
}

pub(crate) fn encode_letter(job: JobId, letter: &DeadLetter) -> Result<Vec<u8>, Fault> {
    let error_class = letter.error_class.to_string();
    let letter = Letter {
        job_id: job,
        step: &letter.step_name,
        step_index: letter.key.step,
        item_index: letter.key.item,
        attempts: letter.attempts,
        error_class: &error_class,
        error: cut(&letter.error, ERROR_LIMIT),
    };
    serde_json::to_vec(&letter).map_err(Fault::Encode)
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A message that is written to disk, of JSON.
pub(crate) fn properties(kind: &'static str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type(CONTENT_TYPE.into())
        .with_type(kind.into())
}

/// A message that is put aside as it came: its bytes, and why.
pub(crate) fn poison<'a>(data: &'a [u8], queue: &str, why: &Poison) -> (&'a [u8], BasicProperties) {
    let mut headers = FieldTable::default();
    let mut say = |key: &str, text: String| {
        headers.insert(key.into(), AMQPValue::LongString(text.into()));
    };
    say("x-etl-reason", why.to_string());
    say("x-etl-queue", queue.to_owned());
    say("x-etl-bytes", data.len().to_string());
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/octet-stream".into())
        .with_type("poison".into())
        .with_headers(headers);
    (&data[..data.len().min(POISON_LIMIT)], properties)
}

#[cfg(test)]
mod tests {
    use etl_core::model::{ErrorClass, StepKey};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_hint_is_small_and_comes_back_as_it_was() {
        let hint = Hint {
            job: JobId(Uuid::max()),
            priority: 9,
        };
        let data = encode(hint).unwrap();
        assert!(data.len() <= HINT_LIMIT, "{} bytes", data.len());
        assert_eq!(decode(&data).unwrap(), hint);
    }

    #[test]
    fn what_a_newer_publisher_says_beside_is_left_alone() {
        let text =
            r#"{"job":"00000000-0000-0000-0000-000000000000","priority":3,"traceparent":"00-…"}"#;
        assert_eq!(decode(text.as_bytes()).unwrap().priority, 3);
    }

    #[test]
    fn what_is_no_hint_is_told_apart() {
        assert!(matches!(decode(b"\xff\x00{"), Err(Poison::Unreadable(_))));
        assert!(matches!(decode(b"{}"), Err(Poison::Unreadable(_))));
        let large = vec![b' '; HINT_LIMIT + 1];
        assert!(matches!(decode(&large), Err(Poison::TooLarge(1025))));
    }

    #[test]
    fn what_says_that_it_is_something_else_or_keeps_coming_back_is_no_hint() {
        let data = encode(Hint {
            job: JobId(Uuid::nil()),
            priority: 5,
        })
        .unwrap();
        let came_back = |times: AMQPValue| {
            let mut headers = FieldTable::default();
            headers.insert("x-delivery-count".into(), times);
            properties("hint").with_headers(headers)
        };
        for fine in [
            BasicProperties::default(),
            properties("hint"),
            came_back(AMQPValue::LongLongInt(DELIVERY_LIMIT - 1)),
            came_back(AMQPValue::LongString("often".into())),
        ] {
            assert!(read(&data, &fine).is_ok(), "{fine:?}");
        }
        let text = BasicProperties::default().with_content_type("text/plain".into());
        assert!(matches!(read(&data, &text), Err(Poison::ContentType(_))));
        for times in [
            AMQPValue::LongLongInt(DELIVERY_LIMIT),
            AMQPValue::ShortShortUInt(255),
        ] {
            let read = read(&data, &came_back(times));
            assert!(matches!(read, Err(Poison::Returned(20 | 255))), "{read:?}");
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let letter = DeadLetter {
            key: StepKey::step(0),
            step_name: "load".into(),
            attempts: 4,
            error_class: ErrorClass::Poison,
            error: "🦀".repeat(ERROR_LIMIT),
        };
        let data = encode_letter(JobId(Uuid::nil()), &letter).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(json["error"].as_str().unwrap().len(), ERROR_LIMIT);
        assert_eq!(json["error_class"], "poison");
        assert_eq!(cut("🦀🦀", 5), "🦀");
    }
}
