//! The messages, as §8.2 of the reference has them.

use std::fmt;
use std::str::FromStr;

use etl_core::model::{
    Event, EventKind, JobId, JobRecord, LogEvent, LogLine, PipelineId, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a client asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientMessage {
    pub(super) r#type: Wish,
    pub(super) channel: String,
    /// Go on after this line of the job's log.
    pub(super) after_seq: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Wish {
    Subscribe,
    Unsubscribe,
}

/// What can be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Everything of a job.
    Job(JobId),
    /// The states of a pipeline's jobs.
    Pipeline(PipelineId),
    /// The states of all jobs.
    Global,
}

impl FromStr for Channel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once(':') {
            None if text == "global" => Ok(Self::Global),
            Some(("job", id)) => id.parse().map(Self::Job).map_err(|_| ()),
            Some(("pipeline", id)) => id.parse().map(Self::Pipeline).map_err(|_| ()),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(id) => write!(f, "job:{id}"),
            Self::Pipeline(id) => write!(f, "pipeline:{id}"),
            Self::Global => f.write_str("global"),
        }
    }
}

/// What a message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Log,
    Status,
    Progress,
    Complete,
    Error,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Status => "status",
            Self::Progress => "progress",
            Self::Complete => "complete",
            Self::Error => "error",
        }
    }
}

/// What a client is told.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ServerMessage {
    pub(super) r#type: Kind,
    pub(super) channel: String,
    /// The line of the job's log that tells it, or as of which it is true. What no log has has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seq: Option<u64>,
    payload: Value,
    timestamp: Timestamp,
}

/// What a job came to, in all.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Summary {
    pub(super) steps_total: u64,
    pub(super) steps_success: u64,
    pub(super) steps_failed: u64,
    pub(super) rows_processed: u64,
}

impl ServerMessage {
    /// Something that a client did wrong, or that can't be done.
    pub(super) fn error(channel: &str, message: impl Into<String>, now: Timestamp) -> Self {
        let message: String = message.into();
        Self {
            r#type: Kind::Error,
            channel: channel.to_owned(),
            seq: None,
            payload: json!({ "message": message }),
            timestamp: now,
        }
    }

    /// The state that a job is in.
    pub(super) fn state(channel: Channel, job: &JobRecord, now: Timestamp) -> Self {
        let payload = json!({
            "job_id": job.id,
            "status": job.status,
            "pipeline": job.pipeline,
            "pipeline_id": job.pipeline_id,
            "started_at": job.started_at,
            "completed_at": job.completed_at,
            "error_message": job.error_message,
        });
        Self {
            r#type: Kind::Status,
            channel: channel.to_string(),
            seq: Some(job.log_last_seq),
            payload,
            timestamp: now,
        }
    }

    /// That a job has ended, and with what.
    pub(super) fn end(channel: Channel, job: &JobRecord, summary: Summary) -> Self {
        let payload = json!({
            "job_id": job.id,
            "status": job.status,
            "duration_ms": job.duration_ms.unwrap_or_default(),
            "error_message": job.error_message,
            "summary": summary,
        });
        Self {
            r#type: Kind::Complete,
            channel: channel.to_string(),
            seq: Some(job.log_last_seq),
            payload,
            timestamp: job.completed_at.unwrap_or(job.created_at),
        }
    }

    /// A line of a job's log: something that was said, or a move. The end of a job needs its [`Summary`].
    pub(super) fn line(pipeline: PipelineId, line: LogLine, summary: Option<Summary>) -> Self {
        let channel = Channel::Job(line.job_id).to_string();
        let (seq, timestamp) = (Some(line.seq), line.timestamp);
        let mut payload = Map::new();
        payload.insert("job_id".into(), json!(line.job_id));
        if let Some(step) = &line.step {
            payload.insert("step_id".into(), json!(pipeline.step_id(step)));
            payload.insert("step".into(), json!(step));
            payload.insert("attempt".into(), json!(line.attempt));
        }
        if let Some(item_index) = line.item_index {
            payload.insert("item_index".into(), json!(item_index));
        }
        let r#type = match (line.event(), summary) {
            (None, _) => {
                payload.insert("level".into(), json!(line.level));
                payload.insert("message".into(), json!(line.message));
                if !line.metadata.is_empty() {
                    payload.insert("metadata".into(), Value::Object(line.metadata));
                }
                Kind::Log
            }
            (Some(_), Some(summary)) => {
                payload.extend(line.metadata);
                for of_summary in [
                    "steps_total",
                    "steps_success",
                    "steps_failed",
                    "rows_processed",
                ] {
                    payload.remove(of_summary);
                }
                payload.remove(LogEvent::KEY);
                payload.entry("duration_ms").or_insert(json!(0));
                payload.insert("summary".into(), json!(summary));
                Kind::Complete
            }
            (Some(_), None) => {
                payload.insert("message".into(), json!(line.message));
                payload.extend(line.metadata);
                Kind::Status
            }
        };
        Self {
            r#type,
            channel,
            seq,
            payload: Value::Object(payload),
            timestamp,
        }
    }

    /// How far a step is. `None` if the event tells something else.
    pub(super) fn progress(pipeline: PipelineId, event: &Event) -> Option<Self> {
        let EventKind::Progress {
            step,
            key,
            progress,
            rows_processed,
            bytes_transferred,
        } = &event.kind
        else {
            return None;
        };
        let payload = json!({
            "job_id": event.job_id,
            "step_id": pipeline.step_id(step),
            "step": step,
            "item_index": key.item,
            "progress": progress.unwrap_or_default(),
            "rows_processed": rows_processed,
            "bytes_transferred": bytes_transferred,
        });
        Some(Self {
            r#type: Kind::Progress,
            channel: Channel::Job(event.job_id).to_string(),
            seq: None,
            payload,
            timestamp: event.at,
        })
    }

    /// As it is sent.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("its keys are texts"))
    }
}
