//! Paints a scene and encodes it as PNG.

use tiny_skia::{
    Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Shader, Stroke as SkiaStroke, StrokeDash,
    Transform,
};
use ttf_parser::OutlineBuilder;

use super::font::Fonts;
use super::scene::{Anchor, Ink, Scene, Shape, Stroke, Text};
use crate::error::DemoError;

/// More than this many pixels a side is no picture any more, but a request for memory.
const SIDE_MAX: f32 = 16_384.0;

pub(super) fn encode(scene: &Scene, scale: f32) -> Result<Vec<u8>, DemoError> {
    let failed = |reason: String| DemoError::Raster { scale, reason };
    let (width, height) = (
        (scene.width as f32 * scale).ceil(),
        (scene.height as f32 * scale).ceil(),
    );
    if !(1.0..=SIDE_MAX).contains(&width) || !(1.0..=SIDE_MAX).contains(&height) {
        return Err(failed(format!(
            "{width} × {height} pixels are not between 1 and {SIDE_MAX} a side"
        )));
    }
    let mut pixmap =
        Pixmap::new(width as u32, height as u32).ok_or_else(|| failed("no memory".to_owned()))?;
    let fonts = Fonts::bundled();
    let whole = Transform::from_scale(scale, scale);
    for shape in &scene.shapes {
        match shape {
            Shape::Path {
                points,
                closed,
                fill,
                stroke,
            } => {
                if let Some(path) = polyline(points, *closed) {
                    draw(&mut pixmap, &path, fill.as_ref(), stroke.as_ref(), whole);
                }
            }
            Shape::Disc {
                x,
                y,
                radius,
                fill,
                stroke,
            } => {
                if let Some(path) = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32) {
                    draw(&mut pixmap, &path, Some(fill), stroke.as_ref(), whole);
                }
            }
            Shape::Text(text) => draw_text(&mut pixmap, &fonts, text, whole),
        }
    }
    pixmap.encode_png().map_err(|error| failed(error.to_string()))
}

/// None where there is nothing to draw: no point, or one only.
fn polyline(points: &[(f64, f64)], closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if index == 0 {
            builder.move_to(x, y);
        } else {
            builder.line_to(x, y);
        }
    }
    if closed {
        builder.close();
    }
    builder.finish()
}

fn draw(pixmap: &mut Pixmap, path: &Path, fill: Option<&Ink>, stroke: Option<&Stroke>, place: Transform) {
    if let Some(ink) = fill {
        pixmap.fill_path(path, &paint(ink), FillRule::Winding, place, None);
    }
    if let Some(Stroke { ink, width, dash }) = stroke {
        let dash = dash.and_then(|(dash, gap)| StrokeDash::new(vec![dash as f32, gap as f32], 0.0));
        let stroke = SkiaStroke {
            width: *width as f32,
            dash,
            line_join: LineJoin::Round,
            ..SkiaStroke::default()
        };
        pixmap.stroke_path(path, &paint(ink), &stroke, place, None);
    }
}

fn draw_text(pixmap: &mut Pixmap, fonts: &Fonts, text: &Text, whole: Transform) {
    let (glyphs, width) = fonts.place(&text.runs(), text.size);
    let before = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => 0.5 * width,
        Anchor::End => width,
    };
    let turn = if text.upright { -90.0 } else { 0.0 };
    let base = whole.pre_translate(text.x as f32, text.y as f32).pre_rotate(turn);
    for glyph in &glyphs {
        let mut outline = Outline(PathBuilder::new());
        let size = fonts.outline(glyph, &mut outline) as f32;
        let Some(path) = outline.0.finish() else { continue };
        let place = base
            .pre_translate((glyph.x - before) as f32, glyph.y as f32)
            .pre_scale(size, -size);
        pixmap.fill_path(&path, &paint(&text.ink), FillRule::Winding, place, None);
    }
}

fn paint(
    Ink {
        rgb: [r, g, b],
        opacity,
    }: &Ink,
) -> Paint<'static> {
    let mut color = Color::from_rgba8(*r, *g, *b, 255);
    color.apply_opacity(*opacity as f32);
    Paint {
        shader: Shader::SolidColor(color),
        anti_alias: true,
        ..Paint::default()
    }
}

struct Outline(PathBuilder);

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
