//! Numbers, short enough for a cell: three digits that matter, and a unit.

use std::time::Duration;

use super::theme::Charset;

/// A count: `0` to `9999`, `12.3k`, `4.56M`.
pub fn count(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        10_000..1_000_000 => three(count as f64 / 1e3, "k"),
        1_000_000..1_000_000_000 => three(count as f64 / 1e6, "M"),
        _ => three(count as f64 / 1e9, "G"),
    }
}

/// A number that need not be whole, such as a rate or cores: `0.25`, `12`, `350`, `12.3k`.
pub fn number(number: f64) -> String {
    if !number.is_finite() {
        return "-".to_owned();
    }
    if number < 0.0 {
        return format!("-{}", self::number(-number));
    }
    if number >= 9_999.5 {
        return count(number.round() as u64);
    }
    let text = three(number, "");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Bytes in units of 1,024: `512B`, `64.0K`, `1.50G`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G", "T", "P"] {
        if unit == "B" && value < 1_000.0 {
            return format!("{bytes}B");
        }
        if value < 999.5 {
            return three(value, unit);
        }
        value /= 1_024.0;
    }
    three(value, "E")
}

/// A time: `850us`, `12.3ms`, `4.56s`, `4m07s`, `2h05m`, `3d04h`; with a Greek mu where there is one.
pub fn time(time: Duration, charset: Charset) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_micros() < 1_000 => {
            let unit = match charset {
                Charset::Unicode => "µs",
                Charset::Ascii => "us",
            };
            format!("{}{unit}", time.as_micros())
        }
        0 if time.as_micros() < 999_500 => three(time.as_secs_f64() * 1e3, "ms"),
        0..60 if time.as_secs_f64() < 59.95 => three(time.as_secs_f64(), "s"),
        0..3_600 => {
            let seconds = seconds.max(60);
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// A clock that runs: `0:07`, `12:05`, `1:02:03`, `2d 01:02:03`.
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes, seconds) = (
        seconds / 86_400,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}d {hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// A part of a whole in percent: `0%` only if it is nothing, `100%` only if it is all.
pub fn percent(part: f64, whole: f64) -> String {
    if whole <= 0.0 || !part.is_finite() {
        return "-".to_owned();
    }
    let share = part / whole * 100.0;
    let rounded = if share > 0.0 && share < 1.0 {
        1.0
    } else if share > 99.0 && share < 100.0 {
        99.0
    } else {
        share.round()
    };
    format!("{rounded:.0}%")
}

fn three(value: f64, unit: &str) -> String {
    // Rounding decides how many digits come before the point.
    if value < 9.995 {
        format!("{value:.2}{unit}")
    } else if value < 99.95 {
        format!("{value:.1}{unit}")
    } else {
        format!("{value:.0}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_digits_matter() {
        for (number, text) in [
            (0, "0"),
            (9_999, "9999"),
            (10_000, "10.0k"),
            (999_949, "1000k"),
            (1_000_000, "1.00M"),
            (1_234_567_890, "1.23G"),
        ] {
            assert_eq!(count(number), text);
        }
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (2.0, "2"),
            (12.5, "12.5"),
            (100.0, "100"),
            (1_234.0, "1234"),
            (12_345.6, "12.3k"),
            (-1.5, "-1.5"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), text);
        }
        for (size, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "0.98K"),
            (1_024, "1.00K"),
            (65_536, "64.0K"),
            (1_023 * 1_024, "1.00M"),
            (3 << 29, "1.50G"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        for (micros, text) in [
            (850, "850µs"),
            (1_500, "1.50ms"),
            (999_600, "1.00s"),
            (12_340_000, "12.3s"),
            (59_990_000, "1m00s"),
            (247_000_000, "4m07s"),
            (7_500_000_000, "2h05m"),
            (273_600_000_000, "3d04h"),
        ] {
            assert_eq!(time(Duration::from_micros(micros), Charset::Unicode), text);
        }
        assert_eq!(time(Duration::from_micros(7), Charset::Ascii), "7us");
        for (seconds, text) in [
            (7, "0:07"),
            (725, "12:05"),
            (3_723, "1:02:03"),
            (176_523, "2d 01:02:03"),
        ] {
            assert_eq!(clock(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn nothing_and_all_are_told_from_nearly_so() {
        for (part, whole, text) in [
            (0.0, 8.0, "0%"),
            (0.001, 8.0, "1%"),
            (4.0, 8.0, "50%"),
            (7.999, 8.0, "99%"),
            (8.0, 8.0, "100%"),
            (1.0, 0.0, "-"),
        ] {
            assert_eq!(percent(part, whole), text);
        }
    }

    proptest! {
        #[test]
        fn cells_are_wide_enough(value: u64) {
            prop_assert!(count(value % 1_000_000_000_000).len() <= 5);
            prop_assert!(bytes(value).len() <= 5);
            let text = time(Duration::from_micros(value % 86_400_000_000_000), Charset::Ascii);
            prop_assert!(text.len() <= 7, "{}", text);
        }
    }
}
