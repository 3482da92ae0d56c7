//! Users and what they sign in with. What may happen the model decides; here rows are read, asked, and written back, in one
//! transaction each. The databases have their dialects ([`accounts_sql!`](crate::accounts_sql)) and their connections.

mod rows;
mod sessions;
mod sql;
mod store;
mod tokens;
mod users;

pub use sessions::{open_session, revoke_session, rotate_token, sessions};
pub use sql::AccountsSql;
pub use tokens::{
    api_key, api_keys, create_api_key, fail_token, forget_ended, put_token, revoke_api_key,
    take_token, token, use_api_key,
};
pub use users::{
    admit_login, change_mfa, create_user, end_sessions, login_succeeded, remove_user, update_user,
    user, user_by_email, users,
};

use crate::conn::{Arg, SqlConn, row};
use crate::fault::Result;
use crate::writer::Answers;

/// Takes requests one after the other. A refusal is its request's own: it was found before anything was written.
macro_rules! each {
    ($conn:ident, $inputs:ident, $one:ident) => {{
        let mut answers = Vec::with_capacity($inputs.len());
        for input in $inputs {
            match $one($conn, input).await {
                Err(fault) if fault.kind != etl_core::contract::StoreErrorKind::Illegal => {
                    return Err(fault);
                }
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }};
}
use each;

/// What a group's requests of one kind come to.
type Answered<O> = Result<Answers<O>>;
