//! The connection for questions and answers. The first who asks waits for it to be made. When it has failed, a task makes it
//! again, and meanwhile a call fails at once: nobody waits for a server that is known to be away.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use backon::ExponentialBackoff;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, ScriptInvocation};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::address::{Address, LONGEST_WAIT, waits};
use crate::error::{Causes, Fault};
use crate::names::Names;

/// Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: Arc<Address>,
    state: watch::Sender<State>,
    /// The task that connects. It ends with the last clone.
    connecting: Mutex<JoinSet<()>>,
}

#[derive(Clone)]
enum State {
    /// Nobody has asked yet.
    New,
    /// Somebody has, and it is not known whether the server is there.
    First,
    Up {
        connection: MultiplexedConnection,
        /// Which connection, so that a failure of an older one does not end it.
        number: u64,
    },
    /// The server is away, or does not let us in.
    Down(Fault),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::New => "New",
            Self::First => "First",
            Self::Up { .. } => "Up",
            Self::Down(_) => "Down",
        })
    }
}

impl Link {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        Self {
            shared: Arc::new(Shared {
                address,
                state: watch::Sender::new(State::New),
                connecting: Mutex::default(),
            }),
        }
    }

    pub(crate) fn names(&self) -> &Names {
        self.shared.address.names()
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Fault> {
        self.bounded(async |connection| command.query_async(connection).await)
            .await
    }

    pub(crate) async fn script<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, Fault> {
        self.bounded(async |connection| script.invoke_async(connection).await)
            .await
    }

    async fn bounded<T>(
        &self,
        call: impl AsyncFnOnce(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, Fault> {
        let (mut connection, number) = self.connection().await?;
        // A script that the server does not know yet takes two calls.
        let limit = self.shared.address.time_limit() * 2;
        let answer = match tokio::time::timeout(limit, call(&mut connection)).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::Timeout(limit)),
        };
        if let Err(fault) = &answer
            && !fault.leaves_the_connection()
        {
            self.failed(number, fault);
        }
        answer
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Fault> {
        let is_first = self.shared.state.send_if_modified(|state| {
            let is_new = matches!(state, State::New);
            if is_new {
                *state = State::First;
            }
            is_new
        });
        if is_first {
            self.connect(1);
        }
        let mut state = self.shared.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::New | State::First));
        match known.await.as_deref() {
            Ok(State::Up { connection, number }) => Ok((connection.clone(), *number)),
            Ok(State::Down(fault)) => Err(fault.clone()),
            _ => Err(Fault::Connection("it was given up".into())),
        }
    }

    fn failed(&self, number: u64, fault: &Fault) {
        let was_it = self.shared.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up { number: current, .. } if *current == number);
            if is_it {
                *state = State::Down(fault.clone());
            }
            is_it
        });
        if was_it {
            tracing::warn!(error = %Causes(fault), "the connection to redis failed");
            self.connect(number + 1);
        }
    }

    /// Has the connection of this number made.
    fn connect(&self, number: u64) {
        let address = Arc::clone(&self.shared.address);
        let shared = Arc::downgrade(&self.shared);
        let mut connecting = self.shared.connecting();
        // Those that have made theirs.
        while connecting.try_join_next().is_some() {}
        connecting.spawn(connect(address, shared, number));
    }
}

impl Shared {
    fn connecting(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.connecting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tries until there is a connection. Who waits for the first one learns of the first failure; after it there is always a wait, so
/// that a server that takes connections and then can't serve is not flooded with them.
async fn connect(address: Arc<Address>, shared: Weak<Shared>, number: u64) {
    let mut waits = waits();
    if number > 1 {
        pause(&mut waits).await;
    }
    loop {
        let state = match address.connect(None).await {
            Ok(connection) => State::Up { connection, number },
            Err(fault) => {
                tracing::debug!(error = %Causes(&fault), "redis can't be reached");
                State::Down(fault)
            }
        };
        let is_up = matches!(state, State::Up { .. });
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.state.send_replace(state);
        drop(shared);
        if is_up {
            return;
        }
        pause(&mut waits).await;
    }
}

async fn pause(waits: &mut ExponentialBackoff) {
    tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
}
