"""The servers that are compared: each over one folder, with one thread, plain and with TLS."""

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from inside import ENDS_WITH_US
from processes import cpu_ns, end, family, pss_bytes
from programs import FLOOR, PEERS, VERGE

HOST = "bench.localhost"
# The name that visitors of examples/tls ask for.
SHAKEN_HOST = "bench.example"
# What a server may take until it answers.
PATIENCE_S = 120


@dataclass(frozen=True)
class Place:
    """Where a server finds its site and its certificate, where it may write, its two ports; how
    many threads serve, where that can be chosen."""

    site: Path
    chain: Path
    key: Path
    folder: Path
    plain: int
    tls: int
    threads: int = 1


def nginx(at: Place) -> list[str]:
    config = at.folder / "nginx.conf"
    config.write_text(f"""daemon off; master_process off; pid {at.folder}/pid; error_log {at.folder}/log crit;
events {{ worker_connections 16384; }}
http {{
  include {PEERS}/etc/nginx/mime.types; default_type application/octet-stream; access_log off;
  sendfile on; tcp_nopush on; open_file_cache max=20000; keepalive_requests 100000000; keepalive_timeout 600;
  gzip_static on; http2_max_concurrent_streams 128;
  client_body_temp_path {at.folder}/a; proxy_temp_path {at.folder}/b; fastcgi_temp_path {at.folder}/c;
  uwsgi_temp_path {at.folder}/d; scgi_temp_path {at.folder}/e;
  server {{ listen 127.0.0.1:{at.plain} backlog=4096; listen 127.0.0.1:{at.tls} ssl http2 backlog=4096; root {at.site};
    ssl_certificate {at.chain}; ssl_certificate_key {at.key}; ssl_protocols TLSv1.2 TLSv1.3; }}
}}
""")
    program = PEERS / "usr/sbin/nginx"
    return [str(program), "-p", str(at.folder), "-c", str(config), "-e", str(at.folder / "log")]


def h2o(at: Place) -> list[str]:
    config = at.folder / "h2o.conf"
    config.write_text(f"""num-threads: 1
max-connections: 12000
http2-max-concurrent-requests-per-connection: 128
http1-request-timeout: 600
http2-idle-timeout: 600
error-log: {at.folder}/log
hosts:
  "{HOST}:{at.plain}":
    listen: {{port: {at.plain}, host: 127.0.0.1}}
    paths: {{"/": {{file.dir: {at.site}, file.send-compressed: ON}}}}
  "{HOST}:{at.tls}":
    listen: {{port: {at.tls}, host: 127.0.0.1, ssl: {{certificate-file: {at.chain}, key-file: {at.key}, minimum-version: TLSv1.2, ocsp-update-interval: 0}}}}
    paths: {{"/": {{file.dir: {at.site}, file.send-compressed: ON}}}}
""")
    return [str(PEERS / "usr/bin/h2o"), "-c", str(config)]


def lighttpd(at: Place) -> list[str]:
    config = at.folder / "lighttpd.conf"
    config.write_text(f"""server.modules = ("mod_openssl", "mod_deflate")
server.document-root = "{at.site}"
server.bind = "127.0.0.1"
server.port = {at.plain}
server.max-fds = 26000
server.max-connections = 12000
server.max-keep-alive-requests = 100000000
server.max-keep-alive-idle = 600
server.errorlog = "{at.folder}/log"
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", ".css" => "text/css", ".js" => "text/javascript", ".png" => "image/png", "" => "application/octet-stream")
deflate.cache-dir = "{at.folder}/deflate"
deflate.mimetypes = ("text/")
deflate.allowed-encodings = ("gzip")
$SERVER["socket"] == "127.0.0.1:{at.tls}" {{
  ssl.engine = "enable"
  ssl.pemfile = "{at.chain}"
  ssl.privkey = "{at.key}"
}}
""")
    return [str(PEERS / "usr/sbin/lighttpd"), "-D", "-m", str(PEERS / "usr/lib/lighttpd"), "-f", str(config)]


def caddy(at: Place) -> list[str]:
    config = at.folder / "Caddyfile"
    config.write_text(f"""{{
  admin off
  auto_https off
  servers {{
    protocols h1 h2
  }}
}}
http://:{at.plain} {{
  bind 127.0.0.1
  root * {at.site}
  file_server {{
    precompressed br gzip
  }}
}}
https://{HOST}:{at.tls}, https://{SHAKEN_HOST}:{at.tls}, https://127.0.0.1:{at.tls} {{
  bind 127.0.0.1
  tls {at.chain} {at.key}
  root * {at.site}
  file_server {{
    precompressed br gzip
  }}
}}
""")
    program = PEERS / "python/bin/caddy"
    return ["env", f"HOME={at.folder}", "GOMAXPROCS=1", str(program), "run", "--adapter", "caddyfile", "--config", str(config)]


def static_web_server(at: Place) -> list[list[str]]:
    """Two processes: one listens to one port only."""
    program = PEERS / "bin/static-web-server"
    own = [str(program), "--host", "127.0.0.1", "--root", str(at.site), "--threads-multiplier", "1", "--compression-static", "true",
           "--log-level", "error", "--config-file", str(at.folder / "none.toml")]
    tls = ["--port", str(at.tls), "--http2", "true", "--http2-tls-cert", str(at.chain), "--http2-tls-key", str(at.key)]
    return [[*own, "--port", str(at.plain)], [*own, *tls]]


def verge(at: Place) -> list[str]:
    return [str(VERGE), "preview", str(at.site), "--threads", str(at.threads), "--listen", f"127.0.0.1:{at.plain}",
            "--tls-listen", f"127.0.0.1:{at.tls}", "--tls-cert", str(at.chain), "--tls-key", str(at.key)]


def floor(kind: str):
    """The limits: a bare hyper server, and a loop that writes a canned answer. They know no files but those of the sizes."""
    return lambda at: [str(FLOOR), kind, str(at.site), f"127.0.0.1:{at.plain}", f"127.0.0.1:{at.tls}", str(at.chain), str(at.key)]


SERVERS = {
    "nginx": lambda at: [nginx(at)],
    "h2o": lambda at: [h2o(at)],
    "lighttpd": lambda at: [lighttpd(at)],
    "caddy": lambda at: [caddy(at)],
    "sws": static_web_server,
    "hyper": lambda at: [floor("hyper")(at)],
    "raw": lambda at: [floor("raw")(at)],
    "verge": lambda at: [verge(at)],
}


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """A running server on some cores, perhaps under another program; ends with the block."""

    def __init__(self, name: str, at: Place, cores: str, under: list[str] | None = None):
        self.name, self.host, self.ports = name, HOST, {False: at.plain, True: at.tls}
        at.folder.mkdir(exist_ok=True)
        (at.folder / "deflate").mkdir(exist_ok=True)
        self.out = at.folder / "out"
        self.started = []
        with open(self.out, "wb") as out:
            for command in SERVERS[name](at):
                pinned = [*ENDS_WITH_US, "taskset", "-c", cores, *(under or []), *command]
                self.started.append(subprocess.Popen(pinned, stdout=out, stderr=out, start_new_session=True))

    def __enter__(self) -> "Server":
        waiting = {self.ports[False]} if self.name == "raw" else set(self.ports.values())
        deadline = time.monotonic() + PATIENCE_S
        while waiting and time.monotonic() < deadline and all(process.poll() is None for process in self.started):
            waiting = {port for port in waiting if not answers(port)}
            time.sleep(0.02)
        if waiting:
            self.__exit__()
            raise SystemExit(f"{self.name} does not start: {self.out.read_text()[-500:]}")
        return self

    def __exit__(self, *_error) -> None:
        for process in self.started:
            end(process)

    def processes(self) -> list[int]:
        """Its processes and all that they started."""
        return family([process.pid for process in self.started])

    def cpu_ns(self) -> int:
        return cpu_ns(self.processes())

    def pss_bytes(self) -> int:
        return pss_bytes(self.processes())
