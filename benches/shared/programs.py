"""Where the programs are that are measured; each can be another by the environment."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "target/peers"
VERGE = Path(os.environ.get("VERGE", ROOT / "target/release/verge"))
FLOOR = Path(os.environ.get("FLOOR", ROOT / "target/release/examples/floor"))
TLS_TOOL = Path(os.environ.get("TLS_TOOL", ROOT / "target/release/examples/tls"))
