//! The nodes of the demo, each a process of its own, as their stewards run them.

use super::publisher::run;
use super::{is_overdue, say};
use crate::cli::client::Visitor;
use crate::cli::node::Ready;
use crate::node_keys::SEED_FILE;
use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use verge_sync::clock::stopwatch;

/// One provider's node.
pub(super) struct House {
    data: PathBuf,
    ready: Ready,
    child: Child,
    /// Kept open, so that the node can write to it.
    _output: BufReader<ChildStdout>,
}

impl House {
    /// The first node of a new region.
    pub(super) fn found(data: &Path, https_port: u16, ssh_port: u16) -> anyhow::Result<Self> {
        let mut init = verge("init", data)?;
        init.args(["--region", "Demo Street", "--provider", "Corner Workshop"])
            .args(["--site-zone", "sites.localhost"])
            .args(["--admin-zone", "admin.localhost"])
            .args(["--host-proof", "none", "--test"])
            .args(ports(https_port, ssh_port));
        run(&mut init)?;
        Self::serve(data).with_context(|| {
            format!("the node did not start; is port {https_port} or {ssh_port} taken?")
        })
    }

    fn serve(data: &Path) -> anyhow::Result<Self> {
        trust_clock(data)?;
        let mut child = verge("serve", data)?
            .env("VERGE_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .context("start verge serve")?;
        let output = child.stdout.take().context("the node's output")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let ready = Ready::parse(&line)?;
        say(&format!("  {}: {}", letter(data), line.trim_end()));
        Ok(Self {
            data: data.to_owned(),
            ready,
            child,
            _output: output,
        })
    }

    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// What the story calls it.
    pub(super) fn letter(&self) -> String {
        letter(&self.data)
    }

    pub(super) fn https(&self) -> Option<SocketAddr> {
        self.ready.https
    }

    pub(super) fn ssh(&self) -> Option<SocketAddr> {
        self.ready.ssh
    }

    pub(super) fn visitor(&self) -> anyhow::Result<Visitor> {
        let address = self.https().context("the node does not listen for HTTPS")?;
        Visitor::new(address, &self.data.join("local-ca.pem"))
    }

    /// A command of the steward's.
    pub(super) fn run(&self, arguments: &[&str]) -> anyhow::Result<()> {
        run(&mut self.command(arguments)?)
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(own_program()?);
        command.args(arguments).arg("--data").arg(&self.data);
        Ok(command)
    }

    /// The same, for what it prints.
    pub(super) fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?.output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {complaint}");
        Ok(text)
    }

    /// A command that is shown with what it says.
    pub(super) fn tell(&self, arguments: &[&str]) -> anyhow::Result<()> {
        for line in self.ask(arguments)?.lines() {
            say(&format!("  {}: {line}", self.letter()));
        }
        Ok(())
    }

    /// What a command prints that needs no node.
    pub(super) fn ask_without_node(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(own_program()?).args(arguments).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {complaint}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How the node says it is.
    pub(super) fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.ask(&["status", "--json"])?)?)
    }

    fn id(&self) -> anyhow::Result<String> {
        let status = self.status()?;
        let id = status["node"]["id"].as_str();
        Ok(id.context("the node's id")?.to_owned())
    }

    /// Has nothing to do with the others, or hears them again.
    pub(super) fn cut(&self, others: &[&Self], is_cut: bool) -> anyhow::Result<()> {
        for other in others {
            let id = other.id()?;
            let lift = (!is_cut).then_some("--lift");
            let arguments: Vec<&str> = ["node", "block", &id].into_iter().chain(lift).collect();
            self.ask(&arguments)?;
        }
        Ok(())
    }

    /// Ends as in a power cut.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends as it is asked to, for a while.
    pub(super) fn pause(&mut self) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?).context("the node's id")?;
        kill_process(id, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "verge serve ended with {status}");
        Ok(())
    }

    /// Puts its clock ahead of the machine's from its next start on, or right again.
    pub(super) fn put_ahead(&self, seconds: Option<u64>) -> anyhow::Result<()> {
        let path = self.data.join(crate::config::FILE_NAME);
        let config = std::fs::read_to_string(&path)?;
        let lines = config
            .lines()
            .filter(|line| !line.starts_with("test_ahead_s"));
        let mut text = String::new();
        for line in lines {
            text.push_str(&format!("{line}\n"));
            if let ("[time]", Some(seconds)) = (line, seconds) {
                text.push_str(&format!("test_ahead_s = {seconds}\n"));
            }
        }
        Ok(std::fs::write(&path, text)?)
    }

    /// Runs again.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        *self = Self::serve(&self.data.clone())?;
        Ok(())
    }

    /// Loses everything but the seed.
    pub(super) fn wipe(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        for entry in std::fs::read_dir(&self.data)? {
            let entry = entry?;
            if entry.file_name() == SEED_FILE {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// One command, with a ticket of another node.
    pub(super) fn restore(&mut self, other: &Self) -> anyhow::Result<()> {
        let mut init = verge("init", &self.data)?;
        init.args(["--join", &other.ticket()?]).args(ports(0, 0));
        run(init.stdout(Stdio::null()))?;
        self.start()
    }

    fn ticket(&self) -> anyhow::Result<String> {
        let printed = self.ask(&["provider", "invite"])?;
        let line = printed.lines().last();
        Ok(line.context("a ticket")?.to_owned())
    }

    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.pause()
    }
}

/// Ends with the demo, however that ends.
impl Drop for House {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A provider joins by the ticket of the first, with the votes of all.
pub(super) fn join(data: &Path, provider: &str, members: &[&House]) -> anyhow::Result<House> {
    let [first, ..] = members else {
        anyhow::bail!("nobody to ask");
    };
    let mut init = verge("init", data)?;
    init.args(["--join", &first.ticket()?, "--provider", provider])
        .args(ports(0, 0))
        .stdout(Stdio::piped());
    let mut newcomer = init.spawn().context("start verge init")?;
    let output = newcomer.stdout.take().context("its output")?;
    let mut lines = BufReader::new(output).lines();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains("wait until") {
            say(&format!("  {}: {line}", letter(data)));
            break;
        }
    }
    for member in members {
        approve(member, provider)?;
    }
    // To its end, so that it never waits for a reader.
    for line in lines {
        line?;
    }
    let status = newcomer.wait()?;
    ensure!(status.success(), "verge init --join ended with {status}");
    House::serve(data)
}

/// Votes as soon as the newcomer, or the step with it, is known there.
fn approve(member: &House, provider: &str) -> anyhow::Result<()> {
    let begun = stopwatch();
    loop {
        match member.ask(&["provider", "approve", provider, "--yes"]) {
            Ok(_) => return Ok(()),
            Err(error) if is_overdue(begun) => return Err(error),
            Err(_not_yet) => {
                let listed = member.ask(&["region", "status"])?;
                if listed.contains(&format!("   {provider} (")) {
                    return Ok(());
                }
            }
        }
    }
}

fn ports(https: u16, ssh: u16) -> [String; 5] {
    [
        "--ca=local".to_owned(),
        "--listen-http=127.0.0.1:0".to_owned(),
        format!("--listen-https=127.0.0.1:{https}"),
        format!("--listen-ssh=127.0.0.1:{ssh}"),
        "--listen-nodes=127.0.0.1:0".to_owned(),
    ]
}

/// All nodes of the demo have the clock of one machine: what they serve need not wait for a day until
/// they have agreed on it.
fn trust_clock(data: &Path) -> anyhow::Result<()> {
    let path = data.join(crate::config::FILE_NAME);
    let config = std::fs::read_to_string(&path)?;
    let trusted = config.replace("clock = \"checked\"", "clock = \"trusted\"");
    Ok(std::fs::write(&path, trusted)?)
}

fn letter(data: &Path) -> String {
    let name = data.file_name().unwrap_or_default();
    name.to_string_lossy().to_uppercase()
}

fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("find the verge binary")
}

/// This very binary.
fn verge(verb: &str, data: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(own_program()?);
    command.arg(verb).arg("--data").arg(data);
    Ok(command)
}
