//! Accounts that sign for themselves: the publisher's machine signs, a node only carries it.

use crate::harness::{Node, Publisher, VERGE, block_on, page, text};
use crate::scene::{Region, last_line, refused, status, wait};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use verge_edge::node_keys::NodeKeys;
use verge_edge::region::RegionView;
use verge_sync::keys::ProviderKey;
use verge_sync::net::row;
use verge_sync::record::{Draft, Envelope, Kind, LogId, SEQUENCE_MAX, Subject};
use verge_sync::store::{LocalDisk, Store};

const HOST: &str = "garden.sites.localhost";

/// The account ana with the site garden, whose own key signs and which lets nobody act.
fn ana(node: &Node) -> Publisher {
    let publisher = Publisher::with_site(node, "ana", "garden");
    let public = publisher.public_key();
    node.verge_ok(&["account", "set", "ana", "--add-signing-key", &public]);
    node.verge_ok(&["account", "set", "ana", "--acts", "none"]);
    publisher
}

fn private_key(publisher: &Publisher) -> PathBuf {
    publisher.work().with_file_name("key")
}

/// The publisher's `verge`, where the repository is.
fn at_home(publisher: &Publisher, program: &[&str], arguments: &[&str]) -> Output {
    let git = publisher.git(&[]);
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(arguments);
    command.current_dir(publisher.work());
    for (name, value) in git.get_envs() {
        command.env(name, value.unwrap());
    }
    command.output().unwrap()
}

/// `verge deploy` by push, signed with `key`.
fn deploy(publisher: &Publisher, node: &Node, key: &Path) -> Output {
    let url = Publisher::url(node, "garden");
    let key = key.to_str().unwrap();
    let arguments = ["deploy", "--remote", &url, "--sign-with", key, "--yes"];
    at_home(publisher, &[VERGE], &arguments)
}

fn deploy_ok(publisher: &Publisher, node: &Node, key: &Path) -> String {
    let output = deploy(publisher, node, key);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

/// A push with an option beside it; gives what the pusher saw.
fn push_with(publisher: &Publisher, url: &str, option: &str, refspec: &str) -> Output {
    let push = ["push", "-o", option, url, refspec];
    publisher.git(&push).output().unwrap()
}

/// The line that the node asks to be signed for what is checked out.
fn asked_line(publisher: &Publisher, url: &str) -> String {
    let output = push_with(publisher, url, "verge-sign", "+HEAD:refs/heads/main");
    assert!(!output.status.success());
    line_in(&text(&output.stderr))
}

fn line_in(said: &str) -> String {
    let line = verge_edge::signing::to_sign_in(said);
    line.unwrap_or_else(|| panic!("no line to be signed: {said}"))
        .to_owned()
}

fn signed(key: &Path, line: &str) -> String {
    let mut command = Command::new(VERGE);
    command.args(["account", "sign", "--yes", "--key"]);
    let output = command.arg(key).arg(line).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    last_line(&text(&output.stdout))
}

#[test]
fn site_whose_account_lets_nobody_act_is_published_by_its_own_key() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = ana(a);
    let key = private_key(&publisher);
    publisher.write("index.html", "<p>one");
    publisher.commit("one");
    let said = publisher.push_refused(a, "garden", "main");
    assert!(said.contains("verge deploy --sign-with KEY"), "{said}");
    let said = deploy_ok(&publisher, a, &key);
    assert!(said.contains("is live") && said.contains(HOST), "{said}");
    assert!(
        !said.contains("VERGE-") && !said.contains("rejected"),
        "{said}"
    );
    assert_eq!(page(a, HOST, "/").unwrap(), b"<p>one");
    // Its branch is where it should be, and the next push by any node continues it.
    let branch = publisher.git_ok(&["ls-remote", &Publisher::url(a, "garden"), "refs/heads/main"]);
    let head = publisher.git_ok(&["rev-parse", "HEAD"]);
    assert!(branch.starts_with(head.trim()), "{branch}");
    wait(b, |status| status["published_count"] == 1);
    crate::history::follows(b, a);
    publisher.write("index.html", "<p>two");
    publisher.commit("two");
    deploy_ok(&publisher, b, &key);
    wait(a, |status| status["deploy_count"] == 2);

    // By an agent that alone has the key, and by a raw key.
    let public = publisher.work().with_file_name("elsewhere.pub");
    std::fs::copy(publisher.public_key(), &public).unwrap();
    publisher.write("index.html", "<p>three");
    publisher.commit("three");
    let script = format!(
        "ssh-add -q {} && exec {VERGE} deploy --remote {} --yes --sign-with {}",
        key.display(),
        Publisher::url(b, "garden"),
        public.display()
    );
    let output = at_home(&publisher, &["ssh-agent", "sh"], &["-c", &script]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(page(b, HOST, "/").unwrap(), b"<p>three");
    let raw = publisher.work().with_file_name("raw");
    std::fs::write(&raw, [7; 32]).unwrap();
    std::fs::set_permissions(&raw, std::fs::Permissions::from_mode(0o600)).unwrap();
    let half = publisher.work().with_file_name("raw.pub");
    let id = ProviderKey::from_bytes(&[7; 32]).provider();
    std::fs::write(&half, id.to_string()).unwrap();
    let add = ["account", "set", "ana", "--add-signing-key"];
    let with = ["--yes", "--sign-with", key.to_str().unwrap()];
    b.verge_ok(&[&add[..], &[half.to_str().unwrap()], &with].concat());
    publisher.write("index.html", "<p>four");
    publisher.commit("four");
    deploy_ok(&publisher, b, &raw);
    assert_eq!(page(b, HOST, "/").unwrap(), b"<p>four");
    // Nothing to sign where nothing changes.
    publisher.commit("nothing");
    assert!(deploy_ok(&publisher, b, &raw).contains("nothing changed"));
    // On the machine of the node, without git.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<p>five").unwrap();
    let arguments = ["deploy", "--site=garden", folder.path().to_str().unwrap()];
    assert!(refused(a.data(), &arguments).contains("lets no node of this provider act"));
    crate::history::follows(a, b);
    let said = a.verge_ok(&[&arguments[..], &with].concat());
    assert!(said.contains("is live"), "{said}");
    assert_eq!(page(a, HOST, "/").unwrap(), b"<p>five");
    assert!(status(a)["evidence"].as_array().unwrap().is_empty());
}

/// A push that brings a signed line; says whether it went in, and what the pusher saw.
fn bring(publisher: &Publisher, url: &str, signed: &str, refspec: &str) -> (bool, String) {
    let option = format!("verge-record={signed}");
    let output = push_with(publisher, url, &option, refspec);
    (output.status.success(), text(&output.stderr))
}

/// The same, which must be refused with these words.
fn is_refused(publisher: &Publisher, (url, signed): (&str, &str), refspec: &str, words: &str) {
    let (is_taken, said) = bring(publisher, url, signed, refspec);
    assert!(!is_taken && said.contains(words), "{words}: {said}");
}

const HEAD: &str = "HEAD:refs/heads/main";

#[test]
fn line_of_another_key_site_or_commit_publishes_nothing() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = ana(a);
    a.verge_ok(&["account", "set", "ana", "--acts", "all"]);
    a.verge_ok(&["site", "create", "shed", "--owner", "ana"]);
    region.all_in_step();
    let url = Publisher::url(a, "garden");
    publisher.write("index.html", "<p>one");
    publisher.commit("one");
    let line = asked_line(&publisher, &url);
    let wrong_key = signed(&private_key(&Publisher::new()), &line);
    let words = "none of those that sign for account ana";
    is_refused(&publisher, (&url, &wrong_key), HEAD, words);
    is_refused(&publisher, (&url, &line), HEAD, "waits for a signature");
    let right = signed(&private_key(&publisher), &line);
    let cut = &right[..right.len() - 9];
    is_refused(&publisher, (&url, cut), HEAD, "cut off");
    let shed = Publisher::url(a, "shed");
    let words = "signed for another site";
    is_refused(&publisher, (&shed, &right), HEAD, words);
    let said = refused(b.data(), &["record", "add", &right]);
    assert!(said.contains("does not wait for this line"), "{said}");
    publisher.commit("again");
    let words = "signed for another commit";
    is_refused(&publisher, (&url, &right), HEAD, words);
    assert_eq!(status(a)["deploy_count"], 0);
}

#[test]
fn line_that_is_stale_or_was_used_publishes_nothing() {
    let region = Region::of(1);
    let node = &region.nodes[0];
    let publisher = ana(node);
    let key = private_key(&publisher);
    node.verge_ok(&["account", "set", "ana", "--acts", "all"]);
    let url = Publisher::url(node, "garden");
    let commit = |name: &str| {
        publisher.write("index.html", name);
        publisher.commit(name);
    };
    commit("one");
    let right = signed(&key, &asked_line(&publisher, &url));
    // Another deploy has come between: what was signed would stand beside it.
    commit("two");
    publisher.push_ok(node, "garden", "main");
    let words = "another record has taken the place";
    let first = "+HEAD~1:refs/heads/main";
    is_refused(&publisher, (&url, &right), first, words);
    assert_eq!(page(node, HOST, "/").unwrap(), b"two");
    // Asked for anew, the line before is waited for no more.
    commit("three");
    let line = asked_line(&publisher, &url);
    let words = "does not wait for this line";
    let first = "+HEAD~2:refs/heads/main";
    is_refused(&publisher, (&url, &right), first, words);
    let right = signed(&key, &line);
    let (is_taken, said) = bring(&publisher, &url, &right, HEAD);
    assert!(is_taken, "{said}");
    assert_eq!(page(node, HOST, "/").unwrap(), b"three");
    // A second time it is nothing new.
    commit("four");
    publisher.push_ok(node, "garden", "main");
    let words = "was taken in before";
    let third = "+HEAD~1:refs/heads/main";
    is_refused(&publisher, (&url, &right), third, words);
    let said = refused(node.data(), &["record", "add", &right]);
    assert!(said.contains(words), "{said}");
    assert_eq!(page(node, HOST, "/").unwrap(), b"four");
}

#[test]
fn keys_and_options_that_sign_nothing_say_so() {
    let region = Region::of(1);
    let node = &region.nodes[0];
    let publisher = ana(node);
    publisher.write("index.html", "<p>one");
    publisher.commit("one");
    let url = Publisher::url(node, "garden");
    let output = push_with(&publisher, &url, "verge-sing", HEAD);
    let said = text(&output.stderr);
    assert!(said.contains("no push option \"verge-sing\""), "{said}");
    let ecdsa = publisher.work().with_file_name("ecdsa");
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", "ecdsa", "-N", "", "-f"])
        .arg(&ecdsa);
    assert!(keygen.status().unwrap().success());
    let output = deploy(&publisher, node, &ecdsa);
    assert!(text(&output.stderr).contains("no key of type ssh-ed25519"));
    let set = ["account", "set", "ana"];
    let public = ecdsa.with_extension("pub");
    let add = ["--add-signing-key", public.to_str().unwrap()];
    let said = refused(node.data(), &[&set[..], &add].concat());
    assert!(said.contains("cannot sign records"), "{said}");
    let elsewhere = ["--sign-elsewhere", "--acts=all"];
    let said = refused(node.data(), &[&set[..], &elsewhere].concat());
    assert!(said.contains("verge account sign"), "{said}");
    // An account without such a key cannot be asked.
    let other = Publisher::with_site(node, "ben", "bakery");
    other.write("index.html", "<p>bread");
    other.commit("one");
    let output = push_with(&other, &Publisher::url(node, "bakery"), "verge-sign", HEAD);
    let said = text(&output.stderr);
    assert!(said.contains("ben has no key that signs"), "{said}");
}

#[test]
fn account_is_changed_and_its_sites_begin_anew_by_its_own_key() {
    let region = Region::of(2);
    let [a, b] = [&region.nodes[0], &region.nodes[1]];
    let publisher = ana(a);
    let key = private_key(&publisher);
    let key = key.to_str().unwrap();
    region.all_in_step();
    let with = ["--yes", "--sign-with", key];
    let set = |node: &Node, arguments: &[&str]| {
        let set = ["account", "set", "ana"];
        node.verge(&[&set[..], arguments].concat())
    };
    // At a node whose provider does not answer for the account.
    let own = status(a)["provider"]["id"].as_str().unwrap().to_owned();
    let output = set(b, &[&["--acts", &own], &with[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    wait(a, |status| {
        status["record_count"] == self::status(b)["record_count"]
    });
    publisher.write("index.html", "<p>one");
    publisher.commit("one");
    publisher.push_ok(a, "garden", "main");
    // A second key comes and the first one goes; what that signs counts no more.
    let second = Publisher::new();
    let second_key = private_key(&second);
    let second_with = ["--yes", "--sign-with", second_key.to_str().unwrap()];
    let public = second.public_key();
    let output = set(
        a,
        &[&["--add-signing-key", &public], &second_with[..]].concat(),
    );
    let said = text(&output.stderr);
    assert!(
        said.contains("none of those that sign for account ana"),
        "{said}"
    );
    let output = set(a, &[&["--add-signing-key", &public], &with[..]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let fingerprints = a.verge_ok(&["account", "list"]);
    assert_eq!(fingerprints.matches("(signs)").count(), 2, "{fingerprints}");
    let first = publisher.public_key();
    let output = set(
        a,
        &[&["--remove-signing-key", &first], &second_with[..]].concat(),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    // The site begins anew, by the key that is left.
    let reset = ["site", "reset", "garden"];
    let said = refused(b.data(), &[&reset[..], &["--yes"]].concat());
    assert!(said.contains("sponsored by provider Corner"), "{said}");
    a.verge_ok(&[&reset[..], &second_with].concat());
    assert_eq!(page(a, HOST, "/").unwrap(), b"<p>one");
    let output = a.verge(&[&reset[..], &["--sign-elsewhere"]].concat());
    let line = line_in(&text(&output.stdout));
    a.verge_ok(&["site", "set", "garden", "--force", "false"]);
    let late = signed(&second_key, &line);
    let said = refused(a.data(), &["record", "add", &late]);
    assert!(said.contains("run the command again"), "{said}");
    // The sponsor has the last word: a line from before it is stale.
    let output = set(a, &["--acts", "none", "--sign-elsewhere"]);
    let line = line_in(&text(&output.stdout));
    a.verge_ok(&["account", "set", "ana", "--add-signing-key", &first]);
    let said = refused(a.data(), &["record", "add", &signed(&second_key, &line)]);
    assert!(said.contains("run the command again"), "{said}");
    assert!(status(a)["evidence"].as_array().unwrap().is_empty());
}

/// Puts as many deploys behind the site as its epoch can have.
fn fill_epoch(data: &Path) {
    let store = Store::open(data, Arc::new(LocalDisk)).unwrap();
    let keys = NodeKeys::read(data).unwrap();
    let (key, node) = (keys.seed.record_key(), keys.node());
    let view = RegionView::open(store.clone(), keys, |_effect, _slot| {}).unwrap();
    let effect = view.effect();
    let site = effect.site_by_label("garden").unwrap();
    let head = site.head().unwrap();
    let body = verge_sync::record::Body::Deploy(head.body().clone()).encode();
    let mut before = head.id();
    let mut rows = Vec::new();
    for sequence in 2..=SEQUENCE_MAX {
        let envelope = Envelope {
            region: effect.region,
            kind: Kind::DEPLOY,
            subject: Subject::Deploy(site.id).encode(),
            author: node.into(),
            log: LogId([9; 8]),
            n: sequence.into(),
            epoch: 0,
            sequence,
            predecessors: vec![before],
        };
        let draft = Draft {
            envelope,
            body: body.clone(),
        };
        let record = draft.sign(&key).unwrap();
        before = record.id();
        rows.push(row(&record));
    }
    for rows in rows.chunks(1_000) {
        block_on(store.records().put(rows.to_vec()).unwrap()).unwrap();
    }
}

#[test]
fn push_that_needs_a_new_epoch_while_the_key_is_away_gets_the_line_to_sign() {
    let mut region = Region::of(1);
    let publisher = Publisher::with_site(&region.nodes[0], "ana", "garden");
    publisher.write("index.html", "<p>one");
    publisher.commit("one");
    publisher.push_ok(&region.nodes[0], "garden", "main");
    let drawer = region.folder.path().join("drawer");
    let move_key = ["provider", "key", "move", drawer.to_str().unwrap()];
    region.nodes[0].verge_ok(&move_key);
    region.nodes[0].stop();
    fill_epoch(region.nodes[0].data());
    region.nodes[0].restart();
    let node = &region.nodes[0];
    publisher.write("index.html", "<p>two");
    publisher.commit("two");
    let said = publisher.push_refused(node, "garden", "main");
    assert!(
        said.contains("Hand the last line to the node's steward"),
        "{said}"
    );
    let mut command = Command::new(VERGE);
    command.args(["provider", "sign", "--yes", "--key"]);
    let output = command.arg(&drawer).arg(line_in(&said)).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    node.verge_ok(&["record", "add", &last_line(&text(&output.stdout))]);
    assert_eq!(page(node, HOST, "/").unwrap(), b"<p>one");
    publisher.push_ok(node, "garden", "main");
    assert_eq!(page(node, HOST, "/").unwrap(), b"<p>two");
}
