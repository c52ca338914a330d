//! Smaller certificates on the wire (RFC 8879), by the codecs that the tree has already.
//!
//! rustls brings compressors of its own, but with a second version of brotli and a second zlib.
//! Every browser takes one of the two. The work is done once for a chain and kept while it is in
//! use; a miss costs what [`BROTLI_QUALITY`] says.

use rustls::CertificateCompressionAlgorithm;
use rustls::compress::{CertCompressor, CompressionCache, CompressionFailed, CompressionLevel};
use std::io::Write as _;

/// In the order of preference: brotli saves a few more bytes.
pub(super) const COMPRESSORS: [&dyn CertCompressor; 2] = [&Brotli, &Zlib];
/// Chains that stay compressed: 2 x 3 KiB each. The search is linear, over few bytes of each.
const CACHE_COUNT_MAX: usize = 256;
/// Above this the time doubles for less than 1 % of the bytes (`benches/tls`).
const BROTLI_QUALITY: i32 = 5;
/// 2^14: the smallest window that holds a long chain, so that tables stay small.
const BROTLI_WINDOW_BITS: i32 = 14;
/// The default of zlib: a chain takes 50 us.
const ZLIB_LEVEL: u32 = 6;

/// What is compressed already.
pub(super) fn cache() -> CompressionCache {
    CompressionCache::new(CACHE_COUNT_MAX)
}

/// Chrome, Firefox.
#[derive(Debug)]
struct Brotli;

/// Safari, Firefox.
#[derive(Debug)]
struct Zlib;

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
        Ok(output)
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
        encoder.finish().map_err(|_io| CompressionFailed)
    }

    fn algorithm(&self) -> CertificateCompressionAlgorithm {
        CertificateCompressionAlgorithm::Zlib
    }
}
