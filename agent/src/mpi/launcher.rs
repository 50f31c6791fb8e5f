//! What starts ranks: which of them there is, and how it is asked to.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::words::last_line;

/// Launchers that are looked for, the first one first.
const NAMES: [&str; 2] = ["mpiexec", "mpirun"];
/// The one of Slurm, which is there with and without an MPI: only in a job of it.
const SLURM: &str = "srun";
/// Bytes of what a launcher says of itself that are shown.
const SHOWN: usize = 120;

/// By these a launcher, or a rank, takes itself for a part of the job around it, and looks for its hosts and its server there.
const SURROUNDING: [&str; 12] = [
    "SLURM_",
    "PBS_",
    "PE_HOSTFILE",
    "LSB_",
    "LS_SUBCWD",
    "COBALT_",
    "PALS_",
    "PMI_",
    "PMIX_",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_ess_",
    "OMPI_MCA_orte_",
];
/// What of it srun needs.
const OF_SLURM: [&str; 5] = [
    "SLURM_JOB_ID",
    "SLURM_JOBID",
    "SLURM_CONF",
    "SLURM_CLUSTER_NAME",
    "SLURM_MPI_TYPE",
];

/// Whose launcher it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OpenMpi,
    /// MPICH, and what is made from it: Intel MPI, MVAPICH.
    Hydra,
    Slurm,
}

/// What starts ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launcher {
    program: PathBuf,
    kind: Kind,
}

/// The launcher to use: the one that was given, else the first of those that are looked for. None: there is none.
pub(crate) fn find(given: Option<&Path>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = |name: &Path| {
        if name.as_os_str().as_bytes().contains(&b'/') {
            return Some(name.to_owned());
        }
        env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|place| place.is_file())
    };
    if let Some(given) = given {
        // One that is not there is missed by its name when it is to be started.
        return Some(in_path(given).unwrap_or_else(|| given.to_owned()));
    }
    let of_slurm = env::var_os("SLURM_JOB_ID").map(|_| SLURM);
    NAMES
        .into_iter()
        .chain(of_slurm)
        .find_map(|name| in_path(Path::new(name)))
}

impl Kind {
    /// By what it says of its version.
    fn of(words: &str) -> Option<Self> {
        let any = |marks: &[&str]| marks.iter().any(|mark| words.contains(mark));
        if any(&["Open MPI", "OpenRTE", "PRRTE"]) {
            Some(Self::OpenMpi)
        } else if any(&["HYDRA", "Intel(R) MPI", "MPICH", "MVAPICH"]) {
            Some(Self::Hydra)
        } else if words.trim_start().starts_with("slurm") {
            Some(Self::Slurm)
        } else {
            None
        }
    }
}

impl Launcher {
    /// The one that says this of its version; an error says what is wrong with it.
    pub(crate) fn recognised(program: PathBuf, words: &str) -> Result<Self, String> {
        if let Some(kind) = Kind::of(words) {
            return Ok(Self { program, kind });
        }
        let mut said = last_line(words).unwrap_or_else(|| "nothing".to_owned());
        said.truncate(said.floor_char_boundary(SHOWN));
        Err(format!(
            "{} is no launcher of Open MPI, MPICH, Intel MPI or Slurm: to --version it says {said:?}",
            program.display()
        ))
    }

    /// Its name, for people.
    pub(crate) fn name(&self) -> String {
        let program = self.program.file_name().unwrap_or_default().to_string_lossy();
        match self.kind {
            Kind::OpenMpi => format!("{program} of Open MPI"),
            Kind::Hydra => format!("{program} of MPICH"),
            Kind::Slurm => format!("{program} of Slurm"),
        }
    }

    /// The words before those of the program.
    pub(crate) fn words(&self, ranks: u32) -> Vec<OsString> {
        let ranks = ranks.to_string();
        let words: Vec<String> = match self.kind {
            Kind::OpenMpi => ["--bind-to", "none", "-n", ranks.as_str()]
                .map(str::to_owned)
                .into(),
            Kind::Hydra => ["-launcher", "fork", "-bind-to", "none", "-n", ranks.as_str()]
                .map(str::to_owned)
                .into(),
            Kind::Slurm => {
                let node = env::var("SLURMD_NODENAME").unwrap_or_else(|_| crate::host_name());
                let alike = [
                    "--quiet",
                    "--overlap",
                    "--nodes=1",
                    "--cpu-bind=none",
                    "--mem=0",
                    "--kill-on-bad-exit=1",
                ];
                let own = [format!("--nodelist={node}"), format!("--ntasks={ranks}")];
                alike.map(str::to_owned).into_iter().chain(own).collect()
            }
        };
        let program = self.program.clone().into_os_string();
        std::iter::once(program)
            .chain(words.into_iter().map(OsString::from))
            .collect()
    }

    /// Whether a variable of the worker is for the job around it, and would lead this one astray.
    pub(crate) fn is_surrounding(&self, name: &OsStr) -> bool {
        let name = name.as_bytes();
        let is_one = SURROUNDING
            .iter()
            .any(|prefix| name.starts_with(prefix.as_bytes()));
        // Parameters that a user sets for a library.
        let is_parameter = name.starts_with(b"PMIX_MCA_");
        let is_needed = self.kind == Kind::Slurm && OF_SLURM.iter().any(|needed| name == needed.as_bytes());
        is_one && !is_parameter && !is_needed
    }

    /// Variables that it, and what it starts, are to have; those that the task or the worker has set stay. `directory` is
    /// short, and for what it leaves.
    pub(crate) fn variables(&self, directory: &Path) -> Vec<(&'static str, OsString)> {
        let place = || directory.as_os_str().to_owned();
        let library = |names: &[&str]| ("MPI4PY_LIBMPI", self.libraries(names));
        match self.kind {
            Kind::OpenMpi => {
                let mut set: Vec<(&'static str, OsString)> = vec![
                    ("OMPI_MCA_rmaps_base_oversubscribe", "1".into()),
                    ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe".into()),
                    ("OMPI_MCA_orte_tmpdir_base", place()),
                    ("PRTE_MCA_prte_tmpdir_base", place()),
                    ("OMPI_MCA_btl_vader_backing_directory", place()),
                    ("OMPI_MCA_btl_sm_backing_directory", place()),
                    library(&["libmpi.so.40", "libmpi.so"]),
                ];
                if geteuid().is_root() {
                    let allowed = [
                        "OMPI_ALLOW_RUN_AS_ROOT",
                        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
                        "PRTE_ALLOW_RUN_AS_ROOT",
                        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
                    ];
                    set.extend(allowed.map(|name| (name, OsString::from("1"))));
                }
                set
            }
            Kind::Hydra => vec![
                ("I_MPI_PIN", "0".into()),
                ("MV2_ENABLE_AFFINITY", "0".into()),
                library(&["libmpi.so.12", "libmpich.so.12", "libmpi.so"]),
            ],
            Kind::Slurm => Vec::new(),
        }
    }

    /// Where mpi4py finds the library that this launcher belongs to: beside it, else by name.
    fn libraries(&self, names: &[&str]) -> OsString {
        let prefix = self.program.parent().and_then(Path::parent);
        let beside = prefix.into_iter().flat_map(|prefix| {
            ["lib", "lib64", "lib/release"]
                .into_iter()
                .flat_map(move |directory| names.iter().map(move |name| prefix.join(directory).join(name)))
        });
        let beside = beside.filter(|place| place.is_file());
        let all: Vec<PathBuf> = beside.chain(names.iter().map(PathBuf::from)).collect();
        env::join_paths(&all).unwrap_or_else(|_| names.join(":").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(words: &str) -> Launcher {
        Launcher::recognised("/opt/none/bin/mpiexec".into(), words).unwrap()
    }

    #[test]
    fn launchers_are_known_by_what_they_say() {
        for (words, kind) in [
            (
                "mpiexec.openmpi (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/",
                Kind::OpenMpi,
            ),
            ("mpirun (Open MPI) 5.0.11\n", Kind::OpenMpi),
            ("HYDRA build details:\n    Version:    4.0.2\n", Kind::Hydra),
            ("Intel(R) MPI Library for Linux* OS, Version 2021.19", Kind::Hydra),
            ("slurm 22.05.8\n", Kind::Slurm),
        ] {
            assert_eq!(launcher(words).kind, kind, "{words}");
        }
        let strange = Launcher::recognised("/bin/ls".into(), "ls (GNU coreutils) 9.1\n");
        assert!(strange.unwrap_err().contains("coreutils"));
        assert!(Launcher::recognised("/bin/true".into(), "").is_err());
    }

    #[test]
    fn the_job_around_is_not_seen() {
        let (open_mpi, slurm) = (launcher("(OpenRTE) 4"), launcher("slurm 22"));
        for name in [
            "SLURM_JOB_ID",
            "PMI_RANK",
            "PMIX_SERVER_URI2",
            "PBS_JOBID",
            "PE_HOSTFILE",
        ] {
            assert!(open_mpi.is_surrounding(OsStr::new(name)), "{name}");
        }
        for name in [
            "PATH",
            "OMPI_MCA_btl",
            "PMIX_MCA_psec",
            "SCALEMS_TASK",
            "SLURMD_NODENAME",
        ] {
            assert!(!open_mpi.is_surrounding(OsStr::new(name)), "{name}");
        }
        assert!(!slurm.is_surrounding(OsStr::new("SLURM_JOB_ID")));
        assert!(slurm.is_surrounding(OsStr::new("SLURM_NTASKS")));
    }

    #[test]
    fn ranks_are_asked_for() {
        for words in ["(OpenRTE) 4", "HYDRA", "slurm 22"] {
            let words = launcher(words).words(12);
            assert!(words[0] == "/opt/none/bin/mpiexec", "{words:?}");
            let last = words.last().unwrap().to_string_lossy().into_owned();
            assert!(last == "12" || last == "--ntasks=12", "{words:?}");
        }
    }

    #[test]
    fn a_library_beside_its_launcher_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("lib/libmpi.so.12");
        std::fs::create_dir(directory.path().join("lib")).unwrap();
        std::fs::write(&library, "").unwrap();
        let hydra = Launcher::recognised(directory.path().join("bin/mpiexec"), "HYDRA").unwrap();
        let expected = format!("{}:libmpi.so.12:libmpi.so", library.display());
        assert_eq!(
            hydra.libraries(&["libmpi.so.12", "libmpi.so"]),
            OsString::from(expected)
        );
    }
}
