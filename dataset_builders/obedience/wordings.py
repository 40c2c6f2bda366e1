"""Sentences of the asks: seen in training, unseen in training, and in other languages.

In a wording, {x} is the wanted term (in a wording that avoids, the unwanted one) and {y} the unwanted term beside it.
The templates of training begin with Search for, Look for, Find, Prefer, Opt for, Explore, Prioritize, Avoid, I want,
Show me or Not, or contain "no ... please"; no other wording here does.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """Requests in another language.

    Attributes:
        wordings (`tuple[str, ...]`): Sentences in which {x} stands for a kind of item.
        kinds (`dict[str, str]`): English name of each kind of the sample shop -> its name in this language.
    """

    wordings: tuple[str, ...]
    kinds: dict[str, str]


SEEN = {
    "search": ("Search for {x}",),
    "avoid": ("Avoid {x}", "I do not want {x}", "No {x}"),
    "mixed": ("Search for {x} but not {y}",),
}
"""Wordings that may be in the training data, by purpose."""

UNSEEN = {
    "search": (
        "Do you have any {x}?",
        "I could really use {x}",
        "my sister loves {x}",
        "{x} would be lovely",
        "what {x} are there?",
    ),
    "avoid": (
        "nothing with {x} for me",
        "I can't stand {x}",
        "please leave out {x}",
        "anything except {x}",
        "spare me the {x}",
    ),
    "title": (
        "Do you have {x}?",
        "I could really use {x}",
        "my sister loves {x}",
        "is there still a {x}?",
        "{x}, that is the one I mean",
    ),
    "value": (
        "my sister loves {x}",
        "a gift for a friend of {x}",
        "could there be {x} in it?",
        "something {x} would make my day",
        "I could really use some {x}",
    ),
    "mixed": (
        "{x} please, anything but {y}",
        "my sister loves {x}, though she can't stand {y}",
        "{x} would be lovely, only without {y}",
        "do you have any {x}? Just nothing with {y}",
        "I could really use {x}, leave out {y}",
    ),
}
"""Wordings that are not in the training data, by purpose."""

FREE = (
    ("something that smells of lavender", (), ("lavender",)),
    ("a warm drink for winter evenings", ("teas",), ()),
    ("a present for a friend who keeps a diary", ("notebooks",), ()),
    ("we need more light in the reading corner", ("lamps",), ()),
    ("something to wrap up in on the couch", ("blankets",), ()),
    ("the flowers need somewhere to stand", ("vases",), ()),
    ("my hands get so dry in winter", ("hand creams",), ()),
    ("a leather bag to take to work", ("backpacks",), ("leather",)),
    ("something to carry drinks out to the terrace", ("trays",), ()),
    ("coffee tastes better from ceramic", ("mugs",), ("ceramic",)),
    ("soft wool for the sofa", ("blankets", "cushions"), ("wool",)),
    ("I love the smell of roses", (), ("rose",)),
    ("everything in our home is emerald", (), ("emerald",)),
    ("honey is good for my skin", ("bar soaps", "hand creams"), ("honey",)),
    ("walnut would go with my desk", (), ("walnut",)),
    ("a nautical touch for our boathouse", (), ("nautical",)),
    ("navy textiles for the bedroom", ("blankets", "cushions"), ("navy",)),
    ("a cork cover to write in", ("notebooks",), ("cork",)),
    ("eucalyptus clears my head", (), ("eucalyptus",)),
    ("a cosy flame that smells of vanilla", ("candles",), ("vanilla",)),
    ("geometric patterns please me", (), ("geometric",)),
    ("washing with coconut in the morning", ("bar soaps",), ("coconut",)),
    ("peppermint to sip after dinner", ("teas",), ("peppermint",)),
    ("brass shines so nicely in the hall", (), ("brass",)),
    ("breakfast in bed, served on bamboo", ("trays",), ("bamboo",)),
    ("indigo matches my curtains", (), ("indigo",)),
    ("rustic things for the cabin", (), ("rustic",)),
    ("velvet, in mustard if you have it", (), ("velvet", "mustard")),
)
"""Free sentences for the sample shop: text, kinds of which an item must have one, values that it must have, all of
them."""

LANGUAGES = {
    "German": Language(
        wordings=("Ich suche {x}", "Haben Sie {x}?", "Ich hätte gern {x}", "Gibt es {x}?", "{x} wären schön"),
        kinds={
            "bar soaps": "Seifenstücke", "hand creams": "Handcremes", "candles": "Kerzen", "teas": "Tees",
            "mugs": "Tassen", "lamps": "Lampen", "blankets": "Decken", "cushions": "Kissen",
            "notebooks": "Notizbücher", "backpacks": "Rucksäcke", "vases": "Vasen", "trays": "Tabletts",
        },
    ),
    "French": Language(
        wordings=(
            "Je cherche des {x}", "Avez-vous des {x} ?", "J'aimerais des {x}", "Y a-t-il des {x} ?",
            "Ma sœur adore les {x}",
        ),
        kinds={
            "bar soaps": "savons", "hand creams": "crèmes pour les mains", "candles": "bougies", "teas": "thés",
            "mugs": "tasses", "lamps": "lampes", "blankets": "couvertures", "cushions": "coussins",
            "notebooks": "carnets", "backpacks": "sacs à dos", "vases": "vases", "trays": "plateaux",
        },
    ),
    "Spanish": Language(
        wordings=("Busco {x}", "¿Tienen {x}?", "Me gustarían {x}", "¿Hay {x}?", "Quisiera comprar {x}"),
        kinds={
            "bar soaps": "jabones", "hand creams": "cremas de manos", "candles": "velas", "teas": "tés",
            "mugs": "tazas", "lamps": "lámparas", "blankets": "mantas", "cushions": "cojines",
            "notebooks": "cuadernos", "backpacks": "mochilas", "vases": "jarrones", "trays": "bandejas",
        },
    ),
}  # fmt: skip
"""Name of a language -> its requests."""
