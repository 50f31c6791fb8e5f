//! Panel d: which worker ran which replica when, and what was lost on the way.

use super::font::Fonts;
use super::frame::{Frame, NAME_SIZE, NUMBER_SIZE, Ticks};
use super::label::plain;
use super::scene::{Anchor, GREY, INK, Ink, Scene, Stroke, Text, VERMILION, generation_ink};
use super::{PANEL, Span, TIMELINE_TOP, letter};

/// Height of a lane, as long as all fit.
const LANE: f64 = 18.0;
/// Height of all lanes together, at most.
const HEIGHT_MAX: f64 = 220.0;
/// With lanes lower than this the workers are counted instead of named.
const NAMED: f64 = 11.0;
/// More lost attempts than this are not each tied to their successors.
const TIES_MAX: usize = 12;

/// A worker's spans, spread over as many lanes as it ran replicas at a time.
struct Row<'a> {
    worker: &'a str,
    lanes: Vec<Vec<&'a Span>>,
    /// Number of lanes above it.
    above: usize,
}

/// All rows, with the workers in the order in which they began.
pub(super) struct Timeline<'a> {
    rows: Vec<Row<'a>>,
    frame: Frame,
    lane: f64,
}

impl<'a> Timeline<'a> {
    /// None where there is nothing to show.
    pub(super) fn arrange(spans: &'a [Span]) -> Option<Self> {
        let mut order: Vec<&Span> = spans.iter().collect();
        order.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        let end_s = order.iter().map(|span| span.end_s).reduce(f64::max)?;
        let mut rows: Vec<Row<'_>> = Vec::new();
        for span in order {
            let index = rows
                .iter()
                .position(|row| row.worker == span.worker)
                .unwrap_or(rows.len());
            if index == rows.len() {
                rows.push(Row {
                    worker: &span.worker,
                    lanes: Vec::new(),
                    above: 0,
                });
            }
            let lanes = &mut rows[index].lanes;
            let free = |lane: &Vec<&Span>| lane.last().is_none_or(|last| last.end_s <= span.start_s);
            match lanes.iter().position(free) {
                Some(lane) => lanes[lane].push(span),
                None => lanes.push(vec![span]),
            }
        }
        let mut lanes = 0;
        for row in &mut rows {
            row.above = lanes;
            lanes += row.lanes.len();
        }
        let lane = LANE.min(HEIGHT_MAX / lanes as f64);
        let down = (TIMELINE_TOP, TIMELINE_TOP + lane * lanes as f64 + 6.0);
        let x = (0.0, (1.015 * end_s).max(1e-3));
        let frame = Frame {
            across: PANEL,
            down,
            x,
            y: (0.0, 1.0),
        };
        Some(Self { rows, frame, lane })
    }

    pub(super) fn bottom(&self) -> f64 {
        self.frame.down.1
    }

    pub(super) fn draw(&self, scene: &mut Scene, fonts: &Fonts) {
        letter(scene, TIMELINE_TOP - 24.0, "d");
        self.legend(scene, fonts);
        if self.lane < NAMED {
            let middle = 0.5 * (self.frame.down.0 + self.frame.down.1);
            let count = format!("{} workers", self.rows.len());
            scene.text(
                Text::new(PANEL.0 - 14.0, middle, NAME_SIZE, count)
                    .anchor(Anchor::Middle)
                    .upright(),
            );
        } else {
            self.rows.iter().for_each(|row| self.name(scene, fonts, row));
        }
        for row in &self.rows {
            for (index, lane) in row.lanes.iter().enumerate() {
                let (top, bottom) = self.lane_of(row, index);
                for span in lane {
                    let (left, right) = (self.frame.column(span.start_s), self.frame.column(span.end_s));
                    // A gap between neighbours, unless it would be all there is.
                    let right = (right - 0.6).max(left + 0.8);
                    let stroke = (!span.lost && span.attempt > 1).then_some(Stroke::new(INK, 1.4));
                    scene.rect((left, top), (right, bottom), Some(ink_of(span)), stroke);
                }
            }
        }
        self.ties(scene);
        self.rows.iter().for_each(|row| self.end_of(scene, fonts, row));
        let left = self.frame.across.0;
        scene.line(
            vec![(left, self.frame.down.0 - 4.0), (left, self.frame.down.1)],
            Stroke::new(INK, 1.0),
        );
        self.frame.bottom_axis(
            scene,
            &Ticks::within(self.frame.x, 10),
            Some("time since the start of the run (s)"),
        );
    }

    /// Upper and lower edge of a lane's bars.
    fn lane_of(&self, row: &Row<'_>, lane: usize) -> (f64, f64) {
        let top = self.frame.down.0 + (row.above + lane) as f64 * self.lane;
        (top + 0.1 * self.lane, top + 0.9 * self.lane)
    }

    fn middle_of(&self, row: &Row<'_>) -> f64 {
        self.frame.down.0 + (row.above as f64 + 0.5 * row.lanes.len() as f64) * self.lane
    }

    fn name(&self, scene: &mut Scene, fonts: &Fonts, row: &Row<'_>) {
        let y = self.middle_of(row) + 4.0;
        let text = |name: String| Text::new(PANEL.0 - 8.0, y, NUMBER_SIZE, name).anchor(Anchor::End);
        // No name of this length has room; cutting it first bounds the loop.
        let mut name: String = plain(row.worker).chars().take(40).collect();
        while fonts.width(&text(name.clone())) > PANEL.0 - 14.0 {
            let shorter = name
                .trim_end_matches('…')
                .char_indices()
                .next_back()
                .map_or(0, |(end, _)| end);
            name.truncate(shorter);
            name.push('…');
        }
        scene.text(text(name));
    }

    /// From the end of each lost attempt to the begin of the one that replaced it.
    fn ties(&self, scene: &mut Scene) {
        let all = || {
            let lanes = |row: &'_ Row<'a>| -> Vec<(f64, &'a Span)> {
                let middle = |index| 0.5 * (self.lane_of(row, index).0 + self.lane_of(row, index).1);
                row.lanes
                    .iter()
                    .enumerate()
                    .flat_map(|(i, lane)| lane.iter().map(move |s| (middle(i), *s)))
                    .collect()
            };
            self.rows.iter().flat_map(lanes)
        };
        let lost: Vec<(f64, &Span)> = all().filter(|(_, span)| span.lost).collect();
        if lost.len() > TIES_MAX {
            return;
        }
        for (from, span) in lost {
            let replica = (span.window, span.generation);
            let next = all()
                .filter(|(_, other)| {
                    (other.window, other.generation) == replica && other.attempt > span.attempt
                })
                .min_by_key(|(_, other)| other.attempt);
            if let Some((to, next)) = next {
                let points = vec![
                    (self.frame.column(span.end_s), from),
                    (self.frame.column(next.start_s), to),
                ];
                scene.line(points, Stroke::new(VERMILION, 1.2));
            }
        }
    }

    /// A cross where a worker's life ended.
    fn end_of(&self, scene: &mut Scene, fonts: &Fonts, row: &Row<'_>) {
        let spans = || row.lanes.iter().flatten();
        let Some(end_s) = spans()
            .filter(|span| span.lost)
            .map(|span| span.end_s)
            .reduce(f64::max)
        else {
            return;
        };
        let (x, y) = (self.frame.column(end_s) + 9.0, self.middle_of(row));
        let arm = (0.3 * self.lane).clamp(2.0, 5.0);
        for turn in [-arm, arm] {
            scene.line(
                vec![(x - arm, y - turn), (x + arm, y + turn)],
                Stroke::new(VERMILION, 2.4),
            );
        }
        let label = Text::new(x + 10.0, y + 4.3, NUMBER_SIZE, "worker killed").ink(VERMILION);
        let right = label.x + fonts.width(&label) + 6.0;
        let covered = spans().any(|span| span.start_s >= end_s && self.frame.column(span.start_s) < right);
        if !covered && right < self.frame.across.1 && self.lane >= NAMED {
            scene.text(label);
        }
    }

    fn legend(&self, scene: &mut Scene, fonts: &Fonts) {
        let mut generations: Vec<u32> = self.spans().map(|span| span.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        let mut entries: Vec<(String, Ink, Option<Stroke>)> = generations
            .into_iter()
            .map(|generation| {
                (
                    format!("generation {generation}"),
                    generation_ink(generation),
                    None,
                )
            })
            .collect();
        if self.spans().any(|span| span.lost) {
            entries.push(("lost".to_owned(), VERMILION, None));
        }
        if self.spans().any(|span| span.attempt > 1 && !span.lost) {
            entries.push((
                "run again".to_owned(),
                GREY.faint(0.15),
                Some(Stroke::new(INK, 1.4)),
            ));
        }
        let y = TIMELINE_TOP - 18.0;
        let mut x = PANEL.0;
        for (label, ink, stroke) in entries {
            scene.rect((x, y - 5.5), (x + 11.0, y + 5.5), Some(ink), stroke);
            let text = Text::new(x + 17.0, y + 4.3, NUMBER_SIZE, label);
            x += 17.0 + fonts.width(&text) + 22.0;
            scene.text(text);
        }
    }

    fn spans(&self) -> impl Iterator<Item = &'a Span> + '_ {
        self.rows
            .iter()
            .flat_map(|row| row.lanes.iter().flatten().copied())
    }
}

fn ink_of(span: &Span) -> Ink {
    if span.lost {
        VERMILION
    } else {
        generation_ink(span.generation)
    }
}
