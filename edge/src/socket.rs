//! A visitor's stream, with or without TLS, and how much of what was written to it has arrived.
//!
//! The kernel counts bytes of the connection. What HTTP wrote is fewer where TLS adds its own, so
//! [`Secured`] remembers where both were when the session had nothing left to write; between two
//! such points it says less than what arrived, by what the session may hold and one record.

use crate::mapped::{self, Mapped};
use crate::tcp_info::{TcpInfo, tcp_info};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What a session encrypts ahead of its socket: two full records. The default, twice as much, is
/// held by every visitor who does not read.
pub(crate) const SESSION_BYTES_MAX: usize = 32 << 10;
/// The most that HTTP's bytes may be in one record (RFC 8446 section 5.1). Of a record that has not
/// arrived whole nothing can be read.
const RECORD_BYTES_MAX: u64 = 16 << 10;
/// Points that are remembered: so many answers may be on their way and still be told apart.
const MARK_COUNT: usize = 16;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// So many of the bytes that HTTP wrote have arrived, for sure.
    pub(crate) delivered: u64,
    /// Everything that the kernel took has arrived.
    pub(crate) is_all_acknowledged: bool,
    /// The kernel's own figures.
    pub(crate) tcp: TcpInfo,
}

/// A visitor's stream.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What the visitor's machine has acknowledged, in bytes on the wire; `None` where the kernel
    /// does not tell.
    fn acknowledged_bytes(&self) -> Option<u64>;

    /// How much of what was written here has arrived; `None` where the kernel does not tell.
    fn progress(&self) -> Option<Progress>;

    /// Closing resets the connection from now on: the kernel would go on for minutes to offer
    /// megabytes to somebody who does not take them.
    fn abandon(&self);

    /// Waits until something has come, or the connection is over, after a read that had to wait.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A TLS session is large.
impl<S: Socket> Socket for Box<S> {
    fn acknowledged_bytes(&self) -> Option<u64> {
        S::acknowledged_bytes(self)
    }

    fn progress(&self) -> Option<Progress> {
        S::progress(self)
    }

    fn abandon(&self) {
        S::abandon(self);
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        S::poll_readable(self, cx)
    }
}

/// A connection, and how many bytes the kernel took for it.
pub(crate) struct Wire {
    stream: TcpStream,
    written: u64,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, written: 0 }
    }

    /// Lets the kernel send what it has: see [`mapped`].
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        found: (usize, &Mapped),
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let send = || mapped::send(&self.stream, slices, found);
            match self.stream.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn note(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &polled {
            self.written = self.written.saturating_add(length(*count));
        }
        polled
    }
}

impl Socket for Wire {
    fn acknowledged_bytes(&self) -> Option<u64> {
        tcp_info(&self.stream).map(|tcp| tcp.acknowledged_bytes)
    }

    fn progress(&self) -> Option<Progress> {
        let tcp = tcp_info(&self.stream)?;
        Some(Progress {
            // Not the end of the connection, which is acknowledged like a byte.
            delivered: tcp.acknowledged_bytes.min(self.written),
            is_all_acknowledged: tcp.acknowledged_bytes >= self.written,
            tcp,
        })
    }

    fn abandon(&self) {
        // It is closed either way.
        drop(SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)));
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_read_ready(cx).map(drop)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match mapped::find(slices) {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            Some((index, mapped)) => self.poll_send(cx, slices, (index, &mapped)),
        };
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection under TLS.
pub(crate) struct Secured {
    stream: TlsStream<Wire>,
    marks: Marks,
}

impl Secured {
    /// Of a handshake that is done.
    pub(crate) fn new(mut stream: TlsStream<Wire>) -> Self {
        stream.get_mut().1.set_buffer_limit(Some(SESSION_BYTES_MAX));
        Self {
            stream,
            marks: Marks::default(),
        }
    }

    pub(crate) fn session(&self) -> &rustls::ServerConnection {
        self.stream.get_ref().1
    }

    fn note(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &polled {
            self.marks.plain = self.marks.plain.saturating_add(length(*count));
        }
        self.mark();
        polled
    }

    /// Everything is with the kernel: remembers where that was.
    fn mark(&mut self) {
        let (wire, session) = self.stream.get_ref();
        if !session.wants_write() {
            self.marks.add(wire.written);
        }
    }
}

impl Socket for Secured {
    fn acknowledged_bytes(&self) -> Option<u64> {
        self.stream.get_ref().0.acknowledged_bytes()
    }

    fn progress(&self) -> Option<Progress> {
        let (wire, session) = self.stream.get_ref();
        let tcp = tcp_info(&wire.stream)?;
        let unsent_max = if session.wants_write() {
            length(SESSION_BYTES_MAX)
        } else {
            0
        };
        let unacknowledged = wire.written.saturating_sub(tcp.acknowledged_bytes);
        Some(Progress {
            delivered: self
                .marks
                .delivered(tcp.acknowledged_bytes, unacknowledged, unsent_max),
            is_all_acknowledged: unacknowledged == 0,
            tcp,
        })
    }

    fn abandon(&self) {
        self.stream.get_ref().0.abandon();
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.get_ref().0.poll_readable(cx)
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.mark();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Where HTTP's bytes and those of the wire were at the same time.
#[derive(Debug, Default)]
struct Marks {
    /// What HTTP wrote.
    plain: u64,
    /// The last points at which all of it was with the kernel, the newest at `newest`.
    points: [Mark; MARK_COUNT],
    newest: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    wire: u64,
    plain: u64,
}

impl Marks {
    fn add(&mut self, wire: u64) {
        let newest = self.points.get(self.newest).copied().unwrap_or_default();
        if newest.plain == self.plain {
            return;
        }
        self.newest = (self.newest + 1) % MARK_COUNT;
        if let Some(point) = self.points.get_mut(self.newest) {
            *point = Mark {
                wire,
                plain: self.plain,
            };
        }
    }

    /// The most that has arrived for sure: up to the last point that is acknowledged, or all but
    /// what is not acknowledged, what the session may hold, and the record that may be cut in two.
    fn delivered(&self, acknowledged: u64, unacknowledged: u64, unsent_max: u64) -> u64 {
        let passed = self.points.iter().filter(|mark| mark.wire <= acknowledged);
        let passed = passed.map(|mark| mark.plain).max().unwrap_or(0);
        let tail = unacknowledged
            .saturating_add(unsent_max)
            .saturating_add(RECORD_BYTES_MAX);
        passed.max(self.plain.saturating_sub(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record, from its bytes to those on the wire.
    const OVERHEAD: u64 = 22;

    #[test]
    fn a_point_that_is_acknowledged_is_exact() {
        let mut marks = Marks::default();
        for (plain, wire) in [(100, 1_122), (300, 1_344)] {
            marks.plain = plain;
            marks.add(wire);
        }
        for (acknowledged, expected) in [(1_121, 0), (1_122, 100), (1_343, 100), (1_344, 300)] {
            let unacknowledged = 1_344 - acknowledged;
            assert_eq!(marks.delivered(acknowledged, unacknowledged, 0), expected);
        }
        // What the session says at the end (an alert) carries nothing.
        assert_eq!(marks.delivered(1_344, 24, 0), 300);
    }

    proptest::proptest! {
        /// Records of any size, of which the kernel has any part, and the visitor any part of that.
        #[test]
        fn never_more_than_whole_records_that_arrived(
            records in proptest::collection::vec((1_u64..=RECORD_BYTES_MAX, proptest::bool::ANY), 1..60),
            taken in 0_u64..=SESSION_BYTES_MAX as u64,
            acknowledged_percent in 0_u64..=100,
        ) {
            let mut marks = Marks::default();
            let (mut wire, mut ends) = (1_000_u64, Vec::new());
            for (length, is_settled) in &records {
                marks.plain += length;
                wire += length + OVERHEAD;
                ends.push((wire, marks.plain));
                if *is_settled {
                    marks.add(wire);
                }
            }
            // What was made after the last point may lie in the session still.
            let (settled, _) = marks.points.iter().map(|mark| (mark.wire, mark.plain)).max().unwrap();
            let written = (wire - taken.min(wire - settled.max(1_000))).max(1_000);
            let acknowledged = written * acknowledged_percent / 100;
            let arrived = ends.iter().filter(|(wire, _)| *wire <= acknowledged).map(|(_, plain)| *plain).max();
            let unsent_max = if written < wire { SESSION_BYTES_MAX as u64 } else { 0 };
            let said = marks.delivered(acknowledged, written - acknowledged, unsent_max);
            proptest::prop_assert!(said <= arrived.unwrap_or(0));
        }
    }
}
