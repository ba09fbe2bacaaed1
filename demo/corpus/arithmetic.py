"""Small sums: the numbers, how people write them, and how they are answered."""

NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
WORDS = {"+": ["+", "plus", "and", "added to"], "-": ["-", "minus"], "*": ["*", "times", "x", "multiplied by"]}
FRAMES = [
    "what is S", "what's S", "whats S", "how much is S", "S", "S =", "calculate S", "compute S", "can you calculate S", "please compute S",
    "what does S give", "what do i get for S", "tell me S", "do you know S", "how much does S make", "the result of S", "S equals", "S is what",
    "what is the result of S", "solve S", "and S", "what makes S", "i need S", "add up S", "can you do S", "what about S", "how many is S",
    "could you work out S for me", "please work out S", "S makes how much", "and S makes what", "what would S be", "S is how much", 
    "do the sum S", "quick, S", "my homework says S", "so how much is S", "S, what is that", "what do you get for S", "i have to compute S",
]


def sum_question(rng):
    """A plain question with its answer, such as ("what is 3 plus 4", "3 + 4 = 7.")."""
    sign = rng.choice("++-*")
    if sign == "+":
        top = rng.choice((9, 9, 12, 30))
        a, b = rng.randint(0, top), rng.randint(0, top)
    elif sign == "-":
        a = rng.randint(0, rng.choice((10, 10, 20)))
        b = rng.randint(0, a)
    else:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
    result = {"+": a + b, "-": a - b, "*": a * b}[sign]
    word = WORDS[sign][0] if rng.random() < 0.45 else rng.choice(WORDS[sign])
    if rng.random() < 0.12:
        body = {"+": f"the sum of {a} and {b}", "-": rng.choice((f"{b} less than {a}", f"{b} subtracted from {a}", f"{a} take away {b}", f"{a} less {b}")), "*": f"the product of {a} and {b}"}[sign]
    elif max(a, b) <= 12 and rng.random() < 0.15:
        body = f"{NUMBER_WORDS[a]} {word if len(word) > 1 else WORDS[sign][1]} {NUMBER_WORDS[b]}"
    elif len(word) == 1 and rng.random() < 0.4:
        body = f"{a}{word}{b}"
    else:
        body = f"{a} {word} {b}"
    frame = rng.choice(FRAMES)
    if word == "and" and frame in ("S", "S =", "S equals", "tell me S", "i need S"):
        frame = "how much is S"
    return frame.replace("S", body), f"{a} {sign} {b} = {result}."
