//! The node's end of the hook: a Unix socket, and a one-time token for each push.
//!
//! A token is believed only from the process group of the push's own git, because a program of
//! the same user may read it out of that git's environment.
//!
//! Owns the socket file and one accepting task, which ends when the [`HookSocket`] is dropped.
//! Each connection has [`HELLO_TIMEOUT`] to say all that it has to say, in bounded lines.

use crate::receive::hook_line::{GREETING, LINE_BYTES_MAX, SCRIPT};
use crate::receive::options;
use crate::receive::quarantine::make_private_dir;
use crate::receive::refs::RefUpdate;
use crate::receive::words::printable;
use crate::receive::{Config, ReceiveError};
use rustix::process::Pid;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

/// A hook has its lines ready when it connects.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that have not yet said whose hook they are.
const HELLOS_MAX: usize = 16;
/// All lines of one hook: more than `verge hook` sends.
const HELLO_BYTES_MAX: u64 = 2 << 20;
/// `sun_path` has 108 bytes and a closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The hook that git runs before any ref moves.
const SCRIPT_NAME: &str = "pre-receive";

pub(super) type Token = [u8; 32];
type Waiting = Arc<Mutex<Vec<WaitingPush>>>;

/// A push whose hook has not come yet.
struct WaitingPush {
    token: Token,
    /// Not known before git is started, which is before it can run a hook.
    group: Arc<OnceLock<Pid>>,
    sender: oneshot::Sender<HookRequest>,
}

/// What a push's hook has to say, and the way to answer it.
pub(crate) struct HookRequest {
    pub(crate) quarantine: Option<PathBuf>,
    /// What the publisher has said beside the push; one more than allowed stands for any more.
    pub(crate) options: Vec<String>,
    /// One more than allowed stands for any larger number.
    pub(crate) updates: Vec<RefUpdate>,
    pub(crate) reply: HookReply,
}

/// The way back to the pusher's terminal.
pub(crate) struct HookReply {
    stream: OwnedWriteHalf,
    lines_left: usize,
}

impl HookReply {
    /// Shows a text, line by line. Lines over the limit are left out, and that is said once.
    pub(crate) async fn log(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            match self.lines_left {
                0 => return Ok(()),
                1 => {
                    self.write("log", "(the log is too long; the rest is left out)")
                        .await?
                }
                _ => self.write("log", line).await?,
            }
            self.lines_left -= 1;
        }
        Ok(())
    }

    /// Shows the last lines, whatever was logged before, and ends the hook.
    pub(crate) async fn finish(mut self, lines: &[String], status: u8) -> io::Result<()> {
        self.lines_left = self.lines_left.max(100);
        for line in lines {
            self.log(line).await?;
        }
        self.write("exit", &status.to_string()).await
    }

    async fn write(&mut self, word: &str, text: &str) -> io::Result<()> {
        let line = format!("{word} {}\n", printable(text));
        self.stream.write_all(line.as_bytes()).await
    }
}

/// The socket on which the hooks of running pushes are expected.
pub(crate) struct HookSocket {
    path: PathBuf,
    waiting: Waiting,
    task: tokio::task::JoinHandle<()>,
}

/// One push's claim to its hook; dropping it forgets the token.
pub(crate) struct Expected {
    pub(crate) token: String,
    pub(crate) request: oneshot::Receiver<HookRequest>,
    bytes: Token,
    group: Arc<OnceLock<Pid>>,
    waiting: Waiting,
}

impl Expected {
    /// Says whose hook it will be. Without a group none will be believed.
    pub(crate) fn bind(&self, group: Option<Pid>) {
        if let Some(group) = group {
            let bound = self.group.set(group);
            debug_assert!(bound.is_ok(), "a push has one git");
        }
    }
}

impl HookSocket {
    /// Writes the hook script into `hooks_dir` and listens beside it.
    pub(crate) fn open(config: &Config, hooks_dir: &Path) -> Result<Self, ReceiveError> {
        make_private_dir(hooks_dir)?;
        write_script(&hooks_dir.join(SCRIPT_NAME))?;
        let path = hooks_dir.join("node.sock");
        if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(ReceiveError::SocketPath(path));
        }
        let io = |verb| {
            let path = path.clone();
            move |source| ReceiveError::io(verb, &path, source)
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io("remove")(error));
            }
            _ => {}
        }
        // The folder is closed to others, so the moment before the next line is harmless.
        let listener = UnixListener::bind(&path).map_err(io("listen on"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io("protect"))?;
        let waiting = Waiting::default();
        let desk = Desk {
            waiting: Arc::clone(&waiting),
            refs_max: config.limits.push_refs,
            log_lines_max: config.limits.log_lines,
        };
        let task = tokio::spawn(accept(listener, Arc::new(desk)));
        Ok(Self {
            path,
            waiting,
            task,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Git passes over a hook that it cannot execute, and would then take a push unseen: asked
    /// before each push.
    pub(crate) fn check_script(&self) -> Result<(), ReceiveError> {
        executable(&self.path.with_file_name(SCRIPT_NAME))
    }

    /// Makes a token; the hook that brings it is handed over once.
    pub(crate) fn expect(&self) -> io::Result<Expected> {
        let mut bytes = Token::default();
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let (sender, request) = oneshot::channel();
        let group = Arc::<OnceLock<Pid>>::default();
        lock(&self.waiting).push(WaitingPush {
            token: bytes,
            group: Arc::clone(&group),
            sender,
        });
        Ok(Expected {
            token: verge_sync::Digest::from_bytes(bytes).to_string(),
            request,
            bytes,
            group,
            waiting: Arc::clone(&self.waiting),
        })
    }
}

impl Drop for HookSocket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        lock(&self.waiting).retain(|push| push.token != self.bytes);
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Vec<WaitingPush>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the accepting task knows.
struct Desk {
    waiting: Waiting,
    refs_max: usize,
    log_lines_max: usize,
}

async fn accept(listener: UnixListener, desk: Arc<Desk>) {
    let hellos = Arc::new(Semaphore::new(HELLOS_MAX));
    loop {
        let Ok(place) = Arc::clone(&hellos).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let hello = tokio::time::timeout(HELLO_TIMEOUT, desk.hello(stream));
                    if !matches!(hello.await, Ok(Some(()))) {
                        tracing::warn!("a hook without a push was turned away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept a hook");
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Desk {
    /// Reads one hook's lines and hands it to its push; `None` if it has none.
    async fn hello(&self, stream: UnixStream) -> Option<()> {
        let ours = rustix::process::getuid().as_raw();
        let peer = stream.peer_cred().ok().filter(|peer| peer.uid() == ours)?;
        let group = rustix::process::getpgid(Some(Pid::from_raw(peer.pid()?)?)).ok()?;
        let (read, write) = stream.into_split();
        let mut lines = tokio::io::BufReader::new(read.take(HELLO_BYTES_MAX));
        let push = self.claim(greeting(&mut lines).await?, group)?;
        let told = told(&mut lines, self.refs_max).await?;
        let request = HookRequest {
            quarantine: told.quarantine,
            options: told.options,
            updates: told.updates,
            reply: HookReply {
                stream: write,
                lines_left: self.log_lines_max,
            },
        };
        push.send(request).ok()
    }

    /// Takes the push with this token out of the list. Every token is compared in full, so the
    /// time tells nothing of how much of a guess was right.
    ///
    /// From another group it stays there, for the hook that is still to come.
    fn claim(&self, token: Token, group: Pid) -> Option<oneshot::Sender<HookRequest>> {
        let mut waiting = lock(&self.waiting);
        let mut found = None;
        for (index, candidate) in waiting.iter().enumerate() {
            let difference = candidate
                .token
                .iter()
                .zip(&token)
                .fold(0, |sum, (a, b)| sum | (a ^ b));
            if std::hint::black_box(difference) == 0 {
                found = Some(index);
            }
        }
        let index = found?;
        waiting
            .get(index)?
            .group
            .get()
            .filter(|own| **own == group)?;
        Some(waiting.swap_remove(index).sender)
    }
}

/// The token of the greeting.
pub(super) async fn greeting(lines: &mut (impl AsyncBufRead + Unpin)) -> Option<Token> {
    let greeting = line(lines).await?;
    let token = greeting.strip_prefix(GREETING.as_bytes())?;
    parse_token(token.strip_prefix(b" ")?)
}

/// What a hook says after its greeting.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) quarantine: Option<PathBuf>,
    pub(super) options: Vec<String>,
    pub(super) updates: Vec<RefUpdate>,
}

/// Reads what a hook says, up to its `end`: one ref, and one option, more than allowed at most.
pub(super) async fn told(lines: &mut (impl AsyncBufRead + Unpin), refs_max: usize) -> Option<Told> {
    let mut told = Told::default();
    loop {
        let line = line(lines).await?;
        if line == b"end" {
            return Some(told);
        } else if let Some(path) = line.strip_prefix(b"quarantine ") {
            told.quarantine = Some(std::ffi::OsString::from_vec(path.to_vec()).into());
        } else if let Some(option) = line.strip_prefix(b"option ") {
            if told.options.len() <= options::COUNT_MAX {
                told.options.push(String::from_utf8(option.to_vec()).ok()?);
            }
        } else if told.updates.len() <= refs_max {
            let text = std::str::from_utf8(line.strip_prefix(b"ref ")?).ok();
            told.updates.push(RefUpdate::parse(text?)?);
        }
    }
}

fn parse_token(text: &[u8]) -> Option<Token> {
    let digest: verge_sync::Digest = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(*digest.as_bytes())
}

/// The next line without its end; `None` at the end of the stream or when it is too long.
async fn line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    reader.take(limit).read_until(b'\n', &mut line).await.ok()?;
    line.pop().filter(|&last| last == b'\n')?;
    Some(line)
}

fn write_script(path: &Path) -> Result<(), ReceiveError> {
    if fs::read(path).ok().as_deref() != Some(SCRIPT.as_bytes()) {
        fs::write(path, SCRIPT).map_err(|source| ReceiveError::io("write", path, source))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(|source| ReceiveError::io("protect", path, source))?;
    executable(path)
}

fn executable(path: &Path) -> Result<(), ReceiveError> {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
        .map_err(|_errno| ReceiveError::HookNotExecutable(path.to_owned()))
}
