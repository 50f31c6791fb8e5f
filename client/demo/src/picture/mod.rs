//! The picture: one list of shapes, written as SVG and painted as PNG.
//!
//! Both come from the same [`scene::Scene`], so they cannot disagree. The PNG's letters are the outlines of Noto
//! Sans, which is bundled (SIL Open Font License 1.1); the SVG names that font first and keeps its text as text.

mod energy;
mod font;
mod frame;
mod label;
mod png;
mod scene;
mod svg;
mod timeline;
mod windows;

use crate::error::DemoError;
use crate::profile::Profile;
use crate::replica::WINDOWS;
use crate::table::{duration, heading};
use font::Fonts;
use label::Face;
use scene::{Anchor, GREY, INK, Scene, Text};

/// Units of the drawing; at scale 1 a unit is a pixel.
const WIDTH: f64 = 900.0;
/// Left and right ends of all panels.
const PANEL: (f64, f64) = (88.0, 876.0);
/// Range of the coordinate that the panels share, in nm.
const RANGE_NM: (f64, f64) = (-1.62, 1.62);
/// Upper and lower edges of the panels above the timeline.
const ENERGY: (f64, f64) = (78.0, 372.0);
const DEVIATION: (f64, f64) = (392.0, 518.0);
const DENSITY: (f64, f64) = (538.0, 640.0);
const TIMELINE_TOP: f64 = 728.0;

/// One attempt at a replica: which worker ran it, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The worker's name, as the picture shows it.
    pub worker: String,
    /// The replica's window.
    pub window: u32,
    /// The replica's generation, from 1.
    pub generation: u32,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// Begin, in seconds after the start of the run.
    pub start_s: f64,
    /// End, likewise.
    pub end_s: f64,
    /// Whether the attempt was lost with its worker.
    pub lost: bool,
}

/// A finished drawing of the profile and of the run that gave it.
#[derive(Clone, Debug)]
pub struct Picture {
    scene: Scene,
}

impl Picture {
    /// Draws the last of `stages` as the result, the first one as what was known early, and the timeline of `spans`
    /// below them, if there are any.
    ///
    /// # Errors
    ///
    /// [`DemoError::Span`] for a span whose times are not numbers or run backwards.
    pub fn draw(stages: &[&Profile], spans: &[Span]) -> Result<Self, DemoError> {
        let backwards =
            |span: &&Span| !(span.start_s >= 0.0 && span.end_s >= span.start_s && span.end_s.is_finite());
        if let Some(Span {
            worker,
            start_s,
            end_s,
            ..
        }) = spans.iter().find(backwards)
        {
            return Err(DemoError::Span {
                worker: worker.clone(),
                start_s: *start_s,
                end_s: *end_s,
            });
        }
        let fonts = Fonts::bundled();
        let timeline = timeline::Timeline::arrange(spans);
        let height = timeline
            .as_ref()
            .map_or(DENSITY.1 + 62.0, |timeline| timeline.bottom() + 62.0);
        let mut scene = Scene::new(WIDTH, height);
        if let Some(profile) = stages.last() {
            header(&mut scene, profile);
            energy::free_energy(&mut scene, profile);
            energy::deviation(&mut scene, &fonts, stages);
            windows::densities(&mut scene, profile);
        }
        if let Some(timeline) = timeline {
            timeline.draw(&mut scene, &fonts);
        }
        Ok(Self { scene })
    }

    /// The picture as an SVG document.
    pub fn svg(&self) -> String {
        svg::document(&self.scene)
    }

    /// The picture as a PNG file with `scale` pixels per unit (2 suits print and dense screens).
    ///
    /// # Errors
    ///
    /// [`DemoError::Raster`] for a scale that gives no picture, or one too large for memory.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, DemoError> {
        png::encode(&self.scene, scale)
    }
}

fn header(scene: &mut Scene, profile: &Profile) {
    let title = format!("Free energy of a double well from {WINDOWS} umbrella windows");
    scene.text(Text::new(PANEL.0, 32.0, 18.0, title).face(Face::Bold).ink(INK));
    let subtitle = format!(
        "{} of {WINDOWS} replicas, {} of Langevin dynamics at {:.0} K in all, joined by WHAM. \
         RMS error: {:.3} *k*_{{B}}*T*.",
        heading(profile.generations).replacen('g', "G", 1),
        duration(profile.simulated_ns),
        crate::model::TEMPERATURE_K,
        profile.rms_error,
    );
    scene.text(Text::new(PANEL.0, 53.0, 12.5, subtitle).ink(GREY));
}

/// The bold letter by which a caption would name a panel.
fn letter(scene: &mut Scene, top: f64, letter: &str) {
    scene.text(
        Text::new(6.0, top + 10.0, 16.0, letter)
            .face(Face::Bold)
            .anchor(Anchor::Start),
    );
}
