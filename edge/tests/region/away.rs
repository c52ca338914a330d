//! The provider's key off the node: what it has to sign goes out as a line and comes back as one.

use crate::harness::{Node, Publisher, VERGE, page, text};
use crate::scene::{Newcomer, Region, last_line, refused, status, wait};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Moves the key of a running node away, and gives the file.
pub(crate) fn move_key(node: &Node, folder: &Path) -> PathBuf {
    let file = folder.join(format!(
        "key-{}",
        &status(node)["provider"]["id"].as_str().unwrap()[..8]
    ));
    node.verge_ok(&["provider", "key", "move", file.to_str().unwrap()]);
    assert!(!node.data().join("provider.key").exists());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(status(node)["has_provider_key"], false);
    file
}

fn sign(key: &Path, line: &str) -> Output {
    let mut command = Command::new(VERGE);
    command.args(["provider", "sign", "--yes", "--key"]);
    command.arg(key).arg(line).output().unwrap()
}

/// The line that a command asks to be signed, and what stands before it.
fn asks(node: &Node, arguments: &[&str]) -> (String, String) {
    let output = node.verge(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("provider's key is not on this node"),
        "{said}"
    );
    let shown = text(&output.stdout);
    let line = last_line(&shown);
    assert!(line.starts_with("VERGE-SIGN1"), "{shown}");
    (line, shown)
}

fn signed(key: &Path, line: &str) -> String {
    let output = sign(key, line);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let line = last_line(&text(&output.stdout));
    assert!(line.starts_with("VERGE-RECORD1"), "{line}");
    line
}

/// Asks, signs, and takes in; gives what the last said.
pub(crate) fn by_way_of(key: &Path, node: &Node, arguments: &[&str]) -> String {
    let (line, _) = asks(node, arguments);
    node.verge_ok(&["record", "add", &signed(key, &line)])
}

#[test]
fn account_is_made_with_the_key_in_a_drawer_and_can_push() {
    let region = Region::of(1);
    let node = &region.nodes[0];
    let key = move_key(node, region.folder.path());
    let ana = Publisher::new();
    let add = ["account", "add", "ana", "--ssh-key", &ana.public_key()];
    let (line, shown) = asks(node, &add);
    assert!(shown.contains("a new account \"ana\""), "{shown}");
    assert!(
        shown.contains(status(node)["region"]["id"].as_str().unwrap()),
        "{shown}"
    );
    assert_eq!(
        asks(node, &add).0,
        line,
        "asked for twice it is one request"
    );
    assert!(!node.verge_ok(&["account", "list"]).contains("ana"));
    let record = signed(&key, &line);
    let said = node.verge_ok(&["record", "add", &record]);
    assert!(said.contains("account ana added, with its name"), "{said}");
    let said = node.verge_ok(&["record", "add", &record]);
    assert!(said.contains("was here before"), "{said}");
    node.verge_ok(&["site", "create", "garden", "--owner", "ana"]);
    ana.write("index.html", "<p>here");
    ana.commit("one");
    ana.push_ok(node, "garden", "main");
    assert_eq!(
        page(node, "garden.sites.localhost", "/").unwrap(),
        b"<p>here"
    );

    let said = by_way_of(&key, node, &["account", "set", "ana", "--acts", "none"]);
    assert!(said.contains("is here now"), "{said}");
    ana.commit("two");
    assert!(
        ana.push_refused(node, "garden", "main")
            .contains("lets no node")
    );
    by_way_of(&key, node, &["account", "set", "ana", "--acts", "all"]);
    ana.push_ok(node, "garden", "main");

    by_way_of(&key, node, &["site", "takedown", "garden"]);
    wait(node, |status| status["site_count"] == 1);
    by_way_of(&key, node, &["site", "takedown", "garden", "--lift"]);
    let delete = ["site", "delete", "garden", "--confirm", "garden"];
    let (line, shown) = asks(node, &delete);
    assert!(
        shown.contains("for ever") && shown.contains("site garden"),
        "{shown}"
    );
    node.verge_ok(&["record", "add", &signed(&key, &line)]);
    assert_eq!(status(node)["site_count"], 0);
    assert!(status(node)["evidence"].as_array().unwrap().is_empty());
}

#[test]
fn steps_votes_nodes_and_leaving_are_signed_elsewhere_too() {
    let mut region = Region::of(2);
    let keys = [0, 1].map(|index| move_key(&region.nodes[index], region.folder.path()));
    // Without it also after a restart, which finds another port here: that is to be signed too.
    region.nodes[0].stop();
    region.nodes[0].restart();
    let moved = last_line(&region.nodes[0].verge_ok(&["node", "list"]));
    region.nodes[0].verge_ok(&["record", "add", &signed(&keys[0], &moved)]);
    assert!(
        !region.nodes[0]
            .verge_ok(&["node", "list"])
            .contains("VERGE-SIGN1")
    );
    region.all_in_step();
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let said = by_way_of(&keys[0], a, &["region", "propose", "--name=Elm Street"]);
    assert!(said.contains("1 of 2 votes"), "{said}");
    let pending = wait(b, |status| {
        !status["pending_steps"].as_array().unwrap().is_empty()
    });
    let id = pending["pending_steps"][0]["id"].as_str().unwrap()[..8].to_owned();
    let (line, shown) = asks(b, &["region", "sign", &id]);
    assert!(
        shown.contains("a vote for") && shown.contains("Elm Street"),
        "{shown}"
    );
    // The record goes in at any node.
    let said = a.verge_ok(&["record", "add", &signed(&keys[1], &line)]);
    assert!(said.contains("holds now"), "{said}");
    wait(b, |status| status["region"]["name"] == "Elm Street");

    // A further node of the second.
    let ticket = last_line(&b.verge_ok(&["node", "add"]));
    let data = region.new_data("shed");
    let mut newcomer = Newcomer::ask(&data, &ticket, None);
    newcomer.reads("wait until the provider's key has signed");
    let b = &region.nodes[1];
    let waiting = wait(b, |status| !status["asking"].as_array().unwrap().is_empty());
    assert!(
        waiting["asking"][0]
            .as_str()
            .unwrap()
            .contains("verge node list")
    );
    let line = last_line(&b.verge_ok(&["node", "list"]));
    b.verge_ok(&["record", "add", &signed(&keys[1], &line)]);
    newcomer.becomes_a_member();
    assert!(!b.verge_ok(&["node", "list"]).contains("VERGE-SIGN1"));
    region.nodes.push(Node::start(&data));
    region.all_in_step();
    by_way_of(&keys[1], &region.nodes[1], &["node", "withdraw", "node"]);
    wait(&region.nodes[2], |status| status["is_member"] == false);

    by_way_of(&keys[1], &region.nodes[1], &["provider", "leave", "--yes"]);
    wait(&region.nodes[1], |status| status["is_member"] == false);
}

#[test]
fn what_is_not_to_be_signed_or_taken_in_says_why() {
    let region = Region::of(1);
    let other = Region::of(1);
    let (node, folder) = (&region.nodes[0], region.folder.path());
    let moving = |file: &Path| {
        refused(
            node.data(),
            &["provider", "key", "move", file.to_str().unwrap()],
        )
    };
    let taken = folder.join("taken");
    std::fs::write(&taken, "mine").unwrap();
    assert!(moving(&taken).contains("is there already"));
    assert!(moving(&node.data().join("key")).contains("in the data directory"));
    assert!(moving(&folder.join("nowhere/key")).contains("look at the folder"));
    assert!(node.data().join("provider.key").exists());
    let key = move_key(node, folder);
    assert!(moving(&folder.join("again")).contains("no provider's key to move"));

    let ana = Publisher::new();
    let add = |name| ["account", "add", name, "--ssh-key", &ana.public_key()].map(str::to_owned);
    let asks_for = |name| asks(node, &add(name).each_ref().map(String::as_str)).0;
    let (line, rival) = (asks_for("ana"), asks_for("ben"));
    let not_signed = |key: &Path, line: &str| {
        let output = sign(key, line);
        assert!(!output.status.success());
        assert!(!text(&output.stdout).contains("VERGE-RECORD1"));
        text(&output.stderr)
    };
    assert!(not_signed(&key, &line[..line.len() - 1]).contains("cut off"));
    assert!(not_signed(&key, "hello").contains("VERGE-SIGN1"));
    let others_key = other.nodes[0].data().join("provider.key");
    assert!(not_signed(&others_key, &line).contains("asks for the signature of provider"));
    assert!(not_signed(&node.data().join("config.toml"), &line).contains("can be read by others"));
    assert!(not_signed(&folder.join("nowhere"), &line).contains("nowhere"));
    // Nobody is there to be asked.
    let mut unasked = Command::new(VERGE);
    unasked
        .args(["provider", "sign", "--key"])
        .arg(&key)
        .arg(&line);
    let output = unasked.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(text(&output.stderr).contains("--yes") && text(&output.stdout).contains("ana"));

    let record = signed(&key, &line);
    let adding = |data: &Path, line: &str| refused(data, &["record", "add", line]);
    assert!(adding(node.data(), &record[..record.len() - 8]).contains("cut off"));
    assert!(adding(node.data(), &line).contains("waits for a signature"));
    assert!(not_signed(&key, &record).contains("signed already"));
    assert!(adding(other.nodes[0].data(), &record).contains("another region"));
    node.verge_ok(&["record", "add", &record]);
    // The same place was asked for before; the account that has it stays, and the other asks again.
    let said = adding(node.data(), &signed(&key, &rival));
    assert!(said.contains("run the command again"), "{said}");
    let again = signed(&key, &asks_for("ben"));
    node.verge_ok(&["record", "add", &again]);
    let listed = node.verge_ok(&["account", "list"]);
    assert!(listed.contains("ana") && listed.contains("ben"), "{listed}");
    assert!(status(node)["evidence"].as_array().unwrap().is_empty());
}

#[test]
fn account_whose_name_was_given_away_meanwhile_gets_another() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let key = move_key(a, region.folder.path());
    let (first, second) = (Publisher::new(), Publisher::new());
    let add = |publisher: &Publisher, name: &str| {
        ["account", "add", name, "--ssh-key", &publisher.public_key()].map(str::to_owned)
    };
    let (line, _) = asks(a, &add(&first, "ana").each_ref().map(String::as_str));
    b.verge_ok(&add(&second, "ana").each_ref().map(String::as_str));
    wait(a, |status| {
        status["record_count"] == self::status(b)["record_count"]
    });
    let said = a.verge_ok(&["record", "add", &signed(&key, &line)]);
    assert!(
        said.contains("no name yet") && said.contains("taken"),
        "{said}"
    );
    // Nothing is asked for a second time: the account is there.
    let said = a.verge_ok(&add(&first, "anna").each_ref().map(String::as_str));
    assert!(said.contains("account anna added"), "{said}");
    let listed = a.verge_ok(&["account", "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    a.verge_ok(&["site", "create", "garden", "--owner", "anna"]);
}
