//! Who gets in, what else they may ask for (nothing), and what is left when they vanish.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod receive_harness;

use receive_harness::{Node, kill, processes, said, until};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use verge_edge::cli::confine::landlock_supported;
use verge_edge::receive::Limits;
use verge_sync::AccountId;

#[test]
fn an_unknown_key_is_not_let_in() {
    let node = Node::new();
    node.strange_key("stranger");
    let output = node
        .ssh("stranger")
        .args(["git@127.0.0.1", "git-upload-pack 'garden'"])
        .output();
    let text = said(&output.unwrap());
    assert!(text.contains("Permission denied (publickey)"), "{text}");
}

#[test]
fn keys_of_every_usual_type_are_known_by_their_fingerprint() {
    let node = Node::new();
    for key_type in ["rsa", "ecdsa", "ed25519"] {
        let site = format!("site-{key_type}");
        let key = node.key_of_type(key_type, key_type);
        node.add_site(&site, key);
        let work = node.work(&site);
        let mut push = node.git_command_as(key_type, &work);
        let output = push.args(["push", "origin", "main"]).output().unwrap();
        assert!(output.status.success(), "{key_type}: {}", said(&output));
    }
}

#[test]
fn so_many_wrong_keys_are_heard_and_no_more() {
    let knock = |auth_attempts| {
        let node = Node::with_limits(Limits {
            auth_attempts,
            ..Limits::default()
        });
        let mut ssh = node.ssh("wrong-1");
        for name in ["wrong-1", "wrong-2"] {
            node.strange_key(name);
        }
        for name in ["wrong-2", "anna"] {
            ssh.arg("-i").arg(node.dir.path().join(name));
        }
        said(
            &ssh.args(["git@127.0.0.1", "git-upload-pack 'nobody'"])
                .output()
                .unwrap(),
        )
    };
    // The client's first question, which offers no key, counts as well.
    assert!(knock(4).contains("There is no site nobody"), "{}", knock(4));
    assert!(knock(2).contains("Too many authentication"), "{}", knock(2));
}

#[test]
fn no_rights_and_no_such_site_are_one_answer() {
    let node = Node::new();
    node.key("berta");
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    for service in ["git-receive-pack", "git-upload-pack"] {
        let answer = |site: &str| {
            let command = format!("{service} '/{site}.git'");
            let output = node
                .ssh("berta")
                .args(["git@127.0.0.1", &command])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(1));
            (
                output.stdout,
                String::from_utf8(output.stderr)
                    .unwrap()
                    .replace(site, "SITE"),
            )
        };
        assert_eq!(answer("garden"), answer("nobody"));
        assert!(
            answer("garden").1.contains("There is no site SITE here"),
            "{:?}",
            answer("garden")
        );
    }
    let pushed = node
        .git_command_as("berta", &work)
        .args(["push", "origin", "main"])
        .output();
    assert!(said(&pushed.unwrap()).contains("There is no site garden here"));
}

#[test]
fn nothing_but_the_two_commands_is_run() {
    let node = Node::new();
    for arguments in [
        &["git@127.0.0.1"][..],
        &["git@127.0.0.1", "id"],
        &["git@127.0.0.1", "git-upload-archive 'garden'"],
        &["git@127.0.0.1", "git-receive-pack 'garden'; id"],
        &["git@127.0.0.1", "git-receive-pack '../../etc'"],
        &["-s", "git@127.0.0.1", "sftp"],
    ] {
        let output = node.ssh("anna").args(arguments).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(
            text.contains("Verge takes git push and git fetch only"),
            "{arguments:?}: {text}"
        );
        assert!(!text.contains("uid="), "{text}");
    }
}

#[test]
fn no_terminal_is_given() {
    let node = Node::new();
    let output = node
        .ssh("anna")
        .args(["-tt", "git@127.0.0.1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("PTY allocation request failed"),
        "{}",
        said(&output)
    );
}

#[test]
fn any_user_name_is_the_same() {
    let node = Node::new();
    let work = node.work("garden");
    let url = node.url("garden").replace("git@", "somebody@");
    node.git(&work, &["push", "-q", &url, "main"]);
    assert_eq!(node.published().len(), 1);
}

#[test]
fn nothing_is_forwarded() {
    let node = Node::new();
    let output = node
        .ssh("anna")
        .args(["-W", "127.0.0.1:1", "git@127.0.0.1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("stdio forwarding failed"),
        "{}",
        said(&output)
    );
    let reverse = [
        "-N",
        "-o",
        "ExitOnForwardFailure=yes",
        "-R",
        "0:127.0.0.1:1",
        "git@127.0.0.1",
    ];
    let output = node.ssh("anna").args(reverse).output().unwrap();
    assert!(!output.status.success());
    assert!(
        said(&output).contains("remote port forwarding failed"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_password_is_not_asked_for() {
    let node = Node::new();
    let options = [
        "-o",
        "PreferredAuthentications=password,keyboard-interactive,hostbased",
    ];
    let output = node
        .ssh("anna")
        .args(options)
        .args(["git@127.0.0.1", "id"])
        .output()
        .unwrap();
    assert!(
        said(&output).contains("Permission denied (publickey)"),
        "{}",
        said(&output)
    );
}

/// The beginning of a push, written by hand: the command, and a pack that says it has more.
fn half_a_push(node: &Node, site: &str, commit: &str) -> Child {
    let mut ssh = node
        .ssh("anna")
        .args(["git@127.0.0.1", &format!("git-receive-pack '{site}'")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    hear_refs(ssh.stdout.as_mut().unwrap());
    let zero = "0".repeat(40);
    let line = format!("{zero} {commit} refs/heads/main\0report-status");
    let mut bytes = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
    bytes.extend(b"PACK\0\0\0\x02\0\0\x27\x10");
    let stdin = ssh.stdin.as_mut().unwrap();
    stdin.write_all(&bytes).unwrap();
    stdin.flush().unwrap();
    ssh
}

/// Reads what git says first, to its end: what it says later would count as an answer to the push.
fn hear_refs(from: &mut impl Read) {
    loop {
        let mut length = [0; 4];
        from.read_exact(&mut length).unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&length).unwrap(), 16).unwrap();
        let Some(rest) = length.checked_sub(4) else {
            return;
        };
        from.read_exact(&mut vec![0; rest]).unwrap();
    }
}

#[test]
fn a_pusher_killed_half_way_leaves_nothing() {
    let mut node = Node::new();
    let work = node.work("garden");
    let commit = node.git(&work, &["rev-parse", "HEAD"]);
    let ssh = half_a_push(&node, "garden", &commit);
    let repository = node.repository("garden");
    // Git makes its quarantine when it sees the head of the pack.
    until(|| {
        processes(&repository)
            .iter()
            .any(|line| line.contains("index-pack"))
            && !node.leftovers("garden").is_empty()
    });
    kill(ssh);
    node.stop();
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
    assert_eq!(node.refs("garden"), "\nHEAD refs/heads/main");
    assert_eq!(node.published(), []);
}

#[test]
fn a_pusher_killed_during_the_build_leaves_nothing() {
    let mut node = Node::new();
    let work = node.work("garden");
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.wait_begun();
    let before = node.refs("garden");
    node.commit(&work, "b.html", "b");
    node.fake.gate.forget_permits(1000);
    let wrapper = node.dir.path().join("ssh.pid");
    let words = node.ssh_words("anna").join(" ");
    let script = format!(
        "sh -c 'echo $$ >{}; exec {words} \"$@\"' --",
        wrapper.display()
    );
    let push = node
        .git_command(&work)
        .env("GIT_SSH_COMMAND", script)
        .args(["push", "origin", "main"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    node.wait_begun();
    let ssh = std::fs::read_to_string(wrapper).unwrap();
    assert!(
        Command::new("kill")
            .args(["-KILL", ssh.trim()])
            .status()
            .unwrap()
            .success()
    );
    node.wait_dropped();
    kill(push);
    node.stop();
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
    assert_eq!(node.refs("garden"), before);
}

#[test]
fn two_pushes_at_once_and_the_third_waits() {
    let mut node = Node::new();
    node.fake.gate.forget_permits(1000);
    let mut pushes = Vec::new();
    for (account, site) in (1..).zip(["garden", "shed"]) {
        node.change_site(site, |site| {
            site.account = AccountId::from_bytes([account; 32])
        });
        let work = node.work(site);
        pushes.push(push_in_background(&node, &work));
        node.wait_begun();
    }
    let work = node.work("roof");
    let mut third = push_in_background(&node, &work);
    let mut lines = BufReader::new(third.stderr.take().unwrap()).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        "Verge: waiting for other pushes to end..."
    );
    assert_eq!(node.published().len(), 2);
    node.fake.gate.add_permits(3);
    for push in pushes {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(third.wait().unwrap().success());
    node.wait_begun();
    assert_eq!(node.published().len(), 3);
}

#[test]
fn slow_pushes_of_one_account_leave_a_place_to_others() {
    let mut node = Node::new();
    node.fake.gate.forget_permits(1000);
    node.change_site("roof", |site| site.account = AccountId::from_bytes([2; 32]));
    let first = push_in_background(&node, &node.work("garden"));
    node.wait_begun();
    let mut second = push_in_background(&node, &node.work("shed"));
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    assert_eq!(
        lines.next().unwrap().unwrap(),
        "Verge: waiting for other pushes to end..."
    );
    let third = push_in_background(&node, &node.work("roof"));
    node.wait_begun();
    assert_eq!(node.published().len(), 2);
    node.fake.gate.add_permits(3);
    for push in [first, third] {
        let output = push.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    assert!(second.wait().unwrap().success());
    assert_eq!(node.published().len(), 3);
}

#[test]
fn a_site_takes_one_push_at_a_time_and_a_full_queue_says_so() {
    let mut node = Node::with_limits(Limits {
        pushes_waiting: 1,
        ..Limits::default()
    });
    node.fake.gate.forget_permits(1000);
    let work = node.work("garden");
    let first = push_in_background(&node, &work);
    node.wait_begun();
    let mut second = push_in_background(&node, &work);
    let mut lines = BufReader::new(second.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert_eq!(
        line,
        "Verge: waiting for another push to this site to end..."
    );
    let text = node.refused(&work, &["push", "origin", "main"]);
    assert!(
        text.contains("this node is busy and too many wait already"),
        "{text}"
    );
    node.fake.gate.add_permits(2);
    assert!(first.wait_with_output().unwrap().status.success());
    assert!(second.wait().unwrap().success());
    // The second found everything there already.
    assert_eq!(node.published().len(), 1);
}

#[test]
fn a_pusher_who_stops_waiting_gives_its_place_back() {
    let mut node = Node::with_limits(Limits {
        pushes_waiting: 1,
        ..Limits::default()
    });
    node.fake.gate.forget_permits(1000);
    let work = node.work("garden");
    let first = push_in_background(&node, &work);
    node.wait_begun();
    let mut ssh = node.ssh("anna");
    ssh.args(["git@127.0.0.1", "git-receive-pack 'garden'"])
        .stdin(Stdio::piped());
    for _ in 0..3 {
        let mut waiting = ssh.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
        let mut line = lines.next().unwrap().unwrap();
        while line.contains("busy") {
            kill(waiting);
            waiting = ssh.stderr(Stdio::piped()).spawn().unwrap();
            lines = BufReader::new(waiting.stderr.take().unwrap()).lines();
            line = lines.next().unwrap().unwrap();
        }
        assert_eq!(
            line,
            "Verge: waiting for another push to this site to end..."
        );
        kill(waiting);
    }
    node.fake.gate.add_permits(1);
    assert!(first.wait_with_output().unwrap().status.success());
}

fn push_in_background(node: &Node, work: &std::path::Path) -> Child {
    let mut push = node.git_command(work);
    push.args(["push", "origin", "main"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    push.spawn().unwrap()
}

#[test]
fn a_stranger_who_says_nothing_is_let_go() {
    let node = Node::with_limits(Limits {
        login_timeout: Duration::from_millis(200),
        ..Limits::default()
    });
    let url = node.url("garden");
    let address = url.split(['@', '/']).nth(3).unwrap();
    let mut stranger = std::net::TcpStream::connect(address).unwrap();
    let mut heard = Vec::new();
    stranger.read_to_end(&mut heard).unwrap();
    assert!(heard.starts_with(b"SSH-2.0-Verge"));
}

#[test]
fn a_pusher_who_stops_half_way_is_told_and_let_go() {
    let mut node = Node::with_limits(Limits {
        // Git has to begin within it, on a busy machine too.
        idle_timeout: Duration::from_secs(3),
        ..Limits::default()
    });
    let work = node.work("garden");
    let commit = node.git(&work, &["rev-parse", "HEAD"]);
    let mut ssh = half_a_push(&node, "garden", &commit);
    let mut told = String::new();
    ssh.stderr
        .as_mut()
        .unwrap()
        .read_to_string(&mut told)
        .unwrap();
    assert_eq!(
        told,
        "Verge: nothing arrived for too long; nothing was changed\n"
    );
    assert!(!ssh.wait().unwrap().success());
    node.stop();
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

/// A trickle is no silence: it would hold the push's place for an hour.
#[test]
fn a_pusher_who_sends_too_slowly_is_told_and_let_go() {
    let mut node = Node::with_limits(Limits {
        push_window: Duration::from_millis(500),
        push_window_bytes_min: 1000,
        ..Limits::default()
    });
    let work = node.work("garden");
    let commit = node.git(&work, &["rev-parse", "HEAD"]);
    let mut ssh = half_a_push(&node, "garden", &commit);
    let mut told = String::new();
    let mut errors = ssh.stderr.take().unwrap();
    errors.read_to_string(&mut told).unwrap();
    assert_eq!(
        told,
        "Verge: your push arrives too slowly to be waited for; nothing was changed\n"
    );
    assert!(!ssh.wait().unwrap().success());
    // Who is fast is not hurried.
    node.git(&work, &["push", "-q", "origin", "main"]);
    node.stop();
    assert_eq!(node.leftovers("garden"), Vec::<String>::new());
}

#[test]
fn without_its_hook_no_push_is_taken() {
    let node = Node::new();
    let work = node.work("garden");
    std::fs::remove_file(node.dir.path().join("data/hooks/pre-receive")).unwrap();
    let text = node.refused(&work, &["push", "origin", "main"]);
    assert!(text.contains("this node has a fault of its own"), "{text}");
    assert_eq!(node.refs("garden"), "\nHEAD refs/heads/main");
}

#[test]
fn connections_of_one_address_are_limited() {
    let node = Node::with_limits(Limits {
        connections_per_address: 1,
        ..Limits::default()
    });
    let url = node.url("garden");
    let address = url.split(['@', '/']).nth(3).unwrap();
    let mut first = std::net::TcpStream::connect(address).unwrap();
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();
    let mut second = std::net::TcpStream::connect(address).unwrap();
    let mut heard = Vec::new();
    second.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
}

fn knock(node: &Node) -> (std::net::TcpStream, bool) {
    let url = node.url("garden");
    let address = url.split(['@', '/']).nth(3).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let is_answered = matches!(stream.read(&mut [0]), Ok(1));
    (stream, is_answered)
}

#[test]
fn strangers_do_not_take_the_places_of_publishers() {
    let node = Node::with_limits(Limits {
        connections: 1,
        strangers: 1,
        ..Limits::default()
    });
    let work = node.work("garden");
    let commit = node.git(&work, &["rev-parse", "HEAD"]);
    let publisher = half_a_push(&node, "garden", &commit);
    let (stranger, is_answered) = knock(&node);
    assert!(
        is_answered,
        "who logged in gave its place among strangers back"
    );
    assert!(!knock(&node).1, "one stranger at a time");
    drop(stranger);
    let ask = || {
        let mut ssh = node.ssh("anna");
        ssh.args(["git@127.0.0.1", "git-upload-pack 'nobody'"]);
        said(&ssh.output().unwrap())
    };
    until(|| knock(&node).1);
    assert!(
        !ask().contains("There is no site"),
        "one publisher at a time"
    );
    kill(publisher);
    until(|| ask().contains("There is no site"));
}

/// Runs the hook outside of any push.
fn hook(node: &Node, token: &str) -> std::process::Output {
    let socket = node.dir.path().join("data/hooks/node.sock");
    Command::new(env!("CARGO_BIN_EXE_verge"))
        .arg("hook")
        .env("VERGE_HOOK_SOCKET", socket)
        .env("VERGE_HOOK_TOKEN", token)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_hook_without_a_push_is_refused() {
    let node = Node::new();
    for token in ["", "x", &"0".repeat(64), &"a".repeat(100_000)] {
        let output = hook(&node, token);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said(&output).contains("nothing was published"),
            "{}",
            said(&output)
        );
    }
}

/// The environment of the push's git, which other programs of this user can read.
fn token_of_running_push(repository: &std::path::Path) -> String {
    let living = std::fs::read_dir("/proc").unwrap().flatten();
    let mut tokens = living.filter_map(|entry| {
        let works_in_it = std::fs::read_link(entry.path().join("cwd")).ok()? == repository;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let variables = environment.split('\0').filter(|_| works_in_it);
        variables
            .filter_map(|variable| variable.strip_prefix("VERGE_HOOK_TOKEN="))
            .map(ToOwned::to_owned)
            .next()
    });
    tokens.next().expect("git is running")
}

/// A push's token, taken out of its git by another program, must not answer for it.
#[test]
fn a_token_serves_only_the_push_it_was_made_for() {
    let mut node = Node::new();
    let work = node.work("garden");
    let commit = node.git(&work, &["rev-parse", "HEAD"]);
    let push = half_a_push(&node, "garden", &commit);
    let output = hook(&node, &token_of_running_push(&node.repository("garden")));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("nothing was published"),
        "{}",
        said(&output)
    );
    kill(push);
    node.stop();
}

#[test]
fn a_hook_s_token_is_of_no_use_to_a_second_one() {
    let mut node = Node::new();
    node.fake.gate.forget_permits(1000);
    let push = push_in_background(&node, &node.work("garden"));
    node.wait_begun();
    let output = hook(&node, &token_of_running_push(&node.repository("garden")));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("nothing was published"),
        "{}",
        said(&output)
    );
    node.fake.gate.add_permits(1);
    let output = push.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(node.published().len(), 1);
}

#[test]
fn a_confined_program_gains_no_privileges() {
    let output = Command::new(env!("CARGO_BIN_EXE_verge"))
        .args(["confine", "--read-only", "/proc/self", "--"])
        .args(["cat", "/proc/self/status"])
        .output()
        .unwrap();
    let text = said(&output);
    assert!(text.contains("NoNewPrivs:\t1\n"), "{text}");
}

#[test]
fn a_confined_program_writes_only_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::create_dir(&outside).unwrap();
    let script = format!(
        "echo x >{0}/a; echo x >{1}/a; ulimit -c; ulimit -n; umask; cat {1}/b",
        inside.display(),
        outside.display()
    );
    std::fs::write(outside.join("b"), "secret").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_verge"))
        .args(["confine", "--open-files", "64", "--read-write"])
        .arg(&inside)
        .args(["--", "sh", "-c", &script])
        .output()
        .unwrap();
    let text = said(&output);
    assert!(inside.join("a").exists(), "{text}");
    assert!(text.starts_with("0\n64\n0077\n"), "{text}");
    // Without Landlock the kernel cannot say no; with it it must.
    assert_eq!(outside.join("a").exists(), !landlock_supported(), "{text}");
    assert_eq!(text.contains("secret"), !landlock_supported(), "{text}");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_verge"))
        .args(["confine", "--", "/no/such/program"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert!(
        said(&output).starts_with("verge: run /no/such/program: "),
        "{}",
        said(&output)
    );
}
