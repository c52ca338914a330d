//! Statements: the same bytes in every order, checked by hledger, and by anybody with the folder.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

use super::sample::{POLICY, books, folder, node, owner, sealed};
use super::*;
use crate::accounting::figures::Class;
use crate::accounting::seal::Previous;
use crate::attribution::cases::cases;
use crate::attribution::fees::FeeProof;
use crate::attribution::money::Cents;
use proptest::prelude::*;
use std::io::Write as _;
use std::process::{Command, Stdio};

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn a_statement_is_said_in_words() {
    let files = folder(&books());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "bill--ben---b--0b0b0b0b0b.html",
            "bill-ana-0a0a0a0a0a.html",
            "bill-cyd---co-0c0c0c0c0c.html",
            "inputs/fees.csv",
            "inputs/held.csv",
            "inputs/policy.toml",
            "inputs/region.json",
            "journal.hledger",
            "rows.csv",
            "statement.json",
            "statement.txt",
            "summary.html",
        ]
    );
    let text = text(&files, "statement.txt");
    let expected = include_str!("../../../../fixtures/statement/statement.txt");
    assert_eq!(text, expected, "{text}");
}

#[test]
fn pages_have_one_picture_and_no_script() {
    for (name, bytes) in folder(&books()) {
        let page = String::from_utf8(bytes).unwrap();
        if name.ends_with(".html") {
            assert_eq!(page.matches("<svg").count(), 1, "{name}");
            assert!(!page.contains("<script") && !page.contains("<b>"), "{name}");
            let links = page.matches("http").count();
            // The namespace, and the policy that forbids everything from elsewhere.
            assert_eq!(links, 2, "{name}");
        }
    }
}

#[test]
fn a_bill_has_the_line_by_which_its_fee_is_checked() {
    let books = books();
    let files = folder(&books);
    let page = text(&files, "bill-ana-0a0a0a0a0a.html");
    let line = page
        .split("VERGE-FEE1:")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let proof: FeeProof = format!("VERGE-FEE1:{line}").parse().unwrap();
    assert_eq!(proof.root(), Some(books.fees.root()));
    assert_eq!((proof.owner, proof.fee.cents), (owner(0), Cents(500)));
}

#[test]
fn small_figures_are_not_public() {
    let page = text(&folder(&books()), "summary.html");
    assert!(
        page.contains("4 providers served fewer than 10 sites or 1000 requests"),
        "{page}"
    );
    assert!(!page.contains("ana") && !page.contains("garden"));
}

/// hledger's own check of the journal, with every policy, currency and name.
#[test]
fn hledger_balances_every_journal() {
    for policy in [
        POLICY.to_owned(),
        POLICY.replace("[[", "rule = \"A\"\n[["),
        POLICY.replace("[[", "rule = \"B\"\n[["),
        POLICY.replace("[[", "rule = \"G\"\n[["),
        POLICY.replace("EUR", "JPY"),
        POLICY.replace("EUR", "KWD"),
        "[statement]\ncurrency = \"AUD\"\nsplit = { deliver = 100, hold = 0, care = 0, commons = 0 }".to_owned(),
    ] {
        let mut books = books();
        books.policy = policy;
        let statement = Statement::of(&books).unwrap();
        let journal = text(&statement.files(), "journal.hledger");
        hledger(&["check"], &journal);
        let balances = hledger(&["balance", "--flat", "--no-total", "-O", "csv"], &journal);
        assert!(!balances.contains("pool:"), "{balances}");
        let currency = statement.policy.currency;
        let fund = format!("\"commons\",\"{}\"", currency.show(statement.attribution.commons));
        let has_fund = statement.attribution.commons.0 > 0;
        assert_eq!(balances.contains(&fund), has_fund, "{balances}");
        for (id, share) in &statement.attribution.providers {
            let account = format!("{}:deliver\",\"{}\"", id.short(), currency.show(share.deliver));
            assert_eq!(balances.contains(&account), share.deliver.0 > 0, "{balances} {account}");
        }
    }
}

#[test]
fn hledger_refuses_a_journal_with_a_changed_cent() {
    let journal = text(&folder(&books()), "journal.hledger");
    let changed = journal.replacen("-5.00", "-5.01", 1);
    assert_ne!(journal, changed);
    assert!(!run_hledger(&["check"], &changed).status.success());
}

fn run_hledger(arguments: &[&str], journal: &str) -> std::process::Output {
    let mut hledger = Command::new("hledger")
        .args(["-f", "-"])
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hledger is installed: make setup-test");
    let mut stdin = hledger.stdin.take().unwrap();
    stdin.write_all(journal.as_bytes()).unwrap();
    drop(stdin);
    hledger.wait_with_output().unwrap()
}

fn hledger(arguments: &[&str], journal: &str) -> String {
    let output = run_hledger(arguments, journal);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{journal}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_wrong_with_seals_is_named() {
    let refused = |change: fn(&mut Books)| {
        let mut books = books();
        change(&mut books);
        Statement::of(&books).map(drop).unwrap_err().to_string()
    };
    let words = refused(|books| {
        books.earlier.insert(books.seals[0].digest);
    });
    assert!(
        words.ends_with("2026-11-02, is in the statement of an earlier month"),
        "{words}"
    );
    let words = refused(|books| books.seals.push(sealed(0, 30, &[])));
    assert!(
        words.ends_with("is of 2026-12-01, which is after 2026-11"),
        "{words}"
    );
    let words = refused(|books| {
        books.nodes.remove(&node(4));
    });
    assert!(
        words.ends_with("of which it is not said whose it is"),
        "{words}"
    );
    let words = refused(|books| books.policy = POLICY.replace("19", "101"));
    assert!(
        words.starts_with("the policy, line 6: 101 is no percentage"),
        "{words}"
    );
}

#[test]
fn what_a_reader_should_know_is_noted() {
    let mut books = books();
    let late = {
        let mut late = sealed(1, 0, &[(0, Class::Answer, 50, 1 << 20)]);
        late.seal.day = Day::new(late.seal.day.number() - 1).unwrap();
        late.digest = late.seal.encode().digest();
        late
    };
    let mut other = sealed(
        1,
        1,
        &[
            (0, Class::Answer, 90, 90 << 20),
            (1, Class::Answer, 25, 3 << 20),
        ],
    );
    other.seal.previous = Some(Previous {
        day: Day::new(other.seal.day.number() - 1).unwrap(),
        digest: Digest::of(b"nobody has it"),
    });
    other.digest = other.seal.encode().digest();
    let mut proxied = sealed(2, 9, &[(9, Class::Answer, 50, 1 << 20)]);
    proxied.seal.is_behind_proxy = true;
    proxied.digest = proxied.seal.encode().digest();
    books.seals.extend([late, other, proxied]);
    let statement = Statement::of(&books).unwrap();
    assert_eq!(
        statement.notes(),
        [
            "node 3333333333, 2026-10-31: came late and counts in this month",
            "node 3333333333, 2026-11-02: the node signed different seals; of each figure the smaller \
             counts",
            "node 3434343434, 2026-11-10: counts what was delivered to a proxy",
            "node 3434343434, 2026-11-10: 1 sites have no owner any more and are not credited",
            "provider 6464646464 (Corner Workshop): 57.4 % of what it says it served is above the cap \
             and not credited",
            "provider 6666666666 (North; Street:  Co-op): 28.1 % of what it says it served is above \
             the cap and not credited",
            "provider 6767676767 (Mill): 99.0 % of what it says it served is above the cap and not \
             credited",
            "account 0c0c0c0c0c (cyd & co) paid nothing and has 2 sites and 120.3 % of the free units",
        ]
    );
    assert_eq!(statement.missing, ["node 3333333333, 2026-11-01"]);
    // 20 MiB of the first seal and 90 of the second: 20; and one that came late.
    let served = &statement.served[&sample::site(0)][&sample::provider(1)];
    assert_eq!(*served, (21 << 20) + (90 + 50) * 512);
    books.providers.pop_last();
    books.nodes.retain(|_, of| books.providers.contains_key(of));
    books
        .seals
        .retain(|sealed| books.nodes.contains_key(&sealed.seal.node));
    let notes = Statement::of(&books).unwrap().notes;
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("with 3 providers nothing bounds")),
        "{notes:?}"
    );
}

#[test]
fn a_folder_is_verified_without_a_node() {
    let books = books();
    let files = folder(&books);
    let seals: Vec<SealedDay> = books
        .seals
        .iter()
        .map(|sealed| {
            let (name, bytes) = seal_file(&sealed.seal);
            read_seal(&name, &bytes).unwrap()
        })
        .collect();
    assert_eq!(seals, books.seals);
    assert_eq!(read_inputs(&files, seals.clone()).unwrap(), books);
    let digest = verify(&files, seals.clone()).unwrap();
    assert_eq!(digest, Digest::of(&files["statement.txt"]));

    let mut fewer = files.clone();
    fewer.remove("rows.csv");
    let words = verify(&fewer, seals.clone()).unwrap_err().to_string();
    assert_eq!(words, "rows.csv is not there");
    let mut more = files.clone();
    more.insert("bill-dora.html".to_owned(), Vec::new());
    let words = verify(&more, seals.clone()).unwrap_err().to_string();
    assert_eq!(words, "bill-dora.html is not a file of this statement");
    let words = verify(&files, seals[1..].to_vec()).unwrap_err().to_string();
    assert!(words.contains("differs at line"), "{words}");
}

/// Every single digit of every file, outputs and inputs alike.
#[test]
fn one_changed_digit_is_found() {
    let books = books();
    let files = folder(&books);
    for (name, bytes) in &files {
        let digits = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| byte.is_ascii_digit());
        // Each seventh meets every kind of figure, seven times as fast.
        for (at, digit) in digits.step_by(7) {
            let mut changed = files.clone();
            changed.get_mut(name).unwrap()[at] = if *digit == b'9' { b'8' } else { digit + 1 };
            let found = verify(&changed, books.seals.clone());
            assert!(found.is_err(), "{name} at {at}");
        }
    }
    let (name, bytes) = seal_file(&books.seals[0].seal);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        if let Ok(sealed) = read_seal(&name, &changed) {
            let mut seals = books.seals.clone();
            seals[0] = sealed;
            assert!(verify(&files, seals).is_err(), "seal byte {at}");
        }
    }
}

#[test]
fn a_difference_is_shown_by_its_line() {
    let books = books();
    let mut files = folder(&books);
    let rows = text(&files, "rows.csv").replacen(",700,", ",701,", 1);
    files.insert("rows.csv".to_owned(), rows.into_bytes());
    let words = verify(&files, books.seals).unwrap_err().to_string();
    assert!(
        words.starts_with("rows.csv differs at line 2: it says \""),
        "{words}"
    );
    files.insert("inputs/region.json".to_owned(), b"{}".to_vec());
    let words = verify(&files, Vec::new()).unwrap_err().to_string();
    assert_eq!(
        words,
        "inputs/region.json: missing field `format` at line 1 column 2"
    );
}

proptest! {
    #![proptest_config(cases(100))]

    /// Seals in any order, some of them twice; all else is in maps.
    #[test]
    fn the_order_of_inputs_is_irrelevant(
        order in Just((0..6_usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in prop::collection::vec(0..6_usize, 0..4),
    ) {
        let expected = folder(&books());
        let mut other = books();
        let all = other.seals.clone();
        other.seals = order.into_iter().chain(twice).map(|index| all[index].clone()).collect();
        let files = folder(&other);
        prop_assert_eq!(files, expected);
    }

    /// Seals that came when they did, two months that close one after the other: what is in the first
    /// is refused in the second, and the rest is in it.
    #[test]
    fn no_seal_is_in_two_statements(arrived in prop::collection::vec(any::<bool>(), 6)) {
        let mut first = books();
        let all = first.seals.clone();
        first.seals = all.iter().zip(&arrived).filter(|(_, in_time)| **in_time).map(|(seal, _)| seal.clone()).collect();
        let of_first: Vec<Digest> = Statement::of(&first).unwrap().seals.iter().map(|seal| seal.2).collect();
        let mut second = books();
        second.month = "2026-12".parse().unwrap();
        second.earlier = of_first.iter().copied().collect();
        for sealed in &all {
            second.seals = vec![sealed.clone()];
            let is_refused = Statement::of(&second).is_err();
            prop_assert_eq!(is_refused, of_first.contains(&sealed.digest));
        }
        second.seals = all.iter().filter(|sealed| !second.earlier.contains(&sealed.digest)).cloned().collect();
        let late = Statement::of(&second).unwrap();
        let lines = late.notes.iter().filter(|note| note.contains("came late")).count();
        prop_assert_eq!(lines, late.seals.len());
        prop_assert_eq!(late.seals.len() + of_first.len(), all.len());
    }
}
