//! Permissions of clients, by name.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use strum::{IntoStaticStr, VariantArray};

/// A permission of a client; the local command line has all permissions.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Permission {
    /// `enroll`.
    Enroll,
    /// `verify`.
    Verify,
    /// `search`.
    Search,
    /// `liveness`.
    Liveness,
    /// `compare`.
    Compare,
    /// `subject/list`, `subject/get`, `subject/delete`, and `subject/update` of the name, or to
    /// disable.
    Subject,
    /// `unlock`, where remote unlock is configured.
    Unlock,
    /// In addition to `subject` or `enroll`: change who may enter. That is the groups, card and
    /// validity of a subject, enabling it, and the face of one that has a group or is disabled.
    /// Also every operation on applications.
    Admin,
}

impl Permission {
    /// Every permission.
    pub const ALL: &[Permission] = Permission::VARIANTS;

    /// Returns the name in the configuration.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns the permissions of a client without configured permissions: all except those that
    /// move the strike or change who may enter.
    pub fn granted_unasked() -> BTreeSet<Permission> {
        let asked = [Permission::Admin, Permission::Unlock];
        Self::ALL.iter().copied().filter(|permission| !asked.contains(permission)).collect()
    }
}

/// No permission has this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no permission; there are {all}", all = all())]
pub struct UnknownPermission(String);

/// Lists every permission, for a message.
fn all() -> String {
    let names: Vec<_> = Permission::ALL.iter().map(|permission| permission.name()).collect();
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("{} and {last}", others.join(", "))
}

impl std::str::FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|permission| permission.name() == name)
            .ok_or_else(|| UnknownPermission(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_by_name() {
        for &permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
        assert!("root".parse::<Permission>().is_err());
    }

    #[test]
    fn unknown_permission_names_every_permission() {
        let message = "root".parse::<Permission>().unwrap_err().to_string();
        for permission in Permission::ALL {
            assert!(message.contains(permission.name()), "{message}");
        }
    }

    #[test]
    fn admin_and_unlock_are_not_granted_unasked() {
        let given = Permission::granted_unasked();
        assert_eq!(given.len(), Permission::ALL.len() - 2);
        assert!(!given.contains(&Permission::Admin) && !given.contains(&Permission::Unlock));
    }
}
