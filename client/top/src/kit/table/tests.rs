use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use scalems_protocol::TaskState;

use super::*;
use crate::kit::keys::Command;
use crate::kit::query::Kind;
use crate::kit::theme::{Charset, Theme};
use crate::kit::{THEMES, text_of};

const COLUMNS: &[Column] = &[
    Column::words("Task", 'T', 6, 12),
    Column::words("State", 'S', 10, 10),
    Column::words("Name", 'M', 6, 30).priority(2),
    Column::number("Retries", 'R', 4).priority(3),
    Column::words("Host", 'H', 6, 20).priority(2),
];

const FIELDS: &[Field] = &[
    Field {
        name: "state",
        kind: Kind::Text,
    },
    Field {
        name: "retries",
        kind: Kind::Number,
    },
];

#[derive(Clone)]
struct Task {
    id: u64,
    state: TaskState,
    name: String,
    retries: u64,
    host: Option<String>,
}

struct Tasks<'a>(&'a [Task], Theme);

impl Rows for Tasks<'_> {
    type Id = u64;

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn id(&self, row: usize) -> u64 {
        self.0[row].id
    }

    fn key(&self, row: usize, column: usize) -> Value<'_> {
        let task = &self.0[row];
        match column {
            0 => task.id.into(),
            1 => task.state.name().into(),
            2 => task.name.as_str().into(),
            3 => task.retries.into(),
            _ => task.host.as_deref().into(),
        }
    }

    fn value(&self, row: usize, field: usize) -> Value<'_> {
        match field {
            0 => self.0[row].state.name().into(),
            _ => self.0[row].retries.into(),
        }
    }

    fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        let task = &self.0[row];
        match column {
            0 => Cell::text(format!("1.{}", task.id)),
            1 => Cell::mark(self.1.task(task.state)),
            2 => Cell::text(task.name.as_str()),
            3 => Cell::text(task.retries.to_string()),
            _ => task.host.as_deref().map_or(Cell::missing(), Cell::text),
        }
    }
}

const THEME: Theme = THEMES[0];

fn tasks(count: u64) -> Vec<Task> {
    let task = |id| Task {
        id,
        state: TaskState::ALL[(id % 7) as usize],
        name: format!("relax-{id:04}"),
        retries: id * 7 % 5,
        host: (id % 3 > 0).then(|| format!("node{}", id % 12)),
    };
    (0..count).map(task).collect()
}

fn drawn(table: &mut Table<u64>, rows: &Tasks<'_>, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    table.draw(rows, "No tasks yet.", rows.1, area, &mut buffer);
    text_of(&buffer)
}

fn updated(table: &mut Table<u64>, rows: &Tasks<'_>) {
    table.update(rows);
}

#[test]
fn columns_drop_out_where_room_is_short() {
    let all = tasks(9);
    let rows = Tasks(&all, THEME);
    let mut table = Table::sorted_by(3, true);
    table.update(&rows);
    let shown = [100, 60, 44, 30, 20, 8].map(|width| {
        let drawn = drawn(&mut table, &rows, width, 5);
        format!("{width}:\n{drawn}")
    });
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn without_unicode_it_says_the_same() {
    let all = tasks(4);
    let theme = Theme {
        charset: Charset::Ascii,
        ..THEME
    };
    let rows = Tasks(&all, theme);
    let mut table = Table::sorted_by(2, false);
    table.update(&rows);
    table.command(Command::Mark, &rows);
    let shown = drawn(&mut table, &rows, 60, 6);
    assert!(shown.is_ascii());
    insta::assert_snapshot!(shown);
}

#[test]
fn an_empty_table_says_why() {
    let rows = Tasks(&[], THEME);
    let mut table = Table::default();
    updated(&mut table, &rows);
    let nothing = drawn(&mut table, &rows, 40, 3);
    let all = tasks(5);
    let rows = Tasks(&all, THEME);
    table.set_filter("nothing like this", FIELDS).unwrap();
    table.update(&rows);
    let filtered = drawn(&mut table, &rows, 40, 4);
    assert_eq!(table.summary(), "0 of 5");
    assert_eq!(table.chosen(), None);
    insta::assert_snapshot!(format!("{nothing}\n---\n{filtered}"));
}

#[test]
fn hostile_names_stay_in_their_cells() {
    let mut all = tasks(3);
    all[0].name = "\x1b[2J\x1b]0;owned\x07".into();
    all[1].name = "日本語日本語日本語日本語日本語".into();
    all[2].name = "a\u{202e}b\nc".into();
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    updated(&mut table, &rows);
    insta::assert_snapshot!(drawn(&mut table, &rows, 52, 4));
}

#[test]
fn the_order_is_turned_by_the_same_key() {
    let all = tasks(13);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    assert!(table.sort_by_letter(COLUMNS, 'H'));
    assert_eq!(table.sort(), Some((4, false)));
    table.update(&rows);
    let hosts: Vec<_> = table
        .order()
        .iter()
        .map(|&row| all[row].host.as_deref().unwrap_or("-"))
        .collect();
    assert_eq!(
        hosts,
        [
            "node1", "node2", "node4", "node5", "node7", "node8", "node10", "node11", "-", "-", "-", "-", "-"
        ]
    );
    assert!(table.sort_by_letter(COLUMNS, 'H'));
    table.update(&rows);
    assert_eq!(all[table.order()[0]].host.as_deref(), Some("node11"));
    assert_eq!(all[table.order()[12]].host, None);
    assert!(table.sort_by_letter(COLUMNS, 'R'));
    assert_eq!(table.sort(), Some((3, true)));
    assert!(!table.sort_by_letter(COLUMNS, 'Z'));
}

#[test]
fn what_is_chosen_and_marked_stays_through_updates() {
    let all = tasks(10);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    table.update(&rows);
    drawn(&mut table, &rows, 60, 6);
    table.command(Command::Down, &rows);
    table.command(Command::Mark, &rows);
    table.command(Command::Mark, &rows);
    assert_eq!(table.chosen(), Some(3));
    assert_eq!(table.meant(&rows), [1, 2]);
    // Two rows before it go, one of them marked.
    let fewer: Vec<_> = all
        .iter()
        .filter(|task| ![0, 2].contains(&task.id))
        .cloned()
        .collect();
    let rows = Tasks(&fewer, THEME);
    table.update(&rows);
    assert_eq!(rows.id(table.chosen().unwrap()), 3);
    assert_eq!(table.meant(&rows), [1]);
    assert_eq!(table.summary(), "8, 1 marked");
    // The chosen one goes: the row that comes to its place is chosen.
    let fewer: Vec<_> = fewer.into_iter().filter(|task| task.id != 3).collect();
    let rows = Tasks(&fewer, THEME);
    table.update(&rows);
    assert_eq!(rows.id(table.chosen().unwrap()), 4);
    table.command(Command::UnmarkAll, &rows);
    assert_eq!(table.meant(&rows), [4]);
    // A filter that is typed does not lose it.
    table.set_filter("nothing", FIELDS).unwrap();
    table.update(&rows);
    assert_eq!(table.meant(&rows), Vec::<u64>::new());
    table.set_filter("", FIELDS).unwrap();
    table.update(&rows);
    assert_eq!(table.meant(&rows), [4]);
    table.command(Command::MarkAll, &rows);
    assert_eq!(table.marks().len(), 7);
}

#[test]
fn the_first_row_is_whichever_comes_first() {
    let all = tasks(10);
    let mut table = Table::sorted_by(0, true);
    let rows = Tasks(&all[..5], THEME);
    table.update(&rows);
    assert_eq!(rows.id(table.chosen().unwrap()), 4);
    let rows = Tasks(&all, THEME);
    table.update(&rows);
    assert_eq!(rows.id(table.chosen().unwrap()), 9);
    table.command(Command::Down, &rows);
    table.command(Command::First, &rows);
    let rows = Tasks(&all[..7], THEME);
    table.update(&rows);
    assert_eq!(rows.id(table.chosen().unwrap()), 6);
}

#[test]
fn a_bad_filter_changes_nothing() {
    let all = tasks(10);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    table.set_filter("state=done and retries>1", FIELDS).unwrap();
    table.update(&rows);
    let listed = table.listed();
    assert!(table.set_filter("state=", FIELDS).is_err());
    table.update(&rows);
    assert_eq!(
        (table.listed(), table.filter()),
        (listed, "state=done and retries>1")
    );
}

#[test]
fn pages_and_wheels_move_what_is_seen() {
    let all = tasks(100);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    table.update(&rows);
    drawn(&mut table, &rows, 60, 11);
    for (command, position) in [
        (Command::PageDown, 10),
        (Command::HalfDown, 15),
        (Command::Last, 99),
        (Command::Down, 99),
        (Command::PageUp, 89),
        (Command::HalfUp, 84),
        (Command::Up, 83),
    ] {
        assert!(table.command(command, &rows));
        assert_eq!(table.position(), position, "{command:?}");
    }
    assert!(!table.command(Command::Quit, &rows));
    drawn(&mut table, &rows, 60, 11);
    assert_eq!(table.hit(Position::new(5, 10)), Some(Hit::Row(83)));
    table.scroll(5, &rows);
    assert_eq!(table.position(), 83);
    table.scroll(-15, &rows);
    assert_eq!(table.position(), 73);
    table.scroll(50, &rows);
    assert_eq!(table.position(), 90);
    drawn(&mut table, &rows, 60, 11);
    assert_eq!(table.hit(Position::new(5, 10)), Some(Hit::Row(99)));
}

#[test]
fn clicks_hit_heads_and_rows() {
    let all = tasks(3);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    table.update(&rows);
    let drawn = drawn(&mut table, &rows, 60, 10);
    let host = drawn.lines().next().unwrap().find("Host").unwrap() as u16;
    assert_eq!(table.hit(Position::new(host, 0)), Some(Hit::Head(4)));
    assert_eq!(table.hit(Position::new(3, 0)), Some(Hit::Head(0)));
    assert_eq!(table.hit(Position::new(3, 3)), Some(Hit::Row(2)));
    assert_eq!(table.hit(Position::new(3, 4)), None);
    assert_eq!(table.hit(Position::new(60, 0)), None);
}

#[test]
fn columns_can_be_hidden_and_shifted() {
    let all = tasks(3);
    let rows = Tasks(&all, THEME);
    let mut table = Table::default();
    table.update(&rows);
    table.toggle_column(0);
    table.toggle_column(2);
    let without_name = drawn(&mut table, &rows, 60, 2);
    table.command(Command::Right, &rows);
    let shifted = drawn(&mut table, &rows, 60, 2);
    table.command(Command::Left, &rows);
    assert_eq!(drawn(&mut table, &rows, 60, 2), without_name);
    insta::assert_snapshot!(format!("{without_name}\n---\n{shifted}"));
}

#[test]
fn only_rows_that_are_seen_are_formatted() {
    struct Counted<'a>(Tasks<'a>, std::cell::Cell<usize>);
    impl Rows for Counted<'_> {
        type Id = u64;
        fn columns(&self) -> &'static [Column] {
            self.0.columns()
        }
        fn fields(&self) -> &'static [Field] {
            self.0.fields()
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn id(&self, row: usize) -> u64 {
            self.0.id(row)
        }
        fn key(&self, row: usize, column: usize) -> Value<'_> {
            self.0.key(row, column)
        }
        fn value(&self, row: usize, field: usize) -> Value<'_> {
            self.0.value(row, field)
        }
        fn cell(&self, row: usize, column: usize) -> Cell<'_> {
            self.1.set(self.1.get() + 1);
            self.0.cell(row, column)
        }
    }
    let all = tasks(10_000);
    let rows = Counted(Tasks(&all, THEME), std::cell::Cell::new(0));
    let mut table = Table::sorted_by(3, true);
    table.update(&rows);
    assert_eq!(rows.1.get(), 0);
    let area = Rect::new(0, 0, 120, 41);
    let mut buffer = Buffer::empty(area);
    table.draw(&rows, "", THEME, area, &mut buffer);
    assert!(rows.1.get() <= 2 * 40 * COLUMNS.len(), "{}", rows.1.get());
}

proptest! {
    #[test]
    fn no_size_and_no_order_of_things_breaks_it(
        steps in prop::collection::vec((0_usize..14, 0_u64..30), 1..30),
        width in 0_u16..70,
        height in 0_u16..12,
    ) {
        let all = tasks(30);
        let mut table = Table::default();
        let mut count = 30;
        for (step, with) in steps {
            let rows = Tasks(&all[..count], THEME);
            table.update(&rows);
            let commands = [
                Command::Up, Command::Down, Command::PageUp, Command::PageDown, Command::Last, Command::First,
                Command::Mark, Command::MarkAll, Command::Right,
            ];
            match step {
                0..9 => { table.command(commands[step], &rows); }
                9 => count = with as usize,
                10 => table.sort_by(COLUMNS, with as usize % 6),
                11 => table.toggle_column(with as usize % 5),
                12 => table.scroll(with as isize - 15, &rows),
                _ => { let _ = table.set_filter(["", "done", "retries>2", "none"][with as usize % 4], FIELDS); }
            }
            let rows = Tasks(&all[..count], THEME);
            table.update(&rows);
            drawn(&mut table, &rows, width, height);
            prop_assert!(table.chosen().is_none_or(|row| row < count));
            prop_assert_eq!(table.chosen().is_none(), table.listed() == 0);
        }
    }
}
