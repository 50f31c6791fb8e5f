//! The result as a table for the terminal.

use std::fmt::Write as _;

use crate::profile::{Profile, Quantity};

/// What a row is called, and where its numbers are.
type Row = (&'static str, fn(&Profile) -> Quantity);

/// Well depths, barrier and errors, a column of measured values for each profile (say, after the first generation
/// and after all) beside the exact ones. Lines end in a newline and fit 80 columns for up to two profiles.
pub fn table(stages: &[&Profile]) -> String {
    let mut text = String::new();
    let rows: [Row; 3] = [
        ("depth of the left well", |p| p.left_depth),
        ("depth of the right well", |p| p.right_depth),
        ("right side over left side", |p| p.right_over_left),
    ];
    let heads = stages.iter().map(|profile| heading(profile.generations));
    line(&mut text, "free energy (kT)", heads, "exact");
    for (name, quantity) in rows {
        let cells = stages.iter().map(|profile| {
            let Quantity { measured, error, .. } = quantity(profile);
            format!("{measured:.3} ± {error:.3}")
        });
        let exact = stages
            .first()
            .map_or_else(String::new, |profile| format!("{:.3}", quantity(profile).exact));
        line(&mut text, name, cells, &exact);
    }
    line(
        &mut text,
        "RMS error of the curve",
        stages.iter().map(|p| format!("{:.3}", p.rms_error)),
        "0",
    );
    line(
        &mut text,
        "typical error bar",
        stages.iter().map(|p| format!("{:.3}", typical_error(p))),
        "",
    );
    line(
        &mut text,
        "least overlap of windows",
        stages.iter().map(|p| format!("{:.2}", p.least_overlap)),
        "",
    );
    let kelvin = stages.iter().map(|p| format!("{:.1}", p.kinetic_temperature_k));
    line(
        &mut text,
        "temperature (K)",
        kelvin,
        &format!("{:.1}", crate::model::TEMPERATURE_K),
    );
    let time = stages.iter().map(|p| duration(p.simulated_ns));
    line(&mut text, "simulated time", time, "");
    text
}

/// What the generations 1 to `last` are called.
pub(crate) fn heading(last: u32) -> String {
    if last == 1 {
        "generation 1".to_owned()
    } else {
        format!("generations 1–{last}")
    }
}

/// A simulated time in the unit that suits it.
pub(crate) fn duration(ns: f64) -> String {
    if ns < 1000.0 {
        format!("{ns:.1} ns")
    } else {
        format!("{:.2} μs", ns / 1000.0)
    }
}

/// Root mean square of the error bars: what the RMS error should be like.
fn typical_error(profile: &Profile) -> f64 {
    let square: f64 = profile.points.iter().map(|point| point.error * point.error).sum();
    (square / profile.points.len() as f64).sqrt()
}

fn line(text: &mut String, name: &str, cells: impl Iterator<Item = String>, exact: &str) {
    let mut row = format!("{name:<26}");
    for cell in cells {
        write!(row, "{cell:>18}").expect("writing to a string cannot fail");
    }
    writeln!(
        text,
        "{}",
        format_args!("{row}{exact:>10}").to_string().trim_end()
    )
    .expect("writing to a string cannot fail");
}
