//! Points in time as WAMP writes them: RFC 3339 texts, here as microseconds since 1970.
//!
//! Spec: WAMP advanced profile, "Event History" (filters and `timestamp`); RFC 3339, section 5.6. Leap seconds count as the second
//! after them.

/// Microseconds since 1970-01-01T00:00:00Z, never before.
pub type Micros = u64;

/// A point in time that was read from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// The microsecond it lies in.
    pub micros: Micros,
    /// True if it lies inside that microsecond, not at its beginning.
    pub beyond: bool,
}

/// Reads an RFC 3339 text such as `2024-03-01T12:30:05.25Z` or `2024-03-01T13:30:05+01:00`.
///
/// Points before 1970 count as its beginning; beyond the year 9999 there is no text. `None` if it is none.
pub fn parse(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        let all = digits.iter().all(u8::is_ascii_digit);
        all.then(|| digits.iter().fold(0, |sum, d| sum * 10 + i64::from(d - b'0')))
    };
    let at = |place: usize, allowed: &[u8]| bytes.get(place).is_some_and(|b| allowed.contains(b));
    let marks = at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day) && hour < 24 && minute < 60;
    if !marks || !in_range || second > 60 {
        return None;
    }
    let mut rest = 19;
    let (mut micros, mut beyond) = (0, false);
    if at(19, b".") {
        let digits = bytes[20..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let mut weight = 100_000;
        for digit in &bytes[20..20 + digits] {
            let digit = i64::from(digit - b'0');
            micros += digit * weight;
            beyond |= weight == 0 && digit != 0;
            weight /= 10;
        }
        rest = 20 + digits;
    }
    let offset_minutes = match bytes.get(rest..)? {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(rest + 1, rest + 3)?, number(rest + 4, rest + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + (minute - offset_minutes) * 60 + second;
    let Ok(whole) = u64::try_from(seconds * 1_000_000 + micros) else {
        return Some(Instant {
            micros: 0,
            beyond: false,
        });
    };
    Some(Instant { micros: whole, beyond })
}

/// Writes a point in time in UTC with six decimals: `2024-03-01T12:30:05.250000Z`.
pub fn format(micros: Micros) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(i64::try_from(days).unwrap_or(i64::MAX / 4));
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March here, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (
        of_year - (153 * shifted + 2) / 5 + 1,
        if shifted < 10 { shifted + 3 } else { shifted - 9 },
    );
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Option<u64> {
        parse(text).map(|at| at.micros)
    }

    #[test]
    fn known_points_are_read() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(micros("2000-02-29T00:00:00Z"), Some(951_782_400_000_000));
        assert_eq!(micros("2016-06-10T12:53:30.1Z"), Some(1_465_563_210_100_000));
        assert_eq!(micros("2016-06-10T14:53:30.100+02:00"), Some(1_465_563_210_100_000));
        assert_eq!(micros("2016-06-10t04:53:30.1-08:00"), Some(1_465_563_210_100_000));
        assert_eq!(micros("1969-12-31T23:59:59Z"), Some(0));
        assert_eq!(
            parse("1970-01-01T00:00:00.0000005Z"),
            Some(Instant { micros: 0, beyond: true })
        );
        assert_eq!(
            parse("1970-01-01T00:00:00.0000010Z"),
            Some(Instant {
                micros: 1,
                beyond: false
            })
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2016",
            "2016-06-10",
            "2016-06-10T12:53:30",
            "2016-06-10T12:53:30.Z",
            "2016-13-10T12:53:30Z",
            "2015-02-29T12:53:30Z",
            "2016-06-10T24:53:30Z",
            "2016-06-10T12:60:30Z",
            "2016-06-10T12:53:61Z",
            "2016-06-10T12:53:30+2:00",
            "2016-06-10T12:53:30ZZ",
            "2016-06-10T12:53:3é",
            "+016-06-10T12:53:30Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_microsecond_comes_back(at in 0u64..253_402_300_800_000_000) {
            proptest::prop_assert_eq!(parse(&format(at)), Some(Instant { micros: at, beyond: false }));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
