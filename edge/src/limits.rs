//! What a visitor may take of a node, in one place; `config.toml` sets each (`[visitors]`).

use std::time::Duration;

/// Everything that a visitor may take, each with what happens at the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of the process; more wait, one in each listener and the others in the
    /// kernel's queue, until one ends.
    pub connection_count_max: usize,
    /// Open connections of one address (IPv6: of one /64) among these; more are closed at once.
    pub connection_per_address_count_max: u32,
    /// Bytes of a request's line and headers: 431.
    pub header_bytes_max: usize,
    /// Headers of a request: 431.
    pub header_count_max: usize,
    /// Bytes of path and query: 414.
    pub uri_bytes_max: usize,
    /// Open streams of an HTTP/2 connection; more are refused by the protocol.
    pub stream_count_max: u32,
    /// HTTP/2 streams that are cancelled within 10 s, by the visitor or because of it: the
    /// connection ends.
    pub reset_count_max: u32,
    /// HTTP/2 frames within 10 s that ask for nothing (PING, SETTINGS, PRIORITY, empty DATA): the
    /// connection ends.
    pub control_frame_count_max: u32,
    /// Memory for answers that are on their way: a quarter for pages, the rest for downloads, of
    /// which an address may have a quarter. Who finds none for 10 s hears 503.
    pub answer_bytes_max: usize,
    /// From the first byte of a head to its last: the connection ends.
    pub header_time: Duration,
    /// For the TLS handshake: the connection ends.
    pub handshake_time: Duration,
    /// Without a request: the connection ends.
    pub idle_time: Duration,
    /// Without a request, and then buffers are let go of.
    pub quiet_time: Duration,
    /// What a visitor must take of an answer, on average over `slow_time`: the connection ends.
    pub bytes_per_second_min: u64,
    /// See `bytes_per_second_min`.
    pub slow_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 22 KiB each over TLS when idle: 90 MB if all of them are held open.
            connection_count_max: 4096,
            // A school behind one address: a hundred pupils with two connections each.
            connection_per_address_count_max: 256,
            header_bytes_max: 16 << 10,
            header_count_max: 100,
            uri_bytes_max: 8 << 10,
            stream_count_max: 100,
            // A browser that leaves a page cancels what is open: five pages in 10 s.
            reset_count_max: 500,
            control_frame_count_max: 1000,
            // 384 downloads at once, each with an open file.
            answer_bytes_max: 64 << 20,
            header_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            // What a page needs is asked for at once, and the next page later.
            quiet_time: Duration::from_secs(2),
            bytes_per_second_min: 1024,
            slow_time: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// What a visitor must take within `slow_time`.
    pub(crate) fn slow_bytes_min(&self) -> u64 {
        let ms = u64::try_from(self.slow_time.as_millis()).unwrap_or(u64::MAX);
        self.bytes_per_second_min.saturating_mul(ms) / 1000
    }
}
