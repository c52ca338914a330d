//! One connection from its first byte to its last: protocol, deadlines, drain.
//!
//! Owned by a task of the worker that accepted it; ends by itself, by its deadline, by a drain, or
//! with the worker. Its memory is bounded by hyper's buffers and one piece per open answer.

use super::activity::{Activity, Patience};
use super::coalesce::Coalescing;
use super::frames::FrameLimits;
use super::guarded::Guarded;
use super::head_scan::HeadLimits;
use super::metering::{Closing, Looks, Metered, Tally};
use super::pace::{self, Pace, PaceLimit};
use super::room::{Claim, Rooms};
use super::{Door, Transport, answer};
use crate::limits::Limits;
use crate::listen::Phase;
use crate::socket::Socket;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What the visitor's side and ours agreed to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// After a deadline a connection is told to end, and so much later it is cut.
const FAREWELL: Duration = Duration::from_secs(1);
/// One piece per stream: hyper's 400 KB would let a hundred slow streams hold 40 MB.
const SEND_BYTES_MAX: usize = 32 << 10;
/// Nobody uploads here: the smallest window that the protocol starts with.
const RECEIVE_WINDOW_BYTES: u32 = 65_535;
/// What is heard of a request's body, which nobody wants, before it is answered over HTTP/2: what
/// honest visitors and h2spec send with a head fits, an upload is refused while it begins.
const HEARD_BYTES_MAX: usize = 16 << 10;
/// And for how long: several round trips over a bad link.
const HEARD_TIME_MAX: Duration = Duration::from_millis(500);
/// Room for a head of the largest size; beyond it a body's next piece is not asked for.
const HTTP1_BUFFER_BYTES_MAX: usize = 32 << 10;

/// Serves until one side ends the connection. Errors are the visitor's and are not reported.
pub(crate) async fn serve<S>(
    stream: S,
    protocol: Protocol,
    door: Arc<Door>,
    transport: Transport,
    phase: watch::Receiver<Phase>,
) where
    S: Socket,
{
    let visit = Arc::new(Visit {
        tally: Arc::new(Tally::new(Arc::clone(&door.meter))),
        door,
        transport,
        activity: Activity::new(),
    });
    match protocol {
        Protocol::Http1 => serve_http1(stream, visit, phase).await,
        Protocol::Http2 => serve_http2(stream, visit, phase).await,
    }
}

/// What the requests of one connection share.
struct Visit {
    door: Arc<Door>,
    transport: Transport,
    activity: Arc<Activity>,
    tally: Arc<Tally>,
}

impl Visit {
    /// For the stream beneath the connection.
    fn watchers(&self) -> (Arc<Activity>, Arc<Tally>) {
        (Arc::clone(&self.activity), Arc::clone(&self.tally))
    }
}

async fn serve_http1<S: Socket>(stream: S, visit: Arc<Visit>, phase: watch::Receiver<Phase>) {
    let limits = &visit.door.limits;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Our own deadline tells a slow head from an idle connection, hyper's does not.
        .header_read_timeout(None)
        // Who has sent all may still read; who is gone lets a write fail.
        .half_close(true)
        // The stream beneath refuses what is larger.
        .max_header_size(limits.header_bytes_max)
        // Not pipeline_flush: it holds the answer to a bad head back while bytes of it are unread.
        .max_buf_size(HTTP1_BUFFER_BYTES_MAX.max(2 * limits.header_bytes_max));
    if limits.header_count_max != 100 {
        // 100 is hyper's own limit, for which it needs no allocation.
        builder.max_headers(limits.header_count_max);
    }
    let stream = Guarded::new(stream, head_limits(limits), visit.watchers());
    let beneath = stream.clone();
    let mut closing = Closing::new(stream.clone(), &visit.tally);
    let guard = Guard::new(&visit);
    let clock = visit.door.clock.clone();
    let service = service_fn(move |request: http::Request<Incoming>| {
        let visit = Arc::clone(&visit);
        async move {
            let held = visit.activity.begin();
            let has_body = !request.body().is_end_stream();
            let (mut answer, served) = answer(&visit.door, &visit.transport, &request, held).await;
            let length = answer.body().size_hint().exact().unwrap_or(0);
            visit.tally.lock().answer_next(served, length);
            if has_body {
                // It is not read, so what follows it on the connection cannot be found.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let make = || builder.serve_connection(TokioIo::new(stream.clone()), service.clone());
    let end_gracefully = http1::Connection::graceful_shutdown;
    let library = Library::that_parks(&make, end_gracefully);
    let ended = drive(library, &beneath, guard, phase).await;
    if ended == Ended::ByItself {
        beneath.finish(clock.now()).await;
        closing.wait().await;
    }
}

async fn serve_http2<S: Socket>(stream: S, visit: Arc<Visit>, phase: watch::Receiver<Phase>) {
    let limits = &visit.door.limits;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.stream_count_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BYTES_MAX)
        .initial_stream_window_size(RECEIVE_WINDOW_BYTES)
        .initial_connection_window_size(RECEIVE_WINDOW_BYTES);
    let stream = Coalescing::guarded(stream, frame_limits(limits), visit.watchers());
    let beneath = stream.clone();
    let mut closing = Closing::new(stream.clone(), &visit.tally);
    let guard = Guard::new(&visit);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let visit = Arc::clone(&visit);
        // Here and not below: what is below runs later, in any order.
        let id = visit.tally.lock().accept();
        async move {
            let held = visit.activity.begin();
            let (head, mut body) = request.into_parts();
            let heard = hear_out(&head, &mut body).await;
            let request = http::Request::from_parts(head, heard);
            let (answer, served) = answer(&visit.door, &visit.transport, &request, held).await;
            visit.tally.lock().answer(id, served);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let library = Library::that_stays(connection, http2::Connection::graceful_shutdown);
    let ended = drive(library, &beneath, guard, phase).await;
    if ended == Ended::ByItself {
        closing.wait().await;
    }
}

/// Waits for the rest of a request over HTTP/2, and says whether it has a body. An answer that is
/// sent first lets the library forget the stream, and the faults of what follows (trailers that
/// cannot be, data after a reset) with it.
async fn hear_out(head: &http::request::Parts, body: &mut Incoming) -> Heard {
    // Who expects to be asked for the body waits for the answer before it goes on.
    if body.is_end_stream() || head.headers.contains_key(EXPECT) {
        let has_body = !body.is_end_stream();
        return Heard { has_body };
    }
    let rest = async {
        let mut heard_bytes = 0;
        while heard_bytes < HEARD_BYTES_MAX {
            match body.frame().await {
                Some(Ok(frame)) => heard_bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_fault)) => return true,
                None => return heard_bytes > 0,
            }
        }
        true
    };
    let has_body = tokio::time::timeout(HEARD_TIME_MAX, rest).await;
    Heard {
        has_body: has_body.unwrap_or(true),
    }
}

/// The body of a request that was heard out, which nobody reads.
struct Heard {
    has_body: bool,
}

impl http_body::Body for Heard {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        !self.has_body
    }
}

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        bytes_max: limits.header_bytes_max,
        header_count_max: limits.header_count_max,
        target_bytes_max: limits.uri_bytes_max,
    }
}

fn frame_limits(limits: &Limits) -> FrameLimits {
    FrameLimits {
        control_count_max: limits.control_frame_count_max,
        reset_count_max: limits.reset_count_max,
        // As many again, for a list that is a little too long to get its 431.
        block_bytes_max: limits.header_bytes_max.saturating_mul(2),
    }
}

/// The stream beneath a connection, for whoever drives the connection.
trait Beneath: Metered {
    /// Called after every poll of the connection: writes out what it left, and tells whether the
    /// connection is to end whatever it thinks itself.
    fn poll_after(&self, cx: &mut Context<'_>) -> Poll<After>;

    /// What the visitor's machine has acknowledged.
    fn acknowledged_bytes(&self) -> Option<u64>;

    /// Lets go of what the kernel still holds for the visitor, once the connection is closed.
    fn abandon(&self);

    /// Whether the library could be let go of: everything that came is answered, and it holds nothing.
    fn is_at_rest(&self) -> bool;

    /// Waits until there is something to read.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Settled,
    /// What came is to be refused, and nothing else is left to do.
    Refuse,
    /// The visitor is gone, or has abused the connection: nobody waits for it.
    Broken,
}

impl<S: Socket> Beneath for Guarded<S> {
    fn poll_after(&self, _cx: &mut Context<'_>) -> Poll<After> {
        self.make_room();
        Poll::Ready(if self.is_refusal_due() {
            After::Refuse
        } else {
            After::Settled
        })
    }

    fn acknowledged_bytes(&self) -> Option<u64> {
        self.acknowledged_bytes()
    }

    fn abandon(&self) {
        self.abandon();
    }

    fn is_at_rest(&self) -> bool {
        self.is_at_rest()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_readable(cx)
    }
}

impl<S: Socket> Beneath for Coalescing<S> {
    fn poll_after(&self, cx: &mut Context<'_>) -> Poll<After> {
        let drained = self.poll_drain(cx);
        self.make_room();
        match ready!(drained) {
            Ok(()) => Poll::Ready(After::Settled),
            Err(_visitor_is_gone) => Poll::Ready(After::Broken),
        }
    }

    fn acknowledged_bytes(&self) -> Option<u64> {
        self.acknowledged_bytes()
    }

    fn abandon(&self) {
        self.abandon();
    }

    /// Never: the protocol has a state that both sides must keep.
    fn is_at_rest(&self) -> bool {
        false
    }

    fn poll_readable(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

/// The library's side of a connection. Boxed, so that a connection which waits for its visitor's next
/// request can let go of it: it keeps buffers of 8 KiB and more.
struct Library<'a, C> {
    /// None: parked.
    now: Option<Pin<Box<C>>>,
    make: Option<&'a (dyn Fn() -> C + Sync)>,
    end_gracefully: fn(Pin<&mut C>),
}

impl<'a, C: Future> Library<'a, C> {
    fn that_parks(make: &'a (dyn Fn() -> C + Sync), end_gracefully: fn(Pin<&mut C>)) -> Self {
        Self {
            now: Some(Box::pin(make())),
            make: Some(make),
            end_gracefully,
        }
    }

    fn that_stays(connection: C, end_gracefully: fn(Pin<&mut C>)) -> Self {
        Self {
            now: Some(Box::pin(connection)),
            make: None,
            end_gracefully,
        }
    }

    /// Whether it is over.
    fn poll(&mut self, cx: &mut Context<'_>, beneath: &impl Beneath) -> bool {
        if self.now.is_none() {
            if beneath.poll_readable(cx).is_pending() {
                return false;
            }
            self.wake();
        }
        self.now
            .as_mut()
            .is_none_or(|connection| connection.as_mut().poll(cx).is_ready())
    }

    fn wake(&mut self) {
        if self.now.is_none() {
            self.now = self.make.map(|make| Box::pin(make()));
        }
    }

    fn can_park(&self) -> bool {
        self.make.is_some() && self.now.is_some()
    }

    fn end(&mut self) {
        // One that is parked has the end of the connection to say.
        self.wake();
        if let Some(connection) = &mut self.now {
            (self.end_gracefully)(connection.as_mut());
        }
    }
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    /// Its time was over, or there is nobody any more to be waited for.
    Cut,
}

/// The deadlines of one connection.
struct Guard {
    activity: Arc<Activity>,
    rooms: Arc<Rooms>,
    claim: Claim,
    patience: Patience,
    pace: Pace,
    slow_time: Duration,
    quiet_time: Duration,
    looks: Looks,
}

impl Guard {
    fn new(visit: &Visit) -> Self {
        let limits = &visit.door.limits;
        Self {
            activity: Arc::clone(&visit.activity),
            rooms: Arc::clone(&visit.door.rooms),
            claim: visit.transport.claim.clone(),
            patience: Patience {
                idle: limits.idle_time,
                head: limits.header_time,
            },
            pace: Pace::new(PaceLimit {
                bytes_min: limits.slow_bytes_min(),
                time: limits.slow_time,
            }),
            slow_time: limits.slow_time,
            quiet_time: limits.quiet_time,
            looks: Looks::new(&visit.tally),
        }
    }

    /// Called after every poll: begins to measure, or stops.
    fn measure(&mut self, beneath: &impl Beneath) {
        self.pace.hurry(self.rooms.is_scarce());
        if !self.activity.is_busy() {
            self.pace.rest();
        } else if self.activity.is_blocked() && !self.pace.is_marked() {
            self.pace
                .begin(Instant::now(), beneath.acknowledged_bytes());
        } else if self.pace.deadline().is_none() {
            // Most answers end before the kernel would have to be asked about them.
            self.pace.begin(Instant::now(), None);
        }
    }

    /// Whether all that the visitor asked for waits for room, which is not its doing.
    fn is_kept_waiting(&self) -> bool {
        let waiting_count = self.claim.waiting_count();
        waiting_count > 0
            && waiting_count >= self.activity.in_flight_count()
            && !self.activity.is_blocked()
    }

    fn deadline(&self) -> Instant {
        let quiet = || self.activity.deadline(&self.patience);
        self.pace.deadline().unwrap_or_else(quiet)
    }

    /// Whether nothing was asked or answered for so long that more is not expected at once.
    fn is_quiet(&self, now: Instant) -> bool {
        let rested = self.activity.deadline(&self.patience) - self.patience.idle;
        !self.activity.is_busy() && rested + self.quiet_time <= now
    }

    /// When to look at the latest: an answer that waits for a window wakes nobody, and neither does
    /// one that `can_park`.
    fn next_look(&self, now: Instant, can_park: bool) -> Instant {
        let look_time = if can_park {
            self.quiet_time
        } else if self.activity.is_busy() {
            // Memory may become scarce meanwhile.
            self.slow_time / pace::HURRY
        } else {
            self.slow_time
        };
        self.deadline().min(now + look_time)
    }

    /// What to do now that a timer went off.
    fn judge(&mut self, now: Instant, beneath: &impl Beneath) -> Verdict {
        if self.activity.is_busy() && !self.pace.is_marked() {
            self.pace.begin(now, beneath.acknowledged_bytes());
        }
        if self.is_kept_waiting() {
            self.pace.rest();
            self.pace.begin(now, beneath.acknowledged_bytes());
        }
        self.pace.hurry(self.rooms.is_scarce());
        if self.deadline() > now {
            Verdict::Wait
        } else if self.pace.deadline().is_none() {
            Verdict::SayGoodbye
        } else if self.pace.is_too_slow(now, beneath.acknowledged_bytes()) {
            Verdict::Cut
        } else {
            Verdict::Wait
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    SayGoodbye,
    Cut,
}

/// Polls `connection` to its end: settled after every poll, asked to end when the edge drains or it
/// is idle for too long, cut when it does not, or takes its answers too slowly.
async fn drive<C>(
    mut library: Library<'_, C>,
    beneath: &impl Beneath,
    mut guard: Guard,
    mut phase: watch::Receiver<Phase>,
) -> Ended
where
    C: Future,
{
    let begin = guard.next_look(Instant::now(), library.can_park());
    let mut timer = pin!(tokio::time::sleep_until(begin));
    let mut draining = pin!(async move {
        // An error says that the edge is gone, which is the same to a connection.
        drop(phase.wait_for(|phase| *phase != Phase::Serving).await);
    });
    let (mut is_ending, mut is_over, mut is_late) = (false, false, false);
    std::future::poll_fn(|cx| {
        if !is_ending && draining.as_mut().poll(cx).is_ready() {
            is_ending = true;
            library.end();
        }
        is_over = is_over || library.poll(cx, beneath);
        match beneath.poll_after(cx) {
            Poll::Ready(After::Settled) if is_over => return Poll::Ready(Ended::ByItself),
            Poll::Ready(After::Refuse) => return Poll::Ready(Ended::ByItself),
            Poll::Ready(After::Broken) => return Poll::Ready(Ended::Cut),
            Poll::Ready(After::Settled) | Poll::Pending => {}
        }
        guard.measure(beneath);
        guard.looks.poll(cx, beneath);
        if guard.activity.take_urgency() && !is_late && guard.deadline() < timer.deadline() {
            timer.as_mut().reset(guard.deadline());
        }
        while timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            match guard.judge(now, beneath) {
                Verdict::Cut => {
                    beneath.abandon();
                    return Poll::Ready(Ended::Cut);
                }
                Verdict::SayGoodbye if is_late => return Poll::Ready(Ended::Cut),
                Verdict::SayGoodbye => {
                    is_late = true;
                    if !is_ending && !is_over {
                        is_ending = true;
                        library.end();
                        cx.waker().wake_by_ref();
                    }
                    timer.as_mut().reset(now + FAREWELL);
                }
                Verdict::Wait => {
                    if library.can_park() && guard.is_quiet(now) && beneath.is_at_rest() {
                        library.now = None;
                        // To be told of what it would have been told of.
                        cx.waker().wake_by_ref();
                    }
                    timer
                        .as_mut()
                        .reset(guard.next_look(now, library.can_park()));
                }
            }
        }
        Poll::Pending
    })
    .await
}
