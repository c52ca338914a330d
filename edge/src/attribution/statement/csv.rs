//! `rows.csv`: what was served and credited, by owner, site and provider.

use super::Statement;
use super::escape;
use std::fmt::Write as _;

pub(super) const NAME: &str = "rows.csv";

pub(super) fn write(statement: &Statement<'_>) -> String {
    let mut text =
        "owner,site,provider,units_served,units_credited,replica_hours,owner_name,site_name,\
                    provider_name\n"
            .to_owned();
    let none = Default::default();
    for (id, site) in &statement.books.sites {
        let served = statement.served.get(id).unwrap_or(&none);
        let credited = statement.attribution.credited.get(id).unwrap_or(&none);
        let held = statement.books.held.get(id).unwrap_or(&none);
        for provider in statement.books.providers.keys() {
            let of = |units: &std::collections::BTreeMap<_, u64>| {
                units.get(provider).copied().unwrap_or(0)
            };
            if of(served) == 0 && of(held) == 0 {
                continue;
            }
            writeln!(
                text,
                "{},{id},{provider},{},{},{},{},{},{}",
                site.owner,
                of(served),
                of(credited),
                of(held),
                escape::csv(statement.owner_name(&site.owner)),
                escape::csv(&site.name),
                escape::csv(statement.provider_name(provider)),
            )
            .expect("writing to a String does not fail");
        }
    }
    text
}
