//! Connections: what each is told at its start, and which are of no use.

use std::time::Duration;

use etl_core::contract::StoreErrorKind;
use etl_core::model::Timestamp;
use etl_store_sql::{Columns, Fault, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row};

/// How long a server may take to let us in. A host that is gone says nothing at all.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// What holds for every connection: no statement waits for ever, and none is left open by a process that is gone.
pub(crate) fn settings(options: PgConnectOptions, name: &str) -> PgConnectOptions {
    options
        .application_name(name)
        .options([
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "30s"),
            ("TimeZone", "UTC"),
            // All of ours is found by key, a few rows of a large table that is in memory. At the server's default, meant for
            // discs that turn, tables of up to some 15,000 rows are read from end to end instead, by every statement.
            ("random_page_cost", "1.1"),
        ])
        .disable_statement_logging()
}

/// What holds beside it for the connection that writes. All that it does begins with rows found by key or the first of an index.
/// How many jobs wait at this moment the server's statistics do not know, and by a wrong guess it would read all of them for a
/// few.
pub(crate) fn by_index_alone(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        // What has to be read through after all looks expensive then, and is not worth compiling.
        ("jit", "off"),
    ])
}

/// A connection that writes. A server that is a standby now refuses writes one by one; it is better not to be connected to it.
pub(crate) async fn writable(options: &PgConnectOptions) -> Result<PgConnection> {
    let connected = tokio::time::timeout(CONNECTED_WITHIN, async {
        let mut conn = options.connect().await?;
        let row = sqlx::query("SELECT pg_is_in_recovery()")
            .fetch_one(&mut conn)
            .await?;
        Ok::<_, Fault>((conn, row.try_get::<bool, _>(0)?))
    });
    let (conn, is_standby) = connected.await.map_err(|_| {
        Fault::said(
            StoreErrorKind::Unavailable,
            "the server does not answer in time",
        )
    })??;
    if is_standby {
        return Err(Fault::said(
            StoreErrorKind::Unavailable,
            "the server is a standby that can only be read",
        ));
    }
    Ok(conn)
}

/// The database's time, of this very moment and not of the transaction's start.
pub(crate) async fn now(conn: &mut PgConnection) -> Result<Timestamp> {
    let row = sqlx::query("SELECT etl_text(clock_timestamp())")
        .fetch_one(conn)
        .await?;
    row.parsed(0)
}
