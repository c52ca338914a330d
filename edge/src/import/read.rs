//! An exported folder, compared with what it says of itself. No link in it is followed.

use crate::export::{DESCRIPTION_NAME, Description, ExportedSite, FORMAT, settings};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use verge_builder::rules::RuleFiles;
use verge_sync::digest::{Digest, Digester};
use verge_sync::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError};
use verge_sync::record::effect::label_is_well_formed;

/// The longest `export.json`: 64 names in an account, each with its hosts, need a tenth.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
/// Sites in one folder: more than an account has names for.
const SITES_MAX: usize = 1024;
/// What is hashed at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// What is wrong with a folder.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing that was exported.
    #[error("{} is no folder that `verge export` wrote: it has no {DESCRIPTION_NAME}", .0.display())]
    NotAnExport(PathBuf),
    /// Its description does not read.
    #[error("{DESCRIPTION_NAME} does not read ({0}): put the exported file back")]
    Description(String),
    /// Written by a newer release.
    #[error("the folder has format {0}, this release reads {FORMAT}: update verge")]
    Format(u32),
    /// Nothing to bring back.
    #[error("the folder has no site")]
    Empty,
    /// A file is not what was exported.
    #[error("{path} is not as it was exported ({what}): put the exported file back")]
    Changed {
        /// Inside the folder.
        path: String,
        /// What is different.
        what: String,
    },
    /// The disk, or a folder that is not for this node to see.
    #[error("the node cannot {action} {}: {source}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What is in a folder.
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) description: Description,
    pub(super) sites: Vec<FoundSite>,
}

/// One site of it.
pub(super) struct FoundSite {
    /// What it is to be called.
    pub(super) name: String,
    pub(super) line: ExportedSite,
    /// Where its parts are.
    pub(super) folder: PathBuf,
    pub(super) manifest: Option<Manifest>,
    bundle_path: PathBuf,
}

impl Found {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(folder: &Path) -> Result<Self, ReadError> {
        let folder = folder.canonicalize().map_err(disk("read", folder))?;
        let description = description(&folder)?;
        if description.sites.is_empty() {
            return Err(ReadError::Empty);
        }
        if description.sites.len() > SITES_MAX {
            return Err(ReadError::Description(format!(
                "more than {SITES_MAX} sites"
            )));
        }
        let sites = description.sites.iter().cloned();
        let sites = sites.map(|line| FoundSite::read(&folder, line));
        Ok(Self {
            sites: sites.collect::<Result<_, _>>()?,
            folder,
            description,
        })
    }
}

fn description(folder: &Path) -> Result<Description, ReadError> {
    let path = folder.join(DESCRIPTION_NAME);
    let Some(bytes) = read_whole(&path, DESCRIPTION_BYTES_MAX)? else {
        return Err(ReadError::NotAnExport(folder.to_owned()));
    };
    let wrong = |error: serde_json::Error| ReadError::Description(error.to_string());
    // The number first: a later format may have other keys.
    #[derive(serde::Deserialize)]
    struct Numbered {
        format: u32,
    }
    let Numbered { format } = serde_json::from_slice(&bytes).map_err(wrong)?;
    if format != FORMAT {
        return Err(ReadError::Format(format));
    }
    serde_json::from_slice(&bytes).map_err(wrong)
}

impl FoundSite {
    fn read(folder: &Path, line: ExportedSite) -> Result<Self, ReadError> {
        // It becomes a part of a path.
        if !label_is_well_formed(&line.name) {
            let what = format!("{:?} is not the name of a site", line.name);
            return Err(ReadError::Description(what));
        }
        let folder = folder.join("sites").join(&line.name);
        let mut found = Self {
            name: line.name.clone(),
            bundle_path: folder.join("history.bundle"),
            folder,
            manifest: None,
            line,
        };
        if found.line.published.is_some() {
            found.manifest = Some(found.checked_manifest()?);
            found.check_files()?;
            found.check_bundle()?;
        }
        Ok(found)
    }

    fn checked_manifest(&self) -> Result<Manifest, ReadError> {
        let wrong = |what: &str| self.changed("manifest", what);
        let bytes = read_whole(&self.folder.join("manifest"), MANIFEST_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| wrong("it is missing"))?;
        let manifest = Manifest::decode(bytes);
        let manifest = manifest.map_err(|error: ManifestError| wrong(&error.to_string()))?;
        let published = self.line.published.as_ref();
        let is_named = published.is_some_and(|published| {
            published.version == manifest.version().to_string()
                && published.content == manifest.content_digest().to_string()
                && published.recipe == manifest.recipe()
        });
        if is_named {
            Ok(manifest)
        } else {
            Err(wrong("export.json names another"))
        }
    }

    /// Exactly the files of the manifest, byte for byte, and its rule files.
    fn check_files(&self) -> Result<(), ReadError> {
        let Some(manifest) = &self.manifest else {
            return Ok(());
        };
        let rules = manifest.content_section(RuleFiles::TAG);
        let rules = rules.and_then(RuleFiles::decode).unwrap_or_default();
        let mut expected: BTreeMap<String, Digest> = manifest
            .paths()
            .map(|entry| (entry.path().to_owned(), entry.identity_digest()))
            .collect();
        let rules = rules.iter();
        expected.extend(rules.map(|(name, bytes)| (name.to_owned(), Digest::of(bytes))));
        self.walk(&mut expected)?;
        if let Some((path, _)) = expected.first_key_value() {
            return Err(self.changed(&format!("files/{path}"), "it is missing"));
        }
        let settings = settings(manifest);
        let path = self.folder.join("verge.toml");
        let is_same = hash(&path).is_ok_and(|digest| digest == Digest::of(settings.as_bytes()));
        if is_same {
            Ok(())
        } else {
            Err(self.changed("verge.toml", "it is missing or has other bytes"))
        }
    }

    /// Takes every file that is found and right out of `expected`.
    fn walk(&self, expected: &mut BTreeMap<String, Digest>) -> Result<(), ReadError> {
        let root = self.folder.join("files");
        let mut folders = vec![String::new()];
        while let Some(inside) = folders.pop() {
            let folder = root.join(&inside);
            // `files` itself and each folder in it, never through a link.
            let kind = folder
                .symlink_metadata()
                .map_err(disk("look up", &folder))?;
            if !kind.is_dir() {
                return Err(self.changed(&format!("files/{inside}"), "it is no folder"));
            }
            for entry in fs::read_dir(&folder).map_err(disk("list", &folder))? {
                let entry = entry.map_err(disk("list", &folder))?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                let path = match inside.as_str() {
                    "" => name.into_owned(),
                    above => format!("{above}/{name}"),
                };
                let kind = entry.file_type().map_err(disk("look up", &entry.path()))?;
                if kind.is_dir() {
                    folders.push(path);
                } else {
                    self.file(&entry.path(), &path, expected)?;
                }
            }
        }
        Ok(())
    }

    fn file(
        &self,
        at: &Path,
        path: &str,
        expected: &mut BTreeMap<String, Digest>,
    ) -> Result<(), ReadError> {
        let shown = format!("files/{path}");
        let Some(digest) = expected.remove(path) else {
            return Err(self.changed(&shown, "it was not there then"));
        };
        match hash(at) {
            Ok(found) if found == digest => Ok(()),
            Ok(_) => Err(self.changed(&shown, "it has other bytes")),
            Err(error) => Err(self.changed(&shown, &error.to_string())),
        }
    }

    /// The bundle, to be copied; git looks at what is in it.
    ///
    /// # Errors
    /// [`ReadError::Changed`] if it is gone meanwhile.
    pub(super) fn open_bundle(&self) -> Result<File, ReadError> {
        let file = open(&self.bundle_path);
        file.map_err(|error| self.changed("history.bundle", &error.to_string()))
    }

    fn check_bundle(&self) -> Result<(), ReadError> {
        let published = self.line.published.as_ref();
        let Some(bundle) = published.and_then(|published| published.bundle.as_ref()) else {
            return Ok(());
        };
        let is_branch = !bundle.branch.is_empty()
            && !bundle.branch.starts_with('-')
            && bundle.branch.len() <= 200
            && !bundle
                .branch
                .chars()
                .any(|c| c.is_control() || " ~^:?*[\\".contains(c));
        if !is_branch {
            let what = format!("{:?} is not the name of a branch", bundle.branch);
            return Err(ReadError::Description(what));
        }
        match hash(&self.bundle_path) {
            Ok(found) if found.to_string() == bundle.blake3 => Ok(()),
            Ok(_) => Err(self.changed("history.bundle", "it has other bytes")),
            Err(error) => Err(self.changed("history.bundle", &error.to_string())),
        }
    }

    fn changed(&self, path: &str, what: &str) -> ReadError {
        ReadError::Changed {
            path: format!("sites/{}/{path}", self.line.name),
            what: what.to_owned(),
        }
    }
}

/// An ordinary file, never through a link, and without waiting for a pipe's writer.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not an ordinary file"))
    }
}

fn hash(path: &Path) -> io::Result<Digest> {
    let mut file = open(path)?;
    let mut digester = Digester::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = file.read(&mut chunk)?;
        match chunk.get(..length) {
            None | Some([]) => return Ok(digester.digest()),
            Some(read) => digester.update(read),
        }
    }
}

/// A whole file, if it is there; one that is too long is not what was exported.
pub(super) fn read_whole(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(disk("open", path))?,
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(bytes_max.saturating_add(1));
    limited
        .read_to_end(&mut bytes)
        .map_err(disk("read", path))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        let source = io::Error::other(format!("it has more than {bytes_max} bytes"));
        return Err(disk("read", path)(source));
    }
    Ok(Some(bytes))
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ReadError + use<> {
    let path = path.to_owned();
    move |source| ReadError::Disk {
        action,
        path,
        source,
    }
}
