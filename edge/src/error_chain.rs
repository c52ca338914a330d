//! An error with everything behind it, in one line.

/// The error's text and those of its sources, outermost first, with colons between.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| {
        format!("{text}: {source}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn sources_follow_in_their_order() {
        let mut error = Layer {
            text: "disk is full",
            source: None,
        };
        for (text, expected) in [
            ("", "disk is full"),
            ("write a", "write a: disk is full"),
            ("deploy b", "deploy b: write a: disk is full"),
        ] {
            if !text.is_empty() {
                let source = Some(Box::new(error));
                error = Layer { text, source };
            }
            assert_eq!(chain(&error), expected);
        }
    }
}
