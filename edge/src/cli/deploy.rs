//! `verge deploy`: a folder of the node's machine, or a push that its account signs.

use super::Data;
use super::sign_with::{ROUND_COUNT_MAX, SignWith, read, sign};
use crate::admin::Request;
use crate::receive::options;
use crate::signing::{OwnKey, to_sign_in};
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use verge_sync::record::{Body, Draft, Kind};

/// `verge deploy`
#[derive(Debug, Args)]
pub struct Deploy {
    /// The folder to publish, on the machine of the node.
    #[arg(required_unless_present = "remote", requires = "site")]
    folder: Option<PathBuf>,
    /// The site.
    #[arg(long)]
    site: Option<String>,
    /// Publish the repository in which this runs instead, by pushing to this remote: the machine of
    /// the publisher, who signs with --sign-with.
    #[arg(long, value_name = "REMOTE", conflicts_with_all = ["folder", "site"], requires = "sign_with")]
    remote: Option<String>,
    /// With --remote: the branch that is pushed; without it the one that is checked out.
    #[arg(long, requires = "remote")]
    branch: Option<String>,
    /// With --remote: push even if it rewrites history.
    #[arg(long, requires = "remote")]
    force: bool,
    #[command(flatten)]
    sign: SignWith,
    #[command(flatten)]
    data: Data,
}

/// What a signed deploy can take: it, and a new epoch before it.
const KINDS: [Kind; 2] = [Kind::DEPLOY, Kind::SITE];

impl Deploy {
    /// Carries it out.
    ///
    /// # Errors
    /// In sentences.
    pub fn run(self) -> anyhow::Result<()> {
        match (&self.folder, &self.remote, &self.sign.sign_with) {
            (None, Some(remote), Some(key)) => self.push(remote, &OwnKey::open(key)?),
            _ => self.deploy_folder(),
        }
    }

    fn deploy_folder(&self) -> anyhow::Result<()> {
        let folder = self.folder.clone().unwrap_or_default();
        let folder = folder
            .canonicalize()
            .with_context(|| format!("read {}", folder.display()))?;
        if !folder.is_dir() {
            bail!("{} is not a folder", folder.display());
        }
        let site = self.site.clone().unwrap_or_default();
        let request = |signer| Request::Deploy {
            site: site.clone(),
            folder: folder.clone(),
            signer,
        };
        self.sign.ask(&self.data, &KINDS, request)
    }

    /// Pushes, signs what the node then asks for, and pushes the same commit with it.
    fn push(&self, remote: &str, key: &OwnKey) -> anyhow::Result<()> {
        let branch = match &self.branch {
            Some(branch) => branch.clone(),
            None => git(&["symbolic-ref", "--short", "HEAD"])
                .context("no branch is checked out: name one with --branch")?,
        };
        let commit = git(&[
            "rev-parse",
            "--verify",
            "--end-of-options",
            &format!("{branch}^{{commit}}"),
        ])?;
        let force = if self.force { "+" } else { "" };
        let push = Push {
            remote,
            refspec: format!("{force}{commit}:refs/heads/{branch}"),
        };
        let mut option = options::ASK.to_owned();
        for _ in 0..ROUND_COUNT_MAX {
            let Some(line) = push.run(&option)? else {
                return Ok(());
            };
            let draft = read(&line, &KINDS)?;
            check_commit(&draft, &commit)?;
            let signed = sign(&draft, key, self.sign.yes)?;
            option = format!("{}{signed}", options::SIGNED);
        }
        bail!("the node asks for one signature after the other: nothing more was signed")
    }
}

/// A deploy that is signed here is one of the commit that was pushed.
fn check_commit(draft: &Draft, commit: &str) -> anyhow::Result<()> {
    let Body::Deploy(body) = Body::decode(draft.envelope.kind, &draft.body)? else {
        return Ok(());
    };
    let git = body.git.map(|git| git.commit).unwrap_or_default();
    let named: String = git.iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(
        named == commit,
        "the node asks for a signature of commit {named:?}, and {commit} was pushed: nothing was signed"
    );
    Ok(())
}

/// What git prints, in one line.
fn git(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .context("run git")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

struct Push<'a> {
    remote: &'a str,
    refspec: String,
}

impl Push<'_> {
    /// Pushes with an option, and shows what the node says; gives the line that it wants signed.
    #[expect(clippy::print_stderr, reason = "what git says goes where git says it")]
    fn run(&self, option: &str) -> anyhow::Result<Option<String>> {
        let mut child = Command::new("git")
            .args(["push", "--push-option", option, self.remote])
            .arg(&self.refspec)
            .stderr(Stdio::piped())
            .spawn()
            .context("run git")?;
        let mut asked = None;
        let mut last = Vec::new();
        if let Some(said) = child.stderr.take() {
            // Lines of a build end with a carriage return where they are written over.
            for line in BufReader::new(said).split(b'\n') {
                let line = line.context("read what git says")?;
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                match to_sign_in(&line) {
                    Some(found) => asked = Some(found.to_owned()),
                    // Git's own words about the refusal are of no use where it is only a question.
                    None if !line.starts_with("remote:") => last.push(line),
                    None => eprintln!("{line}"),
                }
            }
        }
        let is_pushed = child.wait().context("wait for git")?.success();
        if !is_pushed && asked.is_some() {
            return Ok(asked);
        }
        last.iter().for_each(|line| eprintln!("{line}"));
        ensure!(is_pushed, "the push was refused; nothing was published");
        Ok(None)
    }
}
