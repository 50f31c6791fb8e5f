//! Lists of hosts as Slurm writes them: `login,n[1-3,07-09],gpu[1-2]x`.

/// So many hosts are as many as any machine has; a longer list is a mistake.
const MOST: usize = 1 << 20;

/// The names in a list; none if it is not one.
pub fn expand(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for part in split(list)? {
        expand_one(part, &mut names)?;
    }
    Some(names)
}

/// The parts between commas that are not in brackets.
fn split(list: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut inside) = (Vec::new(), 0, false);
    for (at, c) in list.char_indices() {
        match c {
            '[' if inside => return None,
            '[' => inside = true,
            ']' if !inside => return None,
            ']' => inside = false,
            ',' if !inside => {
                parts.push(&list[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[begin..]);
    let whole = !inside && parts.iter().all(|part| !part.is_empty());
    whole.then_some(parts)
}

/// The names of one part, which may have several lists of numbers in it: `r[1-2]n[1-4]`.
fn expand_one(part: &str, names: &mut Vec<String>) -> Option<()> {
    let Some((head, rest)) = part.split_once('[') else {
        names.push(part.to_owned());
        return (names.len() <= MOST).then_some(());
    };
    let (numbers, tail) = rest.split_once(']')?;
    for range in numbers.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let wide = first.len();
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(first) || !plain(last) {
            return None;
        }
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last - first >= MOST as u64 {
            return None;
        }
        for number in first..=last {
            expand_one(&format!("{head}{number:0wide$}{tail}"), names)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded() {
        for (list, names) in [
            ("n1", "n1"),
            ("n[1-3]", "n1 n2 n3"),
            ("n[1-2,07-09]", "n1 n2 n07 n08 n09"),
            ("login,n[8-11],gpu[1,3]x", "login n8 n9 n10 n11 gpu1x gpu3x"),
            ("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"),
            ("n[099-101]", "n099 n100 n101"),
        ] {
            assert_eq!(expand(list).unwrap().join(" "), names, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in [
            "",
            "a,,b",
            "n[1-3",
            "n1-3]",
            "n[3-1]",
            "n[]",
            "n[a-b]",
            "n[[1]]",
            "n[1-99999999]",
            "n[-1]",
            ",",
        ] {
            assert_eq!(expand(list), None, "{list}");
        }
    }
}
