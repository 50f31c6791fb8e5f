//! What a terminal can show, from what it says of itself.

use super::Charset;

/// How many colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// None: attributes only.
    Plain,
    /// The terminal's own sixteen.
    #[default]
    Sixteen,
    /// 256.
    Many,
    /// All of them.
    True,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// Where the terminal has colours and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Colours in any case.
    Always,
    /// None.
    Never,
}

impl ColorChoice {
    /// The choice called `name`: `auto`, `always`, `never`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// What a terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// How many colours.
    pub depth: Depth,
    /// Which characters.
    pub charset: Charset,
}

impl Terminal {
    /// What the environment says, read through `variable`. `ascii` is `--ascii`.
    ///
    /// `NO_COLOR` (any value but an empty one) counts for [`ColorChoice::Auto`] only: who writes `--color always` wants it now.
    /// `COLORTERM` says of true colour, else `TERM` of 256. Unicode is what the locale says: `LC_ALL`, else `LC_CTYPE`, else `LANG`;
    /// but for the consoles of the kernel and for `dumb`, whose fonts lack what is drawn here.
    pub fn detect(choice: ColorChoice, ascii: bool, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = set("TERM").unwrap_or_default();
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        let wide = locale.ends_with("utf-8") || locale.ends_with("utf8") || locale.contains("utf-8@");
        let charset = if ascii || !wide || ["linux", "dumb"].contains(&term.as_str()) {
            Charset::Ascii
        } else {
            Charset::Unicode
        };
        let truly = set("COLORTERM").is_some_and(|value| ["truecolor", "24bit"].contains(&value.as_str()));
        let has = if term == "dumb" || term.is_empty() || term.ends_with("-m") || term.starts_with("vt1") {
            Depth::Plain
        } else if truly || term.ends_with("-direct") {
            Depth::True
        } else if term.contains("256color") || ["alacritty", "foot", "wezterm"].contains(&term.as_str()) {
            Depth::Many
        } else {
            Depth::Sixteen
        };
        let depth = match choice {
            ColorChoice::Never => Depth::Plain,
            ColorChoice::Auto if set("NO_COLOR").is_some() => Depth::Plain,
            ColorChoice::Always if has == Depth::Plain => Depth::Sixteen,
            ColorChoice::Auto | ColorChoice::Always => has,
        };
        Self { depth, charset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(choice: ColorChoice, set: &[(&str, &str)]) -> Terminal {
        let value = |name: &str| {
            set.iter()
                .find(|(set, _)| *set == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Terminal::detect(choice, false, value)
    }

    #[test]
    fn a_terminal_has_the_colours_that_it_says() {
        for (set, depth) in [
            (
                &[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")][..],
                Depth::True,
            ),
            (&[("TERM", "xterm-direct")], Depth::True),
            (&[("TERM", "tmux-256color")], Depth::Many),
            (&[("TERM", "xterm")], Depth::Sixteen),
            (&[("TERM", "linux")], Depth::Sixteen),
            (&[("TERM", "dumb"), ("COLORTERM", "truecolor")], Depth::Plain),
            (&[("TERM", "vt100")], Depth::Plain),
            (&[("TERM", "xterm-256color"), ("NO_COLOR", "1")], Depth::Plain),
            (&[("TERM", "xterm-256color"), ("NO_COLOR", "")], Depth::Many),
            (&[], Depth::Plain),
        ] {
            assert_eq!(detect(ColorChoice::Auto, set).depth, depth, "{set:?}");
            assert_eq!(detect(ColorChoice::Never, set).depth, Depth::Plain);
            assert_ne!(detect(ColorChoice::Always, set).depth, Depth::Plain);
        }
    }

    #[test]
    fn a_locale_says_which_characters() {
        for (set, charset) in [
            (
                &[("TERM", "xterm"), ("LANG", "de_DE.UTF-8")][..],
                Charset::Unicode,
            ),
            (&[("TERM", "xterm"), ("LANG", "C.utf8")], Charset::Unicode),
            (
                &[("TERM", "xterm"), ("LANG", "de_DE.UTF-8@euro")],
                Charset::Unicode,
            ),
            (
                &[("TERM", "xterm"), ("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")],
                Charset::Ascii,
            ),
            (
                &[("TERM", "xterm"), ("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")],
                Charset::Unicode,
            ),
            (&[("TERM", "linux"), ("LANG", "de_DE.UTF-8")], Charset::Ascii),
            (&[("TERM", "xterm")], Charset::Ascii),
        ] {
            assert_eq!(detect(ColorChoice::Auto, set).charset, charset, "{set:?}");
        }
        let asked = Terminal::detect(ColorChoice::Auto, true, |name| {
            (name == "LANG").then(|| "C.UTF-8".to_owned())
        });
        assert_eq!(asked.charset, Charset::Ascii);
    }
}
