//! Writes a scene as an SVG document.

use std::fmt::Write as _;

use super::label::{Face, Run, SUBSCRIPT_DROP, SUBSCRIPT_SIZE};
use super::scene::{Anchor, Ink, Scene, Shape, Stroke, Text};

const FAMILY: &str = "'Noto Sans', 'Open Sans', 'DejaVu Sans', Arial, sans-serif";

pub(super) fn document(scene: &Scene) -> String {
    let mut out = String::with_capacity(256 * 1024);
    let (width, height) = (coordinate(scene.width), coordinate(scene.height));
    put(
        &mut out,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{FAMILY}\" stroke-linejoin=\"round\">\n\
         <title>Free energy of a double well by umbrella sampling</title>\n"
        ),
    );
    for shape in &scene.shapes {
        match shape {
            Shape::Path {
                points,
                closed,
                fill,
                stroke,
            } => {
                out.push_str("<path d=\"");
                for (index, (x, y)) in points.iter().enumerate() {
                    let command = if index == 0 { 'M' } else { 'L' };
                    put(
                        &mut out,
                        format_args!("{command}{} {}", coordinate(*x), coordinate(*y)),
                    );
                }
                out.push_str(if *closed { "Z\"" } else { "\"" });
                inks(&mut out, fill.as_ref(), stroke.as_ref());
                out.push_str("/>\n");
            }
            Shape::Disc {
                x,
                y,
                radius,
                fill,
                stroke,
            } => {
                let (x, y, radius) = (coordinate(*x), coordinate(*y), coordinate(*radius));
                put(
                    &mut out,
                    format_args!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\""),
                );
                inks(&mut out, Some(fill), stroke.as_ref());
                out.push_str("/>\n");
            }
            Shape::Text(line) => text(&mut out, line),
        }
    }
    out.push_str("</svg>\n");
    out
}

fn text(out: &mut String, text: &Text) {
    let (x, y) = (coordinate(text.x), coordinate(text.y));
    put(
        out,
        format_args!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\"",
            coordinate(text.size)
        ),
    );
    match text.anchor {
        Anchor::Start => {}
        Anchor::Middle => out.push_str(" text-anchor=\"middle\""),
        Anchor::End => out.push_str(" text-anchor=\"end\""),
    }
    if text.upright {
        put(out, format_args!(" transform=\"rotate(-90 {x} {y})\""));
    }
    inks(out, Some(&text.ink), None);
    out.push('>');
    let mut sunk = false;
    for run in text.runs() {
        span(out, &run, text.size, sunk);
        sunk = run.subscript;
    }
    out.push_str("</text>\n");
}

/// A run; `sunk` says whether the one before it was a subscript, since SVG's shifts add up.
fn span(out: &mut String, run: &Run, size: f64, sunk: bool) {
    out.push_str("<tspan");
    match run.face {
        Face::Regular => {}
        Face::Italic => out.push_str(" font-style=\"italic\""),
        Face::Bold => out.push_str(" font-weight=\"bold\""),
    }
    if run.subscript {
        put(
            out,
            format_args!(" font-size=\"{}\"", coordinate(size * SUBSCRIPT_SIZE)),
        );
    }
    let drop = f64::from(u8::from(run.subscript)) - f64::from(u8::from(sunk));
    if drop != 0.0 {
        put(
            out,
            format_args!(" dy=\"{}\"", coordinate(drop * size * SUBSCRIPT_DROP)),
        );
    }
    out.push('>');
    escape(out, &run.text);
    out.push_str("</tspan>");
}

fn inks(out: &mut String, fill: Option<&Ink>, stroke: Option<&Stroke>) {
    match fill {
        Some(ink) => paint(out, "fill", ink),
        None => out.push_str(" fill=\"none\""),
    }
    if let Some(Stroke { ink, width, dash }) = stroke {
        paint(out, "stroke", ink);
        put(out, format_args!(" stroke-width=\"{}\"", coordinate(*width)));
        if let Some((dash, gap)) = dash {
            put(
                out,
                format_args!(" stroke-dasharray=\"{} {}\"", coordinate(*dash), coordinate(*gap)),
            );
        }
    }
}

fn paint(
    out: &mut String,
    what: &str,
    Ink {
        rgb: [r, g, b],
        opacity,
    }: &Ink,
) {
    put(out, format_args!(" {what}=\"#{r:02x}{g:02x}{b:02x}\""));
    if *opacity < 1.0 {
        put(out, format_args!(" {what}-opacity=\"{}\"", coordinate(*opacity)));
    }
}

/// Two decimals, without zeros that say nothing.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" {
        "0".to_owned()
    } else {
        short.to_owned()
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML has no place for control characters and the two last code points of the basic plane.
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_subscripts_come_back_up() {
        let mut scene = Scene::new(10.0, 10.0);
        scene.text(Text::new(1.0, 2.0, 10.0, "<a&b>\u{1}*k*_{B}*T*"));
        let svg = document(&scene);
        let parsed = roxmltree::Document::parse(&svg).unwrap();
        let spans: Vec<_> = parsed
            .descendants()
            .filter(|node| node.has_tag_name("tspan"))
            .collect();
        let texts: Vec<_> = spans.iter().filter_map(roxmltree::Node::text).collect();
        assert_eq!(texts, ["<a&b>\u{fffd}", "k", "B", "T"]);
        let shifts: Vec<_> = spans.iter().map(|span| span.attribute("dy")).collect();
        assert_eq!(shifts, [None, None, Some("2"), Some("-2")]);
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(coordinate(-0.001), "0");
        assert_eq!(coordinate(100.0), "100");
        assert_eq!(coordinate(1.256), "1.26");
    }
}
