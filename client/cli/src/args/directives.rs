//! Options of `scalems submit` in the program's own file: lines `#SCALEMS --cores 4` before its first command.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;

use super::{Cli, Command, SubmitArgs};

const MARK: &str = "#SCALEMS";
/// What is looked at of a file.
const HEAD: u64 = 64 << 10;

/// The command line, with what the program's file says in the places before those of `submit` itself. Ends the program if that is
/// no command line.
pub(crate) fn parse() -> Cli {
    let words: Vec<OsString> = std::env::args_os().collect();
    let cli = Cli::parse_from(&words);
    let Command::Submit(args) = &cli.command else {
        return cli;
    };
    let program = Path::new(&args.command[0]);
    let options = match of_program(args) {
        Ok(options) if options.is_empty() => return cli,
        Ok(options) => options,
        Err(said) => wrong(program, &said),
    };
    Cli::try_parse_from(with(words, options)).unwrap_or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            wrong(program, "only options of `scalems submit` can stand there")
        }
        _ => {
            eprintln!("scalems: with the {MARK} lines of {}:", program.display());
            error.exit()
        }
    })
}

/// `scalems submit` with these options, and before them those that the program's file has.
pub(crate) fn submit_of(options: &[OsString], command: &[String]) -> Result<SubmitArgs, String> {
    #[derive(Parser)]
    #[command(no_binary_name = true, disable_help_flag = true)]
    struct Alone {
        #[command(flatten)]
        args: SubmitArgs,
    }
    let parse = |more: Vec<OsString>| {
        let own = options.iter().cloned();
        let command = command.iter().map(OsString::from);
        let words = more
            .into_iter()
            .chain(own)
            .chain([OsString::from("--")])
            .chain(command);
        let parsed = Alone::try_parse_from(words).map(|alone| alone.args);
        parsed.map_err(|error| {
            let text = error.to_string();
            let told = text
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("error:") || line.starts_with("tip:"));
            let told: Vec<&str> = told.map(|line| line.trim_start_matches("error: ")).collect();
            told.join("; ")
        })
    };
    let args = parse(Vec::new())?;
    let in_file = |said: String| format!("with the {MARK} lines of {}: {said}", command[0]);
    let more = of_program(&args).map_err(in_file)?;
    if more.is_empty() {
        return Ok(args);
    }
    parse(more).map_err(in_file)
}

/// The options in the file of the program that is run.
fn of_program(args: &SubmitArgs) -> Result<Vec<OsString>, String> {
    let program = Path::new(&args.command[0]);
    let from = args.cwd.as_deref().unwrap_or(Path::new(""));
    if args.no_directives
        || args.to.is_some()
        || program.components().count() < 2 && !args.command[0].contains('/')
    {
        return Ok(Vec::new());
    }
    of_file(&from.join(program))
}

fn wrong(program: &Path, said: &str) -> ! {
    let message = format!("the {MARK} lines of {}: {said}\n", program.display());
    clap::Error::raw(ErrorKind::InvalidValue, message).exit()
}

/// The command line with these options right behind `submit`, so that those that were typed come later, and count.
fn with(mut words: Vec<OsString>, options: Vec<OsString>) -> Vec<OsString> {
    let takes_next = |word: &OsString| word == "--pilot" || word == "--output";
    let submit = (1..words.len()).find(|at| words[*at] == "submit" && !takes_next(&words[at - 1]));
    let behind = submit.map_or(words.len(), |at| at + 1);
    words.splice(behind..behind, options);
    words
}

/// The options that a file has; none if it is no script that can be read, which is for whoever runs it to find out.
fn of_file(path: &Path) -> Result<Vec<OsString>, String> {
    let regular = path.metadata().is_ok_and(|facts| facts.is_file());
    let Some(file) = regular.then(|| File::open(path).ok()).flatten() else {
        return Ok(Vec::new());
    };
    let mut lines = BufReader::new(file.take(HEAD)).lines().map_while(Result::ok);
    if !lines.next().is_some_and(|line| line.starts_with("#!")) {
        return Ok(Vec::new());
    }
    of_lines(lines)
}

fn of_lines(lines: impl Iterator<Item = String>) -> Result<Vec<OsString>, String> {
    let mut options = Vec::new();
    for (number, line) in (2..).zip(lines) {
        if !line.starts_with('#') && !line.trim().is_empty() {
            break;
        }
        let Some(rest) = line
            .strip_prefix(MARK)
            .filter(|rest| rest.starts_with([' ', '\t']))
        else {
            continue;
        };
        let words = shlex::split(rest).ok_or_else(|| format!("line {number} has a quote without its end"))?;
        let is = |word: &String, other: &&str| word == other || word.starts_with(&format!("{other}="));
        let others = [
            "--",
            "--pilot",
            "--output",
            "--wait",
            "--timeout",
            "--progress",
            "--dry-run",
            "--open",
            "--to",
            "--each-line",
            "--from-json",
            "--no-directives",
        ];
        if let Some(word) = words
            .iter()
            .find(|word| others.iter().any(|other| is(word, other)))
        {
            return Err(format!(
                "line {number} has {word:?}: only options that say what a task is can stand there"
            ));
        }
        options.extend(words.into_iter().map(OsString::from));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<OsString>, String> {
        of_lines(text.lines().map(str::to_owned))
    }

    #[test]
    fn options_stand_before_the_first_command() {
        let text = "#SCALEMS --cores 4\n# a remark\n\n#SCALEMS\t--name 'two words' # why\n#SCALEMSX --gpus 1\necho\n#SCALEMS --gpus 2\n";
        assert_eq!(of(text).unwrap(), ["--cores", "4", "--name", "two words"]);
        assert!(of("#SCALEMS --name 'x\n").unwrap_err().contains("line 2"));
        assert!(of("#SCALEMS -- rm\n").unwrap_err().contains("only options"));
        assert!(of("#SCALEMS --pilot=b\n").is_err() && of("#SCALEMS --wait\n").is_err());
    }

    #[test]
    fn they_come_before_what_was_typed() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(
            with(
                words("scalems --pilot submit submit --cores 2 -- ./submit"),
                words("--cores 4")
            ),
            words("scalems --pilot submit submit --cores 4 --cores 2 -- ./submit")
        );
    }
}
