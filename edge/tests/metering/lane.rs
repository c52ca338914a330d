//! Two houses on one cable that loses packets, and somebody who reads along what is acknowledged.

use crate::support::visitor::Via;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// RFC 5737.
pub(crate) const EDGE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// All packets (`ETH_P_ALL`, linux/if_ether.h), in network order.
const ALL_PACKETS: i32 = 0x0300;

/// Two namespaces; gone when it is dropped.
pub(crate) struct Lane {
    prefix: String,
}

impl Lane {
    /// So many of a hundred packets to the visitor are lost, after they were read along.
    pub(crate) fn losing(percent: u32) -> Self {
        let lane = Self {
            prefix: format!("vgm{}", std::process::id()),
        };
        let (edge, visitor) = (lane.edge(), lane.visitor());
        for name in [&edge, &visitor] {
            run("ip", &["netns", "add", name]);
        }
        let link = [
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
        ];
        run(
            "ip",
            &[&["-n", &edge][..], &link, &["netns", &visitor]].concat(),
        );
        for (name, address) in [(&edge, "203.0.113.1/24"), (&visitor, "203.0.113.2/24")] {
            run(
                "ip",
                &["-n", name, "address", "add", address, "dev", "eth0"],
            );
            run("ip", &["-n", name, "link", "set", "eth0", "up"]);
            run("ip", &["-n", name, "link", "set", "lo", "up"]);
        }
        let rules = format!(
            "table inet m {{ chain i {{ type filter hook input priority 0; \
             numgen random mod 100 < {percent} drop; }}; }};"
        );
        run("ip", &["netns", "exec", &visitor, "nft", &rules]);
        lane
    }

    fn edge(&self) -> String {
        format!("{}-edge", self.prefix)
    }

    fn visitor(&self) -> String {
        format!("{}-visitor", self.prefix)
    }

    /// What `act` gives, done in the edge's house.
    pub(crate) fn at_edge<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(&self.edge(), act)
    }

    /// The same in the visitor's.
    pub(crate) fn at_visitor<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        inside(&self.visitor(), act)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        for name in [self.edge(), self.visitor()] {
            drop(Command::new("ip").args(["netns", "delete", &name]).status());
        }
    }
}

fn inside<T: Send>(house: &str, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            let file = std::fs::File::open(Path::new("/run/netns").join(house)).unwrap();
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
            act()
        });
        there.join().unwrap()
    })
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// What a visitor's machine acknowledged of one connection.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    /// Number of the first byte, after the edge's SYN.
    first: u32,
    /// Bytes, and one for the edge's FIN.
    acknowledged: u64,
}

/// Reads every packet of the visitor's house; ends when it is dropped.
pub(crate) struct Capture {
    flows: Arc<Mutex<HashMap<u16, Flow>>>,
    is_over: Arc<AtomicBool>,
    reading: Option<JoinHandle<()>>,
}

impl Capture {
    /// Of the namespace of the calling thread.
    pub(crate) fn start() -> Self {
        let kind = Some(Protocol::from(ALL_PACKETS));
        let mut socket = Socket::new(Domain::PACKET, Type::RAW, kind).unwrap();
        socket.set_recv_buffer_size(64 << 20).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let flows: Arc<Mutex<HashMap<u16, Flow>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, ended) = (Arc::clone(&flows), Arc::clone(&is_over));
        let reading = std::thread::spawn(move || {
            // What does not fit is cut off: heads are all that is needed.
            let mut packet = [0; 128];
            while !ended.load(Ordering::Relaxed) {
                if let Ok(length) = socket.read(&mut packet) {
                    note(&packet[..length], &mut seen.lock().unwrap());
                }
            }
        });
        Self {
            flows,
            is_over,
            reading: Some(reading),
        }
    }

    /// Bytes that the visitor's end `port` acknowledged, with one for a FIN.
    pub(crate) fn acknowledged(&self, port: u16) -> u64 {
        let flows = self.flows.lock().unwrap();
        flows.get(&port).map_or(0, |flow| flow.acknowledged)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(self.reading.take().map(JoinHandle::join));
    }
}

const FIN_SYN_RST_ACK: u8 = 0b1_0111;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Ethernet, IPv4 (RFC 791), TCP (RFC 9293 section 3.1).
fn note(packet: &[u8], flows: &mut HashMap<u16, Flow>) {
    let Some((ethernet, ip)) = packet.split_at_checked(14) else {
        return;
    };
    if ethernet[12..] != [8, 0] || ip.len() < 20 || ip[9] != 6 {
        return;
    }
    let is_of_edge = IpAddr::from([ip[12], ip[13], ip[14], ip[15]]) == EDGE;
    let Some(tcp) = ip
        .get(usize::from(ip[0] & 15) * 4..)
        .filter(|tcp| tcp.len() >= 20)
    else {
        return;
    };
    let number = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    match (is_of_edge, tcp[13] & FIN_SYN_RST_ACK) {
        (true, flags) if flags & SYN != 0 => {
            let first = number(4).wrapping_add(1);
            let flow = flows.entry(port(2)).or_default();
            if flow.first != first {
                *flow = Flow {
                    first,
                    acknowledged: 0,
                };
            }
        }
        // What a reset acknowledges is not looked at by who is reset.
        (false, flags) if flags & ACK != 0 && flags & RST == 0 => {
            if let Some(flow) = flows.get_mut(&port(0)) {
                let acknowledged = u64::from(number(8).wrapping_sub(flow.first));
                flow.acknowledged = flow.acknowledged.max(acknowledged);
            }
        }
        _ => {}
    }
}

/// How much more may have arrived than is credited when a visitor breaks off: what a TLS session
/// holds and one record, and what TLS and HTTP/2 add to what was acknowledged.
pub(crate) fn doubt(via: Via, acknowledged: u64) -> u64 {
    match via {
        Via::Plain => 0,
        // The handshake, and 31 bytes for each 512.
        Via::Http1 | Via::Http2 => (48 << 10) + (8 << 10) + acknowledged / 16,
    }
}
