//! Ana, who publishes: her key, her folder, the real git.

use super::pages::copy_folder;
use super::street::House;
use super::{MANUAL, SITE};
use crate::cli::manual;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Publisher {
    folder: PathBuf,
    work: PathBuf,
}

impl Publisher {
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let publisher = Self {
            folder: folder.to_owned(),
            work: folder.join("work"),
        };
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana", "-f"])
            .arg(publisher.key());
        run(&mut keygen)?;
        Ok(publisher)
    }

    fn key(&self) -> PathBuf {
        self.folder.join("ana")
    }

    pub(super) fn public_key(&self) -> String {
        self.key().with_extension("pub").display().to_string()
    }

    /// What she has written.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Begins with a copy of a website.
    pub(super) fn take(&self, source: &Path) -> anyhow::Result<()> {
        copy_folder(source, &self.work)?;
        run(self.git().args(["init", "-q", "-b", "main"]))
    }

    pub(super) fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let path = self.work.join(path);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn push(&self, house: &House, message: &str) -> anyhow::Result<()> {
        let address = house.ssh().context("the node does not listen for SSH")?;
        let url = format!("ssh://git@{address}/{SITE}");
        for arguments in [
            &["add", "-A"][..],
            &["commit", "-q", "-m", message],
            &["push", &url, "main"],
        ] {
            run(self.git().args(arguments))?;
        }
        Ok(())
    }

    /// A second site, published without git.
    pub(super) fn deploy_manual(&self, house: &House) -> anyhow::Result<()> {
        let folder = self.folder.join(MANUAL);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("index.html"), manual::page())?;
        std::fs::write(folder.join("manual.css"), manual::STYLE)?;
        house.run(&["site", "create", MANUAL, "--owner", "ana"])?;
        let folder = folder.display().to_string();
        house.run(&["deploy", &folder, "--site", MANUAL])
    }

    fn git(&self) -> Command {
        let ssh = format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new \
             -o UserKnownHostsFile={} -o LogLevel=ERROR",
            self.key().display(),
            self.folder.join("known_hosts").display()
        );
        let mut git = Command::new("git");
        git.arg("-C")
            .arg(&self.work)
            .env("GIT_SSH_COMMAND", ssh)
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.args(["-c", "user.name=Ana", "-c", "user.email=ana@demo.localhost"]);
        git
    }
}

/// Runs a program that writes to the terminal.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}
