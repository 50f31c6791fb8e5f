//! What launchers say of a rank that ended by itself. Each has its own words for it, and only they name the rank.

/// How a rank ended, as far as it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// It called `MPI_Abort` with this code.
    Aborted(i32),
}

/// What was said of the first rank that ended badly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rank: Option<u32>,
    pub(crate) how: Option<How>,
}

/// Reads a launcher's words. `pids` has the process of each rank, for launchers that name that instead.
pub(crate) fn told(words: &str, pids: &[Option<i32>]) -> Told {
    if let Some(told) = aborted(words) {
        return told;
    }
    let by_pid = |pid: i32| {
        let rank = pids.iter().position(|known| *known == Some(pid))?;
        u32::try_from(rank).ok()
    };
    let signal = ["on signal ", "(signal ", "by signal "]
        .iter()
        .find_map(|before| number_after(words, before));
    let code = ["Exit code:", "EXIT CODE:", "exit code "]
        .iter()
        .find_map(|before| number_after(words, before));
    let rank = number_after(words, "process rank ")
        .or_else(|| number_after(words, "=   RANK "))
        .or_else(|| number_after(words, ": task "))
        .and_then(|rank: i64| u32::try_from(rank).ok())
        .or_else(|| name_of_process(words))
        .or_else(|| by_pid(number_after(words, "=   PID ")?));
    Told {
        rank,
        how: signal
            .map(How::Signaled)
            .or_else(|| code.filter(|code| *code != 0).map(How::Exited)),
    }
}

/// `MPI_ABORT was invoked on rank 2 … with errorcode 7.`, and `application called MPI_Abort(MPI_COMM_WORLD, 7) - process 2`.
fn aborted(words: &str) -> Option<Told> {
    let found = |rank: Option<u32>, code: Option<i32>| Told {
        rank,
        how: Some(How::Aborted(code.unwrap_or(1))),
    };
    if let Some((_, rest)) = words.split_once("MPI_ABORT was invoked on rank ") {
        return Some(found(leading(rest), number_after(rest, "errorcode ")));
    }
    let (_, rest) = words.split_once("application called MPI_Abort(")?;
    let (inside, after) = rest.split_once(')')?;
    let code = inside.rsplit(',').next().and_then(leading);
    Some(found(number_after(after, "process "), code))
}

/// Open MPI calls processes `[[41205,1],2]` or `[prterun-host-41205@1,2]`.
fn name_of_process(words: &str) -> Option<u32> {
    let (_, rest) = words.split_once("Process name: [")?;
    let name = rest.lines().next()?;
    leading(name.rsplit_once(',')?.1)
}

fn number_after<T: std::str::FromStr>(words: &str, before: &str) -> Option<T> {
    words
        .match_indices(before)
        .find_map(|(at, _)| leading(words.get(at + before.len()..)?))
}

/// The number that a text begins with.
fn leading<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim_start_matches(' ');
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// The last line that says something: launchers frame what they say.
pub(crate) fn last_line(words: &str) -> Option<String> {
    let frame = |c: char| "-=* ".contains(c);
    let mut lines = words.lines().rev().map(str::trim);
    lines.find(|line| !line.chars().all(frame)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_launcher_names_the_rank() {
        let pids = [Some(100), Some(101), None, Some(103)];
        for (words, rank, how) in [
            (
                "mpiexec detected that one or more processes exited with non-zero status, thus causing\nthe job to be \
                 terminated. The first process to do so was:\n\n  Process name: [[41205,1],1]\n  Exit code:    3\n",
                1,
                How::Exited(3),
            ),
            (
                "  Process name: [prterun-n1-41205@1,3]\n  Exit code:    3\n",
                3,
                How::Exited(3),
            ),
            (
                "mpiexec noticed that process rank 2 with PID 0 on node n1 exited on signal 9 (Killed).\n",
                2,
                How::Signaled(9),
            ),
            (
                "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n=   PID 103 RUNNING AT n1\n=   EXIT CODE: 3\n",
                3,
                How::Exited(3),
            ),
            (
                "=   PID 101 RUNNING AT n1\n=   EXIT CODE: 9\n===\nYOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed \
                 (signal 9)\n",
                1,
                How::Signaled(9),
            ),
            (
                "=   RANK 2 PID 7 RUNNING AT n1\n=   KILLED BY SIGNAL: 9 (Killed)\n=   EXIT CODE: 9\n",
                2,
                How::Exited(9),
            ),
            (
                "srun: error: n1: task 2: Exited with exit code 3\n",
                2,
                How::Exited(3),
            ),
            (
                "MPI_ABORT was invoked on rank 2 in communicator MPI_COMM_WORLD\nwith errorcode 7.\n",
                2,
                How::Aborted(7),
            ),
            (
                "Abort(7) on node 2 (rank 2 in comm 0): application called MPI_Abort(MPI_COMM_WORLD, 7) - process 2\n",
                2,
                How::Aborted(7),
            ),
        ] {
            let expected = Told {
                rank: Some(rank),
                how: Some(how),
            };
            assert_eq!(told(words, &pids), expected, "{words}");
        }
        assert_eq!(told("what a function prints\n", &pids), Told::default());
    }

    #[test]
    fn the_last_line_is_not_a_frame() {
        let words = "-----\nno such file\n\n  too bad  \n------\n= = =\n";
        assert_eq!(last_line(words).as_deref(), Some("too bad"));
        assert_eq!(last_line("----\n"), None);
    }
}
