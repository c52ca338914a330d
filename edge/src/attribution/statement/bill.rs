//! `bill-*.html`: one owner's page: what became of the fee, who served the sites, and the line by
//! which the fee can be checked.

use super::escape;
use super::picture::{Bar, bars, head};
use super::{Books, Statement};
use crate::attribution::exact::Percent;
use crate::attribution::money::Cents;
use crate::attribution::policy::Rule;
use std::fmt::Write as _;
use verge_sync::id::AccountId;

/// The file's name.
pub(super) fn name(books: &Books, id: &AccountId) -> String {
    let name = books.owners.get(id).map_or("", |owner| owner.name.as_str());
    format!("bill-{}-{}.html", escape::file_name(name), id.short())
}

pub(super) fn write(statement: &Statement<'_>, id: &AccountId) -> String {
    let title = format!(
        "{}: {} in {}",
        statement.owner_name(id),
        statement.books.month,
        statement.books.region_name
    );
    let mut page = head(&title);
    sections(statement, id, &mut page).expect("writing to a String does not fail");
    page.push_str("</body></html>\n");
    page
}

fn sections(statement: &Statement<'_>, id: &AccountId, page: &mut String) -> std::fmt::Result {
    let Some(owner) = statement.attribution.owners.get(id) else {
        return Ok(());
    };
    let currency = statement.policy.currency;
    if !statement.books.is_closed {
        writeln!(
            page,
            "<p><strong>Provisional:</strong> the month is not closed.</p>"
        )?;
    }
    if owner.fee.0 == 0 {
        writeln!(
            page,
            "<p>Nothing was paid: the region sponsors this account. Its sites stay online.</p>"
        )?;
    }
    writeln!(
        page,
        "<h2>What became of {}</h2>\n<table>",
        currency.show(owner.fee)
    )?;
    let row = |page: &mut String, name: &str, amount: Cents| {
        writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td></tr>",
            escape::html(name),
            currency.show(amount)
        )
    };
    for (levy, amount) in statement.policy.levies.iter().zip(&owner.levies) {
        row(page, &levy.name, *amount)?;
    }
    for (provider, amount) in &owner.deliver {
        let name = format!("{}, for serving", statement.provider_name(provider));
        row(page, &name, *amount)?;
    }
    if owner.deliver.is_empty() {
        row(page, "providers, for serving", owner.parts.deliver)?;
    }
    row(page, "providers, for holding copies", owner.parts.hold)?;
    row(page, "providers, for being there", owner.parts.care)?;
    row(page, "the region's fund", owner.parts.commons)?;
    writeln!(page, "</table>\n<h2>Who served your sites</h2>")?;
    let of = statement.books.providers.keys().map(|provider| Bar {
        name: statement.provider_name(provider),
        units: owner.units.get(provider).copied().unwrap_or(0),
    });
    page.push_str(&bars("Who served your sites", &of.collect::<Vec<_>>()));
    average(statement, id, page)?;
    if let Some(proof) = statement.proofs.get(id) {
        writeln!(
            page,
            "<h2>Check it</h2>\n<p>The fees of the month have the root <code>{}</code>. This line shows \
             that yours is among them, and <code>verge statement fee LINE</code> checks it:</p>\n\
             <p><code>{proof}</code></p>",
            statement.books.fees.root()
        )?;
    }
    Ok(())
}

/// How much of the deliver part follows the region's average.
fn average(statement: &Statement<'_>, id: &AccountId, page: &mut String) -> std::fmt::Result {
    let policy = &statement.policy;
    let owner = statement
        .attribution
        .owners
        .get(id)
        .filter(|owner| owner.fee.0 > 0);
    let Some(owner) = owner.filter(|_| policy.rule == Rule::Shrunk) else {
        return Ok(());
    };
    let own = owner
        .units
        .values()
        .fold(0_u64, |sum, units| sum.saturating_add(*units));
    let missing = policy.threshold_units.saturating_sub(own);
    if missing == 0 {
        return Ok(());
    }
    let percent = Percent {
        part: missing.into(),
        whole: policy.threshold_units.into(),
    };
    writeln!(
        page,
        "<p>Your sites had few visitors, so {percent} of the part for serving follows the region's \
         average, so that single visits do not steer it.</p>"
    )
}
