#!/usr/bin/env python3
"""Measures llama.cpp once, in a process of its own, in the words of `brisk bench --json`.

    python3 bench/llama_cpp_run.py --model MODEL.gguf --repack 1 --flash 0

The prompts are those of `brisk bench`, and so is what counts as load, first token, prefill and
decode. Memory is what the process has had resident at most, less what Python took before.
"""

import argparse
import ctypes
import json
import time

import llama_cpp as ll
import numpy as np


def status_bytes(key):
    """A line of /proc/self/status, such as `VmHWM`, in bytes."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key + ":"))


def prompt(sequence, length, vocab_size):
    """The ids of `brisk bench`."""
    return [((i + 1) * 7919 + sequence * 104_729) % vocab_size for i in range(length)]


class Engine:
    """A model and a context with room for `num_sequences` of `num_tokens` each."""

    def __init__(self, path, threads, repack, flash, num_sequences, num_tokens):
        params = ll.llama_model_default_params()
        params.use_extra_bufts = repack
        params.n_gpu_layers = 0
        self.model = ll.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise SystemExit("llama.cpp could not load the file")
        context = ll.llama_context_default_params()
        context.n_seq_max = num_sequences
        context.n_ctx = num_sequences * num_tokens
        context.n_batch = max(512, num_tokens)
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn_type = int(flash)
        self.context = ll.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("llama.cpp could not make a context")
        self.vocab_size = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.lengths = [0] * num_sequences

    def forget(self):
        """Makes the context empty."""
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)
        self.lengths = [0] * len(self.lengths)

    def step(self, tokens):
        """One batch of lists of tokens by sequence; gives the greedy token after each list."""
        num_tokens = sum(len(it) for it in tokens.values())
        batch = ll.llama_batch_init(num_tokens, 0, 1)
        batch.n_tokens = num_tokens
        row, last_rows = 0, []
        for sequence, ids in tokens.items():
            for token in ids:
                batch.token[row] = token
                batch.pos[row] = self.lengths[sequence]
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence
                batch.logits[row] = False
                self.lengths[sequence] += 1
                row += 1
            batch.logits[row - 1] = True
            last_rows.append(row - 1)
        status = ll.llama_decode(self.context, batch)
        ll.llama_batch_free(batch)
        if status != 0:
            raise SystemExit(f"llama_decode gave {status}")
        return [self.greedy(row) for row in last_rows]

    def greedy(self, row):
        logits = ll.llama_get_logits_ith(self.context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self.vocab_size,)).argmax())


def measure(args):
    # What it says goes nowhere. The callback must live as long as the library is used.
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    ll.llama_backend_init()
    before_bytes = status_bytes("VmRSS")

    start = time.perf_counter()
    num_tokens = args.prompt_tokens + args.gen_tokens
    engine = Engine(args.model, args.threads, bool(args.repack), bool(args.flash), args.sequences, num_tokens)
    load_seconds = time.perf_counter() - start
    engine.step({0: prompt(0, 1, engine.vocab_size)})
    first_token_seconds = time.perf_counter() - start
    engine.forget()

    start = time.perf_counter()
    tokens = []
    for sequence in range(args.sequences):
        tokens += engine.step({sequence: prompt(sequence, args.prompt_tokens, engine.vocab_size)})
    prefill_seconds = time.perf_counter() - start

    start = time.perf_counter()
    for _ in range(args.gen_tokens):
        tokens = engine.step({sequence: [token] for sequence, token in enumerate(tokens)})
    decode_seconds = time.perf_counter() - start

    return {
        "version": ll.__version__,
        "features": ll.llama_print_system_info().decode().strip(),
        "prefill_tokens_per_second": args.sequences * args.prompt_tokens / prefill_seconds,
        "decode_tokens_per_second": args.sequences * args.gen_tokens / decode_seconds,
        "load_seconds": load_seconds,
        "first_token_seconds": first_token_seconds,
        "peak_memory_bytes": status_bytes("VmHWM") - before_bytes,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=64)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--repack", type=int, choices=(0, 1), default=1, help="whether weights are repacked")
    parser.add_argument("--flash", type=int, choices=(0, 1), default=0, help="whether attention is fused")
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
