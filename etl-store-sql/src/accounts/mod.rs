//! Users and what they sign in with. What may happen the model decides; here rows are read, asked, and written back, in one
//! transaction each. The databases have their dialects ([`accounts_sql!`](crate::accounts_sql)) and their connections.

mod rows;
mod sessions;
mod sql;
mod store;
mod tokens;
mod users;

use std::borrow::Cow;
use std::future::Future;

use etl_core::model::Timestamp;

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

use crate::fault::Result;
use crate::rows::{Columns, time};
use crate::writer::Answers;

/// A value for a statement. Ids and times are text, as rows give them.
#[derive(Debug)]
pub enum Arg<'a> {
    /// A text, or NULL.
    Text(Option<Cow<'a, str>>),
    /// An integer, or NULL.
    Int(Option<i64>),
    /// Bytes, or NULL.
    Bytes(Option<Cow<'a, [u8]>>),
}

impl<'a> Arg<'a> {
    fn id(id: impl ToString) -> Self {
        Self::Text(Some(id.to_string().into()))
    }

    fn text(text: &'a str) -> Self {
        Self::Text(Some(text.into()))
    }

    fn at(at: Timestamp) -> Self {
        Self::Text(Some(time(at).into()))
    }

    fn at_if(at: Option<Timestamp>) -> Self {
        Self::Text(at.map(|at| time(at).into()))
    }

    fn bytes(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes.into()))
    }
}

/// Where statements about accounts run: the transaction of a group, or a connection that reads.
pub trait AccountsConn: Send {
    /// A row.
    type Row: Columns + Send + Sync;
    /// The statements.
    const SQL: &'static AccountsSql;

    /// The store's time.
    fn now(&self) -> Timestamp;

    /// Rows of a statement.
    fn rows(
        &mut self,
        sql: &'static str,
        args: Vec<Arg<'_>>,
    ) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// How many rows a statement changed.
    fn write(
        &mut self,
        sql: &'static str,
        args: Vec<Arg<'_>>,
    ) -> impl Future<Output = Result<u64>> + Send;
}

/// The only row, if there is one.
async fn row<C: AccountsConn>(
    conn: &mut C,
    sql: &'static str,
    args: Vec<Arg<'_>>,
) -> Result<Option<C::Row>> {
    Ok(conn.rows(sql, args).await?.pop())
}

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
