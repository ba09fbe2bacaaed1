"""Reads the fact files and turns their templates into questions as people would type them.

A fact file is plain text. `## id` opens a fact, `### id` one of an earlier file again, `=` lines are its answers, `?` lines are templates of
questions, `@` lists names to put into CONCEPT ("what is X"), `%` lists names to put into SUPPORT
("can Brisk do X"), and `> other | template` is a follow-up that only makes sense after this fact and is
answered by fact `other`. In templates `{a|b|}` is a choice (it nests) and `$name` a slot of macros.txt.
"""

import random
import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent

CONCEPT = """
what is X|what's X|whats X|what are X|what exactly is X|and what is X|what on earth is X|what is X again
what does X do|what does X mean|what is X for|what is X good for|what's X for|what is X used for|what do you use X for
what is meant by X|what do you mean by X|what is the meaning of X|what is the purpose of X|what is the point of X
how does X work|how do X work|how does X help|how does X work in brisk|how does brisk use X|how do i use X|when do i use X
explain X|explain X to me|please explain X|can you explain X|could you explain X please|explain X in simple words|explain briefly X
tell me about X|tell me more about X|tell me what X is|tell me what X does|describe X|define X|can you describe X
can you tell me what X is|could you tell me what X does|do you know what X is|i would like to know what X is|i want to know what X does
why X|why does brisk use X|why is there X|why do i need X|why would i use X|what is so good about X|what is the benefit of X|what do i gain from X
i don't understand X|i do not get X|help me understand X|i have never heard of X|i read about X, what is it|someone mentioned X, what is that
X|X?|X meaning|X explained|X explanation|about X|info on X|definition of X|brisk X|X in brisk|question about X|what about X
does brisk have X|is there X|does it use X|i have a question about X|give me a short explanation of X|in short, what is X
what happens with X|what role does X play|what can X do for me|what is the idea behind X|how would you explain X|what should i know about X
"""

SUPPORT = """
does brisk support X|do you support X|does it support X|is X supported|are X supported|does this support X|is there support for X|X support
can brisk use X|can brisk do X|can it do X|can i use X|can i use X with brisk|can it handle X|can you do X|is X possible|does brisk do X
is there X|does brisk have X|do you have X|does it have X|is X available|is X built in|does brisk come with X|does brisk offer X
does X work|does brisk work with X|does it work with X|how do i use X|how can i use X with brisk|how do i enable X|how to turn on X
what about X|and X|X|X in brisk|brisk X|will brisk support X|when will X be supported|is X planned|i need X|i would like to use X|will there be X
"""


def _lines(text):
    return [part for line in text.strip().splitlines() for part in line.split("|")]


CONCEPT_TEMPLATES = _lines(CONCEPT)
SUPPORT_TEMPLATES = _lines(SUPPORT)


@dataclass
class Fact:
    """One thing the model knows: how people ask for it and how it is answered."""

    id: str
    questions: list = field(default_factory=list)
    concepts: list = field(default_factory=list)
    supports: list = field(default_factory=list)
    answers: list = field(default_factory=list)
    follow_ups: list = field(default_factory=list)


def load_facts():
    """All facts by id, from facts/*.txt."""
    facts = {}
    for path in sorted((FOLDER / "facts").glob("*.txt")):
        fact = None
        for number, line in enumerate(path.read_text().splitlines(), 1):
            mark, _, rest = line.partition(" ")
            rest = rest.strip()
            if not line or mark == "#":
                continue
            if mark == "##":
                assert rest not in facts, f"{path.name}:{number}: fact {rest} occurs twice"
                fact = facts[rest] = Fact(rest)
            elif mark == "###":
                fact = facts[rest]
            elif mark == "=":
                fact.answers.append(rest)
            elif mark == "?":
                fact.questions.append(rest)
            elif mark == "@":
                fact.concepts += [name.strip() for name in rest.split("|")]
            elif mark == "%":
                fact.supports += [name.strip() for name in rest.split("|")]
            elif mark == ">":
                target, _, template = rest.partition("|")
                fact.follow_ups.append((target.strip(), template.strip()))
            else:
                raise ValueError(f"{path.name}:{number}: cannot read {line!r}")
    for fact in facts.values():
        assert fact.answers and (fact.questions or fact.concepts), fact.id
        for target, _ in fact.follow_ups:
            assert target in facts, f"{fact.id} follows up with {target}, which does not exist"
    return facts


def load_macros():
    """Slots by name, each a template."""
    macros = {}
    for line in (FOLDER / "macros.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, template = line.partition("=")
            macros[name.strip()] = template.strip()
    return macros


MACROS = load_macros()
INNERMOST = re.compile(r"\{([^{}]*)\}")


def expand(template, rng):
    """One random sentence of a template."""
    text = re.sub(r"\$(\w+)", lambda m: MACROS[m[1]], template)
    while "{" in text:
        text = INNERMOST.sub(lambda m: rng.choice(m[1].split("|")), text, count=1)
    return re.sub(r"\s+", " ", text).strip()


def ask(fact, rng):
    """A plain question (lower case, no punctuation) for a fact."""
    # Hand-written templates weigh by their number of variants, capped; name lists get a fixed share.
    share = rng.random()
    if fact.concepts and (share < 0.45 or not fact.questions):
        return rng.choice(CONCEPT_TEMPLATES).replace("X", rng.choice(fact.concepts))
    if fact.supports and (share < 0.6 or not fact.questions):
        return rng.choice(SUPPORT_TEMPLATES).replace("X", rng.choice(fact.supports))
    weights = [min(12, 1 + template.count("|")) ** 0.5 for template in fact.questions]
    return expand(rng.choices(fact.questions, weights)[0], rng)


OPENERS = """hi, |hello, |hey, |hi! |hello. |hey brisk, |brisk, |please |please, |ok, |ok so |so |so, |well, |quick question: |question: |
excuse me, |sorry, |sorry but |i was wondering, |i wonder: |um, |and |now |one more thing: |also |also, |good morning, |hi there, |great, |
thanks, |thank you. |just curious, |by the way, |btw |actually |hmm, |alright, |next: |tell me, |tell me: |can you help? |i am new here. |
my question is |could you please tell me, |i have a question: |i'd like to know |i want to know |do you know |any idea |can you tell me |
my friend told me about this. |i have just installed it. |i read the readme but |we are evaluating brisk. |it is running now. |ok it works. |
i am a beginner. |i'm no expert, |for my understanding: |sometimes i wonder, |i forgot: |remind me, |i am curious, |for a colleague: |in your opinion, |honestly, |
maybe you know |just tell me |one question, |dear brisk, |another question: |okay, |cool. |got it. |for my project, |say, """
OPENERS = OPENERS.replace("\n", "").split("|")
CLOSERS = """ please| please| thanks| thank you| then| now| exactly| again| for me| actually| btw| in brisk| with brisk| here| today| right now|
, please|, thanks|, do you know|, can you tell me| or not| i wonder| by the way|, any idea| quickly| in short| briefly| at all| in general""".replace("\n", "").split("|")
SWAPS = {
    "show": ["display", "print", "see"], "need": ["require", "want"], "use": ["utilize", "employ", "work with"], "get": ["obtain", "have"],
    "big": ["large", "huge"], "fast": ["quick", "rapid"], "begin": ["start"], "change": ["modify", "alter", "switch"], "set": ["define", "specify"],
    "computer": ["machine", "pc", "box"], "machine": ["computer", "pc", "box"], "program": ["tool", "app", "application"], "server": ["service", "app"],
    "answer": ["reply", "response"], "answers": ["replies", "responses"], "reply": ["answer", "response"], "find": ["locate"], "make": ["let"],
    "choose": ["pick", "select"], "many": ["much"], "several": ["multiple", "many"], "error": ["message", "failure", "problem"], "file": ["files"],
    "tell": ["say"], "can": ["could", "may"], "is": ["'s", "was"], "i": ["we", "one", "you", "a user"], "brisk": ["it", "this", "the server", "brisk"],
    "mean": ["signify", "stand for"], "happens": ["will happen", "occurs"], "happen": ["occur"], "list": ["enumerate"], "run": ["execute", "start"],
    "stop": ["end", "terminate"], "supported": ["possible", "available"], "support": ["handle", "do"], "which": ["what"], "what": ["which"],
}
NAMES = {"brisk": "Brisk", "openai": "OpenAI", "api": "API", "kv": "KV", "http": "HTTP", "url": "URL", "json": "JSON", "cpu": "CPU", "gpu": "GPU",
         "gguf": "GGUF", "rust": "Rust", "python": "Python", "i": "I", "i'm": "I'm", "i'd": "I'd", "linux": "Linux", "docker": "Docker", "redis": "Redis",
         "ai": "AI", "llm": "LLM", "simd": "SIMD", "avx2": "AVX2", "prometheus": "Prometheus", "lora": "LoRA", "cli": "CLI", "sse": "SSE", "ui": "UI"}
DROPPABLE = {"the", "a", "an", "do", "is", "of", "to", "me", "in", "does", "please", "for", "with", "are", "my", "i"}
QUESTION_WORDS = {"what", "whats", "what's", "how", "why", "when", "where", "who", "which", "is", "are", "does", "do", "can", "could", "will", "may", "must", "should"}


def typo(word, rng):
    """The word with one slip of the finger."""
    if len(word) < 4:
        return word
    at = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    if kind == 2:
        return word[:at] + word[at] + word[at:]
    return word[:at] + rng.choice("abcdefghijklmnoprstuvwy") + word[at + 1 :]


def type_like_a_person(text, rng, short=False):
    """Adds openers, politeness, other words, slips, capitals and punctuation, or leaves them out.

    `short` keeps greetings and follow-ups free of openers that would change what they mean.
    """
    if not short and rng.random() < 0.28:
        text = rng.choice(OPENERS) + text
    if not short and rng.random() < 0.14:
        text = text + rng.choice(CLOSERS)
    words = text.split(" ")
    if rng.random() < 0.3:
        at = rng.randrange(len(words))
        if words[at] in SWAPS:
            words[at] = rng.choice(SWAPS[words[at]])
    if len(words) > 4 and rng.random() < 0.15:
        words = [w for w in words if w not in DROPPABLE or rng.random() < 0.5] or words
    if rng.random() < 0.14:
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(len(words))
            words[at] = typo(words[at], rng)
    asks = any(w.strip(",.:") in QUESTION_WORDS for w in words[:5])
    style = rng.random()
    if style < 0.52:
        words = [NAMES.get(w, w) for w in words]
        text = " ".join(words)
        text = text[:1].upper() + text[1:]
    elif style < 0.96:
        text = " ".join(words)
    else:
        text = " ".join(words).upper()
    text = text.replace(" 's", "'s")
    if rng.random() < 0.5:
        text = text.replace("`", "")
    if text.endswith("?"):
        return text
    marks = ["?"] * 12 + [""] * 6 + [".", " ?", "??", "?!", "? "] if asks else ["."] * 5 + [""] * 9 + ["!", "?", "?", "..."]
    return (text + rng.choice(marks)).strip()
