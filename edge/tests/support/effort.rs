//! How much is tried: little in `make test`, all of it in `make prove`.

/// Whether `make prove` runs this.
#[expect(clippy::disallowed_methods, reason = "the counts of `make prove`")]
pub(crate) fn proving() -> bool {
    std::env::var("VERGE_PROVE").is_ok()
}

/// How often: what the variable says, or the small count of `make test`.
#[expect(clippy::disallowed_methods, reason = "the counts of `make prove`")]
pub(crate) fn count(name: &str, default: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}
