//! Times and sizes, as people write them: on the command line, in files, in the filters of the live monitor.

use std::time::Duration;

/// Text that is no time, or no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// No time.
    #[error("{0:?} is no time: write 90s, 500ms, 1h30m or HH:MM:SS")]
    Time(String),
    /// No size.
    #[error("{0:?} is no number of bytes: write 4096, 64K, 100M or 4G")]
    Bytes(String),
}

/// `4096`, `64K`, `64MiB`, `4G`: bytes, in units of 1,024; at least 1.
pub fn bytes(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Bytes(text.to_owned());
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let value: f64 = text[..digits].parse().map_err(|_| wrong())?;
    let factor = match &text[digits..] {
        "" | "B" => 1_u64,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = value * factor as f64;
    if !(1.0..1e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// `90`, `90s`, `1h30m`, `500ms`, `HH:MM:SS`, `MM:SS`.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Time(text.to_owned());
    if text.contains(':') {
        let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
        let of = |count: u64, seconds: u64| count.checked_mul(seconds);
        let seconds = match parts.as_deref() {
            Some([minutes, seconds]) if *seconds < 60 => {
                of(*minutes, 60).and_then(|sum| sum.checked_add(*seconds))
            }
            Some([hours, minutes, seconds]) if *minutes < 60 && *seconds < 60 => {
                of(*hours, 3_600).and_then(|sum| sum.checked_add(60 * minutes + seconds))
            }
            _ => None,
        };
        return seconds.map(Duration::from_secs).ok_or_else(wrong);
    }
    let (mut sum, mut rest) = (Duration::ZERO, text);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let value: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len() - digits);
        let factor = match &rest[digits..digits + letters] {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(value * factor).map_err(|_| wrong())?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[digits + letters..];
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        for (text, count) in [
            ("4096", 4096),
            ("64K", 65_536),
            ("1.5MiB", 1_572_864),
            ("4G", 4 << 30),
        ] {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for bad in ["", "K", "0", "-1", "1 M", "1MB", "1e9", "99999999T"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, seconds) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("1h30m", 5400.0),
            ("500ms", 0.5),
            ("01:02:03", 3723.0),
            ("2:30", 150.0),
            ("1.5m", 90.0),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_secs_f64(seconds),
                "{text}"
            );
        }
        for bad in ["", "x", "1x", "s", "1:99", "-1s", "1h30q", "1:2:3:4"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_beyond_all_bounds_are_refused() {
        for bad in [
            "18446744073709551615:59",
            "5124095576030432:00:00",
            "18446744073709551615s18446744073709551615s",
            "99999999999999999999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
