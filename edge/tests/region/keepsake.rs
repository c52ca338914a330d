//! What an owner keeps of the seals that it saw, and what it then refuses.

use crate::harness::{VERGE, text};
use std::path::Path;
use std::process::Command;
use verge_edge::accounting::calendar::{Day, Month};
use verge_edge::accounting::figures::{
    BodyBytes, Class, Count, CreditBytes, NodeTotals, Row, WireBytes,
};
use verge_edge::accounting::seal::{HOURS, Previous, Seal};
use verge_edge::attribution::statement::seal_file;
use verge_sync::id::{NodeId, SiteId};

fn first_of_june() -> Day {
    "2030-06".parse::<Month>().unwrap().first_day()
}

fn seal(day: Day, previous: Option<&Seal>, requests: u64) -> Seal {
    let count = Count {
        requests,
        credit: CreditBytes(requests),
        body: BodyBytes(requests),
    };
    Seal {
        node: NodeId::from_bytes([3; 32]),
        day,
        epochs: (1, 1),
        rows: vec![Row {
            site: SiteId::from_bytes([7; 32]),
            class: Class::Answer,
            count,
        }],
        totals: NodeTotals {
            wire: WireBytes(requests),
            ..NodeTotals::default()
        },
        hours: [0; HOURS],
        uncredited: Count::default(),
        previous: previous.map(|before| Previous {
            day: before.day,
            digest: before.encode().digest(),
        }),
        is_behind_proxy: false,
    }
}

fn folder(of: &Path, name: &str, seals: &[&Seal]) -> String {
    let root = of.join(name);
    std::fs::create_dir_all(root.join("inputs/seals")).unwrap();
    for seal in seals {
        let (file, bytes) = seal_file(seal);
        std::fs::write(root.join(file), bytes).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

#[test]
fn an_owner_refuses_a_history_that_does_not_go_on_from_what_it_saw() {
    let of = tempfile::tempdir().unwrap();
    let first = seal(first_of_june(), None, 20);
    let second = seal(first_of_june().next(), Some(&first), 30);
    let other = seal(first_of_june(), None, 40);
    let exchanged = seal(first_of_june().next(), Some(&other), 30);
    let june = folder(of.path(), "june", &[&first]);
    let july = folder(of.path(), "july", &[&second]);
    let false_july = folder(of.path(), "false", &[&exchanged]);
    let nothing = folder(of.path(), "nothing", &[]);
    let file = of.path().join("seen");
    let file = file.to_str().unwrap();
    let keep = |folder: &str| {
        let words = ["ledger", "keep", folder, "--in", file];
        Command::new(VERGE).args(words).output().unwrap()
    };
    let refused = |folder: &str| {
        let output = keep(folder);
        assert!(!output.status.success(), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let said = keep(&june);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let before = std::fs::read_to_string(file).unwrap();
    let said = refused(&false_july);
    let node = NodeId::from_bytes([3; 32]).to_string();
    for words in ["has exchanged its history", "2030-06-01", &node] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), before);
    assert!(keep(&july).status.success());
    assert!(refused(&june).contains("older statement"));
    assert!(refused(&nothing).contains("0 seals"));
    std::fs::write(file, "something else\n").unwrap();
    assert!(refused(&july).contains("first line"));
}
