//! A clock that is wrong changes nothing but what is believed of it.

use crate::harness::{Publisher, VERGE, init};
use crate::scene::{status, wait_at};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn node_that_boots_in_1970_or_in_the_future_works_and_does_not_believe_it() {
    for offset in ["@1970-01-01 00:05:00", "+40d"] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("node");
        init(&data);
        // It has believed its clock once.
        let config = data.join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let trusted = text.replace("clock = \"checked\"", "clock = \"trusted\"");
        std::fs::write(&config, trusted).unwrap();
        let mut node = crate::harness::Node::start(&data);
        let publisher = Publisher::with_site(&node, "ana", "garden");
        assert_eq!(status(&node)["clock"]["is_believed"], true);
        node.stop();
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("faketime")
            .args(["-f", offset, VERGE, "serve", "--data"])
            .arg(&data)
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        assert!(line.starts_with("ready"), "{line}");
        // A machine whose kernel is kept in step cannot be told otherwise for the future.
        if offset.starts_with('@') {
            let seen = wait_at(&data, |status| status["clock"]["is_believed"] == false);
            let why = seen["clock"]["why"].as_str().unwrap();
            assert!(why.contains("before a time that was believed"), "{why}");
        }
        // A push goes in all the same.
        publisher.write("index.html", "<p>here");
        publisher.commit("one");
        let ready = verge_edge::cli::node::Ready::parse(&line).unwrap();
        let url = format!("ssh://git@{}/garden", ready.ssh.unwrap());
        publisher.git_ok(&["push", "-q", &url, "main"]);
        wait_at(&data, |status| status["published_count"] == 1);
        // faketime stays in between: both have a group of their own.
        let group = i32::try_from(child.id()).unwrap();
        let group = rustix::process::Pid::from_raw(group).unwrap();
        rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap();
        // Its end of the pipe is closed when the node itself has ended.
        std::io::Read::read_to_end(&mut output, &mut Vec::new()).unwrap();
    }
}
