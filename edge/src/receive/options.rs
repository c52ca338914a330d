//! What a publisher says beside a push (`git push -o`): who signs it.
//!
//! Options of other hosts are passed over: people have them in their settings.

use crate::signing::{SignedLine, Signing};

/// Asks for the line that a key of the account is to sign.
pub(crate) const ASK: &str = "verge-sign";
/// Brings that line back, signed.
pub(crate) const SIGNED: &str = "verge-record=";
/// Options of one push; one more stands for any larger number.
pub(crate) const COUNT_MAX: usize = 4;

/// How a push with these options is signed.
///
/// # Errors
/// The sentence that refuses the push.
pub(crate) fn signing(options: &[String]) -> Result<Signing, String> {
    if options.len() > COUNT_MAX {
        return Err(format!("a push may have at most {COUNT_MAX} options"));
    }
    let mut signing = Signing::Node;
    for option in options.iter().filter(|option| option.starts_with("verge-")) {
        if signing != Signing::Node {
            return Err(
                "a push is signed once: give one option that begins with verge-".to_owned(),
            );
        }
        signing = match (option.as_str(), option.strip_prefix(SIGNED)) {
            (ASK, _) => Signing::Ask,
            (_, Some(line)) => {
                let line: Result<SignedLine, _> = line.parse();
                Signing::Signed(line.map_err(|error| error.to_string())?.0.into())
            }
            _ => return Err(format!("this node knows no push option {option:?}")),
        };
    }
    Ok(signing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_who_signs() {
        let said = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            signing(&options)
        };
        assert_eq!(said(&[]), Ok(Signing::Node));
        assert_eq!(said(&["ci.skip", "a=b"]), Ok(Signing::Node));
        assert_eq!(said(&["ci.skip", ASK]), Ok(Signing::Ask));
        for (options, words) in [
            (&[ASK, ASK][..], "signed once"),
            (&["verge-sing"], "no push option \"verge-sing\""),
            (&["verge-\u{1b}[2J"], "\\u{1b}"),
            (&["verge-record=hello"], "begins with VERGE-RECORD1"),
            (&["verge-record=VERGE-SIGN1AAAA"], "waits for a signature"),
            (&["a", "b", "c", "d", "e"], "at most 4"),
        ] {
            let refused = said(options).unwrap_err();
            assert!(refused.contains(words), "{options:?}: {refused}");
        }
        assert_eq!(said(&["a", "b", "c", ASK]), Ok(Signing::Ask));
    }
}
