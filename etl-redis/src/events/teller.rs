//! The task with the connection: it tells what is in line, subscribes for watchers, and connects again after a failure.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use etl_core::model::JobId;
use redis::PushInfo;
use redis::aio::MultiplexedConnection;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::heard::Notification;
use super::outbox::{Begun, Message};
use crate::address::waits;
use crate::error::{Causes, Fault};

/// How many notices go at once.
const AT_ONCE: usize = 512;

/// How long a silent connection is trusted.
const SILENCE: Duration = Duration::from_secs(5);

pub(super) struct Teller {
    shared: Arc<Shared>,
}

/// A connection, and what it has subscribed.
struct Session {
    connection: MultiplexedConnection,
    subscribed: HashSet<Option<JobId>>,
}

impl Teller {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) async fn run(self) {
        let mut waits = waits();
        let mut away_since: Option<Instant> = None;
        loop {
            let fault = match self.open().await {
                Ok(session) => {
                    waits = self::waits();
                    self.up(session, away_since.take()).await
                }
                Err(fault) => fault,
            };
            self.shared.outbox.down();
            // Whoever watches reads the store meanwhile.
            self.shared.heard.missed(1);
            if away_since.is_none() {
                away_since = Some(Instant::now());
                tracing::warn!(error = %Causes(&fault), "events are not told: redis is away; jobs go on");
            } else {
                tracing::debug!(error = %Causes(&fault), "redis is still away");
            }
            tokio::time::sleep(waits.next().unwrap_or(SILENCE)).await;
        }
    }

    async fn open(&self) -> Result<Session, Fault> {
        let shared = Arc::downgrade(&self.shared);
        let pushed = move |info: PushInfo| -> Result<(), ()> {
            let shared = shared.upgrade().ok_or(())?;
            if !shared.heard.hear(&info) {
                shared.outbox.lose();
            }
            Ok(())
        };
        let connection = self.shared.address.connect(Some(Box::new(pushed))).await?;
        let mut session = Session {
            connection,
            subscribed: HashSet::new(),
        };
        let notifications = self.shared.address.names().notifications();
        let subscribing = session.connection.subscribe(notifications);
        self.bounded(subscribing).await?;
        self.catch_up(&mut session).await?;
        Ok(session)
    }

    /// Redis is there: whoever wants something asks in line from now on. Works until the connection fails.
    async fn up(&self, mut session: Session, away_since: Option<Instant>) -> Fault {
        self.shared.outbox.up();
        // Some came and went while those before them were subscribed, when nobody was asked in line yet.
        if let Err(fault) = self.catch_up(&mut session).await {
            return fault;
        }
        if let Some(since) = away_since {
            let counts = self.shared.outbox.counts();
            tracing::info!(
                seconds = since.elapsed().as_secs_f64(),
                dropped = counts.dropped,
                "events are told by redis again"
            );
            self.shared.heard.missed(1);
        }
        self.serve(session).await
    }

    /// Subscribes for all who watch, and for nobody else.
    async fn catch_up(&self, session: &mut Session) -> Result<(), Fault> {
        let watched: HashSet<_> = self.shared.heard.watched().into_iter().collect();
        let gone: Vec<_> = session.subscribed.difference(&watched).copied().collect();
        for job in gone {
            self.unwatch(session, job).await?;
        }
        for job in watched {
            if !session.subscribed.contains(&job) {
                self.begin(session, job).await?;
            }
        }
        Ok(())
    }

    /// Works until the connection fails.
    async fn serve(&self, mut session: Session) -> Fault {
        loop {
            let Some(messages) = self.shared.outbox.take(AT_ONCE) else {
                return Fault::Connection("it was closed".into());
            };
            let worked = if messages.is_empty() {
                match tokio::time::timeout(SILENCE, self.shared.outbox.some()).await {
                    Ok(()) => Ok(()),
                    Err(_) => self.ping(&mut session).await,
                }
            } else {
                self.work(&mut session, messages).await
            };
            if let Err(fault) = worked {
                return fault;
            }
        }
    }

    /// Does what was taken, in its order. What may or may not have been told when the connection fails becomes a gap.
    async fn work(&self, session: &mut Session, messages: Vec<Message>) -> Result<(), Fault> {
        let mut messages = messages.into_iter();
        loop {
            let mut pipe = redis::pipe();
            let (mut notices, mut gone) = (0, 0);
            let mut request = None;
            for message in messages.by_ref() {
                match message {
                    Message::Event { channel, payload } => {
                        pipe.publish(channel, payload).ignore();
                        notices += 1;
                    }
                    Message::Missed(count) => {
                        let channel = self.shared.address.names().notifications();
                        pipe.publish(channel, gap(count)).ignore();
                        gone += count;
                    }
                    other => {
                        request = Some(other);
                        break;
                    }
                }
            }
            if notices + gone > 0 {
                let told = self.bounded(pipe.query_async::<()>(&mut session.connection));
                if let Err(fault) = told.await {
                    let outbox = &self.shared.outbox;
                    outbox.put_back(notices + gone, notices, messages);
                    return Err(fault);
                }
                self.shared.outbox.sent(notices, gone);
            }
            let answered = match request {
                Some(Message::Watch { job, reply }) => self.watch(session, job, reply).await,
                Some(Message::Unwatch(job)) => self.unwatch(session, job).await,
                _ => return Ok(()),
            };
            if let Err(fault) = answered {
                self.shared.outbox.put_back(0, 0, messages);
                return Err(fault);
            }
        }
    }

    /// Whoever asked hears from now on: what was told before has been heard, because it came over this connection before the
    /// answer.
    async fn watch(
        &self,
        session: &mut Session,
        job: Option<JobId>,
        reply: oneshot::Sender<Begun>,
    ) -> Result<(), Fault> {
        if session.subscribed.contains(&job) {
            self.ping(session).await?;
        } else {
            self.begin(session, job).await?;
        }
        let _ = reply.send(Some(self.shared.heard.subscribe(job).await));
        Ok(())
    }

    async fn begin(&self, session: &mut Session, job: Option<JobId>) -> Result<(), Fault> {
        let names = self.shared.address.names();
        match job {
            Some(job) => {
                let channels = names.channels_of(job);
                self.bounded(session.connection.subscribe(&channels[..]))
                    .await?;
            }
            None => {
                let pattern = names.channels_of_all();
                self.bounded(session.connection.psubscribe(pattern)).await?;
            }
        }
        session.subscribed.insert(job);
        Ok(())
    }

    async fn ping(&self, session: &mut Session) -> Result<(), Fault> {
        let ping = redis::cmd("PING");
        let pong = ping.query_async::<String>(&mut session.connection);
        self.bounded(pong).await.map(drop)
    }

    /// The client has a limit of its own, for answers; this one is for everything.
    async fn bounded<T>(
        &self,
        call: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, Fault> {
        let limit = self.shared.address.time_limit() * 2;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Fault::Timeout(limit)),
        }
    }

    async fn unwatch(&self, session: &mut Session, job: Option<JobId>) -> Result<(), Fault> {
        if self.shared.heard.is_watched(job) || !session.subscribed.remove(&job) {
            return Ok(());
        }
        let names = self.shared.address.names();
        match job {
            Some(job) => {
                let channels = names.channels_of(job);
                self.bounded(session.connection.unsubscribe(&channels[..]))
                    .await?;
            }
            None => {
                let pattern = names.channels_of_all();
                self.bounded(session.connection.punsubscribe(pattern))
                    .await?;
            }
        }
        Ok(())
    }
}

fn gap(count: u64) -> Vec<u8> {
    // A number in an object is always written.
    serde_json::to_vec(&Notification::Missed { count }).unwrap_or_default()
}
