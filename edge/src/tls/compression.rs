//! Smaller certificates on the wire (RFC 8879), by the codecs that the tree has already.
//!
//! rustls brings compressors of its own, but with a second version of brotli and a second zlib.
//! Every browser takes one of the two. What can be saved is little, because keys and signatures have
//! no pattern: 200 bytes of 3,600. The work is done once for a chain and kept while it is in use.

use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{CertCompressor, CompressionCache, CompressionFailed, CompressionLevel};
use std::io::Write as _;

/// In the order of preference: zlib is both faster and smaller on a chain.
pub(super) const COMPRESSORS: [&dyn CertCompressor; 2] = [&Zlib, &Brotli];
/// Chains that stay compressed: 2 x 2 KiB each. The search is linear, over few bytes of each, and
/// takes 1 us.
const CACHE_COUNT_MAX: usize = 256;
/// A chain of 1,720 bytes comes to 92 % in 35 us; 4 makes 89 % of it in 107 us, 5 takes 1,600 us
/// (`benches/tls`), and a miss is paid in a handshake of 109 us.
const BROTLI_QUALITY: i32 = 1;
/// 2^14: the smallest window that holds a long chain, so that tables stay small.
const BROTLI_WINDOW_BITS: i32 = 14;
/// The default of zlib: 88 % in 27 us.
const ZLIB_LEVEL: u32 = 6;

/// What is compressed already.
pub(super) fn cache() -> CompressionCache {
    CompressionCache::new(CACHE_COUNT_MAX)
}

/// Chromium, Firefox.
#[derive(Debug)]
struct Brotli;

/// Safari, Firefox.
#[derive(Debug)]
struct Zlib;

/// What has become larger, as a short certificate without its chain may, is sent as it was.
fn smaller(output: Vec<u8>, input_bytes: usize) -> Result<Vec<u8>, CompressionFailed> {
    if output.len() < input_bytes {
        Ok(output)
    } else {
        Err(CompressionFailed)
    }
}

impl CertCompressor for Brotli {
    fn compress(
        &self,
        input: Vec<u8>,
        _level: CompressionLevel,
    ) -> Result<Vec<u8>, CompressionFailed> {
        let params = brotli::enc::BrotliEncoderParams {
            quality: BROTLI_QUALITY,
            lgwin: BROTLI_WINDOW_BITS,
            size_hint: input.len(),
            ..Default::default()
        };
        let mut output = Vec::with_capacity(input.len());
        brotli::BrotliCompress(&mut input.as_slice(), &mut output, &params)
            .map_err(|_io| CompressionFailed)?;
        smaller(output, input.len())
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Brotli
    }
}

impl CertCompressor for Zlib {
    fn compress(
        &self,
        input: Vec<u8>,
        _level: CompressionLevel,
    ) -> Result<Vec<u8>, CompressionFailed> {
        let output = Vec::with_capacity(input.len());
        let level = flate2::Compression::new(ZLIB_LEVEL);
        let mut encoder = flate2::write::ZlibEncoder::new(output, level);
        encoder.write_all(&input).map_err(|_io| CompressionFailed)?;
        let output = encoder.finish().map_err(|_io| CompressionFailed)?;
        smaller(output, input.len())
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}
