//! A real broker, and names of queues that no other test has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::time::Duration;

use etl_core::contract::{Delivery, Queue};
use etl_core::model::{Hint, JobId};
use etl_queue_amqp::{AmqpOptions, AmqpQueue, Band};
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
    QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use uuid::Uuid;

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn url() -> String {
    std::env::var("ETL_TEST_AMQP_URL").expect(
        "ETL_TEST_AMQP_URL is not set: eval \"$(scripts/services env)\" after scripts/services up",
    )
}

/// One test's queues, deleted when it is dropped.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) jobs: String,
    pub(crate) dead_letters: String,
}

impl Names {
    pub(crate) fn new() -> Self {
        let id = Uuid::now_v7().simple();
        Self {
            jobs: format!("test.{id}.jobs"),
            dead_letters: format!("test.{id}.dlq"),
        }
    }

    pub(crate) fn options(&self) -> AmqpOptions {
        AmqpOptions::default().with_names(&self.jobs, &self.dead_letters)
    }

    /// The queue of a priority.
    pub(crate) fn queue(&self, priority: u8) -> String {
        format!("{}.{}", self.jobs, Band::of(priority))
    }

    async fn delete(jobs: &str, dead_letters: &str) -> lapin::Result<()> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&url(), properties).await?;
        let channel = connection.create_channel().await?;
        let bands = Band::ALL.map(|band| format!("{jobs}.{band}"));
        for queue in bands.iter().map(String::as_str).chain([dead_letters]) {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.into(), options).await?;
        }
        let options = ExchangeDeleteOptions::default();
        channel
            .exchange_delete(dead_letters.into(), options)
            .await?;
        connection.close(200, "done".into()).await
    }

    pub(crate) async fn connect(&self) -> AmqpQueue {
        let url = url();
        let connecting = AmqpQueue::connect(&url, self.options());
        connecting.await.expect("the broker is there")
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let (jobs, dead_letters) = (self.jobs.clone(), self.dead_letters.clone());
        // A thread of its own: this one may be in a runtime that is ending.
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let deleting = Self::delete(&jobs, &dead_letters);
            runtime.block_on(async { tokio::time::timeout(PATIENCE, deleting).await })
        });
        let deleted = deleting.join();
        if !std::thread::panicking() {
            let deleted = deleted.expect("deleting does not panic");
            deleted
                .expect("the broker answers")
                .expect("the queues are deleted");
        }
    }
}

/// Beside the queue: what an operator could do.
pub(crate) struct Operator {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Operator {
    pub(crate) async fn new() -> Self {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect(&url(), properties).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self {
            _connection: connection,
            channel,
        }
    }

    /// The first message of a queue, once there is one; it is taken away.
    pub(crate) async fn take(&self, queue: &str) -> lapin::message::Delivery {
        let taking = async {
            loop {
                let options = BasicGetOptions { no_ack: true };
                let got = self.channel.basic_get(queue.into(), options).await;
                if let Some(message) = got.unwrap() {
                    return message.delivery;
                }
                tokio::task::yield_now().await;
            }
        };
        let taken = tokio::time::timeout(PATIENCE, taking).await;
        taken.expect("nothing came to the queue")
    }

    /// How many messages wait there, and how many consumers.
    pub(crate) async fn counts(&self, queue: &str) -> (u32, u32) {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare(queue.into(), passive, FieldTable::default());
        let queue = declared.await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until so many messages wait there.
    pub(crate) async fn waits(&self, queue: &str, count: u32) {
        let waiting = async {
            while self.counts(queue).await.0 != count {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.expect("never so many messages wait there");
    }

    /// Puts a message into a queue, and waits until the broker has it.
    pub(crate) async fn put(&self, queue: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let channel = &self.channel;
        let confirm = channel.confirm_select(ConfirmSelectOptions::default());
        confirm.await.unwrap();
        let sent = channel.basic_publish("".into(), queue.into(), options, body, properties);
        let confirmed = sent.await.unwrap().await.unwrap();
        assert!(confirmed.is_ack(), "{confirmed:?}");
    }

    /// Forgets what waits there.
    pub(crate) async fn purge(&self, queue: &str) {
        let options = QueuePurgeOptions::default();
        self.channel
            .queue_purge(queue.into(), options)
            .await
            .unwrap();
    }

    /// Deletes a queue with all that is in it.
    pub(crate) async fn delete(&self, queue: &str) {
        let options = QueueDeleteOptions::default();
        self.channel
            .queue_delete(queue.into(), options)
            .await
            .unwrap();
    }

    /// Waits until somebody listens to the queue.
    pub(crate) async fn heard(&self, queue: &str) {
        let hearing = async {
            while self.counts(queue).await.1 == 0 {
                tokio::task::yield_now().await;
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.expect("nobody listens to the queue");
    }
}

pub(crate) fn a_hint(priority: u8) -> Hint {
    Hint {
        job: JobId(Uuid::now_v7()),
        priority,
    }
}

pub(crate) async fn next(queue: &AmqpQueue, max: usize) -> Vec<Box<dyn Delivery>> {
    let came = tokio::time::timeout(PATIENCE, queue.next(max)).await;
    came.expect("nothing was delivered").unwrap()
}

/// Takes one hint and acknowledges it.
pub(crate) async fn take(queue: &AmqpQueue) -> Hint {
    let delivery = next(queue, 1).await.pop().unwrap();
    let hint = delivery.hint();
    delivery.ack().await.unwrap();
    hint
}

pub(crate) async fn assert_silent(queue: &AmqpQueue) {
    let came = tokio::time::timeout(Duration::from_millis(300), queue.next(1)).await;
    assert!(came.is_err(), "{came:?} came");
}
