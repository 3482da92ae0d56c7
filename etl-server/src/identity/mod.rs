//! Who asks, and what they may do. Nothing here knows HTTP.

mod permission;
mod principal;

pub(crate) use permission::{Action, Permission, Resource};
pub(crate) use principal::{Authenticate, Principal, RefuseAll};
#[cfg(test)]
pub(crate) use principal::{Kind, Refused};
