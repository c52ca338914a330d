//! What visitors get, as a page: `docs/http.md`, which the demo publishes as a site of its own.

use pulldown_cmark::{Options, Parser, html};

const TEXT: &str = include_str!("../../../docs/http.md");

const BEFORE: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n\
    <title>What your visitors get</title>\n<link rel=\"stylesheet\" href=\"manual.css\">\n<main>\n";

/// Its style; the page itself carries none.
pub(super) const STYLE: &str = "main { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; \
    font: 1rem/1.5 system-ui, sans-serif; }\n\
    table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; \
    vertical-align: top; border-bottom: 1px solid #ccc; }\n\
    pre { overflow-x: auto; padding: .8rem; background: #f3f3f0; }\n\
    @media (prefers-color-scheme: dark) { :root { color-scheme: dark; } pre { background: #222; } }\n";

/// The page.
pub(super) fn page() -> String {
    let mut page = BEFORE.to_owned();
    html::push_html(&mut page, Parser::new_ext(TEXT, Options::ENABLE_TABLES));
    page.push_str("</main>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_code_are_rendered() {
        let page = page();
        for piece in [
            "<h1>What your visitors get</h1>",
            "<table>",
            "<code>about.html</code>",
        ] {
            assert!(page.contains(piece), "{piece}");
        }
    }
}
