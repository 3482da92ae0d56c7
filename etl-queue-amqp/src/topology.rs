//! The queues: which there are, and that they are there.

use std::fmt;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::error::Fault;

/// How many dead letters the broker keeps; beyond that the oldest go. The store has them all.
const DEAD_LETTERS: i64 = 100_000;

/// A class of priorities with a queue of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Band {
    /// 0 to 3.
    Low,
    /// 4 to 6.
    Normal,
    /// 7 to 9.
    High,
}

impl Band {
    /// All, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Where hints of this priority go.
    pub const fn of(priority: u8) -> Self {
        match priority {
            0..=3 => Self::Low,
            4..=6 => Self::Normal,
            _ => Self::High,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The names of what is declared.
#[derive(Debug, Clone)]
pub(crate) struct Topology {
    jobs: String,
    /// The exchange of dead letters and its one queue have the same name.
    dead_letters: String,
}

impl Topology {
    pub(crate) fn new(jobs: &str, dead_letters: &str) -> Result<Self, Fault> {
        for name in [jobs, dead_letters] {
            // A name is a short string of at most 255 bytes, and a band's name comes behind it.
            if name.is_empty() || name.len() > 200 || name.starts_with("amq.") {
                return Err(Fault::Name(name.to_owned()));
            }
        }
        Ok(Self {
            jobs: jobs.to_owned(),
            dead_letters: dead_letters.to_owned(),
        })
    }

    pub(crate) fn band(&self, band: Band) -> ShortString {
        format!("{}.{band}", self.jobs).into()
    }

    pub(crate) fn dead_letters(&self) -> ShortString {
        self.dead_letters.as_str().into()
    }

    /// Makes what is not there. What is there with other arguments is an error, which the broker words.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<(), Fault> {
        let name = self.dead_letters();
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let kind = ExchangeKind::Fanout;
        channel
            .exchange_declare(name.clone(), kind, durable, FieldTable::default())
            .await?;
        let mut arguments = quorum();
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(DEAD_LETTERS));
        let durable = QueueDeclareOptions::durable();
        channel
            .queue_declare(name.clone(), durable, arguments)
            .await?;
        channel
            .queue_bind(
                name.clone(),
                name.clone(),
                ShortString::default(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
        for band in Band::ALL {
            let mut arguments = quorum();
            // A broker with a limit of deliveries gives up on a hint after it; then it can be looked at.
            arguments.insert(
                "x-dead-letter-exchange".into(),
                AMQPValue::LongString(self.dead_letters.as_str().into()),
            );
            channel
                .queue_declare(self.band(band), durable, arguments)
                .await?;
        }
        Ok(())
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_has_a_band() {
        let bands: Vec<Band> = (0..=9).map(Band::of).collect();
        assert!(bands.is_sorted());
        assert_eq!(bands.iter().filter(|band| **band == Band::Low).count(), 4);
        assert_eq!(bands.iter().filter(|band| **band == Band::High).count(), 3);
        assert_eq!(Band::of(200), Band::High);
    }

    #[test]
    fn a_name_that_the_broker_would_refuse_is_refused_before() {
        for name in ["", "amq.jobs", &"n".repeat(201)] {
            assert!(Topology::new(name, "dlq.jobs").is_err());
            assert!(Topology::new("etl.jobs", name).is_err());
        }
        let topology = Topology::new("etl.jobs", "dlq.jobs").unwrap();
        assert_eq!(topology.band(Band::High).as_str(), "etl.jobs.high");
    }
}
