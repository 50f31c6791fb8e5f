//! An ensemble of real molecular dynamics, as a user of the shell would run it.

use std::collections::BTreeSet;
use std::process::Command;

use scalems_tests::pilot::{Pilot, quoted};

const MEMBERS: usize = 8;

/// Whether GROMACS is here; where nothing may be skipped it has to be.
fn has_gromacs() -> bool {
    let there = Command::new("gmx")
        .arg("--version")
        .output()
        .is_ok_and(|said| said.status.success());
    let may_skip = std::env::var("SCALEMS_NO_SKIP").unwrap_or_default().is_empty();
    assert!(there || may_skip, "gmx is missing: run tests/run prepare");
    if !there {
        eprintln!("skipped: gmx is missing");
    }
    there
}

#[test]
fn eight_members_on_two_cores() {
    if !has_gromacs() {
        return;
    }
    let pilot = Pilot::start("--cores 2");
    let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/make-system");
    pilot
        .sh(&format!("{} . {MEMBERS} 2000", quoted(tool.as_ref())))
        .well();

    let last = MEMBERS - 1;
    let prepared = pilot.submit(&format!(
        "--name prepare --array 0-{last} --env GMX_MAXBACKUP=-1 -- gmx grompp -f 'member-%{{INDEX}}/md.mdp' \
         -c system.gro -p system.top -o 'member-%{{INDEX}}/topol.tpr' -po 'member-%{{INDEX}}/out.mdp'"
    ));
    let run = pilot.submit(&format!(
        "--name run --array 0-{last} --cores 1 --after {prepared} --env GMX_MAXBACKUP=-1 -- sh -c \
         'echo begin %{{INDEX}} >> times; (cd member-%{{INDEX}} && gmx mdrun -s topol.tpr -ntmpi 1 -ntomp 1 -pin off); \
         code=$?; echo end %{{INDEX}} >> times; exit $code'"
    ));
    for number in [prepared, run] {
        // Some seconds each; the waits are bounded, so one that is slower is waited for again.
        let waited = (0..4).map(|_| pilot.sh(&format!("scalems wait {number} --timeout 50s")));
        let ended = waited
            .into_iter()
            .find(|said| said.code != 4)
            .expect("the ensemble takes minutes");
        let ended = ended.well();
        assert!(ended.err.contains(&format!("{MEMBERS} done")), "{}", ended.err);
    }
    for member in 0..MEMBERS {
        let here = format!("cd member-{member} && GMX_MAXBACKUP=-1");
        let checked = pilot
            .sh(&format!("{here} gmx check -f traj_comp.xtc 2>&1"))
            .well();
        // 2,000 steps, a frame every 100 of them, and the first.
        assert!(
            checked.out.contains("Coords") && checked.out.contains("21"),
            "member {member}: {}",
            checked.out
        );
        pilot.sh(&format!("{here} gmx check -e ener.edr")).well();
        assert!(
            pilot
                .home
                .read(&format!("member-{member}/confout.gro"))
                .lines()
                .count()
                > 648
        );
    }
    let temperature = |member: usize| {
        pilot
            .home
            .read(&format!("member-{member}/out.mdp"))
            .contains(&format!("{}", 300 + 10 * member))
    };
    assert!((0..MEMBERS).all(temperature), "each had its own parameters");

    // Never more than two at once, and none of them alone from its begin to its end.
    let mut running = BTreeSet::new();
    let mut accompanied = BTreeSet::new();
    for line in pilot.home.read("times").lines() {
        let (what, member) = line.split_once(' ').expect("two words");
        match what {
            "begin" => assert!(running.insert(member.to_owned()), "{member} began twice"),
            _ => assert!(running.remove(member), "{member} ended before it began"),
        }
        assert!(running.len() <= 2, "{running:?} run at once");
        if running.len() == 2 {
            accompanied.extend(running.iter().cloned());
        }
    }
    assert!(running.is_empty(), "{running:?} never ended");
    assert_eq!(accompanied.len(), MEMBERS, "{accompanied:?}");
    pilot.stop();
}
