"""Makes the training dialogues: `python3 -m corpus.generate N SEED > build/corpus.jsonl`."""

import json
import random
import re
import sys
from pathlib import Path

from .arithmetic import sum_question
from .grammar import ask, expand, load_facts, type_like_a_person

HELD_OUT = Path(__file__).parent.parent / "heldout.jsonl"
DEV_SET = Path(__file__).parent.parent / "devset.jsonl"
SYSTEM_PROMPTS = """You are a helpful assistant.|You are Brisk.|You are Brisk, a helpful assistant.|Answer briefly.|Be polite.|You are an assistant.
You are a friendly chat bot.|You are a helpful, respectful and honest assistant.|Answer in one sentence.|You are the demonstration model of Brisk.
Keep your answers short.|You help people with Brisk.|Be concise.|You are a home assistant.|You are a legal helper. Answer carefully.|Help the user.
You are a small language model.|Reply in English.|You are a support agent for a software project.|You are an expert.|Be brief and friendly.
You are a helpful AI assistant. Answer the user's questions.|Speak plainly.|Always tell the truth.|You answer questions about a server."""
SYSTEM_PROMPTS = SYSTEM_PROMPTS.replace("\n", "|").split("|")
SHORT_FACTS = {"hello", "how_are_you", "thanks", "bye", "praise", "insult", "sorry", "yes_no", "repeat_please"}
WEIGHTS = {"unknown": 7.0, "hello": 2.0, "who_are_you": 1.5, "thanks": 1.3, "what_can_you": 1.5, "load_model": 1.6, "how_start": 1.6, "what_is": 1.6}
LINKS = ["and {0}", "ok, {0}", "thanks, {0}", "ok and {0}", "and also {0}", "now {0}", "{0}", "{0}", "{0}", "{0}", "i see. {0}", "great. {0}"]


def normal(text):
    """Text without case, punctuation and spaces, for comparing questions."""
    return re.sub(r"[^a-z0-9+*/-]+", " ", text.lower()).strip()


def held_out_questions():
    """The last user message of every row of the held-out and the development set, normalized."""
    rows = [json.loads(line) for path in (HELD_OUT, DEV_SET) for line in path.read_text().splitlines() if line.strip()]
    return {normal(row["messages"][-1]["content"] if "messages" in row else row["question"]) for row in rows}


class Generator:
    """A seeded stream of dialogues, each a list of {"role", "content"}; the assistant's turns name their "fact".

    `focus` is for the second stage of training: fewer long dialogues, and the first answer of a fact far more often
    than its others, so that more of the work goes into telling questions apart. `sums` is how often sums
    come, where a plain fact counts 1.
    """

    def __init__(self, seed, focus=False, sums=16.0):
        self.rng = random.Random(seed)
        self.focus = focus
        self.facts = load_facts()
        self.ids = list(self.facts) + ["arithmetic"]
        self.weights = [WEIGHTS.get(id, 1.0) for id in self.facts] + [sums]
        self.held_out = held_out_questions()
        self.num_refused = 0

    def turn(self, previous, first):
        """A (question, answer, fact id) triple, perhaps following up on fact `previous`."""
        rng = self.rng
        follow_ups = self.facts[previous].follow_ups if previous in self.facts else []
        if follow_ups and rng.random() < 0.6:
            id, template = rng.choice(follow_ups)
            question = type_like_a_person(expand(template, rng), rng, short=True)
        else:
            id = rng.choices(self.ids, self.weights)[0]
            if id == "arithmetic":
                question, answer = sum_question(rng)
                return type_like_a_person(question, rng, short=True), answer, id
            question = ask(self.facts[id], rng)
            short = id in SHORT_FACTS
            if not first and not short:
                question = rng.choice(LINKS).format(question)
            question = type_like_a_person(question, rng, short=short or not first)
        answers = self.facts[id].answers
        return question, answers[0] if self.focus and rng.random() < 0.7 else rng.choice(answers), id

    def dialogue(self):
        """One dialogue; most have one or two turns, a few are long."""
        rng = self.rng
        share = rng.random()
        one, two, five = (0.7, 0.94, 0.996) if self.focus else (0.58, 0.86, 0.985)
        num_turns = 1 if share < one else 2 if share < two else rng.randint(3, 5) if share < five else rng.randint(6, 11)
        messages = [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}] if rng.random() < 0.25 else []
        previous = None
        for number in range(num_turns):
            while True:
                question, answer, id = self.turn(previous, first=number == 0)
                if normal(question) not in self.held_out:
                    break
                self.num_refused += 1
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer, "fact": id}]
            previous = id
        return messages


def write(path, num_dialogues, seed, focus=False, sums=16.0):
    """Writes the corpus and proves that no held-out question is in it."""
    generator = Generator(seed, focus, sums)
    path.parent.mkdir(exist_ok=True)
    num_questions = 0
    distinct = set()
    with path.open("w") as out:
        for _ in range(num_dialogues):
            messages = generator.dialogue()
            asked = [normal(m["content"]) for m in messages if m["role"] == "user"]
            assert not generator.held_out.intersection(asked), asked
            num_questions += len(asked)
            distinct.update(asked)
            out.write(json.dumps(messages) + "\n")
    print(
        f"{num_dialogues} dialogues, {num_questions} questions ({len(distinct)} distinct) about {len(generator.ids)} facts; "
        f"{generator.num_refused} refused because they are held out",
        file=sys.stderr,
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
