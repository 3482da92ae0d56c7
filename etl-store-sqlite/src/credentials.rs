//! Credentials: sealed bytes, and writes that are guarded by the version before them.

use async_trait::async_trait;
use etl_core::contract::store::{
    Audited, CredentialStore, CredentialWrite, PutCredential, Reseal, Result as StoreResult,
    SealedCredential, audited,
};
use etl_core::model::{AuditEntry, CredentialId, Page, PageRequest};
use etl_store_sql::{Answers, Fault, Result};
use etl_store_sql::{after, count, page, sealed_credential, time};

use crate::store::SqliteStore;
use crate::writer::Tx;

/// A wish to take a credential out.
#[derive(Debug)]
pub(crate) struct RemoveCredential {
    namespace: String,
    name: String,
}

impl Audited<bool> for RemoveCredential {
    fn entry(&self, was_there: &bool) -> Option<AuditEntry> {
        was_there.then(|| audited::credential_removed(&self.namespace, &self.name))
    }
}

pub(crate) async fn put(
    tx: &mut Tx<'_>,
    puts: &[&PutCredential],
) -> Result<Answers<CredentialWrite>> {
    let mut answers = Vec::with_capacity(puts.len());
    for put in puts {
        let sql = if put.version == 1 { FIRST } else { NEXT };
        let written = sqlx::query(sql)
            .bind(put.id.to_string())
            .bind(&put.namespace)
            .bind(&put.name)
            .bind(&put.connector_type)
            .bind(count(put.version))
            .bind(&put.key_id)
            .bind(&put.sealed[..])
            .bind(time(tx.now))
            .bind(&put.by.0)
            .execute(&mut *tx.conn)
            .await?;
        let rows = written.rows_affected();
        answers.push(Ok(
            verdict(tx, rows, put.id, put.version, &put.sealed).await?
        ));
    }
    Ok(answers)
}

pub(crate) async fn reseal(
    tx: &mut Tx<'_>,
    reseals: &[&Reseal],
) -> Result<Answers<CredentialWrite>> {
    let mut answers = Vec::with_capacity(reseals.len());
    for reseal in reseals {
        let written = sqlx::query(RESEAL)
            .bind(reseal.id.to_string())
            .bind(count(reseal.version))
            .bind(&reseal.key_id)
            .bind(&reseal.sealed[..])
            .execute(&mut *tx.conn)
            .await?;
        let rows = written.rows_affected();
        answers.push(Ok(verdict(
            tx,
            rows,
            reseal.id,
            reseal.version,
            &reseal.sealed,
        )
        .await?));
    }
    Ok(answers)
}

/// What a write came to that changed so many rows: one that changed none may have been there before.
async fn verdict(
    tx: &mut Tx<'_>,
    rows: u64,
    id: CredentialId,
    version: u64,
    sealed: &[u8],
) -> Result<CredentialWrite> {
    if rows > 0 {
        return Ok(CredentialWrite::Written);
    }
    let is_there: bool = sqlx::query_scalar(IS_THERE)
        .bind(id.to_string())
        .bind(count(version))
        .bind(sealed)
        .fetch_one(&mut *tx.conn)
        .await?;
    Ok(if is_there {
        CredentialWrite::Written
    } else {
        CredentialWrite::Stale
    })
}

pub(crate) async fn remove(
    tx: &mut Tx<'_>,
    removals: &[&RemoveCredential],
) -> Result<Answers<bool>> {
    let mut answers = Vec::with_capacity(removals.len());
    for removal in removals {
        let removed = sqlx::query(REMOVE)
            .bind(&removal.namespace)
            .bind(&removal.name)
            .execute(&mut *tx.conn)
            .await?;
        answers.push(Ok(removed.rows_affected() > 0));
    }
    Ok(answers)
}

#[async_trait]
impl CredentialStore for SqliteStore {
    async fn put_credential(&self, put: PutCredential) -> StoreResult<CredentialWrite> {
        self.ask_beside(put).await
    }

    async fn reseal_credential(&self, reseal: Reseal) -> StoreResult<CredentialWrite> {
        self.ask_beside(reseal).await
    }

    async fn remove_credential(&self, namespace: &str, name: &str) -> StoreResult<bool> {
        self.ask_beside(RemoveCredential {
            namespace: namespace.into(),
            name: name.into(),
        })
        .await
    }

    async fn credential(
        &self,
        namespace: &str,
        name: &str,
    ) -> StoreResult<Option<SealedCredential>> {
        let found = async {
            let row = sqlx::query(ONE)
                .bind(namespace)
                .bind(name)
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(sealed_credential).transpose()
        };
        found.await.map_err(|fault: Fault| fault.of("credential"))
    }

    async fn credential_by_id(&self, id: CredentialId) -> StoreResult<Option<SealedCredential>> {
        let found = async {
            let row = sqlx::query(BY_ID)
                .bind(id.to_string())
                .fetch_optional(self.readers())
                .await?;
            row.as_ref().map(sealed_credential).transpose()
        };
        found
            .await
            .map_err(|fault: Fault| fault.of("credential_by_id"))
    }

    async fn credentials(&self, request: &PageRequest) -> StoreResult<Page<SealedCredential>> {
        let found = async {
            let (namespace, name) = after(request)?;
            let limit = request.limit.clamp(1, 500);
            let rows = sqlx::query(LIST)
                .bind(namespace)
                .bind(name)
                .bind(limit as i64 + 1)
                .fetch_all(self.readers())
                .await?;
            page(&rows, limit)
        };
        found.await.map_err(|fault: Fault| fault.of("credentials"))
    }
}

const FIRST: &str = "
    INSERT INTO credentials (
        id, namespace, name, connector_type, version, key_id, encrypted_data, created_by, created_at, updated_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?9, ?8, ?8)
    ON CONFLICT DO NOTHING";

pub(crate) const NEXT: &str = "
    UPDATE credentials SET connector_type = ?4, version = ?5, key_id = ?6, encrypted_data = ?7, updated_at = ?8
    WHERE namespace = ?2 AND name = ?3 AND id = ?1 AND version = ?5 - 1 AND ?9 IS NOT NULL";

pub(crate) const RESEAL: &str = "
    UPDATE credentials SET version = ?2, key_id = ?3, encrypted_data = ?4
    WHERE id = ?1 AND version = ?2 - 1";

pub(crate) const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM credentials WHERE id = ?1 AND version = ?2 AND encrypted_data = ?3)";

pub(crate) const REMOVE: &str = "DELETE FROM credentials WHERE namespace = ?1 AND name = ?2";

pub(crate) const ONE: &str = "
    SELECT id, namespace, name, connector_type, version, key_id, encrypted_data, created_by, created_at, updated_at
    FROM credentials WHERE namespace = ?1 AND name = ?2";

pub(crate) const BY_ID: &str = "
    SELECT id, namespace, name, connector_type, version, key_id, encrypted_data, created_by, created_at, updated_at
    FROM credentials WHERE id = ?1";

pub(crate) const LIST: &str = "
    SELECT id, namespace, name, connector_type, version, key_id, encrypted_data, created_by, created_at, updated_at
    FROM credentials WHERE (namespace, name) > (?1, ?2) ORDER BY namespace, name LIMIT ?3";
