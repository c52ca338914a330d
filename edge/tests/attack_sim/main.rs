//! `make attack-sim`: regions in which somebody lies about what it served, and what comes of it.
//!
//! Each cell of the table is a number of months, each from its own seed: honest figures with noise,
//! the same month with the lie, and the same once more under rule A without a cap, to compare with.
//! `VERGE_ATTACK_SEEDS` says how many; in `make test` two, with the bounds that hold at any count.
#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "what fails here fails the test, and the table is for people"
)]

mod region;

use region::{Attack, Month, World};
use std::fmt::Write as _;

const PROVIDERS: [usize; 4] = [3, 8, 20, 50];

/// What the attackers got more than without the lie, in thousandths of all fees; how many of the
/// months named one of them; how many of the honest providers were named.
#[derive(Debug, Default, Clone, Copy)]
struct Outcome {
    gain: f64,
    gain_uncapped: f64,
    detected: f64,
    false_alarms: f64,
}

#[expect(clippy::disallowed_methods, reason = "the counts of `make attack-sim`")]
fn seed_count() -> u64 {
    let given = std::env::var("VERGE_ATTACK_SEEDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(2)
}

fn simulate(attack: Attack, provider_count: usize) -> Outcome {
    let mut sum = Outcome::default();
    let count = seed_count();
    for seed in 1..=count {
        let world = World::new(provider_count, seed);
        let (honest, lied) = (Month::of(&world, None), Month::of(&world, Some(attack)));
        let liars = lied.liars();
        let suspects = lied.suspects();
        let caught = suspects.iter().filter(|id| liars.contains(id)).count();
        let wronged = suspects.len() - caught;
        let others = lied.provider_count() - liars.len();
        sum.gain += lied.gain_over(&honest);
        sum.gain_uncapped += lied.uncapped().gain_over(&honest.uncapped());
        sum.detected += f64::from(u8::from(caught > 0));
        sum.false_alarms += wronged as f64 / others as f64;
    }
    // In per cent; no minus before what rounds to nothing.
    let of = |figure: f64| (figure * 10_000.0 / count as f64).round() / 100.0 + 0.0;
    Outcome {
        gain: of(sum.gain),
        gain_uncapped: of(sum.gain_uncapped),
        detected: of(sum.detected),
        false_alarms: of(sum.false_alarms),
    }
}

/// The gain that an attack may have at most, in per cent of all fees, in a region with a cap.
fn gain_max(attack: Attack, provider_count: usize) -> f64 {
    let share = 1.0 / provider_count as f64;
    match attack {
        // One and a half times a share of the deliver half, and noise. Ranges are bytes that were really
        // sent, to oneself: no more of a site than by writing them down.
        Attack::Inflate(_) | Attack::Ranges => 25.0 * share + 1.0,
        // What probes see is held to twice the weight; all liars together have less than the whole.
        Attack::Collude | Attack::LyingProbes => 50.0,
        // A second part of care.
        Attack::Split => 50.0 * share + 1.5,
        Attack::FreeSite | Attack::CentSite => 2.5,
        Attack::Heads | Attack::NotModified => 0.001,
    }
}

#[test]
fn what_a_lie_is_worth() {
    let mut table = String::from(
        "| attack | providers | gain | gain without a cap, rule A | detected | false alarms |\n\
         |---|---|---|---|---|---|\n",
    );
    for attack in Attack::ALL {
        for provider_count in PROVIDERS {
            let outcome = simulate(attack, provider_count);
            writeln!(
                table,
                "| {attack} | {provider_count} | {:.2} % | {:.2} % | {:.0} % | {:.1} % |",
                outcome.gain, outcome.gain_uncapped, outcome.detected, outcome.false_alarms
            )
            .unwrap();
            let has_cap = provider_count >= 4;
            assert!(
                !has_cap || outcome.gain <= gain_max(attack, provider_count),
                "{attack} with {provider_count}: {outcome:?}"
            );
            let is_flagrant = matches!(attack, Attack::Inflate(factor) if factor >= 100);
            assert!(
                !has_cap || !is_flagrant || outcome.detected > 99.9,
                "{attack} {provider_count}"
            );
        }
    }
    println!("{table}");
}
