//! The real git, run by argument list in a closed environment and under limits.
//!
//! A child is a process group of its own, led by `verge confine`, which becomes git. Dropping a
//! [`GitChild`] kills the whole group. No death signal is asked of the kernel: it would fire when
//! the spawning *thread* ends; when the node itself dies, git loses its pipes and its hook the
//! node, and the push is refused.

use crate::cli::confine::Confine;
use crate::receive::{Limits, ReceiveError, hook_line};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// Where programs are looked for, whatever the steward's own `PATH` says.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Longest answer of git to one of our own questions: a list of 10,000 tags has about 1 MiB.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Longest pause while a killed group ends. It is met only where the machine's first process does
/// not reap orphans, as in some containers; they are dead all the same.
const GROUP_END_MAX: Duration = Duration::from_millis(500);

/// How git is run on this node.
#[derive(Debug)]
pub(crate) struct Git {
    verge: PathBuf,
    git: PathBuf,
    exec_path: PathBuf,
    hooks_dir: PathBuf,
    limits: Limits,
}

/// What a hook needs to find the node again.
pub(crate) struct HookEnvironment {
    pub(crate) socket: PathBuf,
    pub(crate) token: String,
}

/// The real git of this machine.
///
/// # Errors
/// [`ReceiveError::GitMissing`].
pub fn program() -> Result<PathBuf, ReceiveError> {
    let candidates = SEARCH_PATH.split(':').map(|dir| Path::new(dir).join("git"));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or(ReceiveError::GitMissing(SEARCH_PATH))
}

impl Git {
    /// Finds git and asks it where its own programs are.
    pub(crate) async fn find(
        verge: PathBuf,
        hooks_dir: PathBuf,
        limits: Limits,
    ) -> Result<Self, ReceiveError> {
        let git = program()?;
        let output = Command::new(&git)
            .arg("--exec-path")
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|source| ReceiveError::io("run", &git, source))?;
        let exec_path = String::from_utf8_lossy(&output.stdout).trim().into();
        Ok(Self {
            verge,
            git,
            exec_path,
            hooks_dir,
            limits,
        })
    }

    /// A command of git inside `repository`, ready to be spawned.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, repository: &Path, arguments: &[A]) -> Command {
        self.command_reading(repository, arguments, None)
    }

    /// The same, with one file more that it may read.
    fn command_reading<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: &[A],
        readable: Option<&Path>,
    ) -> Command {
        let mut program: Vec<OsString> = vec![self.git.clone().into()];
        for (key, value) in self.settings(repository) {
            program.push("-c".into());
            let mut setting = OsString::from(key);
            setting.push("=");
            setting.push(value);
            program.push(setting);
        }
        program.extend(arguments.iter().map(|a| a.as_ref().to_owned()));
        let mut confine = self.confine(repository, program);
        confine.read_only.extend(readable.map(Path::to_owned));
        let mut command = Command::new(&self.verge);
        command
            .args(confine.arguments())
            .current_dir(repository)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn confine(&self, repository: &Path, program: Vec<OsString>) -> Confine {
        Confine {
            data_bytes: Some(self.limits.git_data_bytes),
            cpu_s: Some(self.limits.git_cpu_s),
            // A repack writes the whole repository into one file.
            file_bytes: Some(self.limits.push_bytes.saturating_mul(4)),
            open_files: Some(256),
            // Counted per user, so only a fork bomb should meet it.
            processes: Some(4096),
            nice: 5,
            read_only: vec![
                self.exec_path.clone(),
                self.hooks_dir.clone(),
                self.verge.clone(),
                self.git.clone(),
            ],
            read_write: vec![repository.to_owned()],
            program,
        }
    }

    /// Settings given on every command line: they win over the repository's own file.
    fn settings(&self, repository: &Path) -> Vec<(&'static str, OsString)> {
        let fixed = [
            ("core.bigFileThreshold", "4m"),
            ("core.deltaBaseCacheLimit", "16m"),
            // A ref that a power cut leaves empty would block the site's next push.
            ("core.fsync", "committed"),
            ("core.packedGitLimit", "128m"),
            ("core.packedGitWindowSize", "8m"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("pack.deltaCacheSize", "16m"),
            ("pack.threads", "1"),
            ("pack.windowMemory", "32m"),
            // Whose account signs for itself says so beside its push.
            ("receive.advertisePushOptions", "true"),
            ("receive.autogc", "false"),
            ("receive.denyCurrentBranch", "ignore"),
            // Deletions and rewrites are judged in the hook, with a sentence each.
            ("receive.denyDeleteCurrent", "ignore"),
            ("receive.denyDeletes", "false"),
            ("receive.denyNonFastForwards", "false"),
            ("receive.fsckObjects", "true"),
            // `git push --mirror` would take our own refs for the pusher's and delete them.
            ("receive.hideRefs", "refs/verge"),
            ("receive.keepAlive", "5"),
            // A shallow clone in a build service may be the first to push a site.
            ("receive.shallowUpdate", "true"),
            // One pack per push, never 10,000 loose files.
            ("transfer.unpackLimit", "1"),
            ("transfer.fsckObjects", "true"),
            // What is just being brought in.
            ("transfer.hideRefs", "refs/verge/incoming"),
            ("uploadpack.allowAnySHA1InWant", "false"),
            ("uploadpack.allowFilter", "true"),
            ("uploadpack.keepAlive", "5"),
        ];
        let mut settings: Vec<_> = fixed.map(|(key, value)| (key, value.into())).into();
        settings.push(("core.hooksPath", self.hooks_dir.clone().into()));
        settings.push(("safe.directory", repository.into()));
        settings.push((
            "receive.maxInputSize",
            self.limits.push_bytes.to_string().into(),
        ));
        settings
    }

    /// Lets a command's hook find this node.
    pub(crate) fn with_hook(&self, command: &mut Command, hook: &HookEnvironment) {
        command
            .env(hook_line::SOCKET_VARIABLE, &hook.socket)
            .env(hook_line::TOKEN_VARIABLE, &hook.token)
            .env(hook_line::PROGRAM_VARIABLE, &self.verge);
    }

    /// Asks git something short; `Ok(None)` when it answers by a status other than 0.
    pub(crate) async fn ask<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: &[A],
        environment: &[(OsString, OsString)],
    ) -> Result<Option<String>, ReceiveError> {
        let mut command = self.command(repository, arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let question = Question {
            input: "",
            timeout: self.limits.finish_timeout,
        };
        Ok(self.answer(repository, &mut command, question).await?.ok())
    }

    /// Tells git something long, such as refs to be moved, or objects to be looked for.
    pub(crate) async fn tell<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: &[A],
        environment: &[(OsString, OsString)],
        input: &str,
    ) -> Result<Option<String>, ReceiveError> {
        let mut command = self.command(repository, arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let timeout = self.limits.command_timeout;
        let told = self.answer(repository, &mut command, Question { input, timeout });
        Ok(told.await?.ok())
    }

    /// Packs everything into one, which may take long.
    pub(crate) async fn repack(&self, repository: &Path) -> Result<Option<String>, ReceiveError> {
        self.tell(repository, &["repack", "-a", "-d", "-q"], &[], "")
            .await
    }

    /// Takes in the bundle in a file, as refs under `into`: every object checked, none left out. The
    /// inner error is what git says against it.
    pub(crate) async fn fetch_bundle(
        &self,
        repository: &Path,
        bundle: &Path,
        into: &str,
    ) -> Result<Result<(), String>, ReceiveError> {
        let options = [
            // The refs are there for a moment, and a crash loses nothing with them.
            "-c",
            "core.fsync=objects",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
        ];
        let refs = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:{into}/{kind}/*"));
        let mut arguments: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        arguments.push(bundle.as_os_str());
        arguments.extend(refs.iter().map(OsStr::new));
        let mut command = self.command_reading(repository, &arguments, Some(bundle));
        let question = Question {
            input: "",
            timeout: self.limits.command_timeout,
        };
        let fetched = self.answer(repository, &mut command, question).await?;
        Ok(fetched.map(drop))
    }

    /// Packs the objects that `wanted` (the input of `git pack-objects --revs`) leads to and appends
    /// them to a file: they never pass through this process. The inner error is why git
    /// would not.
    pub(crate) async fn pack(
        &self,
        repository: &Path,
        environment: &[(OsString, OsString)],
        wanted: &str,
        into: std::fs::File,
    ) -> Result<Result<(), String>, ReceiveError> {
        // "Shallow" lets git leave out what the commits have that are known, too, and not only what
        // their common ancestors have: a rewritten commit would bring every file again.
        let arguments = [
            "pack-objects",
            "--revs",
            "--thin",
            "--shallow",
            "--stdout",
            "-q",
        ];
        let mut command = self.command(repository, &arguments);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdout(into);
        let question = Question {
            input: wanted,
            timeout: self.limits.command_timeout,
        };
        let packed = self.answer(repository, &mut command, question).await?;
        Ok(packed.map(drop))
    }

    /// Runs a command that has nothing to say, and may take long.
    pub(crate) async fn run(
        &self,
        repository: &Path,
        command: &mut Command,
    ) -> Result<(), ReceiveError> {
        let io = |source| ReceiveError::io("run git in", repository, source);
        let mut child = GitChild::spawn(command).map_err(io)?;
        let ended = tokio::time::timeout(self.limits.command_timeout, child.wait());
        let status = ended.await.map_err(|_elapsed| ReceiveError::GitSilent)?;
        if status.map_err(io)?.success() {
            Ok(())
        } else {
            Err(ReceiveError::Repository(repository.to_owned()))
        }
    }

    async fn answer(
        &self,
        repository: &Path,
        command: &mut Command,
        question: Question<'_>,
    ) -> Result<Result<String, String>, ReceiveError> {
        let io = |source| ReceiveError::io("run git in", repository, source);
        let Question { input, timeout } = question;
        let mut child = GitChild::spawn(command).map_err(io)?;
        let (stdin, stdout) = (child.child.stdin.take(), child.child.stdout.take());
        let stderr = child.child.stderr.take();
        let ended = async {
            let (told, answer, complaint) =
                tokio::join!(say(stdin, input), hear(stdout), hear(stderr));
            // What git does not want to hear it says by its status.
            if let Err(error) = told {
                tracing::debug!(%error, "git does not listen");
            }
            let (answer, complaint) = (answer?, complaint?);
            Ok((child.wait().await?, answer, complaint))
        };
        // When time is up the child is dropped, and with it its whole group.
        let (status, answer, complaint) = tokio::time::timeout(timeout, ended)
            .await
            .map_err(|_elapsed| ReceiveError::GitSilent)?
            .map_err(io)?;
        if !status.success() {
            tracing::debug!(complaint, "git refused");
            return Ok(Err(complaint));
        }
        Ok(Ok(answer))
    }
}

/// What git is told, and how long it may think about it.
struct Question<'a> {
    input: &'a str,
    timeout: Duration,
}

/// Writes all of `text`, and closes.
async fn say(to: Option<ChildStdin>, text: &str) -> std::io::Result<()> {
    match to {
        Some(mut to) => to.write_all(text.as_bytes()).await,
        None => Ok(()),
    }
}

/// All that git says there. More than [`ANSWER_BYTES_MAX`] is not heard, and git meets a closed pipe.
async fn hear(from: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut heard = Vec::new();
    if let Some(from) = from {
        from.take(ANSWER_BYTES_MAX).read_to_end(&mut heard).await?;
    }
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

/// A running git whose end is also the end of everything that it started.
pub(crate) struct GitChild {
    child: Child,
    group: Option<rustix::process::Pid>,
}

impl GitChild {
    pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Self> {
        let child = command.stdin(Stdio::piped()).spawn()?;
        let group = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw);
        Ok(Self { child, group })
    }

    /// The process group of git and of everything that it starts.
    pub(crate) fn group(&self) -> Option<rustix::process::Pid> {
        self.group
    }

    /// The three pipes; each can be taken once.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        let stdin = self.child.stdin.take()?;
        Some((stdin, self.child.stdout.take()?, self.child.stderr.take()?))
    }

    /// Waits for the end, then ends whatever the leader left behind.
    pub(crate) async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await;
        self.kill_rest();
        status
    }

    /// Kills the whole group and waits until it is gone: what git started would otherwise still
    /// write into a repository that is being tidied.
    pub(crate) async fn kill(&mut self) {
        let group = self.group;
        self.kill_rest();
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "wait for git");
        }
        let Some(group) = group else { return };
        // The others are not our children, so nobody tells us of their end.
        let mut pause = Duration::from_millis(1);
        while rustix::process::test_kill_process_group(group).is_ok() && pause < GROUP_END_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    fn kill_rest(&mut self) {
        if let Some(group) = self.group.take() {
            let kill = rustix::process::kill_process_group;
            if let Err(error) = kill(group, rustix::process::Signal::KILL) {
                // "No such process" is the good case: everything has ended already.
                tracing::trace!(%error, "kill git");
            }
        }
    }
}

impl Drop for GitChild {
    fn drop(&mut self) {
        self.kill_rest();
    }
}
