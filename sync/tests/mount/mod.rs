//! A file system that is mounted for one test and gone with it. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What is really in use stays so; what a starting program holds is free after one or two.
const UMOUNT_ATTEMPTS_MAX: usize = 20;

/// A mounted file system; unmounted when dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// Mounts at `point`, made if it is missing, with these arguments of mount(8).
    pub(crate) fn new(point: &Path, arguments: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a file system and must be run by root"
        );
        std::fs::create_dir_all(point).unwrap();
        let mut command = vec!["mount"];
        command.extend(arguments);
        command.push(text(point));
        run(&command);
        Self(point.to_owned())
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let umount = |option: &[&str]| {
            let status = Command::new("umount").args(option).arg(&self.0).status();
            status.is_ok_and(|status| status.success())
        };
        // A program that another test is just starting has, until it is another program, all that
        // is open here: it holds the mount for a moment. Seen once in 2,000 times.
        if (0..UMOUNT_ATTEMPTS_MAX).any(|_| umount(&[])) {
            return;
        }
        // A test that panics may have files open; the mount must not outlive it all the same.
        let is_gone = umount(&["-l"]);
        let is_panicking = std::thread::panicking();
        assert!(
            is_panicking,
            "{} is in use (and now gone: {is_gone})",
            self.0.display()
        );
    }
}

/// Runs a program, which must succeed.
pub(crate) fn run(command: &[&str]) {
    let output = Command::new(command[0]).args(&command[1..]).output();
    let output = output.unwrap_or_else(|error| unreachable!("{}: {error}", command[0]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
