//! What waits to be told, in its order, in bounded memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use etl_core::contract::Subscription;
use etl_core::model::JobId;
use tokio::sync::{Notify, oneshot, watch};

use super::EventCounts;

/// How many notices stand in line, and of how many bytes. Beyond that they are counted.
const CAPACITY: usize = 16 * 1024;
const BYTES: usize = 16 * 1024 * 1024;

/// What the teller gives whoever asks for a subscription: none while Redis is away.
pub(super) type Begun = Option<Box<dyn Subscription>>;

/// One thing to do, in its turn.
pub(super) enum Message {
    /// A notice.
    Event { channel: String, payload: Vec<u8> },
    /// So many notices that stood here are gone.
    Missed(u64),
    /// Somebody watches from here on.
    Watch {
        job: Option<JobId>,
        reply: oneshot::Sender<Begun>,
    },
    /// It may be that nobody watches any more.
    Unwatch(Option<JobId>),
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Self::Event { payload, .. } => payload.len(),
            Self::Missed(_) | Self::Watch { .. } | Self::Unwatch(_) => 0,
        }
    }

    /// How many notices it is, or was.
    pub(super) fn notices(&self) -> u64 {
        match self {
            Self::Event { .. } => 1,
            Self::Missed(count) => *count,
            Self::Watch { .. } | Self::Unwatch(_) => 0,
        }
    }
}

pub(super) struct Outbox {
    line: Mutex<Line>,
    /// Rung when something waits, or the connection has ended.
    bell: Notify,
    /// How many notices have been settled: sent, or counted as missed. Together with `Line::added` it tells when those of a
    /// caller are.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct Line {
    messages: VecDeque<Message>,
    bytes: usize,
    added: u64,
    is_down: bool,
    is_lost: bool,
    counts: EventCounts,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            line: Mutex::default(),
            bell: Notify::new(),
            settled: watch::Sender::new(0),
        }
    }
}

impl Outbox {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds notices, and tells the number of the last of them.
    pub(super) fn add(&self, messages: Vec<Message>) -> u64 {
        let mut line = self.line();
        for message in messages {
            line.added += message.notices();
            line.push(message);
        }
        let end = line.added;
        drop(line);
        self.bell.notify_one();
        end
    }

    /// Waits until notices up to this one are settled, or Redis is away.
    pub(super) async fn settled(&self, end: u64) {
        let mut settled = self.settled.subscribe();
        let is_settled = |settled: &u64| *settled >= end || self.line().is_down;
        let _ = settled.wait_for(is_settled).await;
    }

    /// Asks for a subscription from here on; nothing to wait for while Redis is away.
    pub(super) fn ask(&self, job: Option<JobId>) -> Option<impl Future<Output = Begun> + use<>> {
        let (reply, begun) = oneshot::channel();
        let mut line = self.line();
        if line.is_down {
            return None;
        }
        line.push(Message::Watch { job, reply });
        drop(line);
        self.bell.notify_one();
        Some(async { begun.await.ok().flatten() })
    }

    /// Somebody has stopped watching. While Redis is away there is nothing to stop.
    pub(super) fn unwatch(&self, job: Option<JobId>) {
        let mut line = self.line();
        if !line.is_down {
            line.push(Message::Unwatch(job));
            drop(line);
            self.bell.notify_one();
        }
    }

    /// The connection has ended: whoever waits for the bell hears it at once.
    pub(super) fn lose(&self) {
        self.line().is_lost = true;
        self.bell.notify_one();
    }

    /// Takes what waits, up to so many; `None` if the connection has ended.
    pub(super) fn take(&self, max: usize) -> Option<Vec<Message>> {
        let mut line = self.line();
        if line.is_lost {
            return None;
        }
        let count = line.messages.len().min(max);
        let taken: Vec<Message> = line.messages.drain(..count).collect();
        line.bytes -= taken.iter().map(Message::bytes).sum::<usize>();
        Some(taken)
    }

    /// Waits until something waits, or the connection has ended.
    pub(super) async fn some(&self) {
        self.bell.notified().await;
    }

    /// So many notices were sent, and it was told of so many that they are gone.
    pub(super) fn sent(&self, notices: u64, gone: u64) {
        self.line().counts.published += notices;
        self.settled
            .send_modify(|settled| *settled += notices + gone);
    }

    /// What was taken and not told: a gap of so many notices, of which so many are lost only now, and what comes after it.
    pub(super) fn put_back(&self, gap: u64, lost: u64, rest: impl Iterator<Item = Message>) {
        let rest: Vec<Message> = rest
            .filter(|message| matches!(message, Message::Event { .. } | Message::Missed(_)))
            .collect();
        let mut line = self.line();
        line.counts.dropped += lost;
        for message in rest.into_iter().rev() {
            line.bytes += message.bytes();
            line.messages.push_front(message);
        }
        if gap > 0 {
            line.messages.push_front(Message::Missed(gap));
        }
    }

    /// Redis can be reached.
    pub(super) fn up(&self) {
        let mut line = self.line();
        line.is_down = false;
        line.is_lost = false;
        line.counts.is_connected = true;
        drop(line);
        self.bell.notify_one();
    }

    /// Redis can't be reached: nobody waits for it. What asks is taken out of the line and answered by being dropped.
    pub(super) fn down(&self) {
        let mut line = self.line();
        line.is_down = true;
        line.is_lost = false;
        line.counts.is_connected = false;
        line.counts.failures += 1;
        line.messages
            .retain(|message| matches!(message, Message::Event { .. } | Message::Missed(_)));
        drop(line);
        // Those who wait look again.
        self.settled.send_modify(|_| {});
    }

    pub(super) fn counts(&self) -> EventCounts {
        self.line().counts
    }
}

impl Line {
    /// Adds to the end; a notice for which there is no room becomes one of a gap.
    fn push(&mut self, message: Message) {
        let bytes = message.bytes();
        let is_notice = matches!(message, Message::Event { .. } | Message::Missed(_));
        let has_room = self.messages.len() < CAPACITY && self.bytes + bytes <= BYTES;
        if !is_notice || (has_room && bytes > 0) {
            self.bytes += bytes;
            self.messages.push_back(message);
            return;
        }
        let notices = message.notices();
        self.counts.dropped += notices;
        match self.messages.back_mut() {
            Some(Message::Missed(count)) => *count += notices,
            _ => self.messages.push_back(Message::Missed(notices)),
        }
    }
}
