//! What the kernel knows of a connection: how much of it the visitor's machine has acknowledged.
//!
//! The only way to tell a slow visitor from a full send buffer: what was written may wait in the
//! kernel for minutes.
#![expect(
    unsafe_code,
    reason = "no safe wrapper of TCP_INFO has the field that is needed"
)]

use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd};

/// Bytes that the other side has acknowledged since the connection began; `None` where the kernel
/// does not tell. 0.9 us.
pub(crate) fn acknowledged_bytes(socket: impl AsFd) -> Option<u64> {
    const FIELD_END: usize = offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>();
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
    (failed == 0 && has_field).then_some(info.tcpi_bytes_acked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn acknowledged_bytes_are_those_that_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let before = acknowledged_bytes(&ours).unwrap();
        ours.write_all(&[7; 1000]).unwrap();
        theirs.read_exact(&mut [0; 1000]).unwrap();
        // An answer carries the acknowledgement of what it answers.
        theirs.write_all(&[1]).unwrap();
        ours.read_exact(&mut [0]).unwrap();
        assert_eq!(acknowledged_bytes(&ours).unwrap() - before, 1000);
        assert_eq!(acknowledged_bytes(std::io::stdin()), None);
    }
}
