//! The inputs of a statement as files, so that whoever has the folder can work it out again.

use super::Files;
use super::books::{Books, NamedProvider, Owner, SealedDay, Site};
use crate::accounting::seal::{Encoded, Seal, SealError};
use crate::attribution::Provider;
use crate::attribution::fees::{self, Fees, FeesError};
use crate::attribution::hold::HoursBySite;
use crate::attribution::money::Currency;
use crate::attribution::policy::{PolicyError, parse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use verge_sync::id::{AccountId, ProviderId, SiteId};

/// The folder of the inputs in that of the statement.
pub const INPUTS_DIR: &str = "inputs";
const REGION: &str = "inputs/region.json";
const POLICY: &str = "inputs/policy.toml";
const FEES: &str = "inputs/fees.csv";
const HELD: &str = "inputs/held.csv";
const HELD_HEADER: &str = "site,provider,hours";
const FORMAT: u32 = 1;

/// Why a folder has no inputs of a statement.
#[derive(Debug, thiserror::Error)]
pub enum InputsError {
    /// A file is not there, or is not text.
    #[error("{0} is not there, or is no text")]
    NoText(&'static str),
    /// The table of the region.
    #[error("{REGION}: {0}")]
    Region(String),
    /// The policy.
    #[error("{POLICY}: {0}")]
    Policy(#[from] PolicyError),
    /// The fees.
    #[error("{FEES}: {0}")]
    Fees(#[from] FeesError),
    /// The replica-hours.
    #[error("{HELD}, line {0}: a row is {HELD_HEADER}, each site and provider once")]
    Held(usize),
    /// A seal.
    #[error("{file}: {source}")]
    Seal {
        /// Which file.
        file: String,
        /// What is wrong.
        source: SealError,
    },
    /// Not a seal at all.
    #[error("{0} is no file of a seal")]
    NoSeal(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    format: u32,
    region: String,
    name: String,
    month: String,
    closed: bool,
    providers: Vec<ProviderRow>,
    nodes: Vec<NodeRow>,
    owners: Vec<OwnerRow>,
    sites: Vec<SiteRow>,
    earlier: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderRow {
    id: String,
    name: String,
    good_standing: bool,
    weight: u32,
    availability_permille: u32,
    estimates: Vec<EstimateRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EstimateRow {
    by: String,
    parts: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeRow {
    id: String,
    provider: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerRow {
    id: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteRow {
    id: String,
    name: String,
    owner: String,
}

/// The inputs but the fees and the seals, in their one form: what a close names.
#[must_use]
pub fn write_books(books: &Books) -> Files {
    let mut table =
        serde_json::to_string_pretty(&table(books)).expect("numbers and texts have a JSON form");
    table.push('\n');
    let mut held = format!("{HELD_HEADER}\n");
    for (site, hours) in &books.held {
        for (provider, hours) in hours {
            held.push_str(&format!("{site},{provider},{hours}\n"));
        }
    }
    [
        (REGION, table),
        (POLICY, books.policy.clone()),
        (HELD, held),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text.into_bytes()))
    .collect()
}

/// All inputs but the seals.
pub(super) fn write(books: &Books, currency: Currency) -> Files {
    let mut files = write_books(books);
    let fees = books.fees.write(currency).into_bytes();
    files.insert(FEES.to_owned(), fees);
    files
}

fn table(books: &Books) -> Table {
    let estimates = |provider: &Provider| {
        let estimates = provider.estimates.iter();
        estimates
            .map(|(by, parts)| EstimateRow {
                by: by.to_string(),
                parts: *parts,
            })
            .collect()
    };
    let providers = books.providers.iter().map(|(id, named)| ProviderRow {
        id: id.to_string(),
        name: named.name.clone(),
        good_standing: named.provider.is_in_good_standing,
        weight: named.provider.steering_weight,
        availability_permille: named.provider.availability_permille,
        estimates: estimates(&named.provider),
    });
    let nodes = books.nodes.iter().map(|(id, provider)| NodeRow {
        id: id.to_string(),
        provider: provider.to_string(),
    });
    let owners = books.owners.iter().map(|(id, owner)| OwnerRow {
        id: id.to_string(),
        name: owner.name.clone(),
    });
    let sites = books.sites.iter().map(|(id, site)| SiteRow {
        id: id.to_string(),
        name: site.name.clone(),
        owner: site.owner.to_string(),
    });
    Table {
        format: FORMAT,
        region: books.region.to_string(),
        name: books.region_name.clone(),
        month: books.month.to_string(),
        closed: books.is_closed,
        providers: providers.collect(),
        nodes: nodes.collect(),
        owners: owners.collect(),
        sites: sites.collect(),
        earlier: books.earlier.iter().map(ToString::to_string).collect(),
    }
}

/// Reads the inputs from a folder's files; the seals were read one by one ([`read_seal`]).
///
/// # Errors
/// [`InputsError`] names the file, and in it the line or the row.
pub fn read_inputs(files: &Files, seals: Vec<SealedDay>) -> Result<Books, InputsError> {
    let mut books = read_books(files)?;
    books.fees = read_fees(&books, text(files, FEES)?)?;
    books.seals = seals;
    Ok(books)
}

/// Reads what [`write_books`] wrote: without fees and seals.
///
/// # Errors
/// [`InputsError`].
pub fn read_books(files: &Files) -> Result<Books, InputsError> {
    let table: Table = serde_json::from_str(text(files, REGION)?)
        .map_err(|error| InputsError::Region(error.to_string()))?;
    let mut books = read_table(table).map_err(InputsError::Region)?;
    books.policy = text(files, POLICY)?.to_owned();
    parse(&books.policy)?;
    books.held = read_held(text(files, HELD)?)?;
    Ok(books)
}

/// Reads a file of fees of the accounts of `books`, in the currency of their policy.
///
/// # Errors
/// [`InputsError`] names the line.
pub fn read_fees(books: &Books, text: &str) -> Result<Fees, InputsError> {
    let currency = parse(&books.policy)?.currency;
    let owners = books.owners.iter();
    let names = owners.map(|(id, owner)| (*id, owner.name.clone()));
    Ok(fees::read(text, currency, &names.collect())?)
}

fn text<'f>(files: &'f Files, name: &'static str) -> Result<&'f str, InputsError> {
    let bytes = files.get(name).ok_or(InputsError::NoText(name))?;
    std::str::from_utf8(bytes).or(Err(InputsError::NoText(name)))
}

fn id<T: FromStr>(text: &str) -> Result<T, String>
where
    T::Err: Display,
{
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// Rows by their ids, each once.
fn by_id<K: Ord + Display, V, R>(
    rows: Vec<R>,
    read: impl Fn(R) -> Result<(K, V), String>,
) -> Result<BTreeMap<K, V>, String> {
    let mut all = BTreeMap::new();
    for row in rows {
        let (key, value) = read(row)?;
        let name = key.to_string();
        if all.insert(key, value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(all)
}

fn read_provider(row: ProviderRow) -> Result<(ProviderId, NamedProvider), String> {
    let estimates = by_id(row.estimates, |row| Ok((id(&row.by)?, row.parts)))?;
    let named = NamedProvider {
        name: row.name,
        provider: Provider {
            is_in_good_standing: row.good_standing,
            steering_weight: row.weight,
            availability_permille: row.availability_permille,
            estimates,
        },
    };
    Ok((id(&row.id)?, named))
}

fn read_table(table: Table) -> Result<Books, String> {
    if table.format != FORMAT {
        return Err(format!(
            "format {} is that of another release, this one reads {FORMAT}",
            table.format
        ));
    }
    let providers = by_id(table.providers, read_provider)?;
    let nodes = by_id(table.nodes, |row| Ok((id(&row.id)?, id(&row.provider)?)))?;
    let owners: BTreeMap<AccountId, Owner> = by_id(table.owners, |row| {
        Ok((id(&row.id)?, Owner { name: row.name }))
    })?;
    let sites: BTreeMap<SiteId, Site> = by_id(table.sites, |row| {
        let site = Site {
            name: row.name,
            owner: id(&row.owner)?,
        };
        Ok((id(&row.id)?, site))
    })?;
    if let Some((node, _)) = nodes.iter().find(|(_, of)| !providers.contains_key(of)) {
        return Err(format!("node {node} is of a provider that is not there"));
    }
    if let Some((site, _)) = sites
        .iter()
        .find(|(_, site)| !owners.contains_key(&site.owner))
    {
        return Err(format!("site {site} is of an owner who is not there"));
    }
    let earlier = table.earlier.iter().map(|text| id(text));
    Ok(Books {
        region: id(&table.region)?,
        region_name: table.name,
        month: id(&table.month)?,
        is_closed: table.closed,
        policy: String::new(),
        providers,
        nodes,
        owners,
        sites,
        fees: Fees::default(),
        held: HoursBySite::new(),
        seals: Vec::new(),
        earlier: earlier.collect::<Result<_, _>>()?,
    })
}

fn read_held(text: &str) -> Result<HoursBySite, InputsError> {
    let mut lines = (1..).zip(text.lines());
    if lines.next().is_none_or(|(_, line)| line != HELD_HEADER) {
        return Err(InputsError::Held(1));
    }
    let mut held = HoursBySite::new();
    for (number, line) in lines {
        let row = held_row(line).ok_or(InputsError::Held(number))?;
        let (site, provider, hours): (SiteId, ProviderId, u64) = row;
        let of_site = held.entry(site).or_default();
        if of_site.insert(provider, hours).is_some() {
            return Err(InputsError::Held(number));
        }
    }
    Ok(held)
}

fn held_row(line: &str) -> Option<(SiteId, ProviderId, u64)> {
    /// More than a month has.
    const HOURS_MAX: u64 = 31 * 24;
    let mut fields = line.split(',');
    let row = (
        fields.next()?.parse().ok()?,
        fields.next()?.parse().ok()?,
        fields
            .next()?
            .parse()
            .ok()
            .filter(|hours| *hours <= HOURS_MAX)?,
    );
    fields.next().is_none().then_some(row)
}

/// The file of a seal in the folder: its name, and the length of the body (u16), the body, and the
/// rows.
#[must_use]
pub fn seal_file(seal: &Seal) -> (String, Vec<u8>) {
    let encoded = seal.encode();
    let digest = encoded.digest().to_string();
    let name = format!(
        "{INPUTS_DIR}/seals/{}-{}-{}.seal",
        seal.day,
        seal.node.short(),
        digest.get(..10).unwrap_or_default()
    );
    // A body is part of a record, which has at most 2 KiB.
    let length = u16::try_from(encoded.body.len()).unwrap_or(u16::MAX);
    let bytes = [
        &length.to_be_bytes(),
        encoded.body.as_slice(),
        &encoded.rows,
    ]
    .concat();
    (name, bytes)
}

/// Reads such a file.
///
/// # Errors
/// [`InputsError`].
pub fn read_seal(file: &str, bytes: &[u8]) -> Result<SealedDay, InputsError> {
    let no_seal = || InputsError::NoSeal(file.to_owned());
    let (length, rest) = bytes.split_first_chunk().ok_or_else(no_seal)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (body, rows) = rest.split_at_checked(length).ok_or_else(no_seal)?;
    let encoded = Encoded {
        body: body.to_vec(),
        rows: rows.to_vec(),
    };
    let expected = encoded.of_itself().ok_or_else(no_seal)?;
    let seal = Seal::decode(&encoded, &expected).map_err(|source| InputsError::Seal {
        file: file.to_owned(),
        source,
    })?;
    Ok(SealedDay {
        digest: encoded.digest(),
        seal,
    })
}

/// Fuzz target: tables of a region and of hours; what is read is written and read again.
pub(crate) fn statement_inputs(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(table_read) = serde_json::from_str::<Table>(&text)
        && let Ok(books) = read_table(table_read)
    {
        assert_eq!(read_table(table(&books)).as_ref(), Ok(&books));
    }
    let _held = read_held(&text).is_ok();
    let _seal = read_seal("a file", bytes).is_ok();
}
