//! `statement.txt`: the statement for people, and what is signed: it has the digest of every other
//! file.

use super::{Files, Statement};
use crate::attribution::money::Cents;
use std::fmt::Write as _;
use verge_sync::Digest;

/// What is signed.
pub const NAME: &str = "statement.txt";

pub(super) fn write(statement: &Statement<'_>, files: &Files) -> String {
    let mut text = String::new();
    sections(statement, files, &mut text).expect("writing to a String does not fail");
    text
}

fn sections(statement: &Statement<'_>, files: &Files, text: &mut String) -> std::fmt::Result {
    let books = statement.books;
    writeln!(
        text,
        "Statement of {} for {}",
        plain(&books.region_name),
        books.month
    )?;
    writeln!(text, "Region {}", books.region)?;
    let state = if books.is_closed {
        "Closed by a majority of the providers."
    } else {
        "Provisional: the month is not closed."
    };
    writeln!(text, "{state}\n")?;
    money(statement, text)?;
    providers(statement, text)?;
    list(text, "Missing seals", &statement.missing)?;
    list(text, "Notes", &statement.notes)?;
    writeln!(text, "Seals: {}", statement.seals.len())?;
    writeln!(text, "  digest of all  {}", digest_of_seals(statement))?;
    writeln!(
        text,
        "Fees: {} accounts",
        statement.attribution.owners.len()
    )?;
    writeln!(text, "  root of their rows  {}\n", books.fees.root())?;
    writeln!(text, "Policy, in words:")?;
    for line in statement.policy.explain().lines() {
        writeln!(text, "  {line}")?;
    }
    writeln!(text, "\nDigests (BLAKE3) of the other files:")?;
    for (name, bytes) in files {
        writeln!(text, "  {}  {name}", Digest::of(bytes))?;
    }
    Ok(())
}

/// Over all digests, ascending: what a close lists.
pub(super) fn digest_of_seals(statement: &Statement<'_>) -> Digest {
    let mut digests: Vec<[u8; 32]> = statement
        .seals
        .iter()
        .map(|(_, _, digest)| *digest.as_bytes())
        .collect();
    digests.sort_unstable();
    Digest::of(digests.as_flattened())
}

fn money(statement: &Statement<'_>, text: &mut String) -> std::fmt::Result {
    let currency = statement.policy.currency;
    let attribution = &statement.attribution;
    let paying = attribution
        .owners
        .values()
        .filter(|owner| owner.fee.0 > 0)
        .count();
    let sponsored = attribution.owners.len().saturating_sub(paying);
    writeln!(
        text,
        "{:<24}{:>20}  from {paying} accounts, {sponsored} sponsored",
        "Fees",
        currency.show(attribution.fees)
    )?;
    for (levy, amount) in statement.policy.levies.iter().zip(&attribution.levies) {
        let name = plain(&levy.name);
        writeln!(text, "{name:<24}{:>20}", currency.show(*amount))?;
    }
    let payouts = payouts(statement);
    writeln!(text, "{:<24}{:>20}", "To providers", currency.show(payouts))?;
    writeln!(
        text,
        "{:<24}{:>20}\n",
        "Commons",
        currency.show(attribution.commons)
    )
}

/// All that providers get.
fn payouts(statement: &Statement<'_>) -> Cents {
    let shares = statement.attribution.providers.values();
    let parts = shares.flat_map(|share| [share.deliver, share.hold, share.care]);
    parts.fold(Cents(0), |sum, part| sum.plus(part).unwrap_or(sum))
}

fn providers(statement: &Statement<'_>, text: &mut String) -> std::fmt::Result {
    let currency = statement.policy.currency;
    writeln!(
        text,
        "{:<28}{:>14}{:>14}{:>14}{:>14}  {}",
        "Provider",
        "deliver",
        "hold",
        "care",
        "together",
        currency.code()
    )?;
    for (id, share) in &statement.attribution.providers {
        let parts = [share.deliver, share.hold, share.care];
        let sum = parts
            .iter()
            .fold(Cents(0), |sum, part| sum.plus(*part).unwrap_or(sum));
        let name: String = plain(statement.provider_name(id))
            .chars()
            .take(26)
            .collect();
        write!(text, "{name:<28}")?;
        for amount in parts.into_iter().chain([sum]) {
            write!(text, "{:>14}", currency.number(amount))?;
        }
        writeln!(text, "  {}", id.short())?;
    }
    writeln!(text)
}

fn list(text: &mut String, title: &str, lines: &[String]) -> std::fmt::Result {
    if lines.is_empty() {
        return writeln!(text, "{title}: none");
    }
    writeln!(text, "{title}:")?;
    for line in lines {
        writeln!(text, "  {}", plain(line))?;
    }
    Ok(())
}

/// One line of text whatever a name has in it.
fn plain(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect()
}
