//! `export.json`: what is in an exported folder, for programs (`docs/format.md#export`).

use serde::{Deserialize, Serialize};
use verge_builder::looks_secret;
use verge_sync::digest::Digest;
use verge_sync::manifest::Manifest;
use verge_sync::record::{Kind, Record};

/// The description's name.
pub const DESCRIPTION_NAME: &str = "export.json";
/// The format of a folder that this release writes and reads.
pub const FORMAT: u32 = 1;

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// [`FORMAT`].
    pub format: u32,
    /// The release of verge that wrote it.
    pub release: String,
    /// The region that it comes from.
    pub region: String,
    /// What that is called.
    pub region_name: String,
    /// Whose it is.
    pub account: ExportedAccount,
    /// Its sites.
    pub sites: Vec<ExportedSite>,
}

/// An account that something was taken out of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedAccount {
    /// Its id there.
    pub id: String,
    /// Its name there, if it had one.
    pub name: Option<String>,
}

/// One site; its parts are in `sites/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedSite {
    /// Its label there, or the beginning of its id.
    pub name: String,
    /// Its id there.
    pub id: String,
    /// The hosts that it answered to.
    pub hosts: Vec<String>,
    /// The branch that it was set to show; empty for the default.
    pub branch: String,
    /// Whether a push may rewrite history.
    pub force: bool,
    /// Whether anybody may take it out.
    pub takeout_public: bool,
    /// Whether it is left out of lists.
    pub private: bool,
    /// What was in place, if anything.
    pub published: Option<Published>,
}

/// What was in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The version: the digest of `manifest`.
    pub version: String,
    /// The content digest.
    pub content: String,
    /// The compression rules by which it was made.
    pub recipe: u32,
    /// When it was published, in seconds since 1970, as the node said that took it.
    pub time: i64,
    /// The commit, if it was one.
    pub commit: Option<String>,
    /// The history, if it is in the folder.
    pub bundle: Option<Bundle>,
}

/// `history.bundle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The branch in it.
    pub branch: String,
    /// The digest of its bytes.
    pub blake3: String,
    /// How many they are.
    pub bytes: u64,
}

/// The text of a site's `verge.toml`: with it the folder around `files/` publishes just that.
#[must_use]
pub fn settings(manifest: &Manifest) -> String {
    let secrets = manifest.paths().filter(|entry| {
        let name = entry.path().rsplit('/').next().unwrap_or_default();
        looks_secret(name)
    });
    let secrets = secrets.map(|entry| toml::Value::from(format!("files/{}", entry.path())));
    let secrets: Vec<toml::Value> = secrets.collect();
    let mut text = "publish = \"files\"\n".to_owned();
    if !secrets.is_empty() {
        text.push_str(&format!(
            "allow_secrets = {}\n",
            toml::Value::Array(secrets)
        ));
    }
    text
}

/// The folder of records.
pub const RECORDS_FOLDER: &str = "records";

/// The name of a record's file.
#[must_use]
pub fn record_file(record: &Record) -> String {
    let kind = match record.envelope().kind {
        Kind::REGION => "step",
        Kind::VOTE => "vote",
        Kind::NODE => "node",
        Kind::LEAVE => "leave",
        Kind::ACCOUNT => "account",
        Kind::SITE => "site",
        Kind::NAME => "name",
        Kind::DEPLOY => "deploy",
        Kind::TAKEDOWN => "takedown",
        Kind::TOMBSTONE => "tombstone",
        _ => "other",
    };
    format!("{kind}-{}.cbor", record.id())
}

/// The name of the file with a list that a removal names.
#[must_use]
pub fn list_file(list: &Digest) -> String {
    format!("list-{list}.bin")
}
