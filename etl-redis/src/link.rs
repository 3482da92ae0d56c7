//! The connection for questions and answers. It is made when it is needed and again after a failure; in between, while the next
//! try is not due, a call fails at once, so that nobody waits for a server that is known to be away.

use std::sync::Arc;

use backon::ExponentialBackoff;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, ScriptInvocation};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::{Address, waits};
use crate::error::{Causes, Fault};
use crate::names::Names;

/// Clones share the connection.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    address: Arc<Address>,
    state: Arc<Mutex<State>>,
}

enum State {
    Up {
        connection: MultiplexedConnection,
        /// Which connection, so that a failure of an older one does not end it.
        number: u64,
    },
    Down {
        /// When the next try is due; `None` for at once.
        due: Option<Instant>,
        waits: ExponentialBackoff,
        number: u64,
    },
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Up { .. } => "Up",
            Self::Down { .. } => "Down",
        })
    }
}

impl Link {
    pub(crate) fn new(address: Arc<Address>) -> Self {
        let state = State::Down {
            due: None,
            waits: waits(),
            number: 0,
        };
        Self {
            address,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(crate) fn names(&self) -> &Names {
        self.address.names()
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
        let limit = self.address.time_limit() * 2;
        let answer = match tokio::time::timeout(limit, call(&mut connection)).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::Timeout(limit)),
        };
        if let Err(fault) = &answer
            && !fault.leaves_the_connection()
        {
            self.failed(number, fault).await;
        }
        answer
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), Fault> {
        // Held while connecting: one tries, the others learn of it.
        let mut state = self.state.lock().await;
        match &mut *state {
            State::Up { connection, number } => Ok((connection.clone(), *number)),
            State::Down { due, waits, number } => {
                if due.is_some_and(|due| Instant::now() < due) {
                    return Err(Fault::Waiting);
                }
                match self.address.connect(None).await {
                    Ok(connection) => {
                        let number = *number + 1;
                        *state = State::Up {
                            connection: connection.clone(),
                            number,
                        };
                        Ok((connection, number))
                    }
                    Err(fault) => {
                        *due = waits.next().map(|wait| Instant::now() + wait);
                        tracing::debug!(error = %Causes(&fault), "redis can't be reached");
                        Err(fault)
                    }
                }
            }
        }
    }

    async fn failed(&self, number: u64, fault: &Fault) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Up { number: current, .. } if *current == number) {
            tracing::warn!(error = %Causes(fault), "the connection to redis failed");
            *state = State::Down {
                due: None,
                waits: waits(),
                number,
            };
        }
    }
}
