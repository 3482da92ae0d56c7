//! The audit log: who did what, when, and from where.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::UserId;
use super::time::Timestamp;

/// Who acts, as the audit log remembers them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actor {
    /// The user; `None` for somebody who is not known.
    pub user_id: Option<UserId>,
    /// As people know them.
    pub name: String,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// What the client said that it is.
    pub user_agent: Option<String>,
    /// By which the program's own log can be searched.
    pub trace_id: Option<String>,
}

/// Something that was done. It holds no secret and no hash of one: who makes it sees to that.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// What, as `RESOURCE.VERB`.
    pub action: &'static str,
    /// To what kind of thing.
    pub resource_type: &'static str,
    /// To which.
    pub resource_id: Option<String>,
    /// What there was before, as far as it is told.
    pub old_value: Option<Value>,
    /// What there is now, as far as it is told.
    pub new_value: Option<Value>,
}

impl AuditEntry {
    /// Something that was done to this.
    pub fn new(
        action: &'static str,
        resource_type: &'static str,
        resource_id: impl fmt::Display,
    ) -> Self {
        Self {
            action,
            resource_type,
            resource_id: Some(resource_id.to_string()),
            old_value: None,
            new_value: None,
        }
    }

    /// The same, with what there was before.
    pub fn from(mut self, old_value: Value) -> Self {
        self.old_value = Some(old_value);
        self
    }

    /// The same, with what there is now.
    pub fn to(mut self, new_value: Value) -> Self {
        self.new_value = Some(new_value);
        self
    }
}

/// A row of the audit log. The names are those of `audit_log`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The row's number: later rows have larger ones, and some numbers are left out.
    pub id: u64,
    /// When.
    pub timestamp: Timestamp,
    /// Who; `None` for somebody who is not known.
    pub user_id: Option<UserId>,
    /// Who, as people knew them.
    pub actor: String,
    /// What, as `RESOURCE.VERB`.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: Option<String>,
    /// To which.
    pub resource_id: Option<String>,
    /// What there was before, as far as it is told.
    pub old_value: Option<Value>,
    /// What there is now, as far as it is told.
    pub new_value: Option<Value>,
    /// Where the request came from.
    pub ip_address: Option<String>,
    /// What the client said that it is.
    pub user_agent: Option<String>,
    /// By which the program's own log can be searched.
    pub trace_id: Option<String>,
}

impl AuditRecord {
    /// The row of something that this actor did.
    pub fn new(id: u64, timestamp: Timestamp, actor: &Actor, entry: AuditEntry) -> Self {
        Self {
            id,
            timestamp,
            user_id: actor.user_id,
            actor: actor.name.clone(),
            action: entry.action.into(),
            resource_type: Some(entry.resource_type.into()),
            resource_id: entry.resource_id,
            old_value: entry.old_value,
            new_value: entry.new_value,
            ip_address: actor.ip_address.clone(),
            user_agent: actor.user_agent.clone(),
            trace_id: actor.trace_id.clone(),
        }
    }
}

/// Which rows a list is about. Empty fields don't restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// Of this action.
    pub action: Option<String>,
    /// Of this kind of thing.
    pub resource_type: Option<String>,
    /// Of this thing.
    pub resource_id: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// The place of a row in the chain, and what the chain comes to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The place, from 1 and without gaps.
    pub seq: u64,
    /// A MAC over the row and the one before it.
    pub mac: [u8; 32],
}

/// A row that is part of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct SealedRecord {
    /// The row.
    pub record: AuditRecord,
    /// Its place.
    pub seal: Seal,
}
