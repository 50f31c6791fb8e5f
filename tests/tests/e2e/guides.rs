//! The pages for those who come from elsewhere: each command is run, and prints what stands below it.

use std::path::PathBuf;

use scalems_tests::pilot::Home;

/// What stands in a page to be run, and what it prints.
struct Step {
    line: usize,
    commands: String,
    prints: String,
}

fn page(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/guide/from/{name}.md"))
}

/// Blocks of `sh` are run; one of `text` right behind such a block is what it prints.
fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = text.lines().enumerate();
    let mut after_commands = false;
    while let Some((at, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            after_commands = false;
            continue;
        };
        let block: String = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .flat_map(|line| [line, "\n"])
            .collect();
        match kind {
            "sh" => steps.push(Step {
                line: at + 1,
                commands: block,
                prints: String::new(),
            }),
            "text" if after_commands => steps.last_mut().unwrap().prints = block,
            "text" => panic!("line {}: nothing prints this", at + 1),
            _ => {}
        }
        after_commands = kind == "sh";
    }
    steps
}

fn follow(name: &str) {
    let path = page(name);
    let steps = steps(&std::fs::read_to_string(&path).unwrap());
    assert!(steps.len() >= 3, "{}", path.display());
    let home = Home::new();
    for step in steps {
        let said = home.sh(&format!("set -e\n{}", step.commands));
        let place = format!("{}:{}", path.display(), step.line);
        assert_eq!(said.code, 0, "{place}: {said:?}");
        assert_eq!(said.out, step.prints, "{place}: {}", said.err);
    }
    home.until_empty();
}

#[test]
fn from_job_arrays() {
    follow("job-arrays");
}

#[test]
fn from_gnu_parallel() {
    follow("gnu-parallel");
}

#[test]
fn from_hyperqueue() {
    follow("hyperqueue");
}

#[test]
fn from_parsl() {
    follow("parsl");
}
