//! How many cases the properties of accounting and attribution run.

use proptest::test_runner::Config;

/// `default` cases, unless `PROPTEST_CASES` says otherwise.
pub(crate) fn cases(default: u32) -> Config {
    let config = Config::default();
    // What proptest takes without a word of the environment.
    let cases = if config.cases == 256 {
        default
    } else {
        config.cases
    };
    Config {
        cases,
        // As many as there are cases: a million of them leave out more than proptest allows for 256.
        max_global_rejects: cases.max(config.max_global_rejects),
        failure_persistence: None,
        ..config
    }
}
