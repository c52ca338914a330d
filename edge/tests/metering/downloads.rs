//! Downloads of every kind over a line that loses packets, against what was acknowledged on it.

use crate::lane::{Capture, EDGE, Lane, doubt};
use crate::reader::{Got, Wish, visit};
use crate::support::edge::{Setup, TestEdge};
use crate::support::effort::{count, proving};
use crate::support::sample::{Blobs, encode, file, noise};
use crate::support::visitor::Via;
use crate::{SITE, ended, of};
use std::time::Duration;
use verge_edge::accounting::figures::Class;
use verge_edge::accounting::meter::Taken;
use verge_sync::manifest::Coding;

const BIG: usize = 3_000_000;
const MIDDLE: usize = 300_000;
const PAGE: usize = 30_000;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

fn page() -> Vec<u8> {
    let mut page = "<p>A page. ".repeat(PAGE / 11).into_bytes();
    page.resize(PAGE, b' ');
    page
}

fn wish(dice: &mut Dice) -> Wish {
    let (path, length) = dice.pick(&[("/big.bin", BIG), ("/middle.bin", MIDDLE), ("/", PAGE)]);
    let range = match dice.roll(4) {
        0 => Some(format!("bytes={}-", dice.roll(length))),
        1 => Some(format!("bytes=10-{},{}-", length / 3, length / 2)),
        _ => None,
    };
    Wish {
        path,
        range,
        until: None,
        is_slow: dice.roll(4) == 0,
    }
}

/// What a wish that is granted counts: content and credit.
fn worth(wish: &Wish, smallest_page: u64) -> (u64, u64) {
    let length = match wish.path {
        "/big.bin" => BIG,
        "/middle.bin" => MIDDLE,
        _ => PAGE,
    };
    let content = match wish.range.as_deref() {
        None => length,
        Some(range) if range.contains(',') => length / 3 + 1 - 10 + length - length / 2,
        Some(range) => {
            length
                - range["bytes=".len()..range.len() - 1]
                    .parse::<usize>()
                    .unwrap()
        }
    };
    let (content, whole) = (
        u64::try_from(content).unwrap(),
        u64::try_from(PAGE).unwrap(),
    );
    let credit = if wish.path == "/" {
        smallest_page * content / whole
    } else {
        content
    };
    (content, credit)
}

#[test]
fn what_is_counted_is_what_was_acknowledged() {
    let lane = Lane::losing(1);
    let blobs = Blobs::new();
    let files = [
        file("index.html", page()),
        file("middle.bin", noise(2, MIDDLE)),
        file("big.bin", noise(3, BIG)),
    ];
    let version = blobs.publish(&files);
    let setup = |ip| Setup {
        ip,
        ..Setup::default()
    };
    let (secured, plain) = lane.at_edge(|| {
        let plain = setup(EDGE).start(&blobs, version);
        plain.forget_certificates();
        (setup(EDGE).start(&blobs, version), plain)
    });
    let codings = [Coding::Brotli, Coding::Zstd, Coding::Gzip];
    let smallest = codings.map(|coding| encode(coding, &page()).len());
    let smallest = u64::try_from(smallest.into_iter().min().unwrap()).unwrap();
    let rounds = count("VERGE_DOWNLOADS", if proving() { 1_000 } else { 60 });
    lane.at_visitor(|| {
        let capture = Capture::start();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut dice = Dice(7);
        for round in 0..rounds {
            let via = [Via::Plain, Via::Http1, Via::Http2][round % 3];
            let edge = if via == Via::Plain { &plain } else { &secured };
            let mut wishes: Vec<Wish> = (0..=dice.roll(3)).map(|_| wish(&mut dice)).collect();
            if dice.roll(2) == 0 {
                wishes.push(Wish {
                    path: "/big.bin",
                    range: None,
                    until: Some(1 + dice.roll(BIG / 2)),
                    is_slow: false,
                });
            }
            let visited = visit(edge, via, &wishes);
            let within = async { tokio::time::timeout(Duration::from_secs(120), visited).await };
            let got = runtime.block_on(within).unwrap();
            let taken = ended(edge.running.meter(), 1);
            let round = Round {
                via,
                wishes: &wishes,
                got: &got,
                smallest,
            };
            round.check(&taken, &capture, edge);
        }
    });
}

struct Round<'a> {
    via: Via,
    wishes: &'a [Wish],
    got: &'a Got,
    smallest: u64,
}

impl Round<'_> {
    fn check(&self, taken: &Taken, capture: &Capture, edge: &TestEdge) {
        let what = format!("{:?} {:?} {taken:?}", self.via, self.wishes);
        // All that the kernel says was acknowledged was seen, and no more but for a FIN.
        let (wire, since) = (taken.totals.wire.0, verge_sync::clock::stopwatch());
        while capture.acknowledged(self.got.port) + 1 < wire {
            assert!(since.elapsed() < Duration::from_secs(20), "{what}");
            std::thread::yield_now();
        }
        let acknowledged = capture.acknowledged(self.got.port);
        assert!(acknowledged <= wire + 1, "{acknowledged} {what}");
        let count = of(taken, SITE, Class::Answer);
        let granted = self.wishes.iter().filter(|wish| wish.until.is_none());
        let sums = granted.map(|wish| worth(wish, self.smallest));
        let (content, credit) = sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let requests = u64::try_from(self.wishes.len()).unwrap();
        assert!(edge.running.meter().take().counts.is_empty(), "{what}");
        if self.wishes.iter().all(|wish| wish.until.is_none()) {
            let counted = (count.requests, count.body.0, count.credit.0);
            assert_eq!(counted, (requests, content, credit), "{what}");
            return;
        }
        // The last, which broke off, is of a file that is not compressed.
        let broken = count.body.0 - content;
        assert!(count.credit.0 == credit + broken, "{what}");
        let before = self.before();
        let most = wire.saturating_sub(before);
        assert!(broken <= most, "{broken} of {most}: {what}");
        let least = most.saturating_sub(doubt(self.via, wire));
        assert!(broken >= least, "{broken} of {most}: {what}");
    }

    /// What came before the body that broke off: heads, and whole bodies with what is between parts.
    fn before(&self) -> u64 {
        let whole = self.got.bodies.iter().rev().skip(1).sum::<usize>();
        u64::try_from(self.got.head_bytes + whole).unwrap()
    }
}
