//! The colours of each theme.

use ratatui::style::{Color, Modifier, Style};

use super::{Depth, Role, ThemeName};

/// One colour: exactly, and the nearest in spirit of a terminal's own sixteen, which people choose to fit their background.
#[derive(Clone, Copy)]
struct Hue(u32, Color);

/// What a role is drawn with.
#[derive(Clone, Copy, Default)]
struct Ink {
    fore: Option<Hue>,
    back: Option<Hue>,
    modifier: Modifier,
}

const NO_INK: Ink = Ink {
    fore: None,
    back: None,
    modifier: Modifier::empty(),
};

const fn ink(rgb: u32, sixteen: Color) -> Ink {
    Ink {
        fore: Some(Hue(rgb, sixteen)),
        ..NO_INK
    }
}

const fn only(modifier: Modifier) -> Ink {
    Ink { modifier, ..NO_INK }
}

impl Ink {
    const fn bold(mut self) -> Self {
        self.modifier = self.modifier.union(Modifier::BOLD);
        self
    }

    const fn underlined(mut self) -> Self {
        self.modifier = self.modifier.union(Modifier::UNDERLINED);
        self
    }

    const fn on(mut self, rgb: u32, sixteen: Color) -> Self {
        self.back = Some(Hue(rgb, sixteen));
        self
    }
}

/// How `role` looks.
pub(super) fn style(theme: ThemeName, depth: Depth, role: Role) -> Style {
    let ink = match (theme, depth) {
        (_, Depth::Plain) | (ThemeName::Mono, _) => mono(role),
        (ThemeName::Dark, _) => dark(role),
        (ThemeName::Light, _) => light(role),
        (ThemeName::Contrast, _) => contrast(role),
    };
    let color = |Hue(rgb, sixteen): Hue| match depth {
        Depth::True => {
            let [_, red, green, blue] = rgb.to_be_bytes();
            Color::Rgb(red, green, blue)
        }
        Depth::Many => Color::Indexed(nearest(rgb)),
        Depth::Sixteen | Depth::Plain => sixteen,
    };
    Style {
        fg: ink.fore.map(color),
        bg: ink.back.map(color),
        add_modifier: ink.modifier,
        ..Style::default()
    }
}

fn dark(role: Role) -> Ink {
    match role {
        Role::Text => NO_INK,
        Role::Dim => ink(0x94_9e_a8, Color::Gray),
        Role::Title => ink(0x7c_c7_ff, Color::LightCyan).bold(),
        Role::Border => ink(0x74_7e_88, Color::DarkGray),
        Role::Focus => ink(0x7c_c7_ff, Color::LightCyan),
        Role::Header => ink(0xb8_c2_cc, Color::White).bold(),
        Role::Sorted => ink(0xf2_c1_4e, Color::Yellow).bold(),
        Role::Selected => ink(0xff_ff_ff, Color::White).on(0x26_4a_6e, Color::Blue).bold(),
        Role::Marked => ink(0xf2_c1_4e, Color::Yellow).bold(),
        Role::Key => ink(0x7c_c7_ff, Color::LightCyan).bold(),
        Role::Good => ink(0x6f_d0_8c, Color::Green),
        Role::Used => ink(0x5a_b8_f5, Color::Cyan),
        Role::Idle => ink(0x94_9e_a8, Color::Gray),
        Role::Down => ink(0xff_8a_80, Color::LightRed),
        Role::Warn => ink(0xf2_c1_4e, Color::Yellow),
        Role::Bad => ink(0xff_7b_72, Color::LightRed).bold(),
        Role::Info => ink(0x9d_b8_ff, Color::LightBlue),
        Role::Accent => ink(0xd2_a8_ff, Color::LightMagenta).bold(),
        Role::Input => NO_INK.underlined(),
    }
}

fn light(role: Role) -> Ink {
    match role {
        Role::Text => NO_INK,
        Role::Dim => ink(0x57_60_6a, Color::DarkGray),
        Role::Title => ink(0x05_50_ae, Color::Blue).bold(),
        Role::Border => ink(0x7a_84_8e, Color::DarkGray),
        Role::Focus => ink(0x05_50_ae, Color::Blue),
        Role::Header => ink(0x3a_42_4a, Color::Black).bold(),
        Role::Sorted => ink(0x7d_4e_00, Color::Magenta).bold(),
        Role::Selected => ink(0x0a_1a_2a, Color::White).on(0xcf_e4_ff, Color::Blue).bold(),
        Role::Marked => ink(0x7d_4e_00, Color::Magenta).bold(),
        Role::Key => ink(0x05_50_ae, Color::Blue).bold(),
        Role::Good => ink(0x11_63_29, Color::Green),
        Role::Used => ink(0x0a_5b_b5, Color::Blue),
        Role::Idle => ink(0x57_60_6a, Color::DarkGray),
        Role::Down => ink(0xa4_0e_26, Color::Red),
        // Yellow is not to be read on white.
        Role::Warn => ink(0x7d_4e_00, Color::Magenta),
        Role::Bad => ink(0xb3_26_1e, Color::Red).bold(),
        Role::Info => ink(0x3a_4f_b0, Color::Blue),
        Role::Accent => ink(0x75_40_d0, Color::Magenta).bold(),
        Role::Input => NO_INK.underlined(),
    }
}

fn contrast(role: Role) -> Ink {
    let white = ink(0xff_ff_ff, Color::White);
    let ink = match role {
        Role::Text | Role::Dim | Role::Border | Role::Idle => white,
        Role::Header => white.bold(),
        Role::Input => white.underlined(),
        Role::Title | Role::Focus | Role::Key | Role::Accent => ink(0x00_ff_ff, Color::LightCyan).bold(),
        Role::Sorted | Role::Marked | Role::Warn => ink(0xff_ff_00, Color::LightYellow).bold(),
        Role::Selected => return ink(0, Color::Black).on(0xff_ff_ff, Color::White).bold(),
        Role::Good => ink(0x00_ff_00, Color::LightGreen),
        Role::Used | Role::Info => ink(0x00_ff_ff, Color::LightCyan),
        Role::Down | Role::Bad => ink(0xff_90_90, Color::LightRed).bold().underlined(),
    };
    ink.on(0, Color::Black)
}

fn mono(role: Role) -> Ink {
    match role {
        Role::Text | Role::Good | Role::Used | Role::Info | Role::Border => NO_INK,
        Role::Dim | Role::Idle => only(Modifier::DIM),
        Role::Title | Role::Focus | Role::Header | Role::Key | Role::Warn | Role::Marked => {
            only(Modifier::BOLD)
        }
        Role::Sorted | Role::Bad | Role::Down | Role::Accent => only(Modifier::BOLD).underlined(),
        Role::Selected => only(Modifier::REVERSED),
        Role::Input => only(Modifier::UNDERLINED),
    }
}

/// The nearest of the 240 colours of a 256-colour terminal that are the same everywhere: a cube with six steps a side from
/// number 16 on, and 24 greys from 232 on.
fn nearest(rgb: u32) -> u8 {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let [_, red, green, blue] = rgb.to_be_bytes();
    let step = |value: u8| {
        (0_u8..6)
            .min_by_key(|&at| STEPS[usize::from(at)].abs_diff(value))
            .unwrap_or(0)
    };
    let far = |other: [u8; 3]| -> u32 {
        let pairs = [red, green, blue].into_iter().zip(other);
        pairs.map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
    };
    let [r, g, b] = [step(red), step(green), step(blue)];
    let cube = [r, g, b].map(|at| STEPS[usize::from(at)]);
    let mean = (u32::from(red) + u32::from(green) + u32::from(blue)) / 3;
    let shade = u8::try_from(mean.saturating_sub(3) / 10).unwrap_or(23).min(23);
    if far([8 + 10 * shade; 3]) < far(cube) {
        232 + shade
    } else {
        16 + 36 * r + 6 * g + b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, as the guidelines for accessible pages define it.
    fn luminance(rgb: u32) -> f64 {
        let [_, red, green, blue] = rgb.to_be_bytes();
        let linear = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.212_6 * linear(red) + 0.715_2 * linear(green) + 0.072_2 * linear(blue)
    }

    fn ratio(a: u32, b: u32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_can_be_read_on_the_usual_backgrounds() {
        for (name, inks, backgrounds, least) in [
            (
                "dark",
                dark as fn(Role) -> Ink,
                &[0, 0x1e_1e_1e, 0x28_2c_34][..],
                4.5,
            ),
            ("light", light, &[0xff_ff_ff, 0xfd_f6_e3], 4.5),
            ("contrast", contrast, &[0], 7.0),
        ] {
            for role in Role::ALL {
                let ink = inks(role);
                let Some(Hue(fore, _)) = ink.fore else { continue };
                // Frames are no text: 3 is asked of them.
                let least = if role == Role::Border { 3.0 } else { least };
                let backgrounds = ink.back.map_or(backgrounds.to_vec(), |Hue(back, _)| vec![back]);
                for back in backgrounds {
                    let found = ratio(fore, back);
                    assert!(found >= least, "{name} {role:?} on {back:06x}: {found:.1}");
                }
            }
        }
    }

    #[test]
    fn without_colours_there_are_none() {
        for theme in ThemeName::ALL {
            for role in Role::ALL {
                let style = style(theme, Depth::Plain, role);
                assert_eq!((style.fg, style.bg), (None, None));
            }
        }
    }

    #[test]
    fn the_sixteen_are_only_the_sixteen() {
        for theme in ThemeName::ALL {
            for role in Role::ALL {
                let style = style(theme, Depth::Sixteen, role);
                for color in [style.fg, style.bg].into_iter().flatten() {
                    assert!(!matches!(color, Color::Rgb(..) | Color::Indexed(_)), "{role:?}");
                }
            }
        }
    }

    #[test]
    fn the_nearest_of_256_is_near() {
        assert_eq!(nearest(0), 16);
        assert_eq!(nearest(0xff_ff_ff), 231);
        assert_eq!(nearest(0xff_00_00), 196);
        assert_eq!(nearest(0x80_80_80), 244);
        assert_eq!(nearest(0x08_08_08), 232);
        assert_eq!(nearest(0x5f_87_af), 67);
    }
}
