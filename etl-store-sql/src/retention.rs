//! Lists of jobs that may be forgotten, and what became of the archives of logs.

use etl_core::model::{Cursor, JobId, Page, Timestamp};

use crate::fault::Result;
use crate::rows::Columns;

/// The page that these rows are: of each job its id and when it was accepted, oldest first, and of one more if there are more.
pub fn expired_page(rows: &[impl Columns], limit: usize) -> Result<Page<JobId>> {
    let kept = &rows[..rows.len().min(limit)];
    let items = kept
        .iter()
        .map(|row| row.parsed(0))
        .collect::<Result<Vec<JobId>>>()?;
    let next_cursor = match kept.last().filter(|_| rows.len() > limit) {
        Some(last) => {
            let (id, at): (JobId, Timestamp) = (last.parsed(0)?, last.parsed(1)?);
            Some(Cursor(format!("{}.{id}", at.as_micros())))
        }
        None => None,
    };
    Ok(Page { items, next_cursor })
}

/// What became of the archive of a log, as the column has it. Without NUL, which PostgreSQL can't hold.
pub fn archive_state(error: Option<&str>) -> String {
    match error {
        Some(error) => format!("failed: {}", error.replace('\0', "\u{fffd}")),
        None => "done".into(),
    }
}
