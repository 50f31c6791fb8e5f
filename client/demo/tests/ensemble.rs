//! The whole ensemble in small: two generations of all windows, their analysis and the picture.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::fs;
use std::path::Path;

use scalems_demo::{
    DemoError, Fault, Picture, Profile, ReplicaArgs, STEPS_MIN, Span, WINDOWS, analyse, restart_path,
    result_path, run_replica, table,
};
use tempfile::TempDir;

/// A fortieth of what the demonstration samples: error bars are six times as long, and as true.
const STEPS: u64 = 60_000;

fn args(dir: &Path, window: u32, generation: u32, steps: u64) -> ReplicaArgs {
    ReplicaArgs {
        steps,
        ..ReplicaArgs::new(window, generation, dir)
    }
}

/// Both generations of all windows, two at a time, and their analysis after the first and after both.
fn ensemble(dir: &Path, steps: u64) -> (Profile, Profile) {
    std::thread::scope(|scope| {
        for lane in 0..2 {
            scope.spawn(move || {
                for window in (lane..WINDOWS).step_by(2) {
                    run_replica(&args(dir, window, 1, steps)).unwrap();
                    run_replica(&args(dir, window, 2, steps)).unwrap();
                }
            });
        }
    });
    (analyse(dir, 1).unwrap(), analyse(dir, 2).unwrap())
}

/// Two workers of two lanes each, of which the second dies with what it has in hand.
fn spans() -> Vec<Span> {
    let mut spans = Vec::new();
    for window in 0..40_u32 {
        let (worker, slot) = (1 + window % 2, f64::from(window / 4));
        let lost = worker == 2 && window / 4 == 6;
        if worker == 2 && window / 4 > 6 {
            continue;
        }
        let (start_s, end_s) = (slot, slot + if lost { 0.4 } else { 0.95 });
        let worker = format!("node-{worker} <&> a very long name indeed");
        spans.push(Span {
            worker,
            window,
            generation: 1 + window / 20,
            attempt: 1,
            start_s,
            end_s,
            lost,
        });
    }
    let lost: Vec<Span> = spans.iter().filter(|span| span.lost).cloned().collect();
    assert_eq!(lost.len(), 2);
    let again = |span: Span| Span {
        worker: "node-3".to_owned(),
        attempt: 2,
        start_s: 8.0,
        end_s: 8.9,
        lost: false,
        ..span
    };
    spans.extend(lost.into_iter().map(again));
    spans
}

#[test]
fn the_exact_curve_is_recovered_within_the_error_bars() {
    let dir = tempfile::tempdir().unwrap();
    let (first, both) = ensemble(dir.path(), STEPS);
    for profile in [&first, &both] {
        assert!(
            profile.residual <= 1e-9 && profile.iterations <= 10,
            "{} iterations",
            profile.iterations
        );
        assert!(profile.least_overlap > 0.4, "{}", profile.least_overlap);
        for point in &profile.points {
            let deviation = (point.measured - point.exact).abs();
            assert!(deviation < 4.5 * point.error + 1e-3, "{point:?}");
        }
        for quantity in [profile.left_depth, profile.right_depth, profile.right_over_left] {
            let deviation = (quantity.measured - quantity.exact).abs();
            assert!(
                deviation < 4.0 * quantity.error && quantity.error < 0.25,
                "{quantity:?}"
            );
        }
        assert!(profile.rms_error < 0.2, "{}", profile.rms_error);
        assert!(
            (profile.kinetic_temperature_k - 300.0).abs() < 3.0,
            "{}",
            profile.kinetic_temperature_k
        );
    }
    // Nothing of the answer is small: an analysis that did nothing would be off by several kT.
    assert!(both.left_depth.exact > 9.0 && both.right_depth.exact > 6.0);
    let bars = |profile: &Profile| profile.points.iter().map(|point| point.error).sum::<f64>();
    let ratio = bars(&both) / bars(&first);
    assert!(
        (0.5..0.95).contains(&ratio),
        "twice the data shorten the error bars to {ratio}, not to about 0.71"
    );
    assert_eq!(both.samples, 2 * first.samples);
    assert_eq!(
        analyse(dir.path(), 1).unwrap(),
        first,
        "the same files give the same profile"
    );
    check_table(&first, &both);
}

/// The table has what was measured beside what is exact.
fn check_table(first: &Profile, both: &Profile) {
    let text = table(&[first, both]);
    assert!(text.contains("generation 1") && text.contains("generations 1–2") && text.contains("RMS error"));
    assert!(
        text.contains(&format!(
            "{:.3} ± {:.3}",
            both.left_depth.measured, both.left_depth.error
        )),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn the_same_arguments_give_the_same_files() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [once, again, other] = dirs.each_ref().map(TempDir::path);
    for generation in [1, 2] {
        run_replica(&args(once, 9, generation, STEPS)).unwrap();
        run_replica(&args(again, 9, generation, STEPS)).unwrap();
        for path in [restart_path, result_path] {
            let content = |dir| fs::read(path(dir, 9, generation)).unwrap();
            assert_eq!(content(once), content(again));
        }
    }
    assert_eq!(
        fs::read_dir(once).unwrap().count(),
        4,
        "nothing but results and restart files is left"
    );
    run_replica(&ReplicaArgs {
        seed: 1,
        ..args(other, 9, 1, STEPS)
    })
    .unwrap();
    let content = |dir| fs::read(result_path(dir, 9, 1)).unwrap();
    assert_ne!(content(once), content(other));
}

#[test]
fn a_second_generation_needs_a_sound_restart_file() {
    let dir = tempfile::tempdir().unwrap();
    let second = args(dir.path(), 3, 2, STEPS_MIN);
    let fault = |args: &ReplicaArgs| match run_replica(args) {
        Err(DemoError::File {
            window: 3,
            generation: 1,
            fault,
            ..
        }) => fault,
        other => panic!("{other:?}"),
    };
    assert!(matches!(fault(&second), Fault::Unreadable(_)));

    run_replica(&args(dir.path(), 3, 1, STEPS_MIN)).unwrap();
    let path = restart_path(dir.path(), 3, 1);
    let sound = fs::read(&path).unwrap();
    fs::write(&path, &sound[..sound.len() - 1]).unwrap();
    assert!(matches!(fault(&second), Fault::Damaged));
    assert!(
        !result_path(dir.path(), 3, 2).exists(),
        "a refused replica leaves nothing"
    );

    run_replica(&args(dir.path(), 4, 1, STEPS_MIN)).unwrap();
    fs::copy(restart_path(dir.path(), 4, 1), &path).unwrap();
    assert!(matches!(fault(&second), Fault::Mismatch(_)));

    let elsewhere = dir.path().join("kept.restart");
    fs::write(&elsewhere, &sound).unwrap();
    run_replica(&ReplicaArgs {
        restart: Some(elsewhere),
        ..second
    })
    .unwrap();
}

#[test]
fn the_analysis_names_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    for window in 0..5 {
        run_replica(&args(dir.path(), window, 1, STEPS_MIN)).unwrap();
    }
    let error = analyse(dir.path(), 1).unwrap_err();
    assert!(matches!(
        error,
        DemoError::File {
            window: 5,
            generation: 1,
            fault: Fault::Unreadable(_),
            ..
        }
    ));
    assert!(
        error.to_string().contains("generation-1-window-05.result"),
        "{error}"
    );
    assert!(matches!(analyse(dir.path(), 0), Err(DemoError::Argument { .. })));
    assert!(matches!(
        run_replica(&args(dir.path(), 64, 1, STEPS)),
        Err(DemoError::Argument { .. })
    ));
    assert!(matches!(
        run_replica(&args(dir.path(), 0, 1, 10)),
        Err(DemoError::Argument { .. })
    ));
}

#[test]
fn the_picture_is_drawn_as_svg_and_png() {
    let dir = tempfile::tempdir().unwrap();
    let (first, both) = ensemble(dir.path(), STEPS_MIN);
    let picture = Picture::draw(&[&first, &both], &spans()).unwrap();
    check_svg(&picture, both.points.len());
    check_png(&picture);
    check_limits(&first);
}

/// The SVG is well-formed and says what it shows.
fn check_svg(picture: &Picture, points: usize) {
    let svg = picture.svg();
    let parsed = roxmltree::Document::parse(&svg).unwrap();
    assert!(parsed.root_element().has_tag_name("svg"));
    let text: String = parsed.descendants().filter_map(|node| node.text()).collect();
    for expected in [
        "exact free energy",
        "worker killed",
        "run again",
        "time since the start of the run (s)",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing");
    }
    let discs = parsed
        .descendants()
        .filter(|node| node.has_tag_name("circle"))
        .count();
    assert!(discs >= 3 * points, "{discs} points are drawn");
    let width: f64 = parsed.root_element().attribute("width").unwrap().parse().unwrap();
    for node in parsed.descendants().filter(|node| node.has_tag_name("text")) {
        let x: f64 = node.attribute("x").unwrap().parse().unwrap();
        assert!((0.0..=width).contains(&x));
    }
}

/// The PNG decodes and is not blank.
fn check_png(picture: &Picture) {
    let pixels = tiny_skia::Pixmap::decode_png(&picture.png(1.0).unwrap()).unwrap();
    assert_eq!(pixels.width(), 900);
    let share = |wanted: [u8; 3]| {
        let hit = |p: &&tiny_skia::PremultipliedColorU8| [p.red(), p.green(), p.blue()] == wanted;
        pixels.pixels().iter().filter(hit).count() as f64 / pixels.pixels().len() as f64
    };
    let white = share([255, 255, 255]);
    assert!((0.5..0.97).contains(&white), "{white} of the picture is white");
    assert!(share([0x00, 0x72, 0xb2]) > 0.005, "generation 2 is seen");
    assert!(share([0xd5, 0x5e, 0x00]) > 0.0005, "the loss is seen");
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e6] {
        assert!(
            matches!(picture.png(scale), Err(DemoError::Raster { .. })),
            "{scale}"
        );
    }
}

/// One stage or no timeline makes a picture too; a timeline that runs backwards does not.
fn check_limits(first: &Profile) {
    let short = Picture::draw(&[first], &[]).unwrap().svg();
    assert!(!short.contains("time since"));
    roxmltree::Document::parse(&short).unwrap();
    let span = spans().remove(0);
    for (start_s, end_s) in [(1.0, 0.5), (f64::NAN, 1.0), (-1.0, 1.0), (0.0, f64::INFINITY)] {
        let wrong = Span {
            start_s,
            end_s,
            ..span.clone()
        };
        assert!(matches!(
            Picture::draw(&[first], &[wrong]),
            Err(DemoError::Span { .. })
        ));
    }
}
