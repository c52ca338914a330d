//! One conversation between a client and a git child, with everything that can end it.

use crate::receive::Limits;
use crate::receive::git::GitChild;
use crate::receive::pace::Pace;
use bytes::Bytes;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{Notify, mpsc, oneshot};

/// Bytes moved at once.
const BUFFER_BYTES: usize = 32 << 10;
/// How much of what git printed is kept, to find its last words in.
const TAIL_BYTES: usize = 16 << 10;

pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The client's end, whatever it came through.
pub(crate) struct Client {
    /// Ends when the client has nothing more to say.
    pub(crate) input: mpsc::Receiver<Bytes>,
    pub(crate) output: Writer,
    pub(crate) errors: Writer,
    /// Ready when the client has gone away; nothing is ever sent.
    pub(crate) gone: oneshot::Receiver<Infallible>,
}

impl Client {
    /// Writes to the terminal, besides git. A client that has gone is noticed elsewhere.
    pub(crate) async fn say(&mut self, text: &str) {
        if let Err(error) = self.errors.write_all(text.as_bytes()).await {
            tracing::debug!(%error, "a client went away");
        }
    }
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Git ended by itself; true if it was content.
    Exited(bool),
    /// The client went away.
    Gone,
    /// Nothing moved for too long.
    Idle,
    /// The client sends, but too slowly.
    Slow,
    /// It went on for too long.
    TooLong,
    /// The system would not let us run it to its end.
    Fault,
}

/// What a conversation is held to.
pub(crate) struct Rules<'a> {
    pub(crate) limits: &'a Limits,
    /// How fast the client must send; a fetch need not.
    pub(crate) pace: Option<Pace>,
}

/// That something moved, for those who watch for silence.
#[derive(Default)]
struct Activity {
    moved: Notify,
    /// How often git has spoken.
    spoken: AtomicU64,
}

/// The last bytes of what git printed.
#[derive(Default)]
pub(crate) struct Tail(Mutex<Vec<u8>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend_from_slice(bytes);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Carries bytes both ways until one side ends it, while `side` (the decision) runs beside it.
/// Whatever the end, no process of the child is left.
///
/// When something else than git ends it after `is_settled`, git is given time to finish what was
/// agreed.
pub(crate) async fn converse(
    child: &mut GitChild,
    client: &mut Client,
    rules: Rules<'_>,
    tail: &Tail,
    side: impl Future<Output = ()>,
    is_settled: impl Fn() -> bool,
) -> End {
    let Some((stdin, mut stdout, mut stderr)) = child.pipes() else {
        tracing::error!("a child without pipes");
        return End::Fault;
    };
    let Rules { limits, pace } = rules;
    let activity = Activity::default();
    let end = {
        let show = async {
            tokio::join!(
                show(&mut stdout, &mut client.output, &activity, tail),
                show(&mut stderr, &mut client.errors, &activity, tail),
            )
        };
        let feed = pin!(feed(stdin, &mut client.input, &activity, pace));
        let beside = pin!(async {
            side.await;
            std::future::pending::<Infallible>().await
        });
        tokio::select! {
            biased;
            _ = show => None,
            _ = &mut client.gone => Some(End::Gone),
            Slow = feed => Some(End::Slow),
            never = beside => match never {},
            () = idle(&activity.moved, limits.idle_timeout) => Some(End::Idle),
            () = tokio::time::sleep(limits.command_timeout) => Some(End::TooLong),
        }
    };
    match end {
        None => match child.wait().await {
            Ok(status) => End::Exited(status.success()),
            Err(error) => {
                tracing::error!(%error, "wait for git");
                End::Fault
            }
        },
        Some(end) if is_settled() => {
            finish(child, stdout, stderr, limits.finish_timeout).await;
            end
        }
        Some(end) => {
            child.kill().await;
            end
        }
    }
}

/// Lets git end by itself, its words unheard.
async fn finish(
    child: &mut GitChild,
    mut stdout: ChildStdout,
    mut stderr: ChildStderr,
    timeout: Duration,
) {
    let (mut nowhere, mut nowhere_else) = (tokio::io::sink(), tokio::io::sink());
    let drained = async {
        tokio::join!(
            tokio::io::copy(&mut stdout, &mut nowhere),
            tokio::io::copy(&mut stderr, &mut nowhere_else),
            child.wait(),
        )
    };
    if tokio::time::timeout(timeout, drained).await.is_err() {
        child.kill().await;
    }
}

/// The client is slower than its [`Pace`] allows.
struct Slow;

/// Client to git; ready only when the client is too slow. Git may close its end first, and then
/// needs nothing more.
async fn feed(
    mut stdin: ChildStdin,
    input: &mut mpsc::Receiver<Bytes>,
    activity: &Activity,
    mut pace: Option<Pace>,
) -> Slow {
    loop {
        let since = verge_sync::clock::stopwatch();
        let received = match pace.as_ref().and_then(Pace::left) {
            Some(left) => tokio::time::timeout(left, input.recv()).await.ok(),
            None => Some(input.recv().await),
        };
        // The inner `None` is the client's last word, the outer one a wait that was too long.
        let Some(bytes) = received.unwrap_or_else(|| Some(Bytes::new())) else {
            break;
        };
        let spoken = activity.spoken.load(Ordering::Relaxed);
        if let Some(pace) = &mut pace
            && pace.step(since.elapsed(), &bytes, spoken)
        {
            return Slow;
        }
        if bytes.is_empty() {
            continue;
        }
        if stdin.write_all(&bytes).await.is_err() {
            break;
        }
        activity.moved.notify_one();
    }
    drop(stdin);
    // Later bytes are read and dropped, so that they do not hold up the connection.
    while input.recv().await.is_some() {}
    std::future::pending().await
}

/// Git to client.
async fn show(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut Writer,
    activity: &Activity,
    tail: &Tail,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut is_heard = true;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let bytes = buffer.get(..count).unwrap_or_default();
        tail.push(bytes);
        // Before the client hears it: its answer must not look like the first thing said.
        activity.spoken.fetch_add(1, Ordering::Relaxed);
        is_heard = is_heard && to.write_all(bytes).await.is_ok();
        activity.moved.notify_one();
    }
}

/// Ready when nothing has moved for `timeout`.
async fn idle(activity: &Notify, timeout: Duration) {
    while tokio::time::timeout(timeout, activity.notified())
        .await
        .is_ok()
    {}
}
