"""A terminal's screen, as `tmux capture-pane -e -p` says it, as an SVG picture.

>>> rows = read("a\\x1b[1;31mb<\\x1b[0m\\n", 4)
>>> [(cell.text, cell.style.bold, cell.style.front) for cell in rows[0][:3]]
[('a', False, None), ('b', True, '#f7768e'), ('<', True, '#f7768e')]
>>> "b&lt;" in draw(rows, "a screen")
True
>>> len(read("\\u4e2d", 4)[0]), read("\\u4e2d", 4)[0][0].wide
(3, 2)
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

# Width and height of a cell, and how far below its top letters stand, in units of the picture.
WIDE, HIGH, BASE = 8.4, 17, 13
MARGIN, ROUND = 14, 8
FRONT, BACK = "#c0caf5", "#1a1b26"
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# The sixteen colours that a terminal has by name.
SIXTEEN = (
    "#15161e #f7768e #9ece6a #e0af68 #7aa2f7 #bb9af7 #7dcfff #a9b1d6 "
    "#565f89 #ff899d #b5e487 #f0c987 #9ab8ff #cdb4ff #a4e0ff #e6eaff"
).split()
SEQUENCE = re.compile("\x1b\\[([0-9;:]*)m|\x1b[()].|\x0e|\x0f")


@dataclass(frozen=True)
class Style:
    front: str | None = None
    back: str | None = None
    bold: bool = False
    dim: bool = False
    slanted: bool = False
    lined: bool = False
    swapped: bool = False

    def colours(self):
        front, back = self.front or FRONT, self.back
        return (back or BACK, front) if self.swapped else (front, back)


@dataclass(frozen=True)
class Cell:
    text: str
    style: Style
    wide: int = 1


def indexed(number):
    """One of the 256 colours: sixteen with names, a cube of six, and greys."""
    if number < 16:
        return SIXTEEN[number]
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return "#" + "".join(f"{steps[part]:02x}" for part in (number // 36, number // 6 % 6, number % 6))


SWITCHES = {
    1: {"bold": True}, 2: {"dim": True}, 3: {"slanted": True}, 4: {"lined": True}, 7: {"swapped": True},
    22: {"bold": False, "dim": False}, 23: {"slanted": False}, 24: {"lined": False}, 27: {"swapped": False},
    39: {"front": None}, 49: {"back": None},
}  # fmt: skip


def styled(style, parameters):
    """The style after a sequence with these parameters."""
    numbers = [int(part or 0) for part in re.split("[;:]", parameters)] if parameters else [0]
    while numbers:
        number = numbers.pop(0)
        if number == 0:
            style = Style()
        elif number in SWITCHES:
            style = replace(style, **SWITCHES[number])
        elif number in (38, 48):
            kind = numbers.pop(0) if numbers else 0
            if kind == 5 and numbers:
                colour = indexed(numbers.pop(0) & 255)
            elif kind == 2 and len(numbers) >= 3:
                colour = "#" + "".join(f"{part & 255:02x}" for part in numbers[:3])
                del numbers[:3]
            else:
                break
            style = replace(style, **{"front" if number == 38 else "back": colour})
        else:
            for first, base, part in ((30, 0, "front"), (40, 0, "back"), (90, 8, "front"), (100, 8, "back")):
                if first <= number < first + 8:
                    style = replace(style, **{part: SIXTEEN[base + number - first]})
    return style


def read(text, columns):
    """Rows of cells. A sequence goes on in the next row, as terminals have it."""
    style, rows = Style(), []
    for line in text.rstrip("\n").split("\n"):
        cells, at = [], 0
        while at < len(line):
            found = SEQUENCE.match(line, at)
            if found:
                if found[1] is not None:
                    style = styled(style, found[1])
                at = found.end()
                continue
            letter = line[at]
            at += 1
            if letter < " " or letter == "\x7f":
                raise ValueError(f"{letter!r} is on the screen: it cannot be drawn")
            if unicodedata.combining(letter) and cells:
                cells[-1] = replace(cells[-1], text=cells[-1].text + letter)
                continue
            cells.append(Cell(letter, style, 2 if unicodedata.east_asian_width(letter) in "WF" else 1))
        missing = columns - sum(cell.wide for cell in cells)
        rows.append(cells + [Cell(" ", Style())] * missing)
    return rows


def runs(cells):
    """Neighbours of one style, each with its first column and how many columns it has."""
    column = 0
    while cells:
        count = next((n for n, cell in enumerate(cells) if cell.style != cells[0].style), len(cells))
        wide = sum(cell.wide for cell in cells[:count])
        yield column, wide, "".join(cell.text for cell in cells[:count]), cells[0].style
        column += wide
        cells = cells[count:]


def pieces(text):
    """Words with where they begin: blanks need not be drawn, and each word keeps its place in any font."""
    return ((found.start(), found[0]) for found in re.finditer(r"\S+(?: \S+)*", text))


def number(value):
    return f"{value:.1f}".rstrip("0").rstrip(".")


def draw(rows, title):
    """The picture; `title` is what is read out for it."""
    columns = max(sum(cell.wide for cell in cells) for cells in rows)
    width, height = columns * WIDE + 2 * MARGIN, len(rows) * HIGH + 2 * MARGIN
    grounds, letters = [], []
    for row, cells in enumerate(rows):
        top = MARGIN + row * HIGH
        for column, wide, text, style in runs(cells):
            front, back = style.colours()
            left = MARGIN + column * WIDE
            if back:
                size = f'width="{number(wide * WIDE)}" height="{HIGH}"'
                grounds.append(f'<rect x="{number(left)}" y="{top}" {size} fill="{back}"/>')
            looks = f' fill="{front}"' if front != FRONT else ""
            looks += ' font-weight="bold"' if style.bold else ""
            looks += ' opacity=".6"' if style.dim else ""
            looks += ' font-style="italic"' if style.slanted else ""
            looks += ' text-decoration="underline"' if style.lined else ""
            for at, word in pieces(text):
                # Letters of two columns are rare enough to give each run its own length.
                span = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in word)
                place = f'x="{number(left + at * WIDE)}" y="{top + BASE}" textLength="{number(span * WIDE)}"'
                letters.append(f"<text {place}{looks}>{escape(word)}</text>")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(width)} {height}" role="img"'
            f' width="{number(width)}" height="{height}">',
            f"<title>{escape(title)}</title>",
            f'<rect width="100%" height="100%" rx="{ROUND}" fill="{BACK}"/>',
            f'<g font-family="{FONT}" font-size="14" fill="{FRONT}" lengthAdjust="spacingAndGlyphs">',
            *grounds,
            *letters,
            "</g>",
            "</svg>\n",
        ]
    )
