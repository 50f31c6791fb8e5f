//! How values of options are written.

use std::time::Duration;

use scalems_protocol::select::Selector;

pub(super) fn selector(text: &str) -> Result<Selector, String> {
    text.parse()
        .map_err(|refusal: scalems_protocol::Refusal| refusal.message)
}

/// `90`, `90s`, `1h30m`, `500ms`, `HH:MM:SS`, `MM:SS`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: write 90s, 500ms, 1h30m or HH:MM:SS");
    if text.contains(':') {
        let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
        let seconds = match parts.as_deref() {
            Some([minutes, seconds]) if *seconds < 60 => 60 * minutes + seconds,
            Some([hours, minutes, seconds]) if *minutes < 60 && *seconds < 60 => {
                3_600 * hours + 60 * minutes + seconds
            }
            _ => return Err(wrong()),
        };
        return Ok(Duration::from_secs(seconds));
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
        sum += Duration::try_from_secs_f64(value * factor).map_err(|_| wrong())?;
        rest = &rest[digits + letters..];
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
