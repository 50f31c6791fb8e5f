//! `scalems report RUN.html`: one page of a whole run, which loads nothing and runs no script.

mod charts;
mod gantt;
mod tables;
mod view;
mod words;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use self::view::View;
use crate::Context;
use crate::args::Output;
use crate::commands::history;
use crate::exit::Exit;

/// What the page of a run begins with: a file that begins so may be written anew.
const MARKER: &str = "scalems report";
const BEGINNING: &str = "<!DOCTYPE html>\n<!-- scalems report -->";
const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");

/// Makes the page of the run in a journal.
pub(super) fn make(context: &Context, path: &Path, journal: Option<&Path>) -> anyhow::Result<Exit> {
    may_write(path)?;
    let reading = history::read(context, journal)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let view = view::view(&reading, &history::name(&reading), now.as_micros() as u64);
    let text = rendered(&view).context("make the page")?;
    write(path, text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    match context.output {
        Output::Human => println!("{}: {}; open it in a browser", path.display(), view.told()),
        Output::Quiet => {}
        Output::Json | Output::Jsonl => println!(
            "{}",
            serde_json::json!({"path": path, "bytes": text.len(), "tasks": reading.history.tasks().0})
        ),
    }
    Ok(Exit::Well)
}

fn rendered(view: &View) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // The name is what has all of it escaped.
    environment.add_template("page.html", TEMPLATE)?;
    let fixed = context! { style => STYLE, marker => MARKER };
    let template = environment.get_template("page.html")?;
    template.render(context! { ..Value::from(Serde(view)), ..fixed })
}

/// A file that is there is written anew only if it is a page of ours.
fn may_write(path: &Path) -> anyhow::Result<()> {
    let doing = || format!("write {}", path.display());
    let mut file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        file => file.with_context(doing)?,
    };
    let mut begins = [0; BEGINNING.len()];
    let ours = file.read_exact(&mut begins).is_ok() && begins == *BEGINNING.as_bytes();
    anyhow::ensure!(
        ours,
        "{} is there and is no page that scalems report made: choose another name, or delete it",
        path.display()
    );
    Ok(())
}

/// All of it is there, or what was before.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let mut file = tempfile::Builder::new()
        .prefix(".scalems-report")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
