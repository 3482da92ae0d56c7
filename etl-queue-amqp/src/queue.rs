//! The queue as its users hold it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::{Delivery, Queue, QueueError};
use etl_core::model::{DeadLetter, Hint, JobId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::connection::Broker;
use crate::consume::{Request, Taken, Taker};
use crate::error::Fault;
use crate::publish::Publisher;
use crate::topology::Topology;

/// How many calls of `next` may stand in line before a further one waits to be heard.
const LINE: usize = 64;

/// What is not in the address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AmqpOptions {
    /// The name of the queues of jobs, to which the band's is added; `etl.jobs` gives `etl.jobs.high` and so on.
    pub jobs: String,
    /// The name of the exchange and the queue of dead letters; `dlq.jobs`.
    pub dead_letters: String,
    /// The longest wait for any answer of the broker; 5 s.
    pub time_limit: Duration,
    /// Certificates (PEM) of authorities to trust beside the system's.
    pub authorities: Option<String>,
}

impl Default for AmqpOptions {
    fn default() -> Self {
        Self {
            jobs: "etl.jobs".into(),
            dead_letters: "dlq.jobs".into(),
            time_limit: Duration::from_secs(5),
            authorities: None,
        }
    }
}

impl AmqpOptions {
    /// With other names, as two deployments on one broker need them.
    pub fn with_names(mut self, jobs: impl Into<String>, dead_letters: impl Into<String>) -> Self {
        self.jobs = jobs.into();
        self.dead_letters = dead_letters.into();
        self
    }

    /// With another longest wait.
    pub fn with_time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// With authorities of one's own, for `amqps`.
    pub fn with_authorities(mut self, pem: impl Into<String>) -> Self {
        self.authorities = Some(pem.into());
        self
    }
}

/// A queue on RabbitMQ 3.10 or later.
///
/// It lives through outages: `next` waits until the broker is back, `publish` and `bury` say that they can't.
#[derive(Debug)]
pub struct AmqpQueue {
    publisher: Arc<Publisher>,
    requests: mpsc::Sender<Request>,
    closed: CancellationToken,
    taker: Mutex<Option<JoinHandle<()>>>,
    /// Ends the task when nobody holds the queue any more.
    _end: DropGuard,
}

impl AmqpQueue {
    /// Connects, and declares the queues.
    ///
    /// # Errors
    /// `Unavailable` where the broker can't be reached, `Closed` where the address or a name can't be right.
    pub async fn connect(url: &str, options: AmqpOptions) -> Result<Self, QueueError> {
        let queue = Self::open(url, options)?;
        match queue.publisher.reach().await {
            Ok(()) => Ok(queue),
            Err(fault) => Err(fault.of("connect")),
        }
    }

    /// As [`connect`](Self::connect), but for a start without the broker: it is connected to when it is needed.
    ///
    /// Has to be called in a Tokio runtime.
    ///
    /// # Errors
    /// `Closed` where the address or a name can't be right.
    pub fn open(url: &str, options: AmqpOptions) -> Result<Self, QueueError> {
        let broker = Topology::new(&options.jobs, &options.dead_letters)
            .and_then(|names| Broker::new(url, options.authorities, names, options.time_limit))
            .map_err(|fault| fault.of("connect"))?;
        let publisher = Arc::new(Publisher::new(broker.clone()));
        let (requests, received) = mpsc::channel(LINE);
        let closed = CancellationToken::new();
        let taker = Taker {
            broker,
            publisher: Arc::clone(&publisher),
            requests: received,
            closed: closed.clone(),
        };
        Ok(Self {
            publisher,
            requests,
            taker: Mutex::new(Some(tokio::spawn(taker.run()))),
            _end: closed.clone().drop_guard(),
            closed,
        })
    }

    /// Closes both connections. What was taken and not acknowledged goes back; every call answers `Closed` from now on, also
    /// one that waits.
    pub async fn close(&self) {
        self.closed.cancel();
        let taker = {
            let mut taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner);
            taker.take()
        };
        if let Some(taker) = taker {
            let _ = taker.await;
        }
        self.publisher.close().await;
    }

    async fn take(&self, max: usize) -> Result<Vec<Taken>, Fault> {
        if self.closed.is_cancelled() {
            return Err(Fault::Closed);
        }
        if max == 0 {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let request = Request { max, reply };
        self.requests
            .send(request)
            .await
            .map_err(|_| Fault::Closed)?;
        answer.await.map_err(|_| Fault::Closed)
    }
}

#[async_trait]
impl Queue for AmqpQueue {
    async fn publish(&self, hints: &[Hint]) -> Result<(), QueueError> {
        let published = self.publisher.publish(hints).await;
        published.map_err(|fault| fault.of("publish"))
    }

    async fn next(&self, max: usize) -> Result<Vec<Box<dyn Delivery>>, QueueError> {
        let taken = self.take(max).await.map_err(|fault| fault.of("next"))?;
        Ok(taken
            .into_iter()
            .map(|one| -> Box<dyn Delivery> { Box::new(one) })
            .collect())
    }

    async fn bury(&self, job: JobId, letter: &DeadLetter) -> Result<(), QueueError> {
        let buried = self.publisher.bury(job, letter).await;
        buried.map_err(|fault| fault.of("bury"))
    }
}
