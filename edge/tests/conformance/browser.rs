//! A real Chromium walks through the fixture site over HTTP/2: no error on its console, a film
//! that is entered in the middle, and a reload that costs a 304.

use crate::support::preview::{CertificateFiles, Preview, certificate_files, files, fixture};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// A browser that is driven by WebDriver; both end when this is dropped.
struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Trusts `certificate` as if an authority had signed it: what a browser has warned of, it
    /// does not keep, and then nothing is left to be validated.
    fn start(certificate: &CertificateFiles) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        // Nobody reads on, and the driver must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let sessions = format!("http://127.0.0.1:{}/session", port.unwrap());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--mute-audio",
            "--autoplay-policy=no-user-gesture-required",
            &format!("--user-data-dir={}", profile.path().display()),
            &format!(
                "--ignore-certificate-errors-spki-list={}",
                certificate.key_sha256
            ),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let session = post(&sessions, &wanted);
        let id = session["sessionId"].as_str().unwrap();
        Self {
            driver,
            session: format!("{sessions}/{id}"),
            _profile: profile,
        }
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        post(&format!("{}/{name}", self.session), body)
    }

    fn open(&self, url: &str) {
        self.command("url", &json!({"url": url}));
    }

    /// Runs a script that calls its last argument when it has ended.
    fn run(&self, script: &str) -> Value {
        self.command("execute/async", &json!({"script": script, "args": []}))
    }

    /// What the console has said since it was last asked.
    fn console(&self) -> Vec<String> {
        let said = self.command("se/log", &json!({"type": "browser"}));
        let lines = said.as_array().unwrap().iter();
        lines
            .map(|line| format!("{}: {}", line["level"], line["message"]))
            .collect()
    }

    /// The answers that came over the network since it was last asked.
    fn answers(&self) -> Vec<Received> {
        let said = self.command("se/log", &json!({"type": "performance"}));
        let mut answers: BTreeMap<String, Received> = BTreeMap::new();
        for line in said.as_array().unwrap() {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let (method, told) = (&message["message"]["method"], &message["message"]["params"]);
            let Some(request) = told["requestId"].as_str() else {
                continue;
            };
            let answer = answers.entry(request.to_owned()).or_default();
            match method.as_str().unwrap() {
                "Network.responseReceived" => {
                    answer.url = told["response"]["url"].as_str().unwrap().to_owned();
                    answer.protocol = told["response"]["protocol"].to_string();
                    let agreed = &told["response"]["securityDetails"];
                    answer.agreed =
                        format!("{} {}", agreed["protocol"], agreed["keyExchangeGroup"]);
                }
                // What really came; the other shows what the cache made of it.
                "Network.responseReceivedExtraInfo" => {
                    answer.status = told["statusCode"].as_u64().unwrap();
                    answer.range = told["headers"]["content-range"].to_string();
                }
                _ => {}
            }
        }
        answers
            .into_values()
            .filter(|answer| answer.status > 0)
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; then nothing of it writes into the profile any more.
        let mut end = Command::new("curl");
        end.args([
            "-s",
            "-X",
            "DELETE",
            "-m",
            "20",
            "-o",
            "/dev/null",
            &self.session,
        ]);
        drop(end.status());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}

/// One answer, as far as the walk asks.
#[derive(Debug, Default)]
struct Received {
    url: String,
    protocol: String,
    status: u64,
    range: String,
    /// The version of TLS, and how keys were agreed on.
    agreed: String,
}

fn post(url: &str, body: &Value) -> Value {
    let mut curl = Command::new("curl")
        .args([
            "-sS",
            "-m",
            "60",
            "-H",
            "Content-Type: application/json",
            "-d",
            "@-",
            url,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = curl.stdin.take().unwrap();
    input.write_all(body.to_string().as_bytes()).unwrap();
    drop(input);
    let output = curl.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let value = &answer["value"];
    assert!(value["error"].is_null(), "{url}: {value}");
    value.clone()
}

#[test]
fn a_browser_walks_through_the_site_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = certificate_files(folder.path());
    let arguments = [
        &["--tls-listen", "127.0.0.1:0"][..],
        &certificate.arguments(),
    ]
    .concat();
    let preview = Preview::start(&fixture("neighbourhood"), &arguments);
    let origin = format!("https://localhost:{}", preview.ready.https.unwrap().port());
    let browser = Browser::start(&certificate);
    every_page_loads(&browser, &origin);
    a_film_is_entered_in_the_middle(&browser, &origin);
    a_reload_costs_a_304(&browser, &origin);
    keys_are_post_quantum(&browser, &origin);
}

fn every_page_loads(browser: &Browser, origin: &str) {
    let pages = files(&fixture("neighbourhood"));
    let pages = pages.iter().filter_map(|file| file.strip_suffix(".html"));
    for page in pages.filter(|page| !page.ends_with("404")) {
        browser.open(&format!("{origin}/{page}"));
    }
    assert_eq!(browser.console(), Vec::<String>::new());
    let answers = browser.answers();
    assert!(
        answers.len() > 60,
        "pages, styles, scripts, fonts, pictures: {}",
        answers.len()
    );
    for answer in answers {
        let is_good = answer.status < 400 && answer.protocol == "\"h2\"";
        // A redirect's own entry is completed by the answer that it leads to.
        assert!(is_good || answer.url.is_empty(), "{answer:?}");
    }
}

fn keys_are_post_quantum(browser: &Browser, origin: &str) {
    let page = format!("{origin}/about");
    browser.open(&page);
    let answers = browser.answers();
    let answer = answers.iter().find(|answer| answer.url == page);
    let agreed = answer.map(|answer| answer.agreed.as_str());
    assert_eq!(
        agreed,
        Some("\"TLS 1.3\" \"X25519MLKEM768\""),
        "{answers:?}"
    );
}

fn a_film_is_entered_in_the_middle(browser: &Browser, origin: &str) {
    browser.open(&format!("{origin}/film"));
    browser.answers();
    let at = browser.run(
        "const done = arguments[0], film = document.querySelector('video');\
         film.onerror = () => done('error ' + film.error.message);\
         film.onseeked = () => done(film.currentTime);\
         const seek = () => { film.currentTime = film.duration * 0.8; };\
         film.readyState > 0 ? seek() : film.onloadedmetadata = seek; film.preload = 'auto';",
    );
    assert!(at.as_f64().is_some_and(|seconds| seconds > 1.0), "{at}");
    assert_eq!(browser.console(), Vec::<String>::new());
    let answers = browser.answers();
    let is_middle = |answer: &Received| {
        answer.status == 206
            && !answer.range.starts_with("\"bytes 0-")
            && answer.url.ends_with(".mp4")
    };
    assert!(answers.iter().any(is_middle), "{answers:?}");
}

fn a_reload_costs_a_304(browser: &Browser, origin: &str) {
    let page = format!("{origin}/about");
    browser.open(&page);
    browser.answers();
    browser.command("refresh", &json!({}));
    assert_eq!(browser.console(), Vec::<String>::new());
    let answers = browser.answers();
    let reloaded = answers.iter().find(|answer| answer.url == page);
    assert_eq!(
        reloaded.map(|answer| answer.status),
        Some(304),
        "{answers:?}"
    );
}
