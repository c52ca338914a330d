//! What the kernel knows of a connection: how much of it the visitor's machine has acknowledged.
//!
//! The only way to tell a slow visitor from a full send buffer: what was written may wait in the
//! kernel for minutes.
#![expect(
    unsafe_code,
    reason = "no safe wrapper of TCP_INFO has the fields that are needed"
)]

use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};

/// A connection as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Bytes that the other side has acknowledged since the connection began; one more when it has
    /// acknowledged our end (FIN).
    pub(crate) acknowledged_bytes: u64,
    /// Bytes that were sent again; 0 before Linux 4.19.
    pub(crate) retransmitted_bytes: u64,
    /// Nothing more will be acknowledged.
    pub(crate) is_over: bool,
}

/// Asks the kernel; `None` where it does not tell. 0.9 us.
pub(crate) fn tcp_info(socket: impl AsFd) -> Option<TcpInfo> {
    const FIELD_END: usize = offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>();
    /// `TCP_CLOSE` of the kernel's `include/net/tcp_states.h`.
    const CLOSED: u8 = 7;
    // SAFETY: every field is a number, for which zero bytes are a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length`
    // bytes to `info`, which has as many, and puts into `length` how many it wrote.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    let has_field = usize::try_from(length).is_ok_and(|length| length >= FIELD_END);
    (failed == 0 && has_field).then_some(TcpInfo {
        acknowledged_bytes: info.tcpi_bytes_acked,
        retransmitted_bytes: info.tcpi_bytes_retrans,
        is_over: info.tcpi_state == CLOSED,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn acknowledged_bytes_are_those_that_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut ours, _) = listener.accept().unwrap();
        let acknowledged = || tcp_info(&ours).unwrap().acknowledged_bytes;
        assert_eq!(
            acknowledged(),
            0,
            "of an accepted connection from its first byte"
        );
        (&ours).write_all(&[7; 1000]).unwrap();
        theirs.read_exact(&mut [0; 1000]).unwrap();
        // An answer carries the acknowledgement of what it answers.
        theirs.write_all(&[1]).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        let info = tcp_info(&ours).unwrap();
        assert_eq!((info.acknowledged_bytes, info.is_over), (1000, false));
        // Closed with an unread byte: a reset.
        (&ours).write_all(&[7]).unwrap();
        theirs.peek(&mut [0]).unwrap();
        drop(theirs);
        assert!(ours.read(&mut [0]).is_err());
        let info = tcp_info(&ours).unwrap();
        // The last byte arrived, whether or not that was told.
        assert!(info.is_over && (1000..=1001).contains(&info.acknowledged_bytes));
        assert_eq!(tcp_info(std::io::stdin()), None);
    }
}
