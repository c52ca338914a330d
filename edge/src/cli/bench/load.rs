//! Visits for a given time.

use super::served::{FILES, path};
use crate::cli::client::Session;
use anyhow::ensure;
use std::time::Duration;
use tokio::task::JoinSet;
use verge_sync::clock::stopwatch;

/// How a visitor comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Tls,
    Http2,
}

/// What was had.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Visits {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::Http2];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "HTTP/1.1",
            Self::Tls => "HTTP/1.1, TLS",
            Self::Http2 => "HTTP/2, TLS",
        }
    }
}

/// All of `visitors` ask for `file`, each again and again.
pub(super) async fn visit(
    visitors: Vec<Session>,
    file: &'static str,
    time: Duration,
) -> anyhow::Result<(Vec<Session>, Visits)> {
    let began = stopwatch();
    let mut visiting = JoinSet::new();
    for visitor in visitors {
        visiting.spawn(visit_alone(visitor, file, time));
    }
    let (mut visitors, mut visits) = (Vec::new(), Visits::default());
    while let Some(done) = visiting.join_next().await {
        let (visitor, own) = done??;
        visitors.push(visitor);
        visits.count = visits.count.saturating_add(own.count);
        visits.bytes = visits.bytes.saturating_add(own.bytes);
    }
    visits.time = began.elapsed();
    Ok((visitors, visits))
}

async fn visit_alone(
    mut visitor: Session,
    file: &str,
    time: Duration,
) -> anyhow::Result<(Session, Visits)> {
    let length = FILES.iter().find(|(name, _)| *name == file);
    let length = length.map_or(0, |(_, length)| *length);
    let (path, began) = (path(file), stopwatch());
    let mut visits = Visits::default();
    while began.elapsed() < time {
        let answer = visitor.get(&path, "identity").await?;
        ensure!(
            answer.head.status == http::StatusCode::OK && answer.body.len() == length,
            "{file} was answered with {} and {} bytes",
            answer.head.status,
            answer.body.len()
        );
        visits.count = visits.count.saturating_add(1);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        visits.bytes = visits.bytes.saturating_add(length);
    }
    Ok((visitor, visits))
}
