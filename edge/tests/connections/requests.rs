//! Requests over HTTP/2 whose pseudo-headers no library would send (RFC 9113 section 8.3.1).

use super::frames::{Attacker, DATA, END_HEADERS, END_STREAM, HEADERS, frame, lines};
use super::{Setup, start};

const OK: u8 = 0x88;
const NO_CONTENT: u8 = 0x89;
const BAD_REQUEST: u8 = 0x8c;

const FLAGS: u8 = END_STREAM | END_HEADERS;

/// What is said to a request of these lines, and whether its stream or the connection is ended.
async fn ask(request: &[(&str, &str)]) -> (Vec<u8>, bool) {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    let bytes = frame(HEADERS, FLAGS, 1, &lines(request));
    visitor.send(&bytes).await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    let is_ended = heard.reset_count > 0 || heard.goaway_code.is_some_and(|code| code > 0);
    (heard.statuses, is_ended)
}

fn request<'a>(method: &'a str, scheme: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", scheme),
        (":authority", "garden.example"),
        (":path", path),
    ]
}

#[tokio::test]
async fn a_target_that_cannot_be_is_refused() {
    let rows = [
        (request("GET", "https", "/a.txt"), OK),
        (request("OPTIONS", "https", "*"), NO_CONTENT),
        (request("OPTIONS", "https", "/a.txt"), NO_CONTENT),
        (request("GET", "https", "*"), BAD_REQUEST),
        (request("GET", "https", "?x"), BAD_REQUEST),
        (request("OPTIONS", "https", "?x"), BAD_REQUEST),
        (request("GET", "ftp", "/a.txt"), BAD_REQUEST),
        (request("GET", "http", "/a.txt"), OK),
    ];
    for (request, expected) in rows {
        let (statuses, is_ended) = ask(&request).await;
        assert!(!is_ended, "{request:?}");
        assert_eq!(statuses, [expected], "{request:?}");
    }
    // These the library refuses by itself, some with the stream.
    for path in ["", "a.txt", "/a b", "/<b>"] {
        let request = request("GET", "https", path);
        let (statuses, is_ended) = ask(&request).await;
        assert!(statuses != [OK], "{request:?}");
        assert!(is_ended || statuses == [BAD_REQUEST], "{request:?}");
    }
}

#[tokio::test]
async fn host_and_authority_agree() {
    let host = |name| [&request("GET", "https", "/a.txt")[..], &[("host", name)]].concat();
    let mut alone = host("garden.example");
    alone.remove(2);
    let mut of_nobody = request("GET", "https", "/a.txt").to_vec();
    of_nobody.remove(2);
    let rows = [
        (host("garden.example"), OK),
        (host("GARDEN.example.:443"), OK),
        (host("other.example"), BAD_REQUEST),
        (host(""), BAD_REQUEST),
        (alone, OK),
        (of_nobody, BAD_REQUEST),
        (
            [host("garden.example"), vec![("host", "garden.example")]].concat(),
            BAD_REQUEST,
        ),
    ];
    for (request, expected) in rows {
        let (statuses, is_ended) = ask(&request).await;
        assert!(!is_ended, "{request:?}");
        assert_eq!(statuses, [expected], "{request:?}");
    }
}

#[tokio::test]
async fn a_hundred_streams_are_open_and_no_more() {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    // No window: the answers begin and do not end.
    visitor.send_settings(&[(4, 0)]).await.unwrap();
    for round in 0..=100 {
        visitor.send_get(round * 2 + 1, "/a.txt").await.unwrap();
    }
    visitor.send_settings(&[(4, 65_535)]).await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    assert_eq!(heard.good_count, 100, "{heard:?}");
    // REFUSED_STREAM: to be asked again.
    assert_eq!((heard.reset_count, heard.reset_code), (1, Some(7)));
    assert!(matches!(heard.goaway_code, None | Some(0)), "{heard:?}");
}

/// No trailer is a pseudo-header (RFC 9113 section 8.1); the library passes them over where the
/// trailers end the stream, so that they change nothing.
#[tokio::test]
async fn what_stands_in_trailers_changes_nothing() {
    let (_blobs, edge) = start(Setup::default());
    let mut visitor = Attacker::connect(&edge).await;
    let open = frame(
        HEADERS,
        END_HEADERS,
        1,
        &lines(&request("GET", "https", "/a.txt")),
    );
    let nothing = frame(DATA, 0, 1, &[]);
    let trailers = frame(HEADERS, FLAGS, 1, &lines(&[(":path", "/no"), ("x", "y")]));
    visitor
        .send(&[open, nothing, trailers].concat())
        .await
        .unwrap();
    visitor.send_get(3, "/a.txt").await.unwrap();
    visitor.send_frame(7, 0, 0, &[0; 8]).await.unwrap();
    let heard = visitor.hear().await;
    assert!(
        heard.statuses.iter().all(|status| *status == OK),
        "{heard:?}"
    );
}
