//! The same for one job as server-sent events (HTML Living Standard, 9.2), for whoever has no WebSocket: `curl -N`, say.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event;
use etl_core::contract::store::Result;
use etl_core::model::JobId;
use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep};

use super::hub::{Hint, Live, Place};
use super::job::JobFeed;
use super::message::ServerMessage;
use crate::identity::{Action, Authenticate, Permission, Principal, Resource};

/// How often is looked whether the client may still watch, and at a job that nobody told of.
const TICK: Duration = Duration::from_secs(2);

struct Watcher {
    live: Arc<Live>,
    hints: Receiver<Hint>,
    authenticate: Arc<dyn Authenticate>,
    principal: Principal,
    checked_at: Instant,
    feed: JobFeed,
    told: VecDeque<ServerMessage>,
    is_all: bool,
    _place: Place,
}

/// Everything of a job until its end, from after a line on or beginning with its state. `None` if there is no such job.
pub(crate) async fn stream(
    live: Arc<Live>,
    authenticate: Arc<dyn Authenticate>,
    principal: Principal,
    place: Place,
    job: JobId,
    after_seq: Option<u64>,
) -> Result<Option<impl Stream<Item = std::result::Result<Event, Infallible>> + Send>> {
    // What is hinted at from now on is not missed.
    let hints = live.hints();
    let opened = JobFeed::open(&*live.store, job, after_seq).await?;
    Ok(opened.map(|(feed, first)| {
        let watcher = Watcher {
            live,
            hints,
            authenticate,
            principal,
            checked_at: Instant::now(),
            feed,
            told: first.into(),
            is_all: false,
            _place: place,
        };
        unfold(watcher, |mut watcher| async move {
            let message = watcher.next().await?;
            Some((Ok(event(&message)), watcher))
        })
    }))
}

fn event(message: &ServerMessage) -> Event {
    let event = Event::default()
        .event(message.r#type.as_str())
        .data(message.text());
    match message.seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    }
}

impl Watcher {
    async fn next(&mut self) -> Option<ServerMessage> {
        loop {
            if !self.may_watch().await {
                return None;
            }
            if let Some(message) = self.told.pop_front() {
                return Some(message);
            }
            if !self.is_all
                && let Ok((messages, is_all)) = self.feed.read(&*self.live.store).await
            {
                self.told.extend(messages);
                self.is_all = is_all;
                continue;
            }
            if self.feed.has_ended {
                return None;
            }
            self.wait().await?;
        }
    }

    async fn may_watch(&mut self) -> bool {
        if self.checked_at.elapsed() < TICK {
            return true;
        }
        self.checked_at = Instant::now();
        let needs = Permission::to(Action::Read, Resource::Jobs);
        let now = self.authenticate.again(&self.principal).await;
        now.is_ok_and(|principal| principal.may(needs))
    }

    /// Until there may be something to read. `None` once the server stops.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            () = self.live.stop.cancelled() => return None,
            () = sleep(TICK) => self.is_all = false,
            hint = self.hints.recv() => match hint {
                Ok(Hint::Lines(job)) => self.is_all &= job != self.feed.job,
                Ok(Hint::Moved(moved)) => self.is_all &= moved.job != self.feed.job,
                Ok(Hint::Progress(event)) => self.told.extend(self.feed.progress(&event)),
                Ok(Hint::Anything) | Err(RecvError::Lagged(_)) => self.is_all = false,
                Err(RecvError::Closed) => return None,
            },
        }
        Some(())
    }
}
