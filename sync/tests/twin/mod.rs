//! A disk that stops or fails at a chosen step and knows what a power cut would leave.
//!
//! It works on a real directory, so that the store reads what it wrote, and notes beside it which
//! bytes and names were synced. [`Twin::image`] then lays out what a machine could find after the
//! power came back.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use verge_sync::store::{Disk, LocalDisk};

/// What happens at the chosen step, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plan {
    /// Nothing: all steps work.
    Work,
    /// This step and all later ones fail, as for a process whose machine is gone.
    StopAt(u32),
    /// This step fails with this `errno`, the later ones work.
    FailAt(u32, i32),
}

/// What the power cut takes of that which was not synced. Real file systems do each of these.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loss {
    /// Names and bytes.
    Everything,
    /// Bytes: the names were in the journal. Leaves empty files.
    Bytes,
    /// The second half of the bytes.
    HalfTheBytes,
    /// Nothing: all was written back in time.
    Nothing,
}

pub(crate) const LOSSES: [Loss; 4] = [
    Loss::Everything,
    Loss::Bytes,
    Loss::HalfTheBytes,
    Loss::Nothing,
];

/// The fault-injecting disk; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Twin(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    root: PathBuf,
    plan: Plan,
    steps: u32,
    is_off: bool,
    /// By inode.
    synced_bytes: HashMap<u64, Vec<u8>>,
    synced_names: BTreeMap<PathBuf, BTreeMap<OsString, Node>>,
    /// Keeps inode numbers from being used again.
    opened: Vec<File>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    inode: u64,
    is_dir: bool,
}

impl Twin {
    /// A disk on which all that is under `root` now is synced.
    pub(crate) fn over(root: &Path) -> Self {
        let mut state = State {
            root: root.to_owned(),
            plan: Plan::Work,
            steps: 0,
            is_off: false,
            synced_bytes: HashMap::new(),
            synced_names: BTreeMap::new(),
            opened: Vec::new(),
        };
        state.settle(root);
        Self(Arc::new(Mutex::new(state)))
    }

    /// Counts from here on; what was stopped works again, as for a process that was killed and
    /// started anew: the machine still has what was not synced.
    pub(crate) fn arm(&self, plan: Plan) {
        let mut state = self.0.lock().unwrap();
        (state.plan, state.steps, state.is_off) = (plan, 0, false);
    }

    /// Whether the chosen step was reached.
    pub(crate) fn has_struck(&self) -> bool {
        let state = self.0.lock().unwrap();
        match state.plan {
            Plan::Work => false,
            Plan::StopAt(step) | Plan::FailAt(step, _) => state.steps >= step,
        }
    }

    /// Lays out under `to` what is left of the root. What the twin was never told of (the database,
    /// which has its own tests) is copied as it is.
    pub(crate) fn image(&self, loss: Loss, to: &Path) {
        let state = self.0.lock().unwrap();
        state.lay_out(&state.root, loss, to);
    }

    /// One step: does it, or fails, in which case `half` is what may have been done of it.
    fn step<T>(
        &self,
        work: impl FnOnce() -> io::Result<T>,
        half: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<T> {
        let error = {
            let mut state = self.0.lock().unwrap();
            if state.is_off {
                return Err(io::Error::other("the machine is off"));
            }
            state.steps += 1;
            match state.plan {
                Plan::StopAt(step) if step == state.steps => {
                    state.is_off = true;
                    Some(io::Error::other("the power is cut"))
                }
                Plan::FailAt(step, errno) if step == state.steps => {
                    Some(io::Error::from_raw_os_error(errno))
                }
                _ => None,
            }
        };
        match error {
            Some(error) => half().and(Err(error)),
            None => work(),
        }
    }
}

impl State {
    fn settle(&mut self, dir: &Path) {
        self.note_names(dir);
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.settle(&path);
            } else {
                self.note_bytes(&path);
            }
        }
    }

    fn note_bytes(&mut self, path: &Path) {
        let inode = fs::metadata(path).unwrap().ino();
        self.synced_bytes.insert(inode, fs::read(path).unwrap());
        self.opened.push(File::open(path).unwrap());
    }

    fn note_names(&mut self, dir: &Path) {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let node = Node {
                inode: metadata.ino(),
                is_dir: metadata.is_dir(),
            };
            names.insert(entry.file_name(), node);
            self.opened.push(File::open(entry.path()).unwrap());
        }
        self.synced_names.insert(dir.to_owned(), names);
    }

    fn lay_out(&self, dir: &Path, loss: Loss, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for (name, node) in self.names(dir, loss) {
            let (from, to) = (dir.join(&name), to.join(&name));
            let is_ours = !name.to_string_lossy().starts_with("verge.sqlite") && name != "lock";
            if node.is_dir {
                self.lay_out(&from, loss, &to);
            } else if is_ours {
                fs::write(&to, self.bytes(node, &from, loss)).unwrap();
            }
        }
        let database = ["verge.sqlite", "verge.sqlite-wal"].map(|name| (dir.join(name), name));
        for (from, name) in database.iter().filter(|(from, _)| from.exists()) {
            fs::copy(from, to.join(name)).unwrap();
        }
    }

    fn names(&self, dir: &Path, loss: Loss) -> BTreeMap<OsString, Node> {
        let synced = self.synced_names.get(dir).cloned().unwrap_or_default();
        if matches!(loss, Loss::Everything) {
            return synced;
        }
        let entries = fs::read_dir(dir).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let node = Node {
                inode: metadata.ino(),
                is_dir: metadata.is_dir(),
            };
            (entry.file_name(), node)
        });
        entries.collect()
    }

    fn bytes(&self, node: Node, path: &Path, loss: Loss) -> Vec<u8> {
        if let Some(bytes) = self.synced_bytes.get(&node.inode) {
            return bytes.clone();
        }
        match loss {
            Loss::Everything | Loss::Bytes => Vec::new(),
            Loss::Nothing => fs::read(path).unwrap(),
            Loss::HalfTheBytes => {
                let mut bytes = fs::read(path).unwrap();
                bytes.truncate(bytes.len() / 2);
                bytes
            }
        }
    }
}

impl Disk for Twin {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|| LocalDisk.create_dir(dir), || Ok(()))
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<File> {
        let half = || {
            LocalDisk
                .create(path, &bytes[..bytes.len() / 2], mode)
                .map(drop)
        };
        self.step(|| LocalDisk.create(path, bytes, mode), half)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Ok(()))?;
        assert_eq!(
            file.metadata()?.ino(),
            fs::metadata(path)?.ino(),
            "another file is synced"
        );
        self.0.lock().unwrap().note_bytes(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|| Ok(()), || Ok(()))?;
        let mut state = self.0.lock().unwrap();
        // The root itself is there whatever happens; beside it lie the files of other tests.
        if dir.starts_with(&state.root) {
            state.note_names(dir);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|| LocalDisk.rename(from, to), || Ok(()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|| LocalDisk.remove(path), || Ok(()))
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        self.step(|| LocalDisk.remove_tree(dir), || Ok(()))
    }
}
