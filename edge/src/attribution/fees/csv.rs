//! The file of fees: `owner,amount,salt`, a row for each account that has a site.

use super::{Fee, Fees, Salt};
use crate::attribution::money::{AmountError, Cents, Currency, FEES_MAX};
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use verge_sync::id::AccountId;

/// Rows of a file.
pub const ROWS_MAX: usize = 100_000;

/// Why a file of fees is refused, and at which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the fees: {fault}")]
pub struct FeesError {
    /// From 1; 0 is what is not in the file.
    pub line: usize,
    /// What is wrong there.
    pub fault: FeesFault,
}

/// What is wrong with a file of fees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeesFault {
    /// The first line is another.
    #[error("the first line is owner,amount,salt")]
    Header,
    /// Another number of fields, or a quote that does not end.
    #[error(
        "a row is owner,amount,salt with commas between them, and a name with a comma in quotes"
    )]
    Fields,
    /// Not an amount.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// Nobody has that name.
    #[error("{0:?} is no account of the region: write its name or its id")]
    Unknown(String),
    /// Several have it.
    #[error("several accounts are called {0:?}: write the id of the one that is meant")]
    Ambiguous(String),
    /// A second row.
    #[error("{0:?} has a row already, at line {1}")]
    Twice(String, usize),
    /// No row.
    #[error("{0:?} has no row: write one with amount 0 if nothing was paid")]
    Missing(String),
    /// Too much in all.
    #[error("with this row the fees come to more than {} smallest units of the currency", FEES_MAX.0)]
    TooMuch,
    /// No salt.
    #[error(
        "the row has no salt of 32 hexadecimal digits: `verge statement salt FILE` adds one to each"
    )]
    Salt,
    /// Too many rows.
    #[error("more than {ROWS_MAX} rows")]
    TooMany,
}

/// One row as it is written.
struct Fields {
    line: usize,
    owner: String,
    amount: String,
    salt: String,
}

/// Reads a file of fees; `owners` are the accounts that have sites, with their names.
///
/// # Errors
/// [`FeesError`] names the line.
pub fn read(
    text: &str,
    currency: Currency,
    owners: &BTreeMap<AccountId, String>,
) -> Result<Fees, FeesError> {
    let mut fees = BTreeMap::new();
    let mut lines: BTreeMap<AccountId, usize> = BTreeMap::new();
    let mut total = Cents(0);
    let names = names(owners);
    for fields in rows(text)? {
        let refuse = |fault| FeesError {
            line: fields.line,
            fault,
        };
        let owner = owner(&fields.owner, owners, &names).map_err(refuse)?;
        if let Some(line) = lines.insert(owner, fields.line) {
            return Err(refuse(FeesFault::Twice(fields.owner, line)));
        }
        let cents = currency.read(&fields.amount);
        let cents = cents.map_err(|error| refuse(error.into()))?;
        total = total
            .plus(cents)
            .filter(|total| *total <= FEES_MAX)
            .ok_or_else(|| refuse(FeesFault::TooMuch))?;
        let salt = salt(&fields.salt).ok_or_else(|| refuse(FeesFault::Salt))?;
        fees.insert(owner, Fee { cents, salt });
    }
    let missing = owners.iter().find(|(id, _)| !fees.contains_key(id));
    if let Some((_, name)) = missing {
        return Err(FeesError {
            line: 0,
            fault: FeesFault::Missing(name.clone()),
        });
    }
    Ok(Fees(fees))
}

/// The same file with a salt in each row; rows that have one keep it.
///
/// # Errors
/// [`FeesError`] names the line.
pub fn with_salts(text: &str, mut fresh: impl FnMut() -> Salt) -> Result<String, FeesError> {
    let mut written = "owner,amount,salt\n".to_owned();
    for fields in rows(text)? {
        let salt = salt(&fields.salt).unwrap_or_else(&mut fresh);
        let salt = HEXLOWER.encode(&salt);
        let owner = quoted(&fields.owner);
        written.push_str(&format!("{owner},{},{salt}\n", quoted(&fields.amount)));
    }
    Ok(written)
}

impl Fees {
    /// The file, by ids.
    #[must_use]
    pub fn write(&self, currency: Currency) -> String {
        let mut text = "owner,amount,salt\n".to_owned();
        for (owner, fee) in &self.0 {
            let salt = HEXLOWER.encode(&fee.salt);
            text.push_str(&format!("{owner},{},{salt}\n", currency.number(fee.cents)));
        }
        text
    }
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Whose each name is; none of several.
fn names(owners: &BTreeMap<AccountId, String>) -> BTreeMap<&str, Option<AccountId>> {
    let mut names = BTreeMap::new();
    for (id, name) in owners {
        let of = names.entry(name.as_str()).or_insert(Some(*id));
        if *of != Some(*id) {
            *of = None;
        }
    }
    names
}

fn owner(
    text: &str,
    owners: &BTreeMap<AccountId, String>,
    names: &BTreeMap<&str, Option<AccountId>>,
) -> Result<AccountId, FeesFault> {
    let id = text.parse::<AccountId>().ok();
    if let Some(id) = id.filter(|id| owners.contains_key(id)) {
        return Ok(id);
    }
    let shown: String = text.chars().take(80).collect();
    match names.get(text) {
        Some(Some(id)) => Ok(*id),
        Some(None) => Err(FeesFault::Ambiguous(shown)),
        None => Err(FeesFault::Unknown(shown)),
    }
}

fn salt(text: &str) -> Option<Salt> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// Rows below the header; empty lines are none, and spreadsheets may begin with a mark and end
/// lines with a carriage return.
fn rows(text: &str) -> Result<Vec<Fields>, FeesError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines());
    let header = lines.next().map(|(_, line)| line.trim());
    let is_header = matches!(header, Some("owner,amount,salt" | "owner,amount"));
    if !is_header {
        return Err(FeesError {
            line: 1,
            fault: FeesFault::Header,
        });
    }
    let mut rows = Vec::new();
    for (line, text) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let refuse = |fault| FeesError { line, fault };
        if rows.len() >= ROWS_MAX {
            return Err(refuse(FeesFault::TooMany));
        }
        let fields = split(text).ok_or_else(|| refuse(FeesFault::Fields))?;
        let mut fields = fields.into_iter();
        let (Some(owner), Some(amount), salt, None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(refuse(FeesFault::Fields));
        };
        rows.push(Fields {
            line,
            owner,
            amount,
            salt: salt.unwrap_or_default(),
        });
    }
    Ok(rows)
}

/// The fields of one line (RFC 4180, without line breaks in fields); none if a quote does not end.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.trim().chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field).trim().to_owned()),
            other => field.push(other),
        }
    }
    fields.push(field.trim().to_owned());
    (!is_quoted).then_some(fields)
}

/// Fuzz target: a file is refused or read, and what is read is written and read again.
pub(crate) fn fees(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let currency = Currency::of("EUR").unwrap_or_else(|| unreachable!("EUR is a currency"));
    let owners: BTreeMap<AccountId, String> = ["ana", "ben, the baker"]
        .iter()
        .zip(1..)
        .map(|(name, number)| (AccountId::from_bytes([number; 32]), (*name).to_owned()))
        .collect();
    if let Ok(fees) = read(&text, currency, &owners) {
        assert_eq!(read(&fees.write(currency), currency, &owners), Ok(fees));
    }
    if let Ok(written) = with_salts(&text, || [7; 16]) {
        assert!(rows(&written).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners() -> BTreeMap<AccountId, String> {
        let names = ["ana", "ben, the \"baker\"", "cyd", "cyd"];
        let ids = (1..).map(|number| AccountId::from_bytes([number; 32]));
        ids.zip(names.map(str::to_owned)).collect()
    }

    const SALT: &str = "000102030405060708090a0b0c0d0e0f";

    fn good() -> String {
        let [_, _, cyd, other] = [1, 2, 3, 4].map(|number| AccountId::from_bytes([number; 32]));
        format!(
            "\u{feff}owner,amount,salt\r\nana,5.00,{SALT}\r\n\"ben, the \"\"baker\"\"\",5,{SALT}\r\n\r\n\
             {cyd},2.00,{SALT}\r\n{other},0,{SALT}"
        )
    }

    fn check(text: &str, expected: &str) {
        let euro = Currency::of("EUR").unwrap();
        let refused = read(text, euro, &owners()).map(drop);
        assert_eq!(
            refused.map_err(|error| error.to_string()),
            Err(expected.to_owned()),
            "{text}"
        );
    }

    #[test]
    fn a_file_of_fees_is_read_and_written() {
        let euro = Currency::of("EUR").unwrap();
        let fees = read(&good(), euro, &owners()).unwrap();
        let cents: Vec<u64> = fees.0.values().map(|fee| fee.cents.0).collect();
        assert_eq!(cents, [500, 500, 200, 0]);
        assert_eq!(read(&fees.write(euro), euro, &owners()), Ok(fees));
    }

    #[test]
    fn each_bad_row_is_refused_by_its_line() {
        let with = |row: &str| format!("{}\n{row}", good());
        check(
            "",
            "line 1 of the fees: the first line is owner,amount,salt",
        );
        check(
            "owner;amount;salt\n",
            "line 1 of the fees: the first line is owner,amount,salt",
        );
        check(
            &with(&format!("dora,1,{SALT}")),
            "line 7 of the fees: \"dora\" is no account of the region: write its name or its id",
        );
        check(
            &with(&format!("{},1,{SALT}", AccountId::from_bytes([9; 32]))),
            &format!(
                "line 7 of the fees: \"{}\" is no account of the region: write its name or its id",
                AccountId::from_bytes([9; 32])
            ),
        );
        check(
            &with(&format!("cyd,1,{SALT}")),
            "line 7 of the fees: several accounts are called \"cyd\": write the id of the one that \
             is meant",
        );
        check(
            &with(&format!("ana,1,{SALT}")),
            "line 7 of the fees: \"ana\" has a row already, at line 2",
        );
        check(
            &good().replace("ana,5.00", "ana,-5.00"),
            "line 2 of the fees: -5.00 is less than nothing",
        );
        check(
            &good().replace("ana,5.00", "ana,5.001"),
            "line 2 of the fees: 5.001 has more than the 2 decimal places of EUR",
        );
        check(
            &good().replace("ana,5.00", "ana,much"),
            "line 2 of the fees: \"much\" is no amount such as 12.50",
        );
        check(
            &good().replace("ana,5.00", "ana,18446744073709551616"),
            "line 2 of the fees: 18446744073709551616 is more than all fees of a month can be",
        );
        check(
            &good().replace("ana,5.00", "ana,999999999.00"),
            "line 3 of the fees: with this row the fees come to more than 100000000000 smallest \
             units of the currency",
        );
        check(
            &good().replace(&format!("ana,5.00,{SALT}\r\n"), ""),
            "line 0 of the fees: \"ana\" has no row: write one with amount 0 if nothing was paid",
        );
        check(
            &good().replace(&format!("ana,5.00,{SALT}"), "ana,5.00"),
            "line 2 of the fees: the row has no salt of 32 hexadecimal digits: `verge statement \
             salt FILE` adds one to each",
        );
        let fields = "a row is owner,amount,salt with commas between them, and a name with a comma \
                      in quotes";
        for row in ["ana", "ana,1,2,3", "\"ana,1"] {
            check(&with(row), &format!("line 7 of the fees: {fields}"));
        }
    }

    #[test]
    fn salts_are_added_where_there_are_none() {
        let text = "owner,amount\n\"ben, the \"\"baker\"\"\",5.00\nana,1\n";
        let salted = with_salts(text, || [0xab; 16]).unwrap();
        let salt = "ab".repeat(16);
        assert_eq!(
            salted,
            format!("owner,amount,salt\n\"ben, the \"\"baker\"\"\",5.00,{salt}\nana,1,{salt}\n")
        );
        assert_eq!(with_salts(&salted, || [0; 16]), Ok(salted.clone()));
    }

    #[test]
    fn there_is_a_limit_on_rows() {
        let file = |count: usize| format!("owner,amount\n{}", "x,1\n".repeat(count));
        assert!(with_salts(&file(ROWS_MAX), || [0; 16]).is_ok());
        let refused = with_salts(&file(ROWS_MAX + 1), || [0; 16]).unwrap_err();
        assert_eq!(
            (refused.line, refused.fault),
            (ROWS_MAX + 2, FeesFault::TooMany)
        );
    }
}
