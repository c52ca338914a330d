//! A folder with a statement, or with the inputs of one: read within limits, written at once.

use crate::attribution::statement::{Files, INPUTS_DIR, SealedDay, read_seal, seal_file};
use anyhow::{Context, bail};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Files of a folder: 128 providers with 16 nodes each seal 63,488 days in a month.
const FILES_MAX: usize = 200_000;
/// A seal of 100,000 rows has 5.7 MB, the rows of a month of 50 providers and 1,000 sites 20 MB.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What was read.
pub(super) struct Folder {
    /// All but the seals.
    pub(super) files: Files,
    pub(super) seals: Vec<SealedDay>,
}

impl Folder {
    /// Reads a folder; nothing but files is in it, in `inputs/` and in `inputs/seals/`.
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut folder = Self {
            files: Files::new(),
            seals: Vec::new(),
        };
        let seals = format!("{INPUTS_DIR}/seals");
        for dir in ["", INPUTS_DIR, &seals] {
            for name in names(&root.join(dir), &[INPUTS_DIR, "seals"])? {
                let file = if dir.is_empty() {
                    name
                } else {
                    format!("{dir}/{name}")
                };
                let bytes = read_bytes(&root.join(&file))?;
                if dir == seals {
                    folder.seals.push(read_seal(&file, &bytes)?);
                } else {
                    folder.files.insert(file, bytes);
                }
                if folder.files.len().saturating_add(folder.seals.len()) > FILES_MAX {
                    bail!("{} has more than {FILES_MAX} files", root.display());
                }
            }
        }
        Ok(folder)
    }

    pub(super) fn replace_fees(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = read_text(path)?;
        let name = format!("{INPUTS_DIR}/fees.csv");
        self.files.insert(name, text.into_bytes());
        Ok(())
    }
}

/// The seals of a statement's folder, or of one that has nothing else.
pub(in crate::cli) fn read_seals(root: &Path) -> anyhow::Result<Vec<SealedDay>> {
    let of_statement = root.join(INPUTS_DIR).join("seals");
    let dir = if of_statement.is_dir() {
        of_statement
    } else {
        root.to_owned()
    };
    let files = names(&dir, &[])?.into_iter();
    let files: Vec<String> = files.filter(|name| name.ends_with(".seal")).collect();
    if files.is_empty() || files.len() > FILES_MAX {
        bail!(
            "{} has {} seals: name the folder of a statement",
            root.display(),
            files.len()
        );
    }
    let read = |name: &String| Ok(read_seal(name, &read_bytes(&dir.join(name))?)?);
    files.iter().map(read).collect()
}

/// The names of the files in `dir`; of directories only `dirs` may be there.
fn names(dir: &Path, dirs: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(dir) {
        // A month without a seal has no folder of them.
        Err(error) if error.kind() == ErrorKind::NotFound && dir.ends_with("seals") => {
            return Ok(names);
        }
        entries => entries.with_context(|| format!("read {}", dir.display()))?,
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", dir.display()))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("{} is not a file of a statement", entry.path().display());
        };
        let kind = entry
            .file_type()
            .with_context(|| format!("look at {}", entry.path().display()))?;
        if kind.is_file() {
            names.push(name.to_owned());
        } else if !kind.is_dir() || !dirs.contains(&name) {
            bail!("{} is not a file of a statement", entry.path().display());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(in crate::cli) fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let read = file
        .take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes);
    read.with_context(|| format!("read {}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{} has more than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(bytes)
}

/// A file of text.
pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_bytes(path)?).with_context(|| format!("{} is no text", path.display()))
}

/// A new folder in which a statement is written before it gets its name.
pub(super) fn beside(to: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = to.file_name() else {
        bail!("{} has no name that a folder could get", to.display());
    };
    if to.symlink_metadata().is_ok() {
        bail!(
            "{} is there already: name a folder that is not",
            to.display()
        );
    }
    let staging = to.with_file_name(format!(".{}.new", name.to_string_lossy()));
    // Left by a run that was stopped.
    discard(&staging);
    Ok(staging)
}

/// Removes what was not finished; the next run does it, if that fails.
pub(super) fn discard(staging: &Path) {
    if staging.symlink_metadata().is_ok()
        && let Err(error) = fs::remove_dir_all(staging)
    {
        tracing::debug!(%error, "an unfinished statement stays until the next one is made");
    }
}

/// Writes a statement; it has names and amounts, so that it is for its owner alone.
pub(super) fn write(staging: &Path, files: &Files, seals: &[SealedDay]) -> anyhow::Result<()> {
    let seals_dir = staging.join(INPUTS_DIR).join("seals");
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(&seals_dir);
    made.with_context(|| format!("make {}", seals_dir.display()))?;
    for (name, bytes) in files {
        write_file(&staging.join(name), bytes)?;
    }
    for sealed in seals {
        let (name, bytes) = seal_file(&sealed.seal);
        write_file(&staging.join(name), &bytes)?;
    }
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("write {}", path.display()))
}
