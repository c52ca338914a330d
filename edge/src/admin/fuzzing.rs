//! Fuzz target for the admin socket.

use super::{Authorized, Reply, Request, is_same_token, line, next_line};
use crate::fuzzing::at_once;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A line of either side: what is understood is written and understood again.
pub(crate) fn admin_lines(bytes: &[u8]) {
    if let Some(Authorized { token, request }) = read::<Authorized<Request>>(bytes) {
        assert!(is_same_token(&token, &token) && !is_same_token(&token, &format!("{token}x")));
        check_again(&request);
    }
    if let Some(reply) = read::<Reply>(bytes) {
        check_again(&reply);
    }
}

fn read<T: DeserializeOwned>(mut bytes: &[u8]) -> Option<T> {
    at_once(next_line(&mut bytes)).ok().flatten()
}

fn check_again<T: Serialize + DeserializeOwned + PartialEq>(value: &T) {
    let written = line(value);
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1);
    assert!(read::<T>(&written).is_some_and(|again| again == *value));
}
