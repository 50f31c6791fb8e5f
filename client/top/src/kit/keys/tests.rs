use std::collections::BTreeMap;

use ratatui::crossterm::event::KeyModifiers;

use super::*;

fn contexts() -> impl Iterator<Item = Context> {
    Place::ALL.into_iter().flat_map(|place| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(readonly, replay)| Context {
            place,
            readonly,
            replay,
        })
    })
}

fn live(place: Place) -> Context {
    Context {
        place,
        readonly: false,
        replay: false,
    }
}

fn press(text: &str, context: Context) -> Option<Command> {
    let key = ENTRIES
        .iter()
        .flat_map(|entry| entry.keys)
        .find(|key| key.to_string() == text)
        .unwrap_or_else(|| panic!("no entry has {text}"));
    dispatch(KeyEvent::new(key.code, key.modifiers), context)
}

#[test]
fn no_key_does_two_things_in_one_place() {
    for context in contexts() {
        let mut taken: BTreeMap<String, Command> = BTreeMap::new();
        for entry in entries(context) {
            for key in entry.keys {
                let other = taken.insert(key.to_string(), entry.command);
                assert_eq!(other, None, "{key} in {context:?}: {:?}", entry.command);
            }
        }
    }
}

#[test]
fn every_command_has_keys_and_help() {
    let screens = Screen::ALL.map(Command::Go);
    for command in Command::PLAIN.iter().copied().chain(screens) {
        assert!(
            ENTRIES.iter().any(|entry| entry.command == command),
            "{command:?}"
        );
    }
    for entry in ENTRIES {
        assert!(
            !entry.keys.is_empty() && entry.help.ends_with('.'),
            "{:?}",
            entry.command
        );
        assert_eq!(entry.rank == 0, entry.label.is_empty(), "{:?}", entry.command);
        assert!(
            contexts().any(|context| entry.is_there(context)),
            "{:?}",
            entry.command
        );
    }
}

#[test]
fn every_place_can_be_left_and_the_program_too() {
    for context in contexts() {
        assert_eq!(press("Ctrl-c", context), Some(Command::Quit), "{context:?}");
        let leave = press("Esc", context);
        assert!(
            matches!(leave, Some(Command::Back | Command::No)),
            "{context:?}: {leave:?}"
        );
    }
}

#[test]
fn readers_and_replays_have_no_actions() {
    let actions: Vec<_> = Command::PLAIN
        .iter()
        .filter(|command| command.is_action())
        .collect();
    assert_eq!(
        actions,
        [&Command::Cancel, &Command::Retry, &Command::Drain, &Command::Stop]
    );
    for context in contexts().filter(|context| context.readonly || context.replay) {
        assert!(entries(context).all(|entry| !entry.command.is_action()));
        assert!(help(context).iter().all(|line| line.group != "Actions"));
        assert!(footer(context, 200).iter().all(|hint| !hint.command.is_action()));
    }
}

/// What the liked monitors agree on, and a place where it is.
#[test]
fn what_other_monitors_agree_on_is_there() {
    let replay = Context {
        replay: true,
        ..live(Place::Tasks)
    };
    for (key, context, command) in [
        // 1: leaving, up, down.
        ("q", live(Place::Tasks), Command::Quit),
        ("Esc", live(Place::Tasks), Command::Back),
        ("Backspace", live(Place::Tasks), Command::Back),
        ("Enter", live(Place::Submissions), Command::Open),
        // 2: moving.
        ("j", live(Place::Tasks), Command::Down),
        ("Down", live(Place::Tasks), Command::Down),
        ("k", live(Place::Tasks), Command::Up),
        ("g", live(Place::Tasks), Command::First),
        ("G", live(Place::Tasks), Command::Last),
        ("Ctrl-d", live(Place::Tasks), Command::HalfDown),
        ("Ctrl-u", live(Place::Tasks), Command::HalfUp),
        ("Tab", live(Place::Overview), Command::NextPanel),
        ("4", live(Place::Tasks), Command::Go(Screen::Workers)),
        // 3: help.
        ("?", live(Place::Tasks), Command::Help),
        ("F1", live(Place::Overview), Command::Help),
        // 4: the filter.
        ("/", live(Place::Tasks), Command::Filter),
        ("Delete", live(Place::Tasks), Command::ClearFilter),
        // 5: sorting.
        ("s", live(Place::Workers), Command::SortMenu),
        ("F6", live(Place::Workers), Command::SortMenu),
        // 6: standing still, zoom, back to live.
        ("f", live(Place::Tasks), Command::Pause),
        ("Space", live(Place::Overview), Command::Pause),
        ("+", live(Place::Overview), Command::Finer),
        ("-", live(Place::Overview), Command::Coarser),
        ("r", live(Place::Tasks), Command::Live),
        ("End", live(Place::Overview), Command::Live),
        // 9: actions, marks.
        ("Space", live(Place::Tasks), Command::Mark),
        ("c", live(Place::Tasks), Command::Cancel),
        ("t", live(Place::Faults), Command::Retry),
        ("x", live(Place::Workers), Command::Drain),
        ("Ctrl-x", live(Place::Overview), Command::Stop),
        ("y", live(Place::Confirm), Command::Yes),
        ("Enter", live(Place::Confirm), Command::Yes),
        ("n", live(Place::Confirm), Command::No),
        // 10: logs and details.
        ("l", live(Place::Tasks), Command::Logs),
        ("o", live(Place::Logs), Command::Stream),
        ("w", live(Place::Logs), Command::Wrap),
        ("f", live(Place::Logs), Command::Pause),
        ("d", live(Place::Tasks), Command::Details),
        ("i", live(Place::Tasks), Command::Details),
        ("e", live(Place::Tasks), Command::Explain),
        // 11: pilots, dived into.
        ("8", live(Place::Tasks), Command::Go(Screen::Pilots)),
        ("Enter", live(Place::Pilots), Command::Open),
        // 12: the cursor of time.
        ("[", replay, Command::StepBack),
        (",", replay, Command::StepBack),
        ("]", replay, Command::StepForward),
        (".", replay, Command::StepForward),
        ("<", replay, Command::Slower),
        (">", replay, Command::Faster),
        ("Space", replay, Command::Pause),
        ("f", replay, Command::Pause),
        ("n", replay, Command::NextFault),
        ("N", replay, Command::PreviousFault),
        ("Home", replay, Command::Start),
        ("End", replay, Command::Live),
        // 15: faults.
        ("5", live(Place::Tasks), Command::Go(Screen::Faults)),
        ("!", live(Place::Tasks), Command::OnlyFaults),
    ] {
        assert_eq!(press(key, context), Some(command), "{key} in {context:?}");
    }
}

#[test]
fn letters_sort_where_there_are_columns() {
    let shift = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::SHIFT);
    assert_eq!(
        dispatch(shift('A'), live(Place::Tasks)),
        Some(Command::SortBy('A'))
    );
    assert_eq!(dispatch(shift('A'), live(Place::Overview)), None);
    assert_eq!(dispatch(shift('A'), live(Place::Input)), None);
    assert_eq!(dispatch(shift('G'), live(Place::Tasks)), Some(Command::Last));
    assert!(is_column_letter('A'));
    for letter in ['G', 'N', 'a', '1', 'Ä'] {
        assert!(!is_column_letter(letter), "{letter}");
    }
    let mut released = shift('A');
    released.kind = KeyEventKind::Release;
    assert_eq!(dispatch(released, live(Place::Tasks)), None);
}

#[test]
fn input_lines_keep_their_letters() {
    for letter in ' '..='~' {
        let typed = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE);
        assert_eq!(dispatch(typed, live(Place::Input)), None, "{letter}");
    }
}

#[test]
fn the_footer_fits_and_keeps_the_help() {
    for context in contexts() {
        for width in [20_u16, 40, 80, 200] {
            let hints = footer(context, width);
            assert!(hints.len() <= 8);
            if let Some(last) = hints.last() {
                assert!(last.column + last.width() <= width, "{context:?} {width}");
            }
            if SCREENS_PLACES.contains(&context.place) {
                assert!(
                    hints.iter().any(|hint| hint.command == Command::Help),
                    "{context:?} {width}"
                );
                let least = if width >= 80 { 6 } else { 2 };
                assert!(hints.len() >= least, "{context:?} {width}: {hints:?}");
            }
        }
    }
}

const SCREENS_PLACES: [Place; 8] = [
    Place::Overview,
    Place::Submissions,
    Place::Tasks,
    Place::Workers,
    Place::Faults,
    Place::Events,
    Place::Logs,
    Place::Pilots,
];

#[test]
fn footers_say_what_matters() {
    let all: Vec<String> = Place::ALL
        .into_iter()
        .flat_map(|place| {
            [
                live(place),
                Context {
                    replay: true,
                    ..live(place)
                },
            ]
        })
        .map(|context| {
            let hints = footer(context, 80);
            let words: Vec<_> = hints
                .iter()
                .map(|hint| format!("{} {}", hint.key, hint.label))
                .collect();
            format!(
                "{:?}{}: {}",
                context.place,
                if context.replay { " replayed" } else { "" },
                words.join("  ")
            )
        })
        .collect();
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn the_help_has_every_key_once_and_can_be_searched() {
    let lines = help(live(Place::Tasks));
    let text: Vec<_> = lines
        .iter()
        .map(|line| {
            format!(
                "{}{:11} {:24} {}",
                if line.here { "*" } else { " " },
                line.group,
                line.keys,
                line.text
            )
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"));
    assert_eq!(search(lines.clone(), "").len(), lines.len());
    let found = search(lines.clone(), "worker END");
    assert_eq!(
        found.iter().map(|line| line.keys.as_str()).collect::<Vec<_>>(),
        ["x"]
    );
    assert!(search(lines, "no such thing").is_empty());
}
