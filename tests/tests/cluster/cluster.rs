//! A cluster for one test.

use std::path::{Path, PathBuf};
use std::process::Command;

use scalems_client::Session;
use scalems_client::protocol::client::WorkerRow;
use scalems_tests::pilot::{Home, Output, program, until_tasks, until_workers};
use scalems_transport::ConnectionFile;

/// Some nodes called n1, n2, … with 4 CPUs each, and the machine itself as their login node. Its end is the end of all
/// that runs on them.
pub(crate) struct Cluster {
    directory: PathBuf,
    scratch: Option<Scratch>,
    pub(crate) home: Home,
}

/// A file system of its own, as long as the test takes.
struct Scratch(PathBuf);

impl Scratch {
    #[track_caller]
    fn mount(path: PathBuf, mib: u32) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=1777"), "scratch"]);
        let status = mount.arg(&path).status().expect("mount can be run");
        assert!(status.success(), "{} cannot be mounted: {status}", path.display());
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A node that is just ending may still have it.
        let gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(
            gone.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "{} stays mounted",
            self.0.display()
        );
    }
}

impl Cluster {
    /// With three nodes.
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::with("--nodes 3")
    }

    /// With these options of `tests/cluster/up`.
    #[track_caller]
    pub(crate) fn with(options: &str) -> Self {
        Self::in_home(Home::new(), None, options)
    }

    /// The same, with a file system of so many MiB that all nodes share: [`Self::scratch`].
    #[track_caller]
    pub(crate) fn with_scratch(mib: u32, options: &str) -> Self {
        let home = Home::new();
        let scratch = Scratch::mount(home.path().with_file_name("scratch"), mib);
        Self::in_home(home, Some(scratch), options)
    }

    /// The directory of a cluster that has one.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch.as_ref().expect("it was asked for").0
    }

    #[track_caller]
    fn in_home(home: Home, scratch: Option<Scratch>, options: &str) -> Self {
        let directory = home.path().with_file_name("cluster");
        let share = home.path().parent().unwrap().to_owned();
        // Where the program was built the nodes may not look: it may be in `/tmp`.
        let bin = share.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let own = bin.join("scalems");
        if std::fs::hard_link(program(), &own).is_err() {
            std::fs::copy(program(), &own).expect("the program can be copied");
        }
        let cluster = Self {
            directory,
            scratch,
            home,
        };
        let mut up = Command::new(script("up"));
        up.arg("--dir").arg(&cluster.directory).arg("--share").arg(share);
        up.args(options.split_whitespace());
        // Its daemons hold what they inherit open.
        let log = std::fs::File::create(cluster.home.path().with_file_name("up.log")).unwrap();
        up.stdout(log.try_clone().unwrap()).stderr(log);
        let status = up.status().expect("the script can be run");
        let said = std::fs::read_to_string(cluster.home.path().with_file_name("up.log")).unwrap();
        assert!(status.success(), "the cluster did not come up ({status}): {said}");
        cluster
    }

    /// Runs a shell's command line on the login node.
    #[track_caller]
    pub(crate) fn sh(&self, line: &str) -> Output {
        self.home.sh(&self.line(line))
    }

    /// Starts Grid Engine on the hosts; gives what a shell needs to use it.
    #[track_caller]
    pub(crate) fn start_grid_engine(&self) -> String {
        self.tool("grid-engine", "").replace('\n', "; ")
    }

    /// Runs a shell's command line on the host of the controllers, behind what sets up its environment.
    #[track_caller]
    pub(crate) fn on_ctl(&self, environment: &str, line: &str) -> Output {
        let inner = self.line(&format!("{environment}; {line}"));
        let inner = shlex::try_quote(&inner).expect("a line has no zero byte");
        let (directory, on) = (self.directory.display(), script("on"));
        self.home.sh(&format!(
            "SCALEMS_CLUSTER={directory} {} ctl sh -c {inner}",
            on.display()
        ))
    }

    /// As a user's shell would have it: what stands for the login node's runtime directory is on no other node.
    fn line(&self, line: &str) -> String {
        let conf = self.directory.join("slurm.conf");
        let (conf, bin) = (conf.display(), self.directory.with_file_name("bin"));
        format!(
            "export SLURM_CONF={conf} XDG_RUNTIME_DIR=/run/user/of-the-login-node PATH={}:$PATH; {line}",
            bin.display()
        )
    }

    /// Runs one of the scripts in `tests/cluster` for this cluster.
    #[track_caller]
    pub(crate) fn tool(&self, name: &str, args: &str) -> String {
        let output = Command::new(script(name))
            .args(args.split_whitespace())
            .env("SCALEMS_CLUSTER", &self.directory)
            .output()
            .expect("the script can be run");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{name} {args}: {}: {error}",
            output.status
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Submits a pilot called `night` with these further options, and waits until so many workers have joined.
    #[track_caller]
    pub(crate) fn pilot(&self, options: &str, workers: usize) -> Session {
        self.sh(&format!("scalems pilot submit --name night {options}"))
            .well();
        self.session(workers)
    }

    /// Connects to the pilot `night` from the login node, and waits until so many workers have joined.
    #[track_caller]
    pub(crate) fn session(&self, workers: usize) -> Session {
        let session = Session::connect(self.pilot_directory()).expect("the login node reaches the agent");
        until_workers(&session, |rows| active(rows).len() == workers);
        session
    }

    /// Submits by `scalems submit` with these words, and waits until so many of the tasks run. Gives the submission's number.
    #[track_caller]
    pub(crate) fn begin(&self, session: &Session, words: &str, running: u64) -> u64 {
        let said = self.sh(&format!("scalems --output quiet submit {words}")).well();
        let number = said.text().parse().expect("a submission has a number");
        until_tasks(session, number, |counts| counts.running == running);
        number
    }

    /// The login node's network interface to the nodes.
    pub(crate) fn interface(&self) -> String {
        let tag = std::fs::read_to_string(self.directory.join("run/tag")).unwrap();
        format!("s{}hub", tag.trim())
    }

    pub(crate) fn pilot_directory(&self) -> PathBuf {
        self.home.of_pilot("night")
    }

    /// Where the agent of the pilot runs: its host, and its process there.
    pub(crate) fn agent(&self) -> (String, u32) {
        let file = ConnectionFile::read(&self.pilot_directory().join("client.json")).unwrap();
        (file.host, file.pid)
    }

    /// The job of the pilot.
    pub(crate) fn job(&self) -> String {
        let text = std::fs::read(self.pilot_directory().join("job.json")).unwrap();
        let job: serde_json::Value = serde_json::from_slice(&text).unwrap();
        job["job"].as_str().unwrap().to_owned()
    }

    /// Waits until a job is over, and gives the word for how.
    #[track_caller]
    pub(crate) fn until_over(&self, job: &str) -> String {
        // `scontrol wait_job` waits for the beginning; this waits for the end, in the batch system itself.
        let line = format!(
            "srun --quiet --dependency=afterany:{job} --overlap --time=1 true && squeue -h -t all -j {job} -o %T"
        );
        self.sh(&line).well().text().to_owned()
    }

    /// Waits until a file of the pilot is gone.
    #[track_caller]
    pub(crate) fn until_gone(&self, name: &str) {
        let path = self.pilot_directory().join(name);
        self.sh(&format!("while test -e {}; do sleep 0.1; done", path.display()))
            .well();
    }

    /// What lies in a node's own `/tmp` besides what all nodes see, and the directory for socket files, which is there for the next pilot.
    pub(crate) fn left_in_tmp(&self, node: &str) -> Vec<String> {
        let listing = self.tool(
            "on",
            &format!("{node} find /tmp -mindepth 1 -maxdepth 1 -name scalems-* -not -name scalems-t* -not -name scalems-0"),
        );
        listing.lines().map(str::to_owned).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.pilot_directory().join("job.log"));
            eprintln!("what the job wrote:\n{}", log.unwrap_or_default());
        }
        let down = Command::new(script("down"))
            .env("SCALEMS_CLUSTER", &self.directory)
            .status();
        let ended = down.is_ok_and(|status| status.success());
        assert!(ended || std::thread::panicking(), "the cluster was not ended");
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster").join(name)
}

/// The names of the workers that are there.
pub(crate) fn active(rows: &[WorkerRow]) -> Vec<String> {
    let mut names: Vec<String> = rows
        .iter()
        .filter(|row| row.state == "active")
        .map(|row| row.name.clone())
        .collect();
    names.sort();
    names
}
