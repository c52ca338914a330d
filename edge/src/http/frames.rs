//! The frames of one direction of an HTTP/2 connection, counted by their headers alone.
//!
//! The library bounds memory; here floods of cheap frames are bounded, which cost processor time
//! and no memory: pings, settings, priorities, resets (also those that a visitor makes *us* send),
//! empty data, endless header blocks. And what the library lets pass: data on a stream that its
//! sender had reset. Pure: it is shown bytes and time; it keeps one frame header.

/// What one connection may send in ten seconds, and in one header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameLimits {
    /// Frames that carry no request and no body.
    pub(super) control_count_max: u32,
    /// Cancelled streams.
    pub(super) reset_count_max: u32,
    /// Bytes of one header block, as compressed.
    pub(super) block_bytes_max: usize,
}

/// The limits are per this many milliseconds.
pub(super) const WINDOW_MS: u64 = 10_000;
/// RFC 9113 section 3.4: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
/// A header block of the largest size fits in two frames; h2spec sends a handful.
const CONTINUATION_COUNT_MAX: u32 = 32;
/// One credit per so many bytes that we sent: a browser updates windows every 16 KiB or later.
const UPDATE_BYTES: u64 = 1024;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113 section 7.
const STREAM_CLOSED: u8 = 5;
const ENHANCE_YOUR_CALM: u8 = 11;

/// Why the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Abuse {
    /// The visitor is over a limit.
    Flood,
    /// Data after the reset of its stream (RFC 9113 section 5.1, closed). The library has forgotten
    /// the reset if the answer was sent before it came.
    DataAfterReset,
}

impl Abuse {
    /// GOAWAY (RFC 9113 section 6.8), for no stream in particular.
    pub(super) fn goaway(self) -> [u8; 17] {
        let code = match self {
            Self::Flood => ENHANCE_YOUR_CALM,
            Self::DataAfterReset => STREAM_CLOSED,
        };
        [
            0, 0, 8, 7, 0, 0, 0, 0, 0, // Eight bytes, GOAWAY, no flags, the connection.
            0x7f, 0xff, 0xff, 0xff, // Any stream may have been processed.
            0, 0, 0, code,
        ]
    }
}

/// A frame that has passed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) length: usize,
}

impl Frame {
    /// Whether a header block is over with it.
    pub(super) fn ends_head(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION) && self.flags & END_HEADERS != 0
    }

    /// Whether it is the last of its stream in this direction.
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, HEADERS | DATA) && self.flags & END_STREAM != 0
    }

    fn of_header(header: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        Self {
            kind,
            flags,
            // RFC 9113 section 4.1: the first bit has no meaning.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
            length: (usize::from(a) << 16) | (usize::from(b) << 8) | usize::from(c),
        }
    }
}

/// Where in the byte stream of one direction we are.
#[derive(Debug)]
pub(super) struct FrameCounter {
    limits: FrameLimits,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Bytes to pass over: the preface, a payload.
    skip: usize,
    /// The payload that is passed over is of the frame in `header`.
    is_open: bool,
    /// Of the header block that is open: its frames and bytes.
    block: Option<(u32, usize)>,
    /// The stream that was reset last.
    last_reset: Option<u32>,
    window_began_ms: u64,
    control_count: u32,
    reset_count: u32,
    update_count: u64,
}

impl FrameCounter {
    /// For what a visitor sends.
    pub(super) fn of_visitor(limits: FrameLimits) -> Self {
        Self {
            skip: PREFACE_BYTES,
            ..Self::of_ours(limits)
        }
    }

    /// For what we send.
    pub(super) fn of_ours(limits: FrameLimits) -> Self {
        Self {
            limits,
            header: [0; HEADER_BYTES],
            header_len: 0,
            skip: 0,
            is_open: false,
            block: None,
            last_reset: None,
            window_began_ms: 0,
            control_count: 0,
            reset_count: 0,
            update_count: 0,
        }
    }

    /// Whether a frame or a header block has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.skip > 0 || self.header_len > 0 || self.block.is_some()
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_inside_frame(&self) -> bool {
        self.skip > 0 || self.header_len > 0
    }

    /// Counts the frames in `bytes`, the next of the stream. `sent_bytes`: what we sent in all.
    /// `passed` is told of every frame that ends, and how many of `bytes` lie behind it.
    pub(super) fn count(
        &mut self,
        mut bytes: &[u8],
        (now_ms, sent_bytes): (u64, u64),
        mut passed: impl FnMut(Frame, usize),
    ) -> Result<(), Abuse> {
        if now_ms.saturating_sub(self.window_began_ms) >= WINDOW_MS {
            self.window_began_ms = now_ms;
            (self.control_count, self.reset_count) = (0, 0);
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip = self.skip.saturating_sub(skipped);
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip == 0 && std::mem::take(&mut self.is_open) {
                passed(Frame::of_header(self.header), bytes.len());
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let missing = HEADER_BYTES.saturating_sub(self.header_len);
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            let end = self.header_len.saturating_add(head.len());
            if let Some(room) = self.header.get_mut(self.header_len..end) {
                room.copy_from_slice(head);
            }
            self.header_len = end;
            bytes = rest;
            if self.header_len == HEADER_BYTES {
                self.header_len = 0;
                self.is_open = true;
                self.count_frame(sent_bytes)?;
            }
        }
    }

    fn count_frame(&mut self, sent_bytes: u64) -> Result<(), Abuse> {
        let Frame {
            kind,
            flags,
            stream,
            length,
        } = Frame::of_header(self.header);
        self.skip = length;
        match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => self.count_block(kind, flags, length),
            DATA if self.last_reset == Some(stream) => Err(Abuse::DataAfterReset),
            DATA if length > 0 || flags & END_STREAM != 0 => Ok(()),
            RST_STREAM => {
                self.last_reset = Some(stream);
                self.reset_count = self.reset_count.saturating_add(1);
                within(self.reset_count, self.limits.reset_count_max)
            }
            WINDOW_UPDATE => {
                self.update_count = self.update_count.saturating_add(1);
                let earned = sent_bytes / UPDATE_BYTES;
                if self.update_count <= earned {
                    return Ok(());
                }
                // What went over the credit is counted below, once.
                self.update_count = earned;
                self.count_control()
            }
            _ => self.count_control(),
        }
    }

    fn count_control(&mut self) -> Result<(), Abuse> {
        self.control_count = self.control_count.saturating_add(1);
        within(self.control_count, self.limits.control_count_max)
    }

    fn count_block(&mut self, kind: u8, flags: u8, length: usize) -> Result<(), Abuse> {
        let (frames, bytes) = match self.block {
            Some((frames, bytes)) if kind == CONTINUATION => {
                (frames.saturating_add(1), bytes.saturating_add(length))
            }
            _ => (0, length),
        };
        self.block = (flags & END_HEADERS == 0).then_some((frames, bytes));
        if frames > CONTINUATION_COUNT_MAX || bytes > self.limits.block_bytes_max {
            return Err(Abuse::Flood);
        }
        Ok(())
    }
}

fn within(count: u32, max: u32) -> Result<(), Abuse> {
    if count <= max {
        Ok(())
    } else {
        Err(Abuse::Flood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits {
        control_count_max: 10,
        reset_count_max: 5,
        block_bytes_max: 1000,
    };

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + usize::from(length), 7);
        bytes
    }

    /// Feeds `count` frames, in pieces of `piece` bytes.
    fn feed(bytes: &[u8], piece: usize) -> Result<(), Abuse> {
        let mut counter = FrameCounter::of_visitor(LIMITS);
        counter.count(&[b'P'; PREFACE_BYTES], (0, 0), |_, _| {})?;
        for piece in bytes.chunks(piece) {
            counter.count(piece, (0, 0), |_, _| {})?;
        }
        assert!(!counter.is_inside());
        Ok(())
    }

    #[test]
    fn each_kind_has_its_limit() {
        let rows: [(&str, Vec<u8>, usize); 8] = [
            ("PING", frame(6, 0, 8), 10),
            ("SETTINGS", frame(4, 0, 0), 10),
            ("PRIORITY", frame(2, 0, 5), 10),
            ("unknown", frame(77, 0, 9), 10),
            ("empty DATA", frame(DATA, 0, 0), 10),
            ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 4), 10),
            ("RST_STREAM", frame(RST_STREAM, 0, 4), 5),
            (
                "requests",
                [frame(HEADERS, END_HEADERS, 5), frame(DATA, END_STREAM, 0)].concat(),
                usize::MAX,
            ),
        ];
        for (name, bytes, max) in rows {
            for piece in [1, 7, 1000] {
                let count = max.min(2000);
                assert_eq!(feed(&bytes.repeat(count), piece), Ok(()), "{name}");
                if max < 2000 {
                    assert_eq!(
                        feed(&bytes.repeat(count + 1), piece),
                        Err(Abuse::Flood),
                        "{name}"
                    );
                }
            }
        }
    }

    #[test]
    fn frames_are_told_of_when_they_have_passed() {
        let mut head = frame(HEADERS, END_STREAM, 3);
        head[5] = 0x80;
        let bytes = [
            head,
            frame(CONTINUATION, END_HEADERS, 0),
            frame(DATA, 0, 20),
        ]
        .concat();
        for piece in [1, 2, 11, 100] {
            let (mut counter, mut seen) = (FrameCounter::of_ours(LIMITS), Vec::new());
            let mut position = 0;
            for piece in bytes.chunks(piece) {
                position += piece.len();
                let passed = |frame: Frame, behind: usize| {
                    seen.push((frame.kind, frame.stream, frame.length, position - behind));
                };
                counter.count(piece, (0, 0), passed).unwrap();
            }
            let expected = [
                (HEADERS, 1, 3, 12),
                (CONTINUATION, 1, 0, 21),
                (DATA, 1, 20, 50),
            ];
            assert_eq!(seen, expected, "{piece}");
        }
        let of = |kind, flags| {
            let frame = Frame::of_header([0, 0, 0, kind, flags, 0, 0, 0, 1]);
            (frame.ends_head(), frame.ends_stream())
        };
        assert_eq!(of(HEADERS, END_STREAM), (false, true));
        assert_eq!(of(CONTINUATION, END_HEADERS), (true, false));
        assert_eq!(of(DATA, END_STREAM | END_HEADERS), (false, true));
        // The acknowledgement of settings has the same flag.
        assert_eq!(of(4, END_STREAM), (false, false));
    }

    #[test]
    fn nothing_follows_a_reset_on_its_stream() {
        let reset = frame(RST_STREAM, 0, 4);
        let mut of_next = frame(DATA, END_STREAM, 3);
        of_next[8] = 3;
        let rows = [
            ([reset.clone(), of_next].concat(), Ok(())),
            ([frame(DATA, 0, 3), reset.clone()].concat(), Ok(())),
            ([reset.clone(), frame(2, 0, 5)].concat(), Ok(())),
            (
                [reset, frame(DATA, 0, 3)].concat(),
                Err(Abuse::DataAfterReset),
            ),
        ];
        for (bytes, expected) in rows {
            assert_eq!(feed(&bytes, 7), expected, "{bytes:?}");
        }
    }

    #[test]
    fn a_header_block_ends() {
        let block = |count: usize, length: u8| {
            let mut bytes = frame(HEADERS, 0, 1);
            bytes.extend(frame(CONTINUATION, 0, length).repeat(count));
            bytes.extend(frame(CONTINUATION, END_HEADERS, 0));
            bytes
        };
        assert_eq!(feed(&block(31, 10), 100), Ok(()));
        assert_eq!(
            feed(&block(32, 0), 100),
            Err(Abuse::Flood),
            "too many frames"
        );
        assert_eq!(feed(&block(9, 111), 100), Ok(()));
        assert_eq!(
            feed(&block(9, 112), 100),
            Err(Abuse::Flood),
            "too many bytes"
        );
        let mut counter = FrameCounter::of_ours(LIMITS);
        counter
            .count(&frame(HEADERS, 0, 1), (0, 0), |_, _| {})
            .unwrap();
        assert!(counter.is_inside() && !counter.is_inside_frame());
    }

    #[test]
    fn the_count_begins_again_and_downloads_earn_updates() {
        let mut counter = FrameCounter::of_ours(LIMITS);
        let pings = frame(6, 0, 8).repeat(10);
        assert_eq!(counter.count(&pings, (0, 0), |_, _| {}), Ok(()));
        assert_eq!(counter.count(&pings, (WINDOW_MS, 0), |_, _| {}), Ok(()));
        assert_eq!(
            counter.count(&pings, (2 * WINDOW_MS - 1, 0), |_, _| {}),
            Err(Abuse::Flood)
        );
        let mut counter = FrameCounter::of_ours(LIMITS);
        let updates = frame(WINDOW_UPDATE, 0, 4).repeat(100);
        assert_eq!(
            counter.count(&updates, (0, 100 * UPDATE_BYTES), |_, _| {}),
            Ok(())
        );
        assert_eq!(
            counter.count(&updates, (0, 100 * UPDATE_BYTES), |_, _| {}),
            Err(Abuse::Flood)
        );
    }
}
