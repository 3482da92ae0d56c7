//! A WebSocket: what its client may watch, and for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use etl_core::contract::Clock;
use etl_core::runtime::SystemClock;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::hub::{Hint, Live, Place};
use super::job::JobFeed;
use super::jobs::JobsFeed;
use super::message::{Channel, ClientMessage, ServerMessage, Wish};
use crate::identity::{Action, Authenticate, Permission, Principal, Refused, Resource};

/// How many channels one connection may watch.
const SUBSCRIPTIONS: usize = 50;
/// How long a client may take nothing of what it is sent. Less than what the listener allows, so that a client that is slow, and not
/// gone, is still told why it is cut off.
const STALL: Duration = Duration::from_secs(6);
/// After how many ticks a client is asked whether it is there; one that says nothing for twice as long is not.
const PING_EVERY: u64 = 30;
/// How often is looked whether a client may still watch, and at jobs that nobody told of.
const TICK: Duration = Duration::from_secs(1);
/// After how many ticks jobs are looked at, and after how many lists of jobs are.
const LOOK_AT_JOB: u64 = 2;
const LOOK_AT_JOBS: u64 = 5;
/// How long it may not be known whether a client may still watch.
const UNKNOWN: Duration = Duration::from_secs(10);

/// How long a client that takes much is not asked again who it is.
const KNOWN: Duration = Duration::from_secs(2);

/// Why a connection ends: as RFC 6455, 7.4 has it, and 4401 and 4403 like the statuses of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// It went away.
    Gone,
    /// It took nothing of this message, after which it goes on, if it is a line of a job's log.
    Slow(String, Option<u64>),
    Stopping,
    NoText,
    Internal,
    Silent,
    SignedOut,
    Forbidden,
}

impl End {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Gone => return None,
            Self::Slow(channel, seq) => {
                let goes_on = match seq {
                    Some(seq) => format!("too slow: subscribe to {channel} with after_seq {seq}"),
                    None => "too slow: connect again, and subscribe with after_seq".to_owned(),
                };
                return Some(CloseFrame {
                    code: 1008,
                    reason: goes_on.into(),
                });
            }
            Self::Stopping => (
                1001,
                "the server stops: connect again, and subscribe with after_seq",
            ),
            Self::NoText => (1003, "messages are JSON as text"),
            Self::Internal => (
                1011,
                "the server can't go on: connect again, and subscribe with after_seq",
            ),
            Self::Silent => (1008, "no answer to a ping"),
            Self::SignedOut => (4401, "sign in again"),
            Self::Forbidden => (4403, "this needs the permission jobs:read"),
        };
        Some(CloseFrame {
            code,
            reason: Utf8Bytes::from_static(reason),
        })
    }
}

/// What is watched of a channel.
#[derive(Debug)]
enum Feed {
    Job(JobFeed),
    Jobs(JobsFeed),
}

/// Tells a client what it asks for, until one of both ends it.
pub(crate) async fn talk(
    socket: WebSocket,
    live: Arc<Live>,
    authenticate: Arc<dyn Authenticate>,
    principal: Principal,
    place: Place,
) {
    let (to, mut from) = socket.split();
    let mut connection = Connection {
        to,
        live,
        authenticate,
        principal,
        known_at: Instant::now(),
        feeds: BTreeMap::new(),
        due: BTreeSet::new(),
    };
    let end = connection.run(&mut from).await;
    if let End::Slow(channel, seq) = &end {
        let user = connection.principal.user.to_string();
        tracing::info!(user, channel, seq, "a watcher that is too slow is cut off");
    }
    if let Some(frame) = end.frame() {
        let last = connection.to.send(Message::Close(Some(frame)));
        let _ = timeout(STALL, last).await;
    }
    drop(place);
}

struct Connection {
    to: SplitSink<WebSocket, Message>,
    live: Arc<Live>,
    authenticate: Arc<dyn Authenticate>,
    principal: Principal,
    /// When it was last known that the client may watch.
    known_at: Instant,
    feeds: BTreeMap<Channel, Feed>,
    /// Jobs whose log may have something to read.
    due: BTreeSet<Channel>,
}

impl Connection {
    async fn run(
        &mut self,
        from: &mut (impl StreamExt<Item = Result<Message, axum::Error>> + Unpin),
    ) -> End {
        let mut hints = self.live.hints();
        let stop = self.live.stop.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut tick = 0_u64;
        // Counted in ticks: while a client is sent much, nobody listens to it.
        let (mut heard, mut pinged) = (0, 0);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return End::Stopping,
                message = from.next() => {
                    heard = tick;
                    match message {
                        Some(Ok(Message::Text(text))) => self.asked(&text).await,
                        Some(Ok(Message::Binary(_))) => return End::NoText,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                    }
                }
                hint = hints.recv() => match hint {
                    Ok(hint) => self.hinted(hint).await,
                    Err(RecvError::Lagged(_)) => self.hinted(Hint::Anything).await,
                    Err(RecvError::Closed) => return End::Stopping,
                },
                _ = ticks.tick() => {
                    tick += 1;
                    if tick - heard > PING_EVERY * 2 {
                        return End::Silent;
                    }
                    if tick - pinged >= PING_EVERY {
                        pinged = tick;
                        if let Err(end) = self.send(Message::Ping(axum::body::Bytes::new())).await {
                            return end;
                        }
                    }
                    self.ticked(tick).await
                }
                () = ready(()), if !self.due.is_empty() => Ok(()),
            };
            let done = match done {
                Ok(()) => self.read_on().await,
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Does what a client asks for, or says what is wrong with it.
    async fn asked(&mut self, text: &str) -> Result<(), End> {
        let message: ClientMessage = match serde_json::from_str(text) {
            Ok(message) => message,
            Err(_) => {
                let hint = r#"a message is {"type": "subscribe" | "unsubscribe", "channel": "job:{id}" | "pipeline:{id}" | "global", "after_seq": NUMBER or left out}"#;
                return self.refuse("", hint).await;
            }
        };
        let Ok(channel) = message.channel.parse::<Channel>() else {
            let shown: String = message.channel.chars().take(100).collect();
            let hint = "a channel is job:{id}, pipeline:{id} or global";
            return self.refuse(&shown, hint).await;
        };
        match message.r#type {
            Wish::Unsubscribe => {
                self.feeds.remove(&channel);
                self.due.remove(&channel);
                Ok(())
            }
            Wish::Subscribe => self.subscribe(channel, message.after_seq).await,
        }
    }

    async fn subscribe(&mut self, channel: Channel, after_seq: Option<u64>) -> Result<(), End> {
        let name = channel.to_string();
        self.check_rights().await?;
        if !self.feeds.contains_key(&channel) && self.feeds.len() >= SUBSCRIPTIONS {
            let hint =
                format!("there are {SUBSCRIPTIONS} subscriptions: unsubscribe from one first");
            return self.refuse(&name, &hint).await;
        }
        let store = Arc::clone(&self.live.store);
        let opened = match channel {
            Channel::Job(job) => JobFeed::open(&*store, job, after_seq)
                .await
                .map(|opened| opened.map(|(feed, first)| (Feed::Job(feed), first))),
            Channel::Pipeline(_) | Channel::Global if after_seq.is_some() => {
                let hint = "after_seq goes with job:{id}: this channel begins with the jobs that are on their way";
                return self.refuse(&name, hint).await;
            }
            Channel::Pipeline(_) | Channel::Global => {
                let pipeline = match channel {
                    Channel::Pipeline(id) => Some(id),
                    _ => None,
                };
                JobsFeed::open(&*store, pipeline)
                    .await
                    .map(|opened| opened.map(|(feed, first)| (Feed::Jobs(feed), first)))
            }
        };
        match opened {
            Ok(Some((feed, first))) => {
                self.feeds.insert(channel, feed);
                self.due.insert(channel);
                self.tell(first).await
            }
            Ok(None) => self.refuse(&name, "there is no such thing here").await,
            Err(_) => {
                self.refuse(&name, "the store can't be reached: subscribe again")
                    .await
            }
        }
    }

    /// Notes what is to be read, or hands on what is to be told.
    async fn hinted(&mut self, hint: Hint) -> Result<(), End> {
        match hint {
            Hint::Anything => {
                self.due.extend(self.feeds.keys().copied());
                Ok(())
            }
            Hint::Lines(job) => {
                self.note(Channel::Job(job));
                Ok(())
            }
            Hint::Moved(moved) => {
                self.note(Channel::Job(moved.job));
                let store = Arc::clone(&self.live.store);
                let mut messages = Vec::new();
                for feed in self.feeds.values_mut() {
                    if let Feed::Jobs(feed) = feed {
                        // What can't be read now is found by the next look at all.
                        let _ = feed.look_at(&*store, &moved, &mut messages).await;
                    }
                }
                self.tell(messages).await
            }
            Hint::Progress(event) => {
                let told = match self.feeds.get(&Channel::Job(event.job_id)) {
                    Some(Feed::Job(feed)) => feed.progress(&event),
                    _ => None,
                };
                self.tell(told).await
            }
        }
    }

    fn note(&mut self, channel: Channel) {
        if self.feeds.contains_key(&channel) {
            self.due.insert(channel);
        }
    }

    /// Whether the client may still watch, and what nobody told of.
    async fn ticked(&mut self, tick: u64) -> Result<(), End> {
        self.check_rights().await?;
        for (channel, feed) in &self.feeds {
            let every = match feed {
                Feed::Job(feed) if feed.has_ended => continue,
                Feed::Job(_) => LOOK_AT_JOB,
                Feed::Jobs(_) => LOOK_AT_JOBS,
            };
            if tick.is_multiple_of(every) {
                self.due.insert(*channel);
            }
        }
        Ok(())
    }

    async fn check_rights(&mut self) -> Result<(), End> {
        match self.authenticate.again(&self.principal).await {
            Ok(principal) => {
                self.known_at = Instant::now();
                self.principal = principal;
            }
            Err(Refused::Unknown(_)) => return Err(End::SignedOut),
            Err(Refused::Store(_)) if self.known_at.elapsed() > UNKNOWN => {
                return Err(End::Internal);
            }
            Err(Refused::Store(_)) => {}
        }
        let needs = Permission::to(Action::Read, Resource::Jobs);
        if self.principal.may(needs) {
            Ok(())
        } else {
            Err(End::Forbidden)
        }
    }

    /// Reads a part of whatever is due; what is left is read in the next round, so that a client that asks is heard in between.
    async fn read_on(&mut self) -> Result<(), End> {
        let store = Arc::clone(&self.live.store);
        for channel in std::mem::take(&mut self.due) {
            let mut messages = Vec::new();
            let is_all = match self.feeds.get_mut(&channel) {
                Some(Feed::Job(feed)) => {
                    // A store that can't be reached is asked again by the next tick.
                    let Ok((read, is_all)) = feed.read(&*store).await else {
                        continue;
                    };
                    messages = read;
                    is_all
                }
                Some(Feed::Jobs(feed)) => {
                    let _ = feed.look_at_all(&*store, &mut messages).await;
                    true
                }
                None => continue,
            };
            self.tell(messages).await?;
            if !is_all {
                self.due.insert(channel);
            }
        }
        Ok(())
    }

    async fn refuse(&mut self, channel: &str, message: &str) -> Result<(), End> {
        let message = ServerMessage::error(channel, message, SystemClock.now());
        self.tell([message]).await
    }

    async fn tell(&mut self, messages: impl IntoIterator<Item = ServerMessage>) -> Result<(), End> {
        for message in messages {
            if self.live.stop.is_cancelled() {
                return Err(End::Stopping);
            }
            if self.known_at.elapsed() > KNOWN {
                self.check_rights().await?;
            }
            let text = Message::Text(message.text().into());
            self.send(text).await.map_err(|end| match end {
                End::Slow(..) => End::Slow(message.channel, message.seq),
                end => end,
            })?;
        }
        Ok(())
    }

    /// A client that takes nothing is cut off: it goes on after the last line that it has seen.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(STALL, self.to.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow(String::new(), None)),
        }
    }
}
