//! Sums of a month of seals.
#![allow(clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::accounting::seal::sample;
use crate::region::scene::Scene;
use std::sync::Arc;
use verge_sync::record::body::{HostProof, NameKind};
use verge_sync::store::LocalDisk;
use verge_sync::store::Store;

fn day(number: u32) -> Day {
    Day::new(number).unwrap()
}

/// 2026-12-01.
const FIRST: u32 = 20_788;

struct Case {
    scene: Scene,
    store: Store,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            scene: Scene::new(2, HostProof::None),
            store: Store::open(folder.path(), Arc::new(LocalDisk)).unwrap(),
            _folder: folder,
        }
    }

    fn seal(&mut self, number: u8, on: u32, rows: Vec<crate::accounting::figures::Row>) {
        let seal = Seal {
            node: self.scene.node(number),
            day: day(on),
            rows,
            previous: None,
            ..sample::seal()
        };
        let encoded = seal.encode();
        self.store.blobs().put(&encoded.rows).unwrap();
        self.scene.seal(number, seal.day, encoded.body);
    }

    fn usage(&self, by: By, site: Option<SiteId>) -> Usage {
        let ledger = Ledger::new(self.store.clone());
        let effect = self.scene.effect();
        let review = ledger.review(&effect, day(FIRST + 40));
        let month = day(FIRST).month();
        Usage::of((&effect, &ledger), &review, Question { site, by, month }).unwrap()
    }
}

#[test]
fn a_month_is_summed_by_site_provider_and_day() {
    let mut case = Case::new();
    let (account, site) = case.scene.site(0);
    case.scene
        .claim(0, (account, site), NameKind::Label, "garden");
    let mut rows = vec![
        sample::row(1, Class::Answer, 40),
        sample::row(2, Class::Answer, 500),
        sample::row(2, Class::Bot, 7),
    ];
    rows[0].site = site;
    rows.sort_by_key(|row| (row.site, row.class));
    case.seal(0, FIRST, rows.clone());
    case.seal(0, FIRST + 30, rows.clone());
    case.seal(1, FIRST, rows.clone());
    // Of the months before and after.
    case.seal(1, FIRST - 1, rows.clone());
    case.seal(1, FIRST + 31, rows);
    let by_site = case.usage(By::Site, None);
    assert_eq!(by_site.seal_count, 3);
    let seen: Vec<_> = by_site
        .lines
        .iter()
        .map(|l| (l.answers, l.other_responses))
        .collect();
    assert_eq!(seen, [(1_500, 21), (120, 0)]);
    assert_eq!(by_site.lines[1].name, "garden");
    let by_provider = case.usage(By::Provider, None);
    let seen: Vec<_> = by_provider
        .lines
        .iter()
        .map(|l| (l.name.as_str(), l.answers))
        .collect();
    assert_eq!(seen, [("provider 0", 1_080), ("provider 1", 540)]);
    let by_day = case.usage(By::Day, Some(site));
    let seen: Vec<_> = by_day
        .lines
        .iter()
        .map(|l| (l.name.as_str(), l.answers))
        .collect();
    assert_eq!(seen, [("2026-12-01", 80), ("2026-12-31", 40)]);
    let bars = by_provider.show(Form::Bars);
    assert_eq!(bars[0], "2026-12, from 3 seals of single days");
    assert!(
        bars[1].starts_with(&format!("provider 0  {}  ", "█".repeat(32))),
        "{bars:?}"
    );
    assert!(
        bars[2].contains(&format!("provider 1  {}  ", "█".repeat(16)))
            || bars[2].contains("████████████████ ")
    );
    let json: serde_json::Value = serde_json::from_str(&by_day.show(Form::Json)[0]).unwrap();
    assert_eq!(json["lines"][0]["answers"], 80);
}

#[test]
fn the_first_sites_have_figures_and_the_others_one_sum() {
    let mut case = Case::new();
    let rows = (1..=30).map(|site| sample::row(site, Class::Answer, 20 + u64::from(site)));
    case.seal(0, FIRST, rows.collect());
    let text = case.usage(By::Site, None).show(Form::Prometheus);
    let of = |name: &str| text.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(of("verge_usage_answers{"), 21);
    let rest: u64 = (21..=30).sum();
    let others = format!("verge_usage_answers{{site=\"(others)\",month=\"2026-12\"}} {rest}");
    assert!(text.contains(&others), "{text:#?}");
}

#[test]
fn everybody_sees_large_sums_of_a_month_that_is_over_only() {
    let mut case = Case::new();
    let of = |sites: u8, requests| {
        let rows = (1..=sites).map(|site| sample::row(site, Class::Answer, requests));
        rows.collect::<Vec<_>>()
    };
    let shown = |case: &Case, today: u32| {
        let ledger = Ledger::new(case.store.clone());
        let effect = case.scene.effect();
        let text = public_metrics(&effect, &ledger.review(&effect, day(today)), day(today));
        let lines = text
            .lines()
            .filter(|line| line.starts_with("verge_served_responses{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    case.seal(0, FIRST, of(10, 100));
    // Enough requests of too few sites.
    case.seal(1, FIRST, of(9, 1_000));
    let expected = "verge_served_responses{provider=\"provider 0\",month=\"2026-12\"} 1000";
    assert_eq!(shown(&case, FIRST + 33), [expected]);
    // The month runs, or its last seals are on their way.
    assert!(shown(&case, FIRST + 30).is_empty());
    assert!(shown(&case, FIRST + 32).is_empty());
    // Too few requests of enough sites.
    let mut case = Case::new();
    case.seal(0, FIRST, of(10, 99));
    assert!(shown(&case, FIRST + 33).is_empty());
}
