//! What a push asks of a site's refs, and the answer: a pure function.

use crate::receive::Limits;

/// A commit, tag or other object of git, by its name: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName(String);

impl ObjectName {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (matches!(text.len(), 40 | 64) && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// Git writes "no object" as zeros.
    pub(crate) fn is_none(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// One line of what git hands to a pre-receive hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefUpdate {
    pub(crate) old: ObjectName,
    pub(crate) new: ObjectName,
    pub(crate) name: String,
}

impl RefUpdate {
    /// Reads `OLD NEW NAME`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        Some(Self {
            old: ObjectName::parse(words.next()?)?,
            new: ObjectName::parse(words.next()?)?,
            name: words.next().filter(|name| !name.is_empty())?.to_owned(),
        })
    }

    fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }
}

/// What is known of the site when a push to it is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) site_name: &'a str,
    /// The branch that the site was set to show, if it was.
    pub(crate) configured_branch: Option<&'a str>,
    /// Branches that the repository has before this push.
    pub(crate) branches: &'a [String],
    /// Whether history may be rewritten.
    pub(crate) force: bool,
    /// What visitors see, if anything.
    pub(crate) published_commit: Option<&'a str>,
}

/// The answer to a push; every text is for the pusher's terminal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing of the push is taken.
    Refuse(Vec<String>),
    /// Taken; visitors see nothing of it.
    Store {
        /// The branch that the site shows, if the repository has it.
        branch: Option<String>,
        notes: Vec<String>,
    },
    /// Built, deployed, and taken if that succeeds.
    Publish(Publish),
}

/// The part of a push that visitors are to see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) branch: String,
    pub(crate) commit: ObjectName,
    /// Commits that `commit` must descend from, because this site refuses rewritten history.
    pub(crate) descends_from: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Branches that are shown without being configured, in this order.
pub(crate) const DEFAULT_BRANCHES: [&str; 3] = ["pages", "main", "master"];

/// Notes on single refs above which the rest is only counted.
const NOTES_MAX: usize = 10;

/// Decides what a push does. Limits and names first, then the published branch, then the rest.
pub(crate) fn decide(updates: &[RefUpdate], standing: &Standing<'_>, limits: &Limits) -> Decision {
    if let Some(refusal) = unacceptable(updates, limits) {
        return Decision::Refuse(vec![refusal]);
    }
    let Some(branch) = published_branch(updates, standing) else {
        let mut notes = notes(updates, None, standing.site_name);
        notes.push(nothing_published(standing));
        return Decision::Store {
            branch: None,
            notes,
        };
    };
    let notes = notes(updates, Some(&branch), standing.site_name);
    let Some(update) = updates.iter().find(|u| u.branch() == Some(&*branch)) else {
        return Decision::Store {
            branch: Some(branch),
            notes,
        };
    };
    if update.new.is_none() {
        return Decision::Refuse(vec![format!(
            "branch {branch} is what visitors of {0} see: a push does not delete it, \
             use `verge site delete {0}`",
            standing.site_name
        )]);
    }
    Decision::Publish(Publish {
        commit: update.new.clone(),
        descends_from: descends_from(update, standing),
        branch,
        notes,
    })
}

fn unacceptable(updates: &[RefUpdate], limits: &Limits) -> Option<String> {
    if updates.len() > limits.push_refs {
        return Some(format!(
            "this push has more than {} refs: push the branch to publish, for example \
             `git push REMOTE main`",
            limits.push_refs
        ));
    }
    updates.iter().find_map(|update| {
        let name = &update.name;
        if name.len() > limits.ref_name_bytes || name.chars().any(char::is_control) {
            return Some(format!(
                "a ref's name is longer than {} bytes or has control characters",
                limits.ref_name_bytes
            ));
        }
        let kept = |prefix| name.strip_prefix(prefix).is_some_and(|rest| rest != "HEAD");
        (!kept("refs/heads/") && !kept("refs/tags/")).then(|| {
            format!("{name}: only branches (refs/heads/) and tags (refs/tags/) are kept here")
        })
    })
}

/// The configured branch, else the first default one that is in the repository or in this push.
fn published_branch(updates: &[RefUpdate], standing: &Standing<'_>) -> Option<String> {
    if let Some(configured) = standing.configured_branch {
        return Some(configured.to_owned());
    }
    let present = |branch: &&&str| {
        standing.branches.iter().any(|b| b == **branch)
            || updates
                .iter()
                .any(|u| u.branch() == Some(**branch) && !u.new.is_none())
    };
    DEFAULT_BRANCHES
        .iter()
        .find(present)
        .map(|b| (*b).to_owned())
}

fn descends_from(update: &RefUpdate, standing: &Standing<'_>) -> Vec<String> {
    if standing.force {
        return Vec::new();
    }
    let old = (!update.old.is_none()).then(|| update.old.as_str());
    let mut ancestors: Vec<String> = Vec::new();
    // The repository is a cache: what visitors see may be known where the ref is not.
    for commit in [old, standing.published_commit].into_iter().flatten() {
        if commit != update.new.as_str() && !ancestors.iter().any(|a| a == commit) {
            ancestors.push(commit.to_owned());
        }
    }
    ancestors
}

fn notes(updates: &[RefUpdate], published: Option<&str>, site_name: &str) -> Vec<String> {
    let others = updates
        .iter()
        .filter(|u| u.branch() != published || published.is_none());
    let mut notes: Vec<String> = others
        .map(|update| {
            let verb = if update.new.is_none() {
                "deleted"
            } else {
                "stored"
            };
            let name = &update.name;
            let what = match (update.branch(), name.strip_prefix("refs/tags/")) {
                (Some(branch), _) => format!("branch {branch}"),
                (None, Some(tag)) => format!("tag {tag}"),
                (None, None) => name.clone(),
            };
            match published {
                Some(published) => format!("{verb} {what}; {site_name} shows branch {published}"),
                None => format!("{verb} {what}"),
            }
        })
        .collect();
    let left_out = notes.len().saturating_sub(NOTES_MAX);
    if left_out > 0 {
        notes.truncate(NOTES_MAX);
        notes.push(format!("and {left_out} more refs"));
    }
    notes
}

fn nothing_published(standing: &Standing<'_>) -> String {
    format!(
        "{} shows branch pages, main or master, and has none of them: nothing was published; \
         to publish what you have, `git push REMOTE HEAD:main`",
        standing.site_name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "0000000000000000000000000000000000000000";

    /// `name old->new` with one digit for each object, 0 for none.
    fn updates(text: &[&str]) -> Vec<RefUpdate> {
        let object = |digit: &str| ObjectName::parse(&digit.repeat(40)).unwrap();
        text.iter()
            .map(|line| {
                let (name, change) = line.split_once(' ').unwrap();
                let (old, new) = change.split_once("->").unwrap();
                RefUpdate {
                    old: object(old),
                    new: object(new),
                    name: name.to_owned(),
                }
            })
            .collect()
    }

    /// One word per decision: `publish BRANCH DIGIT [< ancestors]`, `store BRANCH`, `refuse WORD`.
    fn shown(decision: &Decision) -> String {
        match decision {
            Decision::Refuse(lines) => format!("refuse {}", lines.join(" ")),
            Decision::Store { branch, .. } => {
                format!("store {}", branch.as_deref().unwrap_or("-"))
            }
            Decision::Publish(publish) => {
                let mut text = format!("publish {} {}", publish.branch, &publish.commit.0[..1]);
                for ancestor in &publish.descends_from {
                    text.push_str(" <");
                    text.push_str(&ancestor[..1]);
                }
                text
            }
        }
    }

    /// Configured branch (`-` for none), branches there, `f` for force and `p` for published
    /// commit 7, what is pushed, and the beginning of the answer.
    const PUSHES: &str = "
        - |            | f  | refs/heads/main 0->1   | publish main 1
        - |            | f  | refs/heads/master 0->1 | publish master 1
        - |            | f  | refs/heads/trunk 0->1  | store -
        - |            | f  | refs/tags/v1 0->1      | store -
        - | main       | f  | refs/heads/main 1->2   | publish main 2
        - | main       | f  | refs/heads/pages 0->2  | publish pages 2
        - | pages main | f  | refs/heads/main 1->2   | store pages
        - |            | f  | refs/heads/master 0->1, refs/heads/main 0->2, refs/tags/v 0->3 | publish main 2
        - | master     | f  | refs/heads/master 1->0, refs/heads/main 0->1 | publish main 1
        web | main     | f  | refs/heads/main 1->2   | store web
        web |          | f  | refs/heads/web 0->2    | publish web 2
        web | web      | f  | refs/heads/web 1->0    | refuse branch web
        - | main       | f  | refs/heads/main 1->0   | refuse branch main is what visitors of garden see: a push does not delete it, use `verge site delete garden`
        - | main x     | f  | refs/heads/x 1->0      | store main
        - | main       |    | refs/heads/main 1->2   | publish main 2 <1
        - | main       | p  | refs/heads/main 1->2   | publish main 2 <1 <7
        - | main       | p  | refs/heads/main 7->2   | publish main 2 <7
        - |            | p  | refs/heads/main 0->2   | publish main 2 <7
        - |            | p  | refs/heads/main 0->7   | publish main 7
        - | main       | fp | refs/heads/main 1->7   | publish main 7
        - | main       | f  | refs/notes/commits 0->1 | refuse refs/notes/commits: only
        - |            | f  | refs/heads/HEAD 0->1   | refuse refs/heads/HEAD: only
        - |            | f  | HEAD 0->1              | refuse HEAD: only branches
        - |            | f  | refs/heads/\u{7} 0->1  | refuse a ref's name";

    #[test]
    fn pushes_and_their_answers() {
        let published = "7".repeat(40);
        for row in PUSHES.lines().skip(1) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [configured, branches, state, push, expected] = cells[..] else {
                panic!("{row}");
            };
            let branches: Vec<String> =
                branches.split_whitespace().map(ToOwned::to_owned).collect();
            let standing = Standing {
                site_name: "garden",
                configured_branch: Some(configured).filter(|branch| *branch != "-"),
                branches: &branches,
                force: state.contains('f'),
                published_commit: state.contains('p').then_some(&*published),
            };
            let push = updates(&push.split(", ").collect::<Vec<_>>());
            let answer = shown(&decide(&push, &standing, &Limits::default()));
            let is_right = match expected.strip_prefix("refuse") {
                Some(_) => answer.starts_with(expected),
                None => answer == expected,
            };
            assert!(is_right, "{row}: {answer}");
        }
    }

    #[test]
    fn many_refs_are_refused_and_the_most_allowed_are_not() {
        let limits = Limits {
            push_refs: 20,
            ..Limits::default()
        };
        let standing = Standing {
            site_name: "garden",
            configured_branch: None,
            branches: &["main".to_owned()],
            force: true,
            published_commit: None,
        };
        let push = |count: usize| -> Vec<RefUpdate> {
            let lines: Vec<String> = (0..count).map(|n| format!("refs/tags/v{n} 0->1")).collect();
            updates(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let Decision::Store { notes, .. } = decide(&push(20), &standing, &limits) else {
            panic!("20 refs are allowed");
        };
        assert_eq!(notes.len(), NOTES_MAX + 1);
        assert_eq!(notes.last().unwrap(), "and 10 more refs");
        assert!(matches!(
            decide(&push(21), &standing, &limits),
            Decision::Refuse(_)
        ));
    }

    #[test]
    fn lines_that_git_would_not_write_are_not_read() {
        let one = "1".repeat(40);
        assert!(RefUpdate::parse(&format!("{NONE} {one} refs/heads/a b")).is_some());
        for line in [
            String::new(),
            format!("{NONE} {one}"),
            format!("{NONE} {one} "),
            format!("{NONE} {} refs/heads/a", "G".repeat(40)),
            format!("{NONE} 1 refs/heads/a"),
        ] {
            assert_eq!(RefUpdate::parse(&line), None, "{line:?}");
        }
    }
}
