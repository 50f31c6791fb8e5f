//! Links in documents to files of the repository.

use crate::finding::Finding;

/// The links in the document at `path` to files that do not exist.
pub(crate) fn check(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_block = false;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            in_block = !in_block;
        } else if !in_block {
            for target in targets(&without_inline_code(line)) {
                let missing = resolve(path, target).is_none_or(|target| !exists(&target));
                if missing {
                    findings.push(Finding::new(
                        path,
                        number,
                        format!("links to {target}, which does not exist"),
                    ));
                }
            }
        }
    }
    findings
}

/// The line with what stands between backquotes blanked.
fn without_inline_code(line: &str) -> String {
    let mut pieces = line.split('`');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for (index, piece) in pieces.enumerate() {
        // Odd pieces are code; their length does not matter to a link around them.
        plain.push_str(if index % 2 == 0 { "code" } else { piece });
    }
    plain
}

/// What the line links to within the repository: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<&str> {
    let mut targets: Vec<&str> = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
        .collect();
    let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    targets.extend(definition.and_then(|(_, rest)| rest.split_whitespace().next()));
    let inside =
        |target: &&str| !target.starts_with('#') && !target.contains("://") && !target.starts_with("mailto:");
    targets.into_iter().filter(inside).collect()
}

/// The path from the root of what `target` means in the document at `path`; none where it leaves the repository.
fn resolve(path: &str, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        return None;
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::lines;

    fn bad(text: &str) -> Vec<usize> {
        lines(&check("docs/guide/a.md", text, |target| {
            ["docs/guide/b.md", "README.md", "docs", ""].contains(&target)
        }))
    }

    #[test]
    fn links_to_nothing_are_found() {
        assert_eq!(bad("see [b](b.md)\nand [c](c.md) or [d](../d.md#x)"), [2, 2]);
        assert_eq!(bad("[ref]: missing.md"), [1]);
        assert_eq!(bad("[out](../../../etc/passwd) [root](/README.md)"), [1, 1]);
        assert_eq!(bad("[`code`](c.md)"), [1]);
    }

    #[test]
    fn links_to_files_and_elsewhere_pass() {
        assert!(bad("[b](./b.md#part) [up](../../README.md \"title\") [folder](..)").is_empty());
        assert!(bad("[web](https://example.org/x.md) [here](#part) [mail](mailto:a@b)").is_empty());
        assert!(bad("```\n[x](no.md)\n```\n`[y](no.md)` a[0](b.md)").is_empty());
    }
}
