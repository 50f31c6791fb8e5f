//! What pilots on a site have in common, from a file that the site, or one of its users, has written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::{Environment, UndefinedBehavior, context};
use serde::Deserialize;

use super::Kind;

/// What a file of a site says; a command's own options go before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Site {
    /// What the site is called, for people.
    pub about: String,
    /// Its batch system.
    pub batch: Option<Kind>,
    /// The partition or queue for those who name none.
    pub partition: Option<String>,
    /// The parallel environment for those who name none.
    pub parallel_environment: Option<String>,
    /// The network interface by which nodes reach one another.
    pub interface: Option<String>,
    /// The template of job scripts; a path that is not absolute begins at the file's directory.
    pub template: Option<PathBuf>,
    /// Lines for the job's shell before anything else: modules, variables.
    pub setup: Vec<String>,
    /// Commands that are run when something happens to a pilot, beside those of its user.
    pub on_event: Vec<String>,
    /// Further words for the command that queues a job.
    pub options: Vec<String>,
    /// The directory of a pilot, with `{{ name }}` and variables such as `{{ env.SCRATCH }}`.
    directory: Option<String>,
}

/// Why a site's file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// There is none of that name.
    #[error("no site {name:?} is known: there is no {}{}", list(places), known(built_in))]
    Unknown {
        /// The name.
        name: String,
        /// Where it was looked for.
        places: Vec<PathBuf>,
        /// What comes with the program.
        built_in: Vec<&'static str>,
    },
    /// It cannot be read.
    #[error("the site's file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say what such a file can say.
    #[error("the site's file {}: {source}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, and why.
        source: toml::de::Error,
    },
    /// The directory depends on where the command is typed.
    #[error("the site's directory {} for pilots is not absolute: write {{{{ env.HOME }}}}/… or {{{{ env.SCRATCH }}}}/…", .0.display())]
    Relative(PathBuf),
    /// The directory cannot be made out.
    #[error("the site's directory {text:?} for pilots cannot be made out: {source}")]
    Directory {
        /// As the file has it.
        text: String,
        /// Why.
        source: minijinja::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    all.join(", and no ")
}

fn known(names: &[&str]) -> String {
    format!("; the program itself knows {}", names.join(", "))
}

/// The files that come with the program.
const BUILT_IN: [(&str, &str); 2] = [
    ("lumi-c", include_str!("../../../deploy/sites/lumi-c.toml")),
    (
        "perlmutter-cpu",
        include_str!("../../../deploy/sites/perlmutter-cpu.toml"),
    ),
];

impl Site {
    /// That of a file, if `name` is a path, else the first `NAME.toml` in these directories, else one that comes with the program.
    pub fn find(name: &str, directories: &[PathBuf]) -> Result<Self, SiteError> {
        if name.contains('/') {
            return Self::read(Path::new(name));
        }
        let places: Vec<PathBuf> = directories
            .iter()
            .map(|directory| directory.join(format!("{name}.toml")))
            .collect();
        if let Some(path) = places.iter().find(|path| path.exists()) {
            return Self::read(path);
        }
        match BUILT_IN.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text, Path::new(name)),
            None => Err(SiteError::Unknown {
                name: name.to_owned(),
                places,
                built_in: BUILT_IN.map(|(name, _)| name).to_vec(),
            }),
        }
    }

    fn read(path: &Path) -> Result<Self, SiteError> {
        let text = std::fs::read_to_string(path).map_err(|source| SiteError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SiteError> {
        let mut site: Self = toml::from_str(text).map_err(|source| SiteError::Wrong {
            path: path.to_owned(),
            source,
        })?;
        if let (Some(template), Some(beside)) = (&mut site.template, path.parent()) {
            *template = beside.join(&template);
        }
        Ok(site)
    }

    /// The directory of the pilot called `name`, if the site says where they lie.
    pub fn directory(&self, name: &str) -> Result<Option<PathBuf>, SiteError> {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        self.directory_with(name, &variables.collect())
    }

    fn directory_with(
        &self,
        name: &str,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, SiteError> {
        let Some(text) = &self.directory else {
            return Ok(None);
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let filled = environment.render_str(text, context! { name, env => variables });
        let filled = filled.map_err(|source| SiteError::Directory {
            text: text.clone(),
            source,
        })?;
        let directory = PathBuf::from(filled);
        if !directory.is_absolute() {
            return Err(SiteError::Relative(directory));
        }
        Ok(Some(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_come_with_the_program_can_be_read() {
        for (name, _) in BUILT_IN {
            let site = Site::find(name, &[]).unwrap();
            assert_eq!(site.batch, Some(Kind::Slurm));
            assert!(!site.about.is_empty());
        }
    }

    #[test]
    fn a_file_of_the_user_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lumi-c.toml");
        std::fs::write(
            &path,
            "partition = \"debug\"\ntemplate = \"own.sh\"\nsetup = [\"module load x\"]\n",
        )
        .unwrap();
        let site = Site::find("lumi-c", &[directory.path().to_owned()]).unwrap();
        assert_eq!(site.partition.as_deref(), Some("debug"));
        assert_eq!(site.template, Some(directory.path().join("own.sh")));
        assert_eq!(Site::find(path.to_str().unwrap(), &[]).unwrap(), site);
        std::fs::write(&path, "partitoin = \"debug\"\n").unwrap();
        let error = Site::find("lumi-c", &[directory.path().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("partitoin"), "{error}");
        let error = Site::find("nowhere", &[directory.path().to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("nowhere.toml") && error.contains("perlmutter-cpu"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_has_the_pilots_name_and_variables() {
        let site = Site {
            directory: Some("{{ env.SCRATCH }}/scalems/{{ name }}".into()),
            ..Site::default()
        };
        let variables = [("SCRATCH".to_owned(), "/scratch/me".to_owned())].into();
        assert_eq!(
            site.directory_with("night", &variables).unwrap(),
            Some(PathBuf::from("/scratch/me/scalems/night"))
        );
        let error = site.directory_with("night", &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("SCRATCH"), "{error}");
        assert_eq!(Site::default().directory_with("night", &variables).unwrap(), None);
        let relative = Site {
            directory: Some("~/{{ name }}".into()),
            ..Site::default()
        };
        assert!(relative.directory_with("night", &variables).is_err());
    }
}
