//! The node's own doors, tried at the addresses that it has told the others.
//!
//! A node is inside: where a router stands in front, that it does not reach itself is a hint and not
//! a proof, so it is a warning there.

use super::Finding;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::net::TcpStream;

/// For one connection: one round trip to ourselves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Places that are tried; a node tells at most 8, and a name may have several addresses.
const PLACES_MAX: usize = 16;
const HTTP_PORT: u16 = 80;

/// The ports behind which this node lets people in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doors {
    /// Plain HTTP, as it listens.
    pub http: Option<u16>,
    /// `git push`, as the world sees it.
    pub ssh: Option<u16>,
    /// The other nodes, over UDP.
    pub nodes: Option<u16>,
}

impl Doors {
    /// Tries HTTPS at `places`, and the others at the same addresses.
    pub(super) async fn try_all(&self, places: &[SocketAddr]) -> Vec<Finding> {
        let mut tries: BTreeSet<(SocketAddr, &str)> = BTreeSet::new();
        for place in places.iter().take(PLACES_MAX) {
            let ip = place.ip();
            tries.insert((*place, "https"));
            let http = self
                .http
                .map(|port| if is_ours(ip) { port } else { HTTP_PORT });
            tries.extend(http.map(|port| (SocketAddr::new(ip, port), "http")));
            tries.extend(self.ssh.map(|port| (SocketAddr::new(ip, port), "ssh")));
        }
        let mut findings = Vec::new();
        for (address, door) in tries {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let failed = match connected.await {
                Ok(Ok(_stream)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_elapsed) => Some("no answer".to_owned()),
            };
            findings.push(judge((door, address), is_ours(address.ip()), failed));
        }
        findings
    }
}

/// Whether an interface of this machine has the address.
fn is_ours(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn judge((door, address): (&str, SocketAddr), is_ours: bool, failed: Option<String>) -> Finding {
    let about = format!("door {door} {address}");
    let port = address.port();
    match failed {
        None => Finding::ok(about, "is open"),
        Some(why) if is_ours => {
            let todo =
                format!("look at [listen] {door} and at this machine's firewall (TCP port {port})");
            Finding::fault(about, format!("is shut: {why}"), todo)
        }
        Some(why) => {
            let says = format!("this node does not reach itself there ({why})");
            let todo = format!(
                "forward TCP port {port} of the router to this machine, and try from another network"
            );
            Finding::warning(about, says, todo)
        }
    }
}

/// No place was told.
pub(super) fn nowhere() -> Finding {
    let says = "this node has not told the others where visitors find its HTTPS";
    let todo = "it has no certificate yet, or listens nowhere: see `verge cert list`, set [listen] https or public_https";
    Finding::warning("door https", says, todo)
}

/// The port for the other nodes, which only they can try.
pub(super) fn of_nodes(connected: usize, all: usize, port: Option<u16>) -> Finding {
    let about = "door nodes";
    match (port, all) {
        (_, 0) => Finding::ok(about, "this node is the region's only one"),
        (None, _) => {
            let says = "this node listens for no others";
            Finding::warning(about, says, "set [listen] nodes")
        }
        (Some(_), _) if connected > 0 => Finding::ok(
            about,
            format!("{connected} of {all} other nodes are connected"),
        ),
        (Some(port), _) => {
            let says = format!("none of {all} other nodes is connected");
            let todo = format!("open UDP port {port} both ways, and forward it at the router");
            Finding::fault(about, says, todo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn doors_are_tried_for_real() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let open = listener.local_addr().unwrap();
        let shut = {
            let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            gone.local_addr().unwrap()
        };
        let doors = Doors {
            http: Some(shut.port()),
            ssh: Some(open.port()),
            nodes: None,
        };
        let found = doors.try_all(&[open, open]).await;
        let grade = |door: &str| {
            let about = format!("door {door} ");
            let of: Vec<&Finding> = found
                .iter()
                .filter(|f| f.about.starts_with(&about))
                .collect();
            assert_eq!(of.len(), 1, "{found:?}");
            of[0].grade
        };
        assert_eq!(grade("https"), Grade::Ok);
        assert_eq!(grade("ssh"), Grade::Ok);
        assert_eq!(grade("http"), Grade::Fault);
    }

    #[test]
    fn a_router_in_front_makes_it_a_hint() {
        let address: SocketAddr = "192.0.2.1:443".parse().unwrap();
        assert!(!is_ours(address.ip()));
        let shut = |is_ours| judge(("https", address), is_ours, Some("refused".to_owned()));
        assert_eq!(shut(true).grade, Grade::Fault);
        assert_eq!(shut(false).grade, Grade::Warning);
        assert!(shut(false).to_string().contains("forward TCP port 443"));
        assert_eq!(judge(("ssh", address), false, None).grade, Grade::Ok);
    }

    #[test]
    fn the_port_for_nodes_is_known_by_who_is_connected() {
        for (connected, all, port, expected) in [
            (0, 0, None, Grade::Ok),
            (0, 2, None, Grade::Warning),
            (0, 2, Some(4420), Grade::Fault),
            (1, 2, Some(4420), Grade::Ok),
        ] {
            assert_eq!(of_nodes(connected, all, port).grade, expected);
        }
    }
}
