//! Taking: one task that fetches what is asked for, and waits at the broker only while somebody asks.
//!
//! Hints are fetched (`basic.get`), the higher bands first. Only when there is none does it listen (`basic.consume`, one
//! message of each band at most), and it stops listening with the first that comes. So no hint is in the hands of a worker
//! that did not ask for it, and the priorities of what was waiting are kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::{Delivery, QueueError};
use etl_core::model::Hint;
use futures_util::future::{join_all, select_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};

use lapin::message::Delivery as Message;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions,
    BasicQosOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connection::{Broker, Session, bounded, waits};
use crate::error::Fault;
use crate::message;
use crate::publish::Publisher;
use crate::topology::Band;

/// How many fetches are under way at once.
const AT_ONCE: usize = 32;

/// How long it listens before it looks again. A queue that is deleted just as somebody begins to listen may be declared anew
/// without the broker saying that nobody listens to it any more.
const LISTEN: Duration = Duration::from_secs(2);

/// Somebody who waits for at most `max` hints. Whoever gave up has dropped the other end.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) max: usize,
    pub(crate) reply: oneshot::Sender<Vec<Taken>>,
}

/// A hint, and the right to acknowledge it. Dropped without that, it goes back.
#[derive(Debug)]
pub(crate) struct Taken {
    hint: Hint,
    acker: Option<Acker>,
    time_limit: Duration,
}

#[async_trait]
impl Delivery for Taken {
    fn hint(&self) -> Hint {
        self.hint
    }

    async fn ack(mut self: Box<Self>) -> Result<(), QueueError> {
        let Some(acker) = self.acker.take() else {
            return Ok(());
        };
        let acked = bounded(self.time_limit, acker.ack(BasicAckOptions::default())).await;
        match acked {
            Ok(true) => Ok(()),
            // The connection that it came by is gone, and the broker delivers it again.
            Ok(false) => Err(Fault::Stale.of("ack")),
            Err(fault) => Err(fault.of("ack")),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            give_back(&acker);
        }
    }
}

/// The first poll hands the message to the client's own task; nobody has to wait for it to be sent.
fn give_back(acker: &Acker) {
    let options = BasicNackOptions {
        requeue: true,
        ..BasicNackOptions::default()
    };
    let _ = acker.nack(options).now_or_never();
}

/// The task that takes.
pub(crate) struct Taker {
    pub(crate) broker: Broker,
    /// Where poison goes.
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) closed: CancellationToken,
}

impl Taker {
    pub(crate) async fn run(mut self) {
        let closed = self.closed.clone();
        // Stopping at any point loses nothing: with the connection all goes back that was not handed over.
        let _ = closed.run_until_cancelled(self.serve()).await;
    }

    async fn serve(&mut self) {
        let mut session = None;
        let mut dead = None;
        let mut pauses = waits();
        while let Some(mut request) = self.requests.recv().await {
            while !request.reply.is_closed() {
                match self.take(&mut session, &mut dead, &mut request).await {
                    Ok(taken) => {
                        pauses = waits();
                        // Whoever has given up meanwhile gets nothing, and by being dropped it all goes back.
                        let _ = request.reply.send(taken);
                        break;
                    }
                    Err(fault) => {
                        session = None;
                        dead = self.dead_queue(&fault);
                        if dead.is_some() {
                            pauses = waits();
                        }
                        tracing::warn!(error = %Causes(&fault), "can't take hints from the broker");
                        let pause = pauses.next().unwrap_or_default();
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            () = request.reply.closed() => {}
                        }
                    }
                }
            }
        }
    }

    /// At least one hint, or nothing when the request was given up.
    async fn take(
        &self,
        session: &mut Option<Session>,
        dead: &mut Option<ShortString>,
        request: &mut Request,
    ) -> Result<Vec<Taken>, Fault> {
        let session = match session {
            Some(session) if session.is_open() => session,
            _ => session.insert(self.connect(dead).await?),
        };
        let mut taken = Vec::new();
        while taken.is_empty() && !request.reply.is_closed() {
            self.fetch(session, request.max, &mut taken).await?;
            if taken.is_empty() {
                self.listen(session, request, &mut taken).await?;
                let rest = request.max.saturating_sub(taken.len());
                if !taken.is_empty() && rest > 0 {
                    self.fetch(session, rest, &mut taken).await?;
                }
            }
        }
        // What listening brought of a higher band may have come after what it brought of a lower one.
        taken.sort_by_key(|one| std::cmp::Reverse(Band::of(one.hint.priority)));
        taken.truncate(request.max);
        Ok(taken)
    }

    /// The queue that the broker knows and can't serve, if that is what went wrong: RabbitMQ may fail to start a quorum queue again
    /// after it was killed, and then ends the connection of whoever asks for a message of it.
    fn dead_queue(&self, fault: &Fault) -> Option<ShortString> {
        let Fault::Broker(error) = fault else {
            return None;
        };
        let said = error.to_string();
        let is_dead = said.contains("INTERNAL") && said.contains("noproc");
        let mut queues = Band::ALL
            .map(|band| self.broker.topology().band(band))
            .into_iter();
        queues.find(|queue| is_dead && said.contains(&format!("'{queue}'")))
    }

    /// A connection, with a queue that was found dead deleted and declared anew: it held hints, and what they hint at is in the
    /// store.
    async fn connect(&self, dead: &mut Option<ShortString>) -> Result<Session, Fault> {
        let session = self.broker.connect("worker").await?;
        if let Some(queue) = dead.take() {
            tracing::warn!(
                queue = queue.as_str(),
                "the broker can't serve the queue: it is made anew"
            );
            let delete = session
                .channel
                .queue_delete(queue, QueueDeleteOptions::default());
            session.bounded(delete).await?;
            let limit = session.time_limit();
            let declared = self.broker.topology().declare(&session.channel);
            tokio::time::timeout(limit, declared)
                .await
                .map_err(|_| Fault::Timeout(limit))??;
        }
        // Of each consumer, as quorum queues want it.
        let qos = session.channel.basic_qos(1, BasicQosOptions::default());
        session.bounded(qos).await?;
        Ok(session)
    }

    /// Fetches up to `max` hints that are there.
    async fn fetch(
        &self,
        session: &Session,
        max: usize,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fault> {
        let mut room = max;
        for band in Band::ALL {
            let queue = self.broker.topology().band(band);
            // One at first: most queues are empty most of the time. It tells how many there are.
            let mut at_once = 1;
            while room > 0 && at_once > 0 {
                let get = || {
                    let get = session
                        .channel
                        .basic_get(queue.clone(), BasicGetOptions::default());
                    session.bounded(get)
                };
                let answers = join_all(std::iter::repeat_with(get).take(at_once)).await;
                let mut left = 0;
                for answer in answers {
                    let Some(message) = answer? else {
                        left = 0;
                        continue;
                    };
                    left = message.message_count as usize;
                    if let Some(one) = self.read(session, &queue, message.delivery).await? {
                        taken.push(one);
                        room -= 1;
                    }
                }
                at_once = left.min(room).min(AT_ONCE);
            }
        }
        Ok(())
    }

    /// Waits for the first hint of any band.
    async fn listen(
        &self,
        session: &Session,
        request: &mut Request,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fault> {
        let consume = |band| {
            let consume = session.channel.basic_consume(
                self.broker.topology().band(band),
                ShortString::default(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            );
            session.bounded(consume)
        };
        let mut consumers: Vec<Consumer> = try_join_all(Band::ALL.map(consume)).await?;
        let first = tokio::select! {
            (first, of, _) = select_all(consumers.iter_mut().map(|one| one.next())) => {
                Some((first, of))
            }
            () = request.reply.closed() => None,
            () = tokio::time::sleep(LISTEN) => None,
        };
        if let Some((first, of)) = first {
            // A consumer ends when its queue is deleted.
            let message = first.ok_or(Fault::Deleted)??;
            let queue = consumers[of].queue();
            taken.extend(self.read(session, &queue, message).await?);
        }
        let cancel = |consumer: &Consumer| {
            let options = BasicCancelOptions::default();
            let cancel = session.channel.basic_cancel(consumer.tag(), options);
            session.bounded(cancel)
        };
        try_join_all(consumers.iter().map(cancel)).await?;
        // What came before it was heard that no more is wanted. It ends with the consumer, so this does not wait.
        for consumer in &mut consumers {
            let queue = consumer.queue();
            while let Some(Some(message)) = consumer.next().now_or_never() {
                taken.extend(self.read(session, &queue, message?).await?);
            }
        }
        Ok(())
    }

    /// A message as a hint. One that is none is put aside, and acknowledged once that is sure: delivered again it would be no
    /// more of a hint than it is now.
    async fn read(
        &self,
        session: &Session,
        queue: &ShortString,
        message: Message,
    ) -> Result<Option<Taken>, Fault> {
        match message::read(&message.data, &message.properties) {
            Ok(hint) => Ok(Some(Taken {
                hint,
                acker: Some(message.acker),
                time_limit: session.time_limit(),
            })),
            Err(why) => {
                tracing::warn!(queue = queue.as_str(), %why, "a message that is no hint is put aside");
                let publisher = &self.publisher;
                publisher
                    .bury_poison(&message.data, queue.as_str(), &why)
                    .await?;
                let ack = message.acker.ack(BasicAckOptions::default());
                session.bounded(ack).await?;
                Ok(None)
            }
        }
    }
}

/// An error with its causes, in a line.
struct Causes<'a>(&'a Fault);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
