//! `statement.json`: the statement for programs. Amounts are in the smallest unit of the currency.

use super::Statement;
use super::text::digest_of_seals;
use crate::attribution::Cap;
use serde::Serialize;

pub(super) const NAME: &str = "statement.json";

#[derive(Serialize)]
struct Whole {
    format: u32,
    region: String,
    month: String,
    closed: bool,
    currency: &'static str,
    digits: u32,
    fees: u64,
    fees_root: String,
    levies: Vec<Levy>,
    commons: u64,
    cap: &'static str,
    providers: Vec<ProviderPart>,
    owners: Vec<OwnerPart>,
    seals: Vec<SealPart>,
    seals_digest: String,
    missing: Vec<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Levy {
    name: String,
    amount: u64,
}

#[derive(Serialize)]
struct ProviderPart {
    id: String,
    name: String,
    deliver: u64,
    hold: u64,
    care: u64,
}

#[derive(Serialize)]
struct OwnerPart {
    id: String,
    name: String,
    fee: u64,
    levies: Vec<u64>,
    deliver: u64,
    hold: u64,
    care: u64,
    commons: u64,
    by_provider: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    provider: String,
    units: u64,
    deliver: Option<u64>,
}

#[derive(Serialize)]
struct SealPart {
    node: String,
    day: String,
    digest: String,
}

pub(super) fn write(statement: &Statement<'_>) -> String {
    let mut text = serde_json::to_string_pretty(&whole(statement))
        .expect("numbers and texts have a JSON form");
    text.push('\n');
    text
}

fn whole(statement: &Statement<'_>) -> Whole {
    let (books, attribution) = (statement.books, &statement.attribution);
    let currency = statement.policy.currency;
    let levies = statement.policy.levies.iter().zip(&attribution.levies);
    let providers = attribution
        .providers
        .iter()
        .map(|(id, share)| ProviderPart {
            id: id.to_string(),
            name: statement.provider_name(id).to_owned(),
            deliver: share.deliver.0,
            hold: share.hold.0,
            care: share.care.0,
        });
    let seals = statement.seals.iter().map(|(node, day, digest)| SealPart {
        node: node.to_string(),
        day: day.to_string(),
        digest: digest.to_string(),
    });
    Whole {
        format: 1,
        region: books.region.to_string(),
        month: books.month.to_string(),
        closed: books.is_closed,
        currency: currency.code(),
        digits: currency.digits(),
        fees: attribution.fees.0,
        fees_root: books.fees.root().to_string(),
        levies: levies
            .map(|(levy, amount)| Levy {
                name: levy.name.clone(),
                amount: amount.0,
            })
            .collect(),
        commons: attribution.commons.0,
        cap: match attribution.cap {
            Cap::Held => "held",
            Cap::TooFewProviders => "too few providers",
            Cap::Off => "off",
        },
        providers: providers.collect(),
        owners: owners(statement),
        seals: seals.collect(),
        seals_digest: digest_of_seals(statement).to_string(),
        missing: statement.missing.clone(),
        notes: statement.notes.clone(),
    }
}

fn owners(statement: &Statement<'_>) -> Vec<OwnerPart> {
    let owners = statement.attribution.owners.iter();
    let part =
        |(id, owner): (&verge_sync::id::AccountId, &crate::attribution::OwnerShare)| OwnerPart {
            id: id.to_string(),
            name: statement.owner_name(id).to_owned(),
            fee: owner.fee.0,
            levies: owner.levies.iter().map(|levy| levy.0).collect(),
            deliver: owner.parts.deliver.0,
            hold: owner.parts.hold.0,
            care: owner.parts.care.0,
            commons: owner.parts.commons.0,
            by_provider: statement
                .books
                .providers
                .keys()
                .map(|provider| Part {
                    provider: provider.to_string(),
                    units: owner.units.get(provider).copied().unwrap_or(0),
                    deliver: owner.deliver.get(provider).map(|cents| cents.0),
                })
                .collect(),
        };
    owners.map(part).collect()
}
