//! Defines groups and their weekly hours, each in its time zone.
//!
//! Examples: `staff: Mon-Fri 07:00-19:00, Sat 09:00-13:00 in Europe/Berlin` and `family: always`.
//! Hours that end before they begin (`22:00-06:00`) run past midnight and belong to the day on
//! which they begin.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// When a group may pass.
#[derive(Clone, Debug)]
pub struct Group {
    /// `None`: always, whatever the clock says.
    hours: Option<Weekly>,
}

#[derive(Clone, Debug)]
struct Weekly {
    hours: Vec<Hours>,
    zone: TimeZone,
}

/// Minutes from midnight, on the days that are true. Monday is first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hours {
    days: [bool; 7],
    from: u16,
    to: u16,
}

/// A line that does not define a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The line has no name or no hours.
    #[error(
        "`{0}` is not `NAME: always` or `NAME: DAYS FROM-TO, …`, such as \
         `staff: Mon-Fri 07:00-19:00, Sat 09:00-13:00 in Europe/Berlin`"
    )]
    Form(String),
    /// Wrong days or times.
    #[error("`{0}` is not DAYS FROM-TO, such as `Mon-Fri 07:00-19:00` or `Sat,Sun 22:00-06:00`")]
    Hours(String),
    /// The time zone does not exist.
    #[error("`{0}` is not a time zone: use a name such as Europe/Berlin or Asia/Jakarta, or UTC")]
    Zone(String),
    /// The same name twice.
    #[error("the group {0} is defined twice: write all its hours in one line")]
    Twice(String),
}

/// The groups that may open this door, by name.
#[derive(Clone, Debug, Default)]
pub struct Groups(BTreeMap<String, Group>);

impl Groups {
    /// Parses the configuration's lines. Hours without a zone use the system's zone.
    pub fn parse(lines: &[String]) -> Result<Self, GroupError> {
        let mut groups = BTreeMap::new();
        for line in lines {
            let form = || GroupError::Form(line.clone());
            let (name, hours) = line.split_once(':').ok_or_else(form)?;
            let (name, hours) = (name.trim(), hours.trim());
            if name.is_empty() || hours.is_empty() {
                return Err(form());
            }
            if groups.insert(name.to_owned(), Group::parse(hours)?).is_some() {
                return Err(GroupError::Twice(name.to_owned()));
            }
        }
        Ok(Self(groups))
    }

    /// Returns the group of this name.
    pub fn get(&self, name: &str) -> Option<&Group> {
        self.0.get(name)
    }

    /// Checks whether no group may open this door.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Group {
    fn parse(text: &str) -> Result<Self, GroupError> {
        if text.eq_ignore_ascii_case("always") {
            return Ok(Self { hours: None });
        }
        let (hours, zone) = match text.rsplit_once(" in ") {
            Some((hours, zone)) => {
                let zone = zone.trim();
                let found = TimeZone::get(zone).map_err(|_| GroupError::Zone(zone.to_owned()))?;
                (hours, found)
            }
            None => (text, TimeZone::system()),
        };
        // A comma between days follows no time: split only where a time ends.
        let mut parts: Vec<String> = Vec::new();
        for piece in hours.split(',').map(str::trim) {
            match parts.last_mut() {
                Some(last) if !last.contains(':') => *last = format!("{last},{piece}"),
                _ => parts.push(piece.to_owned()),
            }
        }
        let hours = parts.iter().map(|part| Hours::parse(part)).collect::<Result<_, _>>()?;
        Ok(Self { hours: Some(Weekly { hours, zone }) })
    }

    /// Checks whether this group's hours need a clock.
    pub fn needs_clock(&self) -> bool {
        self.hours.is_some()
    }

    /// Checks whether the group may pass at this time, Unix seconds UTC. NaN is outside all hours.
    pub fn is_open(&self, unix: f64) -> bool {
        let Some(Weekly { hours, zone }) = &self.hours else { return true };
        if !unix.is_finite() {
            return false;
        }
        let Ok(time) = Timestamp::from_second(unix.floor() as i64) else { return false };
        let local = zone.to_datetime(time);
        let day = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        hours.iter().any(|hours| hours.hold(day, minute))
    }
}

impl Hours {
    fn parse(text: &str) -> Result<Self, GroupError> {
        let wrong = || GroupError::Hours(text.to_owned());
        let (days, times) = text.rsplit_once(' ').ok_or_else(wrong)?;
        let (from, to) = times.split_once('-').ok_or_else(wrong)?;
        let (from, to) = (minutes(from).ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
        if from == to || from == DAY {
            return Err(wrong());
        }
        let mut on = [false; 7];
        for part in days.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first).ok_or_else(wrong)?, day(last).ok_or_else(wrong)?);
            let mut at = first;
            on[at] = true;
            while at != last {
                at = (at + 1) % 7;
                on[at] = true;
            }
        }
        Ok(Self { days: on, from, to })
    }

    fn hold(&self, day: usize, minute: u16) -> bool {
        let yesterday = (day + 6) % 7;
        if self.from < self.to {
            return self.days[day] && (self.from..self.to).contains(&minute);
        }
        (self.days[day] && minute >= self.from) || (self.days[yesterday] && minute < self.to)
    }
}

/// Returns the number of the day; 0 is Monday.
fn day(name: &str) -> Option<usize> {
    let name = name.trim().to_ascii_lowercase();
    DAYS.iter().position(|(short, _)| *short == name)
}

/// Parses `HH:MM`, up to `24:00`.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    let time = hours * 60 + minutes;
    (minutes < 60 && time <= DAY).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(hours: &str) -> Group {
        Group::parse(hours).unwrap()
    }

    /// Returns the Unix seconds of a time in UTC.
    fn at(text: &str) -> f64 {
        text.parse::<Timestamp>().unwrap().as_second() as f64
    }

    #[test]
    fn hours_are_kept_to_the_minute() {
        let staff = group("Mon-Fri 07:00-19:00, Sat 09:00-13:00 in UTC");
        // 2026-11-20 is a Friday.
        for (time, open) in [
            ("2026-11-20T06:59:59Z", false),
            ("2026-11-20T07:00:00Z", true),
            ("2026-11-20T18:59:59Z", true),
            ("2026-11-20T19:00:00Z", false),
            ("2026-11-21T08:59:00Z", false),
            ("2026-11-21T09:00:00Z", true),
            ("2026-11-22T10:00:00Z", false),
        ] {
            assert_eq!(staff.is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn hours_follow_the_zone_and_its_summer_time() {
        let staff = group("Mon-Sun 07:00-19:00 in Europe/Berlin");
        assert!(!staff.is_open(at("2026-01-15T05:59:00Z")));
        assert!(staff.is_open(at("2026-01-15T06:00:00Z")));
        assert!(!staff.is_open(at("2026-07-15T04:59:00Z")));
        assert!(staff.is_open(at("2026-07-15T05:00:00Z")));
    }

    #[test]
    fn hours_handle_the_skipped_and_the_repeated_hour() {
        // In Berlin, 02:00–03:00 does not exist on 2026-03-29 and occurs twice on 2026-10-25.
        let night = group("Sun 02:00-03:00 in Europe/Berlin");
        let open = |from: &str| {
            let from = at(from);
            (0..48).filter(|step| night.is_open(from + f64::from(*step) * 300.0)).count()
        };
        assert_eq!(open("2026-03-28T23:00:00Z"), 0);
        assert_eq!(open("2026-10-24T23:30:00Z"), 24);
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_on_which_they_begin() {
        let guards = group("Fri,Sat 22:00-06:00 in UTC");
        for (time, open) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:00Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-22T05:00:00Z", true),
            ("2026-11-22T22:00:00Z", false),
        ] {
            assert_eq!(guards.is_open(at(time)), open, "{time}");
        }
    }

    #[test]
    fn day_ranges_wrap_around_the_week_and_24_00_ends_a_day() {
        let weekend = group("Sat-Mon 00:00-24:00 in UTC");
        assert!(weekend.is_open(at("2026-11-23T23:59:59Z")));
        assert!(!weekend.is_open(at("2026-11-24T00:00:00Z")));
        assert!(!weekend.is_open(f64::NAN));
        assert!(!weekend.is_open(f64::INFINITY));
        assert!(group("always").is_open(f64::NAN));
    }

    #[test]
    fn invalid_group_lines_are_refused() {
        let parse = |line: &str| Groups::parse(&[line.to_owned()]).map(|_| ());
        for line in ["staff", ": always", "staff:"] {
            assert_eq!(parse(line), Err(GroupError::Form(line.into())));
        }
        for hours in [
            "Mon 7:00-19:00",
            "Mon 07:00",
            "07:00-19:00",
            "Mun 07:00-19:00",
            "Mon 07:60-19:00",
            "Mon 07:00-25:00",
            "Mon 07:00-07:00",
            "Mon 24:00-06:00",
            "sometimes",
            "Mon-Fri 07:00-19:00 Europe/Berlin",
        ] {
            assert!(matches!(parse(&format!("a: {hours}")), Err(GroupError::Hours(_))), "{hours}");
        }
        assert_eq!(
            parse("a: Mon 07:00-19:00 in Europe/Bern"),
            Err(GroupError::Zone("Europe/Bern".into()))
        );
        let twice = ["a: always".to_owned(), "a: Mon 07:00-19:00".to_owned()];
        assert!(matches!(Groups::parse(&twice), Err(GroupError::Twice(_))));
    }
}
