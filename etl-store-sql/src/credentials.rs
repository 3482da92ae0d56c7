//! Credentials between rows and the model, and their list in pages.

use etl_core::contract::StoreErrorKind;
use etl_core::contract::store::SealedCredential;
use etl_core::model::{By, Cursor, Page, PageRequest};

use crate::fault::{Fault, Result};
use crate::rows::Columns;

/// A credential of a row that has these columns: `id`, `namespace`, `name`, `connector_type`, `version`, `key_id`,
/// `encrypted_data`, `created_by`, `created_at`, `updated_at`.
pub fn sealed_credential(row: &impl Columns) -> Result<SealedCredential> {
    Ok(SealedCredential {
        id: row.parsed(0)?,
        namespace: row.str(1)?.into(),
        name: row.str(2)?.into(),
        connector_type: row.str(3)?.into(),
        version: row.number(4)?,
        key_id: row.str(5)?.into(),
        sealed: row.bytes(6)?.to_vec(),
        created_by: By(row.str(7)?.into()),
        created_at: row.parsed(8)?,
        updated_at: row.parsed(9)?,
    })
}

/// The namespace and the name after which a page begins.
///
/// # Errors
/// `NotFound` for a cursor that none of our pages gave.
pub fn after(page: &PageRequest) -> Result<(&str, &str)> {
    let Some(cursor) = &page.cursor else {
        return Ok(("", ""));
    };
    cursor.0.split_once('/').ok_or_else(|| {
        Fault::said(
            StoreErrorKind::NotFound,
            "the cursor is not one of this list",
        )
    })
}

/// The page of `limit` credentials from these rows, of which there may be one more than the page has.
pub fn page<R: Columns>(rows: &[R], limit: usize) -> Result<Page<SealedCredential>> {
    let items = rows
        .iter()
        .take(limit)
        .map(sealed_credential)
        .collect::<Result<Vec<_>>>()?;
    let next_cursor = items
        .last()
        .filter(|_| rows.len() > limit)
        .map(|last| Cursor(format!("{}/{}", last.namespace, last.name)));
    Ok(Page { items, next_cursor })
}
