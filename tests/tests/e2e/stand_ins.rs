//! Pilots as jobs of batch systems that are not here: commands of our own stand in for PBS Pro's and Flux's, and run the job's script.

use std::os::unix::fs::symlink;
use std::path::Path;

use scalems_client::Session;
use scalems_client::protocol::client::WorkerRow;
use scalems_tests::pilot::{Fifo, Home, Output, until_tasks, until_workers};

/// A machine with the commands of a batch system in front of all others.
struct Machine {
    home: Home,
    /// Its name for `--batch`.
    system: &'static str,
}

impl Machine {
    #[track_caller]
    fn new(system: &'static str, commands: &[&str]) -> Self {
        let home = Home::new();
        let bin = home.work().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("stand_ins");
        for command in commands {
            symlink(source.join(format!("{system}.py")), bin.join(command)).unwrap();
        }
        Self { home, system }
    }

    fn pbs() -> Self {
        Self::new(
            "pbs",
            &["qsub", "qstat", "qdel", "pbsnodes", "pbs_tmrsh", "pbs_rsub"],
        )
    }

    fn flux() -> Self {
        Self::new("flux", &["flux"])
    }

    #[track_caller]
    fn sh(&self, line: &str) -> Output {
        let (bin, queue) = (self.home.work().join("bin"), self.home.work().join("queue"));
        self.home.sh(&format!(
            "export PATH={}:$PATH STAND_IN={} PYTHONDONTWRITEBYTECODE=1; {line}",
            bin.display(),
            queue.display()
        ))
    }

    /// Submits a pilot called `night`.
    #[track_caller]
    fn submit(&self, options: &str) -> Output {
        let system = self.system;
        self.sh(&format!(
            "scalems pilot submit --name night --batch {system} --timeout 60s {options}"
        ))
    }

    #[track_caller]
    fn session(&self, workers: usize) -> Session {
        let session = Session::connect(self.home.of_pilot("night")).expect("the pilot lets clients in");
        until_workers(&session, |rows| {
            rows.iter().filter(|row| row.state == "active").count() == workers
        });
        session
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.of_pilot("night").join("job.log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the job wrote:\n{}", self.log());
        }
    }
}

fn living(rows: &[WorkerRow]) -> usize {
    rows.iter().filter(|row| row.state == "active").count()
}

/// Waits for the end of all that the machine runs.
#[track_caller]
fn until_over(machine: &Machine) {
    machine.home.until_empty();
    assert!(
        !machine.home.of_pilot("night").join("client.json").exists(),
        "the pilot ended in order"
    );
}

/// What every batch system's pilot does: it has a worker on each node, runs tasks there, and knows when its job ends.
#[track_caller]
fn serves(machine: &Machine, options: &str, id: &str, cores: Option<u64>) {
    let options = format!("--on-event 'sh -c \"echo $SCALEMS_EVENT >>events\"' {options}");
    let submitted = machine.submit(&options).well();
    assert!(submitted.out.contains(&format!("as job {id}")), "{submitted:?}");
    let session = machine.session(2);
    let rows = session.ask_workers().unwrap();
    let mut names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["n1", "n2"]);
    for row in &rows {
        let offered = row.resources.iter().find(|(kind, ..)| kind == "cores");
        assert!(
            cores.is_none() || offered.map(|(_, total, _)| *total) == cores,
            "the job's cores there: {row:?}"
        );
        assert!(
            row.left_ms
                .is_some_and(|left| (400_000..=600_000).contains(&left)),
            "it knows when its job ends: {row:?}"
        );
    }
    machine
        .sh("scalems submit --array 0-19 --wait --shell -- 'echo %{INDEX} >>done'")
        .well();
    assert_eq!(machine.home.read("done").lines().count(), 20);
    let listed = machine.sh("scalems pilot list").well();
    assert!(
        listed.out.contains(id) && listed.out.contains("serves"),
        "{listed:?}"
    );
    machine.sh("scalems pilot stop").well();
    until_over(machine);
    let directory = machine.home.of_pilot("night");
    // Each process of the job has a log of its own, on whatever node.
    for log in ["agent", "parent", "worker-n1", "worker-n2"] {
        let path = directory.join("own-logs").join(format!("{log}.log"));
        assert!(path.exists(), "{}", path.display());
    }
    let events = std::fs::read_to_string(directory.join("events")).unwrap();
    for event in ["agent_started", "pilot_ended"] {
        assert!(events.lines().any(|line| line == event), "{events}");
    }
}

/// A job that its batch system ends goes on in another.
#[track_caller]
fn goes_on(machine: &Machine, options: &str, cancel: &str) {
    machine.submit(options).well();
    let session = machine.session(1);
    let submitted = machine.sh("scalems --output quiet submit --array 0-9 --retries 0 -- sleep 0.5");
    let number: u64 = submitted.well().text().parse().unwrap();
    until_tasks(&session, number, |counts| counts.running > 0);
    machine.sh(cancel).well();
    until_over(machine);
    machine.submit(&format!("{options} --resume")).well();
    let session = machine.session(1);
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!((counts.done, counts.failed), (10, 0), "{counts:?}");
    machine.sh("scalems pilot stop").well();
    until_over(machine);
}

/// What can never start is told why, and taken out of the queue.
#[track_caller]
fn waits(machine: &Machine, options: &str, id: &str, why: &str) {
    let waits = machine.sh(&format!(
        "scalems pilot submit --name wide --batch {} --nodes 9 --time 5m --timeout 1s {options}",
        machine.system
    ));
    assert_eq!(waits.code, 4, "{waits:?}");
    assert!(waits.err.contains(why), "{waits:?}");
    let listed = machine.sh("scalems pilot list").well();
    assert!(listed.out.contains(id) && listed.out.contains(why), "{listed:?}");
    machine.sh("scalems pilot stop --pilot wide").well();
    let info = machine.sh("scalems pilot info --pilot wide");
    assert_eq!(info.code, 3, "{info:?}");
}

#[test]
fn a_pilot_is_a_job_of_pbs() {
    let machine = Machine::pbs();
    let found = machine.sh("scalems doctor");
    assert!(found.out.contains("pbs: 2 of 2 hosts answer"), "{found:?}");
    machine
        .submit("--time 10m")
        .fails(2, &["say with --cores how many"]);
    machine
        .submit("--time 10m --cores 2 --partition nosuch")
        .fails(1, &["Unknown queue"]);
    waits(
        &machine,
        "--cores 2",
        "1.head",
        "is pending: Not Running: Insufficient",
    );
    serves(
        &machine,
        "--nodes 2 --cores 3 --partition work --time 10m",
        "2.head",
        Some(3),
    );
}

#[test]
fn a_job_of_pbs_that_is_deleted_ends_in_order_and_goes_on_in_another() {
    goes_on(&Machine::pbs(), "--cores 2 --time 10m", "qdel 1.head");
}

#[test]
fn a_pilot_is_a_job_of_flux() {
    let machine = Machine::flux();
    let found = machine.sh("scalems doctor");
    assert!(found.out.contains("flux: 07:48:42 run 2.1d"), "{found:?}");
    machine
        .submit("--time 10m --memory 100")
        .fails(2, &["leave out --memory"]);
    machine
        .submit("--time 10m --partition nosuch")
        .fails(1, &["Invalid queue"]);
    waits(&machine, "", "fJob1", "is pending; estimated start in 10 min");
    serves(&machine, "--nodes 2 --partition pbatch --time 10m", "fJob2", None);
}

#[test]
fn a_job_of_flux_that_is_canceled_ends_in_order_and_goes_on_in_another() {
    goes_on(&Machine::flux(), "--time 10m", "flux cancel fJob1");
}

#[test]
fn an_agent_on_this_host_serves_one_job_after_another() {
    let machine = Machine::pbs();
    let options = "--agent here --nodes 2 --cores 2 --time 10m";
    let submitted = machine.submit(options).well();
    assert!(
        submitted.out.contains("with workers of job 1.head"),
        "{submitted:?}"
    );
    let session = machine.session(2);
    let submitted = machine.sh("scalems --output quiet submit --array 0-19 --retries 0 -- sleep 0.5");
    let number: u64 = submitted.well().text().parse().unwrap();
    until_tasks(&session, number, |counts| counts.running == 4);
    // The job's end is not that of the pilot, and costs tasks nothing.
    machine.sh("qdel 1.head").well();
    until_workers(&session, <[_]>::is_empty);
    until_ended(&machine, "1");
    let listed = machine.sh("scalems pilot list").well();
    assert!(
        listed.out.contains("serves; its job has ended (exit status 0)"),
        "it ended in order: {listed:?}"
    );
    let info = machine.sh("scalems pilot info").well();
    assert!(info.out.contains("1.head has ended"), "{info:?}");
    let again = machine.submit(options).well();
    assert!(again.out.contains("with workers of job 2.head"), "{again:?}");
    let counts = until_tasks(&session, number, |counts| counts.unfinished() == 0);
    assert_eq!((counts.done, counts.failed), (20, 0), "{counts:?}");
    machine
        .submit(options)
        .fails(1, &["pilot night is job 2.head already, which runs on n1,n2"]);
    drop(session);
    // The pilot's end is the job's.
    machine.sh("scalems pilot stop").well();
    until_over(&machine);
    let job = machine.sh("qstat -x -f -F json 2.head").well().out;
    assert!(job.contains("\"Exit_status\": 0"), "{job}");
    // With --resume another agent goes on; what is still in the queue goes with the pilot.
    let waits = machine.sh(
        "scalems pilot submit --name night --batch pbs --agent here --resume --nodes 9 --cores 2 --time 10m --timeout 1s",
    );
    assert_eq!(waits.code, 4, "{waits:?}");
    assert!(waits.err.contains("has no workers of its job yet"), "{waits:?}");
    machine.sh(&format!("scalems wait {number} --timeout 10s")).well();
    machine.sh("scalems pilot stop").well();
    until_over(&machine);
    let job = machine.sh("qstat -x -f -F json 3.head").well().out;
    assert!(job.contains("\"job_state\": \"F\""), "{job}");
}

#[test]
fn an_agent_on_this_host_may_end_with_its_job() {
    let machine = Machine::pbs();
    machine
        .submit("--cores 2 --time 10m --ends-with-job")
        .fails(2, &["is for --agent here"]);
    // Without a job there is no agent.
    machine
        .submit("--agent here --cores 2 --time 10m --partition nosuch")
        .fails(1, &["Unknown queue"]);
    machine.home.until_empty();
    machine
        .submit("--agent here --ends-with-job --cores 2 --time 10m")
        .well();
    machine.sh("qdel 1.head").well();
    let file = machine.home.of_pilot("night").join("client.json");
    machine
        .sh(&format!("while test -e {}; do sleep 0.2; done", file.display()))
        .well();
    machine.home.until_empty();
}

/// Waits until the stand-in's job of this number is over.
#[track_caller]
fn until_ended(machine: &Machine, number: &str) {
    machine
        .sh(&format!(
            "until test -e $STAND_IN/{number}/ended.json; do sleep 0.1; done"
        ))
        .well();
}

#[test]
fn the_cores_of_a_worker_of_a_job_are_its_own_until_it_has_ended() {
    let machine = Machine::pbs();
    machine.submit("--nodes 1 --time 10m --cores 2").well();
    let session = machine.session(1);
    let mut told = Fifo::new(&machine.home.work(), "told");
    let mut gate = Fifo::new(&machine.home.work(), "gate");
    machine
        .sh("scalems submit --shell -- 'echo up >told; read go <gate'")
        .well();
    told.line();
    let said = machine
        .sh("scalems worker replace 1 --cores 1 --drain 60s")
        .well();
    assert!(said.out.contains("waits for the end of worker"), "{said:?}");
    machine
        .sh("scalems worker request")
        .fails(1, &["no_room", "0 of 2 cores"]);
    gate.release(1);
    until_workers(&session, |rows| {
        rows.iter().any(|row| row.worker == 2 && row.state == "active")
    });
    // One of a job ends in its own time too.
    machine
        .sh("scalems worker request --time-limit 12s --wait")
        .well();
    let rows = until_workers(&session, |rows| living(rows) == 2);
    assert!(
        rows.iter()
            .all(|row| row.worker != 3 || row.left_ms.is_some_and(|left| left <= 2_000)),
        "{rows:?}"
    );
    until_workers(&session, |rows| living(rows) == 1);
    drop(session);
    machine.sh("scalems pilot stop").well();
    until_over(&machine);
}
