//! What is done once for the process before anything else: memory, the log, open files, no core
//! dumps.

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::disable_transparent_huge_pages;

/// Once for the process: memory, the log, open files, no core dumps.
pub(super) fn prepare() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VERGE_LOG")
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    // What these say at lower levels names single requests and their times, or every path that is
    // tried to a peer that is away.
    let quiet = ["h2", "hyper", "rustls", "russh"].map(|name| format!("{name}=warn"));
    let errors = ["iroh", "noq", "noq_proto", "noq_udp", "netwatch"];
    let errors = errors.map(|name| format!("{name}=error"));
    let quiet = quiet.iter().chain(&errors);
    let quiet = quiet.filter_map(|directive| directive.parse().ok());
    let filter = quiet.fold(filter, tracing_subscriber::EnvFilter::add_directive);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if log.try_init().is_err() {
        tracing::debug!("the log is set up already");
    }
    use_small_pages();
    raise_open_files();
    refuse_dumps();
}

/// The allocator asks for pages of 2 MiB, which are held whole for what is used of them: an idle node
/// with 1,000 sites takes 77 MB with them and 49 without. An older kernel gives none anyway.
fn use_small_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the kernel gives memory as it likes");
    }
}

fn raise_open_files() {
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    limit(Resource::Nofile, raised);
}

/// Keys, and what is known of visitors while they are connected, are in memory: no core file, no
/// pipe to a collector of them (a limit of 0 does not keep the kernel from those), and no other
/// process of the same account looks in.
fn refuse_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    limit(Resource::Core, none);
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
}

fn limit(resource: Resource, limit: Rlimit) {
    if let Err(error) = setrlimit(resource, limit) {
        tracing::warn!(%error, "a process limit could not be set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::dumpable_behavior;

    #[test]
    fn pages_are_small() {
        use_small_pages();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
    }

    #[test]
    fn core_dumps_are_off() {
        refuse_dumps();
        let behavior = dumpable_behavior().unwrap();
        assert_eq!(behavior, DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
