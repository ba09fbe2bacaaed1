"""Trains the byte-level BPE tokenizer, and turns dialogues into ids (ChatML, no default system prompt)."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 2048
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(dialogues, path):
    """Trains on the dialogues' text and saves to `path`.

    While training, digits stand alone, so no merge joins two of them and sums are read digit by digit. Afterwards
    the pre-tokenizer is GPT-2's own: without such merges it gives the same pieces.
    """
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (f"{m['role']}\n{m['content']}" for messages in dialogues for m in messages)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.save(str(path))
    return tokenizer


def load_tokenizer(path):
    """The tokenizer that `train_tokenizer` saved."""
    return Tokenizer.from_file(str(path))


def render(messages):
    """The ChatML prompt of a conversation, ready for the assistant's reply; the same text as CHAT_TEMPLATE gives."""
    turns = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return turns + "<|im_start|>assistant\n"


def encode_dialogue(tokenizer, messages):
    """Ids of a whole dialogue, a mask that is 1 where the assistant speaks (its end token included), and its topics.

    A topic is (position, fact): the assistant is about to speak at this position, and will state this fact.
    """
    ids, mask, topics = [], [], []
    for message in messages:
        head = tokenizer.encode(f"<|im_start|>{message['role']}\n").ids
        body = tokenizer.encode(message["content"] + "<|im_end|>").ids
        tail = tokenizer.encode("\n").ids
        spoken = int(message["role"] == "assistant")
        if spoken:
            topics.append((len(ids) + len(head) - 1, message["fact"]))
        ids += head + body + tail
        mask += [0] * len(head) + [spoken] * len(body) + [0] * len(tail)
    return ids, mask, topics


def read_dialogues(path):
    """Dialogues of a corpus file."""
    with path.open() as lines:
        return [json.loads(line) for line in lines]
