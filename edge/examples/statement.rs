//! What a statement costs: `statement NODES SITES` makes the seals of a month in which each node
//! served each site on each day, works the statement out, makes all of its files, and prints the CPU
//! time of both and the most memory that it took.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that measures and prints"
)]

use verge_edge::accounting::calendar::{Day, Month};
use verge_edge::accounting::figures::{BodyBytes, Class, Count, CreditBytes, NodeTotals, Row};
use verge_edge::accounting::seal::Seal;
use verge_edge::attribution::Provider;
use verge_edge::attribution::fees::{Fee, Fees};
use verge_edge::attribution::money::Cents;
use verge_edge::attribution::statement::{Books, NamedProvider, Owner, SealedDay, Site, Statement};
use verge_sync::id::{AccountId, NodeId, ProviderId, RegionId, SiteId};

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u64>().unwrap());
    let (nodes, sites) = (arguments.next().unwrap(), arguments.next().unwrap());
    let books = books(nodes, sites);
    println!(
        "{} seals of {sites} rows, {} KiB",
        books.seals.len(),
        memory_kib("VmRSS:")
    );
    let begun = cpu_ms();
    let statement = Statement::of(&books).unwrap();
    println!("worked out in {} ms", cpu_ms() - begun);
    let begun = cpu_ms();
    let files = statement.files();
    let bytes: usize = files.values().map(Vec::len).sum();
    println!(
        "{} files of {bytes} bytes in {} ms",
        files.len(),
        cpu_ms() - begun
    );
    println!("at most {} KiB", memory_kib("VmHWM:"));
}

/// CPU time of this thread.
fn cpu_ms() -> u64 {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: u64 = line.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1_000_000
}

fn memory_kib(field: &str) -> u64 {
    let lines = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = lines.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn id<T>(kind: u8, number: u64, make: fn([u8; 32]) -> T) -> T {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    make(bytes)
}

fn seal(node: u64, day: Day, sites: u64) -> SealedDay {
    let row = |site: u64| Row {
        site: id(3, site, SiteId::from_bytes),
        class: Class::Answer,
        count: Count {
            requests: 20 + (node + site) % 97,
            credit: CreditBytes((node + site) % 89 * 10_000),
            body: BodyBytes((node + site) % 89 * 10_000),
        },
    };
    let seal = Seal {
        node: id(2, node, NodeId::from_bytes),
        day,
        epochs: (1, 1),
        rows: (0..sites).map(row).collect(),
        totals: NodeTotals::default(),
        hours: [0; 24],
        uncredited: Count::default(),
        previous: None,
        is_behind_proxy: false,
    };
    SealedDay {
        digest: seal.encode().digest(),
        seal,
    }
}

fn books(nodes: u64, sites: u64) -> Books {
    let month: Month = "2026-11".parse().unwrap();
    let days = month.first_day().number()..=month.last_day().number();
    let days: Vec<Day> = days.filter_map(Day::new).collect();
    let provider = |node| id(1, node, ProviderId::from_bytes);
    let named = |node| NamedProvider {
        name: format!("provider {node}"),
        provider: Provider {
            is_in_good_standing: true,
            steering_weight: 1,
            availability_permille: 990,
            estimates: Default::default(),
        },
    };
    let owner = |site| id(4, site, AccountId::from_bytes);
    let fee = |site: u64| Fee {
        cents: Cents(100 + site % 900),
        salt: [7; 16],
    };
    let hours = || (0..nodes).map(|node| (provider(node), 720)).collect();
    Books {
        region: RegionId::from_bytes([7; 32]),
        region_name: "Elm Street".to_owned(),
        month,
        is_closed: true,
        policy: "[statement]\ncurrency = \"EUR\"\n".to_owned(),
        providers: (0..nodes)
            .map(|node| (provider(node), named(node)))
            .collect(),
        nodes: (0..nodes)
            .map(|node| (id(2, node, NodeId::from_bytes), provider(node)))
            .collect(),
        owners: (0..sites)
            .map(|site| {
                (
                    owner(site),
                    Owner {
                        name: format!("owner {site}"),
                    },
                )
            })
            .collect(),
        sites: (0..sites)
            .map(|site| {
                let name = format!("site {site}");
                (
                    id(3, site, SiteId::from_bytes),
                    Site {
                        name,
                        owner: owner(site),
                    },
                )
            })
            .collect(),
        fees: Fees((0..sites).map(|site| (owner(site), fee(site))).collect()),
        held: (0..sites)
            .map(|site| (id(3, site, SiteId::from_bytes), hours()))
            .collect(),
        seals: days
            .iter()
            .flat_map(|day| (0..nodes).map(|node| seal(node, *day, sites)))
            .collect(),
        earlier: Default::default(),
    }
}
