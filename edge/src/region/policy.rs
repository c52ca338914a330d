//! What a region's policy says that this release knows of: a TOML document of the region's step.

use crate::attribution::policy;
use verge_sync::record::Effect;

/// Without a word of the policy: a site is given up only where more than two others hold it.
const REPLICA_COUNT_MIN: usize = 2;
/// More nodes than a region has.
const REPLICA_COUNT_MAX: i64 = 200;
const REPLICA_KEY: &str = "replica_count_min";
/// A region that says nothing of money makes no statements.
const STATEMENT_KEY: &str = "statement";

/// A policy that no step should have.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not TOML.
    #[error("the policy is not TOML: {0}")]
    NotToml(String),
    /// A value that cannot be.
    #[error("the policy's {REPLICA_KEY} must be a number from 1 to {REPLICA_COUNT_MAX}")]
    ReplicaCount,
    /// Rules about money that do not add up; says at which line.
    #[error("the policy, {0}")]
    Statement(#[from] policy::PolicyError),
}

/// Checks what is to be proposed.
///
/// # Errors
/// [`PolicyError`].
pub fn check_policy(text: &str) -> Result<(), PolicyError> {
    let table = text.parse::<toml::Table>();
    let table = table.map_err(|error| PolicyError::NotToml(error.to_string()))?;
    let count = table.get(REPLICA_KEY);
    if count.is_some_and(|value| read_count(value).is_none()) {
        return Err(PolicyError::ReplicaCount);
    }
    if table.contains_key(STATEMENT_KEY) {
        policy::parse(text)?;
    }
    Ok(())
}

/// A full node gives its copy of a site up only where more than so many others say that they hold
/// it. What a policy says wrongly is as if it were not said.
#[must_use]
pub fn replica_count_min(effect: &Effect) -> usize {
    let policy = effect.chain.current().body.policy.parse::<toml::Table>();
    let count = policy
        .ok()
        .and_then(|table| read_count(table.get(REPLICA_KEY)?));
    count.unwrap_or(REPLICA_COUNT_MIN)
}

fn read_count(value: &toml::Value) -> Option<usize> {
    let count = value.as_integer()?;
    let count = (1..=REPLICA_COUNT_MAX).contains(&count).then_some(count)?;
    usize::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_be_is_not_proposed() {
        for (text, is_fine) in [
            ("", true),
            ("replica_count_min = 1", true),
            ("replica_count_min = 200\n[other]\nkey = true", true),
            ("replica_count_min = 0", false),
            ("replica_count_min = 201", false),
            ("replica_count_min = \"2\"", false),
            ("replica_count_min", false),
            ("[statement]\ncurrency = \"EUR\"", true),
            (
                "replica_count_min = 3\n[statement]\ncurrency = \"EURO\"",
                false,
            ),
        ] {
            assert_eq!(check_policy(text).is_ok(), is_fine, "{text}");
        }
    }
}
