//! Times as people write and read them: local time, ages.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::time::{SystemTime, UNIX_EPOCH};

/// Parses Unix seconds, an age (`90m`, `24h`, `7d`), or a local date or date and time.
pub fn parse(text: &str) -> Result<f64, String> {
    let why = || {
        format!(
            "{text:?} is neither Unix seconds, nor an age such as 90m, 24h, 7d, nor a date such as \
             2026-11-29 or 2026-11-29T14:00"
        )
    };
    let number =
        |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        Some('d') => 86_400.0,
        _ => return number(text).or_else(|| local(text)).ok_or_else(why),
    };
    let age = number(&text[..text.len() - 1]).ok_or_else(why)? * unit;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((now.as_secs_f64() - age).max(0.0))
}

/// Parses a length of time in whole seconds: `30`, `90m`, `24h`, `7d`.
pub fn duration(text: &str) -> Result<u64, String> {
    let why = || format!("{text:?} is no time such as 30s, 90m, 24h, 7d");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(why)
}

fn local(text: &str) -> Option<f64> {
    let date: DateTime = text.parse().ok()?;
    let zoned = date.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_second() as f64)
}

/// Writes Unix seconds as local time to the second.
pub fn written(unix: f64) -> String {
    let timestamp = Timestamp::from_second(unix as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("0", 0), ("30s", 30), ("90m", 5400), ("24h", 86_400), ("2d", 172_800)]
        {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for wrong in ["", "m", "-1h", "1.5h", "1w", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn seconds_ages_and_dates_are_read() {
        assert_eq!(parse("1791532800.5"), Ok(1_791_532_800.5));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - parse("7d").unwrap() - 7.0 * 86_400.0).abs() < 10.0);
        let day = parse("2026-11-29").unwrap();
        assert_eq!(parse("2026-11-29T14:00"), Ok(day + 14.0 * 3600.0));
        assert_eq!(written(day), "2026-11-29 00:00:00");
        for wrong in ["", "-1", "yesterday", "2026-13-01", "NaN", "xd"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
