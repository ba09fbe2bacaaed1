#!/usr/bin/env python3
"""Times Brisk against llama.cpp on the same files, interleaved, and prints medians and ratios.

    pip install -r bench/requirements.txt
    cargo build --release
    python3 bench/vs_llama_cpp.py                       # one model of 1 B weights, every figure
    python3 bench/vs_llama_cpp.py --model MODEL.gguf    # a file of your own
    python3 bench/vs_llama_cpp.py --suite --delete      # ten files, made and deleted one by one

Every measurement is a fresh process, and the engines take turns. llama.cpp runs in four variants
(weight repacking on and off, flash attention on and off); for each figure the best of them counts.
A variant that is far behind in everything a workload is run for is left out after the first round.
"""

import argparse
import contextlib
import datetime
import importlib.util
import itertools
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable

import ratio_chart

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
VARIANTS = {f"repack {r}, flash {f}": (r, f) for r in (1, 0) for f in (0, 1)}
# How near a variant must come to the best one of the first round to stay in, as a noisy machine
# may have been unjust to it.
NEAR = 0.8
# A measurement that takes longer is given up; it is then missing in the result.
TIMEOUT_SECONDS = 900


@dataclass(frozen=True)
class Workload:
    """What one process computes, and which of its numbers it is run for."""

    prompt_tokens: int
    gen_tokens: int
    sequences: int
    more: tuple = ("decode_tokens_per_second",)
    less: tuple = ()
    crowded: bool = False  # beside processes that keep every core busy


WORKLOADS = {
    "short": Workload(512, 64, 1, ("prefill_tokens_per_second", "decode_tokens_per_second"),
                      ("peak_memory_bytes", "first_token_seconds")),
    "long": Workload(2048, 32, 1, ("prefill_tokens_per_second", "decode_tokens_per_second")),
    "one": Workload(32, 32, 1),
    "four": Workload(32, 32, 4),
    "eight": Workload(32, 32, 8),
    "crowded": Workload(8, 16, 1, crowded=True),
}


@dataclass(frozen=True)
class Figure:
    """A row of the table. `value` takes an engine's records of one round, by workload."""

    name: str
    workloads: tuple
    value: Callable
    more_is_better: bool = True
    # Of the ratio to llama.cpp, or of the value itself; a number, or one by the file's type.
    ratio_target: object = None
    own_target: float = None
    scale: float = 1.0
    in_picture: str = None


def rate(workload, phase):
    return lambda run: run[workload][f"{phase}_tokens_per_second"]


def read_share(run):
    """Of the rate at which Brisk, between steps of decoding, read the weights without computing."""
    bytes_per_second = rate("short", "decode")(run) * run["matmul_bytes"]
    return bytes_per_second / run["read_bytes_per_second"]


def step_cost(run):
    """Seconds of a step with four sequences, in steps with one."""
    return 4 * rate("one", "decode")(run) / rate("four", "decode")(run)


def fair_share(run):
    """Two processes per core leave each half of it."""
    return rate("crowded", "decode")(run) / (rate("one", "decode")(run) / 2)


PREFILL = {"Q4_K_M": 1.4, "Q8_0": 2.5, "Q4_0": 2.2, "Q5_K_M": 1.4, "Q6_K": 1.4, "F16": 1.0, "BF16": 1.0}
DECODE = {"Q4_K_M": 1.15, "Q8_0": 1.5, "Q4_0": 1.05}
FIGURES = {
    "prefill": Figure("prefill of 512 tokens, tokens/s", ("short",), rate("short", "prefill"),
                      ratio_target=PREFILL, in_picture="prefill, 512 tokens"),
    "decode": Figure("decode after it, tokens/s", ("short",), rate("short", "decode"),
                     ratio_target=DECODE, in_picture="decode"),
    "read-share": Figure("decode, share of the read bandwidth", ("short",), read_share, own_target=0.85),
    "long-prefill": Figure("prefill of 2,048 tokens, tokens/s", ("long",), rate("long", "prefill"),
                           in_picture="prefill, 2,048 tokens"),
    "long-decode": Figure("decode at 2,048 tokens of context, tokens/s", ("long",), rate("long", "decode"),
                          ratio_target=1.4, in_picture="decode, 2,048 tokens of context"),
    "columns": Figure("a step of 4 sequences, in steps of one", ("one", "four"), step_cost,
                      more_is_better=False, own_target=1.35),
    "eight": Figure("decode of 8 sequences, tokens/s in total", ("eight",), rate("eight", "decode"),
                    ratio_target=3.5, in_picture="decode, 8 sequences"),
    "memory": Figure("peak resident memory, MB", ("short",), lambda run: run["short"]["peak_memory_bytes"],
                     more_is_better=False, ratio_target=0.7, scale=1e-6, in_picture="memory, times less"),
    "first-token": Figure("from opening the file to the first token, s", ("short",),
                          lambda run: run["short"]["first_token_seconds"], more_is_better=False,
                          ratio_target=0.4, in_picture="load to first token, times less"),
    "crowded": Figure("decode on busy cores, tokens/s", ("crowded",), rate("crowded", "decode")),
    "fair-share": Figure("the same, in fair shares", ("one", "crowded"), fair_share, own_target=0.5),
}

BASIC = ("prefill", "decode", "read-share", "memory", "first-token")
SUITE = {  # file, and its figures
    "llama-3.2-1b-Q4_K_M": tuple(FIGURES),
    **{f"llama-3.2-1b-{it}": BASIC for it in ("Q8_0", "Q4_0", "Q5_K_M", "Q6_K", "F16", "BF16")},
    **{f"{it}-Q4_K_M": BASIC for it in ("qwen2.5-0.5b", "gemma-2-2b", "llama-3.2-3b")},
}


# Measuring


def run_json(command):
    """What a process prints as JSON; `None` where it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"  took longer than {TIMEOUT_SECONDS} s: {shlex.join(command)}", file=sys.stderr)
        return None
    if done.returncode != 0:
        print(f"  failed: {shlex.join(command)}\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout)


def brisk_engines(args):
    """The processor levels that Brisk runs with, by what the engine is called then."""
    first, *others = args.cpu
    return {"Brisk": first, **{f"Brisk, {cpu}": cpu for cpu in others}}


def brisk(args, cpu, *more):
    return run_json([args.brisk, "bench", "--json", "--threads", str(args.threads), "--cpu", cpu, *more])


@contextlib.contextmanager
def busy_processes(number):
    """Keeps `number` cores busy."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


# One token, to have the memory that a process needs at hand for the next one.
WARM_UP = Workload(1, 1, 1)


def measure(args, engine, path, workload):
    """One fresh process of Brisk at some level or of a variant of llama.cpp."""
    if workload.less:
        compute(args, engine, path, WARM_UP)
    with busy_processes(args.threads if workload.crowded else 0):
        return compute(args, engine, path, workload)


def compute(args, engine, path, workload):
    sizes = ["--model", path, "--prompt-tokens", str(workload.prompt_tokens),
             "--gen-tokens", str(workload.gen_tokens), "--sequences", str(workload.sequences)]
    if cpu := brisk_engines(args).get(engine):
        return brisk(args, cpu, "--repeat", "1", *sizes)
    repack, flash = VARIANTS[engine]
    script = os.path.join(HERE, "llama_cpp_run.py")
    return run_json([sys.executable, script, "--threads", str(args.threads), *sizes,
                     "--repack", str(repack), "--flash", str(flash)])


def promising(workload, records):
    """The variants that are near the best in something that the workload is run for."""
    records = {engine: record for engine, record in records.items() if record}

    def is_near(record):
        return (any(record[key] >= NEAR * max(it[key] for it in records.values()) for key in workload.more)
                or any(NEAR * record[key] <= min(it[key] for it in records.values()) for key in workload.less))

    return [engine for engine, record in records.items() if is_near(record)]


def measure_file(args, path, keys):
    """All rounds of the workloads that the figures need: lists of records, by engine."""
    names = [name for name in WORKLOADS if any(name in FIGURES[key].workloads for key in keys)]
    variants = {name: list(VARIANTS) for name in names}
    ours = brisk_engines(args)
    runs = {engine: [] for engine in (*ours, *VARIANTS)}
    for turn in range(args.rounds):
        for engine_runs in runs.values():
            engine_runs.append({})
        for name in names:
            started = time.monotonic()
            for engine in (*ours, *variants[name]):
                if record := measure(args, engine, path, WORKLOADS[name]):
                    runs[engine][turn][name] = record
            if turn == 0:
                records = {variant: runs[variant][0].get(name) for variant in VARIANTS}
                variants[name] = promising(WORKLOADS[name], records)
            for engine, engine_runs in runs.items():
                reader = engine if engine in ours else "Brisk"
                if read := runs[reader][turn].get("short", {}).get("read_bytes_per_second"):
                    engine_runs[turn]["read_bytes_per_second"] = read
            print(f"  round {turn + 1} of {args.rounds}, {name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return runs


# Results


def file_facts(path):
    """The type of a file, and the bytes of the weights that a token meets."""
    import gguf
    from make_model import FILE_TYPES

    reader = gguf.GGUFReader(path)
    field = reader.get_field("general.file_type")
    number = int(field.contents()) if field else None
    type_name = next((name for name, it in FILE_TYPES.items() if it == number), "unknown")
    matrices = {it.name: int(it.n_bytes) for it in reader.tensors if len(it.shape) > 1}
    if "output.weight" in matrices:  # else the embedding is the output layer too
        matrices.pop("token_embd.weight", None)
    return type_name, sum(matrices.values())


def values_of(figure, runs):
    needs = {*figure.workloads, *(["read_bytes_per_second"] if figure.value is read_share else [])}
    return [figure.value(run) for run in runs if needs <= set(run)]


def figure_result(key, type_name, runs):
    """A figure's row as data; `None` where Brisk or llama.cpp has no value."""
    figure = FIGURES[key]
    ours = values_of(figure, runs["Brisk"])
    theirs = {variant: statistics.median(values) for variant in VARIANTS
              if (values := values_of(figure, runs[variant]))}
    if not ours or not theirs:
        return None
    best = (max if figure.more_is_better else min)(theirs, key=theirs.get)
    value = statistics.median(ours)
    target = figure.ratio_target or figure.own_target
    if isinstance(target, dict):
        target = target.get(type_name)
    compared = value if figure.own_target else value / theirs[best]
    levels = {engine: statistics.median(values) for engine in runs
              if engine not in VARIANTS and engine != "Brisk" and (values := values_of(figure, runs[engine]))}
    return {
        "key": key, "brisk": value, "brisk_rounds": ours, "llama_cpp": theirs[best], "variant": best,
        "llama_cpp_variants": theirs, "ratio": value / theirs[best], "target": target,
        "levels": {engine: {"brisk": it, "ratio": it / theirs[best]} for engine, it in levels.items()},
        "reached": target and (compared >= target if figure.more_is_better else compared <= target),
    }


def greedy_hashes(runs):
    """The hash of what Brisk generated, by workload and level. A wrong answer is not a fast one."""
    hashes = {}
    for engine in (it for it in runs if it not in VARIANTS):
        for name, record in ((name, run[name]) for run in runs[engine] for name in WORKLOADS if name in run):
            found = record["greedy_ids_blake3"]
            if hashes.setdefault(name, {}).setdefault(engine, found) != found:
                raise SystemExit(f"two rounds of {name} gave different tokens: the speeds mean nothing")
    return hashes


def engine_facts(runs):
    """What Brisk and llama.cpp say of themselves, without their measurements."""
    def first(engines):
        records = (run[name] for engine in engines for run in runs[engine] for name in WORKLOADS if name in run)
        return next(records, {})

    levels = [first([engine]).get("machine", {}).get("kernels") for engine in runs if engine not in VARIANTS]
    git = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    ours, theirs = first(["Brisk"]), first(VARIANTS)
    return {
        "brisk": f"{ours.get('versions')}, commit {git.stdout.strip() or 'unknown'}, "
                 f"kernels {'; '.join(map(str, levels))}",
        "llama_cpp": f"llama-cpp-python {theirs.get('version')}; {theirs.get('features')}",
        "cpu": ours.get("machine", {}).get("cpu"),
    }


def numbers(run):
    """The measurements of a round."""
    return {name: {key: value for key, value in record.items() if isinstance(value, float | int)}
            if isinstance(record, dict) else record for name, record in run.items()}


def measured_file(args, path, keys):
    """Everything about one file, as data."""
    name = os.path.basename(path).removesuffix(".gguf")
    print(f"{name}: {', '.join(keys)}", file=sys.stderr)
    type_name, matmul_bytes = file_facts(path)
    with open(path, "rb") as file:  # into the page cache, where loading starts from
        while file.read(1 << 24):
            pass
    runs = measure_file(args, path, keys)
    for run in (run for engine_runs in runs.values() for run in engine_runs):
        run["matmul_bytes"] = matmul_bytes
    hashes = greedy_hashes(runs)
    rows = [row for key in keys if (row := figure_result(key, type_name, runs))]
    return {"name": name, "type": type_name, "bytes": os.path.getsize(path), "command": command_text(args),
            "engines": engine_facts(runs), "greedy_ids": hashes, "figures": rows,
            "runs": {engine: [numbers(run) for run in engine_runs] for engine, engine_runs in runs.items()}}


def text_of(value):
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def target_text(row):
    if not row["target"]:
        return ""
    what = "" if FIGURES[row["key"]].own_target else "ratio "
    return f"{what}{'≥' if FIGURES[row['key']].more_is_better else '≤'} {row['target']}"


def figure_line(row):
    figure = FIGURES[row["key"]]
    ours, theirs = (text_of(row[it] * figure.scale) for it in ("brisk", "llama_cpp"))
    least, most = (text_of(it(row["brisk_rounds"]) * figure.scale) for it in (min, max))
    reached = {None: "", True: "yes", False: "no"}[row["reached"]]
    levels = "".join(f" {text_of(it['brisk'] * figure.scale)} | **{it['ratio']:.2f}** |"
                     for it in row.get("levels", {}).values())
    return (f"| {figure.name} | {ours} | {theirs} ({row['variant']}) | **{row['ratio']:.2f}** "
            f"| {target_text(row)} | {reached} | {least} to {most} |{levels}")


def variants_line(row):
    figure = FIGURES[row["key"]]
    values = [row["llama_cpp_variants"].get(variant) for variant in VARIANTS]
    texts = ["" if value is None else text_of(value * figure.scale) for value in values]
    return f"| {figure.name} | {' | '.join(texts)} |"


def levels_of(file):
    """What Brisk is called at the further levels that were measured."""
    return list(dict.fromkeys(level for row in file["figures"] for level in row.get("levels", {})))


def file_lines(file):
    levels = levels_of(file)
    lines = [f"## {file['name']}, {file['bytes'] / 1e6:,.0f} MB", "",
             "| figure | Brisk | llama.cpp, best variant | ratio | to reach | reached | Brisk, all rounds |"
             + "".join(f" {level} | ratio |" for level in levels),
             "| --- " * (7 + 2 * len(levels)) + "|", *map(figure_line, file["figures"]), ""]
    lines += ["| llama.cpp variant | " + " | ".join(VARIANTS) + " |", "| --- " * (len(VARIANTS) + 1) + "|",
              *map(variants_line, file["figures"]), ""]
    bandwidths = [run["read_bytes_per_second"] / 1e9 for run in file["runs"]["Brisk"]
                  if "read_bytes_per_second" in run]
    if bandwidths:
        lines.append(f"Read bandwidth beside it: {statistics.median(bandwidths):.1f} GB/s "
                     f"({min(bandwidths):.1f} to {max(bandwidths):.1f}).")
    if "short" in file["greedy_ids"]:
        hashes = [f"{digest} ({engine})" for engine, digest in file["greedy_ids"]["short"].items()]
        lines.append(f"Greedy ids after 512 tokens, BLAKE3: {', '.join(hashes)}.")
    lines += ["", f"{file['engines']['brisk']}: `{file['command']}`"]
    return [*lines, ""]


def overview_lines(files):
    """The ratios of all files in one table."""
    keys = [key for key in FIGURES if any(row["key"] == key for file in files for row in file["figures"])]
    rows = [["file", *(key.replace("-", " ") for key in keys)], ["---"] * (len(keys) + 1)]
    for file in files:
        ratios = {row["key"]: f"{row['ratio']:.2f}" for row in file["figures"]}
        rows.append([file["name"], *(ratios.get(key, "") for key in keys)])
        for level in levels_of(file):
            ratios = {row["key"]: f"{row['levels'][level]['ratio']:.2f}" for row in file["figures"]
                      if level in row.get("levels", {})}
            rows.append([f"{file['name']}: {level}", *(ratios.get(key, "") for key in keys)])
    return ["| " + " | ".join(row) + " |" for row in rows]


def report_lines(data):
    engines = data["files"][-1]["engines"]
    wanted = [row for file in data["files"] for row in file["figures"] if row["target"]]
    return [
        f"# Brisk against llama.cpp, {data['date']}", "",
        f"- machine: {engines['cpu']}, {data['threads']} threads, {data['system']}",
        f"- llama.cpp: {engines['llama_cpp']}",
        "- medians of interleaved rounds, each measurement in a fresh process; the best of four variants of "
        "llama.cpp for each figure",
        "- a ratio is Brisk's value divided by llama.cpp's: for memory and seconds, less is better",
        f"- reached: {sum(bool(row['reached']) for row in wanted)} of {len(wanted)} targets", "",
        "## Ratios", "", *overview_lines(data["files"]), "",
        *(line for file in data["files"] for line in file_lines(file)),
    ]


def command_text(args):
    """The command that measures the same elsewhere: without this machine's folders."""
    words = ["python3", "bench/vs_llama_cpp.py"]
    for path in args.model or []:
        words += ["--model", os.path.basename(path)]
    if args.suite is not None:
        words += ["--suite", *args.suite]
    if args.figures:
        words += ["--figures", *args.figures]
    if args.cpu != ["auto"]:
        words += ["--cpu", *args.cpu]
    return shlex.join([*words, "--threads", str(args.threads), "--rounds", str(args.rounds)])


def report_data(args, files):
    """The result of a run, with what it was measured on."""
    return {
        "date": str(datetime.date.today()), "threads": args.threads,
        "system": f"{platform.system()} {platform.release()}", "files": files,
    }


def write_result(args, data):
    stem = f"{data['date']}-vs-llama-cpp" + (f"-{args.cpu[0]}" if args.cpu[0] != "auto" else "")
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, stem + ".md"), "w") as out:
        out.write("\n".join(report_lines(data)))
    with open(os.path.join(args.out, stem + ".json"), "w") as out:
        json.dump(data, out, indent=1)
        out.write("\n")


def write_picture(path, data):
    """A bar for each ratio that says how many times better Brisk is: the two speeds side by side for all
    files, and the other figures of the first."""
    def ratio_of(file, key):
        ratio = next((row["ratio"] for row in file["figures"] if row["key"] == key), None)
        return ratio and (ratio if FIGURES[key].more_is_better else 1 / ratio)

    files, speeds = data["files"], ("prefill", "decode")
    groups = [(FIGURES[key].in_picture, [(file["name"], ratio_of(file, key)) for file in files])
              for key in speeds]
    others = [key for key, figure in FIGURES.items() if figure.in_picture and key not in speeds]
    groups.append((files[0]["name"], [(FIGURES[key].in_picture, ratio_of(files[0], key)) for key in others]))
    groups = [(name, [(label, ratio) for label, ratio in bars if ratio]) for name, bars in groups]
    groups = [(name, bars) for name, bars in groups if bars]
    engines = data["files"][-1]["engines"]
    version = engines["llama_cpp"].partition(";")[0]
    subtitle = f"{engines['cpu']}, {data['threads']} threads, {data['date']}; {version}"
    with open(path, "w") as out:
        out.write(ratio_chart.svg("Brisk against llama.cpp's best, times better", subtitle, groups))


# The program


def suite_files(args):
    """Makes the chosen files one after the other and deletes them again if asked to."""
    if args.suite is None:
        return
    os.makedirs(args.models_dir, exist_ok=True)
    for name, keys in SUITE.items():
        if args.suite and not any(text in name for text in args.suite):
            continue
        path = os.path.join(args.models_dir, name + ".gguf")
        is_new = not os.path.exists(path)
        if is_new:
            print(f"making {path}", file=sys.stderr)
            shape, _, type_name = name.rpartition("-")
            subprocess.run([sys.executable, os.path.join(HERE, "make_model.py"), "--shape", shape,
                            "--type", type_name, "--out", path], check=True)
            os.sync()  # else it is still being written while the first engine runs
        yield path, keys
        if is_new and args.delete:
            os.remove(path)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brisk", default=os.path.join(ROOT, "target/release/brisk"), help="the binary")
    parser.add_argument("--model", action="append", help="a file to measure; may be given several times")
    parser.add_argument("--suite", nargs="*", metavar="TEXT", help="made files: all, or those whose names "
                        f"contain one of the texts, of {', '.join(SUITE)}")
    parser.add_argument("--models-dir", default=os.path.join(HERE, "models"),
                        help="where made files are and go")
    parser.add_argument("--delete", action="store_true", help="delete each file that was made here after use")
    parser.add_argument("--figures", nargs="+", choices=FIGURES, metavar="FIGURE",
                        help=f"only some of {', '.join(FIGURES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cpu", nargs="+", default=[os.environ.get("BRISK_CPU", "auto")],
                        help="the processor levels of Brisk's kernels, such as auto and avx2: the first has the "
                        "targets, the others stand beside it")
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    parser.add_argument("--append", help="an earlier result (.json), whose files are kept")
    parser.add_argument("--picture", help="SVG file to draw the ratios to")
    parser.add_argument("--least", type=float, help="fail where prefill or decode is below this ratio")
    args = parser.parse_args()
    if args.suite is None and not args.model:
        args.suite = [next(iter(SUITE))]
    missing = [name for name in ("gguf", "llama_cpp", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"Python lacks {', '.join(missing)}: pip install -r bench/requirements.txt")
    if shutil.which(args.brisk) is None:
        parser.error(f"no program at {args.brisk}: cargo build --release, or name another with --brisk")
    for path in [*(args.model or []), *([args.append] if args.append else [])]:
        if not os.path.isfile(path):
            parser.error(f"no file at {path}")
    return args


def main():
    args = arguments()
    files = []
    if args.append:
        with open(args.append) as earlier:
            files = json.load(earlier)["files"]
    chosen = [(path, tuple(FIGURES)) for path in args.model or []]
    # One by one: a file of the suite is made when its turn comes, and may be deleted after it.
    for path, keys in itertools.chain(chosen, suite_files(args)):
        if args.figures:
            keys = [key for key in FIGURES if key in args.figures]
        measured = measured_file(args, path, keys)
        if not measured["figures"]:
            raise SystemExit(f"{path}: nothing could be compared")
        files = [file for file in files if file["name"] != measured["name"]] + [measured]
        data = report_data(args, files)
        if args.out:  # after every file, so that nothing is lost
            write_result(args, data)
        if args.picture:
            write_picture(args.picture, data)
    print("\n".join(report_lines(data)))
    slow = [f"{file['name']}: {row['key']} {row['ratio']:.2f}" for file in files for row in file["figures"]
            if args.least and row["key"] in ("prefill", "decode") and row["ratio"] < args.least]
    if slow:
        raise SystemExit(f"below {args.least}: {', '.join(slow)}")


if __name__ == "__main__":
    main()
