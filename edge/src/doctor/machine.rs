//! The machine itself: clock and disk.

use super::Finding;
use crate::belief::Belief;

/// Two clocks agree within this ([`crate::belief`]).
const AGREEMENT_S: u64 = 120;
/// Below this a push may not go in.
const FREE_BYTES_MIN: u64 = 2 << 30;
/// Below this a node may not even write what it has counted.
const FREE_BYTES_NEEDED: u64 = 256 << 20;

/// The clock: whether it is believed, and who shows another time.
pub(super) fn clock<'a>(
    belief: Belief,
    peers: impl Iterator<Item = (&'a str, i64)>,
) -> Vec<Finding> {
    let about = "clock";
    let todo = "start a time service (chrony, systemd-timesyncd)";
    let mut findings = vec![match belief {
        Belief::Vouched | Belief::Synchronised | Belief::Agreed(_) => {
            Finding::ok(about, belief.to_string())
        }
        Belief::Unsupported => Finding::warning(about, belief, todo),
        Belief::InThePast | Belief::Contradicted(_) => Finding::fault(about, belief, todo),
    }];
    for (name, ahead_s) in peers {
        let off_s = ahead_s.unsigned_abs();
        if off_s > AGREEMENT_S {
            let way = if ahead_s > 0 { "ahead of" } else { "behind" };
            let says = format!("node {name} is {off_s} s {way} this node's");
            let todo = "one of the two is wrong: compare both with a clock";
            findings.push(Finding::warning(about, says, todo));
        }
    }
    findings
}

/// What the disk has left.
pub(super) fn disk(free_bytes: u64) -> Finding {
    let says = format!("{} MiB are free", free_bytes >> 20);
    let todo = "make room, or set [store] bytes_max so that old versions go first";
    if free_bytes < FREE_BYTES_NEEDED {
        Finding::fault("disk", says, todo)
    } else if free_bytes < FREE_BYTES_MIN {
        Finding::warning("disk", says, todo)
    } else {
        Finding::ok("disk", says)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_full_disk_is_told_before_it_is_full() {
        for (free, expected) in [
            (0, Grade::Fault),
            (FREE_BYTES_NEEDED - 1, Grade::Fault),
            (FREE_BYTES_NEEDED, Grade::Warning),
            (FREE_BYTES_MIN - 1, Grade::Warning),
            (FREE_BYTES_MIN, Grade::Ok),
            (u64::MAX, Grade::Ok),
        ] {
            assert_eq!(disk(free).grade, expected, "{free}");
        }
    }

    #[test]
    fn a_clock_is_judged_by_who_bears_it_out() {
        for (belief, expected) in [
            (Belief::Vouched, Grade::Ok),
            (Belief::Agreed(2), Grade::Ok),
            (Belief::Unsupported, Grade::Warning),
            (Belief::InThePast, Grade::Fault),
            (Belief::Contradicted(3), Grade::Fault),
        ] {
            let found = clock(belief, std::iter::empty());
            assert_eq!((found.len(), found[0].grade), (1, expected), "{belief}");
        }
        let peers = [("a", 120), ("b", 121), ("c", -3_456_000), ("d", i64::MIN)];
        let found = clock(Belief::Synchronised, peers.into_iter());
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert!(lines[1].contains("node b is 121 s ahead of"), "{lines:?}");
        assert!(lines[2].contains("node c is 3456000 s behind"), "{lines:?}");
    }
}
