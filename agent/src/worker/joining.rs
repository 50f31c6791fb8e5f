//! When a worker joins that is started together with many others.

use std::time::Duration;

/// The agent takes less than half of this to let a worker in, so that those who wait in line are few.
const EACH: Duration = Duration::from_millis(2);
/// Whoever submits a pilot waits for its workers: more are let in faster rather than later.
const LONGEST: Duration = Duration::from_secs(10);

/// How long the worker of this name waits before it joins, as one of so many that start in the same moment: always the same for the
/// same name, and spread evenly over a time that grows with their number. Of three nobody waits for longer than 4 ms, of a thousand
/// for longer than 2 s.
pub fn join_delay(name: &str, among: u32) -> Duration {
    let spread = (EACH * among.saturating_sub(1)).min(LONGEST);
    // Any function would do that gives names that differ in a digit numbers that are far from each other.
    let share = f64::from(crc32c::crc32c(name.as_bytes())) / f64::from(u32::MAX);
    spread.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_do_not_wait() {
        for name in ["n1", "n2", "n3"] {
            assert_eq!(join_delay(name, 0), Duration::ZERO);
            assert_eq!(join_delay(name, 1), Duration::ZERO);
            assert!(join_delay(name, 3) <= Duration::from_millis(4), "{name}");
        }
    }

    #[test]
    fn many_come_one_after_another() {
        for names in ["n", "nid0000", "gpu-a."] {
            let mut tenths = [0; 10];
            for number in 0..1_000 {
                let name = format!("{names}{number:03}");
                let delay = join_delay(&name, 1_000);
                assert_eq!(delay, join_delay(&name, 1_000), "it is the same again");
                assert!(delay <= Duration::from_secs(2), "{name}: {delay:?}");
                tenths[(delay.as_millis() / 200).min(9) as usize] += 1;
            }
            assert!(
                tenths.iter().all(|count| (60..=140).contains(count)),
                "about a hundred in each fifth of a second: {tenths:?}"
            );
        }
        assert!(join_delay("n1", u32::MAX) <= LONGEST);
    }
}
