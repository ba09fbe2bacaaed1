#!/usr/bin/env python3
"""Times Brisk against llama.cpp on the same file, interleaved, and prints medians and ratios.

    pip install llama-cpp-python
    python3 bench/vs_llama_cpp.py --brisk target/release/brisk --model MODEL.gguf

Each measurement is a fresh process: load, one warm-up, then a prompt of --prompt-tokens and
--gen-tokens greedy tokens. llama.cpp runs in four variants (weight repacking on and off, flash
attention on and off); for each figure its best median counts. A ratio above 1 means that Brisk
is faster (for seconds and bytes: that it needs less).
"""

import argparse
import ctypes
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time

VARIANTS = [(repack, flash) for repack in (1, 0) for flash in (0, 1)]
FIGURES = [
    # key, what it is called, whether more is better
    ("prefill_tokens_per_second", "prefill, tokens/s", True),
    ("decode_tokens_per_second", "decode, tokens/s", True),
    ("load_seconds", "load, s", False),
    ("peak_memory_bytes", "peak resident memory, bytes", False),
]


def run_llama_cpp(model_path, prompt_tokens, gen_tokens, threads, repack, flash):
    """Measures llama.cpp in this process and prints one line of JSON."""
    import llama_cpp as ll

    # Its log goes to standard error; keep it quiet. The callback must outlive the model.
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    ll.llama_backend_init()
    start = time.perf_counter()
    params = ll.llama_model_default_params()
    params.use_extra_bufts = bool(repack)
    params.n_gpu_layers = 0
    model = ll.llama_model_load_from_file(model_path.encode(), params)
    if not model:
        raise SystemExit("llama.cpp could not load the file")
    context = ll.llama_context_default_params()
    context.n_ctx = prompt_tokens + gen_tokens + 64
    context.n_batch = max(512, prompt_tokens)
    context.n_ubatch = 512
    context.n_threads = context.n_threads_batch = threads
    if hasattr(context, "flash_attn_type"):
        context.flash_attn_type = int(flash)
    else:
        context.flash_attn = bool(flash)
    ctx = ll.llama_init_from_model(model, context)
    load_seconds = time.perf_counter() - start
    vocab = ll.llama_model_get_vocab(model)
    vocab_size = ll.llama_vocab_n_tokens(vocab)
    prompt = [(7919 * i + 13) % min(vocab_size, 100_000) for i in range(prompt_tokens)]

    def decode(tokens):
        array = (ll.llama_token * len(tokens))(*tokens)
        batch = ll.llama_batch_get_one(array, len(tokens))
        if ll.llama_decode(ctx, batch) != 0:
            raise SystemExit("llama_decode failed")

    def greedy():
        logits = ll.llama_get_logits_ith(ctx, -1)
        import numpy as np
        return int(np.ctypeslib.as_array(logits, shape=(vocab_size,)).argmax())

    def once(count):
        ll.llama_memory_clear(ll.llama_get_memory(ctx), True)
        start = time.perf_counter()
        decode(prompt)
        token = greedy()
        prefill = time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(count):
            decode([token])
            token = greedy()
        return prefill, time.perf_counter() - start

    once(4)
    prefill, decode_seconds = once(gen_tokens)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    print(json.dumps({
        "prefill_tokens_per_second": prompt_tokens / prefill,
        "decode_tokens_per_second": gen_tokens / decode_seconds,
        "load_seconds": load_seconds,
        "peak_memory_bytes": peak,
        "features": ll.llama_print_system_info().decode(),
        "version": ll.__version__,
    }))


def measure_llama_cpp(args, repack, flash):
    """One llama.cpp measurement in a fresh process."""
    command = [sys.executable, __file__, "--one-llama-cpp", f"{repack},{flash}", "--model", args.model,
               "--prompt-tokens", str(args.prompt_tokens), "--gen-tokens", str(args.gen_tokens),
               "--threads", str(args.threads)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.strip().splitlines()[-1])


def measure_brisk(args):
    """One Brisk measurement in a fresh process."""
    command = [args.brisk, "bench", "--model", args.model, "--json",
               "--prompt-tokens", str(args.prompt_tokens), "--gen-tokens", str(args.gen_tokens),
               "--threads", str(args.threads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def spread(runs, key):
    values = [run[key] for run in runs]
    return f"{min(values):.4g} to {max(values):.4g}"


def report(args, brisk, llama):
    """The table, as Markdown lines and as data."""
    first = next(iter(llama.values()))[0]
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), platform.processor())
    lines = [
        f"# Brisk against llama.cpp, {datetime.date.today()}", "",
        f"- file: `{os.path.basename(args.model)}`, {os.path.getsize(args.model) / 1e6:.0f} MB",
        f"- machine: {cpu}, {args.threads} threads, `BRISK_CPU={os.environ.get('BRISK_CPU', 'auto')}`",
        f"- prompt {args.prompt_tokens} tokens, {args.gen_tokens} generated, "
        f"medians of {args.rounds} interleaved rounds",
        f"- llama-cpp-python {first['version']}; its processor features: {first['features'].strip()}",
        f"- Brisk {brisk[0].get('versions', '')}, commit {args.commit}", "",
        "| figure | Brisk | llama.cpp, best variant | ratio | Brisk's spread |",
        "| --- | --- | --- | --- | --- |",
    ]
    data = {"brisk": brisk, "llama_cpp": {f"repack={r} flash={f}": runs for (r, f), runs in llama.items()}}
    ratios = {}
    for key, name, more_is_better in FIGURES:
        ours = median(brisk, key)
        choose = max if more_is_better else min
        variant, theirs = choose(((v, median(runs, key)) for v, runs in llama.items()),
                                 key=lambda pair: pair[1])
        ratio = ours / theirs if more_is_better else theirs / ours
        ratios[key] = ratio
        label = f"{theirs:.4g} (repack {variant[0]}, flash {variant[1]})"
        lines.append(f"| {name} | {ours:.4g} | {label} | **{ratio:.2f}** | {spread(brisk, key)} |")
    lines += ["", "| llama.cpp variant | prefill, tokens/s | decode, tokens/s |", "| --- | --- | --- |"]
    for (repack, flash), runs in llama.items():
        lines.append(f"| repack {repack}, flash attention {flash} "
                     f"| {median(runs, FIGURES[0][0]):.4g} | {median(runs, FIGURES[1][0]):.4g} |")
    command = "python3 bench/vs_llama_cpp.py " + " ".join(
        f"--{key} {value}" for key, value in [("prompt-tokens", args.prompt_tokens),
                                              ("gen-tokens", args.gen_tokens), ("rounds", args.rounds)])
    lines += ["", f"Command: `{command}`", ""]
    return lines, {**data, "ratios": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brisk", default="target/release/brisk")
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="folder for the dated result (.md and .json)")
    parser.add_argument("--least", type=float, help="fail when prefill or decode is below this ratio")
    parser.add_argument("--one-llama-cpp", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one_llama_cpp:
        repack, flash = map(int, args.one_llama_cpp.split(","))
        return run_llama_cpp(args.model, args.prompt_tokens, args.gen_tokens, args.threads, repack, flash)

    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    args.commit = git.stdout.strip() or "unknown"
    brisk, llama = [], {variant: [] for variant in VARIANTS}
    for turn in range(args.rounds):
        brisk.append(measure_brisk(args))
        for variant in VARIANTS:
            llama[variant].append(measure_llama_cpp(args, *variant))
        print(f"round {turn + 1} of {args.rounds}: Brisk {brisk[-1]['prefill_tokens_per_second']:.1f} / "
              f"{brisk[-1]['decode_tokens_per_second']:.1f} tokens/s", file=sys.stderr)
    lines, data = report(args, brisk, llama)
    print("\n".join(lines))
    if args.out:
        stem = f"{datetime.date.today()}-vs-llama-cpp-{os.path.splitext(os.path.basename(args.model))[0]}"
        os.makedirs(args.out, exist_ok=True)
        with open(os.path.join(args.out, stem + ".md"), "w") as out:
            out.write("\n".join(lines))
        with open(os.path.join(args.out, stem + ".json"), "w") as out:
            json.dump(data, out, indent=1)
    if args.least and min(data["ratios"][key] for key, _, _ in FIGURES[:2]) < args.least:
        raise SystemExit(f"a ratio is below {args.least}")


if __name__ == "__main__":
    main()
