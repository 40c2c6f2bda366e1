"""Paraphrases of the sample shop's attributes, and of single preferences of any shop.

No paraphrase shares a word stem with a title or a category of the shop, so that a preference in these words can only
be followed by its meaning. Sentences are read back into the attributes that they name.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Literal

from ...benchmark.negation import is_negative_preference
from ..sources.sample_vocabulary import FAMILIES
from .metadata import Choice

VALUES: dict[str, tuple[str, str, str]] = {
    "lavender": (
        "smelling of the purple fields of Provence",
        "with the aroma of violet sprigs that calm before sleep",
        "with a whiff of grandmother's purple sachets",
    ),
    "patchouli": (
        "smelling of hippie perfume and musky herbs",
        "with the earthy, musky aroma of hippie oils",
        "with a whiff of musky bohemian perfume",
    ),
    "vanilla": (
        "smelling of the sweet pods that flavor custard",
        "with the aroma of sugary pudding",
        "with a whiff of birthday cake batter",
    ),
    "citrus": (
        "smelling of lemons and oranges",
        "with the zesty aroma of grapefruit peel",
        "with a whiff of freshly squeezed limes",
    ),
    "rose": (
        "smelling of a Valentine's bouquet",
        "with the aroma of thorny red blossoms",
        "with a whiff of petals strewn at a wedding",
    ),
    "jasmine": (
        "smelling of white flowers that open at night",
        "with the aroma of starry blossoms from an Arabian garden",
        "with a whiff of a white-flowered vine at dusk",
    ),
    "peppermint": (
        "smelling of cool menthol",
        "with the fresh aroma of chewing gum and candy canes",
        "with a whiff of toothpaste",
    ),
    "sandalwood": (
        "smelling of warm Indian timber",
        "with the aroma of temple incense from a precious tree",
        "with a whiff of Mysore's sacred timber",
    ),
    "eucalyptus": (
        "smelling of the trees that koalas eat",
        "with the aroma of a steamy sauna that clears the nose",
        "with a whiff of Australian gum trees",
    ),
    "oat": (
        "enriched with the grain of porridge",
        "containing granola flakes",
        "with the main grain of muesli",
    ),
    "honey": (
        "enriched with the golden nectar of bees",
        "containing the sweet harvest of the hive",
        "with a beekeeper's sticky gold",
    ),
    "almond": (
        "enriched with the nuts of marzipan",
        "containing the nuts that amaretto tastes of",
        "with the blanched nuts of frangipane",
    ),
    "coconut": (
        "enriched with the big hairy fruit of tropical palms",
        "containing the white milk of palm tree fruit",
        "with the palm fruit of a pina colada",
    ),
    "ginger": (
        "enriched with the fiery root that goes with sushi",
        "containing the spicy root of Christmas cookies",
        "with a pungent, knobby rhizome",
    ),
    "chamomile": (
        "enriched with little daisies that soothe the stomach",
        "containing the calming herb with white petals",
        "with the daisy-like flowers of a sleepy infusion",
    ),
    "turmeric": (
        "enriched with the yellow spice of curry powder",
        "containing curcuma, the yellow root",
        "with the golden root of Indian curries",
    ),
    "sage": (
        "colored a muted gray-green",
        "with a soft dusty green tone",
        "the color of dried herbs",
    ),
    "navy": (
        "colored a very dark blue",
        "the color of a sailor's uniform",
        "blue like the midnight sky",
    ),
    "terracotta": (
        "colored a burnt orange-brown",
        "the color of flower pots and roof tiles",
        "reddish brown like baked clay",
    ),
    "ivory": (
        "colored off-white",
        "the color of elephant tusks",
        "pale like piano keys",
    ),
    "mustard": (
        "colored a dark, spicy yellow",
        "the color of Dijon's condiment",
        "yellow like the dip of a pretzel",
    ),
    "blush": (
        "colored a pale pink",
        "the color of flushed cheeks",
        "faintly pink like a shy face",
    ),
    "emerald": (
        "colored a bright jewel green",
        "the color of Irish hills",
        "green like a precious gem",
    ),
    "indigo": (
        "colored a deep violet-blue",
        "the color of new denim",
        "dyed like blue jeans",
    ),
    "minimalist": (
        "with plain, simple shapes",
        "pared down to the essentials",
        "with a less-is-more look",
    ),
    "rustic": (
        "with a farmhouse look",
        "with the charm of a country cottage",
        "fit for a log cabin",
    ),
    "retro": (
        "with a vintage seventies look",
        "like something from a fifties diner",
        "with an old-fashioned charm",
    ),
    "botanical": (
        "patterned with plants and foliage",
        "printed with drawings of herbs and wildflowers",
        "with pictures of greenery",
    ),
    "nautical": (
        "with anchors and sailor stripes",
        "with a maritime seaside look",
        "fit for a captain's ship",
    ),
    "geometric": (
        "patterned with triangles and hexagons",
        "with a pattern of angular shapes",
        "with squares and zigzags",
    ),
    "ceramic": (
        "made of fired clay",
        "made of glazed earthenware",
        "shaped on a potter's wheel",
    ),
    "glass": (
        "clear enough to see through",
        "made of something transparent and breakable",
        "as transparent as a window pane",
    ),
    "enamel": (
        "coated like a white camping pot",
        "made of steel with a glossy baked coating",
        "with a shiny vitreous finish",
    ),
    "brass": (
        "made of a golden alloy of copper and zinc",
        "made of the yellow metal of trumpets",
        "shining yellow like a saxophone",
    ),
    "walnut": (
        "made of dark brown hardwood",
        "made of fine timber from a nut tree",
        "carved from a dark nut tree",
    ),
    "bamboo": (
        "made of what pandas eat",
        "made of a fast-growing Asian grass",
        "made of woody canes from a panda forest",
    ),
    "wool": (
        "made of sheep's fleece",
        "made of warm, knitted yarn",
        "spun from what shepherds shear",
    ),
    "linen": (
        "made of cool flax cloth",
        "made of crisp summer fabric",
        "woven from flax fibers",
    ),
    "velvet": (
        "made of plush fabric with a soft pile",
        "made of the plush fabric of theater curtains",
        "with a rich, soft nap to stroke",
    ),
    "leather": (
        "made of cowhide",
        "made of tanned animal hide",
        "made of saddle hide",
    ),
    "cork": (
        "made of the bark that wine stoppers are cut from",
        "made of spongy Portuguese tree bark",
        "made of the stuff that seals wine",
    ),
    "canvas": (
        "made of sturdy sailcloth",
        "made of the cloth that painters stretch",
        "made of rugged tent fabric",
    ),
}
"""Attribute value of the sample shop -> paraphrases that stand behind a noun: two of metadata/2, one held out."""

PLACES: dict[str, tuple[str, str, str]] = {
    "bar soaps": (
        "solid blocks to lather up with under the shower",
        "things to wash with at the sink",
        "suds for scrubbing up",
    ),
    "hand creams": (
        "lotions for dry palms",
        "moisturizers for chapped fingers",
        "balms for rough knuckles",
    ),
    "scented candles": (
        "perfumed wax with a wick",
        "flickering tapers that perfume the air",
        "sweet-smelling little flames for a cozy evening",
    ),
    "loose leaf teas": (
        "brews for the kettle",
        "infusions to steep and sip",
        "dried blends to pour boiling water over",
    ),
    "mugs": (
        "cups for the morning coffee",
        "vessels for cocoa",
        "large cups with a grip",
    ),
    "table lamps": (
        "shaded bulbs for a nightstand",
        "illumination for a desk",
        "small fixtures to read beside",
    ),
    "throw blankets": (
        "warm covers for the sofa",
        "cozy wraps for cold nights",
        "snug layers to curl up under",
    ),
    "cushions": (
        "soft pillows for the couch",
        "padding for an armchair",
        "plump squares to lean on",
    ),
    "notebooks": (
        "journals to write down thoughts",
        "diaries with empty pages",
        "bound sheets for jotting",
    ),
    "backpacks": (
        "rucksacks for the daily commute",
        "luggage to wear on both shoulders",
        "knapsacks for a hike",
    ),
    "vases": (
        "holders for cut flowers",
        "vessels for a bouquet",
        "containers for fresh tulips",
    ),
    "serving trays": (
        "platters for carrying breakfast",
        "flat boards to bring snacks out on",
        "platters to pass appetizers around",
    ),
    "cleansing": (
        "goods that rinse off dirt",
        "washing and scrubbing goods",
        "goods for getting spotless",
    ),
    "skin care": (
        "lotions and balms",
        "moisturizing goods",
        "softening ointments",
    ),
    "fragrance": (
        "perfumes for the house",
        "pleasant smells",
        "aromatic goods",
    ),
    "hot drinks": (
        "warm beverages",
        "steaming beverages",
        "beverages for cold winters",
    ),
    "drinkware": (
        "cups and tumblers",
        "vessels to sip from",
        "vessels for beverages",
    ),
    "lighting": (
        "goods that brighten the dark",
        "glowing fixtures",
        "illumination for dim corners",
    ),
    "bedding": (
        "sheets and covers",
        "goods to sleep under",
        "textiles for a good night's sleep",
    ),
    "living room": (
        "comforts for the lounge",
        "sofa comforts",
        "goods for the parlor",
    ),
    "paper": (
        "pages to write on",
        "empty sheets",
        "pads and pages",
    ),
    "everyday bags": (
        "daily carryalls",
        "totes for any day",
        "commuter luggage",
    ),
    "decor": (
        "ornaments for a shelf",
        "pretty accents",
        "goods to adorn a shelf",
    ),
    "serveware": (
        "platters and dishes",
        "goods for hosting dinner",
        "goods to bring a meal to guests",
    ),
    "bath and body": (
        "toiletries",
        "washing and pampering goods",
        "goods for personal hygiene",
    ),
    "home": (
        "goods for the house",
        "household furnishings",
        "furnishings for an apartment",
    ),
    "pantry": (
        "groceries",
        "goods for the larder",
        "cupboard staples",
    ),
    "kitchen": (
        "goods to cook and dine with",
        "goods that a cook needs",
        "culinary equipment",
    ),
    "stationery": (
        "office supplies",
        "writing supplies",
        "supplies for a desk",
    ),
    "bags": (
        "carrying gear",
        "goods to carry belongings with",
        "carriers for belongings",
    ),
}
"""Category of the sample shop -> paraphrases in the plural: two of metadata/2, one held out."""

MAKERS: dict[str, tuple[str, str, str]] = {
    "Harrow & Finch": (
        "from the makers named for a farm tool and a songbird",
        "from the brand named after a field rake and a small bird",
        "with the label of a songbird and a field rake",
    ),
    "Juniper Lane": (
        "from the maker named for a street of gin berries",
        "from the brand named after an evergreen alley",
        "with the label of an evergreen street",
    ),
    "Oakmere": (
        "from the maker named for a lake among acorn trees",
        "from the brand named after a pond with acorns",
        "with the label of an acorn tree and a lake",
    ),
    "Tillbury": (
        "from the maker named like a port on the Thames",
        "from the brand that sounds like a dock town of Essex",
        "with the label of a fort on the Thames",
    ),
    "Marlowe & Reed": (
        "from the makers named for the author of Doctor Faustus and a marsh plant",
        "from the brand named after an Elizabethan playwright and a marsh grass",
        "with the label of a playwright and a marsh stalk",
    ),
    "Saltwick": (
        "from the maker named for sea brine and a village",
        "from the brand named after a briny hamlet",
        "with the label of a briny village",
    ),
    "Fernhollow": (
        "from the maker named for a shady green valley",
        "from the brand named after a dell full of fronds",
        "with the label of green fronds",
    ),
    "Larkspur Co": (
        "from the maker named for delphiniums",
        "from the brand named after tall blue garden flowers",
        "with the label of a delphinium",
    ),
    "Pemberly": (
        "from the maker named like Darcy's estate",
        "from the brand that sounds like a Jane Austen manor",
        "with the label of Elizabeth Bennet's future house",
    ),
    "Quillon": (
        "from the maker named for a sword's crossguard",
        "from the brand named after part of a sword hilt",
        "with the label of a sword",
    ),
    "Aldertide": (
        "from the maker named for a riverbank tree and the ebbing sea",
        "from the brand named after a tree with catkins and the ebb",
        "with the label of catkins and the ebb",
    ),
    "Brindlewood": (
        "from the maker named for a streaked forest",
        "from the brand named after a tawny, striped forest",
        "with the label of a tawny forest",
    ),
}
"""Brand of the sample shop -> paraphrases that stand behind a noun: two of metadata/2, one held out."""

SENTENCES: dict[str, tuple[str, str]] = {
    "Look for well-reviewed products": ("Suggest what others rate highly", "It should have pleased most buyers"),
    "Prioritize products of good quality": ("Put fine workmanship first", "It should be well made"),
    "Search for products that are easy to use": ("Suggest whatever is simple to operate", "It should work right away"),
    "Opt for durable products": ("Choose what lasts for years", "It should last long"),
    "Explore popular products": ("Browse what many people buy", "It should be a bestseller"),
    "Prefer versatile products": ("Lean towards what suits many purposes", "It should fit any occasion"),
}
"""Generic preference of metadata/1 -> that of metadata/2, and a sentence held out."""
_HELD_OUT_SENTENCES = {
    text.casefold(): held_out for known, (other, held_out) in SENTENCES.items() for text in (known, other)
}

FRAMES: dict[str, tuple[str, ...]] = {
    "Search for": ("Suggest", "Recommend"),
    "Prefer": ("Lean towards", "Favor"),
    "Look for": ("Pick", "Go for"),
    "Opt for": ("Choose", "Select"),
    "Prioritize": ("Start with", "Begin with"),
    "Explore": ("Browse", "Discover"),
    "Avoid": ("Avoid", "Exclude", "No"),
}
"""Beginning of a preference of metadata/1 -> those of metadata/2."""

HELD_OUT_FRAME = "I am after"
"""Beginning of a positive preference that [`paraphrase`] words."""

_FAMILY_OF = {value: family for family, values in FAMILIES.items() for value in values}
_PHRASES = VALUES | PLACES | MAKERS
_NAME_OF = {phrase.casefold(): name for name, phrases in _PHRASES.items() for phrase in (name, *phrases)}
_ANY_PHRASE = re.compile(
    rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(_NAME_OF, key=len, reverse=True)))})(?!\w)", re.IGNORECASE
)
_VERB_OF = {frame.casefold(): verb for verb, frames in FRAMES.items() for frame in (verb, *frames)} | {
    "find": "Search for",
    HELD_OUT_FRAME.casefold(): "Search for",
}
_VERB = re.compile(rf"\s*({'|'.join(sorted(_VERB_OF, key=len, reverse=True))})\s+(.+)", re.IGNORECASE | re.DOTALL)
_CONNECTIVES = frozenset({"and", "or", "products", "things"})


@dataclass(frozen=True)
class Paraphrase:
    """A preference in other words.

    Attributes:
        text (`str`): The sentence; negative if and only if the given one is.
        kind (`str`): `"full"` if all attributes are paraphrased, so that no word of a title is left; `"frame"` if the
            words of the attributes are kept and only the sentence around them is another.
    """

    text: str
    kind: Literal["full", "frame"]


def word_choice(choice: Choice) -> str:
    """Words a choice of the sample shop by paraphrases, the same in every call.

    Raises:
        ValueError: If it names what the shop does not have.

    >>> word_choice(Choice("Search for", ("citrus",), place="bar soaps"))
    'Recommend solid blocks to lather up with under the shower, with the zesty aroma of grapefruit peel'
    """
    if choice.generic:
        return SENTENCES[choice.generic][0]
    frames = FRAMES[choice.verb]
    return f"{frames[_draw(choice, choice.verb, len(frames))]} {_noun(choice)}"


def read_choice(preference: str) -> Choice | None:
    """Reads the attributes of the sample shop that a preference names, in any of this project's wordings.

    Args:
        preference (`str`): Preference of metadata/1, metadata/2 or [`paraphrase`], or the inversion of one.

    Returns:
        [`Choice`] or `None`: `None` if it names nothing of the shop (a generic preference), or is another sentence.

    >>> read_choice("Find citrus bar soaps") == Choice("Search for", ("citrus",), place="bar soaps")
    True
    >>> read_choice("Opt for durable products"), read_choice("Search for citrus dog food")
    (None, None)
    """
    begun = _VERB.fullmatch(preference)
    if begun is None:
        return None
    verb, rest = _VERB_OF[begun[1].casefold()], begun[2]
    is_other = rest.casefold().startswith("other ")
    names = [_NAME_OF[match.group().casefold()] for match in _ANY_PHRASE.finditer(rest)]
    left = re.findall(r"[^\W_]+", _ANY_PHRASE.sub(" ", rest).casefold())[is_other:]
    places = [name for name in names if name in PLACES]
    brands = [name for name in names if name in MAKERS]
    if not names or len(places) > 1 or len(brands) > 1 or not _CONNECTIVES.issuperset(left):
        return None
    words = tuple(name for name in names if name in VALUES)
    return Choice(verb, words, "".join(brands), "".join(places), is_other)


def paraphrase(preference: str, leaf: str = "", brand: str = "") -> Paraphrase | None:
    """Words a preference differently, with the same meaning and polarity; the same in every call.

    The attributes of the sample shop are named by paraphrases that neither metadata/1 nor metadata/2 has. Words of
    other shops have no such table: a category or a price would be another wish, so their words stay and the sentence
    around them changes.

    Args:
        preference (`str`): A preference of any approximator, or the inversion of a negative one.
        leaf (`str`): Leaf category that it ends in, as in `"bar soaps"`; `""` if not known.
        brand (`str`): Brand that it names; `""` if none or not known.

    Returns:
        [`Paraphrase`] or `None`: `None` if the preference does not begin with a verb that can be replaced.

    >>> paraphrase("Find citrus bar soaps")
    Paraphrase(text='I am after suds for scrubbing up, with a whiff of freshly squeezed limes', kind='full')
    >>> paraphrase("Search for shimmer red nail polish", leaf="nail polish")
    Paraphrase(text='I am after nail polish with shimmer and red', kind='frame')
    >>> paraphrase("Avoid OPI nail polish", leaf="nail polish", brand="OPI")
    Paraphrase(text='No nail polish from OPI', kind='frame')
    """
    if (held_out := _HELD_OUT_SENTENCES.get(preference.casefold())) is not None:
        return Paraphrase(held_out, "full")
    begun = _VERB.fullmatch(preference)
    if begun is None or begun[1].casefold() == HELD_OUT_FRAME.casefold():
        return None
    frame = HELD_OUT_FRAME
    if is_negative_preference(preference):
        frame = "Exclude" if begun[1].casefold() == "no" else "No"
    choice = read_choice(preference)
    if choice is not None:
        return Paraphrase(f"{frame} {_noun(choice, is_held_out=True)}", "full")
    return Paraphrase(f"{frame} {_turned(begun[2], leaf, brand)}", "frame")


def _turned(rest: str, leaf: str, brand: str) -> str:
    """Moves the leaf category to the front: "nail polish with shimmer and red"; unchanged if it is not at the end."""
    head = rest.removesuffix(leaf).strip() if leaf else ""
    if not leaf or head == rest.strip() or not head or head.split()[0].casefold() == "other":
        return rest
    if head == brand:
        return f"{leaf} from {brand}"
    return f"{leaf} with {' and '.join(word for word in head.split() if word != 'and')}"


def _noun(choice: Choice, is_held_out: bool = False) -> str:
    """The attributes as a noun phrase in the plural."""
    phrases = []
    for name in (choice.place, *choice.words, choice.brand):
        if name and name not in _PHRASES:
            raise ValueError(f"{name!r} is no attribute of the sample shop; it has {', '.join(_PHRASES)}.")
        if name:
            phrases.append(_PHRASES[name][2 if is_held_out else _draw(choice, name, 2)])
    head = phrases.pop(0) if choice.place else "things"
    if choice.is_other:
        head = f"other {head}"
    if not phrases:
        return head
    # No item has two values of a family; "cork or leather" is what two items with one each have in common.
    connective = "or" if len({_FAMILY_OF.get(word, word) for word in choice.words}) < len(choice.words) else "and"
    comma = "," if any(re.search(r",| and ", phrase) for phrase in phrases[:-1]) else ""
    return head + (", " if choice.place else " ") + f"{comma} {connective} ".join(phrases)


def _draw(choice: Choice, name: str, count: int) -> int:
    """Number below `count` that depends on the choice and the name alone."""
    return zlib.crc32(f"{choice.text}|{name}".encode()) % count
