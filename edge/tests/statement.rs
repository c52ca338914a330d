//! `verge policy` and `verge statement`, without a node: what people type, and what they read.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/statement")
}

/// What it prints and whether it succeeds; both outputs together.
fn verge(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_verge"))
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A statement of the fixture's inputs, in a folder that ends with the test.
fn made() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("2026-11").to_str().unwrap().to_owned();
    let (is_made, said) = verge(&["statement", "make", fixture().to_str().unwrap(), &to]);
    assert!(is_made, "{said}");
    assert!(
        said.contains("2026-11 is closed") && said.contains("\nnote: "),
        "{said}"
    );
    (dir, to)
}

/// The bytes of the fixture are kept for ever: that a later release comes to them is what makes old
/// statements verifiable.
#[test]
fn a_statement_comes_out_as_it_always_did() {
    let (_dir, to) = made();
    let [expected, found] = [fixture(), PathBuf::from(&to)]
        .map(|dir| fs::read_to_string(dir.join("statement.txt")).unwrap());
    assert_eq!(found, expected);
    let (is_right, said) = verge(&["statement", "verify", &to]);
    assert!(
        is_right && said.contains("is what 6 seals come to"),
        "{said}"
    );
    let (is_made, said) = verge(&["statement", "make", &to, &to]);
    assert!(
        !is_made && said.contains("is there already: name a folder that is not"),
        "{said}"
    );
}

#[test]
fn a_changed_digit_is_named() {
    let (_dir, to) = made();
    let path = Path::new(&to).join("statement.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replacen("\"commons\": 67", "\"commons\": 68", 1),
    )
    .unwrap();
    let (is_right, said) = verge(&["statement", "verify", &to]);
    assert!(!is_right);
    assert!(
        said.contains("is not what its seals come to: statement.json differs at line "),
        "{said}"
    );
    assert!(said.contains("68") && said.contains("67"), "{said}");
}

#[test]
fn a_folder_with_something_else_in_it_is_refused() {
    let (_dir, to) = made();
    fs::write(Path::new(&to).join("note.txt"), "mine").unwrap();
    let (is_right, said) = verge(&["statement", "verify", &to]);
    assert!(
        !is_right && said.contains("note.txt is not a file of this statement"),
        "{said}"
    );
    fs::remove_file(Path::new(&to).join("note.txt")).unwrap();
    fs::create_dir(Path::new(&to).join("mine")).unwrap();
    let (is_right, said) = verge(&["statement", "verify", &to]);
    assert!(
        !is_right && said.contains("mine is not a file of a statement"),
        "{said}"
    );
    let (is_right, said) = verge(&["statement", "verify", "/nowhere"]);
    assert!(!is_right && said.contains("read /nowhere"), "{said}");
}

#[test]
fn fees_get_salts_and_bad_rows_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let fees = dir.path().join("fees.csv");
    let path = fees.to_str().unwrap();
    fs::write(
        &fees,
        "owner,amount\nana,7.00\n\"=ben, \"\"b\"\"\",3.33\ncyd & co,0\n",
    )
    .unwrap();
    let make = |to: &str| {
        let to = dir.path().join(to);
        verge(&[
            "statement",
            "make",
            fixture().to_str().unwrap(),
            to.to_str().unwrap(),
            "--fees",
            path,
        ])
    };
    let (is_made, said) = make("one");
    assert!(
        !is_made && said.contains("line 2 of the fees: the row has no salt"),
        "{said}"
    );
    let (is_salted, salted) = verge(&["statement", "salt", path]);
    assert!(is_salted && salted.lines().count() == 4, "{salted}");
    assert_ne!(salted, verge(&["statement", "salt", path]).1);
    fs::write(&fees, &salted).unwrap();
    assert_eq!(salted, verge(&["statement", "salt", path]).1);
    let (is_made, said) = make("two");
    assert!(is_made, "{said}");
    fs::write(&fees, salted.replace("7.00", "-7.00")).unwrap();
    let (is_made, said) = make("three");
    assert!(
        !is_made && said.contains("line 2 of the fees: -7.00 is less than nothing"),
        "{said}"
    );
    assert!(!dir.path().join("three").exists());
}

#[test]
fn the_line_of_a_bill_shows_its_fee() {
    let (_dir, to) = made();
    let page = fs::read_to_string(Path::new(&to).join("bill-ana-0a0a0a0a0a.html")).unwrap();
    let line = page
        .split("<code>")
        .find(|part| part.starts_with("VERGE-FEE1:"))
        .unwrap();
    let line = line.split('<').next().unwrap();
    let statement = fs::read_to_string(Path::new(&to).join("statement.txt")).unwrap();
    let root = statement.split("root of their rows  ").nth(1).unwrap();
    let root = root.split_whitespace().next().unwrap();
    let (is_shown, said) = verge(&["statement", "fee", line, "--root", root]);
    assert!(
        is_shown && said.contains("paid 500 of the smallest unit"),
        "{said}"
    );
    let (is_shown, said) = verge(&["statement", "fee", line, "--root", &root.replace('a', "b")]);
    assert!(
        !is_shown && said.contains("the line is of fees with the root"),
        "{said}"
    );
    assert!(!verge(&["statement", "fee", "VERGE-FEE1:00"]).0);
}

#[test]
fn a_policy_is_said_in_words_or_refused_by_its_line() {
    let policy = fixture().join("inputs/policy.toml");
    let (is_fine, said) = verge(&["policy", "check", policy.to_str().unwrap()]);
    assert!(is_fine, "{said}");
    assert!(
        said.contains("Of each fee 19 % is taken first as VAT, rounded down."),
        "{said}"
    );
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("policy.toml");
    let path = other.to_str().unwrap();
    for (text, expected) in [
        (
            "[statement]\ncurrency = \"EUR\"\n[statement.split]\ndeliver = 60\nhold = 20\ncare = 20\ncommons = 10",
            "line 3: [statement.split] deliver 60 + hold 20 + care 20 + commons 10 is 110 per cent, not 100",
        ),
        (
            "replica_count_min = 0\n[statement]\ncurrency = \"EUR\"",
            "replica_count_min must be a number",
        ),
        ("", "line 1: the policy says nothing of statements"),
    ] {
        fs::write(&other, text).unwrap();
        let (is_fine, said) = verge(&["policy", "check", path]);
        assert!(!is_fine && said.contains(expected), "{said}");
    }
    fs::write(&other, " ".repeat((64 << 10) + 1)).unwrap();
    let (is_fine, said) = verge(&["policy", "check", path]);
    assert!(
        !is_fine && said.contains("has more than 65536 bytes"),
        "{said}"
    );
}

#[test]
fn a_row_of_a_seal_is_shown_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let seals = fixture().join("inputs/seals");
    let seal = seals.join("2026-11-02-3333333333-0d8f33e764.seal");
    let proof = dir.path().join("row.proof");
    let (seal, proof) = (seal.to_str().unwrap(), proof.to_str().unwrap());
    let (is_shown, said) = verge(&["ledger", "prove", seal, "c9c9c9", proof]);
    assert!(
        is_shown && said.contains("25 answers, 3145728 credit bytes"),
        "{said}"
    );
    assert!(fs::metadata(proof).unwrap().len() < 1_024);
    let name = said
        .lines()
        .find_map(|line| line.strip_prefix("seal "))
        .unwrap();
    assert!(name.starts_with("0d8f33e764"));
    let (is_right, again) = verge(&["ledger", "verify", proof, "--seal", name]);
    assert!(is_right);
    assert_eq!(again, said);
    let (is_right, said) = verge(&["ledger", "verify", proof, "--seal", &name.replace('0', "1")]);
    assert!(
        !is_right && said.contains("the proof is of the seal 0d8f33e764"),
        "{said}"
    );
    let mut bytes = fs::read(proof).unwrap();
    let row = bytes
        .windows(4)
        .position(|bytes| *bytes == [0xc9; 4])
        .unwrap();
    bytes[row] ^= 1;
    fs::write(proof, bytes).unwrap();
    let (is_right, said) = verge(&["ledger", "verify", proof]);
    assert!(
        !is_right && said.contains("does not have this row"),
        "{said}"
    );
    let (is_shown, said) = verge(&["ledger", "prove", seal, "ffff", proof]);
    assert!(
        !is_shown && said.contains("has no row of a site that begins with \"ffff\""),
        "{said}"
    );
}
