//! What the configuration decides about the service.

use crate::picture::Limits;
use std::collections::BTreeSet;

/// What an MQTT client may ask for; the local command line may do everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// `subject/list`, `subject/get`, `subject/update`, `subject/delete`.
    Subject,
    /// Replace the photo of a subject that has a group, that is: change whose face opens a door.
    Admin,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Permission; 7] = [
        Permission::Enroll,
        Permission::Verify,
        Permission::Search,
        Permission::Liveness,
        Permission::Compare,
        Permission::Subject,
        Permission::Admin,
    ];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Enroll => "enroll",
            Permission::Verify => "verify",
            Permission::Search => "search",
            Permission::Liveness => "liveness",
            Permission::Compare => "compare",
            Permission::Subject => "subject",
            Permission::Admin => "admin",
        }
    }
}

/// No permission has this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no permission; there are enroll, verify, search, liveness, compare, subject and admin"
)]
pub struct UnknownPermission(String);

impl std::str::FromStr for Permission {
    type Err = UnknownPermission;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
            .ok_or_else(|| UnknownPermission(name.to_owned()))
    }
}

/// The service's part of the configuration; [`Default`] is what an empty configuration means.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Named in every answer's `meta`.
    pub device_id: String,
    /// Requests that may wait for a thread before the next is answered `[503] BUSY`; at least 1.
    pub queue: usize,
    /// Threads that decode pictures and run the networks; at least 1.
    pub vision_threads: usize,
    /// Bounds of a picture.
    pub limits: Limits,
    /// Hosts and networks that URL images may come from; empty: none.
    pub url_allow: Vec<String>,
    /// URL requests that may be on their way at once before the next is answered `[503] BUSY`.
    pub url_concurrency: usize,
    /// Whether `enroll` keeps the face crop beside the template.
    pub store_images: bool,
    /// How many templates a subject may have.
    pub max_templates: usize,
    /// Log-odds from which on a face is live before this camera.
    pub liveness_operating_point: f32,
    /// What MQTT clients may do.
    pub permissions: BTreeSet<Permission>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device_id: "doorward".to_owned(),
            // About a second of work on a Raspberry Pi 4: who waits longer has given up.
            queue: 8,
            vision_threads: 1,
            limits: Limits::default(),
            url_allow: Vec::new(),
            url_concurrency: 4,
            store_images: true,
            // A few poses with and without glasses.
            max_templates: 10,
            liveness_operating_point: 0.0,
            permissions: Permission::ALL
                .into_iter()
                .filter(|&permission| permission != Permission::Admin)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_by_name_and_admin_is_not_given() {
        for permission in Permission::ALL {
            assert_eq!(permission.name().parse(), Ok(permission));
        }
        assert!("root".parse::<Permission>().is_err());
        let given = Settings::default().permissions;
        assert_eq!(given.len(), Permission::ALL.len() - 1);
        assert!(!given.contains(&Permission::Admin));
    }
}
