//! Who asks, and what they may do. Nothing here knows HTTP.
//!
//! People sign in with a password, and with a second factor if they have one. They get an access token, which is good for minutes and
//! asks no store to be read, and a refresh token, which is good once and gives the next pair. Programs have keys. What was taken from
//! somebody, the role or the session, counts nowhere any more after five seconds.

mod access_token;
mod authenticate;
mod common_password;
mod email;
mod error;
mod keys;
mod mfa;
mod password;
mod permission;
mod principal;
mod recent;
mod secret;
mod session;
mod setup;
mod sign_in;
mod throttle;
mod ticket;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etl_core::contract::Clock;
use etl_core::contract::store::{Accounts, ForgetEnded};
use etl_core::model::{SessionId, TokenHash, User, UserId};
use etl_vault::Vault;
use tokio::time::MissedTickBehavior;

pub(crate) use access_token::LIFE as ACCESS_TOKEN_LIFE;
pub(crate) use email::fault as email_fault;
pub(crate) use error::IdentityError;
pub(crate) use keys::{Keys, KeysError};
pub(crate) use mfa::{Enrolment, SecondFactors, Verification};
pub(crate) use password::{Passwords, fault as password_fault};
pub(crate) use permission::{Action, Permission, Resource};
#[cfg(test)]
pub(crate) use principal::Kind;
pub(crate) use principal::{Authenticate, Principal, Refused};
pub(crate) use secret::{Secret, TokenKind};
pub(crate) use session::Tokens;
pub(crate) use sign_in::SignedIn;
pub(crate) use ticket::LIFE as TICKET_LIFE;

use access_token::Claims;
use recent::Recent;
use throttle::Throttle;

/// How long sessions are remembered after their end: admins see them, and a token that was exchanged before is known.
const SESSIONS_AFTER: Duration = Duration::from_hours(24);

/// Everything that has to do with who asks.
pub(crate) struct Identity {
    accounts: Arc<dyn Accounts>,
    vault: Vault,
    keys: Keys,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    throttle: Throttle,
    /// What access tokens say that were checked.
    checked: Recent<TokenHash, Arc<Claims>>,
    /// Users with their live sessions, as access tokens need them.
    users: Recent<UserId, Arc<Known>>,
    /// Users by the keys of their programs.
    by_key: Recent<TokenHash, Arc<Principal>>,
}

/// What is known of a user for a moment.
#[derive(Debug)]
struct Known {
    user: User,
    sessions: Vec<SessionId>,
}

/// Who sends a request, as far as can be seen.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// What it says that it is.
    pub(crate) agent: String,
}

impl Identity {
    pub(crate) fn new(
        accounts: Arc<dyn Accounts>,
        vault: Vault,
        keys: Keys,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            accounts,
            vault,
            keys,
            clock,
            passwords: Passwords::new(),
            throttle: Throttle::new(),
            checked: Recent::new(),
            users: Recent::new(),
            by_key: Recent::new(),
        }
    }

    /// Has the store forget what has ended, every hour.
    pub(crate) async fn keep_tidy(&self) {
        let forget = ForgetEnded {
            sessions_after: SESSIONS_AFTER,
        };
        let mut hours = tokio::time::interval(Duration::from_hours(1));
        hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            hours.tick().await;
            match self.accounts.forget_ended(forget.clone()).await {
                Ok(forgotten) => tracing::debug!(forgotten, "sessions and tokens that have ended"),
                Err(error) => tracing::warn!(%error, "what has ended is not forgotten yet"),
            }
        }
    }

    /// Something of a user was changed here: it counts in this process at once.
    pub(crate) fn forget(&self, user: UserId) {
        self.users.forget(|id, _| *id == user);
        self.by_key.forget(|_, principal| principal.user == user);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}
