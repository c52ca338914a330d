//! Waiting for a server that is somebody else's program.

use std::net::SocketAddr;

/// As the kernel's table of sockets says it.
const LISTENING: &str = "0A";

/// Whether somebody listens there. Asked of the kernel, not by connecting: before anybody does, a
/// connection may get that very port for its own, be joined to itself and keep the server from it.
pub(crate) fn listens(address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else {
        panic!("an address of version 4");
    };
    // The table has the bytes of an address as a number of this machine; ours are little-endian.
    let ip = u32::from_le_bytes(address.ip().octets());
    let wanted = format!("{ip:08X}:{:04X}", address.port());
    let sockets = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    sockets.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (local, state) = (words.next(), words.nth(1));
        local == Some(wanted.as_str()) && state == Some(LISTENING)
    })
}
