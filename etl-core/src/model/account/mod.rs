//! Who may sign in, and with what: users, sessions, keys and tokens, and the pure rules by which they change. Passwords,
//! secrets and tokens are never here: what is kept of them is hashed or sealed by others.

mod mfa;
mod session;
mod token;
mod user;

pub use mfa::{Mfa, MfaChange};
pub use session::{Rotation, Session, SessionState};
pub use token::{ApiKey, OneTimeToken, Purpose, TokenHash};
pub use user::{Role, User, UserEdit, email_key, login_delay};
