"""Foreign text made fit for Markdown cards, plots and terminals."""

import re
import unicodedata
from typing import Any

LONGEST = 1000
_MARKDOWN = re.compile(r"([\\`*_\[\]<|]|~(?=~)|&(?=#?\w+;))")
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and a symbol that are drawn as nothing
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control, format (bidirectional too), half surrogates, line separators


def printable(text: str) -> str:
    r"""One line in which whatever a terminal would obey, and not show, is written as an escape.

    Args:
        text (`str`): Of any origin.

    Returns:
        `str`: White space is one space; printable characters of all languages stay.

    >>> printable("red\x1b[31m\n  Nüsse\ud83d")
    'red\\x1b[31m Nüsse\\ud83d'
    """
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)


def one_line(text: object, longest: int = LONGEST) -> str:
    r"""One line of visible characters; white space is one space, and what a terminal would obey is left out.

    >>> one_line("red\x1b[31m\n  Nüsse\ud83d")
    'red[31m Nüsse'
    >>> one_line("a" * 9, 5)
    'aaaaa...'
    """
    line = _visible(" ".join(str(text).split()))
    return line if len(line) <= longest else f"{line[:longest]}..."


def is_visible(text: str) -> bool:
    r"""Whether a text has something that can be seen: a letter, a digit or a sign, and not space or format alone.

    >>> is_visible("Nüsse"), is_visible(" \u200b\u202e"), is_visible("\u3164")
    (True, False, False)
    """
    return any(unicodedata.category(letter)[0] in "LNPS" and letter not in _FILLERS for letter in text)


def look(text: str) -> str:
    r"""A key that is the same for names which look alike: of another case, width or form, or with unseen characters.

    >>> look("Mender"), look("\uff2dender\u200b") == look(" MENDER")
    ('mender', True)
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(each for each in _visible(folded) if not each.isspace() and each not in _FILLERS)


def markdown(text: object, longest: int = LONGEST) -> str:
    r"""Text that stands in Markdown as itself, in a cell of a table too: no markup, HTML, link or line of its own.

    Letters of words stay as they are: `snake_case` needs no escape, and an address is no link without its `://`.

    >>> markdown("a|b <script>*x*")
    'a\\|b \\<script>\\*x\\*'
    >>> markdown("rating_vader"), markdown("see http://x.y")
    ('rating_vader', 'see http:&#47;/x.y')
    """
    line = _MARKDOWN.sub(r"\\\1", one_line(text, longest)).replace("://", ":&#47;/")
    line = re.sub(r"(?<=\w)\\_(?=\w)", "_", line)
    line = re.sub(r"^(\d+)(?=[.)](?:\s|$))", r"\1\\", line)
    return re.sub(r"^(?=[-+=#>~])", r"\\", line)


def code(text: object, longest: int = LONGEST) -> str:
    """Text for a span of code in Markdown, between single backticks, in a cell of a table too.

    >>> code("a`b|c")
    "a'b/c"
    """
    return one_line(text, longest).replace("`", "'").replace("|", "/") or " "


def without_html(text: str) -> str:
    r"""Markdown of several lines without HTML, and without characters that cannot be seen.

    >>> without_html("**Terms**\n<img src=x>")
    '**Terms**\n&lt;img src=x>'
    """
    lines = (_visible(line.replace("\t", " ")) for line in text.splitlines())
    return "\n".join(lines).replace("<", "&lt;")


def legend_text(text: object, longest: int = 80) -> str:
    """Name of a line in a plot; matplotlib leaves names that begin with an underscore out of a legend.

    >>> legend_text("_mine")
    ' _mine'
    """
    line = one_line(text, longest)
    return f" {line}" if line.startswith("_") else line


def fence(text: str) -> str:
    """Fence of a code block that no line of a text closes.

    >>> fence("a: 1"), fence("a: '```'")
    ('```', '````')
    """
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))


def escaped(value: Any) -> Any:
    """All texts in nested values, and the names in objects, by [`markdown`]."""
    if isinstance(value, dict):
        return {markdown(name): escaped(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(one) for one in value]
    return markdown(value) if isinstance(value, str) else value


def _visible(line: str) -> str:
    return "".join(letter for letter in line if unicodedata.category(letter) not in _UNSEEN)
