//! nginx and Caddy, as they come from Debian, over the same folder.

use crate::listening::listens;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// One of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    Nginx,
    Caddy,
}

pub(crate) const PEERS: [Peer; 2] = [Peer::Nginx, Peer::Caddy];

/// A running one; ended when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
    _place: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program that `make setup-conformance` has brought.
pub(crate) fn program(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/conformance")
        .join(path);
    assert!(
        path.exists(),
        "{} is missing: run `make setup-conformance`",
        path.display()
    );
    path
}

/// Clean URLs and the site's page for what is not there, said as each of them says it.
fn nginx(folder: &Path, place: &Path, address: SocketAddr) -> Command {
    let types = program("peers/etc/nginx/mime.types");
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/log crit;\n\
         events {{}}\n\
         http {{\n\
         include {types}; default_type application/octet-stream; charset utf-8; access_log off;\n\
         client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;\n\
         uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
         keepalive_requests 100000;\n\
         server {{ listen {address}; root {folder}; absolute_redirect off;\n\
         location / {{ try_files $uri $uri.html $uri/ =404; }}\n\
         error_page 404 /404.html; }} }}\n",
        place = place.display(),
        types = types.display(),
        folder = folder.display(),
    );
    let path = place.join("nginx.conf");
    fs::write(&path, config).unwrap();
    let mut nginx = Command::new(program("peers/usr/sbin/nginx"));
    nginx.arg("-p").arg(place).arg("-c").arg(path);
    nginx.arg("-e").arg(place.join("log"));
    nginx
}

fn caddy(folder: &Path, place: &Path, address: SocketAddr) -> Command {
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\n\
         http://:{port} {{\n bind {ip}\n root * {folder}\n try_files {{path}} {{path}}.html\n\
         file_server\n handle_errors {{\n rewrite * /404.html\n file_server\n }}\n}}\n",
        port = address.port(),
        ip = address.ip(),
        folder = folder.display(),
    );
    let path = place.join("Caddyfile");
    fs::write(&path, config).unwrap();
    let mut caddy = Command::new(program("peers/usr/bin/caddy"));
    caddy.args(["run", "--adapter", "caddyfile", "--config"]);
    caddy.arg(path);
    caddy.env("HOME", place).env("XDG_DATA_HOME", place);
    caddy.env("XDG_CONFIG_HOME", place);
    caddy
}

/// Starts `peer` over `folder`, in a folder of its own.
pub(crate) fn start(peer: Peer, folder: &Path) -> Running {
    let place = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut command = match peer {
        Peer::Nginx => nginx(folder, place.path(), address),
        Peer::Caddy => caddy(folder, place.path(), address),
    };
    let child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running {
        child,
        address,
        _place: place,
    };
    while !listens(address) {
        let ended = running.child.try_wait().unwrap();
        assert_eq!(ended, None, "{peer:?} did not start");
        std::thread::yield_now();
    }
    running
}
