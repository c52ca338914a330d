//! Whether the kernel's clock is kept in step by a time service.
#![expect(
    unsafe_code,
    reason = "no safe wrapper asks for the kernel's clock state"
)]

/// What `adjtimex(2)` says: false also where the kernel does not tell.
#[must_use]
pub(crate) fn is_synchronised() -> bool {
    // SAFETY: every field is a number, for which zero bytes are a value; with no mode set the call
    // only reads, and it writes no more than the struct.
    let state = unsafe {
        let mut clock: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut clock)
    };
    (0..libc::TIME_ERROR).contains(&state)
}
