//! A month is closed by the providers of three nodes, and its statement is the same on each.

use crate::away::{by_way_of, move_key};
use crate::content::wipe_but;
use crate::harness::{Node, VERGE, text, verge};
use crate::month::{
    Street, believes_its_clock, has_seals, put_ahead, statement_of, verified, verify,
};
use crate::scene::{Newcomer, Region, refused, status, ticket};
use std::path::Path;
use std::process::Command;

#[test]
fn three_providers_close_a_month_and_have_the_same_statement() {
    let mut street = Street::of(3);
    let fees = street.fees("fees.csv", "12.00");
    let said = street.ask_refused(0, "close", &fees);
    assert!(said.contains("is not over"), "{said}");
    let (folder, said) = street.statement(1, "early", &fees);
    assert!(said.contains("is provisional"), "{said}");
    assert!(verified(&folder).contains("the month is not closed"));
    street.visits(&[(0, 30), (1, 60), (2, 25)]);
    street.month_ends();
    fees_that_cannot_be_are_refused_by_their_row(&street);
    let said = street.ask_ok(0, "close", &fees);
    assert!(said.contains("1 of 2 votes"), "{said}");
    street.has_votes(1, 1);
    street.has_votes(2, 1);
    // Others are not signed, and the key of one provider is in a drawer.
    let others = street.fees("others.csv", "12.01");
    let said = street.ask_refused(2, "sign", &others);
    assert!(said.contains("its fees come to 1200"), "{said}");
    let resalted = street.fees("resalted.csv", "12.00");
    let said = street.ask_refused(2, "sign", &resalted);
    assert!(said.contains("other salts"), "{said}");
    let b = &street.region.nodes[1];
    let key = move_key(b, street.region.folder.path());
    let month = street.month.to_string();
    by_way_of(&key, b, &["statement", "sign", &month, "--fees", &fees]);
    let mut texts = Vec::new();
    for number in 0..3 {
        street.has_votes(number, 2);
        street.region.all_in_step();
        let (folder, said) = street.statement(number, "closed", &fees);
        assert!(said.contains("is closed"), "{said}");
        let said = verified(&folder);
        assert!(said.contains("closed by 2 of 3 providers"), "{said}");
        assert!(said.contains("signed by node"), "{said}");
        texts.push(statement_of(&folder));
        changed_digits_are_found(&folder);
    }
    assert!(texts[0].contains("Closed by a majority"), "{}", texts[0]);
    assert!(texts[0].contains("Seals: 3"), "{}", texts[0]);
    assert!(texts[0].contains("Missing seals: none"), "{}", texts[0]);
    assert!(texts.iter().all(|text| *text == texts[0]));
    let said = street.ask_refused(2, "close", &others);
    assert!(said.contains("is closed already"), "{said}");
    // Whoever signs later adds a vote to the same; the copy of the fees is enough from then on.
    street.ask_ok(2, "sign", &fees);
    street.has_votes(0, 3);
    let out = street.region.folder.path().join("again");
    let arguments = ["statement", &month, "--out", out.to_str().unwrap()];
    street.region.nodes[2].verge_ok(&arguments);
    assert_eq!(statement_of(&out), texts[0]);
    assert!(verified(&out).contains("closed by 3 of 3 providers"));
}

fn fees_that_cannot_be_are_refused_by_their_row(street: &Street) {
    for (rows, what) in [
        ("ana,12.00\n", "\"ben\" has no row"),
        ("ana,-1\nben,0\n", "line 2"),
        ("ana,1\nben,0\nana,1\n", "line 4"),
        ("ana,1\nben,0\ncyd,1\n", "\"cyd\" is no account"),
    ] {
        let plain = street.file("wrong", &format!("owner,amount\n{rows}"));
        let salted = Command::new(VERGE)
            .args(["statement", "salt", &plain])
            .output();
        let salted = street.file("wrong.csv", &text(&salted.unwrap().stdout));
        let said = street.ask_refused(0, "close", &salted);
        assert!(said.contains(what), "{said}");
    }
    let said = street.ask_refused(0, "sign", "/nowhere/fees.csv");
    assert!(said.contains("nobody has proposed"), "{said}");
}

/// Every file that says something of the month; the signature and the close as well.
fn changed_digits_are_found(folder: &Path) {
    for name in [
        "statement.txt",
        "statement.json",
        "journal.hledger",
        "inputs/fees.csv",
        "statement.sig",
        "close.records",
    ] {
        let path = folder.join(name);
        let whole = std::fs::read_to_string(&path).unwrap();
        let at = whole
            .rfind(|char: char| ('2'..='6').contains(&char))
            .unwrap();
        let digit = whole.as_bytes()[at] + 1;
        let mut changed = whole.clone();
        changed.replace_range(at..=at, std::str::from_utf8(&[digit]).unwrap());
        std::fs::write(&path, changed).unwrap();
        assert!(!verify(folder).status.success(), "{name}");
        std::fs::write(&path, whole).unwrap();
    }
    verified(folder);
}

#[test]
fn two_sides_of_a_cut_close_one_of_two_and_a_wiped_disk_has_it_again() {
    let mut street = Street::of(3);
    let fees = street.fees("fees.csv", "12.00");
    let others = street.fees("others.csv", "11.00");
    street.visits(&[(0, 25), (1, 25), (2, 25)]);
    street.month_ends();
    let ids: Vec<String> = street
        .region
        .nodes
        .iter()
        .map(|node| status(node)["node"]["id"].as_str().unwrap().to_owned())
        .collect();
    for id in &ids[..2] {
        street.region.nodes[2].verge_ok(&["node", "block", id]);
    }
    street.ask_ok(0, "close", &fees);
    street.ask_ok(2, "close", &others);
    for id in &ids[..2] {
        street.region.nodes[2].verge_ok(&["node", "block", id, "--lift"]);
    }
    street.region.all_in_step();
    // Both are there; each finds one of them to be what it comes to.
    let said = street.ask_ok(1, "sign", &fees);
    assert!(said.contains("is closed"), "{said}");
    let month = street.month.to_string();
    for number in 0..3 {
        street.has_votes(number, 2);
    }
    let said = street.ask_refused(2, "close", &others);
    assert!(said.contains("is closed already"), "{said}");
    let out = street.region.folder.path().join("wrong");
    let arguments = ["statement", &month, "--fees", &others, "--out"];
    let arguments = [&arguments[..], &[out.to_str().unwrap()]].concat();
    let said = refused(street.region.nodes[2].data(), &arguments);
    assert!(said.contains("was closed with other fees"), "{said}");
    // It gives its own up.
    street.ask_ok(2, "sign", &fees);
    street.has_votes(0, 3);
    let (first, _) = street.statement(0, "first", &fees);
    wipe(&mut street);
    let (again, _) = street.statement(2, "again", &fees);
    assert_eq!(statement_of(&again), statement_of(&first));
    assert!(verified(&again).contains("closed by 3 of 3 providers"));
}

/// The third node loses all but its seed, and comes back.
fn wipe(street: &mut Street) {
    let region = &mut street.region;
    let ticket = ticket(&region.nodes[0]);
    let data = region.nodes[2].data().to_owned();
    region.nodes[2].stop();
    wipe_but(&data, &["seed"]);
    Newcomer::ask(&data, &ticket, None).becomes_a_member();
    put_ahead(&data, street.ahead_s);
    region.nodes[2] = Node::start(&data);
    region.all_in_step();
    believes_its_clock(&region.nodes[2]);
    has_seals(&region.nodes[2], 3);
}

#[test]
fn a_region_without_rules_about_money_and_one_with_a_time_of_its_own() {
    let region = Region::of(1);
    let node = &region.nodes[0];
    let policy = region.folder.path().join("policy.toml");
    std::fs::write(&policy, "[statement]\ncurrency = \"EUR\"\nrule = \"D\"\n").unwrap();
    let arguments = ["region", "propose", "--policy", policy.to_str().unwrap()];
    let said = refused(node.data(), &arguments);
    assert!(said.contains("line 3: rule \"D\""), "{said}");
    let out = region.folder.path().join("out");
    let arguments = ["statement", "2026-11", "--out", out.to_str().unwrap()];
    let said = refused(node.data(), &arguments);
    assert!(said.contains("says nothing of statements"), "{said}");
    assert!(!out.exists());
    let said = refused(node.data(), &["statement", "close", "2026-13"]);
    assert!(said.contains("is no month"), "{said}");
    let other = region.new_data("other");
    let arguments = [
        "init",
        "--region=Elm",
        "--provider=Corner",
        "--listen-http=127.0.0.1:0",
        "--listen-https=127.0.0.1:0",
        "--listen-ssh=127.0.0.1:0",
        "--listen-nodes=127.0.0.1:0",
        "--ca=local",
    ];
    assert!(verge(&other, &arguments).status.success());
    put_ahead(&other, 60);
    let said = verge(&other, &["serve"]);
    assert_eq!(said.status.code(), Some(78));
    assert!(text(&said.stderr).contains("no region for tests"));
}
