//! Real repositories, also hostile ones, made with the real `git`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use verge_builder::Source;

/// A bare repository.
pub(crate) struct Repository {
    root: TempDir,
}

impl Repository {
    pub(crate) fn new() -> Self {
        let repository = Self {
            root: tempfile::tempdir().unwrap(),
        };
        repository.git(&["init", "--quiet", "--bare"], b"");
        repository
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Runs git with `input` and gives its output without the last line feed.
    pub(crate) fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("GIT_DIR", self.root.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_AUTHOR_NAME", "a")
            .env("GIT_AUTHOR_EMAIL", "a@example.org")
            .env("GIT_COMMITTER_NAME", "a")
            .env("GIT_COMMITTER_EMAIL", "a@example.org")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> String {
        self.git(&["hash-object", "-w", "--stdin", "--no-filters"], bytes)
    }

    /// A tree of (mode, object, name) rows, written as they are: `git mktree` would refuse some.
    pub(crate) fn tree(&self, rows: &[(&str, &str, &[u8])]) -> String {
        let mut bytes = Vec::new();
        for (mode, object, name) in rows {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend(
                (0..20).map(|at| u8::from_str_radix(&object[at * 2..at * 2 + 2], 16).unwrap()),
            );
        }
        let arguments = ["hash-object", "-w", "--stdin", "-t", "tree", "--literally"];
        self.git(&arguments, &bytes)
    }

    pub(crate) fn commit(&self, tree: &str) -> String {
        self.git(&["commit-tree", tree, "-m", "x"], b"")
    }

    /// A commit of these files.
    pub(crate) fn commit_files(&self, files: &[(&str, &[u8])]) -> String {
        let mut stream =
            b"commit refs/heads/main\ncommitter a <a@example.org> 0 +0000\ndata 1\nx\n".to_vec();
        stream.extend_from_slice(b"deleteall\n");
        for (path, bytes) in files {
            stream.extend_from_slice(
                format!("M 100644 inline {path}\ndata {}\n", bytes.len()).as_bytes(),
            );
            stream.extend_from_slice(bytes);
            stream.push(b'\n');
        }
        self.git(&["fast-import", "--quiet", "--force"], &stream);
        self.git(&["rev-parse", "refs/heads/main"], b"")
    }

    pub(crate) fn source(&self, commit: &str) -> Source {
        Source::Git {
            program: PathBuf::from("git"),
            git_dir: self.root.path().to_owned(),
            objects_env: Vec::new(),
            commit: commit.to_owned(),
        }
    }
}
