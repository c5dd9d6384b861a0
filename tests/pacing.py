"""How long a chapter takes a steady reader: the rule behind its opening's minutes and its sections' clocks."""

import re

WORDS = 150  # a minute
LINE, FIGURE, PREDICTION = 5 / 60, 30 / 60, 45 / 60  # minutes
SECTION = re.compile(r"^(?=## (?:\d+\. |Exercises$|Quiz$))", re.MULTILINE)
CLOCK = re.compile(r"^\*by minute (\d+)\*$", re.MULTILINE)
EXERCISE = re.compile(r"^\*.*\b(?:easy|medium|hard|open)\b.*?\b(\d+) minutes", re.MULTILINE | re.IGNORECASE)
SHOWS = re.compile(
    r"\b(?:plots\.(?:show|schematic|table)|verdict_table|scrub|modules|slide|to_browser|type_here"
    r"|(?:read|learn|type|draw)_along)\("
)
ASIDE = re.compile(r"\bplots\.|\bclaim\(|\bcatalogue\(")


def reading(cells):
    """Minutes to read cells, without their exercises."""
    return sum(_of_cell(cell) for cell in cells)


def exercises(text):
    """Minutes that the exercises in a text say they take."""
    return sum(map(int, EXERCISE.findall(text)))


def clocks(cells):
    """For each numbered section, the exercises and the quiz: its heading, the minute on its clock, and the true one.

    None where it has no clock; the true minute is the one at which it begins.
    """
    passed, found = 0.0, []
    for cell in cells:
        if cell.cell_type != "markdown":
            passed += _of_cell(cell)
            continue
        for part in SECTION.split(cell.source):
            if re.match(SECTION, part):
                told = CLOCK.search(part)
                found.append((part.splitlines()[0], int(told[1]) if told else None, passed))
            passed += _of_prose(part) + exercises(part)
    return found


def _of_cell(cell):
    if cell.cell_type == "markdown":
        return _of_prose(cell.source)
    if cell.metadata.get("nbgrader") or "solution" in cell.metadata.get("tags", []):
        return 0.0  # an exercise has minutes of its own
    lines = sum(bool(line.strip()) for line in cell.source.splitlines())
    shown = FIGURE * bool(SHOWS.search(cell.source))
    return shown + (0 if shown or ASIDE.search(cell.source) else LINE * lines)


def _of_prose(text):
    words = sum(bool(re.search(r"\w", word)) for word in text.split())
    return words / WORDS + PREDICTION * text.count("Predict before you look")
