"""Clean text of crawled shop pages: entities, markup, leaked page blocks, brands, prices and category paths."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

_ELEMENTS = (
    "abbr acronym address applet area article aside audio b base basefont bdi bdo big blink blockquote body br "
    "button canvas caption center cite code col colgroup dd del details dfn div dl dt em embed fieldset "
    "figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head header hr html i iframe img input "
    "ins kbd label legend li link main map mark marquee meta nav nobr noscript object ol optgroup option p param "
    "picture pre q s samp section select small source span strike strong sub sup svg table tbody td "
    "template textarea tfoot th thead title tr track tt u ul var video wbr"
).split()
# A capital at the start is a name's, as in "<Small>", but for elements of one or two letters. A link without an
# attribute is none.
_WRITTEN = [name for each in _ELEMENTS for name in (each, each.upper(), each.title() if len(each) < 3 else each)]
# Markup is an element of HTML, a closing tag, a tag with an attribute or a namespace, or a comment; "<Black>" is none,
# and neither is a script or style sheet that is only named, as in "The <script> tag".
_TAG = re.compile(
    rf"<(?:{'|'.join(_WRITTEN)})(?:[\s/][^<>]*)?>"
    r"|</[a-zA-Z][^<>]*>|<[a-zA-Z][\w:.-]*[\s/][\w:.-]+=[^<>]*>|<[a-z]+:[a-z]+\s*/?>|<!(?!(?i:doctype))[^<>]*>"
)
# Tags of a script or style sheet, which go with their code; one that is only named, as in "The <script> tag", stays.
_CODE_TAG = re.compile(r"<\s*(?P<end>/?)\s*(?P<name>script|style)\b[^<>]*>", re.IGNORECASE)
_CODE = re.compile(r"\w\(|[{};=]")
_CODE_CUT_OFF = re.compile(r"[{}]|\)\s*;|=[^;=]*;")
# Page sources that crawlers stored as a title or brand: scripts, style sheets, timing code. A name may print a line of
# code or name a tag; a page's source begins as one, and a script ends as code unless it is timing code, or cut off.
_PAGE_BLOCK = re.compile(
    r"\A\s*(?:<\s*(?:script|style)\s*>\s*\Z|<\s*(?:script|style)\s[^<>]*=[^<>]*>(?!.*</)"
    r"|<\s*!doctype\b[^<>]*>?\s*(?:<|\Z)|var\s+[\w$]+\s*=[^;]*\.getTime\("
    r"|(?:var\s+[\w$]+\s*=|[(!;\s]*function\s*\w*\s*\([\w\s,$]*\)\s*\{).*[;})>]\s*\Z)",
    re.DOTALL | re.IGNORECASE,
)
_BYLINE = re.compile(r"^by\s*\n\s*")
_BRAND_PAGE = re.compile(r"^Visit Amazon's (.+) Page$")
NO_BRAND = frozenset({"unknown", "n/a", "na", "none", "null"})
_PRICE = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(\.[0-9]+)?")
# Longer than any node of the shops' category trees; feature sentences that leak into a path are longer or end in ".".
MAX_CATEGORY_LENGTH = 50


def plain_text(text: object) -> str:
    """Converts a text to one line without entities, tags, scripts and style sheets; "" for other values.

    >>> plain_text("Rose &amp; Honey<br />  soap\\n<b>new</b>, I <3 it")
    'Rose & Honey soap new , I <3 it'
    >>> plain_text("Charger <Black> <img src=x>"), plain_text("The <script> tag <script>load()</script>")
    ('Charger <Black>', 'The <script> tag')
    >>> plain_text(None)
    ''
    """
    if not isinstance(text, str):
        return ""
    return " ".join(_TAG.sub(" ", _without_code(html.unescape(text))).split())


def _without_code(text: str) -> str:
    """Removes scripts and style sheets with their code, which may be cut off at the end of the text."""
    tags = list(_CODE_TAG.finditer(text))
    ends: dict[str, int] = {}  # of the next closing tag, by its name
    found: list[tuple[int, int, int | None]] = []  # of an opening tag: its start, its end, and the end of its element
    for tag in reversed(tags):
        name = tag["name"].lower()
        if tag["end"]:
            ends[name] = tag.end()
        else:
            found.append((tag.start(), tag.end(), ends.get(name)))
    kept, done = [], 0
    for start, after, end in reversed(found):
        code_end = text.find("<", after)
        code = text[after : None if code_end < 0 else code_end]
        if start >= done and (_CODE if end else _CODE_CUT_OFF).search(code):
            kept.append(text[done:start])
            done = end or len(text)
    return " ".join([*kept, text[done:]])


def is_page_block(text: object) -> bool:
    """Whether a title or brand is a fragment of a page's source.

    >>> is_page_block("var aPageStart = (new Date()).getTime();")
    True
    >>> is_page_block("<span class='a-size-medium'></span>"), is_page_block("Function over Form: a Guide")
    (True, False)
    >>> is_page_block("Multi Function (3-in-1) Charger <Black>"), is_page_block("var coffee = true; Mug")
    (False, False)
    """
    return isinstance(text, str) and bool(text.strip()) and (bool(_PAGE_BLOCK.search(text)) or not plain_text(text))


def clean_title(title: object) -> str | None:
    """Converts a title to plain text; `None` if there is none, or a leaked page block in its place.

    >>> clean_title(" Rose &#39;n Honey Soap"), clean_title(""), clean_title("<script>load()</script>")
    ("Rose 'n Honey Soap", None, None)
    """
    return None if is_page_block(title) else plain_text(title) or None


def clean_brand(brand: object) -> str:
    """Removes the crawled byline of a brand; "" for none and for placeholders such as "Unknown".

    >>> clean_brand("by\\n    \\n    Oakmere"), clean_brand("Visit Amazon's Jo March Page"), clean_brand("Unknown")
    ('Oakmere', 'Jo March', '')
    """
    if not isinstance(brand, str) or is_page_block(brand):
        return ""
    name = plain_text(_BYLINE.sub("", brand.strip()))
    name = _BRAND_PAGE.sub(r"\1", name)
    return "" if name.lower() in NO_BRAND else name


def clean_price(price: object) -> float | None:
    """Converts a price in the shop's currency; `None` for anything but a single amount, also for a range.

    >>> clean_price(9.49), clean_price("$1,012.99"), clean_price("$5.00 - $9.99"), clean_price(".a-section {"), clean_price("")
    (9.49, 1012.99, None, None, None)
    """  # noqa: E501 (the five cases side by side)
    if isinstance(price, bool):
        return None
    if isinstance(price, str):
        match = _PRICE.fullmatch(price.strip())
        price = float(match[1].replace(",", "") + (match[2] or "")) if match else None
    if not isinstance(price, int | float):
        return None
    try:
        amount = float(price)
    except OverflowError:  # an integer of more than 308 digits
        return None
    return amount if math.isfinite(amount) and amount >= 0 else None


def clean_categories(path: object) -> list[str]:
    """Extracts one category path from broad to leaf.

    Of several paths (2014) the longest, most specific one is used, the first of equally long ones. A path is cut where
    product features leak into it (2018): at markup, a sentence, or an entry that is too long for a category. A short
    feature ("Imported") cannot be distinguished from a category and stays. An entry that repeats the one before is
    dropped.

    Args:
        path: A list of names, a list of such lists, or anything else for none.

    Returns:
        `list[str]`: The path; may be empty.

    >>> clean_categories([["Music", "Pop"], ["Music", "Rock", "Glam"], ["CDs", "Rock", "Glam"]])
    ['Music', 'Rock', 'Glam']
    >>> clean_categories(["Gift Cards", "Gift Cards", "No expiration, no fees.", "Plastic"])
    ['Gift Cards']
    >>> clean_categories(["Home &amp; Kitchen", "</span></span>", "Blue"])
    ['Home & Kitchen']
    """
    if not isinstance(path, list | tuple):
        return []
    nested = [entry for entry in path if isinstance(entry, list | tuple)]
    return max(map(_category_names, nested or [path]), key=len)


def _category_names(path: Sequence[object]) -> list[str]:
    names: list[str] = []
    for entry in path:
        if is_page_block(entry):
            break
        name = plain_text(entry)
        if name.endswith(".") or len(name) > MAX_CATEGORY_LENGTH:
            break
        if name and name != (names[-1] if names else None):
            names.append(name)
    return names


def clean_names(names: object) -> list[str]:
    """Extracts the distinct names of a flat list (genres, tags); unlike in [`clean_categories`], order is irrelevant.

    >>> clean_names(["Action", "Design &amp; Illustration", "Action", "", None]), clean_names("Action")
    (['Action', 'Design & Illustration'], [])
    """
    return list(dict.fromkeys(filter(None, map(plain_text, names)))) if isinstance(names, list | tuple) else []


def labelled(**parts: str) -> str:
    """Joins texts with their names, without empty ones; an underscore in a name stands for a space.

    >>> labelled(specs="Single-player", tags="", price_level="2 of 4")
    'specs: Single-player; price level: 2 of 4'
    """
    return "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in parts.items() if text)


def join_texts(texts: object) -> str:
    """Joins a text, or its paragraphs, to a single line; "" for none.

    >>> join_texts(["A soap.", "", "<p>Made by hand.</p>"]), join_texts("A &amp; B"), join_texts(None)
    ('A soap. Made by hand.', 'A & B', '')
    """
    parts = texts if isinstance(texts, list | tuple) else [texts]
    return " ".join(filter(None, map(plain_text, parts)))


def review_text(summary: object, text: object) -> str | None:
    """Joins headline and body of a review; `None` if both are empty.

    >>> review_text("Five stars", "Lovely scent."), review_text("Nice!", None), review_text("", None)
    ('Five stars. Lovely scent.', 'Nice!', None)
    """
    headline, body = plain_text(summary), plain_text(text)
    if not headline or not body:
        return headline or body or None
    return f"{headline} {body}" if headline[-1] in ".!?" else f"{headline}. {body}"
