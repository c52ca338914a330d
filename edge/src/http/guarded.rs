//! The stream beneath an HTTP/1.1 connection: hands on whole, well-formed heads and nothing else.
//!
//! A head that is not well formed ends the input; when everything before it is answered, whoever
//! drives the connection calls [`Guarded::finish`], which says why. Bodies are never handed on:
//! nobody here reads one. Holds at most one unfinished head, and heads for which there was no room.

use super::activity::Activity;
use super::head_scan::{HeadLimits, HeadScanner, Refusal, Scanned};
use super::metering::{Metered, Tally};
use super::{conditional, respond};
use crate::socket::{Progress, Socket};
use std::fmt::Write;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use verge_sync::clock::UnixTime;

/// So long, and so many bytes, what a refused visitor still sends is taken and forgotten: closing
/// on unread bytes would reset the connection, and the answer could be lost with it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// A stream that is watched. Clones are handles to the same stream: one is given to the
/// connection, the other ends it. Both live in one task, so the lock is never contended.
pub(super) struct Guarded<S>(Arc<Mutex<Watch<S>>>);

struct Watch<S> {
    stream: S,
    scanner: HeadScanner,
    activity: Arc<Activity>,
    tally: Arc<Tally>,
    /// From the beginning of a head that is not whole, or that had no room.
    held: Vec<u8>,
    /// So many bytes of `held` may be handed on.
    good_bytes: usize,
    handed_heads: u64,
    input: Input,
    /// Bytes were written since the last flush.
    is_unsettled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// A body follows, or the connection ends anyhow: nothing more is understood.
    Body,
    Refused(Refusal),
    Ended,
}

impl<S> Clone for Guarded<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Socket> Guarded<S> {
    pub(super) fn new(
        stream: S,
        limits: HeadLimits,
        (activity, tally): (Arc<Activity>, Arc<Tally>),
    ) -> Self {
        Self(Arc::new(Mutex::new(Watch {
            stream,
            scanner: HeadScanner::new(limits),
            activity,
            tally,
            held: Vec::new(),
            good_bytes: 0,
            handed_heads: 0,
            input: Input::Open,
            is_unsettled: false,
        })))
    }

    /// Whether nothing is left to do but to refuse what came.
    pub(super) fn is_refusal_due(&self) -> bool {
        let watch = self.lock();
        matches!(watch.input, Input::Refused(_))
            && watch.handed_heads == watch.activity.begun_count()
            && !watch.activity.is_answering()
            && !watch.is_unsettled
    }

    /// Whether everything that came was handed on and answered, and nothing has begun.
    pub(super) fn is_at_rest(&self) -> bool {
        let watch = self.lock();
        watch.input == Input::Open
            && watch.held.is_empty()
            && watch.handed_heads == watch.activity.begun_count()
            && !watch.activity.is_answering()
            && !watch.is_unsettled
    }

    /// Waits until there is something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lock().stream.poll_readable(cx)
    }

    /// Asks the kernel if too many answers wait for it.
    pub(super) fn make_room(&self) {
        let watch = self.lock();
        if watch.tally.lock().is_full() {
            watch.tally.look(watch.stream.progress());
        }
    }

    pub(super) fn acknowledged_bytes(&self) -> Option<u64> {
        self.lock().stream.acknowledged_bytes()
    }

    /// Closing resets the connection from now on.
    pub(super) fn abandon(&self) {
        self.lock().stream.abandon();
    }

    /// Says why the input was refused, if it was, and closes so that the visitor can read it.
    pub(super) async fn finish(mut self, now: UnixTime) {
        let input = self.lock().input;
        let farewell = async {
            match input {
                Input::Open | Input::Ended => return Ok(()),
                Input::Body => {}
                Input::Refused(refusal) => self.write_all(&farewell(refusal, now)).await?,
            }
            self.shutdown().await?;
            self.discard().await
        };
        // Whoever does not read it has lost nothing that it was owed.
        if let Ok(Err(error)) = tokio::time::timeout(LINGER, farewell).await {
            tracing::trace!(%error, "gone before the end");
        }
    }

    /// Reads beneath the scanner, for nobody.
    async fn discard(&self) -> io::Result<()> {
        let mut some = [0; 4096];
        let mut total = 0_usize;
        while total < LINGER_BYTES_MAX {
            let read = std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut some);
                let mut watch = self.lock();
                ready!(Pin::new(&mut watch.stream).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok::<_, io::Error>(buffer.filled().len()))
            });
            match read.await? {
                0 => break,
                count => total = total.saturating_add(count),
            }
        }
        Ok(())
    }
}

impl<S: Socket> Metered for Guarded<S> {
    fn progress(&self) -> Option<Progress> {
        self.lock().stream.progress()
    }
}

impl<S> Guarded<S> {
    fn lock(&self) -> MutexGuard<'_, Watch<S>> {
        // A panic while it was held poisons one connection, which ends with its task.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A whole answer: it comes after everything that the library wrote.
fn farewell(refusal: Refusal, now: UnixTime) -> Vec<u8> {
    let head = respond::closing_page(refusal.status);
    let text = respond::page_text(refusal.status);
    let reason = refusal.status.canonical_reason().unwrap_or("Error");
    let mut bytes = String::new();
    // Writing to a string cannot fail.
    let _infallible = write!(
        bytes,
        "HTTP/1.1 {} {reason}\r\ndate: {}\r\ncontent-length: {}\r\n",
        refusal.status.as_u16(),
        conditional::http_date(now),
        text.len()
    );
    for (name, value) in &head.headers {
        let _infallible = write!(bytes, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    bytes.push_str("\r\n");
    if !refusal.is_head {
        bytes.push_str(&text);
    }
    bytes.into_bytes()
}

impl<S> Watch<S> {
    /// How many of `bytes`, which begin where a head does, may be handed on. The rest is an
    /// unfinished head while the input is open, and worth nothing when it is not.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut good = 0_usize;
        loop {
            let rest = bytes.get(good..).unwrap_or_default();
            if rest.is_empty() {
                return good;
            }
            match self.scanner.scan(rest) {
                Scanned::Partial => {
                    self.activity.note_head();
                    return good;
                }
                Scanned::Whole { bytes, has_body } => {
                    good = good.saturating_add(bytes);
                    self.handed_heads = self.handed_heads.saturating_add(1);
                    self.activity.note_head_end();
                    if has_body {
                        self.input = Input::Body;
                        return good;
                    }
                }
                Scanned::Refused(refusal) => {
                    self.input = Input::Refused(refusal);
                    return good;
                }
            }
        }
    }

    /// Bytes came, and lie in `buffer` from `before` on: what is good of them stays there.
    fn take_in(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        if self.held.is_empty() {
            let good = self.scan(fresh);
            if self.input == Input::Open {
                self.held
                    .extend_from_slice(fresh.get(good..).unwrap_or_default());
            }
            buffer.set_filled(before.saturating_add(good));
            return;
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(fresh);
        buffer.set_filled(before);
        self.good_bytes = self.scan(&held);
        if self.input != Input::Open {
            held.truncate(self.good_bytes);
        }
        self.held = held;
    }

    /// Hands on as much of what is held as there is room for.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let count = self.good_bytes.min(buffer.remaining());
        buffer.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.drain(..count);
        self.good_bytes = self.good_bytes.saturating_sub(count);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }

    /// The visitor sends no more.
    fn end_input(&mut self) {
        self.input = if self.held.is_empty() {
            Input::Ended
        } else {
            Input::Refused(self.scanner.refuse_end())
        };
        self.held = Vec::new();
    }

    fn note_write(&mut self, written: &Poll<io::Result<usize>>, slices: &[IoSlice<'_>]) {
        match written {
            Poll::Ready(written) => {
                self.is_unsettled = true;
                self.tell(*written.as_ref().unwrap_or(&0), slices);
            }
            Poll::Pending => self.activity.note_blocked(),
        }
    }

    /// The first `count` bytes of `slices` were written.
    fn tell(&self, mut count: usize, slices: &[IoSlice<'_>]) {
        let mut answers = self.tally.lock();
        for slice in slices {
            let length = slice.len().min(count);
            answers.wrote(slice.get(..length).unwrap_or_default());
            count = count.saturating_sub(length);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut watch = self.lock();
        let before = buffer.filled().len();
        loop {
            if watch.good_bytes > 0 {
                watch.hand_on(buffer);
            }
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            match watch.input {
                Input::Open => {}
                Input::Ended => return Poll::Ready(Ok(())),
                // Whoever drives the connection ends it; the library has nothing to read.
                Input::Body | Input::Refused(_) => return Poll::Pending,
            }
            ready!(Pin::new(&mut watch.stream).poll_read(cx, buffer))?;
            if buffer.filled().len() == before {
                watch.end_input();
            } else {
                watch.take_in(buffer, before);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut watch = self.lock();
        let written = Pin::new(&mut watch.stream).poll_write(cx, bytes);
        watch.note_write(&written, &[IoSlice::new(bytes)]);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut watch = self.lock();
        let written = Pin::new(&mut watch.stream).poll_write_vectored(cx, slices);
        watch.note_write(&written, slices);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.lock();
        let flushed = Pin::new(&mut watch.stream).poll_flush(cx);
        if flushed.is_ready() {
            watch.is_unsettled = false;
            watch.activity.note_settled();
        } else {
            watch.activity.note_blocked();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut watch = self.lock();
        if matches!(watch.input, Input::Refused(_)) {
            // The library ended the connection before that: nothing follows its last answer.
            watch.input = Input::Body;
        }
        Pin::new(&mut watch.stream).poll_shutdown(cx)
    }
}
