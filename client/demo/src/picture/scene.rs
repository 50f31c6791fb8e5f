//! What is drawn, before it is known how: paths, discs and text with their inks.

use super::label::{self, Face, Run};

/// A colour with its opacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ink {
    pub(super) rgb: [u8; 3],
    pub(super) opacity: f64,
}

impl Ink {
    pub(super) const fn solid(rgb: [u8; 3]) -> Self {
        Self { rgb, opacity: 1.0 }
    }

    pub(super) const fn faint(self, opacity: f64) -> Self {
        Self { opacity, ..self }
    }
}

/// Text and axes.
pub(super) const INK: Ink = Ink::solid([0x1a, 0x1a, 0x1a]);
/// What is secondary.
pub(super) const GREY: Ink = Ink::solid([0x5c, 0x5c, 0x5c]);
/// The paper.
pub(super) const WHITE: Ink = Ink::solid([0xff, 0xff, 0xff]);
/// The hues of Okabe and Ito, which people with any kind of colour vision tell apart.
pub(super) const BLUE: Ink = Ink::solid([0x00, 0x72, 0xb2]);
pub(super) const SKY: Ink = Ink::solid([0x56, 0xb4, 0xe9]);
pub(super) const VERMILION: Ink = Ink::solid([0xd5, 0x5e, 0x00]);
pub(super) const GREEN: Ink = Ink::solid([0x00, 0x9e, 0x73]);

/// The colour of a generation, in every panel.
pub(super) fn generation_ink(generation: u32) -> Ink {
    match generation {
        1 => SKY,
        2 => BLUE,
        _ => GREEN,
    }
}

/// How an outline is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stroke {
    pub(super) ink: Ink,
    pub(super) width: f64,
    /// Lengths of dash and gap.
    pub(super) dash: Option<(f64, f64)>,
}

impl Stroke {
    pub(super) const fn new(ink: Ink, width: f64) -> Self {
        Self {
            ink,
            width,
            dash: None,
        }
    }

    pub(super) const fn dashed(self, dash: f64, gap: f64) -> Self {
        Self {
            dash: Some((dash, gap)),
            ..self
        }
    }
}

/// Which point of a text its position is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Anchor {
    #[default]
    Start,
    Middle,
    End,
}

/// A line of text; its position is on the base line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Text {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) size: f64,
    pub(super) markup: String,
    pub(super) face: Face,
    pub(super) anchor: Anchor,
    pub(super) ink: Ink,
    /// Turned a quarter to the left, for the labels of vertical axes.
    pub(super) upright: bool,
}

impl Text {
    pub(super) fn new(x: f64, y: f64, size: f64, markup: impl Into<String>) -> Self {
        let (face, anchor) = (Face::default(), Anchor::default());
        Self {
            x,
            y,
            size,
            markup: markup.into(),
            face,
            anchor,
            ink: INK,
            upright: false,
        }
    }

    pub(super) fn face(self, face: Face) -> Self {
        Self { face, ..self }
    }

    pub(super) fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub(super) fn ink(self, ink: Ink) -> Self {
        Self { ink, ..self }
    }

    pub(super) fn upright(self) -> Self {
        Self {
            upright: true,
            ..self
        }
    }

    pub(super) fn runs(&self) -> Vec<Run> {
        label::parse(&self.markup, self.face)
    }
}

/// One thing on the paper.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Path {
        points: Vec<(f64, f64)>,
        closed: bool,
        fill: Option<Ink>,
        stroke: Option<Stroke>,
    },
    Disc {
        x: f64,
        y: f64,
        radius: f64,
        fill: Ink,
        stroke: Option<Stroke>,
    },
    Text(Text),
}

/// Shapes in the order in which they are drawn, on white paper.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) shapes: Vec<Shape>,
}

impl Scene {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut scene = Self {
            width,
            height,
            shapes: Vec::new(),
        };
        scene.rect((0.0, 0.0), (width, height), Some(WHITE), None);
        scene
    }

    pub(super) fn line(&mut self, points: Vec<(f64, f64)>, stroke: Stroke) {
        self.shapes.push(Shape::Path {
            points,
            closed: false,
            fill: None,
            stroke: Some(stroke),
        });
    }

    pub(super) fn area(&mut self, points: Vec<(f64, f64)>, fill: Ink) {
        self.shapes.push(Shape::Path {
            points,
            closed: true,
            fill: Some(fill),
            stroke: None,
        });
    }

    /// A rectangle between two opposite corners.
    pub(super) fn rect(&mut self, a: (f64, f64), b: (f64, f64), fill: Option<Ink>, stroke: Option<Stroke>) {
        let points = vec![a, (b.0, a.1), b, (a.0, b.1)];
        self.shapes.push(Shape::Path {
            points,
            closed: true,
            fill,
            stroke,
        });
    }

    pub(super) fn disc(&mut self, (x, y): (f64, f64), radius: f64, fill: Ink, stroke: Option<Stroke>) {
        self.shapes.push(Shape::Disc {
            x,
            y,
            radius,
            fill,
            stroke,
        });
    }

    pub(super) fn text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }
}
