//! Network namespaces: each node in a house of its own, all on one switch, with cuts and loss.

use crate::harness::{Node, PORTS, VERGE, run_by, text};
use crate::scene::{Newcomer, Region, approve, ticket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A namespace for each node and one for the switch; all are gone when it is dropped.
pub(crate) struct Street {
    prefix: String,
    count: usize,
    /// The first three bytes of all addresses.
    network: &'static str,
}

/// Addresses of a network at home.
const NEAR: &str = "10.77.0";
/// Addresses as of another household (RFC 5737).
const FAR: &str = "203.0.113";

impl Street {
    pub(crate) fn of(count: usize) -> Self {
        Self::on(NEAR, count)
    }

    /// Nodes that are not near one another, so that what goes between them is limited.
    pub(crate) fn far(count: usize) -> Self {
        Self::on(FAR, count)
    }

    fn on(network: &'static str, count: usize) -> Self {
        // Tests of one process run side by side.
        static STREETS: AtomicUsize = AtomicUsize::new(0);
        let number = STREETS.fetch_add(1, Ordering::Relaxed);
        let street = Self {
            prefix: format!("vg{}s{number}", std::process::id()),
            count,
            network,
        };
        let switch = street.name("sw");
        run("ip", &["netns", "add", &switch]);
        run(
            "ip",
            &["-n", &switch, "link", "add", "br0", "type", "bridge"],
        );
        run("ip", &["-n", &switch, "link", "set", "br0", "up"]);
        for house in 0..count {
            let name = street.house(house);
            let (inside, outside) = ("eth0", format!("h{house}"));
            run("ip", &["netns", "add", &name]);
            run(
                "ip",
                &[
                    "-n", &switch, "link", "add", &outside, "type", "veth", "peer", "name", inside,
                    "netns", &name,
                ],
            );
            run(
                "ip",
                &[
                    "-n", &switch, "link", "set", &outside, "master", "br0", "up",
                ],
            );
            let address = format!("{}/24", street.address(house));
            run(
                "ip",
                &["-n", &name, "address", "add", &address, "dev", inside],
            );
            run("ip", &["-n", &name, "link", "set", inside, "up"]);
            run("ip", &["-n", &name, "link", "set", "lo", "up"]);
        }
        street
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    /// The address of a house.
    pub(crate) fn address(&self, house: usize) -> String {
        format!("{}.{}", self.network, house + 1)
    }

    /// What a house has sent and what has come to it until now, in bytes on the wire.
    pub(crate) fn counted(&self, house: usize) -> Counted {
        let read = |name: &str| {
            let path = format!("/sys/class/net/eth0/statistics/{name}_bytes");
            let house = self.house(house);
            let output = Command::new("ip")
                .args(["netns", "exec", &house, "cat", &path])
                .output();
            text(&output.unwrap().stdout).trim().parse().unwrap()
        };
        Counted {
            sent_bytes: read("tx"),
            received_bytes: read("rx"),
        }
    }

    /// The name of a house's namespace.
    pub(crate) fn house(&self, house: usize) -> String {
        self.name(&house.to_string())
    }

    /// The last house.
    pub(crate) fn last(&self) -> usize {
        self.count - 1
    }

    /// What runs a program in a house.
    pub(crate) fn runner(&self, house: usize) -> Vec<String> {
        let house = self.house(house);
        ["ip", "netns", "exec", &house].map(str::to_owned).to_vec()
    }

    /// What `act` gives, done by a thread that stands in a house.
    pub(crate) fn inside<T: Send>(&self, house: usize, act: impl FnOnce() -> T + Send) -> T {
        let house = self.house(house);
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(&house);
                act()
            });
            there.join().unwrap()
        })
    }

    /// A region with a provider and a node in each house.
    pub(crate) fn region(&self) -> Region {
        self.region_on(|_house, _data| {})
    }

    /// The same, with data directories on what `prepare` puts there.
    pub(crate) fn region_on(&self, mut prepare: impl FnMut(usize, &Path)) -> Region {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("n0");
        found(&self.runner(0), &data, &self.address(0));
        let mut nodes = vec![Node::start_by(&data, self.runner(0))];
        for house in 1..self.count {
            let provider = format!("P{house}");
            let data = folder.path().join(&provider);
            prepare(house, &data);
            let runner = self.runner(house);
            let port = format!("--listen-nodes={}:4420", self.address(house));
            let ticket = ticket(&nodes[0]);
            let mut newcomer = Newcomer::ask_by(&runner, &data, &ticket, Some(&provider), &port);
            newcomer.reads("wait until");
            for node in &nodes {
                approve(node, &provider);
            }
            newcomer.becomes_a_member();
            nodes.push(Node::start_by(&data, runner));
        }
        let region = Region { nodes, folder };
        region.all_in_step();
        region
    }

    /// Nothing passes between the one side and all others any more, in both directions.
    pub(crate) fn cut(&self, side: &[usize]) {
        let others: Vec<usize> = (0..self.count)
            .filter(|house| !side.contains(house))
            .collect();
        self.part(side, &others);
    }

    /// Nothing passes between the two sides any more; the others hear both.
    pub(crate) fn part(&self, one: &[usize], other: &[usize]) {
        for (side, away) in [(one, other), (other, one)] {
            let rules = away.iter();
            let rules = rules.map(|house| format!("ip saddr {} drop;", self.address(*house)));
            let rules: String = rules.collect();
            for house in side {
                self.filter(*house, &rules);
            }
        }
    }

    /// What comes to the house is lost; what goes out of it arrives.
    pub(crate) fn deafen(&self, house: usize) {
        self.filter(house, &format!("ip saddr {}.0/24 drop;", self.network));
    }

    /// So many of a hundred packets that come to any house are lost.
    pub(crate) fn lose(&self, percent: u32) {
        for house in 0..self.count {
            self.filter(house, &format!("numgen random mod 100 < {percent} drop;"));
        }
    }

    /// A house's cable is pulled, or put in again.
    pub(crate) fn plug(&self, house: usize, is_in: bool) {
        let (switch, port) = (self.name("sw"), format!("h{house}"));
        let state = if is_in { "up" } else { "down" };
        run("ip", &["-n", &switch, "link", "set", &port, state]);
    }

    /// Everything passes again.
    pub(crate) fn heal(&self) {
        for house in 0..self.count {
            self.filter(house, "");
        }
    }

    fn filter(&self, house: usize, rules: &str) {
        let table = format!(
            "table inet verge; delete table inet verge; table inet verge {{ chain input {{ \
             type filter hook input priority 0; iifname lo accept; {rules} }}; }}"
        );
        let name = self.house(house);
        run("ip", &["netns", "exec", &name, "nft", &table]);
    }
}

/// Bytes on a house's wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
}

impl Drop for Street {
    fn drop(&mut self) {
        let houses = (0..self.count).map(|house| self.house(house));
        for name in houses.chain([self.name("sw")]) {
            // What is not there any more is gone already.
            let deleted = Command::new("ip").args(["netns", "delete", &name]).status();
            assert!(
                deleted.is_ok(),
                "ip is there, or nothing would have been made"
            );
        }
    }
}

/// Moves the thread into a house, for good.
pub(crate) fn enter(house: &str) {
    let file = std::fs::File::open(Path::new("/run/netns").join(house)).unwrap();
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
}

fn found(runner: &[String], data: &Path, address: &str) {
    let mut command = run_by(runner);
    command.args(["init", "--region=Test Street", "--provider=Corner"]);
    command
        .args(["--host-proof=none", "--test"])
        .args(&PORTS[..4]);
    command.arg(format!("--listen-nodes={address}:4420"));
    let output = command.arg("--data").arg(data).output().unwrap();
    assert!(output.status.success(), "{VERGE}: {}", text(&output.stderr));
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}
