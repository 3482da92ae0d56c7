//! The second factor: a TOTP secret (RFC 6238) that somebody else sealed, and codes for who lost it.

use std::fmt;

use super::token::TokenHash;
use crate::model::time::Timestamp;

/// The most recovery codes that a user has at a time.
const MAX_RECOVERY_CODES: usize = 10;

/// A user's second factor: none, one that waits for its first code, or one that is asked for.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Mfa {
    /// The secret, sealed.
    pub sealed: Option<Vec<u8>>,
    /// When the first code was right. Before, nobody is asked for one.
    pub confirmed_at: Option<Timestamp>,
    /// The step of the last code that was taken: no code of it or of an earlier one is taken again.
    pub last_step: Option<u64>,
    /// The recovery codes that were not used yet.
    pub recovery_codes: Vec<TokenHash>,
}

/// A change of a user's second factor. A closed set, with one interpreter.
#[derive(Clone, PartialEq, Eq)]
pub enum MfaChange {
    /// A new secret, sealed, that waits for its first code. Refused if another is in use.
    Enroll {
        /// The secret, sealed.
        sealed: Vec<u8>,
    },
    /// The first code was right: from now on codes are asked for. Refused if no secret waits, or another one.
    Confirm {
        /// The secret that the code was of, sealed.
        sealed: Vec<u8>,
        /// The code's step, which is used up by it.
        step: u64,
        /// Recovery codes, at most 10.
        recovery_codes: Vec<TokenHash>,
    },
    /// Uses up a code's step. Refused unless it is later than every step before, and if another secret is in use.
    AcceptStep {
        /// The secret that the code was of, sealed.
        sealed: Vec<u8>,
        /// The step.
        step: u64,
    },
    /// Other recovery codes in place of all before, at most 10. Refused if no secret is in use.
    SetRecoveryCodes(Vec<TokenHash>),
    /// Uses up a recovery code. Refused if it is none, or used.
    UseRecoveryCode(TokenHash),
    /// The same secret under another key. Refused if another secret, or none, is there.
    Reseal {
        /// The secret as it is sealed.
        before: Vec<u8>,
        /// The secret as it is to be sealed.
        after: Vec<u8>,
    },
    /// There is no second factor any more. Refused if there was none, not even one that waits.
    Disable,
}

impl Mfa {
    /// Whether a code is asked for.
    pub fn is_on(&self) -> bool {
        self.sealed.is_some() && self.confirmed_at.is_some()
    }

    /// Makes a change, if it is one that may be. Whether it was.
    pub fn change(&mut self, change: &MfaChange, now: Timestamp) -> bool {
        match change {
            MfaChange::Enroll { sealed } if !self.is_on() => {
                *self = Self {
                    sealed: Some(sealed.clone()),
                    ..Self::default()
                };
                true
            }
            MfaChange::Confirm {
                sealed,
                step,
                recovery_codes,
            } if self.sealed.as_ref() == Some(sealed)
                && !self.is_on()
                && recovery_codes.len() <= MAX_RECOVERY_CODES =>
            {
                self.confirmed_at = Some(now);
                self.last_step = Some(*step);
                self.recovery_codes.clone_from(recovery_codes);
                true
            }
            MfaChange::AcceptStep { sealed, step }
                if self.is_on()
                    && self.sealed.as_ref() == Some(sealed)
                    && self.last_step.is_none_or(|last| last < *step) =>
            {
                self.last_step = Some(*step);
                true
            }
            MfaChange::SetRecoveryCodes(codes)
                if self.is_on() && codes.len() <= MAX_RECOVERY_CODES =>
            {
                self.recovery_codes.clone_from(codes);
                true
            }
            MfaChange::UseRecoveryCode(code) if self.is_on() => {
                let before = self.recovery_codes.len();
                self.recovery_codes.retain(|left| left != code);
                self.recovery_codes.len() < before
            }
            MfaChange::Reseal { before, after } if self.sealed.as_ref() == Some(before) => {
                self.sealed = Some(after.clone());
                true
            }
            MfaChange::Disable if self.sealed.is_some() => {
                *self = Self::default();
                true
            }
            _ => false,
        }
    }
}

impl MfaChange {
    /// Whether it makes a user another to who looks at them: whether a second factor is asked for.
    pub fn shows(&self) -> bool {
        matches!(self, Self::Confirm { .. } | Self::Disable)
    }
}

/// Of secrets and codes it shows how many there are.
impl fmt::Debug for Mfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mfa")
            .field("has_secret", &self.sealed.is_some())
            .field("confirmed_at", &self.confirmed_at)
            .field("last_step", &self.last_step)
            .field("recovery_codes", &self.recovery_codes.len())
            .finish()
    }
}

/// Of secrets and codes it shows nothing.
impl fmt::Debug for MfaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enroll { .. } => "Enroll",
            Self::Confirm { .. } => "Confirm",
            Self::AcceptStep { .. } => "AcceptStep",
            Self::SetRecoveryCodes(_) => "SetRecoveryCodes",
            Self::UseRecoveryCode(_) => "UseRecoveryCode",
            Self::Reseal { .. } => "Reseal",
            Self::Disable => "Disable",
        })
    }
}
