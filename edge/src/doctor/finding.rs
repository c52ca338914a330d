//! One line of `verge doctor`.

use serde::Serialize;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, or may: worth a look.
    Warning,
    /// It does not work.
    Fault,
}

/// What was looked at, how it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// What was looked at.
    pub about: String,
    /// How it is.
    pub says: String,
    /// What to do; nothing where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ok,
            about: about.into(),
            says: says.into(),
            todo: None,
        }
    }

    pub(super) fn warning(
        about: impl Into<String>,
        says: impl fmt::Display,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Warning,
            about: about.into(),
            says: says.to_string(),
            todo: Some(todo.into()),
        }
    }

    pub(super) fn fault(
        about: impl Into<String>,
        says: impl fmt::Display,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Fault,
            ..Self::warning(about, says, todo)
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8}  {}: {}", self.grade, self.about, self.says)?;
        match &self.todo {
            Some(todo) => write!(f, ": {todo}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_is_and_what_to_do() {
        let rows = [
            (
                Finding::ok("disk", "3 GiB are free"),
                "ok        disk: 3 GiB are free",
            ),
            (
                Finding::warning("clock", "is late", "set it"),
                "warning   clock: is late: set it",
            ),
            (
                Finding::fault("door", "is shut", "open it"),
                "fault     door: is shut: open it",
            ),
        ];
        for (finding, expected) in rows {
            assert_eq!(finding.to_string(), expected);
        }
        let json = serde_json::to_string(&Finding::ok("a", "b")).unwrap();
        assert_eq!(json, r#"{"grade":"ok","about":"a","says":"b"}"#);
    }
}
