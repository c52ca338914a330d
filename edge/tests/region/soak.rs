//! A region that lives through random faults: `make soak MINUTES=20` with eight nodes, a few seconds
//! with three in `make test`.
//!
//! `VERGE_SOAK_MINUTES` says how long, `VERGE_SEED` repeats what was done, though not its moments.
//! Once a minute each node's memory and open files are printed. At the end all is healed: every node
//! must serve the same bytes, and none may take more than [`GROWTH_KIB_MAX`] beyond what the largest
//! took at half time: a node that was killed begins small, so it is not compared with itself.

use crate::harness::count;
use crate::scene::Region;
use crate::street::Street;
use crate::watch::{Publishing, Watch};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use verge_sync::clock::stopwatch;

/// What a node may take at the end beyond the largest at half time: caches and the allocator's slack on top
/// of the records of the second half. A leak of one film of 100 KiB a minute would not fit.
const GROWTH_KIB_MAX: u64 = 24 << 10;
/// In `make test`.
const SHORT: Duration = Duration::from_secs(15);
const BETWEEN_ACTS: Duration = Duration::from_millis(1_500);
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// Sites that are there at once.
const SITES_MAX: u64 = 12;

/// Numbers that a seed fixes (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % (limit as u64)).unwrap()
    }
}

struct Soak {
    street: Street,
    region: Region,
    publishing: Publishing,
    watch: Watch,
    dice: Dice,
    down: BTreeSet<usize>,
    unplugged: BTreeSet<usize>,
    site_count: u64,
    sites: Vec<String>,
    acts: [u64; 7],
}

impl Soak {
    fn begin(nodes: usize, seed: u64) -> Self {
        let street = Street::of(nodes);
        let region = street.region();
        let mut publishing = Publishing::new();
        publishing.push(&region.nodes[0], "site0", 50_000);
        publishing.is_everywhere(&street, &region);
        let watch = Watch::start(&street, &region, &publishing.pushed);
        Self {
            street,
            region,
            publishing,
            watch,
            dice: Dice(seed),
            down: BTreeSet::new(),
            unplugged: BTreeSet::new(),
            site_count: 1,
            sites: vec!["site0".to_owned()],
            acts: [0; 7],
        }
    }

    /// One random thing.
    fn act(&mut self) {
        let count = self.region.nodes.len();
        let house = self.dice.below(count);
        let act = [0, 1, 1, 1, 2, 3, 4, 4, 5, 6][self.dice.below(10)];
        self.acts[act] += 1;
        match act {
            0 => {
                let side: Vec<usize> = (0..count).filter(|_| self.dice.below(2) == 0).collect();
                self.street.cut(&side);
            }
            1 => self.push(house),
            2 => self.street.lose([2, 10, 30][self.dice.below(3)]),
            3 => self.street.heal(),
            4 => self.kill_or_start(house),
            5 => {
                let is_in = self.unplugged.remove(&house);
                if !is_in {
                    self.unplugged.insert(house);
                }
                self.street.plug(house, is_in);
            }
            _ => self.delete(house),
        }
    }

    /// A version of a site that this node has made: nobody else writes to it, so there is one head.
    fn push(&mut self, house: usize) {
        if self.down.contains(&house) {
            return;
        }
        let own = format!("h{house}x");
        let mine: Vec<&String> = self.sites.iter().filter(|s| s.starts_with(&own)).collect();
        let site = if !mine.is_empty()
            && (self.sites.len() as u64 >= SITES_MAX || self.dice.below(3) > 0)
        {
            mine[self.dice.below(mine.len())].clone()
        } else if (self.sites.len() as u64) < SITES_MAX {
            self.site_count += 1;
            let name = format!("{own}{}", self.site_count);
            self.sites.push(name.clone());
            name
        } else {
            return;
        };
        let bytes = 1_000 + self.dice.below(1 << 20);
        self.publishing
            .push(&self.region.nodes[house], &site, bytes);
    }

    fn delete(&mut self, house: usize) {
        let own = format!("h{house}x");
        let found = self.sites.iter().position(|site| site.starts_with(&own));
        if let Some(at) = found.filter(|_| !self.down.contains(&house)) {
            let site = self.sites.remove(at);
            self.publishing.delete(&self.region.nodes[house], &site);
        }
    }

    fn kill_or_start(&mut self, house: usize) {
        if self.down.remove(&house) {
            self.region.nodes[house].restart();
            self.watch.is_up(house, &self.region.nodes[house]);
        } else if self.down.len() + 1 < self.region.nodes.len() {
            self.watch.goes_down(house);
            self.region.nodes[house].kill();
            self.down.insert(house);
        }
    }

    /// Everything is mended, and all come to the same.
    fn heal(&mut self) {
        self.street.heal();
        for house in std::mem::take(&mut self.unplugged) {
            self.street.plug(house, true);
        }
        for house in self.down.clone() {
            self.kill_or_start(house);
        }
        let healed = stopwatch();
        self.publishing.is_everywhere(&self.street, &self.region);
        println!(
            "{} ms after the heal all serve all",
            healed.elapsed().as_millis()
        );
    }

    /// A push to each node, until every node has all of it.
    fn push_to_all(&mut self) {
        for house in 0..self.region.nodes.len() {
            self.push(house);
        }
        let nodes = self.region.nodes.iter();
        nodes.for_each(|node| self.publishing.is_at(node));
    }

    /// Memory in KiB and open files of each node; nothing for one that is down.
    fn look(&self, minute: u64) -> Vec<Option<u64>> {
        let nodes = self.region.nodes.iter().enumerate();
        let looks = nodes.map(|(house, node)| {
            let is_up = !self.down.contains(&house);
            is_up.then(|| (pss_kib(node.id()), open_files(node.id())))
        });
        let looks: Vec<_> = looks.collect();
        let cells = looks.iter().map(|look| match look {
            Some((kib, files)) => format!("{:>6} KiB {files:>3}", kib),
            None => format!("{:>14}", "down"),
        });
        println!("{minute:>4} {}", cells.collect::<Vec<_>>().join(" "));
        looks
            .into_iter()
            .map(|look| look.map(|(kib, _)| kib))
            .collect()
    }
}

fn pss_kib(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .count()
}

#[test]
fn a_region_lives_through_random_faults() {
    let minutes = count("VERGE_SOAK_MINUTES", 0);
    let (nodes, long) = match u64::try_from(minutes).unwrap() {
        0 => (3, SHORT),
        minutes => (8, Duration::from_secs(60 * minutes)),
    };
    let random = usize::try_from(RandomState::new().hash_one("soak") >> 33).unwrap();
    let seed = count("VERGE_SEED", random);
    println!(
        "soak of {nodes} nodes for {} s, VERGE_SEED={seed}",
        long.as_secs()
    );
    let mut soak = Soak::begin(nodes, u64::try_from(seed).unwrap());
    let (_open, pause) = sync_channel::<()>(1);
    println!("minute: memory (PSS) and open files of each node");
    let (begun, mut minute) = (stopwatch(), 0);
    let mut half = None;
    while begun.elapsed() < long {
        soak.act();
        assert!(pause.recv_timeout(BETWEEN_ACTS).is_err());
        if begun.elapsed() >= BETWEEN_LOOKS * (minute + 1) {
            minute += 1;
            soak.look(u64::from(minute));
        }
        if half.is_none() && begun.elapsed() >= long / 2 {
            soak.heal();
            // What pushes take within seconds is no growth: a half in which there were none does not tell.
            soak.push_to_all();
            half = Some(soak.look(u64::from(minute)));
        }
    }
    soak.heal();
    let end = soak.look(u64::from(minute));
    println!(
        "cuts, pushes, losses, heals, kills and starts, flaps, deletions: {:?}",
        soak.acts
    );
    let bound = half.unwrap().into_iter().flatten().max().unwrap() + GROWTH_KIB_MAX;
    for (node, kib) in end.into_iter().flatten().enumerate() {
        assert!(kib <= bound, "node {node}: {kib} KiB, more than {bound}");
    }
    println!("{} right answers meanwhile", soak.watch.end());
}
