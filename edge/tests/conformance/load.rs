//! Many visitors at once and slow ones, from the programs that others measure with.

use crate::support::effort::count;
use crate::support::preview::{Preview, certificate_files, fixture};
use crate::support::visitor::Visitor;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

#[test]
fn h2load_gets_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate_files(folder.path());
    let arguments = [
        &["--tls-listen", "127.0.0.1:0"][..],
        &certificate.arguments(),
    ];
    let preview = Preview::start(&fixture("neighbourhood"), &arguments.concat());
    let origin = format!("https://{}", preview.ready.https.unwrap());
    let requests = count("VERGE_REQUESTS", 5_000);
    let rows: [&[&str]; 4] = [
        &["-m20"],
        &["-m100", "-HAccept-Encoding: br"],
        // Windows of 16 KiB for a stream and 64 KiB for all.
        &["-m10", "-w14", "-W16"],
        &["--h1"],
    ];
    for row in rows {
        let output = Command::new("h2load")
            .args(["-c10", &format!("-n{requests}")])
            .args(row)
            .args(
                ["/", "/about", "/assets/style.8dbf895c3a.css"]
                    .map(|path| format!("{origin}{path}")),
            )
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
        assert!(text.contains(&all), "{row:?}: {text}");
        let good = format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx");
        assert!(text.contains(&good), "{row:?}: {text}");
    }
}

/// Every attack that slowhttptest has, at once; what each of them must come to.
#[tokio::test]
async fn slow_visitors_keep_nobody_waiting() {
    let preview = Preview::start(&fixture("neighbourhood"), &[]);
    let address = preview.ready.http.unwrap();
    let film = "/media/street-year.mp4";
    let attacks: [(&str, &str, &[&str]); 4] = [
        ("slow heads", "/", &["-H", "-i1", "-l20"]),
        ("slow bodies", "/", &["-B", "-i1", "-l20"]),
        ("many ranges", film, &["-R", "-a1", "-b3000", "-l20"]),
        (
            "slow readers",
            film,
            &["-X", "-w512", "-y1024", "-n5", "-z32", "-l20"],
        ),
    ];
    let mut running: Vec<(&str, Child)> = Vec::new();
    for (name, path, arguments) in attacks {
        let attack = Command::new("slowhttptest")
            // Fewer in all than one address may have.
            .args(["-c50", "-r100", "-p5"])
            .args(arguments)
            .arg(format!("-uhttp://{address}{path}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        running.push((name, attack.unwrap()));
    }
    let mut answered = 0;
    while running
        .iter_mut()
        .any(|(_, child)| child.try_wait().unwrap().is_none())
    {
        let ask = async {
            let mut visitor = Visitor::plain(address).await;
            visitor
                .ask("GET", "site.example", "/about", &[])
                .await
                .status
                .as_u16()
        };
        let status = tokio::time::timeout(Duration::from_secs(10), ask).await;
        assert_eq!(status, Ok(200), "after {answered} answers");
        answered += 1;
    }
    for (name, child) in running {
        let Output { stdout, .. } = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&stdout);
        assert!(
            text.contains("YES") && !text.contains("NO\n"),
            "{name}: {text}"
        );
        if name != "slow readers" {
            // They do not look whether they were dropped.
            assert!(text.contains("No open connections left"), "{name}: {text}");
        }
    }
}
