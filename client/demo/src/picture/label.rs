//! Text with italic variables and subscripts, written as `*F*(*x*)` and `*k*_{B}`.

/// A face of the font.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Face {
    #[default]
    Regular,
    Italic,
    Bold,
}

/// Size of a subscript, and how far it sinks, both in parts of the text's size.
pub(super) const SUBSCRIPT_SIZE: f64 = 0.72;
pub(super) const SUBSCRIPT_DROP: f64 = 0.2;

/// A piece of text in one face at one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) text: String,
    pub(super) face: Face,
    pub(super) subscript: bool,
}

/// Splits marked-up text into its runs; what is not marked up is in `face`.
pub(super) fn parse(markup: &str, face: Face) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut italic, mut subscript) = (false, false);
    let mut rest = markup.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' => italic = !italic,
            '_' if rest.peek() == Some(&'{') => {
                rest.next();
                subscript = true;
            }
            '}' if subscript => subscript = false,
            _ => {
                let face = if italic { Face::Italic } else { face };
                match runs.last_mut() {
                    Some(run) if run.face == face && run.subscript == subscript => run.text.push(c),
                    _ => runs.push(Run {
                        text: c.to_string(),
                        face,
                        subscript,
                    }),
                }
            }
        }
    }
    runs
}

/// Text from outside, which means nothing but itself.
pub(super) fn plain(text: &str) -> String {
    let harmless = |c: char| {
        if c == '*' || c == '_' || c.is_control() {
            '·'
        } else {
            c
        }
    };
    text.chars().map(harmless).collect()
}

/// A number with the typographic minus sign.
pub(super) fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    // −0 is what rounding leaves of a small negative number.
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().any(|c| c != '0' && c != '.') => format!("\u{2212}{digits}"),
        Some(digits) => digits.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_runs() {
        let run = |text: &str, face, subscript| Run {
            text: text.to_owned(),
            face,
            subscript,
        };
        let expected = [
            run("F", Face::Italic, false),
            run(" (", Face::Regular, false),
            run("k", Face::Italic, false),
            run("B", Face::Regular, true),
            run(")", Face::Regular, false),
        ];
        assert_eq!(parse("*F* (*k*_{B})", Face::Regular), expected);
        assert_eq!(
            parse(&plain("a_{b}*c*"), Face::Bold),
            [run("a·{b}·c·", Face::Bold, false)]
        );
    }

    #[test]
    fn numbers_have_a_minus_sign_only_where_they_are_negative() {
        assert_eq!(number(-1.5, 1), "−1.5");
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(number(2.0, 0), "2");
    }
}
