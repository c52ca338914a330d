//! Fuzz target for what comes from a zone's server.

use super::key::UpdateKey;
use super::update::read_answer;

/// An answer; its first two bytes are its number.
pub(crate) fn dns_answers(bytes: &[u8]) {
    let Some(id) = bytes.first_chunk() else {
        return;
    };
    if read_answer(bytes, u16::from_be_bytes(*id)) == Ok(None) {
        let key = UpdateKey::new("key.test", &"A".repeat(44), "key".as_ref());
        let signer = key.as_ref().map(UpdateKey::signer);
        // Nobody knows the key, so that nothing is signed with it.
        let verified = signer.map(|signer| signer.verify_message_byte(bytes, Some(&[0; 32]), true));
        assert!(verified.is_ok_and(|verified| verified.is_err()));
    }
}
