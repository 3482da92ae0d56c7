//! `/users`: who may sign in, for admins.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use etl_core::contract::store::{
    ChangeMfa, CreateUser, EndSessions, Others, RemoveUser, UpdateUser, UserCreated, UserWrite,
};
use etl_core::model::{
    MfaChange, Page, Role, Session, SessionId, Timestamp, User, UserEdit, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Api;
use super::answer::{Created, Done, Versioned};
use super::body::Body;
use super::extract::{Id, IfMatch, LARGEST_LIMIT, MayMatch, Part, Query, page};
use super::problem::Problem;
use super::route::{Access, Route};
use crate::identity::{Action, Resource, Secret, email_fault};

/// The ways in.
pub(super) fn routes() -> Vec<Route> {
    let to = |action| Access::to(action, Resource::Users);
    vec![
        Route::get("/api/v1/users", Resource::Users, list).says("Users, the oldest first"),
        Route::post("/api/v1/users", to(Action::Create), create).says("A new user"),
        Route::get("/api/v1/users/{id}", Resource::Users, one).says("A user"),
        Route::put("/api/v1/users/{id}", to(Action::Update), update)
            .says("Makes a user different; another password or role ends their sessions"),
        Route::delete("/api/v1/users/{id}", to(Action::Delete), remove)
            .says("Removes a user with all that is theirs"),
        Route::get("/api/v1/users/{id}/sessions", Resource::Users, sessions)
            .says("The sessions of a user, the newest first"),
        Route::delete(
            "/api/v1/users/{id}/sessions",
            to(Action::Update),
            end_sessions,
        )
        .says("Ends all sessions of a user"),
        Route::delete("/api/v1/users/{id}/mfa", to(Action::Update), remove_factor)
            .says("Takes the second factor of a user away who lost it, and ends their sessions"),
    ]
}

/// A user to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    #[schemars(length(max = 254))]
    email: String,
    #[schemars(length(min = 12, max = 128))]
    password: Secret,
    role: Role,
}

/// A user as they are to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditedUser {
    #[schemars(length(max = 254))]
    email: String,
    role: Role,
    is_active: bool,
    /// Another password. Without one it stays.
    #[schemars(length(min = 12, max = 128))]
    password: Option<Secret>,
}

/// What is shown of a user.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownUser {
    id: UserId,
    email: String,
    role: Role,
    is_active: bool,
    /// Whether a second factor is asked for.
    mfa_enabled: bool,
    version: u64,
    last_login_at: Option<Timestamp>,
    /// No sign-in is looked at before.
    locked_until: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What is shown of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ShownSession {
    id: SessionId,
    /// What the client said that it is.
    client: String,
    created_at: Timestamp,
    last_used_at: Timestamp,
    /// When it ends, or has ended.
    ends_at: Timestamp,
    /// When somebody ended it.
    revoked_at: Option<Timestamp>,
}

impl From<User> for ShownUser {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            role: user.role,
            is_active: user.is_active,
            mfa_enabled: user.mfa.is_on(),
            version: user.version,
            last_login_at: user.last_login_at,
            locked_until: user.locked_until,
            created_at: user.created_at,
            updated_at: user.updated_at,
            email: user.email,
        }
    }
}

impl From<User> for Versioned<ShownUser> {
    fn from(user: User) -> Self {
        Self {
            version: user.version,
            body: user.into(),
        }
    }
}

impl From<Session> for ShownSession {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            ends_at: session.ends_at(),
            revoked_at: session.revoked_at,
            client: session.client,
        }
    }
}

/// The address, if it can be one.
pub(super) fn email(text: &str) -> Result<&str, Problem> {
    match email_fault(text) {
        Some(fault) => Err(Problem::unfit_at("/email", fault)),
        None => Ok(text),
    }
}

/// Users, the oldest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<ShownUser>>, Problem> {
    let page = page(part.limit.as_deref(), part.cursor)?;
    let users = api.accounts.users(&page).await.map_err(Problem::of_list)?;
    Ok(Json(Page {
        items: users.items.into_iter().map(ShownUser::from).collect(),
        next_cursor: users.next_cursor,
    }))
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Body(body): Body<NewUser>,
) -> Result<Created<Versioned<ShownUser>>, Problem> {
    let email = email(&body.email)?;
    let create = CreateUser {
        id: UserId(Uuid::now_v7()),
        email: email.into(),
        password_hash: api.identity.hash_new(&body.password, email).await?,
        role: body.role,
        others: Others::Allowed,
    };
    match api.accounts.create_user(create).await? {
        UserCreated::Created(user) => Ok(Created {
            location: format!("/api/v1/users/{}", user.id),
            body: (*user).into(),
        }),
        UserCreated::EmailTaken | UserCreated::NotFirst => Err(email_taken()),
    }
}

pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
) -> Result<Versioned<ShownUser>, Problem> {
    let user = api.accounts.user(user).await?;
    user.map(Versioned::from).ok_or_else(Problem::not_found)
}

/// Makes a user as is said. Another password or role, or being made inactive, ends their sessions.
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
    IfMatch(version): IfMatch,
    Body(body): Body<EditedUser>,
) -> Result<Versioned<ShownUser>, Problem> {
    let email = email(&body.email)?;
    let password_hash = match &body.password {
        Some(password) => Some(api.identity.hash_new(password, email).await?),
        None => None,
    };
    let update = UpdateUser {
        id: user,
        expected_version: Some(version),
        edit: UserEdit {
            email: Some(email.into()),
            password_hash,
            role: Some(body.role),
            is_active: Some(body.is_active),
        },
    };
    let written = api.accounts.update_user(update).await?;
    api.identity.forget(user);
    written_user(written).map(Versioned::from)
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
    MayMatch(version): MayMatch,
) -> Result<Done, Problem> {
    let remove = RemoveUser {
        id: user,
        expected_version: version,
    };
    let written = api.accounts.remove_user(remove).await?;
    api.identity.forget(user);
    written_user(written).map(|_| Done)
}

/// The sessions of a user that are not forgotten yet, the newest first, in one page.
pub(super) async fn sessions(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
) -> Result<Json<Page<ShownSession>>, Problem> {
    // One who is not there has no sessions, which is not what is to be told.
    if api.accounts.user(user).await?.is_none() {
        return Err(Problem::not_found());
    }
    sessions_of(&api, user).await.map(Json)
}

/// The newest sessions of a user.
pub(super) async fn sessions_of(api: &Api, user: UserId) -> Result<Page<ShownSession>, Problem> {
    let sessions = api.accounts.sessions(user).await?;
    let newest = sessions.into_iter().take(LARGEST_LIMIT);
    Ok(Page {
        items: newest.map(ShownSession::from).collect(),
        next_cursor: None,
    })
}

/// Takes the second factor of a user away who lost it, and ends their sessions.
pub(super) async fn remove_factor(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
) -> Result<Done, Problem> {
    let disable = ChangeMfa {
        user,
        change: MfaChange::Disable,
    };
    let was_there = api.accounts.change_mfa(disable).await?;
    if was_there {
        api.accounts.end_sessions(EndSessions { user }).await?;
        api.identity.forget(user);
    }
    was_there.then_some(Done).ok_or_else(Problem::not_found)
}

/// Ends all sessions of a user.
pub(super) async fn end_sessions(
    State(api): State<Arc<Api>>,
    Id(user): Id<UserId>,
) -> Result<Done, Problem> {
    let was_there = api.accounts.end_sessions(EndSessions { user }).await?;
    api.identity.forget(user);
    was_there.then_some(Done).ok_or_else(Problem::not_found)
}

fn written_user(written: UserWrite) -> Result<User, Problem> {
    match written {
        UserWrite::Written(user) => Ok(*user),
        UserWrite::Stale { version } => Err(Problem::stale(version)),
        UserWrite::Unknown => Err(Problem::not_found()),
        UserWrite::EmailTaken => Err(email_taken()),
        UserWrite::LastAdmin => Err(Problem::new(
            StatusCode::CONFLICT,
            "nobody could administer any more: make another admin first",
        )),
    }
}

fn email_taken() -> Problem {
    Problem::new(StatusCode::CONFLICT, "another user has this address")
}
