//! Checks whether a subject may pass at a time. The default is no: without a group, hours or a
//! clock there is no grant.

use super::decision::Reason;
use super::schedule::Groups;
use super::{Now, Unarmed};
use crate::gallery::Subject;

/// Returns the group that permits the subject, or the reason for a denial.
pub(super) fn permit(
    groups: &Groups,
    subject: &Subject,
    now: Now,
    unarmed: Option<Unarmed>,
) -> Result<String, Reason> {
    if !subject.enabled {
        return Err(Reason::Disabled);
    }
    if subject.groups.is_empty() {
        return Err(Reason::NoGroup);
    }
    let has_dates = subject.valid_from.is_some() || subject.valid_until.is_some();
    if has_dates && !now.synchronised {
        return Err(Reason::Clock);
    }
    if !subject.is_active(Some(now.unix)) {
        return Err(Reason::NotValid);
    }
    let known: Vec<_> =
        subject.groups.iter().filter_map(|name| Some((name, groups.get(name)?))).collect();
    if known.is_empty() {
        return Err(Reason::UnknownGroups(subject.groups.join(", ")));
    }
    let open = known
        .iter()
        .find(|(_, group)| (!group.needs_clock() || now.synchronised) && group.is_open(now.unix));
    match (open, unarmed) {
        (Some(_), Some(why)) => Err(Reason::Unarmed(why)),
        (Some((name, _)), None) => Ok((*name).clone()),
        (None, _) if !now.synchronised => Err(Reason::Clock),
        (None, _) => Err(Reason::Hours(subject.groups.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn groups() -> Groups {
        let lines = ["family: always", "staff: Mon-Fri 07:00-19:00 in UTC"];
        Groups::parse(&lines.map(str::to_owned)).unwrap()
    }

    fn subject(groups: &[&str]) -> Subject {
        Subject {
            id: "ada".into(),
            name: None,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            card: None,
            enabled: true,
            barred: false,
            mixed_faces: false,
            valid_from: None,
            valid_until: None,
            created: 0.0,
            updated: 0.0,
            templates: 1,
        }
    }

    /// Friday 2026-11-20, 12:00 UTC.
    const NOON: Now = Now { monotonic: Duration::ZERO, unix: 1_795_176_000.0, synchronised: true };
    /// Eight hours later.
    const EVENING: Now = Now { unix: NOON.unix + 8.0 * 3600.0, ..NOON };
    const UNSYNCHRONISED: Now = Now { synchronised: false, ..NOON };

    fn ask(subject: &Subject, now: Now) -> Result<String, Reason> {
        permit(&groups(), subject, now, None)
    }

    #[test]
    fn subject_without_a_group_is_denied() {
        assert_eq!(ask(&subject(&[]), NOON), Err(Reason::NoGroup));
        let other = ask(&subject(&["cleaners"]), NOON);
        assert_eq!(other, Err(Reason::UnknownGroups("cleaners".into())));
        assert_eq!(
            permit(&Groups::default(), &subject(&["family"]), NOON, None),
            Err(Reason::UnknownGroups("family".into()))
        );
    }

    #[test]
    fn hours_are_kept_and_any_open_group_permits() {
        assert_eq!(ask(&subject(&["staff"]), NOON), Ok("staff".into()));
        assert_eq!(ask(&subject(&["staff"]), EVENING), Err(Reason::Hours("staff".into())));
        assert_eq!(ask(&subject(&["cleaners", "staff", "family"]), EVENING), Ok("family".into()));
    }

    #[test]
    fn unsynchronised_clock_denies_rules_that_need_a_clock() {
        assert_eq!(ask(&subject(&["staff"]), UNSYNCHRONISED), Err(Reason::Clock));
        assert_eq!(ask(&subject(&["family"]), UNSYNCHRONISED), Ok("family".into()));
        let dated = Subject { valid_until: Some(f64::MAX), ..subject(&["family"]) };
        assert_eq!(ask(&dated, UNSYNCHRONISED), Err(Reason::Clock));
    }

    #[test]
    fn disabled_not_yet_valid_and_expired_subjects_are_denied() {
        let family = subject(&["family"]);
        assert_eq!(ask(&Subject { enabled: false, ..family.clone() }, NOON), Err(Reason::Disabled));
        for (from, until, valid) in [
            (Some(NOON.unix), Some(NOON.unix), true),
            (Some(NOON.unix + 1.0), None, false),
            (None, Some(NOON.unix - 1.0), false),
            (Some(f64::NAN), None, false),
        ] {
            let dated = Subject { valid_from: from, valid_until: until, ..family.clone() };
            assert_eq!(ask(&dated, NOON).is_ok(), valid, "{from:?} {until:?}");
        }
    }

    #[test]
    fn unarmed_strike_denies_and_says_why() {
        let why = permit(&groups(), &subject(&["family"]), NOON, Some(Unarmed::Exposed));
        assert_eq!(why, Err(Reason::Unarmed(Unarmed::Exposed)));
    }
}
