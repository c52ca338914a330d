//! From a listed tree to the files that are published: folder, dotfiles, secrets, links, names.
//!
//! Nothing but link targets is read here; sizes come from the listing.

use crate::error::{BuildError, Refusal, shown};
use crate::limits::Limits;
use crate::names::{RESERVED, WELL_KNOWN, is_dotfile, is_secret, normal};
use crate::problems::Problems;
use crate::settings::{self, Settings};
use crate::source::{Contents, File, Folder, Node, Place};
use std::collections::{BTreeMap, VecDeque};
use verge_sync::SitePath;

/// The rule files, at the root of the published folder.
pub(crate) const REDIRECTS: &str = "_redirects";
pub(crate) const HEADERS: &str = "_headers";
/// Symbolic links on the way to one target: what Linux follows.
const LINK_HOPS_MAX: u32 = 40;
/// The longest target of a symbolic link: `PATH_MAX`.
const LINK_BYTES_MAX: u64 = 4096;

/// What is to be published.
pub(crate) struct Selected {
    /// Every file by its path in the site.
    pub(crate) files: BTreeMap<SitePath, File>,
    /// Their bytes together.
    pub(crate) bytes: u64,
    /// `_redirects`, if there is one.
    pub(crate) redirects: Option<File>,
    /// `_headers`, if there is one.
    pub(crate) headers: Option<File>,
}

/// Picks the published files of `tree`.
pub(crate) fn select(
    tree: &Folder,
    contents: &mut Contents,
    settings: &Settings,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Result<Selected, BuildError> {
    let (name, line) = match &settings.publish {
        Some((name, line)) => (name.as_str(), *line),
        None => ("", 0),
    };
    let above: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    let Some(Place::Folder(root)) = tree.find(above.iter().copied()) else {
        let folder = name.to_owned();
        return Err(Refusal::PublishMissing { line, folder }.into());
    };
    let mut walk = Walk {
        tree,
        contents,
        settings,
        limits,
        problems,
        entries: 0,
        chain: Vec::new(),
        selected: Selected {
            files: BTreeMap::new(),
            bytes: 0,
            redirects: None,
            headers: None,
        },
    };
    walk.folder(root, name, "")?;
    let selected = walk.selected;
    if selected.files.is_empty() {
        let folder = if name.is_empty() { "the tree" } else { name };
        let folder = folder.to_owned();
        return Err(Refusal::Empty { folder }.into());
    }
    report_collisions(&selected, problems);
    Ok(selected)
}

struct Walk<'a, 'p, 'r> {
    tree: &'a Folder,
    contents: &'p mut Contents,
    settings: &'p Settings,
    limits: &'p Limits,
    problems: &'p mut Problems<'r>,
    entries: u32,
    /// The folders that the walk is in: a link to one of them would never end.
    chain: Vec<&'a Folder>,
    selected: Selected,
}

impl<'a> Walk<'a, '_, '_> {
    /// Publishes `folder`, which stands at `tree_path` in the tree, as `site_path` of the site
    /// (both without a slash at the end, empty at the root).
    fn folder(
        &mut self,
        folder: &'a Folder,
        tree_path: &str,
        site_path: &str,
    ) -> Result<(), BuildError> {
        if self.chain.len() > usize::try_from(self.limits.depth_max).unwrap_or(usize::MAX) {
            return Err(Refusal::TooDeep {
                path: site_path.to_owned(),
                max: self.limits.depth_max,
            }
            .into());
        }
        self.chain.push(folder);
        for (name, node) in folder.entries() {
            self.entries = self.entries.saturating_add(1);
            if self.entries > self.limits.entries_max {
                let max = self.limits.entries_max;
                return Err(Refusal::TooManyEntries { max }.into());
            }
            self.entry(node, &join(tree_path, name), &join(site_path, name))?;
        }
        self.chain.pop();
        Ok(())
    }

    fn entry(
        &mut self,
        node: &'a Node,
        tree_path: &str,
        site_path: &str,
    ) -> Result<(), BuildError> {
        let name = site_path.rsplit('/').next().unwrap_or(site_path);
        if !matches!(node, Node::Folder(_)) && is_secret(name) && !self.is_allowed(tree_path) {
            let path = tree_path.to_owned();
            return Err(Refusal::Secret { path }.into());
        }
        if is_dotfile(name) && site_path != WELL_KNOWN {
            let what = "left out, because its name begins with a dot";
            self.problems
                .file(site_path, what, "rename it if it is to be published");
            return Ok(());
        }
        match node {
            Node::Folder(folder) => self.folder(folder, tree_path, site_path),
            Node::File(file) => self.file(file, tree_path, site_path),
            Node::Link(link) => self.link(link, tree_path, site_path),
            Node::Submodule => {
                let path = tree_path.to_owned();
                Err(Refusal::Submodule { path }.into())
            }
        }
    }

    fn is_allowed(&self, tree_path: &str) -> bool {
        self.settings.allow_secrets.contains(tree_path)
    }

    fn file(&mut self, file: &File, tree_path: &str, site_path: &str) -> Result<(), BuildError> {
        if file.bytes > self.limits.file_bytes_max {
            return Err(Refusal::FileTooLarge {
                path: tree_path.to_owned(),
                bytes: file.bytes,
                max: self.limits.file_bytes_max,
            }
            .into());
        }
        match site_path {
            REDIRECTS => self.selected.redirects = Some(file.clone()),
            HEADERS => self.selected.headers = Some(file.clone()),
            _ if tree_path == settings::FILE => {}
            _ => return self.publish(file, tree_path, site_path),
        }
        Ok(())
    }

    fn publish(&mut self, file: &File, tree_path: &str, site_path: &str) -> Result<(), BuildError> {
        self.selected.bytes = self.selected.bytes.saturating_add(file.bytes);
        if self.selected.bytes > self.limits.site_bytes_max {
            return Err(Refusal::SiteTooLarge {
                path: tree_path.to_owned(),
                max: self.limits.site_bytes_max,
            }
            .into());
        }
        for reserved in RESERVED {
            if site_path.starts_with(&format!("{WELL_KNOWN}/{reserved}/")) {
                let what = "never served, because the node answers this address itself";
                self.problems.file(site_path, what, "remove it");
            }
        }
        let path = SitePath::new(&normal(site_path)).map_err(|reason| Refusal::Name {
            path: shown(site_path.as_bytes()),
            reason,
        })?;
        match self.selected.files.insert(path, file.clone()) {
            None => Ok(()),
            Some(other) => Err(Refusal::SameName {
                first: ascii(&other.path),
                second: ascii(tree_path),
            }
            .into()),
        }
    }

    /// Publishes what a symbolic link points to as a copy in the link's place.
    fn link(&mut self, link: &File, tree_path: &str, site_path: &str) -> Result<(), BuildError> {
        let (target, real_path, place) = self.resolve(link)?;
        let name = real_path.rsplit('/').next().unwrap_or_default();
        if is_secret(name) && !self.is_allowed(&real_path) {
            return Err(Refusal::Secret { path: real_path }.into());
        }
        let is_hidden = real_path
            .split('/')
            .any(|part| is_dotfile(part) && part != WELL_KNOWN);
        if is_hidden || real_path == settings::FILE {
            let target = shown(target.as_bytes());
            let link = tree_path.to_owned();
            return Err(Refusal::LinkToHidden { link, target }.into());
        }
        match place {
            Place::Folder(folder)
                if self.chain.iter().any(|above| std::ptr::eq(*above, folder)) =>
            {
                Err(Refusal::LinkLoop {
                    link: tree_path.to_owned(),
                    target: shown(target.as_bytes()),
                }
                .into())
            }
            Place::Folder(folder) => self.folder(folder, &real_path, site_path),
            Place::Entry(Node::File(file)) => self.file(file, &real_path, site_path),
            Place::Entry(_) => Err(Refusal::Submodule { path: real_path }.into()),
        }
    }

    /// Follows `link` inside the tree, link by link, as the file system would: its target as it is
    /// written, the path where that ends, and what is there.
    fn resolve(&mut self, link: &File) -> Result<(String, String, Place<'a>), BuildError> {
        let first = self.target(link)?;
        let shown_link = || (link.path.clone(), shown(first.as_bytes()));
        let outside = || {
            let (link, target) = shown_link();
            Refusal::LinkOutside { link, target }
        };
        let nothing = || {
            let (link, target) = shown_link();
            Refusal::LinkToNothing { link, target }
        };
        if first.starts_with('/') {
            return Err(outside().into());
        }
        let mut at: Vec<String> = parts(&link.path).collect();
        at.pop();
        let mut ahead: VecDeque<String> = parts(&first).collect();
        let mut hops = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                at.pop().ok_or_else(outside)?;
                continue;
            }
            at.push(part);
            let place = self
                .tree
                .find(at.iter().map(String::as_str))
                .ok_or_else(nothing)?;
            let Place::Entry(Node::Link(next)) = place else {
                continue;
            };
            hops += 1;
            if hops > LINK_HOPS_MAX {
                let (link, target) = shown_link();
                return Err(Refusal::LinkLoop { link, target }.into());
            }
            let target = self.target(next)?;
            if target.starts_with('/') {
                return Err(outside().into());
            }
            at.pop();
            for part in parts(&target).rev() {
                ahead.push_front(part);
            }
        }
        let place = self
            .tree
            .find(at.iter().map(String::as_str))
            .ok_or_else(nothing)?;
        let real_path = at.join("/");
        Ok((first, real_path, place))
    }

    fn target(&mut self, link: &File) -> Result<String, BuildError> {
        let nothing = |target: &[u8]| Refusal::LinkToNothing {
            link: link.path.clone(),
            target: shown(target),
        };
        if link.bytes > LINK_BYTES_MAX {
            return Err(nothing(b"a path of more than 4096 bytes").into());
        }
        let target = self.contents.read_link(link)?;
        Ok(String::from_utf8(target).map_err(|error| nothing(error.as_bytes()))?)
    }
}

/// The parts of a path that mean something.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.map(str::to_owned)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// A name in which two that look the same differ: everything outside ASCII is written as its
/// code point.
fn ascii(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// Reports what is legal but probably not meant.
fn report_collisions(selected: &Selected, problems: &mut Problems<'_>) {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for path in selected.files.keys() {
        if let Some(other) = folded.insert(path.as_str().to_lowercase(), path.as_str()) {
            let what = format!("differs from {other} only in upper and lower case");
            problems.file(path.as_str(), what, "rename one of them");
        }
    }
    let index = SitePath::new("index.html").ok();
    if index.is_some_and(|index| !selected.files.contains_key(&index)) {
        let what = "there is no index.html, so the address / answers 404";
        problems.file("index.html", what, "add one, or a rule for / in _redirects");
    }
}
