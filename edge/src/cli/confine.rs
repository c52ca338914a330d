//! `verge confine -- PROGRAM ARGS` (hidden): puts limits on itself, then becomes PROGRAM.
//!
//! The node starts every foreign program this way, because limits set after a fork would need
//! unsafe code in the node, and a limit set by the child itself before `exec` needs none.
//! The resource limits and the end of set-user-id hold or nothing is run. Landlock is best effort:
//! a kernel without it still runs git, and [`landlock_supported`] lets the node say so once at its
//! start. What Landlock does not judge here: Unix sockets by path, and UDP. Whoever listens on a
//! socket of this user must ask for more than that it was found, as the hook's does.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The newest Landlock rules this code knows the meaning of. Later ones would also judge the
/// connection to the node's own socket, which the hook needs.
const LANDLOCK_ABI: ABI = ABI::V6;

/// What every dynamically linked program has to read.
const SYSTEM_DIRS: [&str; 8] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
];

/// Devices that harmless programs open.
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];

/// Status of a child that could not be confined or started, as `env(1)` and the shell use it.
const EXIT_NOT_STARTED: u8 = 126;

/// The limits of one child process, and the program that it becomes.
#[derive(Debug, Clone, clap::Args)]
pub struct Confine {
    /// Largest data segment, in bytes (`RLIMIT_DATA`).
    #[arg(long, value_name = "BYTES")]
    pub data_bytes: Option<u64>,
    /// Processor time, in seconds (`RLIMIT_CPU`).
    #[arg(long, value_name = "SECONDS")]
    pub cpu_s: Option<u64>,
    /// Largest file that may be written, in bytes (`RLIMIT_FSIZE`).
    #[arg(long, value_name = "BYTES")]
    pub file_bytes: Option<u64>,
    /// Open files (`RLIMIT_NOFILE`).
    #[arg(long, value_name = "COUNT")]
    pub open_files: Option<u64>,
    /// Processes and threads of this user (`RLIMIT_NPROC`).
    #[arg(long, value_name = "COUNT")]
    pub processes: Option<u64>,
    /// How much to yield to others, 0 to 19.
    #[arg(long, value_name = "LEVEL", default_value_t = 5)]
    pub nice: u8,
    /// A file or folder that may be read and executed, besides the system's.
    #[arg(long, value_name = "PATH")]
    pub read_only: Vec<PathBuf>,
    /// A file or folder that may be written.
    #[arg(long, value_name = "PATH")]
    pub read_write: Vec<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

impl Confine {
    /// The arguments after `verge` that parse back to this value.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["confine".into()];
        let numbers = [
            ("--data-bytes", self.data_bytes),
            ("--cpu-s", self.cpu_s),
            ("--file-bytes", self.file_bytes),
            ("--open-files", self.open_files),
            ("--processes", self.processes),
            ("--nice", Some(u64::from(self.nice))),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                arguments.extend([name.into(), value.to_string().into()]);
            }
        }
        for (name, paths) in [
            ("--read-only", &self.read_only),
            ("--read-write", &self.read_write),
        ] {
            for path in paths {
                arguments.extend([name.into(), path.into()]);
            }
        }
        arguments.push("--".into());
        arguments.extend(self.program.iter().cloned());
        arguments
    }
}

/// Whether this kernel confines files with Landlock.
#[must_use]
pub fn landlock_supported() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(|ruleset| ruleset.create())
        .is_ok()
}

/// Applies the limits and becomes the program; returns only when that could not be done.
#[must_use]
pub fn run(confine: &Confine) -> ExitCode {
    let Some((program, arguments)) = confine.program.split_first() else {
        return ExitCode::from(2);
    };
    let problem = match limit(confine) {
        Ok(()) => {
            let error = Command::new(program).args(arguments).exec();
            format!("run {}: {error}", Path::new(program).display())
        }
        Err(error) => format!("confine: {error}"),
    };
    let said = writeln!(std::io::stderr(), "verge: {problem}");
    drop(said);
    ExitCode::from(EXIT_NOT_STARTED)
}

#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error("limit {name} to {value}: {source}")]
    Resource {
        name: &'static str,
        value: u64,
        source: rustix::io::Errno,
    },
    #[error("give up set-user-id programs: {0}")]
    Privileges(rustix::io::Errno),
    #[error("landlock")]
    Landlock(#[from] RulesetError),
}

fn limit(confine: &Confine) -> Result<(), ConfineError> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // Refused only to a process that already yields more: nothing is lost.
    if let Err(error) = rustix::process::nice(i32::from(confine.nice.min(19))) {
        tracing::debug!(%error, "nice");
    }
    let limits = [
        ("core", Resource::Core, Some(0)),
        ("data", Resource::Data, confine.data_bytes),
        ("cpu", Resource::Cpu, confine.cpu_s),
        ("file size", Resource::Fsize, confine.file_bytes),
        ("open files", Resource::Nofile, confine.open_files),
        ("processes", Resource::Nproc, confine.processes),
    ];
    for (name, resource, value) in limits {
        if let Some(value) = value {
            lower(name, resource, value)?;
        }
    }
    // Landlock's library tries this too, but goes on without it.
    rustix::thread::set_no_new_privs(true).map_err(ConfineError::Privileges)?;
    restrict_files(confine)?;
    Ok(())
}

/// A limit that is already lower stays as it is: raising it is refused to ordinary users.
fn lower(name: &'static str, resource: Resource, value: u64) -> Result<(), ConfineError> {
    let standing = rustix::process::getrlimit(resource).maximum;
    let value = standing.map_or(value, |standing| standing.min(value));
    let limit = Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(resource, limit).map_err(|source| ConfineError::Resource {
        name,
        value,
        source,
    })
}

/// Files: the system read-only, the given paths, nothing else. Network: no TCP at all.
/// Signals: none to processes outside.
fn restrict_files(confine: &Confine) -> Result<(), ConfineError> {
    let read = AccessFs::from_read(LANDLOCK_ABI);
    let all = AccessFs::from_all(LANDLOCK_ABI);
    let readable = SYSTEM_DIRS.iter().map(Path::new);
    let readable = readable.chain(confine.read_only.iter().map(PathBuf::as_path));
    let writable = DEVICES.iter().map(Path::new);
    let writable = writable.chain(confine.read_write.iter().map(PathBuf::as_path));
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
        .scope(Scope::Signal)?
        .create()?
        .add_rules(path_beneath_rules(readable, read))?
        .add_rules(path_beneath_rules(writable, all))?
        .restrict_self()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    enum Verge {
        Confine(Confine),
    }

    #[test]
    fn arguments_parse_back_to_the_same_limits() {
        let confine = Confine {
            data_bytes: Some(1),
            cpu_s: None,
            file_bytes: Some(3),
            open_files: Some(4),
            processes: None,
            nice: 7,
            read_only: vec!["/a b".into(), "/c".into()],
            read_write: vec![],
            program: vec!["git".into(), "--version".into(), "--".into()],
        };
        let mut line = vec![OsString::from("verge")];
        line.extend(confine.arguments());
        let Verge::Confine(back) = Verge::try_parse_from(line).expect("it parses");
        assert_eq!(back.program, confine.program);
        assert_eq!((back.data_bytes, back.cpu_s, back.nice), (Some(1), None, 7));
        assert_eq!(back.read_only, [PathBuf::from("/a b"), PathBuf::from("/c")]);
    }
}
