//! An exported folder judged by its records alone, by somebody who has no part in the region: every
//! signature is checked, and what the records mean is worked out as a node does it.
//!
//! Nothing but the region's id is to be taken on trust; whoever checks compares it with what the
//! region's providers say.

use super::read::{Found, ReadError, read_whole};
use crate::export::{ExportedSite, RECORDS_FOLDER, list_file, record_file};
use crate::region::{author_name, kinds, reserved_names};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verge_sync::id::{RegionId, SiteId};
use verge_sync::net::Holding;
use verge_sync::record::effect::SiteEffect;
use verge_sync::record::{Effect, Parameters, REGION_BYTES_MAX, Record, RemovalList};

/// Records of one folder: more than a region has in a year.
const RECORDS_MAX: usize = 100_000;

/// Why the records do not vouch for the folder.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The folder itself.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file that is no record, or none of this region.
    #[error("{RECORDS_FOLDER}/{file} {why}: put the exported file back")]
    Record {
        /// Its name.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// More than any export has.
    #[error("{RECORDS_FOLDER} has more than {RECORDS_MAX} files: it is no folder of an export")]
    TooMany,
    /// The chain of steps does not begin.
    #[error(
        "{RECORDS_FOLDER} lacks the first step of region {0}: the folder was exported by a release that left the region's records out, export the site again"
    )]
    NoRegion(RegionId),
    /// What was put in place is something else.
    #[error("site {site}: the records {what}, so nothing vouches for the folder")]
    OtherVersion {
        /// Its name.
        site: String,
        /// What they say instead.
        what: String,
    },
}

/// Reads the folder, compares every file with its digest, checks every record, and says in sentences
/// who put in place what is in it.
///
/// # Errors
/// [`CheckError`].
pub fn check_records(folder: &Path) -> Result<Vec<String>, CheckError> {
    let found = Found::read(folder)?;
    let region = found.description.region.parse::<RegionId>();
    let region = region.map_err(|_id| {
        ReadError::Description(format!("{:?} is no region", found.description.region))
    })?;
    let (records, parameters) = records(&found.folder, region)?;
    // Drops what its author was never entitled to write, as a node does.
    let holding = Holding::new(&records, parameters, kinds::table());
    let mut holding = holding.ok_or(CheckError::NoRegion(region))?;
    holding.settle();
    let effect = Arc::clone(holding.effect());
    let mut lines = vec![format!(
        "{} records, all signed; region {} ({region}), step {}, {} providers",
        records.len(),
        effect.chain.current().body.name,
        effect.chain.current().body.number,
        effect.chain.current().body.providers.len(),
    )];
    for site in &found.sites {
        lines.push(vouched(&effect, &site.line)?);
    }
    Ok(lines)
}

/// The records and the lists of the folder, each of which is what its name says.
fn records(folder: &Path, region: RegionId) -> Result<(Vec<Arc<Record>>, Parameters), CheckError> {
    let mut parameters = Parameters::new(region, Arc::new(reserved_names()));
    let mut lists = BTreeMap::new();
    let mut records = Vec::new();
    for (file, path) in files(&folder.join(RECORDS_FOLDER))? {
        let wrong = |why: String| CheckError::Record {
            file: file.clone(),
            why,
        };
        let is_list = file.starts_with("list-");
        let bytes_max = if is_list {
            RemovalList::BYTES_MAX
        } else {
            u64::try_from(REGION_BYTES_MAX).unwrap_or(u64::MAX)
        };
        let bytes = read_whole(&path, bytes_max)?.unwrap_or_default();
        if is_list {
            let list = RemovalList::decode(&bytes).filter(|list| list_file(&list.digest()) == file);
            let list = list.ok_or_else(|| wrong("is not the list of its name".to_owned()))?;
            lists.insert(list.digest(), list.ids().clone());
            continue;
        }
        let record =
            Record::parse(&bytes).map_err(|error| wrong(format!("does not read ({error})")))?;
        if record_file(&record) != file {
            return Err(wrong("is not the record of its name".to_owned()));
        }
        let signed = record.verify();
        signed.map_err(|error| wrong(format!("has a wrong signature ({error})")))?;
        records.push(Arc::new(record));
    }
    parameters.lists = lists;
    Ok((records, parameters))
}

fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, CheckError> {
    let io = |source| ReadError::Disk {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if files.len() >= RECORDS_MAX {
            return Err(CheckError::TooMany);
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((name, entry.path()));
    }
    files.sort();
    Ok(files)
}

/// Who put in place what the folder says, by what the records mean.
fn vouched(effect: &Effect, line: &ExportedSite) -> Result<String, CheckError> {
    let name = &line.name;
    let other = |what: String| CheckError::OtherVersion {
        site: name.clone(),
        what,
    };
    let site = line.id.parse::<SiteId>().ok();
    let site = site.and_then(|id| effect.site(&id));
    let site = site.ok_or_else(|| other(format!("know no site {}", line.id)))?;
    let owner = effect.account_name(&site.body.account);
    let owner = owner.map_or_else(|| site.body.account.short(), str::to_owned);
    let head = site.head();
    match (&line.published, head) {
        (None, None) => Ok(format!(
            "site {name} of account {owner}: nothing was in place"
        )),
        (None, Some(head)) => Err(other(format!(
            "have version {} in place",
            head.body().version
        ))),
        (Some(_), None) => Err(other("have nothing in place".to_owned())),
        (Some(published), Some(head)) => {
            let body = head.body();
            let is_it = published.version == body.version.to_string()
                && published.content == body.content.to_string();
            if !is_it {
                return Err(other(format!("have version {} in place", body.version)));
            }
            let author = author_name(effect, head.record().envelope().author);
            Ok(format!(
                "site {name} of account {owner}: version {} was put in place by {author}{}",
                body.version.short(),
                tips(site)
            ))
        }
    }
}

fn tips(site: &SiteEffect) -> String {
    match site.tips.len() {
        0 | 1 => String::new(),
        more => format!(", {} others beside it", more - 1),
    }
}
