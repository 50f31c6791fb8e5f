//! A job's script, from a template.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};

use super::Kind;

const SLURM: &str = include_str!("../../../deploy/templates/slurm.sh.jinja");
const GRID_ENGINE: &str = include_str!("../../../deploy/templates/sge.sh.jinja");
const PBS_PRO: &str = include_str!("../../../deploy/templates/pbs.sh.jinja");
const FLUX: &str = include_str!("../../../deploy/templates/flux.sh.jinja");

/// What a script is to ask for and to run.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The pilot's name.
    pub name: &'a str,
    /// How many nodes.
    pub nodes: u32,
    /// Cores of each node; without it whole nodes.
    pub cores: Option<u32>,
    /// GPUs of each node.
    pub gpus: Option<u32>,
    /// Memory of each node, MiB; without it what the site gives.
    pub memory_mib: Option<u64>,
    /// The time limit, in the system's form.
    pub time: &'a str,
    /// So many seconds before its end the job is told.
    pub warning_s: u64,
    /// The partition or queue.
    pub partition: Option<&'a str>,
    /// The parallel environment, where a system has such.
    pub environment: Option<&'a str>,
    /// Where what the job writes goes.
    pub log: &'a Path,
    /// Lines for the shell before anything else.
    pub setup: &'a [String],
    /// What the job runs: a program and its arguments.
    pub command: &'a [String],
}

/// Why there is no script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The template is not one.
    #[error("the job template cannot be used: {0:#}")]
    Template(#[from] minijinja::Error),
    /// Something cannot be the value of a directive.
    #[error(
        "{0:?} cannot stand in a directive of a job script: choose a name of letters, digits, dots, dashes and underscores"
    )]
    Directive(String),
    /// Something cannot stand in a script.
    #[error("{0:?} cannot stand in a job script: it has a line's end or a zero byte in it")]
    Word(String),
}

/// The template that comes with the program.
pub const fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::Slurm => SLURM,
        Kind::GridEngine => GRID_ENGINE,
        Kind::PbsPro => PBS_PRO,
        Kind::Flux => FLUX,
    }
}

/// Fills a template in. What it says of the request that is not known is an error, not an empty place.
pub fn write(template: &str, request: &Request<'_>) -> Result<String, ScriptError> {
    // In the value of a directive a batch system reads these in ways of its own.
    let log = request.log.display().to_string();
    let plain = |word: &str| {
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_.,:+@/".contains(c);
        word.chars().all(fine)
    };
    let named = [request.partition, request.environment].into_iter().flatten();
    for word in [request.name, request.time].into_iter().chain(named) {
        if !plain(word) {
            return Err(ScriptError::Directive(word.to_owned()));
        }
    }
    if log.contains(['"', '\\', '%', '\n']) {
        return Err(ScriptError::Directive(log));
    }
    let words = [request.name, request.time, &log].into_iter();
    for word in words
        .chain(request.partition)
        .chain(request.command.iter().map(String::as_str))
    {
        if word.contains(['\n', '\r', '\0']) {
            return Err(ScriptError::Word(word.to_owned()));
        }
    }
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    environment.set_syntax(syntax);
    let command: Vec<String> = request.command.iter().map(|word| quoted(word)).collect();
    Ok(environment.render_str(
        template,
        context! {
            name => request.name,
            nodes => request.nodes,
            cores => request.cores,
            gpus => request.gpus,
            memory_mib => request.memory_mib,
            time => request.time,
            warning_s => request.warning_s,
            partition => request.partition,
            environment => request.environment,
            log => log.as_str(),
            log_word => quoted(&log),
            setup => request.setup.to_vec(),
            command => command.join(" "),
        },
    )?)
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(command: &'a [String], setup: &'a [String]) -> Request<'a> {
        Request {
            name: "night",
            nodes: 3,
            cores: None,
            gpus: None,
            memory_mib: None,
            time: "0-02:00:00",
            warning_s: 60,
            partition: None,
            environment: None,
            log: Path::new("/home/a b/job.log"),
            setup,
            command,
        }
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn slurm_is_asked_for_whole_nodes() {
        let command = words(&["/opt/a b/scalems", "pilot", "start", "--name", "night's"]);
        let setup = words(&["module load gromacs"]);
        let script = write(template(Kind::Slurm), &request(&command, &setup)).unwrap();
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(lines[0], "#!/bin/bash");
        for line in [
            "#SBATCH --job-name=scalems-night",
            "#SBATCH --nodes=3",
            "#SBATCH --exclusive",
            "#SBATCH --mem=0",
            "#SBATCH --time=0-02:00:00",
            "#SBATCH --signal=B:USR1@60",
            "#SBATCH --output=\"/home/a b/job.log\"",
            "module load gromacs",
            "exec '/opt/a b/scalems' pilot start --name \"night's\"",
        ] {
            assert!(lines.contains(&line), "{line} in:\n{script}");
        }
        assert!(
            !script.contains("--partition") && !script.contains("--gpus"),
            "{script}"
        );
        assert!(script.ends_with('\n'));
    }

    #[test]
    fn slurm_is_asked_for_parts_of_nodes() {
        let command = words(&["x"]);
        let asked = Request {
            cores: Some(4),
            gpus: Some(2),
            memory_mib: Some(4_096),
            partition: Some("gpu"),
            ..request(&command, &[])
        };
        let script = write(template(Kind::Slurm), &asked).unwrap();
        for line in [
            "#SBATCH --cpus-per-task=4",
            "#SBATCH --gpus-per-node=2",
            "#SBATCH --mem=4096M",
            "#SBATCH --partition=gpu",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
        }
        assert!(!script.contains("--exclusive"), "{script}");
    }

    #[test]
    fn grid_engine_is_asked_for_slots() {
        let command = words(&["/opt/a b/scalems", "pilot", "start"]);
        let asked = Request {
            cores: Some(4),
            partition: Some("long.q"),
            environment: Some("mpi"),
            time: "7200",
            ..request(&command, &[])
        };
        let script = write(template(Kind::GridEngine), &asked).unwrap();
        for line in [
            "#$ -N scalems-night",
            "#$ -pe mpi 12",
            "#$ -q long.q",
            "#$ -l h_rt=7200",
            "#$ -o \"/home/a b/job.log\"",
            "#$ -notify",
            "exec '/opt/a b/scalems' pilot start",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
        }
        let script = write(template(Kind::GridEngine), &request(&command, &[])).unwrap();
        assert!(!script.contains("-pe"), "one slot needs no environment: {script}");
    }

    #[test]
    fn pbs_is_asked_for_chunks() {
        let command = words(&["/opt/a b/scalems", "pilot", "start"]);
        let asked = Request {
            cores: Some(4),
            gpus: Some(1),
            memory_mib: Some(4_096),
            partition: Some("work"),
            time: "02:00:00",
            log: Path::new("/home/$me/job.log"),
            ..request(&command, &[])
        };
        let script = write(template(Kind::PbsPro), &asked).unwrap();
        for line in [
            "#PBS -N scalems-night",
            "#PBS -l select=3:ncpus=4:ngpus=1:mem=4096mb",
            "#PBS -l place=scatter",
            "#PBS -l walltime=02:00:00",
            "#PBS -q work",
            "export SCALEMS_JOB_LOG='/home/$me/job.log'",
            "exec '/opt/a b/scalems' pilot start",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
        }
        let asked = Request {
            gpus: None,
            memory_mib: None,
            ..asked
        };
        let script = write(template(Kind::PbsPro), &asked).unwrap();
        assert!(script.contains("select=3:ncpus=4\n#PBS -l place"), "{script}");
    }

    #[test]
    fn flux_is_asked_for_slots_or_whole_nodes() {
        let command = words(&["x"]);
        let script = write(template(Kind::Flux), &request(&command, &[])).unwrap();
        for line in [
            "# flux: --job-name=scalems-night",
            "# flux: --nodes=3",
            "# flux: --exclusive",
            "# flux: --output=\"/home/a b/job.log\"",
            "exec x",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
        }
        let asked = Request {
            cores: Some(4),
            gpus: Some(2),
            partition: Some("pbatch"),
            time: "7200s",
            ..request(&command, &[])
        };
        let script = write(template(Kind::Flux), &asked).unwrap();
        for line in [
            "# flux: --nslots=3",
            "# flux: --cores-per-slot=4",
            "# flux: --gpus-per-slot=2",
            "# flux: --time-limit=7200s",
            "# flux: --queue=pbatch",
        ] {
            assert!(script.lines().any(|found| found == line), "{line} in:\n{script}");
        }
        assert!(!script.contains("--exclusive"), "{script}");
    }

    #[test]
    fn what_would_be_a_line_of_its_own_is_refused() {
        let command = words(&["x\n#SBATCH --nodes=999"]);
        let error = write(template(Kind::Slurm), &request(&command, &[])).unwrap_err();
        assert!(
            error.to_string().contains("cannot stand in a job script"),
            "{error}"
        );
    }

    #[test]
    fn what_would_be_another_directive_is_refused() {
        let command = words(&["x"]);
        for partition in ["a --nodes=9", "a\n#SBATCH --exclusive", "\"a\"", "$(id)"] {
            let asked = Request {
                partition: Some(partition),
                ..request(&command, &[])
            };
            let error = write(template(Kind::Slurm), &asked).unwrap_err();
            assert!(matches!(error, ScriptError::Directive(_)), "{error}");
        }
        for log in ["/a/%j.log", "/a\"b", "/a\\b"] {
            let asked = Request {
                log: Path::new(log),
                ..request(&command, &[])
            };
            assert!(write(template(Kind::Slurm), &asked).is_err(), "{log}");
        }
    }

    #[test]
    fn a_template_with_a_mistake_is_refused() {
        let command = words(&["x"]);
        let error = write("#!/bin/sh\n{{ nodez }}\n", &request(&command, &[])).unwrap_err();
        assert!(error.to_string().contains("undefined"), "{error}");
    }
}
