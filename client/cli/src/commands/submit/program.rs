//! What each task runs, as the command line says it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use scalems_client::protocol::program::{Log, Program, RESERVED, Stdin};

use crate::args::SubmitArgs;
use crate::exit::Misuse;

/// What may come in by `--stdin -`: it travels with each task.
const STDIN_BYTES: u64 = 64 << 20;
/// Placeholders that workers fill.
const KNOWN: [&str; 5] = ["INDEX", "TASK", "SUBMISSION", "ATTEMPT", "CWD"];

pub(super) fn program(args: &SubmitArgs) -> anyhow::Result<Program> {
    let here = std::env::current_dir().context("find out which directory this is")?;
    let absolute = |path: &Path| here.join(path).display().to_string();
    let mut env = BTreeMap::new();
    for file in &args.env_file {
        let text = std::fs::read_to_string(file);
        let text = text.with_context(|| format!("read the variables in {}", file.display()))?;
        for line in text.lines() {
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                env.extend([variable(line, &format!("in {}", file.display()))?]);
            }
        }
    }
    for text in &args.env {
        env.extend([variable(text, "--env")?]);
    }
    let stdin = match args.stdin.as_deref() {
        None => Stdin::Null,
        Some("-") => {
            let mut data = Vec::new();
            std::io::stdin()
                .take(STDIN_BYTES + 1)
                .read_to_end(&mut data)
                .context("read standard input")?;
            anyhow::ensure!(
                data.len() as u64 <= STDIN_BYTES,
                "more than 64 MiB came in: use a file"
            );
            Stdin::Data(data.into())
        }
        Some(file) => Stdin::File(absolute(Path::new(file))),
    };
    let cwd = match &args.cwd {
        _ if args.own_dir => None,
        Some(dir) => Some(absolute(dir)),
        None => Some(here.display().to_string()),
    };
    Ok(Program {
        argv: args.command.clone(),
        env,
        cwd,
        stdin,
        stdout: args.stdout.clone(),
        stderr: args.stderr.clone(),
        keep_output: args.keep_output.into(),
        log: args.log.map(|keep| Log {
            keep: keep.into(),
            cap: args.log_cap,
            rate: args.log_rate,
        }),
    })
}

/// A variable for the program: `NAME=VALUE`, or `NAME` for this shell's.
fn variable(text: &str, place: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = if let Some((name, value)) = text.split_once('=') {
        (name, value.to_owned())
    } else {
        let value = std::env::var(text)
            .map_err(|error| Misuse(format!("{place} {text} takes this shell's: {error}")))?;
        (text, value)
    };
    if name.starts_with(RESERVED) {
        bail!(Misuse(format!(
            "{place} {name}: variables that begin with {RESERVED} are set by scalems alone"
        )));
    }
    if name.is_empty() || name.contains(char::is_whitespace) {
        bail!(Misuse(format!(
            "{place} {text:?} is no variable: write NAME=VALUE"
        )));
    }
    Ok((name.to_owned(), value))
}

/// Refuses a placeholder that nothing fills before anything is submitted. `ours` are filled before that.
pub(super) fn check_placeholders(text: &str, ours: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find("%{") {
        let escaped = rest[..at].ends_with('%');
        rest = &rest[at + 2..];
        if escaped {
            continue;
        }
        let name = rest.split_once('}').map(|(name, _)| name);
        if !name.is_some_and(|name| KNOWN.contains(&name) || ours(name)) {
            let shown = name.map_or_else(|| "%{".to_owned(), |name| format!("%{{{name}}}"));
            let known = KNOWN.map(|name| format!("%{{{name}}}")).join(", ");
            bail!(Misuse(format!(
                "{shown} in {text:?} is no placeholder [wrong_placeholder]: there are {known}, with --each-line %{{LINE}}, and with \
                 --from-json %{{ENTRY}} and %{{ENTRY.key}}; write %%{{ for the text itself"
            )));
        }
    }
    Ok(())
}
