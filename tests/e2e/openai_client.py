"""Uses the official OpenAI client against the real binary: python openai_client.py --binary target/release/brisk"""

import argparse
import math
import re
import subprocess
import sys
import traceback

import openai
from openai import OpenAI
from server import Server, until

KEY = "correct-horse-battery-staple"
QUESTION = [{"role": "user", "content": "What is Brisk?"}]
CASES = []


def case(function):
    """A rule that must hold; its name says which."""
    CASES.append(function)
    return function


class Fixture:
    """The running server, a client of it, and the shortest ways to ask."""

    def __init__(self, server):
        self.server = server
        self.client = OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)
        self.model = self.client.models.list().data[0].id

    def chat(self, **fields):
        fields = {"messages": QUESTION, "temperature": 0, "max_tokens": 24, **fields}
        return self.client.chat.completions.create(model=self.model, **fields)

    def complete(self, **fields):
        fields = {"prompt": "Brisk is", "temperature": 0, "max_tokens": 12, **fields}
        return self.client.completions.create(model=self.model, **fields)

    def refused(self, error_class, param, code, ask=None, **fields):
        try:
            (ask or self.chat)(**fields)
        except error_class as error:
            assert error.param == param and error.code == code, (error.param, error.code, error.body)
            assert error.body["message"], error.body
            return error
        raise AssertionError(f"{fields} was accepted")


def texts_of(chunks, num_choices=1):
    """The streamed text of each choice, and each choice's finish reasons."""
    texts, reasons = [""] * num_choices, [[] for _ in range(num_choices)]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += (choice.delta.content or "") if hasattr(choice, "delta") else choice.text
            reasons[choice.index] += [choice.finish_reason] if choice.finish_reason else []
    return texts, reasons


def close_to(left, right):
    return math.isclose(left, right, rel_tol=1e-4, abs_tol=1e-4)


# ---- models ----

@case
def models_are_listed_and_found(f):
    models = f.client.models.list().data
    assert all(model.object == "model" and model.created > 0 and model.owned_by for model in models), models
    assert f.client.models.retrieve(f.model).id == f.model
    f.refused(openai.NotFoundError, "model", "model_not_found", lambda: f.client.models.retrieve("no/such-model"))


# ---- chat ----

@case
def a_chat_is_answered_with_its_usage(f):
    reply = f.chat()
    assert reply.object == "chat.completion" and reply.id and reply.created > 0 and reply.model == f.model, reply
    choice, usage = reply.choices[0], reply.usage
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content.strip(), choice
    assert choice.finish_reason in ("stop", "length"), choice
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 24, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    timings = reply.model_extra["timings"]
    assert timings["predicted_n"] == usage.completion_tokens and timings["predicted_per_second"] >= 0, timings
    assert timings["time_to_first_token_ms"] > 0, timings


@case
def a_stream_says_what_the_whole_reply_says(f):
    for fields in ({}, {"temperature": 1, "seed": 7}, {"temperature": 0.9, "seed": 7, "n": 3}, {"stop": ["is"]}, {"max_tokens": 1}):
        whole = f.chat(**fields)
        chunks = list(f.chat(stream=True, **fields))
        texts, reasons = texts_of(chunks, fields.get("n", 1))
        assert texts == [choice.message.content for choice in whole.choices], (fields, texts)
        assert reasons == [[choice.finish_reason] for choice in whole.choices], (fields, reasons)
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
        assert chunks[0].choices[0].delta.role == "assistant"


@case
def include_usage_adds_one_chunk_with_the_usage(f):
    usage = f.chat().usage
    *chunks, last = f.chat(stream=True, stream_options={"include_usage": True})
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == [] and last.usage.completion_tokens == usage.completion_tokens, last
    assert last.usage.total_tokens == usage.total_tokens, last
    assert all(chunk.usage is None and chunk.choices for chunk in f.chat(stream=True))


@case
def the_same_seed_gives_the_same_reply_and_another_another(f):
    def texts(seed):
        return [choice.message.content for choice in f.chat(temperature=1.5, seed=seed, n=2, max_tokens=40).choices]
    first = texts(1)
    assert texts(1) == first
    assert any(texts(seed) != first for seed in range(2, 6))
    assert first[0] != first[1] or texts(2)[0] != texts(2)[1]


@case
def n_replies_come_under_their_indexes(f):
    reply = f.chat(n=4, temperature=1, seed=3)
    assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
    assert reply.usage.completion_tokens >= 4
    alone = f.chat(temperature=1, seed=3)
    assert reply.choices[0].message.content == alone.choices[0].message.content


@case
def a_stop_text_ends_the_reply_and_is_not_part_of_it(f):
    text = f.chat().choices[0].message.content
    stop = text[len(text) // 2:][:4]
    for value in (stop, [stop], ["never-in-there", stop]):
        choice = f.chat(stop=value).choices[0]
        assert choice.message.content == text[:text.index(stop)], (value, choice)
        assert choice.finish_reason == "stop", choice


@case
def both_names_of_the_token_limit_count(f):
    for fields in ({"max_tokens": 3}, {"max_completion_tokens": 3, "max_tokens": openai.omit}):
        reply = f.chat(**fields)
        assert reply.usage.completion_tokens == 3 and reply.choices[0].finish_reason == "length", reply


@case
def log_probabilities_come_with_each_token(f):
    content = f.chat(logprobs=True, top_logprobs=5).choices[0].logprobs.content
    reply = f.chat(logprobs=True, top_logprobs=5)
    joined = b"".join(bytes(entry.bytes) for entry in reply.choices[0].logprobs.content)
    assert joined.decode(errors="replace") == reply.choices[0].message.content
    for entry in content:
        best = [top.logprob for top in entry.top_logprobs]
        assert len(best) == 5 and best == sorted(best, reverse=True) and best[0] <= 0, entry
        # The greedy token is the likeliest one.
        assert close_to(entry.logprob, best[0]), entry
        assert sum(math.exp(logprob) for logprob in best) < 1.001, entry
    plain = f.chat(logprobs=True).choices[0].logprobs.content
    assert [entry.token for entry in plain] == [entry.token for entry in content]
    assert all(entry.top_logprobs == [] for entry in plain)
    assert f.chat().choices[0].logprobs is None
    streamed = [entry for chunk in f.chat(logprobs=True, stream=True) for choice in chunk.choices
                for entry in (choice.logprobs.content if choice.logprobs else [])]
    assert [(entry.token, entry.logprob) for entry in streamed] == [(entry.token, entry.logprob) for entry in plain]


@case
def logit_bias_forbids_and_forces(f):
    # The tokens of a completion are their ids' texts, so a forced id shows in the text.
    token = 100
    forced = f.complete(logit_bias={str(token): 100}, max_tokens=4, logprobs=1).choices[0]
    assert len(set(forced.logprobs.tokens)) == 1, forced
    free = f.complete(max_tokens=4, logprobs=1).choices[0].logprobs.tokens
    spoken = f.complete(max_tokens=4).choices[0].text
    said = subprocess.run([f.server.binary, "tokenize", "--ids", "--text", spoken], capture_output=True, check=True, text=True, timeout=60)
    forbidden = {found: -100 for found in re.findall(r"\d+", said.stdout)}
    other = f.complete(logit_bias=forbidden, max_tokens=4, logprobs=1).choices[0].logprobs.tokens
    assert not set(other) & set(free), (other, free)
    assert f.complete(logit_bias={str(token): 0}, max_tokens=4, logprobs=1).choices[0].logprobs.tokens == free


@case
def the_system_prompt_and_the_conversation_reach_the_model(f):
    talk = [{"role": "system", "content": "You are Brisk."}, *QUESTION,
            {"role": "assistant", "content": "A server."}, {"role": "user", "content": [{"type": "text", "text": "Is it free?"}]}]
    whole = f.chat(messages=talk).usage.prompt_tokens
    for left_out in range(len(talk)):
        rest = f.chat(messages=talk[:left_out] + talk[left_out + 1:]).usage.prompt_tokens
        assert rest < whole, (talk[left_out], rest, whole)


@case
def our_own_sampling_fields_are_taken_and_change_the_reply(f):
    plain = f.chat(temperature=1.5, seed=5, max_tokens=40).choices[0].message.content
    narrow = f.chat(temperature=1.5, seed=5, max_tokens=40, extra_body={"top_k": 1}).choices[0].message.content
    greedy = f.chat(temperature=0, max_tokens=40).choices[0].message.content
    assert narrow == greedy and plain != greedy, (plain, narrow, greedy)
    # Each of these alone leaves one token to choose, or forbids what the greedy reply says again.
    for fields in ({"min_p": 1.0}, {"typical_p": 1e-9}):
        alone = f.chat(temperature=1.5, seed=5, max_tokens=40, extra_body=fields).choices[0].message.content
        assert alone != plain, (fields, alone)
    for fields in ({"repetition_penalty": 5.0}, {"no_repeat_ngram_size": 1}):
        other = f.chat(max_tokens=40, extra_body={"ignore_eos": True, **fields}).choices[0].message.content
        assert other != f.chat(max_tokens=40, extra_body={"ignore_eos": True}).choices[0].message.content, (fields, other)


@case
def a_reply_that_repeats_itself_is_ended(f):
    loop = {"max_tokens": 60, "logit_bias": {"100": 100}}
    assert f.complete(**loop).choices[0].finish_reason == "length"
    detection = {"repetition_detection": {"max_pattern_size": 8, "min_pattern_size": 4, "min_count": 3}}
    reply = f.complete(**loop, extra_body=detection)
    assert reply.choices[0].finish_reason == "repetition" and reply.usage.completion_tokens == 12, reply
    _, reasons = texts_of(f.complete(**loop, stream=True, extra_body=detection))
    assert reasons == [["repetition"]], reasons


@case
def what_clients_of_other_servers_send_is_taken(f):
    off = {"mirostat": 0, "mirostat_tau": 5, "xtc_probability": 0, "dry_multiplier": 0, "samplers": [], "cache_prompt": True, "tfs_z": 1, "top_k": -1}
    plain = f.chat().choices[0].message
    assert f.chat(extra_body=off).choices[0].message.content == plain.content
    # The reply goes back as the client's library has it.
    talk = [*QUESTION, plain.model_dump(), {"role": "assistant", "content": None, "tool_calls": []}, {"role": "user", "content": "And?", "name": "ada"}]
    assert f.chat(messages=talk).usage.prompt_tokens > f.chat().usage.prompt_tokens
    f.refused(openai.BadRequestError, "mirostat", "unsupported_parameter", extra_body={"mirostat": 2})


# ---- completions ----

@case
def a_text_is_continued(f):
    reply = f.complete()
    assert reply.object == "text_completion" and reply.choices[0].text, reply
    assert reply.usage.completion_tokens <= 12, reply
    assert f.complete(max_tokens=openai.omit, extra_body={"ignore_eos": True}).usage.completion_tokens == 16
    texts, reasons = texts_of(f.complete(stream=True))
    assert texts == [reply.choices[0].text] and reasons == [[reply.choices[0].finish_reason]]


@case
def several_prompts_give_choices_in_their_order(f):
    prompts = ["Brisk is", "A model is", "The server"]
    reply = f.complete(prompt=prompts)
    alone = [f.complete(prompt=prompt).choices[0].text for prompt in prompts]
    assert [choice.text for choice in reply.choices] == alone
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    texts, _ = texts_of(f.complete(prompt=prompts, stream=True), 3)
    assert texts == alone
    assert [choice.index for choice in f.complete(prompt=prompts, n=2, temperature=1, seed=1).choices] == list(range(6))


@case
def token_ids_are_a_prompt_too(f):
    one = f.complete(prompt=[100, 101, 102])
    many = f.complete(prompt=[[100, 101, 102], [103]])
    assert many.choices[0].text == one.choices[0].text and len(many.choices) == 2
    assert one.usage.prompt_tokens in (3, 4), one.usage


@case
def echo_puts_the_prompt_before_the_text(f):
    text = f.complete().choices[0].text
    assert f.complete(echo=True).choices[0].text == f"Brisk is{text}"
    texts, _ = texts_of(f.complete(echo=True, stream=True))
    assert texts == [f"Brisk is{text}"]
    f.refused(openai.BadRequestError, "logprobs", "unsupported_parameter", f.complete, echo=True, logprobs=1)


@case
def completions_report_log_probabilities(f):
    choice = f.complete(logprobs=3).choices[0]
    logprobs = choice.logprobs
    assert "".join(logprobs.tokens) == choice.text, choice
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == len(logprobs.text_offset)
    assert all(logprob <= 0 for logprob in logprobs.token_logprobs), logprobs
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
        assert close_to(top[token], logprob) and 3 <= len(top) <= 4, (token, top)


# ---- errors ----

@case
def wrong_requests_are_refused_by_name(f):
    f.refused(openai.BadRequestError, "temperature", "invalid_value", temperature=3)
    f.refused(openai.BadRequestError, "n", "invalid_value", n=99)
    f.refused(openai.BadRequestError, "messages", "invalid_value", messages=[])
    f.refused(openai.BadRequestError, "messages[0].role", "invalid_value", messages=[{"role": "king", "content": "x"}])
    f.refused(openai.BadRequestError, "top_logprobs", "unsupported_parameter", top_logprobs=2)
    f.refused(openai.BadRequestError, "nonsense", "unknown_parameter", extra_body={"nonsense": 1})
    f.refused(openai.BadRequestError, "tools", "unsupported_parameter", tools=[{"type": "function", "function": {"name": "f"}}])
    f.refused(openai.BadRequestError, "prompt", "invalid_value", f.complete, prompt="")
    f.refused(openai.BadRequestError, "prompt", "invalid_value", f.complete, prompt=[4_000_000_000])


@case
def a_stream_is_refused_before_it_begins(f):
    f.refused(openai.BadRequestError, "temperature", "invalid_value", temperature=3, stream=True)


@case
def an_unknown_model_is_not_found(f):
    f.refused(openai.NotFoundError, "model", "model_not_found", lambda: f.client.chat.completions.create(model="gpt-4", messages=QUESTION))


@case
def a_prompt_beyond_the_context_is_told_both_numbers(f):
    limit = f.client.models.list().data[0].model_extra["max_model_len"]
    error = f.refused(openai.BadRequestError, None, "context_length_exceeded", messages=[{"role": "user", "content": "word " * 2 * limit}])
    assert str(limit) in error.body["message"], error.body
    error = f.refused(openai.BadRequestError, None, "context_length_exceeded", max_tokens=limit)
    assert str(limit) in error.body["message"], error.body


@case
def a_key_is_wanted_where_there_is_one(f):
    with Server(f.server.binary, "--api-key", KEY) as locked:
        base_url = f"{locked.url}/v1"
        assert OpenAI(base_url=base_url, api_key=KEY).models.list().data[0].id == f.model
        for key in ("wrong", KEY.upper(), KEY[:-1], f"{KEY}x"):
            client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
            f.refused(openai.AuthenticationError, None, "invalid_api_key", client.models.list)


# ---- what must not go on ----

@case
def closing_a_stream_frees_its_sequence(f):
    before = f.server.num_aborted()
    # Long enough not to end by itself in the meantime.
    stream = f.chat(stream=True, max_tokens=400, n=8, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    until(lambda: f.server.num_aborted() == before + 1, "the generation is aborted")
    assert f.server.gauge("num_requests_running") == 0
    assert f.chat().choices[0].message.content.strip()


@case
def many_at_once_get_what_each_gets_alone(f):
    prompts = [f"Brisk {word}" for word in ("is", "can", "has", "reads", "runs", "serves", "uses", "needs")]
    alone = [f.complete(prompt=prompt, max_tokens=30).choices[0].text for prompt in prompts]
    streams = [f.complete(prompt=prompt, max_tokens=30, stream=True) for prompt in prompts]
    assert [texts_of(stream)[0][0] for stream in streams] == alone


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    options = parser.parse_args()
    num_failed = 0
    # A kept reply would say nothing of the engine; assistant.py looks at those.
    server = Server(options.binary, "--response-cache", "off")
    try:
        fixture = Fixture(server)
        for function in CASES:
            try:
                function(fixture)
            except Exception:  # A case may fail in any way; the others still say something.
                num_failed += 1
                print(f"FAILED {function.__name__}\n{traceback.format_exc(limit=-3)}")
    finally:
        status = server.stop()
    if status != 0:
        num_failed += 1
        print(f"FAILED the server ends with status 0 when it is told to stop: it ended with {status}")
    print(f"{len(CASES) + 1 - num_failed} passed, {num_failed} failed")
    sys.exit(1 if num_failed else 0)


if __name__ == "__main__":
    main()
