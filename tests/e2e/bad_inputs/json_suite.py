"""J10: the files of JSONTestSuite, the collection of Nicolas Seriot, as whole bodies.

They come in the tests of a crate. Cargo fetches it, into its own store; nothing of it is built or becomes part of Brisk.
"""

import hashlib
import json
import subprocess
from pathlib import Path

from rows import CHAT, Row

CRATE, VERSION = "actson", "2.1.0"
NUM_FILES = {"n": 188, "y": 95, "i": 35}
# Over the names and the contents in the order of the names: whatever Cargo fetched, these are the files.
SHA256 = "958799029a961e15be461a1610f8299b34cc568ee374e9262d3547be14abd97c"
FOLDER = Path(__file__).resolve().parents[3] / "target/tools/json-test-suite"
FETCH_LIMIT_S = 300


class Unavailable(Exception):
    """The files cannot be had here."""


def fetch():
    """The files, by name, after Cargo has put the crate where it keeps crates."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    manifest = FOLDER / "Cargo.toml"
    manifest.write_text(
        f'[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n[lib]\npath = "Cargo.toml"\n[workspace]\n'
        f'[dependencies]\n{CRATE} = {{ version = "={VERSION}", default-features = false }}\n'
    )
    command = ["cargo", "metadata", "--quiet", "--format-version", "1", "--manifest-path", str(manifest)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_LIMIT_S, check=True)
    except subprocess.CalledProcessError as failed:
        raise Unavailable(f"cargo cannot fetch {CRATE} {VERSION}: {failed.stderr.strip().splitlines()[-1]}") from failed
    except (OSError, subprocess.TimeoutExpired) as failed:
        raise Unavailable(f"cargo cannot fetch {CRATE} {VERSION}: {failed}") from failed
    package = next(package for package in json.loads(done.stdout)["packages"] if package["name"] == CRATE)
    folder = Path(package["manifest_path"]).parent / "tests/json_test_suite/test_parsing"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[nyi]_*.json"))}


def check(files):
    """Raises where these are other files than expected."""
    counts = {kind: sum(name.startswith(f"{kind}_") for name in files) for kind in NUM_FILES}
    digest = hashlib.sha256()
    for name, text in files.items():
        digest.update(f"{name} {len(text)}\n".encode() + text)
    assert counts == NUM_FILES and digest.hexdigest() == SHA256, f"{counts}, SHA-256 {digest.hexdigest()}"


def _row(name, text):
    if name.startswith("n_"):
        return Row("J10", name, CHAT, text, 400, code="invalid_json")
    if name.startswith("i_"):
        return Row("J10", name, CHAT, text, 400)
    if "duplicated_key" in name:
        # The grammar takes a key twice, and J05 says why we do not. The text itself is read.
        return Row("J10", name, CHAT, text, 400, code="invalid_json", text="duplicate key")
    # It is JSON and no request.
    return Row("J10", name, CHAT, text, 400, code=("invalid_type", "unknown_parameter", "missing_required_parameter"))


def rows(files):
    """A row for every file."""
    return [_row(name, text) for name, text in files.items()]
