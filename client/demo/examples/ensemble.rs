//! Runs the demonstration's ensemble without a pilot: each replica a process, two at a time.
//!
//! `cargo run --release -p scalems-demo --example ensemble -- DIR` leaves the files, prints the table and draws
//! the picture. `scalems demo` does the same with a pilot between.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Parser, Subcommand};
use scalems_demo::{Picture, ReplicaArgs, Span, WINDOWS, analyse, run_replica, table};

#[derive(Parser)]
struct Cli {
    /// Directory for the files of the ensemble
    dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Subcommand)]
enum Sub {
    Replica(ReplicaArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match (cli.command, cli.dir) {
        (Some(Sub::Replica(args)), _) => run_replica(&args)
            .map(|summary| println!("{summary}"))
            .map_err(Into::into),
        (None, Some(dir)) => ensemble(&dir),
        (None, None) => Err("give a directory".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn ensemble(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(dir)?;
    let started = Instant::now();
    let mut spans = Vec::new();
    for generation in 1..=2 {
        let lanes = std::thread::scope(|scope| {
            let lanes = [0, 1].map(|lane| scope.spawn(move || run_lane(dir, generation, lane, started)));
            lanes.map(|lane| lane.join().expect("a lane does not panic"))
        });
        for lane in lanes {
            spans.extend(lane?);
        }
    }
    let simulated_s = started.elapsed().as_secs_f64();
    let (first, both) = (analyse(dir, 1)?, analyse(dir, 2)?);
    print!("{}", table(&[&first, &both]));
    let analysed_s = started.elapsed().as_secs_f64() - simulated_s;
    let picture = Picture::draw(&[&first, &both], &spans)?;
    std::fs::write(dir.join("free-energy.svg"), picture.svg())?;
    std::fs::write(dir.join("free-energy.png"), picture.png(2.0)?)?;
    let drawn_s = started.elapsed().as_secs_f64() - analysed_s - simulated_s;
    println!("simulated in {simulated_s:.2} s, analysed in {analysed_s:.2} s, drawn in {drawn_s:.2} s");
    Ok(())
}

/// Every second window of a generation, one process after the other.
fn run_lane(dir: &Path, generation: u32, lane: u32, started: Instant) -> std::io::Result<Vec<Span>> {
    let mut spans = Vec::new();
    for window in (lane..WINDOWS).step_by(2) {
        let start_s = started.elapsed().as_secs_f64();
        let status = Command::new(std::env::current_exe()?)
            .args([
                "replica",
                "--window",
                &window.to_string(),
                "--generation",
                &generation.to_string(),
                "--dir",
            ])
            .arg(dir)
            .stdout(std::process::Stdio::null())
            .status()?;
        if !status.success() {
            return Err(std::io::Error::other(format!(
                "window {window} of generation {generation}: {status}"
            )));
        }
        spans.push(Span {
            worker: format!("lane {lane}"),
            window,
            generation,
            attempt: 1,
            start_s,
            end_s: started.elapsed().as_secs_f64(),
            lost: false,
        });
    }
    Ok(spans)
}
