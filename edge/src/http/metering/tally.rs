//! The answers of one connection that the meter has not been told of in full.
//!
//! Positions are those of the bytes that HTTP writes, before TLS. An answer leaves when the last of
//! its bytes has arrived, or with the connection.
//!
//! In HTTP/2 the library does not say which stream a request came on. It accepts streams in the
//! order of their heads and all of them within one poll, so the two are matched in order; if they do
//! not come out even, the library refused one of them, and no answer of that poll is counted.

use super::heads::{Place, pass_head};
use super::worth::{Worth, arrived};
use crate::accounting::figures::{BodyBytes, Class, Count, CreditBytes, NodeTotals, WireBytes};
use crate::accounting::meter::Meter;
use crate::http::frames::{self, Frame};
use crate::socket::Progress;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use verge_sync::id::SiteId;

/// What was written is counted so much later at the latest, as far as it has arrived.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Answers that wait for their acknowledgement: 120 KB, and 1 MB of the smallest answers on their
/// way. With more the kernel is asked for each, and one for which there is no room earns nothing. As
/// many streams may be open.
pub(super) const WAITING_MAX: usize = 1_024;
/// Room kept between bursts: 8 KB.
const KEPT_MAX: usize = 64;

/// An answer of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Served {
    pub(in crate::http) site: SiteId,
    /// To a visitor who says that it is a machine.
    pub(in crate::http) is_bot: bool,
    pub(in crate::http) worth: Worth,
}

/// Shared by a connection, its stream and its answers; all of them live on one thread, so the lock
/// is never contended.
pub(in crate::http) struct Tally {
    meter: Arc<Meter>,
    answers: Mutex<Answers>,
}

/// A stream of HTTP/2; none, if it is not known which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct StreamId(Option<u32>);

/// See [`Tally`].
pub(in crate::http) struct Answers {
    /// What HTTP wrote so far.
    position: u64,
    /// Where in HTTP/1.1 that is; none: behind the last answer, where nothing counts.
    place: Option<Place>,
    /// Being written; in HTTP/1.1 the first is, the others follow.
    open: VecDeque<Answer>,
    /// Of which nothing more will be written.
    waiting: VecDeque<Answer>,
    streams: Streams,
    due: Option<Instant>,
    is_closed: bool,
}

/// What a visitor opened in HTTP/2.
#[derive(Default)]
struct Streams {
    last: u32,
    /// Whose head is here and that have not been accepted, and whether they were reset since.
    fresh: VecDeque<(u32, bool)>,
    /// Accepted since the poll began.
    accepted: Vec<u32>,
}

struct Answer {
    stream: u32,
    /// None: not known yet, or not counted.
    served: Option<Served>,
    /// In HTTP/1.1.
    body_bytes: u64,
    written: u64,
    /// Position of its last byte so far.
    end: u64,
    /// What the meter was told of.
    arrived: u64,
    is_told: bool,
}

impl Tally {
    pub(in crate::http) fn new(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            answers: Mutex::new(Answers {
                position: 0,
                place: Some(Place::Head(0)),
                open: VecDeque::new(),
                waiting: VecDeque::new(),
                streams: Streams::default(),
                due: None,
                is_closed: false,
            }),
        }
    }

    pub(in crate::http) fn lock(&self) -> MutexGuard<'_, Answers> {
        // A panic while it was held poisons one connection, which ends with its task.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look at the latest; none if nothing waits to be counted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.lock().due
    }

    /// Tells the meter what has arrived by now.
    pub(in crate::http) fn look(&self, progress: Option<Progress>) {
        self.lock().tell(&self.meter, progress, Stage::Open);
    }

    /// The connection ends: what has not arrived never will. Tells the meter the rest, once.
    pub(super) fn close(&self, progress: Option<Progress>) {
        let mut answers = self.lock();
        if std::mem::replace(&mut answers.is_closed, true) {
            return;
        }
        answers.tell(&self.meter, progress, Stage::Last);
        (answers.open, answers.waiting) = (VecDeque::new(), VecDeque::new());
        let tcp = progress.map(|progress| progress.tcp);
        self.meter.count_totals(NodeTotals {
            connections: 1,
            wire: WireBytes(tcp.map_or(0, |tcp| tcp.acknowledged_bytes)),
            retransmitted: WireBytes(tcp.map_or(0, |tcp| tcp.retransmitted_bytes)),
            errors: 0,
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Last,
}

impl Answers {
    /// Whether the kernel should be asked, so that there is room again.
    pub(in crate::http) fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// The next answer in HTTP/1.1, before its head is written.
    pub(in crate::http) fn answer_next(&mut self, served: Option<Served>, body_bytes: u64) {
        self.begin(served.is_some());
        self.open.push_back(Answer {
            body_bytes,
            ..Answer::new(0, served)
        });
    }

    /// HTTP/1.1 wrote `bytes`.
    pub(in crate::http) fn wrote(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = match (self.place, self.open.front_mut()) {
                (None, _) | (_, None) => {
                    self.place = None;
                    bytes.len()
                }
                (Some(Place::Head(seen)), Some(answer)) => {
                    let (passed, seen) = pass_head(seen, bytes);
                    self.place = Some(if seen == 4 {
                        Place::Body(answer.body_bytes)
                    } else {
                        Place::Head(seen)
                    });
                    passed
                }
                (Some(Place::Body(left)), Some(answer)) => {
                    let length = count(bytes).min(left);
                    answer.written = answer.written.saturating_add(length);
                    self.place = Some(Place::Body(left.saturating_sub(length)));
                    usize::try_from(length).unwrap_or(bytes.len())
                }
            };
            self.position = self.position.saturating_add(count_of(passed));
            bytes = bytes.get(passed..).unwrap_or_default();
            if let Some(answer) = self.open.front_mut().filter(|_| self.place.is_some()) {
                answer.end = self.position;
            }
            if self.place == Some(Place::Body(0)) {
                self.place = Some(Place::Head(0));
                self.finish(0);
            }
        }
    }

    /// HTTP/2 accepts the next stream.
    pub(in crate::http) fn accept(&mut self) -> StreamId {
        let Some((stream, is_reset)) = self.streams.fresh.pop_front() else {
            return StreamId(None);
        };
        self.streams.accepted.push(stream);
        if is_reset || self.open.len() >= WAITING_MAX {
            return StreamId(None);
        }
        self.open.push_back(Answer::new(stream, None));
        StreamId(Some(stream))
    }

    /// The answer on a stream, before its head is written.
    pub(in crate::http) fn answer(&mut self, stream: StreamId, served: Option<Served>) {
        let Some(index) = stream.0.and_then(|stream| self.index_of(stream)) else {
            return;
        };
        self.begin(served.is_some());
        if served.is_none() {
            let _not_counted = self.open.swap_remove_back(index);
        } else if let Some(answer) = self.open.get_mut(index) {
            answer.served = served;
        }
    }

    /// The visitor sent `frame`.
    pub(in crate::http) fn read_frame(&mut self, frame: Frame) {
        let opens = frame.ends_head() && frame.stream > self.streams.last;
        if opens {
            self.streams.last = frame.stream;
            self.streams.fresh.push_back((frame.stream, false));
        } else if frame.kind == frames::RST_STREAM {
            self.end_stream(frame.stream);
            let mut fresh = self.streams.fresh.iter_mut();
            if let Some((_, is_reset)) = fresh.find(|(stream, _)| *stream == frame.stream) {
                *is_reset = true;
            }
        }
    }

    /// HTTP/2 wrote `frame`, which ends at position `end`.
    pub(in crate::http) fn wrote_frame(&mut self, frame: Frame, end: u64) {
        let carries = matches!(frame.kind, frames::DATA | frames::HEADERS);
        if carries && let Some(index) = self.index_of(frame.stream) {
            if let Some(answer) = self.open.get_mut(index) {
                let length = if frame.kind == frames::DATA {
                    frame.length
                } else {
                    0
                };
                answer.written = answer.written.saturating_add(count_of(length));
                answer.end = end;
            }
            if frame.ends_stream() {
                self.finish(index);
            }
        } else if frame.kind == frames::RST_STREAM {
            self.end_stream(frame.stream);
        }
    }

    /// The connection was polled: every stream whose head was read has been accepted, or the
    /// library refused one of them and it is not known which.
    pub(in crate::http) fn was_polled(&mut self) {
        if !self.streams.fresh.is_empty() {
            self.streams.fresh.clear();
            let accepted = std::mem::take(&mut self.streams.accepted);
            self.open
                .retain(|answer| !accepted.contains(&answer.stream));
        }
        self.streams.accepted.clear();
    }

    /// Whether something was written of which the meter has not been told.
    fn is_behind(&self) -> bool {
        let mut open = self.open.iter();
        !self.waiting.is_empty() || open.any(|answer| answer.arrived < answer.written)
    }

    fn begin(&mut self, is_counted: bool) {
        if is_counted && self.due.is_none() {
            self.due = Some(Instant::now() + LOOK_TIME);
        }
    }

    fn index_of(&self, stream: u32) -> Option<usize> {
        // What was opened last is written most often.
        self.open.iter().rposition(|answer| answer.stream == stream)
    }

    fn end_stream(&mut self, stream: u32) {
        if let Some(index) = self.index_of(stream) {
            self.finish(index);
        }
    }

    fn finish(&mut self, index: usize) {
        let Some(mut answer) = self.open.swap_remove_front(index) else {
            return;
        };
        if answer.served.is_none() {
            return;
        }
        if self.is_full() {
            // Told below as one of which nothing arrived.
            (answer.written, answer.end) = (answer.arrived, 0);
        }
        self.waiting.push_back(answer);
    }

    fn tell(&mut self, meter: &Meter, progress: Option<Progress>, stage: Stage) {
        let delivered = progress.map_or(0, |progress| progress.delivered);
        let mut run = Run { meter, rows: None };
        self.waiting.retain_mut(|answer| {
            let is_last = stage == Stage::Last || answer.end <= delivered;
            answer.tell(&mut run, delivered, is_last);
            !is_last
        });
        for answer in &mut self.open {
            answer.tell(&mut run, delivered, stage == Stage::Last);
        }
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_MAX {
            self.waiting = VecDeque::new();
        }
        let is_open = |answer: &Answer| answer.served.is_some();
        self.due =
            (self.is_behind() || self.open.iter().any(is_open)).then(|| Instant::now() + LOOK_TIME);
    }
}

impl Answer {
    fn new(stream: u32, served: Option<Served>) -> Self {
        Self {
            stream,
            served,
            body_bytes: 0,
            written: 0,
            end: 0,
            arrived: 0,
            is_told: false,
        }
    }

    fn tell(&mut self, run: &mut Run<'_>, delivered: u64, is_last: bool) {
        let Some(served) = &self.served else {
            return;
        };
        // What has arrived once stays so, whatever was written between since.
        let arrived = arrived(self.written, self.end, delivered).max(self.arrived);
        let (body_before, credit_before) = served.worth.of(self.arrived);
        let (body, credit) = served.worth.of(arrived);
        self.arrived = arrived;
        let is_new = !self.is_told && (body.0 > 0 || is_last);
        self.is_told |= is_new;
        let class = match (served.is_bot, body.0) {
            (true, _) => Class::Bot,
            (false, 0) => Class::Bare,
            (false, _) => Class::Answer,
        };
        let more = Count {
            requests: u64::from(is_new),
            credit: CreditBytes(credit.0.saturating_sub(credit_before.0)),
            body: BodyBytes(body.0.saturating_sub(body_before.0)),
        };
        if !more.is_nothing() {
            run.add(served.site, class, more);
        }
    }
}

/// Answers of one site and class in a row, told together.
struct Run<'a> {
    meter: &'a Meter,
    rows: Option<(SiteId, Class, Count)>,
}

impl Run<'_> {
    fn add(&mut self, site: SiteId, class: Class, count: Count) {
        if let Some((of, kind, sum)) = &mut self.rows
            && (*of, *kind) == (site, class)
            && let Some(both) = sum.plus(count)
        {
            *sum = both;
            return;
        }
        self.flush();
        self.rows = Some((site, class, count));
    }

    fn flush(&mut self) {
        if let Some((site, class, count)) = self.rows.take() {
            self.meter.count(site, class, count);
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

fn count(bytes: &[u8]) -> u64 {
    count_of(bytes.len())
}

fn count_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
