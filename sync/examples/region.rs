//! How long a record takes from the disk of one node to that of every other: five members on loopback,
//! over real sockets, each with a store of its own. `benches/region` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints figures"
)]
#![allow(dead_code, reason = "shared with the tests")]

#[path = "../tests/network/member.rs"]
mod member;
#[path = "../tests/records/scene.rs"]
mod scene;

use member::{Member, in_step, introduce};
use scene::{deploy_body, with_site};
use verge_sync::clock::stopwatch;
use verge_sync::record::{Body, KindTable};

const MEMBERS: u8 = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(200, |text| text.parse().unwrap());
    let (scene, account, site) = with_site(MEMBERS);
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(Member::start(&scene, number, KindTable::default()).await);
    }
    introduce(&scene, &members.iter().collect::<Vec<_>>()).await;
    in_step(&members.iter().collect::<Vec<_>>()).await;
    let mut millis = Vec::new();
    for number in 0..count {
        let writer = number % members.len();
        let mut body = deploy_body(&format!("version {number}"), account, 0);
        // About 1 KB: a deploy with its git data has half of that.
        body.git = None;
        assert!(Body::Deploy(body.clone()).encode().len() < 1_024);
        let started = stopwatch();
        let mut id = None;
        members[writer]
            .write(|author, effect| {
                let record = author.deploy(effect, site, body).unwrap();
                id = Some(record.id());
                record
            })
            .await;
        for member in &members {
            member.holds(id.unwrap()).await;
        }
        millis.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    millis.sort_by(f64::total_cmp);
    let at = |part: usize| millis[(millis.len() - 1) * part / 100];
    println!(
        "record from its writer to all of {MEMBERS} nodes, durable at each, {count} times: p50 {:.0} ms, p99 {:.0} ms",
        at(50),
        at(99)
    );
}
