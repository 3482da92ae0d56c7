//! Advisory locks with fencing tokens.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use etl_core::model::{PipelineId, WorkerId};
use redis::Script;
use uuid::Uuid;

use crate::cache::millis;
use crate::error::RedisError;
use crate::link::Link;

/// KEYS: lock, counter of fences; ARGV: worker, milliseconds to live. Answers the fence, or 0.
///
/// A fence is larger than any before it, also when the server has forgotten its counter: it is never less than the server's
/// clock in microseconds.
static ACQUIRE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
         local clock = redis.call('TIME')
         local now = clock[1] * 1000000 + clock[2]
         local fence = math.max((tonumber(redis.call('GET', KEYS[2]) or '0') or 0) + 1, now)
         local text = string.format('%.0f', fence)
         redis.call('SET', KEYS[2], text)
         redis.call('HSET', KEYS[1], 'worker_id', ARGV[1], 'acquired_at', string.format('%.0f', now), 'fence', text)
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         return fence",
    )
});

/// KEYS: lock; ARGV: fence, milliseconds to live.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
         return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    )
});

/// KEYS: lock; ARGV: fence.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
         return redis.call('DEL', KEYS[1])",
    )
});

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockName {
    /// A pipeline.
    Pipeline(PipelineId),
    /// A credential.
    Credential(Uuid),
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(id) => write!(f, "pipeline:{id}"),
            Self::Credential(id) => write!(f, "credential:{id}"),
        }
    }
}

/// Locks for work that is wasteful to do twice and harmless: refreshing a token, warming a cache.
///
/// # Contract
/// They are advisory. A lock is held for a time by the server's clock, its holder may be paused longer than that, and a server
/// that restarts forgets who held what: at any time two MAY believe to hold one. Nothing whose outcome must be right may rest on
/// them alone. What must be right rests on the store's fences, or on a target that refuses a smaller
/// [`fence`](Lock::fence) than it has seen.
///
/// - A fence MUST be larger than every one given before for any lock of this server and prefix, as long as the server's clock is
///   not set back while it has forgotten its counter.
/// - A lock that ran out MUST NOT be renewed or released by who had it.
#[derive(Debug, Clone)]
pub struct Locks {
    link: Link,
}

impl Locks {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Takes a lock for so long (at least a millisecond), if nobody has it. Never waits for it.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`: go on as if there were no locks.
    pub async fn acquire(
        &self,
        name: LockName,
        worker: WorkerId,
        hold: Duration,
    ) -> Result<Option<Lock>, RedisError> {
        let names = self.link.names();
        let key = names.key(&[&"lock", &name]);
        let mut call = ACQUIRE.prepare_invoke();
        call.key(&key).key(names.key(&[&"lock", &"fence"]));
        call.arg(worker.to_string()).arg(millis(hold));
        let fence = self.link.script::<u64>(&call).await;
        let fence = fence.map_err(|fault| fault.of("acquire a lock"))?;
        Ok((fence > 0).then(|| Lock {
            link: self.link.clone(),
            key,
            fence,
        }))
    }
}

/// A lock that was taken. It is not given back by being dropped, but runs out.
#[derive(Debug)]
pub struct Lock {
    link: Link,
    key: String,
    fence: u64,
}

impl Lock {
    /// The number by which a target can tell this holder from those before it.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Holds it for so long from now on; whether it was still held.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`: it may run out.
    pub async fn renew(&self, hold: Duration) -> Result<bool, RedisError> {
        let mut call = RENEW.prepare_invoke();
        call.key(&self.key).arg(self.fence).arg(millis(hold));
        let renewed = self.link.script::<u8>(&call).await;
        let renewed = renewed.map_err(|fault| fault.of("renew a lock"))?;
        Ok(renewed == 1)
    }

    /// Gives it back; whether it was still held.
    ///
    /// # Errors
    /// `Unavailable` or `Refused`: it runs out by itself.
    pub async fn release(self) -> Result<bool, RedisError> {
        let mut call = RELEASE.prepare_invoke();
        call.key(&self.key).arg(self.fence);
        let released = self.link.script::<u8>(&call).await;
        let released = released.map_err(|fault| fault.of("release a lock"))?;
        Ok(released == 1)
    }
}
