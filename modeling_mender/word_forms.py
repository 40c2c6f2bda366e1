"""Folded and stemmed words of English texts.

Limits: spelling and inflection only, no meaning; a text of a script without spaces counts as one word.
"""

import re
import unicodedata
from collections.abc import Iterator

_STOP_WORD_TEXT = """
    a about after all also am an and any are as at be because been before both but by can could did do does each etc
    even ever every for free from get had has have he her hers here him his how i if in into is it its just let like
    many may me might mine more most much must my need neither no non none nor not of off on one only onto or other
    our out over own per perhaps please should since so some such than that the their them then there these they this
    those though to too under until up upon us very via was we well were what when where whether which while whose
    why will with within without would yes yet you your
    dont doesnt didnt isnt arent wasnt wont cant couldnt shouldnt wouldnt havent hasnt cannot id ill im ive youre
    thats theres
"""
STOP_WORDS = frozenset(_STOP_WORD_TEXT.split())
"""Words without content, which no vocabulary contains."""

TOKEN = re.compile(r"[^\W_]+(?:['’ʼ´`][^\W_]+)*")
_POSSESSIVE = re.compile(r"(?<=[^\W\d_])['’ʼ´`]s$")
APOSTROPHE = re.compile(r"['’ʼ´`]")
# An absence is one word ("paraben-free"), so that "parabens" does not match it.
_FREE_OF = re.compile(r"(?<![\w'’-])([^\W\d_]{3,})[ \t-]free(?![\w'’])", re.IGNORECASE)
_LACKING = re.compile(
    r"(?<![\w'’-])(?:no|non|without)[ \t-]([^\W\d_]{3,})(?:[ \t](?:and|or|&)[ \t]([^\W\d_]{3,}))?(?![\w'’])",
    re.IGNORECASE,
)
_FREE = "-free"

_IRREGULAR_TEXT = """
    children child women woman men man feet foot teeth tooth mice mouse leaves leaf knives knife shelves shelf
    scarves scarf wolves wolf lens lens lenses lens grey gray jewellery jewelry
"""
_IRREGULAR = dict(zip(_IRREGULAR_TEXT.split()[::2], _IRREGULAR_TEXT.split()[1::2], strict=True))
_ES = re.compile(r"(?:ss|x|sh|zz|each|(?<!a)ch|\w{3}o)es$")  # boxes, peaches, heroes; but aches and shoes
_OUR = re.compile(r"(col|flav|fav|od)our")
_IZE = re.compile(r"(?<=\w{4})i[sz](?:e|ed|er|ing)$")


def fold(word: str) -> str:
    """Folds a word: lower case, without accents, possessive ending and apostrophes.

    >>> fold("L’Oréal"), fold("Women's"), fold("CRÈME")
    ('loreal', 'women', 'creme')
    """
    if not word.isascii():
        word = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    return APOSTROPHE.sub("", _POSSESSIVE.sub("", word.lower()))


def stem(word: str) -> str:
    """Stem of a folded word: singular of plurals, and -ize for -ise, -iser, -ising and -ized.

    >>> [stem(word) for word in ("candles", "boxes", "vases", "glass", "brushes", "berries", "cookie", "shoes")]
    ['candle', 'box', 'vase', 'glass', 'brush', 'berry', 'cooky', 'shoe']
    >>> stem("moisturising") == stem("moisturizers") == stem("moisturizer"), stem("women"), stem("colours")
    (True, 'woman', 'color')
    >>> stem("cactus"), stem("iris"), stem("care"), stem("wedding")
    ('cactus', 'iris', 'care', 'wedding')
    """
    if word.endswith(_FREE):
        return stem(word.removesuffix(_FREE)) + _FREE
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 3 and word.endswith("s"):
        if _ES.search(word):
            word = word[:-2]
        elif not word.endswith(("ss", "us", "is")):
            word = word[:-1]
    if len(word) > 4 and word.endswith("ie"):  # berrie(s) and cookie(s)
        word = f"{word[:-2]}y"
    return _OUR.sub(r"\1or", _IZE.sub("ize", word))


def content_words(text: str) -> Iterator[str]:
    """Folded words of a text without stop words, single letters and single digits; an absence is one word.

    >>> list(content_words("Sulfate Free Shampoo without Parabens or Dyes, 12 Ounce"))
    ['sulfate-free', 'shampoo', 'parabens-free', 'dyes-free', '12', 'ounce']
    >>> list(content_words("No-Rinse Soap by Harrow & Finch, No. 7"))
    ['rinse-free', 'soap', 'harrow', 'finch']
    """
    for word, lacking in _words(text):
        if lacking or (len(word) > 1 and word not in STOP_WORDS):
            yield word + _FREE if lacking else word


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Pairs of a folded word and whether the text states its absence, in the order of the text."""
    spans: dict[int, tuple[int, tuple[str, ...]]] = {}
    for match in _FREE_OF.finditer(text):
        if fold(match[1]) not in STOP_WORDS:
            spans[match.start()] = (match.end(), (match[1],))
    for match in _LACKING.finditer(text):
        words = tuple(word for word in match.groups() if word)
        if fold(words[0]) not in STOP_WORDS:
            # "no parabens or sulfates", but "no rinse and is": a stop word ends the absence
            if len(words) == 2 and fold(words[1]) in STOP_WORDS:
                spans[match.start()] = (match.end(1), words[:1])
            else:
                spans[match.start()] = (match.end(), words)
    end = 0
    for token in TOKEN.finditer(text):
        if token.start() < end:
            continue
        if token.start() in spans:
            end, words = spans[token.start()]
            yield from ((fold(word), True) for word in words)
        else:
            yield fold(token[0]), False
