//! The upper panels: the free energy beside the exact one, and the difference of the two.

use super::font::Fonts;
use super::frame::{Frame, NUMBER_SIZE, Ticks};
use super::scene::{Anchor, BLUE, GREY, INK, Ink, Scene, Stroke, Text, WHITE, generation_ink};
use super::{DEVIATION, ENERGY, PANEL, RANGE_NM, letter};
use crate::model;
use crate::profile::{Point, Profile, Quantity};
use crate::table::heading;

const EXACT: Stroke = Stroke::new(INK, 1.5);
const POTENTIAL: Stroke = Stroke::new(GREY, 1.2).dashed(5.0, 4.0);
/// A viewer of the SVG without Noto Sans may take a font that is wider by this.
const WIDER: f64 = 1.17;
/// Half the width of an error bar's caps.
const CAP: f64 = 2.4;

/// Panel a.
pub(super) fn free_energy(scene: &mut Scene, profile: &Profile) {
    let highest = profile
        .points
        .iter()
        .map(|point| point.exact.max(point.measured))
        .fold(0.0, f64::max);
    // Room for the legend above the barrier.
    let frame = Frame {
        across: PANEL,
        down: ENERGY,
        x: RANGE_NM,
        y: (-0.6, 2.0 * (0.5 * highest).ceil() + 1.0),
    };
    letter(scene, ENERGY.0, "a");
    frame.left_axis(scene, &Ticks::within((0.0, frame.y.1), 8), "*F* (*k*_{B}*T*)");
    frame.bottom_axis(scene, &Ticks::within(RANGE_NM, 8), None);

    let zero = zero_of(profile);
    let curve = |energy: fn(f64) -> f64, constant: f64| -> Vec<(f64, f64)> {
        let positions = (-156..=156).map(|i| f64::from(i) * 0.01);
        let values = positions.map(|x| (x, energy(x) - constant));
        values
            .filter(|(_, f)| *f <= frame.y.1 - 0.2)
            .map(|(x, f)| frame.at(x, f))
            .collect()
    };
    scene.line(curve(model::potential, zero), POTENTIAL);
    scene.line(curve(model::free_energy, zero), EXACT);
    let ink = generation_ink(profile.generations);
    for point in &profile.points {
        error_bar(scene, &frame, point, point.measured, ink);
        scene.disc(frame.at(point.x_nm, point.measured), 2.7, ink, None);
    }
    depth(scene, &frame, profile, &profile.left_depth, -1.0);
    depth(scene, &frame, profile, &profile.right_depth, 1.0);
    legend(scene, &frame, profile, ink);
}

/// What has to be taken from the model's curve so that its zero is the profile's.
fn zero_of(profile: &Profile) -> f64 {
    // The profile's points are means over intervals; their lowest lies a little above the curve's.
    let deviation = |point: &Point| model::free_energy(point.x_nm) - point.exact;
    let lowest = profile.points.iter().min_by(|a, b| a.exact.total_cmp(&b.exact));
    lowest.map_or(0.0, deviation)
}

/// A well's depth as draughtsmen give a height: a line at the top, an arrow from the bottom, the number beside it.
fn depth(scene: &mut Scene, frame: &Frame, profile: &Profile, quantity: &Quantity, side: f64) {
    let halves = profile.points.split_at(profile.points.len() / 2);
    let well = if side < 0.0 { halves.0 } else { halves.1 };
    let Some(bottom) = well.iter().min_by(|a, b| a.exact.total_cmp(&b.exact)) else {
        return;
    };
    let top = bottom.exact + quantity.exact;
    let thin = Stroke::new(GREY, 0.9);
    let (x, high, low) = (
        frame.column(bottom.x_nm),
        frame.row(top),
        frame.row(bottom.exact) - 7.0,
    );
    scene.line(
        vec![(x + 10.0 * side, high), (frame.column(0.09 * side), high)],
        thin.dashed(1.5, 2.5),
    );
    scene.line(vec![(x, high), (x, low)], thin);
    for (tip, back) in [(high, 7.0), (low, -7.0)] {
        scene.area(vec![(x, tip), (x - 2.8, tip + back), (x + 2.8, tip + back)], GREY);
    }
    let (column, anchor) = if side < 0.0 {
        (x + 8.0, Anchor::Start)
    } else {
        (x - 8.0, Anchor::End)
    };
    let number = format!(
        "{:.2} ± {:.2} *k*_{{B}}*T*",
        quantity.measured,
        quantity.error.max(0.01)
    );
    let y = high + 0.40 * (low - high);
    scene.text(Text::new(column, y, NUMBER_SIZE, number).anchor(anchor));
}

fn legend(scene: &mut Scene, frame: &Frame, profile: &Profile, ink: Ink) {
    let left = frame.column(-0.52);
    let rows = [
        format!("umbrella sampling, {}", heading(profile.generations)),
        "exact free energy".to_owned(),
        "potential at *y* = 0 (no entropy)".to_owned(),
    ];
    for (index, label) in rows.into_iter().enumerate() {
        let y = frame.down.0 + 8.0 + 18.0 * index as f64;
        let (start, middle, end) = ((left, y), (left + 14.0, y), (left + 28.0, y));
        match index {
            0 => {
                scene.line(
                    vec![(middle.0, y - 6.0), (middle.0, y + 6.0)],
                    Stroke::new(ink, 1.1),
                );
                scene.disc(middle, 2.7, ink, None);
            }
            1 => scene.line(vec![start, end], EXACT),
            _ => scene.line(vec![start, end], POTENTIAL),
        }
        scene.text(Text::new(left + 36.0, y + 4.3, NUMBER_SIZE, label));
    }
}

/// Panel b.
pub(super) fn deviation(scene: &mut Scene, fonts: &Fonts, stages: &[&Profile]) {
    let [first, .., last] = stages else {
        if let [only] = stages {
            deviation(scene, fonts, &[only, only]);
        }
        return;
    };
    let shown: Vec<(&Profile, f64)> = if std::ptr::eq(*first, *last) {
        vec![(last, 0.0)]
    } else {
        vec![(first, -2.1), (last, 2.1)]
    };
    let reach = |point: &Point| (point.measured - point.exact).abs() + point.error;
    let most = shown
        .iter()
        .flat_map(|(profile, _)| &profile.points)
        .map(reach)
        .fold(1e-4, f64::max);
    // The upper part stays free for the legend.
    let frame = Frame {
        across: PANEL,
        down: DEVIATION,
        x: RANGE_NM,
        y: (-1.1 * most, 1.65 * most),
    };
    letter(scene, DEVIATION.0, "b");
    frame.left_axis(
        scene,
        &Ticks::within((-1.1 * most, 1.2 * most), 6),
        "*F* − *F*_{exact} (*k*_{B}*T*)",
    );
    frame.bottom_axis(scene, &Ticks::within(RANGE_NM, 8), None);
    frame.guide(scene, 0.0);

    let mut right = frame.across.1;
    for (profile, shift) in shown.iter().rev() {
        let ink = generation_ink(profile.generations);
        for point in &profile.points {
            let deviation = point.measured - point.exact;
            let frame = Frame {
                across: (frame.across.0 + shift, frame.across.1 + shift),
                ..frame
            };
            error_bar(scene, &frame, point, deviation, ink);
            marker(scene, frame.at(point.x_nm, deviation), profile.generations);
        }
        let label = format!(
            "{}: RMS {:.3} *k*_{{B}}*T*",
            heading(profile.generations),
            profile.rms_error
        );
        let y = frame.down.0 + 6.0;
        let text = Text::new(0.0, y + 4.3, NUMBER_SIZE, label);
        let x = right - WIDER * fonts.width(&text);
        scene.text(Text { x, ..text });
        let column = x - 12.0;
        scene.line(vec![(column, y - 6.0), (column, y + 6.0)], Stroke::new(ink, 1.1));
        marker(scene, (column, y), profile.generations);
        right = column - 20.0;
    }
}

/// Open for the first generation, full for more: told apart without colour, too.
fn marker(scene: &mut Scene, at: (f64, f64), generations: u32) {
    let ink = generation_ink(generations);
    let fill = if ink == BLUE { ink } else { WHITE };
    scene.disc(at, 2.2, fill, Some(Stroke::new(ink, 1.1)));
}

fn error_bar(scene: &mut Scene, frame: &Frame, point: &Point, value: f64, ink: Ink) {
    let (x, high) = frame.at(point.x_nm, value + point.error);
    let low = frame.row(value - point.error);
    let stroke = Stroke::new(ink, 1.1);
    scene.line(vec![(x, high), (x, low)], stroke);
    for y in [high, low] {
        scene.line(vec![(x - CAP, y), (x + CAP, y)], stroke);
    }
}
