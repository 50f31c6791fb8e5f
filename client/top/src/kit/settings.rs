//! What is kept from one time to the next: theme, screen, what tables are sorted by.
//!
//! The file belongs to the user, is written as a whole, and is never a reason to fail: what cannot be read is left out with a
//! word of it, what is not known here is kept as it is.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::keys::Screen;
use super::theme::ThemeName;

/// The name of the file, in the directory that has the user's pilots.
pub const FILE_NAME: &str = "top.toml";
/// More is no file of ours.
const FILE_BYTES: u64 = 64 * 1_024;
/// Filters that are kept.
const FILTERS: usize = 50;

/// What is kept of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableSettings {
    /// The name of the column that it is sorted by.
    pub sort: Option<String>,
    /// Whether the largest comes first.
    pub descending: bool,
    /// Names of columns that are hidden.
    pub hidden: Vec<String>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The theme.
    pub theme: ThemeName,
    /// The screen that is shown first.
    pub screen: Screen,
    /// Whether long lines are wrapped.
    pub wrap: bool,
    /// Tables by the name of their screen.
    pub tables: BTreeMap<String, TableSettings>,
    /// Filters that were typed, the last one last.
    pub filters: Vec<String>,
    /// What a version of another day has written.
    unknown: Table,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeName::default(),
            screen: Screen::default(),
            wrap: true,
            tables: BTreeMap::new(),
            filters: Vec::new(),
            unknown: Table::new(),
        }
    }
}

impl Settings {
    /// What the file at `path` says, and what is wrong with it if anything is. No file: nothing is wrong.
    pub fn load(path: &Path) -> (Self, Option<String>) {
        let problem = |what: String| Some(format!("{}: {what}; defaults are used", path.display()));
        let text = match read(path) {
            Ok(None) => return (Self::default(), None),
            Ok(Some(text)) => text,
            Err(error) => return (Self::default(), problem(error.to_string())),
        };
        match text.parse::<Table>() {
            Ok(table) => {
                let (settings, wrong) = Self::from_table(table);
                let wrong = (!wrong.is_empty()).then(|| format!("{} cannot be used", wrong.join(", ")));
                (settings, wrong.and_then(problem))
            }
            Err(error) => {
                let message = error.message().lines().next().unwrap_or_default().to_owned();
                (Self::default(), problem(message))
            }
        }
    }

    /// Reads each key by itself: one that cannot be used has its default, and its name is in the second part.
    fn from_table(mut table: Table) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut wrong = Vec::new();
        let mut take = |key: &str, put: &mut dyn FnMut(&Value) -> Option<()>| {
            if let Some(value) = table.remove(key)
                && put(&value).is_none()
            {
                wrong.push(key.to_owned());
            }
        };
        take("theme", &mut |value| {
            settings.theme = ThemeName::from_name(value.as_str()?)?;
            Some(())
        });
        take("screen", &mut |value| {
            settings.screen = Screen::from_name(value.as_str()?)?;
            Some(())
        });
        take("wrap", &mut |value| {
            settings.wrap = value.as_bool()?;
            Some(())
        });
        take("filters", &mut |value| {
            settings.filters = texts(value)?;
            Some(())
        });
        take("table", &mut |value| {
            for (name, table) in value.as_table()? {
                settings.tables.insert(name.clone(), TableSettings::read(table)?);
            }
            Some(())
        });
        settings.unknown = table;
        (settings, wrong)
    }

    fn to_table(&self) -> Table {
        let mut table = self.unknown.clone();
        table.insert("theme".into(), self.theme.name().into());
        table.insert("screen".into(), self.screen.name().into());
        table.insert("wrap".into(), self.wrap.into());
        table.insert("filters".into(), self.filters.clone().into());
        let tables: Table = self
            .tables
            .iter()
            .map(|(name, table)| (name.clone(), table.write()))
            .collect();
        if !tables.is_empty() {
            table.insert("table".into(), tables.into());
        }
        table
    }

    /// Writes the file at `path` as a whole: whoever reads it has either the old one or this one.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let write = || {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = directory.unwrap_or(Path::new("."));
            std::fs::create_dir_all(directory)?;
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(self.to_table().to_string().as_bytes())?;
            file.persist(path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|source| SaveError {
            path: path.to_owned(),
            source,
        })
    }

    /// Keeps a filter that was used; one that was there comes to the end.
    pub fn remember_filter(&mut self, text: &str) {
        if text.trim().is_empty() {
            return;
        }
        self.filters.retain(|known| known != text);
        self.filters.push(text.to_owned());
        let over = self.filters.len().saturating_sub(FILTERS);
        self.filters.drain(..over);
    }
}

impl TableSettings {
    fn read(value: &Value) -> Option<Self> {
        let table = value.as_table()?;
        let sort = table.get("sort").map(Value::as_str);
        // As the command line writes it: a minus for the largest first.
        let sort = match sort {
            None => None,
            Some(text) => Some(text?),
        };
        Some(Self {
            descending: sort.is_some_and(|sort| sort.starts_with('-')),
            sort: sort.map(|sort| sort.trim_start_matches('-').to_owned()),
            hidden: table.get("hidden").map_or(Some(Vec::new()), texts)?,
        })
    }

    fn write(&self) -> Value {
        let mut table = Table::new();
        if let Some(sort) = &self.sort {
            let minus = if self.descending { "-" } else { "" };
            table.insert("sort".into(), format!("{minus}{sort}").into());
        }
        if !self.hidden.is_empty() {
            table.insert("hidden".into(), self.hidden.clone().into());
        }
        table.into()
    }
}

/// Why settings could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep settings in {}: {source}", path.display())]
pub struct SaveError {
    path: PathBuf,
    source: std::io::Error,
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter();
    texts.map(|text| text.as_str().map(str::to_owned)).collect()
}

fn read(path: &Path) -> std::io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(std::io::Error::other(format!("longer than {FILE_BYTES} bytes")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (Settings, Option<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        let (settings, problem) = Settings::load(&path);
        let place = format!("{}: ", path.display());
        (settings, problem.map(|text| text.replace(&place, "")))
    }

    #[test]
    fn what_is_saved_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join(FILE_NAME);
        assert_eq!(Settings::load(&path), (Settings::default(), None));
        let mut settings = Settings {
            theme: ThemeName::Light,
            screen: Screen::Workers,
            wrap: false,
            ..Settings::default()
        };
        settings.tables.insert(
            "tasks".into(),
            TableSettings {
                sort: Some("Retries".into()),
                descending: true,
                hidden: vec!["Host".into()],
            },
        );
        settings.remember_filter("state=failed");
        settings.remember_filter("host~\"node\"");
        settings.remember_filter("state=failed");
        assert_eq!(settings.filters, ["host~\"node\"", "state=failed"]);
        settings.save(&path).unwrap();
        assert_eq!(Settings::load(&path), (settings, None));
        // Nothing else is left beside it.
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, "theme = \"light\"\nfuture = [1, 2]\n[more]\nof = \"it\"\n").unwrap();
        let (settings, problem) = Settings::load(&path);
        assert_eq!((settings.theme, problem), (ThemeName::Light, None));
        settings.save(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("future = [1, 2]") && text.contains("of = \"it\""),
            "{text}"
        );
    }

    #[test]
    fn what_is_broken_is_said_and_left_out() {
        let (settings, problem) =
            load("theme = \"pink\"\nwrap = false\nscreen = 3\n[table.tasks]\nsort = 1\n");
        assert!(!settings.wrap);
        assert_eq!(settings.theme, ThemeName::Dark);
        assert_eq!(
            problem.as_deref(),
            Some("theme, screen, table cannot be used; defaults are used")
        );
        for broken in ["theme = ", "\0", "= 3", &"x".repeat(FILE_BYTES as usize + 5)] {
            let (settings, problem) = load(broken);
            assert_eq!(settings, Settings::default());
            let problem = problem.unwrap();
            assert!(
                problem.ends_with("; defaults are used") && !problem.contains('\n'),
                "{problem}"
            );
        }
    }

    #[test]
    fn only_so_many_filters_are_kept() {
        let mut settings = Settings::default();
        for number in 0..FILTERS + 10 {
            settings.remember_filter(&number.to_string());
        }
        settings.remember_filter(" ");
        assert_eq!(settings.filters.len(), FILTERS);
        assert_eq!(settings.filters[0], "10");
    }
}
