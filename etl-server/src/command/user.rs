//! `etl user`: makes users of the API. No password comes by the arguments.

use std::io::{BufRead, IsTerminal, Read};

use etl_core::contract::store::{CreateUser, Others, UserCreated};
use etl_core::model::UserId;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::args::user::{CreateArgs, UserAction, UserArgs};
use crate::config::Config;
use crate::deployment;
use crate::failure::{Exit, Failure};
use crate::identity::{Passwords, Secret, email_fault, password_fault};
use crate::view::{print, print_json};

/// More than this is no password, and is not read to its end.
const LARGEST: u64 = 4096;

pub(crate) async fn execute(config: &Config, args: &UserArgs) -> Result<Exit, Failure> {
    match &args.action {
        UserAction::Create(args) => create(config, args).await,
    }
}

async fn create(config: &Config, args: &CreateArgs) -> Result<Exit, Failure> {
    // What is wrong with the input is told before anything is opened or made.
    if let Some(fault) = email_fault(&args.email) {
        return Err(Failure::input(fault));
    }
    let password = read()?;
    if let Some(fault) = password_fault(&password, &args.email) {
        return Err(Failure::input(fault));
    }
    let hashed = Passwords::new().hash(&password).await;
    let password_hash =
        hashed.map_err(|error| Failure::input("the password can't be used").because(error))?;
    let create = CreateUser {
        id: UserId(Uuid::now_v7()),
        email: args.email.clone(),
        password_hash,
        role: args.role,
        others: Others::Allowed,
    };
    let store = deployment::manage_or_make(config).await?;
    let created = store.accounts().create_user(create).await;
    store.close().await;
    let UserCreated::Created(user) = created? else {
        return Err(Failure::input(format!(
            "there is a user with the address {} already",
            args.email
        )));
    };
    if args.json {
        print_json(&json!({ "id": user.id, "email": user.email, "role": user.role }))?;
    } else {
        print(&format!("{} may sign in as {}\n", user.email, user.role))?;
    }
    Ok(Exit::Success)
}

/// The password: asked for twice on a terminal, without showing it; else the first line.
fn read() -> Result<Secret, Failure> {
    let unread = |error| Failure::input("the password can't be read").because(error);
    if std::io::stdin().is_terminal() {
        let ask = |prompt| rpassword::prompt_password(prompt).map(Secret::new);
        let password = ask("Password: ").map_err(unread)?;
        if ask("Again: ").map_err(unread)? != password {
            return Err(Failure::input("that was not the same password again"));
        }
        return Ok(password);
    }
    let mut line = Zeroizing::new(String::with_capacity(LARGEST as usize));
    let input = std::io::stdin().lock();
    let mut input = std::io::BufReader::with_capacity(1, input.take(LARGEST));
    input.read_line(&mut line).map_err(unread)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}
