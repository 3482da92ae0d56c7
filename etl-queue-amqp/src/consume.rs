//! Taking: one task that fetches what is asked for, and waits at the broker only while somebody asks.
//!
//! Hints are fetched (one by `basic.get`, the rest by a consumer that ends when it has as many), the higher bands first. Only
//! when there is none does it listen (`basic.consume`, one message of each band at most), and it stops listening with the first
//! that comes. So no hint is in the hands of a worker that did not ask for it, and the priorities of what was waiting are kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etl_core::contract::{Delivery, QueueError};
use etl_core::model::Hint;
use futures_util::future::{select_all, try_join_all};
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeleteOptions};
use lapin::types::ShortString;
use lapin::{Acker, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connection::{Broker, Session, bounded, waits};
use crate::error::Fault;
use crate::message;
use crate::publish::Publisher;
use crate::topology::Band;

/// How long a message that was counted may take to come; after that somebody else has it.
const DRAWN_WITHIN: Duration = Duration::from_millis(100);

/// How long hints are kept for who asks next, after who asked for them gave up. A hint that goes back is told from poison by how
/// often it did.
const KEPT: Duration = Duration::from_secs(1);

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

/// What it goes on with from one request to the next.
#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// A queue that was found dead.
    dead: Option<ShortString>,
    /// What was taken for somebody who gave up.
    kept: Vec<Taken>,
}

impl Taker {
    pub(crate) async fn run(mut self) {
        let closed = self.closed.clone();
        // Stopping at any point loses nothing: with the connection all goes back that was not handed over.
        let _ = closed.run_until_cancelled(self.serve()).await;
    }

    async fn serve(&mut self) {
        let mut state = State::default();
        while let Some(request) = self.request(&mut state.kept).await {
            let mut request = request;
            let given = if state.kept.is_empty() {
                self.until_taken(&mut state, &mut request).await
            } else {
                let count = request.max.min(state.kept.len());
                state.kept.drain(..count).collect()
            };
            // Whoever has given up meanwhile asks again soon, as a rule.
            if let Err(given) = request.reply.send(given) {
                state.kept.splice(0..0, given);
            }
        }
    }

    /// The next request. What is kept for it is given back when it doesn't come.
    async fn request(&mut self, kept: &mut Vec<Taken>) -> Option<Request> {
        if !kept.is_empty()
            && let Ok(request) = tokio::time::timeout(KEPT, self.requests.recv()).await
        {
            return request;
        }
        kept.clear();
        self.requests.recv().await
    }

    /// Takes as often as it needs to. Nothing when the request was given up.
    async fn until_taken(&self, state: &mut State, request: &mut Request) -> Vec<Taken> {
        let mut pauses = waits();
        while !request.reply.is_closed() {
            match self.take(state, request).await {
                Ok(taken) => return taken,
                Err(fault) => {
                    state.session = None;
                    state.dead = self.dead_queue(&fault);
                    if state.dead.is_some() {
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
        Vec::new()
    }

    /// At least one hint, or nothing when the request was given up.
    async fn take(&self, state: &mut State, request: &mut Request) -> Result<Vec<Taken>, Fault> {
        let session = match &mut state.session {
            Some(session) if session.is_open() => session,
            session => session.insert(self.connect(&mut state.dead).await?),
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
        let rest = taken.split_off(request.max.min(taken.len()));
        state.kept.extend(rest);
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
        Ok(session)
    }

    /// Fetches up to `max` messages that are there. So foreign ones, however many there are, don't hold up hints for long.
    async fn fetch(
        &self,
        session: &Session,
        max: usize,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fault> {
        let mut room = max;
        for band in Band::ALL {
            if room == 0 {
                break;
            }
            let queue = self.broker.topology().band(band);
            // One at first: most queues are empty most of the time. It tells how many there are.
            let get = session
                .channel
                .basic_get(queue.clone(), BasicGetOptions::default());
            let Some(first) = session.bounded(get).await? else {
                continue;
            };
            let more = (first.message_count as usize).min(room - 1);
            let mut messages = vec![first.delivery];
            if more > 0 {
                draw(session, &queue, more, &mut messages).await?;
            }
            room = room.saturating_sub(messages.len());
            self.read_all(session, &queue, messages, taken).await?;
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
        let queues = Band::ALL.map(|band| self.broker.topology().band(band));
        let consume = queues.iter().map(|queue| session.consume(queue, 1));
        let mut consumers: Vec<Consumer> = try_join_all(consume).await?;
        let first = tokio::select! {
            (first, of, _) = select_all(consumers.iter_mut().map(|one| one.next())) => {
                Some((first, of))
            }
            () = request.reply.closed() => None,
            () = tokio::time::sleep(LISTEN) => None,
        };
        let mut first = match first {
            // A consumer ends when its queue is deleted.
            Some((message, of)) => Some((message.ok_or(Fault::Deleted)??, of)),
            None => None,
        };
        try_join_all(consumers.iter().map(|one| session.cancel(one))).await?;
        for (at, consumer) in consumers.iter_mut().enumerate() {
            let first = first.take_if(|(_, of)| *of == at);
            let mut messages: Vec<Message> = first.into_iter().map(|(first, _)| first).collect();
            messages.extend(rest_of(consumer)?);
            self.read_all(session, &consumer.queue(), messages, taken)
                .await?;
        }
        Ok(())
    }

    /// Messages as hints. What goes wrong with one that is none matters only where nothing else was taken.
    async fn read_all(
        &self,
        session: &Session,
        queue: &ShortString,
        messages: Vec<Message>,
        taken: &mut Vec<Taken>,
    ) -> Result<(), Fault> {
        let mut messages = messages.into_iter();
        while let Some(message) = messages.next() {
            match self.read(session, queue, message).await {
                Ok(one) => taken.extend(one),
                Err(fault) if taken.is_empty() => return Err(fault),
                Err(fault) => {
                    tracing::warn!(error = %Causes(&fault), "a message that is no hint can't be put aside now");
                    messages.for_each(|message| give_back(&message.acker));
                    break;
                }
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
                let buried = self
                    .publisher
                    .bury_poison(&message.data, queue.as_str(), &why)
                    .await;
                if let Err(fault) = buried {
                    give_back(&message.acker);
                    return Err(fault);
                }
                let ack = message.acker.ack(BasicAckOptions::default());
                session.bounded(ack).await?;
                Ok(None)
            }
        }
    }
}

/// Takes up to `count` of the messages that are there. A quorum queue writes down each `basic.get` before it answers; what it sends
/// to a consumer it does not.
async fn draw(
    session: &Session,
    queue: &ShortString,
    count: usize,
    messages: &mut Vec<Message>,
) -> Result<(), Fault> {
    let prefetch = u16::try_from(count).unwrap_or(u16::MAX);
    let mut consumer = session.consume(queue, prefetch).await?;
    // Others may have been faster.
    for _ in 0..prefetch {
        let Ok(next) = tokio::time::timeout(DRAWN_WITHIN, consumer.next()).await else {
            break;
        };
        messages.push(next.ok_or(Fault::Deleted)??);
    }
    session.cancel(&consumer).await?;
    messages.extend(rest_of(&mut consumer)?);
    Ok(())
}

/// What came to a consumer before it was heard that no more is wanted. It ends with the consumer, so this does not wait.
fn rest_of(consumer: &mut Consumer) -> Result<Vec<Message>, Fault> {
    let next = || consumer.next().now_or_never().flatten();
    let rest: lapin::Result<Vec<Message>> = std::iter::from_fn(next).collect();
    Ok(rest?)
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
