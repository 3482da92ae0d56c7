//! The names of channels and keys, each in one place. Pub/sub knows no database numbers, so what tells two deployments on one
//! server apart is a prefix.

use etl_core::model::{Event, EventKind, JobId};

use crate::error::Fault;

/// The longest prefix.
const PREFIX_LIMIT: usize = 64;

#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Result<Self, Fault> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'-');
        // None of these has a meaning in a pattern.
        if prefix.len() > PREFIX_LIMIT || !prefix.bytes().all(is_allowed) {
            return Err(Fault::Prefix);
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// Where an event is told.
    pub(crate) fn channel(&self, event: &Event) -> String {
        match event.kind {
            EventKind::Log(_) => self.logs(event.job_id),
            EventKind::Job { .. }
            | EventKind::Step { .. }
            | EventKind::Expanded { .. }
            | EventKind::Progress { .. } => self.status(event.job_id),
        }
    }

    /// The channels of one job.
    pub(crate) fn channels_of(&self, job: JobId) -> [String; 2] {
        [self.status(job), self.logs(job)]
    }

    /// The pattern of the channels of all jobs.
    pub(crate) fn channels_of_all(&self) -> String {
        format!("{}channel:job:*", self.prefix)
    }

    /// What concerns everybody who listens.
    pub(crate) fn notifications(&self) -> String {
        format!("{}channel:global:notifications", self.prefix)
    }

    fn logs(&self, job: JobId) -> String {
        format!("{}channel:job:{job}:logs", self.prefix)
    }

    fn status(&self, job: JobId) -> String {
        format!("{}channel:job:{job}:status", self.prefix)
    }

    /// A key; its parts are joined by colons.
    pub(crate) fn key(&self, parts: &[&dyn std::fmt::Display]) -> String {
        let mut key = self.prefix.clone();
        for (at, part) in parts.iter().enumerate() {
            key.push_str(if at == 0 { "" } else { ":" });
            key.push_str(&part.to_string());
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn channels_are_named_as_other_programs_know_them() {
        let names = Names::default();
        let job = JobId(Uuid::nil());
        assert_eq!(
            names.channels_of(job),
            [
                format!("channel:job:{}:status", Uuid::nil()),
                format!("channel:job:{}:logs", Uuid::nil())
            ]
        );
        assert_eq!(names.channels_of_all(), "channel:job:*");
        assert_eq!(names.notifications(), "channel:global:notifications");
        let names = Names::new("blue:").unwrap();
        assert_eq!(names.notifications(), "blue:channel:global:notifications");
        assert_eq!(
            names.key(&[&"lock", &"pipeline", &7]),
            "blue:lock:pipeline:7"
        );
    }

    #[test]
    fn a_prefix_that_could_be_a_pattern_is_refused() {
        for prefix in ["a*", "a?", "[a]", "a b", "é", "\\", &"a".repeat(65)] {
            assert!(Names::new(prefix).is_err(), "{prefix:?}");
        }
    }
}
