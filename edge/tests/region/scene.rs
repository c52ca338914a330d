//! A region whose nodes are processes of their own, and a way to wait for what they come to.

use crate::harness::{Node, PORTS, VERGE, init, run_by, text, verge};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// What has not come by then does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A region of providers with one node each.
pub(crate) struct Region {
    pub(crate) nodes: Vec<Node>,
    pub(crate) folder: TempDir,
}

impl Region {
    /// A region of `count` providers: the founder is called Corner, the others P1, P2, ...
    pub(crate) fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("n0");
        init(&data);
        let mut region = Self {
            nodes: vec![Node::start(&data)],
            folder,
        };
        for number in 1..count {
            region.join(&format!("P{number}"));
        }
        region
    }

    /// A data directory that is not there yet.
    pub(crate) fn new_data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new provider joins by the founder's ticket, with the votes of all.
    pub(crate) fn join(&mut self, provider: &str) {
        let data = self.new_data(&provider.to_lowercase());
        self.join_on(&data, provider);
    }

    /// The same, with its data directory at `data`.
    pub(crate) fn join_on(&mut self, data: &Path, provider: &str) {
        let mut newcomer = Newcomer::ask(data, &ticket(&self.nodes[0]), Some(provider));
        newcomer.reads("wait until");
        for node in &self.nodes {
            approve(node, provider);
        }
        newcomer.becomes_a_member();
        self.nodes.push(Node::start(data));
        self.all_in_step();
    }

    /// Waits until every node is connected with every other, and all hold the same.
    pub(crate) fn all_in_step(&self) {
        let count = self.nodes.len() - 1;
        for node in &self.nodes {
            wait(node, |status| {
                let peers = status["peers"].as_array().unwrap();
                let in_step = peers.iter().filter(|peer| peer["is_in_step"] == true);
                in_step.count() == count
            });
        }
    }
}

/// A ticket for a new provider.
pub(crate) fn ticket(node: &Node) -> String {
    last_line(&node.verge_ok(&["provider", "invite"]))
}

/// The last line of what a command printed.
pub(crate) fn last_line(output: &str) -> String {
    output.lines().last().unwrap().to_owned()
}

/// Votes for `provider`, once it asks here or somebody has proposed it.
pub(crate) fn approve(node: &Node, provider: &str) {
    let is_in = |status: &Value| status["provider_count"].as_u64().unwrap();
    let before = is_in(&status(node));
    let asks = |node: &Node| node.verge_ok(&["provider", "list"]).contains(provider);
    // A step that the votes of others have carried meanwhile needs no more.
    if !asks(node) {
        wait(node, |status| {
            is_in(status) > before || status["pending_steps"].to_string().contains(provider)
        });
    }
    let approved = node.verge(&["provider", "approve", provider, "--yes"]);
    let held = node
        .verge_ok(&["region", "status"])
        .contains(&format!("   {provider} ("));
    assert!(
        approved.status.success() || held,
        "{}",
        text(&approved.stderr)
    );
}

/// Votes for the step that waits, once it has come; gives what the node shows of it.
pub(crate) fn sign_pending(node: &Node) -> Value {
    let pending = wait(node, |status| {
        !status["pending_steps"].as_array().unwrap().is_empty()
    });
    let step = pending["pending_steps"][0].clone();
    node.verge_ok(&["region", "sign", &step["id"].as_str().unwrap()[..8]]);
    step
}

/// Waits until no step waits for votes at the node any more.
pub(crate) fn nothing_pending(node: &Node) {
    wait(node, |status| {
        status["pending_steps"].as_array().unwrap().is_empty()
    });
}

/// How a node says it is.
pub(crate) fn status(node: &Node) -> Value {
    serde_json::from_str(&node.verge_ok(&["status", "--json"])).unwrap()
}

/// Waits until what the node says of itself is what is wanted; gives that.
pub(crate) fn wait(node: &Node, wanted: impl Fn(&Value) -> bool) -> Value {
    wait_at(node.data(), wanted)
}

/// The same for the node on `data`.
pub(crate) fn wait_at(data: &Path, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut child = Command::new(VERGE)
        .args(["status", "--json", "--follow", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    let (done, watched) = sync_channel::<()>(1);
    let watchdog = std::thread::spawn(move || {
        let ended = watched.recv_timeout(PATIENCE);
        child.kill().unwrap();
        child.wait().unwrap();
        ended != Err(RecvTimeoutError::Timeout)
    });
    let mut last = Value::Null;
    for line in lines.lines() {
        last = serde_json::from_str(&line.unwrap()).unwrap();
        if wanted(&last) {
            drop(done);
            assert!(watchdog.join().is_ok());
            return last;
        }
    }
    panic!("what was waited for did not come: {last:#}");
}

/// Somebody who asks to join.
pub(crate) struct Newcomer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Newcomer {
    /// Runs `verge init --join` until it has been heard, or is done.
    pub(crate) fn ask(data: &Path, ticket: &str, provider: Option<&str>) -> Self {
        Self::ask_by(&[], data, ticket, provider, PORTS[4])
    }

    /// The same by another program, with a port of its own for the other nodes.
    pub(crate) fn ask_by(
        runner: &[String],
        data: &Path,
        ticket: &str,
        provider: Option<&str>,
        listen_nodes: &str,
    ) -> Self {
        let provider = provider.map(|provider| format!("--provider={provider}"));
        let more: Vec<&str> = [Some(listen_nodes), provider.as_deref()]
            .into_iter()
            .flatten()
            .collect();
        Self::ask_with(runner, data, ticket, &more)
    }

    /// Runs `verge init --join` with these arguments beside it.
    pub(crate) fn ask_with(runner: &[String], data: &Path, ticket: &str, more: &[&str]) -> Self {
        let mut command = run_by(runner);
        command.args(["init", "--join", ticket]).args(&PORTS[..4]);
        command.arg("--data").arg(data).args(more);
        command.stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads on to a line with `words` in it.
    pub(crate) fn reads(&mut self, words: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(words)).unwrap()
    }

    /// It has become a member.
    pub(crate) fn becomes_a_member(self) {
        let output = self.ends();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Waits for its end.
    pub(crate) fn ends(self) -> Output {
        // To its end, so that it never waits for a reader.
        self.lines.for_each(|line| assert!(line.is_ok()));
        self.child.wait_with_output().unwrap()
    }

    /// Ends it as Ctrl-C would, or worse.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `verge` on a data directory, which must be refused; gives what it said.
pub(crate) fn refused(data: &Path, arguments: &[&str]) -> String {
    let output = verge(data, arguments);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}
