//! What a role may do: the one table of roles, resources and actions. What is not in it is forbidden.

use std::fmt;

use etl_core::model::Role;

/// What is acted on. A resource comes with its first route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Pipelines in all their versions.
    Pipelines,
    /// Jobs with their steps.
    Jobs,
    /// Connectors and their schemas: they tell nothing of anybody's data.
    Connectors,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// To look at it.
    Read,
    /// To ask for its end.
    Cancel,
}

/// The right to do one thing. In text, as scopes of API keys name it: `jobs:read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permission {
    pub(crate) resource: Resource,
    pub(crate) action: Action,
}

impl Permission {
    /// The right to do this to that.
    pub(crate) const fn to(action: Action, resource: Resource) -> Self {
        Self { resource, action }
    }

    /// Whether this role has it.
    pub(crate) fn is_of(self, role: Role) -> bool {
        let allowed: &[Action] = match (role, self.resource) {
            (Role::Admin | Role::Operator, Resource::Jobs) => &[Action::Read, Action::Cancel],
            (Role::Viewer, Resource::Jobs)
            | (
                Role::Admin | Role::Operator | Role::Viewer,
                Resource::Pipelines | Resource::Connectors,
            ) => &[Action::Read],
        };
        allowed.contains(&self.action)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = match self.resource {
            Resource::Pipelines => "pipelines",
            Resource::Jobs => "jobs",
            Resource::Connectors => "connectors",
        };
        let action = match self.action {
            Action::Read => "read",
            Action::Cancel => "cancel",
        };
        write!(f, "{resource}:{action}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_what_the_table_says_and_nothing_else() {
        let (read, cancel) = (Action::Read, Action::Cancel);
        let (pipelines, jobs) = (Resource::Pipelines, Resource::Jobs);
        let connectors = Resource::Connectors;
        for (action, resource, admin, operator, viewer) in [
            (read, pipelines, true, true, true),
            (cancel, pipelines, false, false, false),
            (read, jobs, true, true, true),
            (cancel, jobs, true, true, false),
            (read, connectors, true, true, true),
            (cancel, connectors, false, false, false),
        ] {
            let permission = Permission::to(action, resource);
            assert_eq!(permission.is_of(Role::Admin), admin, "{permission}");
            assert_eq!(permission.is_of(Role::Operator), operator, "{permission}");
            assert_eq!(permission.is_of(Role::Viewer), viewer, "{permission}");
        }
    }
}
