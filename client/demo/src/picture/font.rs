//! The bundled font: how wide text is, and what its letters look like.

use ttf_parser::{GlyphId, OutlineBuilder};

use super::label::{Face, Run, SUBSCRIPT_DROP, SUBSCRIPT_SIZE};
use super::scene::Text;

/// The faces of Noto Sans that are used.
pub(super) struct Fonts {
    regular: ttf_parser::Face<'static>,
    italic: ttf_parser::Face<'static>,
    bold: ttf_parser::Face<'static>,
}

/// A glyph with its place relative to the start of the text's base line; y points down.
pub(super) struct Placed {
    face: Face,
    glyph: GlyphId,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) size: f64,
}

impl Fonts {
    pub(super) fn bundled() -> Self {
        let parse = |bytes| ttf_parser::Face::parse(bytes, 0).expect("the bundled font is sound");
        Self {
            regular: parse(notosans::REGULAR_TTF),
            italic: parse(notosans::ITALIC_TTF),
            bold: parse(notosans::BOLD_TTF),
        }
    }

    fn face(&self, face: Face) -> &ttf_parser::Face<'static> {
        match face {
            Face::Regular => &self.regular,
            Face::Italic => &self.italic,
            Face::Bold => &self.bold,
        }
    }

    /// Sets the glyphs of a text one after the other, and says how wide that is. A character that the font lacks
    /// gets the font's own mark for that.
    pub(super) fn place(&self, runs: &[Run], size: f64) -> (Vec<Placed>, f64) {
        let mut placed = Vec::new();
        let mut x = 0.0;
        for run in runs {
            let font = self.face(run.face);
            let (size, y) = if run.subscript {
                (size * SUBSCRIPT_SIZE, size * SUBSCRIPT_DROP)
            } else {
                (size, 0.0)
            };
            for c in run.text.chars() {
                let glyph = font.glyph_index(c).unwrap_or(GlyphId(0));
                placed.push(Placed {
                    face: run.face,
                    glyph,
                    x,
                    y,
                    size,
                });
                let advance = f64::from(font.glyph_hor_advance(glyph).unwrap_or(0));
                x += advance * size / f64::from(font.units_per_em());
            }
        }
        (placed, x)
    }

    pub(super) fn width(&self, text: &Text) -> f64 {
        self.place(&text.runs(), text.size).1
    }

    /// Traces a glyph in font units, y pointing up; the factor turns them into units of the drawing.
    pub(super) fn outline(&self, placed: &Placed, builder: &mut impl OutlineBuilder) -> f64 {
        let font = self.face(placed.face);
        // No outline is what a space has.
        font.outline_glyph(placed.glyph, builder);
        placed.size / f64::from(font.units_per_em())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_every_letter_that_the_picture_uses() {
        let fonts = Fonts::bundled();
        for c in "−±–μ·×…".chars() {
            for face in [Face::Regular, Face::Bold] {
                assert!(fonts.face(face).glyph_index(c).is_some(), "{c:?}");
            }
        }
    }

    #[test]
    fn a_subscript_is_narrower_and_lower() {
        let fonts = Fonts::bundled();
        let text = |markup: &str| Text::new(0.0, 0.0, 20.0, markup);
        assert!(fonts.width(&text("_{B}")) < fonts.width(&text("B")));
        let (placed, _) = fonts.place(&text("k_{B}").runs(), 20.0);
        assert!(placed[0].y.abs() < 1e-12 && placed[1].y > 0.0);
    }
}
