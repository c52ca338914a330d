//! `Content-Type` by file extension, and whether such bytes are worth compressing.
//!
//! A table of our own: a node's answer must not depend on its machine's `mime.types`, and the
//! table is part of what the content digest covers.

/// Whether a file of a type may become smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Compressible {
    /// Compressed already.
    Never,
    /// Unknown: a quick trial decides.
    Trial,
    /// Text and its like.
    Always,
}

/// The media type of a file by its name, as it is sent.
#[must_use]
pub fn media_type(file_name: &str) -> &'static str {
    row(file_name).map_or(UNKNOWN, |(_, media_type, _)| media_type)
}

/// What is sent for a name that says nothing.
pub const UNKNOWN: &str = "application/octet-stream";

/// Whether a file of this name may become smaller.
pub(crate) fn compressible(file_name: &str) -> Compressible {
    row(file_name).map_or(Trial, |(_, _, compressible)| *compressible)
}

/// As [`compressible`], for a media type out of a manifest.
pub(crate) fn compressible_type(media_type: &str) -> Compressible {
    let rows = TABLE.iter().filter(|(_, found, _)| *found == media_type);
    rows.map(|(_, _, compressible)| *compressible)
        .max()
        .unwrap_or(Trial)
}

type Row = (&'static str, &'static str, Compressible);

fn row(file_name: &str) -> Option<&'static Row> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    if stem.is_empty() || extension.len() > EXTENSION_BYTES_MAX {
        return None;
    }
    let extension = extension.to_ascii_lowercase();
    let at = TABLE.binary_search_by(|(found, _, _)| (*found).cmp(extension.as_str()));
    TABLE.get(at.ok()?)
}

const EXTENSION_BYTES_MAX: usize = 16;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

use Compressible::{Always, Never, Trial};

/// Sorted by extension.
const TABLE: &[Row] = &[
    ("7z", "application/x-7z-compressed", Never),
    ("aac", "audio/aac", Never),
    ("apk", "application/vnd.android.package-archive", Never),
    ("appcache", "text/cache-manifest; charset=utf-8", Always),
    ("asc", TEXT, Always),
    ("atom", "application/atom+xml; charset=utf-8", Always),
    ("avi", "video/x-msvideo", Never),
    ("avif", "image/avif", Never),
    ("bibtex", "text/x-bibtex; charset=utf-8", Always),
    ("bin", UNKNOWN, Trial),
    ("bmp", "image/bmp", Always),
    ("br", "application/octet-stream", Never),
    ("bz2", "application/x-bzip2", Never),
    ("c", "text/x-c; charset=utf-8", Always),
    ("cjs", SCRIPT, Always),
    ("conf", TEXT, Always),
    ("css", "text/css; charset=utf-8", Always),
    ("csv", "text/csv; charset=utf-8", Always),
    ("deb", "application/vnd.debian.binary-package", Never),
    ("diff", "text/x-diff; charset=utf-8", Always),
    ("doc", "application/msword", Always),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        Never,
    ),
    ("eot", "application/vnd.ms-fontobject", Always),
    ("epub", "application/epub+zip", Never),
    ("flac", "audio/flac", Never),
    ("geojson", "application/geo+json", Always),
    ("gif", "image/gif", Never),
    ("glb", "model/gltf-binary", Trial),
    ("gltf", "model/gltf+json", Always),
    ("gpx", "application/gpx+xml; charset=utf-8", Always),
    ("gz", "application/gzip", Never),
    ("h", "text/x-c; charset=utf-8", Always),
    ("heic", "image/heic", Never),
    ("htm", HTML, Always),
    ("html", HTML, Always),
    ("ico", "image/vnd.microsoft.icon", Always),
    ("ics", "text/calendar; charset=utf-8", Always),
    ("ini", TEXT, Always),
    ("jar", "application/java-archive", Never),
    ("jpeg", "image/jpeg", Never),
    ("jpg", "image/jpeg", Never),
    ("js", SCRIPT, Always),
    ("json", "application/json", Always),
    ("json5", "application/json5", Always),
    ("jsonld", "application/ld+json", Always),
    ("jxl", "image/jxl", Never),
    ("kml", "application/vnd.google-earth.kml+xml", Always),
    ("log", TEXT, Always),
    ("m3u8", "application/vnd.apple.mpegurl", Always),
    ("m4a", "audio/mp4", Never),
    ("m4v", "video/mp4", Never),
    ("map", "application/json", Always),
    ("markdown", "text/markdown; charset=utf-8", Always),
    ("md", "text/markdown; charset=utf-8", Always),
    ("mid", "audio/midi", Always),
    ("midi", "audio/midi", Always),
    ("mjs", SCRIPT, Always),
    ("mov", "video/quicktime", Never),
    ("mp3", "audio/mpeg", Never),
    ("mp4", "video/mp4", Never),
    ("mpd", "application/dash+xml", Always),
    ("mpeg", "video/mpeg", Never),
    (
        "odp",
        "application/vnd.oasis.opendocument.presentation",
        Never,
    ),
    (
        "ods",
        "application/vnd.oasis.opendocument.spreadsheet",
        Never,
    ),
    ("odt", "application/vnd.oasis.opendocument.text", Never),
    ("oga", "audio/ogg", Never),
    ("ogg", "audio/ogg", Never),
    ("ogv", "video/ogg", Never),
    ("opus", "audio/ogg", Never),
    ("otf", "font/otf", Always),
    ("patch", "text/x-diff; charset=utf-8", Always),
    ("pbf", "application/x-protobuf", Trial),
    ("pdf", "application/pdf", Trial),
    ("pgp", "application/pgp-encrypted", Never),
    ("php", TEXT, Always),
    ("pl", TEXT, Always),
    ("pmtiles", "application/vnd.pmtiles", Never),
    ("png", "image/png", Never),
    ("ppt", "application/vnd.ms-powerpoint", Always),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        Never,
    ),
    ("ps", "application/postscript", Always),
    ("py", "text/x-python; charset=utf-8", Always),
    ("rar", "application/vnd.rar", Never),
    ("rdf", "application/rdf+xml; charset=utf-8", Always),
    ("rs", "text/rust; charset=utf-8", Always),
    ("rss", "application/rss+xml; charset=utf-8", Always),
    ("rtf", "application/rtf", Always),
    ("sh", "text/x-sh; charset=utf-8", Always),
    ("sig", "application/pgp-signature", Trial),
    ("sql", "application/sql", Always),
    ("svg", "image/svg+xml; charset=utf-8", Always),
    ("svgz", "image/svg+xml", Never),
    ("tar", "application/x-tar", Trial),
    ("tex", "text/x-tex; charset=utf-8", Always),
    ("text", TEXT, Always),
    ("tgz", "application/gzip", Never),
    ("tif", "image/tiff", Trial),
    ("tiff", "image/tiff", Trial),
    ("toml", "application/toml", Always),
    ("torrent", "application/x-bittorrent", Trial),
    ("ts", "video/mp2t", Trial),
    ("tsv", "text/tab-separated-values; charset=utf-8", Always),
    ("ttc", "font/collection", Always),
    ("ttf", "font/ttf", Always),
    ("txt", TEXT, Always),
    ("vcf", "text/vcard; charset=utf-8", Always),
    ("vtt", "text/vtt; charset=utf-8", Always),
    ("wasm", "application/wasm", Always),
    ("wav", "audio/wav", Trial),
    ("weba", "audio/webm", Never),
    ("webm", "video/webm", Never),
    ("webmanifest", "application/manifest+json", Always),
    ("webp", "image/webp", Never),
    ("woff", "font/woff", Never),
    ("woff2", "font/woff2", Never),
    ("xht", "application/xhtml+xml; charset=utf-8", Always),
    ("xhtml", "application/xhtml+xml; charset=utf-8", Always),
    ("xls", "application/vnd.ms-excel", Always),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Never,
    ),
    ("xml", "application/xml; charset=utf-8", Always),
    ("xsl", "application/xslt+xml; charset=utf-8", Always),
    ("xz", "application/x-xz", Never),
    ("yaml", "application/yaml", Always),
    ("yml", "application/yaml", Always),
    ("zip", "application/zip", Never),
    ("zst", "application/zstd", Never),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn by_extension() {
        let rows = [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.3f2a.js", "text/javascript; charset=utf-8"),
            ("app.js.map", "application/json"),
            ("photo.jpeg", "image/jpeg"),
            ("logo.svg", "image/svg+xml; charset=utf-8"),
            ("font.woff2", "font/woff2"),
            ("robots.txt", "text/plain; charset=utf-8"),
            ("site.webmanifest", "application/manifest+json"),
            ("feed.xml", "application/xml; charset=utf-8"),
            ("x.tar.gz", "application/gzip"),
            ("LICENSE", UNKNOWN),
            ("html", UNKNOWN),
            (".html", UNKNOWN),
            ("a.", UNKNOWN),
            ("a.unknown", UNKNOWN),
            ("a.html ", UNKNOWN),
            ("", UNKNOWN),
        ];
        for (name, expected) in rows {
            assert_eq!(media_type(name), expected, "{name:?}");
        }
    }

    #[test]
    fn every_text_type_names_its_charset() {
        for (extension, media_type, _) in TABLE {
            if media_type.starts_with("text/") {
                assert!(media_type.ends_with("; charset=utf-8"), "{extension}");
            }
        }
    }
}
