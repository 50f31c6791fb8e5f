//! Panel c: what each window sampled, so that their overlap can be seen.

use super::frame::{Frame, Ticks};
use super::scene::{Ink, Scene, Stroke};
use super::{DENSITY, PANEL, RANGE_NM, letter};
use crate::profile::Profile;

/// Stops of cividis, a scale whose order is seen with any kind of colour vision.
const SCALE: [[f64; 3]; 6] = [
    [0.0, 34.0, 78.0],
    [53.0, 69.0, 108.0],
    [102.0, 105.0, 112.0],
    [148.0, 142.0, 119.0],
    [200.0, 184.0, 102.0],
    [240.0, 215.0, 70.0],
];

pub(super) fn densities(scene: &mut Scene, profile: &Profile) {
    let values = profile
        .densities
        .iter()
        .flat_map(|window| &window.curve)
        .map(|(_, density)| *density);
    let frame = Frame {
        across: PANEL,
        down: DENSITY,
        x: RANGE_NM,
        y: (0.0, 1.05 * values.fold(1.0, f64::max)),
    };
    let last = (profile.densities.len().max(2) - 1) as f64;
    for (index, window) in profile.densities.iter().enumerate() {
        let within = window
            .curve
            .iter()
            .filter(|(x, _)| (RANGE_NM.0..=RANGE_NM.1).contains(x));
        let points: Vec<(f64, f64)> = within.map(|(x, density)| frame.at(*x, *density)).collect();
        let ink = colour(index as f64 / last);
        scene.area(points.clone(), ink.faint(0.22));
        scene.line(points, Stroke::new(ink, 0.9));
    }
    letter(scene, DENSITY.0, "c");
    frame.left_axis(scene, &Ticks::within(frame.y, 4), "*p*(*x*) (1/nm)");
    frame.bottom_axis(scene, &Ticks::within(RANGE_NM, 8), Some("*x* (nm)"));
}

/// The scale's colour at a share of its length.
fn colour(share: f64) -> Ink {
    let place = share.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let stop = (place as usize).min(SCALE.len() - 2);
    let part = place - stop as f64;
    Ink::solid(
        [0, 1, 2].map(|c| (SCALE[stop][c] + part * (SCALE[stop + 1][c] - SCALE[stop][c])).round() as u8),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_runs_from_end_to_end() {
        assert_eq!(colour(0.0).rgb, [0, 34, 78]);
        assert_eq!(colour(1.0).rgb, [240, 215, 70]);
        assert_eq!(colour(0.3), colour(0.3));
    }
}
