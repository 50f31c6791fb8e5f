use std::time::Duration;

use proptest::prelude::*;

use super::*;

const STATES: &[&str] = &["waiting", "ready", "running", "done", "failed"];

const FIELDS: &[Field] = &[
    Field {
        name: "state",
        kind: Kind::Word(STATES),
    },
    Field {
        name: "host",
        kind: Kind::Text,
    },
    Field {
        name: "retries",
        kind: Kind::Number,
    },
    Field {
        name: "age",
        kind: Kind::Time,
    },
    Field {
        name: "memory",
        kind: Kind::Size,
    },
];

struct Row {
    state: &'static str,
    host: Option<&'static str>,
    retries: u64,
    age: Duration,
    memory: u64,
}

impl Subject for Row {
    fn value(&self, field: usize) -> Value<'_> {
        match field {
            0 => self.state.into(),
            1 => self.host.into(),
            2 => self.retries.into(),
            3 => self.age.into(),
            _ => self.memory.into(),
        }
    }

    fn any_cell(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        test(self.state) || test(self.host.unwrap_or("-")) || test(&self.retries.to_string())
    }
}

const ROW: Row = Row {
    state: "failed",
    host: Some("Node03"),
    retries: 3,
    age: Duration::from_secs(3_600),
    memory: 4 << 30,
};

fn parse(text: &str) -> Query {
    Query::parse(text, FIELDS).unwrap_or_else(|error| panic!("{text}: {} at {}", error.message, error.at))
}

#[test]
fn filters_say_which_rows() {
    for (text, matches) in [
        ("node03", true),
        ("NODE", true),
        ("^node0[1-3]$", true),
        ("node04", false),
        ("!node04", true),
        ("! node03", false),
        ("\"node03\"", true),
        ("\"node0.\"", false),
        ("state=failed", true),
        ("State = FAILED", true),
        ("state==done", false),
        ("state!=done", true),
        ("state~fail|done", true),
        ("state!~fail", false),
        ("host=node03", true),
        ("host=node", false),
        ("host~node0[1-3]", true),
        ("host~\"0\"", true),
        ("retries>2", true),
        ("retries>3", false),
        ("retries>=3 and retries<=3", true),
        ("age<1h30m", true),
        ("age<00:30:00", false),
        ("memory>=4G", true),
        ("memory>4G", false),
        ("memory>0", true),
        ("state=failed and retries>2", true),
        ("state=done or retries>2", true),
        ("state=done or retries>5", false),
        ("not state=done", true),
        ("!state=done", true),
        ("not (state=failed and host~node)", false),
        ("node03 and state=failed", true),
        ("node04 or state=failed", true),
        ("!node04 and state=failed", true),
        ("/node 3|node03/ and retries=3", true),
        // `and` holds tighter than `or`.
        ("state=failed or state=done and retries=0", true),
        ("(state=failed or state=done) and retries=0", false),
        // A filter without a comparison is one regex.
        ("failed and done", false),
        ("failed|done", true),
    ] {
        assert_eq!(parse(text).matches(&ROW), matches, "{text}");
    }
}

#[test]
fn nothing_compares_with_what_is_missing() {
    let row = Row { host: None, ..ROW };
    for text in ["host=a", "host!=a", "host~a", "host!~a"] {
        assert!(!parse(text).matches(&row), "{text}");
    }
    assert!(parse("not host=a").matches(&row));
}

#[test]
fn errors_say_where_and_what_is_allowed() {
    let long = "x".repeat(QUERY_BYTES + 1);
    let deep = format!("{}state=done{}", "(".repeat(100), ")".repeat(100));
    let denied = format!("{} state=done", "not ".repeat(100));
    let texts = [
        "",
        "  ",
        "!",
        "state=faulty",
        "staet=failed",
        "state>failed",
        "host<a",
        "retries~2",
        "retries>two",
        "retries>1e999",
        "age<soon",
        "memory>4X",
        "state=",
        "state=failed and",
        "state=failed retries>2",
        "(state=failed",
        "state=failed)",
        "state=failed or or retries>2",
        "state=/failed/",
        "host~\"node",
        "host~node[",
        "a(b",
        "x{1000}{1000}{1000}",
        "=",
        "state=failed and = 3",
        &long,
        &deep,
        &denied,
    ];
    let shown = texts.iter().map(|text| {
        let short: String = text.chars().take(40).collect();
        match Query::parse(text, FIELDS) {
            Err(error) => {
                assert!(text.is_char_boundary(error.at), "{text}");
                format!(
                    "{short}\n{:>width$} {}",
                    "^",
                    error.message,
                    width = error.at.min(60) + 1
                )
            }
            Ok(query) => format!("{short}\n  read as {query}"),
        }
    });
    insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn filters_are_written_as_they_are_read() {
    for (text, written) in [
        ("node03", "node03"),
        ("two words", "two words"),
        ("!two words", "!two words"),
        ("\"a=b\"", "\"a=b\""),
        ("state == failed&&retries>2", "state=failed&&retries>2"),
        ("state == failed && retries>2", "state=failed and retries>2"),
        ("!state=done", "not state=done"),
        ("((state=done))", "state=done"),
        ("not (a or state=done) and b", "not (a or state=done) and b"),
        ("host=\"a b\"", "host=\"a b\""),
        ("host=\"ab\"", "host=ab"),
        ("host~/a b/", "host~/a b/"),
        ("host~/ab/", "host~ab"),
        ("/a\\/b c/ or state=done", "/a\\/b c/ or state=done"),
        ("/ a/", "/ a/"),
    ] {
        let read = Query::parse(text, FIELDS);
        let seen = read.map_or_else(|error| error.message, |query| query.to_string());
        if text.contains("&&retries") {
            assert!(seen.contains("never \"failed&&retries>2\""), "{seen}");
        } else {
            assert_eq!(seen, written, "{text}");
        }
    }
}

#[test]
fn names_are_sorted_as_people_number_them() {
    let mut names = ["node10", "node2", "Node1", "node02", "node", "a", "node2b", ""];
    names.sort_by(|a, b| natural(a, b));
    assert_eq!(
        names,
        ["", "a", "node", "Node1", "node02", "node2", "node2b", "node10"]
    );
}

fn anything() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,3}",
        "[a-z()\\[\\]\\\\\"/!=~<>| .*+?{}0-9]{0,6}",
        prop::sample::select(vec![
            "state",
            "host",
            "retries",
            "age",
            "memory",
            "=",
            "!=",
            "~",
            "!~",
            "<",
            "<=",
            ">",
            ">=",
            " and ",
            " or ",
            "not ",
            "!",
            "(",
            ")",
            "failed",
            "2",
            "1h30m",
            "4G",
            "\"a b\"",
            "/a b/",
            " ",
            "node0[1-3]",
            "\\/",
            "\\",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Comparisons and text joined at random: nearly all of it can be read.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "state=failed",
        "state!=\"done\"",
        "host~node0[1-3]",
        "host!~/a b|\\/c/",
        "host=\"a \\\"b\\\\\"",
        "host=\"and\"",
        "host=\"(\"",
        "retries>2",
        "retries<=-1.5",
        "age<1h30m",
        "memory>=4G",
        "relax",
        "\"a=b\"",
        "/x y\\\\/",
        "foo\\(",
        "a(b|c)",
        "[)]",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| format!("not {a}")),
            inner.clone().prop_map(|a| format!("({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a} and {b}")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a} or {b}")),
        ]
    })
}

fn written_and_read_again(text: &str) -> Result<(), TestCaseError> {
    match Query::parse(text, FIELDS) {
        Ok(query) => {
            let written = query.to_string();
            if written.len() <= QUERY_BYTES {
                let again = Query::parse(&written, FIELDS);
                prop_assert_eq!(again.as_ref(), Ok(&query), "{} written as {}", text, written);
            }
            query.matches(&ROW);
        }
        Err(error) => prop_assert!(text.is_char_boundary(error.at) && !error.message.contains('\n')),
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in anything()) {
        written_and_read_again(&text)?;
    }

    #[test]
    fn expressions_are_written_and_read_again(text in expression()) {
        prop_assume!(text.len() <= QUERY_BYTES);
        written_and_read_again(&text)?;
    }

    #[test]
    fn names_have_one_order(a in "[a-cA-C0-2]{0,5}", b in "[a-cA-C0-2]{0,5}", c in "[a-cA-C0-2]{0,5}") {
        prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
        prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
        if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
            prop_assert!(natural(&a, &c).is_le());
        }
    }
}
