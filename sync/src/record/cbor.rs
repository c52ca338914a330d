//! Deterministic CBOR (RFC 8949 section 4.2.1), and less of it: `docs/format.md#canonical-encoding`.
//!
//! [`check`] is the one structural pass that foreign bytes go through before anything is decoded;
//! what passes has exactly one encoding. [`Map`] writes such bytes, [`Fields`] reads a map of them.

use minicbor::{Decoder, Encoder};

/// Maps and arrays inside one another; the envelope is the first.
pub const DEPTH_MAX: u32 = 8;

/// What makes bytes not canonical, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// The bytes end inside an item.
    #[error("the bytes end inside the item at offset {0}")]
    Truncated(usize),
    /// Bytes follow the one item.
    #[error("bytes follow the item that ends at offset {0}")]
    Trailing(usize),
    /// A length or number is not in its shortest form.
    #[error("the number at offset {0} is not in its shortest form")]
    NotShortest(usize),
    /// An indefinite length, or a reserved form of a head.
    #[error("the item at offset {0} has an indefinite length or a reserved head")]
    Head(usize),
    /// A tag.
    #[error("the item at offset {0} is tagged")]
    Tag(usize),
    /// A float, null, undefined or another simple value.
    #[error("the item at offset {0} is a float or a simple value other than a boolean")]
    Simple(usize),
    /// A map key that is not an unsigned integer, or not greater than the one before it.
    #[error("the map key at offset {0} is not an unsigned integer in ascending order")]
    Key(usize),
    /// More than [`DEPTH_MAX`] levels.
    #[error("the item at offset {0} is nested more than {DEPTH_MAX} deep")]
    Depth(usize),
    /// Text that is not UTF-8.
    #[error("the text at offset {0} is not UTF-8")]
    Utf8(usize),
}

/// Checks that `bytes` are one canonical item and nothing else.
///
/// # Errors
/// [`CborError`] names the first fault.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    let end = item(bytes, 0, 0)?;
    if end == bytes.len() {
        Ok(())
    } else {
        Err(CborError::Trailing(end))
    }
}

/// The first byte of an item, its argument, and where its content begins.
struct Head {
    major: u8,
    argument: u64,
    next: usize,
}

fn head(bytes: &[u8], at: usize) -> Result<Head, CborError> {
    let first = *bytes.get(at).ok_or(CborError::Truncated(at))?;
    let (major, short) = (first >> 5, first & 0x1f);
    let start = at + 1;
    if short < 24 {
        return Ok(Head {
            major,
            argument: u64::from(short),
            next: start,
        });
    }
    let width = match short {
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return Err(CborError::Head(at)),
    };
    if major == 7 {
        return Err(CborError::Simple(at));
    }
    let content = bytes
        .get(start..start + width)
        .ok_or(CborError::Truncated(at))?;
    let argument = content
        .iter()
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let least = match width {
        1 => 24,
        2 => 1 << 8,
        4 => 1 << 16,
        _ => 1 << 32,
    };
    if argument < least {
        return Err(CborError::NotShortest(at));
    }
    Ok(Head {
        major,
        argument,
        next: start + width,
    })
}

/// Walks one item from `at`; gives the offset after it.
fn item(bytes: &[u8], at: usize, depth: u32) -> Result<usize, CborError> {
    let Head {
        major,
        argument,
        next,
    } = head(bytes, at)?;
    match major {
        0 | 1 => Ok(next),
        2 | 3 => {
            let content = content(bytes, at, next, argument)?;
            if major == 3 && std::str::from_utf8(content).is_err() {
                return Err(CborError::Utf8(at));
            }
            Ok(next + content.len())
        }
        4 | 5 if depth == DEPTH_MAX => Err(CborError::Depth(at)),
        4 => array(bytes, next, argument, depth + 1),
        5 => map(bytes, next, argument, depth + 1),
        6 => Err(CborError::Tag(at)),
        _ if argument == 20 || argument == 21 => Ok(next),
        _ => Err(CborError::Simple(at)),
    }
}

fn content(bytes: &[u8], at: usize, start: usize, length: u64) -> Result<&[u8], CborError> {
    usize::try_from(length)
        .ok()
        .and_then(|length| start.checked_add(length))
        .and_then(|end| bytes.get(start..end))
        .ok_or(CborError::Truncated(at))
}

fn array(bytes: &[u8], start: usize, count: u64, depth: u32) -> Result<usize, CborError> {
    // A count that lies is found out when the bytes end: every item takes at least one.
    (0..count).try_fold(start, |at, _| item(bytes, at, depth))
}

fn map(bytes: &[u8], start: usize, count: u64, depth: u32) -> Result<usize, CborError> {
    let mut at = start;
    let mut before = None;
    for _ in 0..count {
        let key = head(bytes, at)?;
        if key.major != 0 || before.is_some_and(|before| before >= key.argument) {
            return Err(CborError::Key(at));
        }
        before = Some(key.argument);
        at = item(bytes, key.next, depth)?;
    }
    Ok(at)
}

/// What a decoder found missing or of another type, by the key of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A key that must be there is not.
    #[error("key {0} is missing")]
    Missing(u64),
    /// The value is not of the type, the length or the range that the format gives it.
    #[error("the value of key {0} is not what the format says")]
    Value(u64),
    /// The item is not a map.
    #[error("the item is not a map")]
    NotAMap,
}

/// One entry of a canonical map: its key, where the entry begins, and the bytes of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'b> {
    pub(super) key: u64,
    pub(super) start: usize,
    pub(super) value: &'b [u8],
}

/// The entries of one canonical map, by key.
#[derive(Debug, Clone)]
pub struct Fields<'b>(Vec<Field<'b>>);

impl<'b> Fields<'b> {
    /// Reads the map that `bytes` are. Bytes that did not pass [`check`] give an error, no panic.
    ///
    /// # Errors
    /// [`FieldError::NotAMap`].
    pub fn read(bytes: &'b [u8]) -> Result<Self, FieldError> {
        let Ok(Head {
            major: 5,
            argument,
            next,
        }) = head(bytes, 0)
        else {
            return Err(FieldError::NotAMap);
        };
        let mut fields = Vec::new();
        let mut at = next;
        for _ in 0..argument {
            let key = head(bytes, at).or(Err(FieldError::NotAMap))?;
            let end = item(bytes, key.next, 1).or(Err(FieldError::NotAMap))?;
            let value = bytes.get(key.next..end).ok_or(FieldError::NotAMap)?;
            fields.push(Field {
                key: key.argument,
                start: at,
                value,
            });
            at = end;
        }
        Ok(Self(fields))
    }

    /// How many entries the map has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the map has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn field(&self, key: u64) -> Option<Field<'b>> {
        let index = self.0.binary_search_by_key(&key, |field| field.key).ok()?;
        self.0.get(index).copied()
    }

    /// The canonical bytes of the value at `key`.
    #[must_use]
    pub fn raw(&self, key: u64) -> Option<&'b [u8]> {
        self.field(key).map(|field| field.value)
    }

    fn read_with<T>(
        &self,
        key: u64,
        read: impl FnOnce(&mut Decoder<'b>) -> Option<T>,
    ) -> Result<Option<T>, FieldError> {
        let Some(bytes) = self.raw(key) else {
            return Ok(None);
        };
        read(&mut Decoder::new(bytes))
            .map(Some)
            .ok_or(FieldError::Value(key))
    }

    /// The unsigned integer at `key`, where it is one that fits.
    ///
    /// # Errors
    /// [`FieldError`] if it is missing, no integer, or too large for `T`.
    pub fn uint<T: TryFrom<u64>>(&self, key: u64) -> Result<T, FieldError> {
        self.read_with(key, |d| T::try_from(d.u64().ok()?).ok())?
            .ok_or(FieldError::Missing(key))
    }

    /// The integer at `key`, of either sign.
    ///
    /// # Errors
    /// [`FieldError`] if it is missing or outside of `i64`.
    pub fn int(&self, key: u64) -> Result<i64, FieldError> {
        self.read_with(key, |d| d.i64().ok())?
            .ok_or(FieldError::Missing(key))
    }

    /// The boolean at `key`; an absent one is false.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn flag(&self, key: u64) -> Result<bool, FieldError> {
        Ok(self.read_with(key, |d| d.bool().ok())?.unwrap_or(false))
    }

    /// The text at `key`, of at most `bytes_max` bytes and without control characters.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn text(&self, key: u64, bytes_max: usize) -> Result<String, FieldError> {
        let text = self
            .read_with(key, |d| d.str().ok())?
            .ok_or(FieldError::Missing(key))?;
        if text.len() > bytes_max || text.chars().any(char::is_control) {
            return Err(FieldError::Value(key));
        }
        Ok(text.to_owned())
    }

    /// The text at `key` with whatever characters, as an opaque document has them.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn document(&self, key: u64) -> Result<String, FieldError> {
        self.read_with(key, |d| d.str().ok().map(str::to_owned))?
            .ok_or(FieldError::Missing(key))
    }

    /// The byte string at `key`, if there is one.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn bytes_opt(&self, key: u64) -> Result<Option<&'b [u8]>, FieldError> {
        self.read_with(key, |d| d.bytes().ok())
    }

    /// The byte string of `N` bytes at `key`, if there is one.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn fixed_opt<const N: usize>(&self, key: u64) -> Result<Option<[u8; N]>, FieldError> {
        self.read_with(key, |d| d.bytes().ok()?.try_into().ok())
    }

    /// The byte string of `N` bytes at `key`.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn fixed<const N: usize>(&self, key: u64) -> Result<[u8; N], FieldError> {
        self.fixed_opt(key)?.ok_or(FieldError::Missing(key))
    }

    /// The items of the array at `key`, as canonical bytes each, if there is one.
    ///
    /// # Errors
    /// [`FieldError::Value`] if it is no array or has more than `count_max` items.
    pub fn items_opt(
        &self,
        key: u64,
        count_max: usize,
    ) -> Result<Option<Vec<&'b [u8]>>, FieldError> {
        let Some(bytes) = self.raw(key) else {
            return Ok(None);
        };
        items(bytes, count_max)
            .map(Some)
            .ok_or(FieldError::Value(key))
    }

    /// The items of the array at `key`; an absent one has none.
    ///
    /// # Errors
    /// As [`Fields::items_opt`].
    pub fn items(&self, key: u64, count_max: usize) -> Result<Vec<&'b [u8]>, FieldError> {
        Ok(self.items_opt(key, count_max)?.unwrap_or_default())
    }

    /// The array of 32-byte strings at `key`, if there is one.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn ids_opt(&self, key: u64, count_max: usize) -> Result<Option<Vec<[u8; 32]>>, FieldError> {
        let Some(items) = self.items_opt(key, count_max)? else {
            return Ok(None);
        };
        let read = |item: &[u8]| Decoder::new(item).bytes().ok()?.try_into().ok();
        let ids: Option<Vec<[u8; 32]>> = items.into_iter().map(read).collect();
        ids.map(Some).ok_or(FieldError::Value(key))
    }

    /// The array of texts at `key`; an absent one has none.
    ///
    /// # Errors
    /// [`FieldError::Value`].
    pub fn texts(&self, key: u64, count_max: usize) -> Result<Vec<String>, FieldError> {
        let read = |item: &[u8]| Decoder::new(item).str().ok().map(str::to_owned);
        let texts: Option<Vec<String>> =
            self.items(key, count_max)?.into_iter().map(read).collect();
        texts.ok_or(FieldError::Value(key))
    }
}

/// The items of the array that `bytes` are.
pub(super) fn items(bytes: &[u8], count_max: usize) -> Option<Vec<&[u8]>> {
    let Ok(Head {
        major: 4,
        argument,
        next,
    }) = head(bytes, 0)
    else {
        return None;
    };
    let count = usize::try_from(argument)
        .ok()
        .filter(|count| *count <= count_max)?;
    let mut found = Vec::with_capacity(count);
    let mut at = next;
    for _ in 0..count {
        let end = item(bytes, at, 1).ok()?;
        found.push(bytes.get(at..end)?);
        at = end;
    }
    Some(found)
}

/// A canonical map under construction; keys are added in ascending order.
pub struct Map {
    count: u64,
    last: Option<u64>,
    entries: Encoder<Vec<u8>>,
}

impl Default for Map {
    fn default() -> Self {
        Self {
            count: 0,
            last: None,
            entries: Encoder::new(Vec::new()),
        }
    }
}

type Written<'a> =
    Result<&'a mut Encoder<Vec<u8>>, minicbor::encode::Error<std::convert::Infallible>>;

impl Map {
    /// A map without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry whose value `write` writes.
    fn put(mut self, key: u64, write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Written<'_>) -> Self {
        assert!(
            self.last.is_none_or(|last| last < key),
            "map keys are added in ascending order"
        );
        self.last = Some(key);
        self.count += 1;
        let begun = self.entries.u64(key).map(drop);
        let written = write(&mut self.entries).map(drop);
        begun.and(written).expect("writing to a Vec does not fail");
        self
    }

    /// Adds an unsigned integer.
    #[must_use]
    pub fn uint(self, key: u64, value: impl Into<u64>) -> Self {
        let value = value.into();
        self.put(key, |e| e.u64(value))
    }

    /// Adds an integer of either sign.
    #[must_use]
    pub fn int(self, key: u64, value: i64) -> Self {
        self.put(key, |e| e.i64(value))
    }

    /// Adds a boolean; false is written by leaving the key out.
    #[must_use]
    pub fn flag(self, key: u64, value: bool) -> Self {
        if value {
            self.put(key, |e| e.bool(true))
        } else {
            self
        }
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, key: u64, value: &str) -> Self {
        self.put(key, |e| e.str(value))
    }

    /// Adds a byte string.
    #[must_use]
    pub fn bytes(self, key: u64, value: &[u8]) -> Self {
        self.put(key, |e| e.bytes(value))
    }

    /// Adds a byte string if there is one.
    #[must_use]
    pub fn bytes_opt(self, key: u64, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.bytes(key, value),
            None => self,
        }
    }

    /// Adds an array of 32-byte strings.
    #[must_use]
    pub fn ids<'a>(self, key: u64, ids: impl ExactSizeIterator<Item = &'a [u8; 32]>) -> Self {
        self.put(key, |e| {
            let e = e.array(count(ids.len()))?;
            ids.into_iter().try_fold(e, |e, id| e.bytes(id))
        })
    }

    /// Adds an array of texts.
    #[must_use]
    pub fn texts(self, key: u64, texts: &[String]) -> Self {
        self.put(key, |e| {
            let e = e.array(count(texts.len()))?;
            texts.iter().try_fold(e, |e, text| e.str(text))
        })
    }

    /// Adds a value that already is canonical, such as a finished map.
    #[must_use]
    pub fn raw(self, key: u64, value: &[u8]) -> Self {
        self.put(key, |e| {
            e.writer_mut().extend_from_slice(value);
            Ok(e)
        })
    }

    /// Adds an array of values that already are canonical.
    #[must_use]
    pub fn raws(self, key: u64, values: &[Vec<u8>]) -> Self {
        self.put(key, |e| {
            let e = e.array(count(values.len()))?;
            values
                .iter()
                .for_each(|value| e.writer_mut().extend_from_slice(value));
            Ok(e)
        })
    }

    /// The canonical bytes of the map.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = map_head(self.count);
        bytes.extend_from_slice(self.entries.writer());
        bytes
    }
}

/// The head of a map of `count` entries.
pub(super) fn map_head(count: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder
        .map(count)
        .map(drop)
        .expect("writing to a Vec does not fail");
    encoder.into_writer()
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("a length fits 64 bits")
}
