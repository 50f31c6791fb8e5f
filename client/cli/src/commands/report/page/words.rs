//! Numbers, times and other people's texts, as the page has them.

use std::fmt::Write as _;

/// A text that a task or a user wrote: without what no page may have or what could make it look like another one, and no
/// longer than so many letters. Ends of lines and tabs stay if `lines`.
pub(super) fn safe(text: &str, letters: usize, lines: bool) -> String {
    let mut out = String::new();
    for (nth, letter) in text.chars().enumerate() {
        if nth == letters {
            out.push('…');
            break;
        }
        // Marks that turn the direction of what follows.
        let turns =
            matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if lines && matches!(letter, '\n' | '\t') {
            out.push(letter);
        } else if letter.is_control() || turns {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// A name on one line.
pub(super) fn name(text: &str) -> String {
    safe(text, 80, false)
}

/// A time, microseconds, with as many digits as people need.
pub(super) fn time(us: u64) -> String {
    let seconds = us as f64 / 1e6;
    match us {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{seconds:.1} s"),
        60_000_000..3_600_000_000 => format!("{} min {:02} s", us / 60_000_000, us / 1_000_000 % 60),
        3_600_000_000..86_400_000_000 => {
            format!("{} h {:02} min", us / 3_600_000_000, us / 60_000_000 % 60)
        }
        _ => format!("{} d {:02} h", us / 86_400_000_000, us / 3_600_000_000 % 24),
    }
}

/// A step of an axis of times: 20 ms, 5 s, 1 h.
pub(super) fn time_step(us: u64) -> String {
    match us {
        0 => "0".to_owned(),
        us if us < 1_000 => format!("{us} µs"),
        us if us < 1_000_000 => format!("{} ms", us / 1_000),
        us if us < 60_000_000 || !us.is_multiple_of(60_000_000) => format!("{} s", us / 1_000_000),
        us if us < 3_600_000_000 || !us.is_multiple_of(3_600_000_000) => format!("{} min", us / 60_000_000),
        us if us < 86_400_000_000 || !us.is_multiple_of(86_400_000_000) => {
            format!("{} h", us / 3_600_000_000)
        }
        us => format!("{} d", us / 86_400_000_000),
    }
}

/// A size, bytes.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A count, with its digits in threes.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 task`, `2 tasks`.
pub(super) fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Hours of a core or a GPU, from seconds: with two digits, or all of a larger number.
pub(super) fn hours(seconds: f64) -> String {
    let hours = seconds / 3_600.0;
    if hours <= 0.0 {
        "0".to_owned()
    } else if hours >= 100.0 {
        count(hours.round() as u64)
    } else if hours >= 1.0 {
        format!("{hours:.1}")
    } else {
        if hours < 0.000_1 {
            return "< 0.0001".to_owned();
        }
        let digits = (1.0 - hours.log10().floor()).max(1.0) as usize;
        format!("{hours:.digits$}")
    }
}

/// A part of a whole.
pub(super) fn share(part: f64, whole: f64) -> String {
    if whole <= 0.0 {
        return "–".to_owned();
    }
    let percent = 100.0 * part / whole;
    if percent > 0.0 && percent < 0.1 {
        "< 0.1 %".to_owned()
    } else {
        format!("{percent:.1} %")
    }
}

/// A number of the drawing: a tenth of a pixel is as exact as anybody sees.
pub(super) fn pixels(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Date and time in UTC, from microseconds since 1970.
pub(super) fn date(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    loop {
        let long = if leap(year) { 366 } else { 365 };
        if days < long || year > 9_000 {
            break;
        }
        days -= long;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for long in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < long {
            break;
        }
        days -= long;
        month += 1;
    }
    let mut text = String::new();
    let _infallible = write!(
        text,
        "{year}-{month:02}-{:02} {:02}:{:02}:{:02} UTC",
        days + 1,
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_keeps_its_place() {
        assert_eq!(
            safe("a\u{1b}[31m\0b\u{202e}c", 99, false),
            "a\\u{1b}[31m\\u{0}b\\u{202e}c"
        );
        assert_eq!(safe("a\n\tb\r", 99, true), "a\n\tb\\r");
        assert_eq!(safe("größer", 3, false), "grö…");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_078_099_199, "2004-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (1_796_083_200, "2026-12-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds * 1_000_000), text);
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [
                0,
                250,
                2_500,
                12_000,
                3_400_000,
                125_000_000,
                11_040_000_000,
                200_000_000_000
            ]
            .map(time),
            [
                "0 s",
                "250 µs",
                "2.5 ms",
                "12 ms",
                "3.4 s",
                "2 min 05 s",
                "3 h 04 min",
                "2 d 07 h"
            ]
        );
        assert_eq!(
            [0, 999, 1_500, 1_000_000, 123_456_789].map(bytes),
            ["0 B", "999 B", "1.5 kB", "1 MB", "123 MB"]
        );
        assert_eq!(counted(1_234_567, "task"), "1,234,567 tasks");
        assert_eq!(
            [0.0, 0.1, 1.0, 36.0, 7_200.0, 720_000.0].map(hours),
            ["0", "< 0.0001", "0.00028", "0.010", "2.0", "200"]
        );
        assert_eq!(
            (share(1.0, 3.0), share(0.0, 0.0)),
            ("33.3 %".to_owned(), "–".to_owned())
        );
    }
}
