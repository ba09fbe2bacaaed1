"""Sends what no one should send to the real binary: python3 run.py --binary target/release/brisk [--only NUMBER]"""

import argparse
import json
import os
import re
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import file_rows
from gguf import STRING, Gguf
from rows import ANY, CHAT, chat
from watch import TELLTALE, Watch
from wire import connect, exchange, read_response, request_bytes, send_all

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from server import Server  # noqa: E402

MAX_LOAD_CPU_S = 1
MAX_LOAD_RSS_BYTES = 64 << 20
# No file here takes long to refuse; this only ends what hangs.
HANG_S = 20


class Tally:
    """Runs cases and counts them."""

    def __init__(self, binary, only):
        self.binary, self.only = binary, only
        self.num_passed = self.num_failed = self.num_skipped = 0

    def case(self, number, what, act, *args):
        if self.only and not number.startswith(self.only):
            return
        try:
            act(*args)
            self.num_passed += 1
        except Exception as error:  # Any way to fail is one failed row; the rest still says something.
            self.num_failed += 1
            print(f"FAILED {number} {what}: {type(error).__name__}: {str(error)[:600]}", flush=True)

    def skip(self, number, what, reason):
        self.num_skipped += 1
        print(f"SKIPPED {number} {what}: {reason}", flush=True)


# ---- requests ----

def check_row(watch, row):
    data = request_bytes(row.method, row.path, row.body, row.headers)
    def send():
        return exchange(watch.server, data, timeout_s=30)
    response = send()
    wanted = row.status if isinstance(row.status, tuple) else (row.status,)
    assert response.status in wanted, f"status {response.status}, wanted {row.status}: {response.body[:300]}"
    if response.status >= 400:
        error = watch.check_error(response, data)
        for name in ("param", "code"):
            want = getattr(row, name)
            assert want is ANY or error[name] in (want if isinstance(want, tuple) else (want,)), f"{name} {error[name]!r}, wanted {want!r}: {error}"
    assert row.text.encode() in response.body, f"{row.text!r} is not in {response.body[:300]}"
    watch.check(send)


def check_http(watch, row):
    with connect(watch.server) as connection:
        send_all(connection, row.data)
        response = read_response(connection)
        assert response.status in row.status, f"status {response.status}, wanted {row.status}: {response.body[:300]}"
        if response.status >= 400:
            assert re.fullmatch("[0-9a-f]{32}", response.header("x-request-id") or ""), f"no request id in {response.headers}"
            error = watch.check_error(response, row.data)
            assert not row.code or error["code"] == row.code, f"code {error['code']}, wanted {row.code}"
        if row.header:
            name, want = row.header
            got = response.header(name)
            assert got == want or (got and want and set(got.replace(" ", "").split(",")) == set(want.split(","))), f"{name}: {got}, wanted {want}"
        if row.closes and response.status:
            send_all(connection, request_bytes("GET", "/v1/models"))
            after = read_response(connection, response.rest)
            assert after.status == 0, f"the connection went on and answered {after.status}"
    watch.check()


def a_bad_head_is_refused_behind_a_good_one(server, http_rows):
    good = request_bytes("GET", "/health/live")
    for row in http_rows.ROWS:
        if not row.closes:
            continue
        with connect(server) as connection:
            send_all(connection, good + row.data)
            first = read_response(connection)
            assert first.status == 200, (row.what, first.status)
            second = read_response(connection, first.rest)
            assert second.status in row.status and second.body, (row.what, second.status, second.body)


def one_answer_to_wrong_keys(server, http_rows):
    bodies = {exchange(server, row.data).body for row in http_rows.KEY_ROWS if row.status == (401,)}
    assert len(bodies) == 1, bodies


def check_phase(watch, function):
    function(watch.server)
    watch.check()


def request_cases(tally):
    # Their bodies take much memory, which would count for the programs that the file rows start.
    import assistant_rows
    import http_rows
    import json_rows
    import json_texts
    import param_rows
    import phases
    with Server(tally.binary) as server:
        watch = Watch(server)
        for row in [*json_rows.ROWS, *param_rows.ROWS, *assistant_rows.ROWS]:
            tally.case(row.number, row.what, check_row, watch, row)
        for row in http_rows.ROWS:
            tally.case(row.number, row.what, check_http, watch, row)
        tally.case("H34", "each of these behind a request that is answered", a_bad_head_is_refused_behind_a_good_one, server, http_rows)
        for function in phases.CASES:
            tally.case(*function.__doc__.split(" ", 1), check_phase, watch, function)
        tally.case("C00", "the server ends with status 0", _ends_well, server)
    with Server(tally.binary) as server:
        watch = Watch(server)
        for row in [*json_texts.ROWS, *_suite_rows(tally)]:
            tally.case(row.number, row.what, check_row, watch, row)
    with Server(tally.binary) as server:
        for function in phases.CROWD_CASES:
            tally.case(*function.__doc__.split(" ", 1), function, server)
    with Server(tally.binary, *phases.SHORT_LIMITS) as server:
        watch = Watch(server)
        for function in phases.SLOW_CASES:
            tally.case(*function.__doc__.split(" ", 1), check_phase, watch, function)
    with Server(tally.binary, "--api-key", http_rows.KEY) as server:
        watch = Watch(server, http_rows.KEY)
        for row in http_rows.KEY_ROWS:
            tally.case(row.number, row.what, check_http, watch, row)
        tally.case("H26", "every wrong key gets the same answer", one_answer_to_wrong_keys, server, http_rows)
        for function in phases.KEY_CASES:
            tally.case(*function.__doc__.split(" ", 1), check_phase, watch, function)
        tally.case("C09", "the key is never printed", _keeps_secret, server, http_rows.KEY)


def _suite_rows(tally):
    import json_suite
    if not "J10".startswith(tally.only[:3]):
        return []
    try:
        files = json_suite.fetch()
    except json_suite.Unavailable as reason:
        tally.skip("J10", "the 318 files of JSONTestSuite", reason)
        return []
    tally.case("J10", "the files of JSONTestSuite are the ones expected", json_suite.check, files)
    return json_suite.rows(files)


def _ends_well(server):
    status = server.stop()
    assert status == 0, status
    assert b"panicked" not in server.said, server.said[-2000:]


def _keeps_secret(server, key):
    server.stop()
    assert key.encode() not in server.said, "the key is in the log"


# ---- files ----

def refuse(binary, args, says):
    """The program must end soon, in little memory, with one line that says what is wrong."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([binary, *args], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_clean_environment())
        timer = threading.Timer(HANG_S, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    assert process.returncode > 0, f"exit status {process.returncode}: {said[-500:]}"
    lines = [line for line in said.splitlines() if line.strip()]
    assert lines and re.search(says, lines[-1]), f"the last line must say {says!r}: {said[-500:]}"
    assert len(lines[-1]) < 1000 and "panicked" not in said and "backtrace" not in said, said[-1500:]
    cpu_s = usage.ru_utime + usage.ru_stime
    assert cpu_s < MAX_LOAD_CPU_S, f"took {cpu_s:.1f} s of processor time"
    assert usage.ru_maxrss * 1024 < MAX_LOAD_RSS_BYTES, f"took {usage.ru_maxrss >> 10} MiB"


def _clean_environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("BRISK_")}


def check_file(binary, folder, row):
    built = row.data(Gguf())
    path = folder / "wrong.gguf"
    path.write_bytes(built if isinstance(built, bytes) else built.build())
    if row.inspect:
        refuse(binary, ["inspect", str(path)], row.says)
    refuse(binary, ["serve", "--port", "0", "--model", str(path)], row.says)


def check_sound(binary, folder):
    """The file that every row spoils does work."""
    path = folder / "sound.gguf"
    path.write_bytes(Gguf().build())
    subprocess.run([binary, "inspect", str(path)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with Server(binary, "--model", str(path)) as server:
        assert json.loads(exchange(server, request_bytes("POST", CHAT, chat())).body)["usage"]["completion_tokens"] > 0


def check_template(binary, folder, row):
    path = folder / "template.gguf"
    path.write_bytes(Gguf().set("tokenizer.chat_template", STRING, row.source).build())
    try:
        server = Server(binary, "--model", str(path))
    except RuntimeError as refused:
        lines = str(refused).strip().splitlines()
        assert "template" in lines[-1] and "panicked" not in str(refused), lines
        return
    with server:
        start = time.monotonic()
        response = exchange(server, request_bytes("POST", CHAT, chat()), timeout_s=HANG_S)
        seconds = time.monotonic() - start
        assert response.status in row.status, f"status {response.status}: {response.body[:300]}"
        assert row.says.encode() in response.body and not TELLTALE.search(response.body.replace(row.source.encode(), b"")), response.body
        assert seconds < 3, f"took {seconds:.1f} s"
        assert exchange(server, request_bytes("GET", "/health/live")).status == 200
        assert server.rss_bytes() < 256 << 20, f"the server holds {server.rss_bytes() >> 20} MiB"


def check_not_finite(binary, folder):
    """G15 weights that are no numbers: refused, or every reply an error; never a token."""
    gguf = Gguf()
    output = next(tensor for tensor in gguf.tensors if tensor["name"] == "output.weight")
    output["data"] = struct.pack("<f", float("nan")) * (len(output["data"]) // 4)
    path = folder / "nan.gguf"
    path.write_bytes(gguf.build())
    try:
        server = Server(binary, "--model", str(path))
    except RuntimeError as refused:
        assert "panicked" not in str(refused), refused
        return
    with server:
        for _ in range(3):
            response = exchange(server, request_bytes("POST", CHAT, chat()))
            assert response.status == 500, f"status {response.status}: {response.body[:300]}"
        assert exchange(server, request_bytes("GET", "/health/live")).status == 200


def check_no_file(binary, folder, kind):
    path = folder / f"no-{kind}.gguf"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "unreadable":
        path.write_bytes(Gguf().build())
        path.chmod(0)
        if os.access(path, os.R_OK):
            return  # Root reads everything.
    assert kind == "missing" or kind in ("dangling", "loop") or stat.S_IFMT(path.stat().st_mode)
    for args in (["inspect", str(path)], ["serve", "--port", "0", "--model", str(path)]):
        refuse(binary, args, re.escape(path.name))


def file_cases(tally):
    with tempfile.TemporaryDirectory(prefix="brisk-files-") as name:
        folder = Path(name)
        tally.case("G00", "the unspoiled file works", check_sound, tally.binary, folder)
        for row in [*file_rows.FORMAT_ROWS, *file_rows.MODEL_ROWS]:
            tally.case(row.number, row.what, check_file, tally.binary, folder, row)
        tally.case("G15", "weights that are no numbers", check_not_finite, tally.binary, folder)
        for kind in ("fifo", "device", "directory", "dangling", "loop", "unreadable", "missing"):
            tally.case("G17", f"the path is a {kind}", check_no_file, tally.binary, folder, kind)
        for row in file_rows.TEMPLATE_ROWS:
            tally.case(row.number, row.what, check_template, tally.binary, folder, row)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", default="", help="run the rows whose number begins so, such as H or J04")
    options = parser.parse_args()
    tally = Tally(os.path.abspath(options.binary), options.only)
    if not options.only or options.only[0] in "GKT":
        file_cases(tally)
    if not options.only or options.only[0] not in "G":
        request_cases(tally)
    print(f"{tally.num_passed} passed, {tally.num_failed} failed, {tally.num_skipped} skipped")
    sys.exit(1 if tally.num_failed else 0)


if __name__ == "__main__":
    main()
