//! Who asks.

use std::fmt::Debug;

use async_trait::async_trait;
use etl_core::contract::StoreError;
use etl_core::model::{Actor, ApiKeyId, Role, SessionId, UserId};

use super::permission::Permission;

/// Who asks, known for sure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) user: UserId,
    /// As people know it: for reasons and logs.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) kind: Kind,
}

/// How a principal showed who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It signed in, and may do what its role may.
    Session(SessionId),
    /// It has a key, which may do of that what its scopes name.
    ApiKey {
        /// Which.
        id: ApiKeyId,
        /// Permissions in text.
        scopes: Vec<String>,
    },
}

impl Principal {
    /// Whether it may do this.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        let is_in_scope = match &self.kind {
            Kind::Session(_) => true,
            Kind::ApiKey { scopes, .. } => scopes.contains(&permission.to_string()),
        };
        is_in_scope && permission.is_of(self.role)
    }

    /// Them as the audit log remembers them, where there was a stranger before.
    pub(crate) fn as_actor(&self, stranger: &Actor) -> Actor {
        Actor {
            user_id: Some(self.user),
            name: self.name.clone(),
            ..stranger.clone()
        }
    }

    /// The session by which it is here in person; none if it has a key.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match self.kind {
            Kind::Session(session) => Some(session),
            Kind::ApiKey { .. } => None,
        }
    }
}

/// Tells from the header `Authorization` who asks.
#[async_trait]
pub(crate) trait Authenticate: Send + Sync + Debug + 'static {
    /// # Errors
    /// [`Refused`] if it is not known for sure. Why is for the log and never for whoever asks.
    async fn principal(&self, authorization: Option<&str>) -> Result<Principal, Refused>;

    /// The same as they are now, as it was seen at most five seconds ago: for who stays for long.
    ///
    /// # Errors
    /// [`Refused`] if they have signed out or may not be here any more.
    async fn again(&self, principal: &Principal) -> Result<Principal, Refused>;
}

/// Who asks is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Nobody says who asks, or not truly: why not.
    #[error("who asks is not known: {0}")]
    Unknown(&'static str),
    /// It can't be found out now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::identity::{Action, Resource};

    #[test]
    fn a_key_may_do_what_both_its_scopes_and_its_role_allow() {
        let key = |role, scopes: &[&str]| Principal {
            user: UserId(Uuid::nil()),
            name: "ci".into(),
            role,
            kind: Kind::ApiKey {
                id: ApiKeyId(Uuid::nil()),
                scopes: scopes.iter().map(ToString::to_string).collect(),
            },
        };
        let cancel = Permission::to(Action::Cancel, Resource::Jobs);
        assert!(key(Role::Operator, &["jobs:cancel"]).may(cancel));
        assert!(!key(Role::Operator, &["jobs:read"]).may(cancel));
        assert!(!key(Role::Operator, &[]).may(cancel));
        assert!(!key(Role::Viewer, &["jobs:cancel"]).may(cancel));
    }
}
