//! What the audit log says of each change: for every store the same, and nothing of passwords, secrets, tokens and their hashes.

use serde_json::{Value, json};

use super::{
    ChangeMfa, CreateApiKey, CreateUser, CredentialWrite, EndSessions, OpenSession, PutCredential,
    PutPipeline, RemoveUser, RevokeApiKey, RevokeSession, SettleLetter, Submitted, UpdateUser,
    UserCreated, UserWrite,
};
use crate::model::{
    ApiKey, AuditEntry, JobId, JobStatus, MfaChange, NewJob, PipelineId, PipelineRef, Session, User,
};

/// A request that is noted.
pub trait Audited<O> {
    /// What is noted once it has come to this; `None` if it changed nothing.
    fn entry(&self, outcome: &O) -> Option<AuditEntry>;
}

fn shown(user: &User) -> Value {
    json!({ "email": user.email, "role": user.role, "is_active": user.is_active, "version": user.version })
}

impl Audited<UserCreated> for CreateUser {
    fn entry(&self, outcome: &UserCreated) -> Option<AuditEntry> {
        let UserCreated::Created(user) = outcome else {
            return None;
        };
        Some(AuditEntry::new("user.create", "user", user.id).to(shown(user)))
    }
}

impl Audited<UserWrite> for UpdateUser {
    fn entry(&self, outcome: &UserWrite) -> Option<AuditEntry> {
        let UserWrite::Written(user) = outcome else {
            return None;
        };
        let mut after = shown(user);
        after["password_changed"] = json!(self.edit.password_hash.is_some());
        let before = json!({ "version": user.version - 1 });
        let entry = AuditEntry::new("user.update", "user", user.id);
        Some(entry.from(before).to(after))
    }
}

impl Audited<UserWrite> for RemoveUser {
    fn entry(&self, outcome: &UserWrite) -> Option<AuditEntry> {
        let UserWrite::Written(user) = outcome else {
            return None;
        };
        Some(AuditEntry::new("user.delete", "user", user.id).from(shown(user)))
    }
}

impl Audited<bool> for EndSessions {
    fn entry(&self, outcome: &bool) -> Option<AuditEntry> {
        outcome.then(|| AuditEntry::new("user.end_sessions", "user", self.user))
    }
}

impl Audited<bool> for ChangeMfa {
    fn entry(&self, outcome: &bool) -> Option<AuditEntry> {
        let action = match self.change {
            MfaChange::Enroll { .. } => "mfa.enroll",
            MfaChange::Confirm { .. } => "mfa.confirm",
            MfaChange::SetRecoveryCodes(_) => "mfa.set_recovery_codes",
            MfaChange::UseRecoveryCode(_) => "mfa.use_recovery_code",
            MfaChange::Disable => "mfa.disable",
            // Every sign-in has one, and its session is noted; another key changes nothing for anybody.
            MfaChange::AcceptStep { .. } | MfaChange::Reseal { .. } => return None,
        };
        outcome.then(|| AuditEntry::new(action, "user", self.user))
    }
}

impl Audited<Option<Session>> for OpenSession {
    fn entry(&self, outcome: &Option<Session>) -> Option<AuditEntry> {
        let session = outcome.as_ref()?;
        let user = json!({ "user_id": session.user_id });
        Some(AuditEntry::new("session.open", "session", session.id).to(user))
    }
}

impl Audited<bool> for RevokeSession {
    fn entry(&self, outcome: &bool) -> Option<AuditEntry> {
        let user = json!({ "user_id": self.user });
        outcome.then(|| AuditEntry::new("session.revoke", "session", self.session).from(user))
    }
}

impl Audited<Option<ApiKey>> for CreateApiKey {
    fn entry(&self, outcome: &Option<ApiKey>) -> Option<AuditEntry> {
        let key = outcome.as_ref()?;
        let shown = json!({
            "user_id": key.user_id, "name": key.name, "prefix": key.prefix, "scopes": key.scopes, "expires_at": key.expires_at,
        });
        Some(AuditEntry::new("api_key.create", "api_key", key.id).to(shown))
    }
}

impl Audited<bool> for RevokeApiKey {
    fn entry(&self, outcome: &bool) -> Option<AuditEntry> {
        let user = json!({ "user_id": self.user });
        outcome.then(|| AuditEntry::new("api_key.delete", "api_key", self.id).from(user))
    }
}

impl Audited<CredentialWrite> for PutCredential {
    fn entry(&self, outcome: &CredentialWrite) -> Option<AuditEntry> {
        let action = if self.version == 1 {
            "credential.create"
        } else {
            "credential.update"
        };
        let shown = json!({
            "namespace": self.namespace, "name": self.name, "connector_type": self.connector_type, "version": self.version,
        });
        let entry = || AuditEntry::new(action, "credential", self.id).to(shown);
        (*outcome == CredentialWrite::Written).then(entry)
    }
}

impl Audited<PipelineRef> for PutPipeline {
    fn entry(&self, outcome: &PipelineRef) -> Option<AuditEntry> {
        let action = if outcome.version == 1 {
            "pipeline.create"
        } else {
            "pipeline.update"
        };
        Some(AuditEntry::new(action, "pipeline", outcome.id).to(pipeline(outcome)))
    }
}

fn pipeline(reference: &PipelineRef) -> Value {
    json!({ "namespace": reference.namespace, "name": reference.name, "version": reference.version })
}

impl Audited<Submitted> for NewJob {
    fn entry(&self, outcome: &Submitted) -> Option<AuditEntry> {
        let Submitted::New(job) = outcome else {
            return None;
        };
        let shown = json!({
            "pipeline": pipeline(&self.pipeline), "trigger_type": self.trigger_type, "retry_of": self.retry_of,
        });
        Some(AuditEntry::new("job.submit", "job", job).to(shown))
    }
}

impl Audited<bool> for SettleLetter {
    fn entry(&self, outcome: &bool) -> Option<AuditEntry> {
        outcome.then(|| match self.retry {
            None => AuditEntry::new("dead_letter.discard", "dead_letter", self.id),
            Some(job) => AuditEntry::new("dead_letter.requeue", "dead_letter", self.id)
                .to(json!({ "retry_job_id": job })),
        })
    }
}

/// What is noted of a job whose end was asked for; nothing of one that had ended otherwise.
pub fn job_cancelled(job: JobId, reason: &str, status: JobStatus) -> Option<AuditEntry> {
    let was_asked = !status.is_terminal() || status == JobStatus::Cancelled;
    let shown = json!({ "status": status, "reason": reason });
    was_asked.then(|| AuditEntry::new("job.cancel", "job", job).to(shown))
}

/// What is noted of a pipeline that was removed.
pub fn pipeline_removed(namespace: &str, name: &str) -> AuditEntry {
    let place = format!("{namespace}/{name}");
    AuditEntry::new("pipeline.delete", "pipeline", place)
}

/// What is noted of a credential that was removed.
pub fn credential_removed(namespace: &str, name: &str) -> AuditEntry {
    let place = format!("{namespace}/{name}");
    AuditEntry::new("credential.delete", "credential", place)
}

/// What is noted of a schedule that was paused or let go on.
pub fn schedule_steered(schedule: PipelineId, is_paused: bool) -> AuditEntry {
    let action = if is_paused {
        "schedule.pause"
    } else {
        "schedule.resume"
    };
    AuditEntry::new(action, "schedule", schedule)
}
