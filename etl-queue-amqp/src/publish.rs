//! Publishing: persistent, mandatory, and done only when the broker has said so.

use backon::ExponentialBackoff;
use etl_core::model::{DeadLetter, Hint, JobId};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Confirmation};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::{Broker, Session, waits};
use crate::error::Fault;
use crate::message::{self, HINT_LIMIT, Poison};
use crate::topology::Band;

/// The end that publishes. It connects when there is something to publish, and again after a failure; in between, while the
/// next try is not due, it answers at once that it can't.
#[derive(Debug)]
pub(crate) struct Publisher {
    broker: Broker,
    link: Mutex<Link>,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for a queue")]
enum Link {
    Up(Session),
    Down {
        /// When the next try is due; `None` for at once.
        due: Option<Instant>,
        waits: ExponentialBackoff,
    },
    Closed,
}

impl Link {
    fn down() -> Self {
        Self::Down {
            due: None,
            waits: waits(),
        }
    }
}

/// One message on its way.
struct Parcel<'a> {
    exchange: ShortString,
    key: ShortString,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Publisher {
    pub(crate) fn new(broker: Broker) -> Self {
        Self {
            broker,
            link: Mutex::new(Link::down()),
        }
    }

    /// Makes sure that the broker is there.
    pub(crate) async fn reach(&self) -> Result<(), Fault> {
        let mut link = self.link.lock().await;
        self.session(&mut link).await.map(|_| ())
    }

    pub(crate) async fn publish(&self, hints: &[Hint]) -> Result<(), Fault> {
        let bodies = hints.iter().map(|hint| message::encode(*hint));
        let bodies: Vec<Vec<u8>> = bodies.collect::<Result<_, _>>()?;
        if let Some(body) = bodies.iter().find(|body| body.len() > HINT_LIMIT) {
            return Err(Fault::TooLarge(body.len()));
        }
        let topology = self.broker.topology();
        let parcels = hints.iter().zip(&bodies).map(|(hint, body)| Parcel {
            // The default exchange: a queue's name is its key.
            exchange: ShortString::default(),
            key: topology.band(Band::of(hint.priority)),
            body,
            properties: message::properties("hint"),
        });
        self.send(parcels.collect()).await
    }

    pub(crate) async fn bury(&self, job: JobId, letter: &DeadLetter) -> Result<(), Fault> {
        let body = message::encode_letter(job, letter)?;
        self.put_aside(&body, message::properties("dead_letter"))
            .await
    }

    /// Keeps a message that is no hint for whoever looks after them.
    pub(crate) async fn bury_poison(
        &self,
        data: &[u8],
        queue: &str,
        why: &Poison,
    ) -> Result<(), Fault> {
        let (body, properties) = message::poison(data, queue, why);
        self.put_aside(body, properties).await
    }

    async fn put_aside(&self, body: &[u8], properties: BasicProperties) -> Result<(), Fault> {
        let parcel = Parcel {
            exchange: self.broker.topology().dead_letters(),
            key: ShortString::default(),
            body,
            properties,
        };
        self.send(vec![parcel]).await
    }

    /// Sends all, then waits for what the broker says of each. One at a time has the connection, so that hints of one caller
    /// stay in their order.
    async fn send(&self, parcels: Vec<Parcel<'_>>) -> Result<(), Fault> {
        let mut link = self.link.lock().await;
        if parcels.is_empty() {
            return match *link {
                Link::Closed => Err(Fault::Closed),
                _ => Ok(()),
            };
        }
        let session = self.session(&mut link).await?;
        let sent = tokio::time::timeout(session.time_limit(), deliver(session, parcels)).await;
        let sent = sent.unwrap_or(Err(Fault::Timeout(session.time_limit())));
        if sent.is_err() {
            // A queue that is missing is declared with the next connection, and every other fault is one of this connection.
            *link = Link::down();
        }
        sent
    }

    async fn session<'a>(&self, link: &'a mut Link) -> Result<&'a Session, Fault> {
        if matches!(link, Link::Up(session) if !session.is_open()) {
            *link = Link::down();
        }
        if let Link::Down { due, waits } = link {
            if due.is_some_and(|due| Instant::now() < due) {
                return Err(Fault::Waiting);
            }
            match self.connect().await {
                Ok(session) => *link = Link::Up(session),
                Err(fault) => {
                    *due = waits.next().map(|wait| Instant::now() + wait);
                    return Err(fault);
                }
            }
        }
        match link {
            Link::Up(session) => Ok(session),
            Link::Closed | Link::Down { .. } => Err(Fault::Closed),
        }
    }

    async fn connect(&self) -> Result<Session, Fault> {
        let session = self.broker.connect("publisher").await?;
        let options = ConfirmSelectOptions::default();
        session
            .bounded(session.channel.confirm_select(options))
            .await?;
        Ok(session)
    }

    pub(crate) async fn close(&self) {
        let mut link = self.link.lock().await;
        if let Link::Up(session) = std::mem::replace(&mut *link, Link::Closed) {
            session.close().await;
        }
    }
}

async fn deliver(session: &Session, parcels: Vec<Parcel<'_>>) -> Result<(), Fault> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let mut confirms = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        let publish = session.channel.basic_publish(
            parcel.exchange,
            parcel.key,
            options,
            parcel.body,
            parcel.properties,
        );
        confirms.push(publish.await?);
    }
    for confirm in confirms {
        match confirm.await? {
            Confirmation::Ack(None) => {}
            Confirmation::Ack(Some(_)) => return Err(Fault::Unroutable),
            Confirmation::Nack(_) | Confirmation::NotRequested => return Err(Fault::Refused),
        }
    }
    Ok(())
}
