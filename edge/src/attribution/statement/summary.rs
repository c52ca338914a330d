//! `summary.html`: what may be public of a month: figures by provider, and none of so few sites or
//! requests that they would tell of somebody's visitors.

use super::Statement;
use super::escape;
use super::picture::{Bar, bars, head};
use crate::attribution::money::Cents;
use std::fmt::Write as _;
use verge_sync::id::ProviderId;

pub(super) const NAME: &str = "summary.html";
/// Fewer sites, and the figure is left out.
const SITES_MIN: usize = 10;
/// Fewer requests, and the figure is left out.
const REQUESTS_MIN: u64 = 1_000;

pub(super) fn write(statement: &Statement<'_>) -> String {
    let title = format!(
        "{} in {}",
        statement.books.region_name, statement.books.month
    );
    let mut page = head(&title);
    sections(statement, &mut page).expect("writing to a String does not fail");
    page.push_str("</body></html>\n");
    page
}

/// Units that the provider is credited with; none if they are of too few.
fn public_units(statement: &Statement<'_>, id: &ProviderId) -> Option<u64> {
    let credited = statement.attribution.credited.values();
    let units = credited.filter_map(|of| of.get(id).copied().filter(|units| *units > 0));
    let (sites, sum) = units.fold((0_usize, 0_u64), |(sites, sum), units| {
        (sites.saturating_add(1), sum.saturating_add(units))
    });
    let requests = statement.requests.get(id).copied().unwrap_or(0);
    (sites >= SITES_MIN && requests >= REQUESTS_MIN).then_some(sum)
}

fn sections(statement: &Statement<'_>, page: &mut String) -> std::fmt::Result {
    let currency = statement.policy.currency;
    let attribution = &statement.attribution;
    if !statement.books.is_closed {
        writeln!(
            page,
            "<p><strong>Provisional:</strong> the month is not closed.</p>"
        )?;
    }
    writeln!(
        page,
        "<p>{} were paid for sites; {} of it went to the region's fund, and this to providers:</p>\n<table>",
        currency.show(attribution.fees),
        currency.show(attribution.commons)
    )?;
    let mut shown = Vec::new();
    for (id, share) in &attribution.providers {
        let parts = [share.deliver, share.hold, share.care];
        let sum = parts
            .iter()
            .fold(Cents(0), |sum, part| sum.plus(*part).unwrap_or(sum));
        let name = statement.provider_name(id);
        writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td></tr>",
            escape::html(name),
            currency.show(sum)
        )?;
        if let Some(units) = public_units(statement, id) {
            shown.push(Bar { name, units });
        }
    }
    writeln!(page, "</table>\n<h2>Who served</h2>")?;
    page.push_str(&bars("Who served", &shown));
    let left_out = attribution.providers.len().saturating_sub(shown.len());
    if left_out > 0 {
        writeln!(
            page,
            "<p>{left_out} providers served fewer than {SITES_MIN} sites or {REQUESTS_MIN} requests; \
             their figures are left out.</p>"
        )?;
    }
    Ok(())
}
