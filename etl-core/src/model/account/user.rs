//! Users: what is known of them, how they are edited, and how long failed sign-ins keep them waiting.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mfa::{Mfa, MfaChange};
use crate::model::ids::UserId;
use crate::model::status::vocabulary;
use crate::model::time::Timestamp;

vocabulary! {
    /// What a user may do, from the least to the most.
    Role ("role") {
        /// Looks.
        Viewer = "viewer",
        /// Runs and cancels.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
}

/// A person who may sign in. It does not serialize: what of it is shown is decided where it is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The id, for ever.
    pub id: UserId,
    /// The address, as it was given. Two users never have the same [`email_key`].
    pub email: String,
    /// The password's hash as PHC text. The store does not look into it.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may sign in at all.
    pub is_active: bool,
    /// How often what people edit was edited, from 1: the guard of the next edit.
    pub version: u64,
    /// Raised whenever what was handed out before must stop counting. Access tokens carry it.
    pub epoch: u64,
    /// Sign-ins in a row that were begun and did not succeed.
    pub failed_logins: u32,
    /// No sign-in is looked at before.
    pub locked_until: Option<Timestamp>,
    /// The last sign-in that succeeded.
    pub last_login_at: Option<Timestamp>,
    /// The second factor.
    pub mfa: Mfa,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When what people edit was last edited.
    pub updated_at: Timestamp,
}

/// What an edit of a user makes different. `None` leaves a field as it is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserEdit {
    /// Another address.
    pub email: Option<String>,
    /// Another password's hash, as PHC text.
    pub password_hash: Option<String>,
    /// Another role.
    pub role: Option<Role>,
    /// Whether the user may sign in.
    pub is_active: Option<bool>,
}

impl User {
    /// Whether the user can administer.
    pub fn is_active_admin(&self) -> bool {
        self.is_active && self.role == Role::Admin
    }

    /// Whether a session may begin of who was found to be this user in this epoch.
    pub fn may_open(&self, epoch: u64) -> bool {
        self.is_active && self.epoch == epoch
    }

    /// The user after an edit. Another password, another role, or being made active or inactive raises the epoch.
    pub fn edited(&self, edit: &UserEdit, now: Timestamp) -> Self {
        let mut after = self.clone();
        if let Some(email) = &edit.email {
            after.email.clone_from(email);
        }
        if let Some(hash) = &edit.password_hash {
            after.password_hash.clone_from(hash);
        }
        after.role = edit.role.unwrap_or(self.role);
        after.is_active = edit.is_active.unwrap_or(self.is_active);
        let keeps_sessions = after.password_hash == self.password_hash
            && after.role == self.role
            && after.is_active == self.is_active;
        if !keeps_sessions {
            after.epoch += 1;
        }
        after.version += 1;
        after.updated_at = now;
        after
    }

    /// Begins a sign-in: it counts as failed until [`signed_in`](Self::signed_in) says otherwise, so that guesses made at the
    /// same time are counted before any of them is looked at. Refused, and not counted, while the user has to wait: until when.
    ///
    /// # Errors
    /// The time before which no sign-in is looked at.
    pub fn admit(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        if let Some(until) = self.locked_until.filter(|until| now < *until) {
            return Err(until);
        }
        self.failed_logins = self.failed_logins.saturating_add(1);
        let delay = login_delay(self.failed_logins);
        self.locked_until = (!delay.is_zero()).then(|| now + delay);
        Ok(())
    }

    /// A sign-in succeeded: what failed before is forgotten.
    pub fn signed_in(&mut self, now: Timestamp) {
        self.failed_logins = 0;
        self.locked_until = None;
        self.last_login_at = Some(now);
    }

    /// Changes the second factor, if the change is one that may be. Whether it was.
    pub fn change_mfa(&mut self, change: &MfaChange, now: Timestamp) -> bool {
        let is_made = self.mfa.change(change, now);
        if is_made && change.shows() {
            self.version += 1;
            self.updated_at = now;
        }
        is_made
    }
}

/// Of hashes it shows nothing.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("email", &self.email)
            .field("role", &self.role)
            .field("is_active", &self.is_active)
            .field("version", &self.version)
            .field("epoch", &self.epoch)
            .field("failed_logins", &self.failed_logins)
            .field("locked_until", &self.locked_until)
            .field("last_login_at", &self.last_login_at)
            .field("mfa", &self.mfa)
            .finish_non_exhaustive()
    }
}

/// Of the hash it shows that there is one.
impl fmt::Debug for UserEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserEdit")
            .field("email", &self.email)
            .field("has_password_hash", &self.password_hash.is_some())
            .field("role", &self.role)
            .field("is_active", &self.is_active)
            .finish()
    }
}

/// What two addresses have in common that are the same but for capitals.
pub fn email_key(email: &str) -> String {
    email.to_lowercase()
}

/// Sign-ins that may fail in a row before anybody has to wait.
const FREE_FAILURES: u32 = 5;

/// The longest wait. There is none for good: whoever knows the password gets in some time.
const LONGEST_DELAY: Duration = Duration::from_mins(15);

/// How long nobody may try again after so many failures in a row: not at all for the first four, 1 s after the fifth, twice as long
/// after each other, at most 15 minutes.
pub fn login_delay(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(FREE_FAILURES) else {
        return Duration::ZERO;
    };
    let seconds = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_begins_after_five_failures_doubles_and_is_never_for_good() {
        let seconds = |failures| login_delay(failures).as_secs();
        let waits: Vec<_> = (0..9).map(seconds).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8]);
        assert_eq!(seconds(14), 512);
        for failures in [15, 16, 63, 64, 68, 69, 70, 1_000, u32::MAX] {
            assert_eq!(seconds(failures), 900, "{failures}");
        }
    }

    #[test]
    fn of_a_million_guesses_in_a_day_a_hundred_are_looked_at() {
        let day = Duration::from_hours(24);
        let mut user = User {
            id: UserId(uuid::Uuid::nil()),
            email: "ana@example.org".into(),
            password_hash: String::new(),
            role: Role::Viewer,
            is_active: true,
            version: 1,
            epoch: 1,
            failed_logins: 0,
            locked_until: None,
            last_login_at: None,
            mfa: Mfa::default(),
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
        };
        let begun = Timestamp::from_micros(0);
        let looked_at = (0..1_000_000)
            .filter(|guess| user.admit(begun + day * *guess / 1_000_000).is_ok())
            .count();
        assert!((90..120).contains(&looked_at), "{looked_at}");
    }

    #[test]
    fn addresses_are_the_same_whatever_their_capitals() {
        assert_eq!(email_key("Ana@Example.ORG"), email_key("aNA@example.org"));
        assert_ne!(email_key("ana@example.org"), email_key("ana@example.com"));
    }
}
