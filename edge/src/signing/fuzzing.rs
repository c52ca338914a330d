//! The lines as a fuzz target.

use super::line::in_letters;
use super::{SignedLine, ToSignLine, words};
use verge_sync::record::body::Body;

/// A line as somebody handed it over. The same bytes are what a whole line carries, too: by chance
/// hardly any passes its check.
pub(crate) fn sign_lines(bytes: &[u8]) {
    check(&String::from_utf8_lossy(bytes));
    in_letters(bytes).iter().for_each(|line| check(line));
}

/// At most one of the two, and read back as it is written.
fn check(text: &str) {
    let (to_sign, signed) = (text.parse::<ToSignLine>(), text.parse::<SignedLine>());
    assert!(to_sign.is_err() || signed.is_err(), "one line is one thing");
    if let Ok(line) = to_sign {
        assert_eq!(line.to_string().parse(), Ok(line.clone()));
        let ToSignLine(draft) = line;
        let body = Body::decode(draft.envelope.kind, &draft.body);
        let body = body.expect("what is not understood is not signed");
        let said = words(&draft.envelope, &body);
        let plain = |line: &String| !line.chars().any(char::is_control);
        assert!(said.iter().all(plain), "a terminal is written to: {said:?}");
    }
    if let Ok(line) = signed {
        assert_eq!(line.to_string().parse(), Ok(line.clone()));
        let _verdict = line.0.verify();
    }
}
