//! The parts of an exported folder.

use super::folder::{Folder, at};
use super::format::{RECORDS_FOLDER, list_file, record_file};
use super::{DESCRIPTION_NAME, Description, ExportError, ExportedSite, settings};
use crate::region::RegionView;
use std::io::Write;
use std::sync::Arc;
use verge_builder::rules::RuleFiles;
use verge_sync::digest::Digester;
use verge_sync::manifest::{Entry, MANIFEST_BYTES_MAX, Manifest};
use verge_sync::record::{Deploy, Record, RemovalList};
use verge_sync::store::{Store, StoreError};

/// What is copied at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// The files of what is in place, its rule files with them, and its manifest.
pub(super) fn site(
    folder: &mut Folder,
    name: &str,
    (store, region): (&Store, &RegionView),
    deploy: &Deploy,
) -> Result<(), ExportError> {
    let not_whole = |what: String| ExportError::NotWhole {
        site: name.to_owned(),
        what,
    };
    // A new version may come meanwhile, and this one go.
    let listed = region.listed_blobs(deploy)?.unwrap_or_default();
    let _pin = store.pin(listed);
    let manifest = manifest(store, deploy).map_err(not_whole)?;
    let from = format!("sites/{name}");
    for entry in manifest.paths() {
        file(
            folder,
            &format!("{from}/files/{}", entry.path()),
            store,
            (&manifest, &entry),
        )
        .map_err(|error| match error {
            Copy::Export(error) => *error,
            Copy::NotWhole(what) => not_whole(format!("{}: {what}", entry.path())),
        })?;
    }
    let rules = manifest.content_section(RuleFiles::TAG);
    let rules = rules.and_then(RuleFiles::decode).unwrap_or_default();
    for (rule, bytes) in rules.iter() {
        folder.put(&format!("{from}/files/{rule}"), bytes)?;
    }
    folder.put(
        &format!("{from}/verge.toml"),
        settings(&manifest).as_bytes(),
    )?;
    folder.put(&format!("{from}/manifest"), manifest.bytes())?;
    Ok(())
}

fn manifest(store: &Store, deploy: &Deploy) -> Result<Manifest, String> {
    let digest = deploy.version.digest();
    let bytes = store.blobs().read_verified(&digest, MANIFEST_BYTES_MAX);
    let bytes = bytes.map_err(|error| error.to_string())?;
    let bytes = bytes.ok_or_else(|| "its manifest is missing".to_owned())?;
    Manifest::decode(bytes).map_err(|error| error.to_string())
}

/// Why a file was not copied.
enum Copy {
    Export(Box<ExportError>),
    NotWhole(String),
}

impl From<StoreError> for Copy {
    fn from(error: StoreError) -> Self {
        Self::NotWhole(error.to_string())
    }
}

fn export(error: impl Into<ExportError>) -> Copy {
    Copy::Export(Box::new(error.into()))
}

/// One file as it was published, piece by piece, compared with its digest.
fn file(
    folder: &mut Folder,
    path: &str,
    store: &Store,
    (manifest, entry): (&Manifest, &Entry<'_>),
) -> Result<(), Copy> {
    let (mut out, at_path) = folder.file(path).map_err(export)?;
    let identity = entry.identity();
    let mut digester = Digester::new();
    let place = identity.location;
    let place = place.and_then(|place| Some((manifest.blob(place.blob_index)?, place.offset)));
    if let Some((blob, start)) = place {
        let opened = store.blobs().open(&blob.digest)?;
        let blob =
            opened.ok_or_else(|| Copy::NotWhole(format!("blob {} is missing", blob.digest)))?;
        let mut done = 0;
        while done < identity.length {
            let step = PIECE_BYTES.min(identity.length - done);
            let offset = start.saturating_add(done);
            let piece = blob.read_at(offset, usize::try_from(step).unwrap_or(usize::MAX))?;
            digester.update(&piece);
            let written = out.write_all(&piece).map_err(at("write", &at_path));
            written.map_err(export)?;
            done += step;
        }
    }
    if digester.digest() == entry.identity_digest() {
        Ok(())
    } else {
        Err(Copy::NotWhole("its stored bytes are damaged".to_owned()))
    }
}

/// One file for each record, named by its kind and id, and one for each list that a removal names.
pub(super) fn records(
    folder: &mut Folder,
    records: &[Arc<Record>],
    lists: &[RemovalList],
) -> Result<(), ExportError> {
    for record in records {
        let path = format!("{RECORDS_FOLDER}/{}", record_file(record));
        folder.put(&path, record.bytes())?;
    }
    for list in lists {
        let path = format!("{RECORDS_FOLDER}/{}", list_file(&list.digest()));
        folder.put(&path, &list.encode())?;
    }
    Ok(())
}

/// What is in the folder, for programs and for people.
pub(super) fn description(
    folder: &mut Folder,
    description: &Description,
) -> Result<(), ExportError> {
    let mut text = serde_json::to_vec_pretty(description).unwrap_or_default();
    text.push(b'\n');
    folder.put("README.txt", readme(description).as_bytes())?;
    folder.put(DESCRIPTION_NAME, &text)?;
    Ok(())
}

const README: &str = include_str!("README.txt");

fn readme(description: &Description) -> String {
    let account = &description.account;
    let name = account.name.as_deref().unwrap_or(&account.id);
    let sites: Vec<String> = description.sites.iter().map(site_lines).collect();
    README
        .replace("{ACCOUNT}", name)
        .replace("{REGION}", &description.region_name)
        .replace("{RELEASE}", &description.release)
        .replace("{SITES}", sites.join("\n").trim_end())
}

fn site_lines(site: &ExportedSite) -> String {
    let name = &site.name;
    let mut lines = vec![format!("sites/{name}/")];
    match &site.published {
        None => lines.push("    Nothing was published there; it has records only.".to_owned()),
        Some(published) => {
            lines.push(format!("    content digest {}", published.content));
            lines.push(match (&published.bundle, &published.commit) {
                (Some(bundle), Some(commit)) => {
                    format!("    history.bundle: branch {}, published commit {commit}", bundle.branch)
                }
                (_, Some(commit)) => format!(
                    "    No history.bundle: the history of commit {commit} is not on the node that wrote this."
                ),
                (_, None) => {
                    "    No history.bundle: it was never pushed by git, or not since it was published without."
                        .to_owned()
                }
            });
        }
    }
    if !site.hosts.is_empty() {
        lines.push(format!("    answered to {}", site.hosts.join(", ")));
    }
    lines.push(String::new());
    lines.join("\n")
}
