//! LISTEN and NOTIFY: hints and events between the processes that share a database. What is told so is never the truth, so a
//! lost connection costs a poll and no job.

mod events;
mod queue;

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgNotification};
use tokio::task::JoinHandle;

pub use events::PostgresEvents;
pub use queue::PostgresQueue;

/// The longest piece of a text in one notification: PostgreSQL takes payloads of less than 8,000 bytes.
const PIECE: usize = 7_900;

/// The longest text that is put together of pieces. No sender of ours comes near it.
const LONGEST: usize = 16 * 1024 * 1024;

/// How long one call to the database may take. What is told here is not worth waiting longer for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Notifications from now on, or the notice that some may have been missed.
trait Hear: Send + 'static {
    /// A text came.
    fn hear(&mut self, text: &str);
    /// The connection was lost and is back: whatever came between is lost.
    fn missed(&mut self);
}

/// Listens to a channel until the handle is aborted. It connects anew whenever the connection is lost.
fn listen(pool: PgPool, channel: String, ready: ReadyFlag, mut ear: impl Hear) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut waits = waits();
        let mut was_lost = false;
        loop {
            match connect(&pool, &channel).await {
                Ok(mut listener) => {
                    waits = self::waits();
                    if std::mem::replace(&mut was_lost, true) {
                        ear.missed();
                    }
                    ready.set();
                    let mut pieces = String::new();
                    while let Ok(Some(notification)) = listener.try_recv().await {
                        if let Some(text) =
                            put_together(&mut pieces, PgNotification::payload(&notification))
                        {
                            ear.hear(&text);
                        }
                    }
                    tracing::debug!(channel, "notifications lost, listening anew");
                }
                Err(error) => tracing::debug!(channel, %error, "notifications can't be heard"),
            }
            tokio::time::sleep(waits.next().unwrap_or(PATIENCE)).await;
        }
    })
}

async fn connect(pool: &PgPool, channel: &str) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(channel).await?;
    Ok(listener)
}

type Waits = <ExponentialBuilder as BackoffBuilder>::Backoff;

fn waits() -> Waits {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(PATIENCE)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Tells when listening has begun for the first time.
#[derive(Debug, Clone)]
struct ReadyFlag(std::sync::Arc<tokio::sync::watch::Sender<bool>>);

impl ReadyFlag {
    fn new() -> Self {
        Self(std::sync::Arc::new(tokio::sync::watch::Sender::new(false)))
    }

    fn set(&self) {
        self.0.send_replace(true);
    }

    /// Waits for it, but not longer than a call may take.
    async fn wait(&self) {
        let mut ready = self.0.subscribe();
        let _ = tokio::time::timeout(PATIENCE, ready.wait_for(|ready| *ready)).await;
    }
}

/// Sends a text. It goes in one statement, so that its pieces come one after the other.
async fn send(pool: &PgPool, channel: &str, text: &str) -> Result<(), sqlx::Error> {
    let send = sqlx::query(
        "SELECT pg_notify($1, p) FROM unnest($2::text[]) WITH ORDINALITY AS t(p, n) ORDER BY n",
    )
    .bind(channel)
    .bind(pieces(text))
    .execute(pool);
    match tokio::time::timeout(PATIENCE, send).await {
        Ok(sent) => sent.map(drop),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

/// A text in pieces. Each has its number, because PostgreSQL leaves out what was sent before in the same transaction, and the last
/// is marked.
fn pieces(text: &str) -> Vec<String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    loop {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE));
        let mark = if later.is_empty() { '=' } else { '+' };
        pieces.push(format!("{}{mark}{piece}", pieces.len()));
        rest = later;
        if rest.is_empty() {
            return pieces;
        }
    }
}

/// Adds a piece to those before it. The whole text, if it was the last.
fn put_together(before: &mut String, payload: &str) -> Option<String> {
    let at = payload.find(['=', '+'])?;
    let (number, piece) = payload.split_at(at);
    if number == "0" {
        before.clear();
    }
    if before.len() + piece.len() <= LONGEST {
        before.push_str(&piece[1..]);
    }
    piece.starts_with('=').then(|| std::mem::take(before))
}

/// A channel of the store: channels belong to the database, and a database may have several stores in schemas of their own.
fn channel(schema: Option<&str>, what: &str) -> String {
    match schema {
        Some(schema) => format!("etl_{what}_{schema}"),
        None => format!("etl_{what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_whole_whatever_its_length() {
        let mut before = String::from("left of a text that broke off");
        for text in [String::new(), "short".into(), "é".repeat(20_000)] {
            let pieces = pieces(&text);
            assert!(pieces.iter().all(|piece| piece.len() < 8000));
            let (last, first) = pieces.split_last().expect("a piece");
            for piece in first {
                assert_eq!(put_together(&mut before, piece), None);
            }
            assert_eq!(put_together(&mut before, last), Some(text));
        }
        assert_eq!(put_together(&mut before, "nonsense"), None);
    }
}
