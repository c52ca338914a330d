//! A commit as a source: read from objects by the real `git`, never checked out.
//!
//! Processes in a closed environment: `ls-tree`, read while it writes and killed at the first
//! broken limit (a dozen trees can name 10^11 files), then one `cat-file --batch` per reader of
//! contents. All end with the values that own them.

use super::{File, Folder, Kind, Listing};
use crate::error::{BuildError, shown};
use crate::limits::Limits;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// 64 KiB: what a pipe holds.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// The longest line of `ls-tree` that is read: mode, type, digest and size, then a path, which may
/// be far longer than a site's may be before the depth limit sees it.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Memory of one `git`, as small as where the node takes a push: a build has one limit for its own
/// and every reader's memory, and a hostile pack would otherwise take it all.
const SETTINGS: [&str; 4] = [
    "core.bigFileThreshold=4m",
    "core.deltaBaseCacheLimit=16m",
    "core.packedGitLimit=128m",
    "core.packedGitWindowSize=8m",
];

/// How to start `git` on one repository.
#[derive(Clone)]
pub(super) struct Git {
    program: PathBuf,
    git_dir: PathBuf,
    objects_env: Vec<(OsString, OsString)>,
}

impl Git {
    pub(super) fn new(
        program: &Path,
        git_dir: &Path,
        objects_env: &[(OsString, OsString)],
    ) -> Self {
        Self {
            program: program.to_owned(),
            git_dir: git_dir.to_owned(),
            objects_env: objects_env.to_vec(),
        }
    }

    /// Lists every entry below `commit`, submodules and folders too.
    pub(super) fn list(&self, commit: &str, limits: &Limits) -> Result<Folder, BuildError> {
        let is_id =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return Err(BuildError::Git(format!("{commit:?} is not a commit id")));
        }
        let mut process = self.start(
            &["ls-tree", "-r", "-t", "-z", "--long", "--full-tree", commit],
            Stdio::null(),
        )?;
        let mut out = BufReader::with_capacity(PIECE_BYTES, process.take_stdout()?);
        let tree = list_from(&mut out, limits)?;
        process.finish("ls-tree")?;
        Ok(tree)
    }

    /// Starts the process that all contents come from.
    pub(super) fn objects(&self) -> Result<Objects, BuildError> {
        let mut process = self.start(&["cat-file", "--batch"], Stdio::piped())?;
        let ask = process.child.stdin.take();
        let ask = ask.ok_or_else(|| BuildError::Git("no pipe".to_owned()))?;
        let answer = BufReader::with_capacity(PIECE_BYTES, process.take_stdout()?);
        Ok(Objects {
            git: self.clone(),
            ask,
            answer,
            _process: process,
        })
    }

    /// Only what is named here reaches git: no user's or machine's configuration, no replaced
    /// objects, no fetching of missing ones.
    fn start(&self, arguments: &[&str], stdin: Stdio) -> Result<Process, BuildError> {
        let child = Command::new(&self.program)
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .args(arguments)
            .env_clear()
            .envs(self.objects_env.iter().map(|(name, value)| (name, value)))
            .env("GIT_DIR", &self.git_dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("LC_ALL", "C")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(BuildError::disk("run", &self.program))?;
        Ok(Process { child })
    }
}

/// A running `git`, ended with this value.
struct Process {
    child: Child,
}

impl Process {
    fn take_stdout(&mut self) -> Result<ChildStdout, BuildError> {
        let stdout = self.child.stdout.take();
        stdout.ok_or_else(|| BuildError::Git("no pipe".to_owned()))
    }

    fn finish(mut self, what: &str) -> Result<(), BuildError> {
        let status = self.child.wait().map_err(pipe)?;
        if status.success() {
            Ok(())
        } else {
            Err(BuildError::Git(format!("{what}: {status}")))
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended is the usual case, and there is nobody left to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `cat-file --batch`, asked for one object at a time.
pub(crate) struct Objects {
    git: Git,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
    _process: Process,
}

impl Objects {
    /// Starts one more process on the same repository.
    pub(super) fn another(&self) -> Result<Self, BuildError> {
        self.git.objects()
    }

    pub(super) fn read(
        &mut self,
        file: &File,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let object = file.object.as_deref().unwrap_or_default();
        self.ask
            .write_all(format!("{object}\n").as_bytes())
            .map_err(pipe)?;
        let mut head = Vec::new();
        let mut bounded = (&mut self.answer).take(200);
        bounded.read_until(b'\n', &mut head).map_err(pipe)?;
        let expected = format!("{object} blob {}\n", file.bytes);
        if head != expected.as_bytes() {
            return Err(unexpected(&head));
        }
        let mut left = file.bytes;
        while left > 0 {
            let piece = self.answer.fill_buf().map_err(pipe)?;
            let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(BuildError::Git("cat-file ended early".to_owned()));
            }
            sink(piece.get(..count).unwrap_or_default())?;
            self.answer.consume(count);
            left = left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        let mut end = [0; 1];
        self.answer.read_exact(&mut end).map_err(pipe)
    }
}

/// Reads what `ls-tree -z` writes, as far as the limits allow.
pub(crate) fn list_from(out: &mut impl BufRead, limits: &Limits) -> Result<Folder, BuildError> {
    let mut listing = Listing::new(limits);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut *out).take(LINE_BYTES_MAX);
        bounded.read_until(0, &mut line).map_err(pipe)?;
        match line.pop() {
            None => return Ok(listing.finish()),
            Some(0) => {}
            Some(_) => return Err(unexpected(&line)),
        }
        let (path, kind) = parse_line(&line).ok_or_else(|| unexpected(&line))?;
        listing.add(path, kind)?;
    }
}

/// `<mode> <type> <object> <padded size>\t<path>`, the form of `ls-tree --long`.
fn parse_line(line: &[u8]) -> Option<(&[u8], Kind)> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let path = line.get(tab + 1..)?;
    let mut words = std::str::from_utf8(line.get(..tab)?)
        .ok()?
        .split_ascii_whitespace();
    let (mode, _type, object, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "040000" => Kind::Folder,
        "160000" => Kind::Submodule,
        "120000" => Kind::Link {
            bytes: size.parse().ok()?,
            object: Some(object.to_owned()),
        },
        _ if mode.starts_with("100") => Kind::File {
            bytes: size.parse().ok()?,
            object: Some(object.to_owned()),
        },
        _ => return None,
    };
    Some((path, kind))
}

fn unexpected(line: &[u8]) -> BuildError {
    BuildError::Git(format!("it says {:?}", shown(line)))
}

fn pipe(error: std::io::Error) -> BuildError {
    BuildError::Git(error.to_string())
}
