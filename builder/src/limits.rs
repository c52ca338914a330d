//! What a site may be at most. One place, so that a steward finds every limit of a build.

use serde::{Deserialize, Serialize};

/// The limits of one build; a node may lower them, and its region may raise them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Files and folders of the tree, published or not, and of the site after symbolic links were
    /// followed. 50,000: what a manifest of 16 MiB can name.
    pub entries_max: u32,
    /// Folders above a file. 64: no real site comes near, a hostile tree costs nothing.
    pub depth_max: u32,
    /// Bytes of one published file. 100 MiB: a long film belongs on a host for films.
    pub file_bytes_max: u64,
    /// Bytes of all published files, before compression. 1 GiB: a home uplink of 10 Mbit/s
    /// needs 15 minutes to replicate it once.
    pub site_bytes_max: u64,
    /// Problems that are reported one by one; the rest is a number. 200: what a person reads.
    pub problems_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 50_000,
            depth_max: 64,
            file_bytes_max: 100 << 20,
            site_bytes_max: 1 << 30,
            problems_max: 200,
        }
    }
}
