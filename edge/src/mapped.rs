//! Stretches of files that go to visitors without passing through our memory.
//!
//! HTTP hands bytes down to the socket, so a stretch is mapped and its bytes are handed down; the
//! socket finds by their address what file they are of, and lets the kernel send from that. Nobody
//! here reads the mapping: a card that fails would end the process (`SIGBUS`), where `sendfile` and
//! `write` return an error. Where bytes of it are written as any others, they are right all the same.
#![expect(
    unsafe_code,
    reason = "a mapping is memory that the language knows nothing of"
)]

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::{Arc, Weak};

/// Mappings begin at a multiple of this: the largest page that a kernel of today has.
const PAGE_BYTES: u64 = 64 << 10;
/// A slice that is shorter is written as any other: heads are, and the ends of stretches.
const SENT_BYTES_MIN: usize = 4 << 10;
/// What one call sends at most; the kernel takes less where a visitor's line is full.
const SENT_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// The mappings that were made on this thread, by address: connections stay on theirs.
    static MADE: RefCell<BTreeMap<usize, Weak<Mapped>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A mapped stretch of a file, which nobody changes or shortens while it lasts.
pub(crate) struct Mapped {
    file: File,
    /// Where the mapping begins.
    base: NonNull<u8>,
    length: usize,
    /// Of the mapping's first byte in the file.
    offset: u64,
    /// Of the stretch's first byte in the mapping.
    lead: usize,
    failed: Box<dyn Fn() + Send + Sync>,
}

// SAFETY: the mapping is read-only and belongs to the value until its end; any thread may read it and
// unmap it.
unsafe impl Send for Mapped {}
// SAFETY: as above; nothing is changed through a shared reference.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps `length` bytes of `file` from `start` on, of which it has that many. `failed` is told when
    /// the kernel cannot read them.
    ///
    /// # Errors
    /// What the system says: no more mappings, mostly.
    pub(crate) fn new(
        file: File,
        start: u64,
        length: u64,
        failed: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let offset = start - start % PAGE_BYTES;
        let too_large = |_overflow| Errno::OVERFLOW;
        let lead = usize::try_from(start - offset).map_err(too_large)?;
        let length = usize::try_from(length).map_err(too_large)?;
        let length = length.checked_add(lead).ok_or(Errno::OVERFLOW)?;
        let at = libc::off_t::try_from(offset).map_err(too_large)?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let base = unsafe {
            let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
            libc::mmap(null_mut(), length, read, shared, file.as_raw_fd(), at)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let mapped = Arc::new(Self {
            file,
            base,
            length,
            offset,
            lead,
            failed: Box::new(failed),
        });
        let address = base.as_ptr().addr();
        MADE.with_borrow_mut(|made| made.insert(address, Arc::downgrade(&mapped)));
        Ok(mapped)
    }

    /// Bytes of the stretch, `start` being counted from its first; fewer where it ends before.
    pub(crate) fn bytes(self: &Arc<Self>, start: usize, length: usize) -> Bytes {
        let whole = Bytes::from_owner(Window(Arc::clone(self)));
        let begin = self.lead.saturating_add(start).min(self.length);
        let end = begin.saturating_add(length).min(self.length);
        whole.slice(begin..end)
    }

    /// Lets the kernel send `length` bytes at `address`, which lie in the mapping.
    fn send(&self, socket: impl AsFd, address: usize, length: usize) -> io::Result<usize> {
        let inside = address.saturating_sub(self.base.as_ptr().addr());
        let mut offset = self
            .offset
            .saturating_add(u64::try_from(inside).unwrap_or(u64::MAX));
        let length = length.min(SENT_BYTES_MAX);
        let sent = rustix::fs::sendfile(socket, &self.file, Some(&mut offset), length);
        match sent {
            // The file ends before the stretch does.
            Ok(0) => {
                (self.failed)();
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(Errno::IO) => {
                (self.failed)();
                Err(Errno::IO.into())
            }
            sent => Ok(sent?),
        }
    }

    fn end(&self) -> usize {
        self.base.as_ptr().addr().saturating_add(self.length)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let address = self.base.as_ptr().addr();
        // Another one at the same address can only be made once this one is unmapped. A thread that
        // ends has no list any more.
        let _ended = MADE.try_with(|made| {
            if let Ok(mut made) = made.try_borrow_mut() {
                made.remove(&address);
            }
        });
        // SAFETY: made by `mmap` with this length, and no bytes of it are left: each holds the value.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert_eq!(unmapped, 0, "a mapping of ours");
    }
}

/// All bytes of a mapping.
struct Window(Arc<Mapped>);

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        let Mapped { base, length, .. } = &*self.0;
        // SAFETY: the mapping has this length, is readable, and lasts as long as `self` does. Files
        // in the store are written once, under another name, so that no byte changes meanwhile.
        unsafe { std::slice::from_raw_parts(base.as_ptr(), *length) }
    }
}

/// What of `slices` is in a mapping of this thread: the index of the first such, and what it is of.
pub(crate) fn find(slices: &[IoSlice<'_>]) -> Option<(usize, Arc<Mapped>)> {
    let long = |slice: &IoSlice<'_>| slice.len() >= SENT_BYTES_MIN;
    let (index, slice) = slices.iter().enumerate().find(|(_, slice)| long(slice))?;
    let address = slice.as_ptr().addr();
    let mapped = MADE.with_borrow(|made| {
        let (_base, mapped) = made.range(..=address).next_back()?;
        mapped.upgrade()
    })?;
    (address.saturating_add(slice.len()) <= mapped.end()).then_some((index, mapped))
}

/// Sends the slices up to `index`, which is of `mapped`, and as much of that as there is room for.
///
/// # Errors
/// What the system says; nothing was sent then.
pub(crate) fn send(
    socket: impl AsFd,
    slices: &[IoSlice<'_>],
    (index, mapped): (usize, &Mapped),
) -> io::Result<usize> {
    let (before, rest) = slices.split_at_checked(index).unwrap_or((slices, &[]));
    let before_bytes: usize = before.iter().map(|slice| slice.len()).sum();
    if before_bytes > 0 {
        let mut nothing = SendAncillaryBuffer::default();
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = sendmsg(&socket, before, &mut nothing, flags)?;
        if sent < before_bytes {
            return Ok(sent);
        }
    }
    let sent = rest.first().map_or(Ok(0), |slice| {
        mapped.send(&socket, slice.as_ptr().addr(), slice.len())
    });
    match sent {
        Ok(sent) => Ok(before_bytes.saturating_add(sent)),
        // It is met again.
        Err(_) if before_bytes > 0 => Ok(before_bytes),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LENGTH: usize = 300_000;

    fn file() -> (File, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..LENGTH)
            .map(|n| u8::try_from(n % 251).unwrap())
            .collect();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    fn map(file: &File, start: u64, length: u64) -> (Arc<Mapped>, Arc<AtomicUsize>) {
        let failures = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&failures);
        let failed = move || {
            told.fetch_add(1, Ordering::Relaxed);
        };
        let file = file.try_clone().unwrap();
        (Mapped::new(file, start, length, failed).unwrap(), failures)
    }

    #[test]
    fn a_stretch_is_found_by_its_address_and_sent_from_its_file() {
        let (file, whole) = file();
        let (mapped, failures) = map(&file, 70_001, 200_000);
        let bytes = mapped.bytes(1_000, 100_000);
        assert_eq!(&bytes[..], &whole[71_001..171_001]);
        let rest = bytes.slice(5_000..);
        let slices = [IoSlice::new(b"head"), IoSlice::new(&rest)];
        let (index, found) = find(&slices).unwrap();
        assert_eq!(index, 1);
        assert!(Arc::ptr_eq(&found, &mapped));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).unwrap();
            all
        });
        let mut sent = send(&ours, &slices, (index, &found)).unwrap();
        while sent < 4 + rest.len() {
            let left = [IoSlice::new(&rest[sent - 4..])];
            let Some((0, found)) = find(&left) else {
                sent += (&ours).write(&left[0]).unwrap();
                continue;
            };
            sent += send(&ours, &left, (0, &found)).unwrap();
        }
        drop(ours);
        let expected = [b"head", &whole[76_001..171_001]].concat();
        assert_eq!(reader.join().unwrap(), expected);
        assert_eq!(failures.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_not_of_a_mapping_or_no_longer_is_not_found() {
        let (file, _) = file();
        let (mapped, _) = map(&file, 0, 100_000);
        let other = vec![0; 100_000];
        assert!(find(&[IoSlice::new(&other)]).is_none());
        let bytes = mapped.bytes(0, usize::MAX);
        assert_eq!(bytes.len(), 100_000);
        assert!(find(&[IoSlice::new(&bytes)]).is_some());
        assert!(find(&[IoSlice::new(&bytes[..SENT_BYTES_MIN])]).is_some());
        assert!(find(&[IoSlice::new(&bytes[..SENT_BYTES_MIN - 1])]).is_none());
        drop(mapped);
        assert!(find(&[IoSlice::new(&bytes)]).is_some(), "its bytes hold it");
        drop(bytes);
        assert_eq!(MADE.with_borrow(BTreeMap::len), 0);
    }

    #[test]
    fn a_file_that_is_too_short_is_told_of() {
        let (file, _) = file();
        let (mapped, failures) = map(&file, 200_000, 100_000);
        file.set_len(200_000).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // Only its address is looked at.
        let bytes = mapped.bytes(0, 50_000);
        let error = send(&ours, &[IoSlice::new(&bytes)], (0, &mapped)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(failures.load(Ordering::Relaxed), 1);
    }
}
