//! What stores on SQL databases have in common: how rows become the model's values, and what a group of requests comes to.
//! It runs no statement. The databases differ in their SQL, in how they lock, and in how their connections fail; their
//! crates have all of that.

pub mod accounts;
pub mod audit;
mod codes;
mod commit;
mod conn;
mod credentials;
pub mod dead_letters;
mod fault;
mod figures;
mod guards;
mod letters;
mod lines;
mod plan;
mod put_off;
mod retention;
mod rows;
mod steps;
mod submit;
mod writer;

pub use accounts::AccountsSql;
pub use audit::AuditSql;
pub use commit::{Touched, decide};
pub use conn::{Arg, SqlConn};
pub use credentials::{after, page, sealed_credential};
pub use dead_letters::DeadLettersSql;
pub use fault::{Fault, Result};
pub use figures::{RANKS, job_figures, step_figures};
pub use guards::{Guard, GuardedEvent, guards};
pub use letters::{LetterRow, StoredHook, dead_letter, hook};
pub use lines::LineRow;
pub use plan::{CheckpointRow, ItemRow, JobMove, JobNow, Plan};
pub use put_off::PutOff;
pub use retention::{archive_state, expired_page};
pub use rows::{
    Columns, count, item_column, job_record, json, log_line, parse, parse_json, step_record,
    step_snapshot, time, word,
};
pub use steps::{StepNow, StepWrite, millis};
pub use submit::{JobRow, Known, NewRows, PendingRow, TakenRow};
pub use writer::{Answers, Call, Group, ROWS, Request, Transactor, WriterHandle};
