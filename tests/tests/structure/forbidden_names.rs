//! Names that may not stand in some sources, because what they bring in would break what those promise.

use crate::{
    finding::Finding,
    rust_source::{RustSource, is_word_character, line_of, words},
};

struct Rule {
    /// The folder whose sources it is about.
    inside: &'static str,
    /// Paths within, that begin so, where the names are at home.
    except: &'static [&'static str],
    /// Modules of `std` that may not be used.
    modules: &'static [&'static str],
    /// Whole words that may not stand in the code.
    words: &'static [&'static str],
    why: &'static str,
}

const OUTSIDE_WORLD: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

const RULES: &[Rule] = &[
    Rule {
        inside: "agent/core/src/",
        except: &[],
        modules: OUTSIDE_WORLD,
        words: &[
            "Instant",
            "SystemTime",
            "HashMap",
            "HashSet",
            "RandomState",
            "rand",
            "print",
            "println",
            "eprint",
            "eprintln",
        ],
        why: "the core is handed the time and randomness, and must do the same in every run: use BTreeMap",
    },
    Rule {
        inside: "protocol/src/",
        except: &[],
        modules: OUTSIDE_WORLD,
        words: &[
            "Instant",
            "SystemTime",
            "rand",
            "print",
            "println",
            "eprint",
            "eprintln",
        ],
        why: "the protocol says what the bytes mean and does nothing",
    },
    Rule {
        inside: "agent/src/",
        except: &["agent/src/journal/", "agent/src/journal.rs"],
        modules: &[],
        words: &["rusqlite"],
        why: "only the journal knows how it is stored",
    },
];

/// The names in the source at `path` that may not stand there.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RULES {
        if !path.starts_with(rule.inside) || rule.except.iter().any(|except| path.starts_with(except)) {
            continue;
        }
        let code = RustSource::split(text).code;
        let mut found: Vec<(usize, String)> = Vec::new();
        for word in rule.words {
            found.extend(words(&code, word).map(|position| (position, (*word).to_owned())));
        }
        for (position, module) in std_modules(&code) {
            if rule.modules.contains(&module.as_str()) {
                found.push((position, format!("std::{module}")));
            }
        }
        let finding = |(position, name)| {
            Finding::new(
                path,
                line_of(&code, position),
                format!("names {name}: {}", rule.why),
            )
        };
        findings.extend(found.into_iter().map(finding));
    }
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// The modules of `std` that the code names, in paths and in grouped imports, and where.
fn std_modules(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for position in words(code, "std") {
        let Some(rest) = code[position + "std".len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group).into_iter().map(|name| (position, name))),
            None => found.push((position, first_name(rest))),
        }
    }
    found
}

/// The first name of each path in a group, from after its opening brace up to its closing one.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut start = 0;
    let mut names = Vec::new();
    for (position, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && character == ',' {
            names.push(first_name(group[start..position].trim_start()));
            start = position + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|&character| is_word_character(character))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn core(text: &str) -> Vec<usize> {
        lines(&check("agent/core/src/task.rs", text))
    }

    #[test]
    fn the_core_may_not_reach_outside() {
        assert_eq!(core("use std::fs::File;\n"), [1]);
        assert_eq!(core("\nlet home = std::env::var(\"HOME\");"), [2]);
        assert_eq!(
            core("use std::{\n    collections::{BTreeMap, btree_map},\n    net,\n};\nfn f() {}"),
            [1]
        );
        assert_eq!(core("use std::{cmp, thread::{self, spawn}, process};"), [1, 1]);
        assert_eq!(core("use std :: thread;"), [1]);
    }

    #[test]
    fn the_core_may_not_take_the_time_or_a_random_order() {
        assert_eq!(core("use std::time::{Duration, Instant};"), [1]);
        assert_eq!(
            core("let map: std::collections::HashMap<u8, u8> = x;\nlet s = HashSet::new();"),
            [1, 2]
        );
        assert_eq!(core("let x: u8 = rand::random();\nprintln!(\"x\");"), [1, 2]);
    }

    #[test]
    fn what_is_pure_passes() {
        assert!(
            core("use std::{collections::BTreeMap, fmt, time::Duration};\n// not an Instant\n").is_empty()
        );
        assert!(
            core("/// Never a [`HashMap`].\nfn operand(my_fs: &str) { env!(\"X\"); \"std::fs\" }").is_empty()
        );
        assert!(check("agent/src/bus/mod.rs", "use std::fs; use std::time::Instant;").is_empty());
    }

    #[test]
    fn the_protocol_does_nothing_but_may_hash() {
        assert_eq!(
            lines(&check(
                "protocol/src/frame.rs",
                "use std::collections::HashMap;\nuse std::fs;"
            )),
            [2]
        );
        assert!(check("protocol/transport/src/lib.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn only_the_journal_names_its_database() {
        assert_eq!(
            lines(&check("agent/src/bus/mod.rs", "use rusqlite::Connection;")),
            [1]
        );
        assert!(check("agent/src/journal/store.rs", "use rusqlite::Connection;").is_empty());
    }
}
