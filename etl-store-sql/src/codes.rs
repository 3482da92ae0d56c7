//! What the result codes of databases mean to a caller of the store. SQLSTATEs have five characters, SQLite's extended
//! result codes are numbers below 10,000.

use etl_core::contract::StoreErrorKind;
use sqlx::error::DatabaseError;

const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const CONSTRAINT: i32 = 19;
const CONSTRAINT_FOREIGNKEY: i32 = CONSTRAINT | (3 << 8);
const IOERR_CORRUPTFS: i32 = IOERR | (33 << 8);

/// What a caller can do about an error of a database.
pub(crate) fn kind(error: &dyn DatabaseError) -> StoreErrorKind {
    error
        .code()
        .map_or(StoreErrorKind::Corrupt, |code| kind_of(&code))
}

/// Whether the database gave up before it wrote the end of the transaction: SQLite's disk is full, or somebody held its lock; or
/// Postgres rolled back.
pub(crate) fn is_refusal_to_write(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    match code.parse::<i32>() {
        Ok(number) if code.len() < SQLSTATE => matches!(number & 0xff, BUSY | FULL),
        _ => code.starts_with("40") || code.starts_with("53"),
    }
}

/// Whether another transaction got in the way: a deadlock, or a row that both made. One database with one writer has neither.
pub(crate) fn is_conflict(error: &dyn DatabaseError) -> bool {
    error
        .code()
        .is_some_and(|code| matches!(&*code, "40001" | "40P01" | "23505"))
}

const SQLSTATE: usize = 5;

fn kind_of(code: &str) -> StoreErrorKind {
    match code.parse() {
        Ok(number) if code.len() < SQLSTATE => of_sqlite(number),
        _ => of_sqlstate(code),
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn of_sqlstate(code: &str) -> StoreErrorKind {
    match code {
        "23503" => StoreErrorKind::NotFound,
        // A server that went read-only is a standby now: the next connection finds the primary. A lock is not free now. A
        // privilege is missing: nothing is wrong with the data, and once it is granted all goes on.
        // A database that is being recovered or an object that is not in the state that is asked for (55000) will be.
        "25006" | "55P03" | "55000" | "42501" => StoreErrorKind::Unavailable,
        _ => match code.get(..2) {
            // Connection, transaction rolled back, resources, operator intervention, system, authorization, no such
            // database.
            Some("08" | "40" | "53" | "57" | "58" | "28" | "3D") => StoreErrorKind::Unavailable,
            // Integrity, and what our triggers raise.
            Some("23" | "P0") => StoreErrorKind::Illegal,
            _ => StoreErrorKind::Corrupt,
        },
    }
}

/// Result codes: <https://www.sqlite.org/rescode.html>.
fn of_sqlite(code: i32) -> StoreErrorKind {
    if code == IOERR_CORRUPTFS {
        return StoreErrorKind::Corrupt;
    }
    match code & 0xff {
        PERM | BUSY | LOCKED | NOMEM | READONLY | INTERRUPT | IOERR | FULL | CANTOPEN => {
            StoreErrorKind::Unavailable
        }
        CONSTRAINT if code == CONSTRAINT_FOREIGNKEY => StoreErrorKind::NotFound,
        CONSTRAINT => StoreErrorKind::Illegal,
        _ => StoreErrorKind::Corrupt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_code_says_what_the_caller_can_do() {
        for (code, kind) in [
            ("13", StoreErrorKind::Unavailable),
            ("1034", StoreErrorKind::Unavailable),
            ("8", StoreErrorKind::Unavailable),
            ("517", StoreErrorKind::Unavailable),
            ("11", StoreErrorKind::Corrupt),
            ("26", StoreErrorKind::Corrupt),
            ("8458", StoreErrorKind::Corrupt),
            ("1811", StoreErrorKind::Illegal),
            ("275", StoreErrorKind::Illegal),
            ("787", StoreErrorKind::NotFound),
            ("57P01", StoreErrorKind::Unavailable),
            ("08006", StoreErrorKind::Unavailable),
            ("40001", StoreErrorKind::Unavailable),
            ("25006", StoreErrorKind::Unavailable),
            ("42501", StoreErrorKind::Unavailable),
            ("55000", StoreErrorKind::Unavailable),
            ("23505", StoreErrorKind::Illegal),
            ("23503", StoreErrorKind::NotFound),
            ("P0001", StoreErrorKind::Illegal),
            ("42P01", StoreErrorKind::Corrupt),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
        }
    }
}
