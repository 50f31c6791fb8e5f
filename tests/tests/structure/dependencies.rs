//! Which crate may depend on which: the table of `docs/architecture.md`, made to hold.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::{finding::Finding, tree};

/// A crate of the workspace, as far as the rules look at it.
pub(crate) struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    only_for_tests: bool,
}

struct Rule {
    name: &'static str,
    /// Which of our own crates it may use, also in its tests.
    ours: &'static [&'static str],
    /// If given, all that it may use besides, but for its tests.
    only: Option<&'static [&'static str]>,
    /// What it may not use, also in its tests.
    never: &'static [&'static str],
}

const ALL: &[&str] = &[
    "scalems",
    "scalems-agent",
    "scalems-client",
    "scalems-core",
    "scalems-demo",
    "scalems-protocol",
    "scalems-top",
    "scalems-transport",
];

const RULES: &[Rule] = &[
    Rule {
        name: "scalems-protocol",
        ours: &[],
        only: Some(&[
            "blake3",
            "bytes",
            "rmp",
            "rmp-serde",
            "serde",
            "serde_bytes",
            "thiserror",
        ]),
        never: &["tokio"],
    },
    Rule {
        name: "scalems-core",
        ours: &["scalems-protocol"],
        only: Some(&["bytes", "serde", "thiserror"]),
        never: &["tokio", "nix"],
    },
    Rule {
        name: "scalems-transport",
        ours: &["scalems-protocol"],
        only: None,
        never: &["tokio"],
    },
    Rule {
        name: "scalems-agent",
        ours: &["scalems-core", "scalems-protocol", "scalems-transport"],
        only: None,
        never: &[],
    },
    Rule {
        name: "scalems-client",
        ours: &["scalems-protocol", "scalems-transport"],
        only: None,
        never: &[],
    },
    Rule {
        name: "scalems-top",
        ours: &["scalems-client", "scalems-protocol", "scalems-transport"],
        only: None,
        never: &[],
    },
    Rule {
        name: "scalems",
        ours: ALL,
        only: None,
        never: &[],
    },
    // The module of the Python package: the client library and nothing else, so that a Python process is a client.
    Rule {
        name: "scalems-python",
        ours: &["scalems-client"],
        only: None,
        never: &["tokio"],
    },
    Rule {
        name: "scalems-tests",
        ours: ALL,
        only: None,
        never: &[],
    },
    // The simulation that the demo runs is a program like any other: it knows nothing of scalems.
    Rule {
        name: "scalems-demo",
        ours: &[],
        only: None,
        never: &["tokio"],
    },
    // Stands in for the crate of that name; builds libzmq and nothing else.
    Rule {
        name: "zeromq-src",
        ours: &[],
        only: None,
        never: &["tokio"],
    },
];

/// What only one crate may depend on, whatever its own rule says.
const HELD: &[(&str, &str, &str)] = &[
    (
        "zmq",
        "scalems-transport",
        "sockets are opened in one place, with their options and their security",
    ),
    (
        "zmq-sys",
        "scalems-transport",
        "sockets are opened in one place, with their options and their security",
    ),
    ("rusqlite", "scalems-agent", "the journal is the agent's"),
    (
        "pyo3",
        "scalems-python",
        "nothing else is loaded into a Python, or has one inside",
    ),
];

/// What `krate` uses against the rules.
pub(crate) fn check(krate: &Crate) -> Vec<Finding> {
    let name = krate.name.as_str();
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        return vec![Finding::new(
            name,
            0,
            "a crate without a rule: say in dependencies.rs what it may use",
        )];
    };
    let complaint = |dependency: &Dependency| {
        let used = dependency.name.as_str();
        // What is exported is read by tests as its users would.
        let reads = dependency.only_for_tests && used == "rusqlite";
        let held = HELD
            .iter()
            .find(|(held, holder, _)| *held == used && *holder != name && !reads);
        if let Some((_, holder, why)) = held {
            Some(format!("uses {used}, which is only for {holder}: {why}"))
        } else if used.starts_with("scalems") {
            (!rule.ours.contains(&used)).then(|| format!("uses {used}; of ours it may use {:?}", rule.ours))
        } else if rule.never.contains(&used) {
            Some(format!("uses {used}, which it must not"))
        } else {
            let only = rule
                .only
                .filter(|only| !dependency.only_for_tests && !only.contains(&used));
            only.map(|only| format!("uses {used}; besides ours it may use only {only:?}"))
        }
    };
    let findings = krate.dependencies.iter().filter_map(complaint);
    findings.map(|what| Finding::new(name, 0, what)).collect()
}

/// The crates of the workspace.
pub(crate) fn load() -> Vec<Crate> {
    let crates: Vec<_> = metadata().packages.iter().map(read).collect();
    assert!(
        crates.iter().any(|krate| krate.name == "scalems-core"),
        "the workspace has a core"
    );
    crates
}

/// The version that all our crates share.
pub(crate) fn version() -> String {
    let metadata = metadata();
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "scalems");
    package
        .expect("the workspace has the crate scalems")
        .version
        .to_string()
}

fn metadata() -> Metadata {
    let manifest = tree::root().join("Cargo.toml");
    MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
}

fn read(package: &cargo_metadata::Package) -> Crate {
    let dependency = |dependency: &cargo_metadata::Dependency| Dependency {
        name: dependency.name.clone(),
        only_for_tests: dependency.kind == DependencyKind::Development,
    };
    Crate {
        name: package.name.to_string(),
        dependencies: package.dependencies.iter().map(dependency).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(name: &str, uses: &[&str], tests_use: &[&str]) -> Vec<String> {
        let list = |names: &[&str], only_for_tests| -> Vec<_> {
            names
                .iter()
                .map(|&name| Dependency {
                    name: name.to_owned(),
                    only_for_tests,
                })
                .collect()
        };
        let mut dependencies = list(uses, false);
        dependencies.extend(list(tests_use, true));
        let findings = check(&Crate {
            name: name.to_owned(),
            dependencies,
        });
        findings.into_iter().map(|finding| finding.what).collect()
    }

    fn assert_refused(name: &str, uses: &str) {
        assert_eq!(complaints(name, &[uses], &[]).len(), 1, "{name} may use {uses}");
    }

    #[test]
    fn what_the_table_allows_passes() {
        assert!(complaints("scalems-core", &["scalems-protocol", "bytes"], &["proptest"]).is_empty());
        assert!(
            complaints(
                "scalems-transport",
                &["scalems-protocol", "zmq", "zmq-sys", "nix"],
                &[]
            )
            .is_empty()
        );
        assert!(complaints("scalems-agent", &["scalems-core", "tokio", "rusqlite"], &[]).is_empty());
        assert!(complaints("scalems", ALL, ALL).is_empty());
    }

    #[test]
    fn each_row_of_the_table_refuses() {
        for (name, uses) in [
            ("scalems-protocol", "scalems-core"),
            ("scalems-protocol", "rand"),
            ("scalems-core", "tokio"),
            ("scalems-core", "serde_json"),
            ("scalems-core", "scalems-transport"),
            ("scalems-transport", "tokio"),
            ("scalems-transport", "scalems-core"),
            ("scalems-agent", "scalems-client"),
            ("scalems-agent", "zmq"),
            ("scalems-client", "scalems-core"),
            ("scalems-client", "rusqlite"),
            ("scalems-top", "scalems-agent"),
            ("scalems-python", "scalems-agent"),
            ("scalems", "pyo3"),
            ("scalems-demo", "scalems-client"),
            ("zeromq-src", "scalems-protocol"),
            ("scalems", "zmq-sys"),
            ("scalems-tests", "zmq"),
        ] {
            assert_refused(name, uses);
        }
    }

    #[test]
    fn tests_may_use_more_but_not_other_crates_of_ours() {
        assert!(complaints("scalems-core", &[], &["serde_json"]).is_empty());
        assert_eq!(complaints("scalems-core", &[], &["scalems-agent"]).len(), 1);
        assert_eq!(complaints("scalems-core", &[], &["tokio"]).len(), 1);
    }

    #[test]
    fn a_new_crate_needs_a_rule() {
        assert!(complaints("scalems-new", &[], &[])[0].contains("without a rule"));
    }

    #[test]
    fn every_crate_of_ours_is_in_the_table() {
        assert!(ALL.iter().all(|name| RULES.iter().any(|rule| rule.name == *name)));
    }
}
