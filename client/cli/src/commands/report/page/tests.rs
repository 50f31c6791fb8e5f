use super::*;

#[test]
fn the_template_begins_with_the_marker() {
    assert!(BEGINNING.ends_with(&format!("<!-- {MARKER} -->")));
}
