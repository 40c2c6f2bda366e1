"""Rules that split one English preference into what is wanted and what is avoided.

| written | wanted | avoided |
|---|---|---|
| Avoid, Exclude, No, Not, Without, Skip, Never A; nothing with A; I do not want A; I hate A; stay away from A | | A |
| A is not for me; A is gross; A sucks; keep A away; leave A out; A? No thanks; A? Never | | A |
| A but not B; A without B; A, no B; A that are not B; A free of B; A except B; A other than B; A -b | A | B |
| A instead of B; rather A than B; prefer A over B; not B but A; less B, more A | A | B |
| avoid A and B; no A, B or C; neither A nor B | | each |
| anything but A; everything except A | | A |
| avoid everything but A; nothing but A; cannot live without A; can't get enough of A; don't forget A | A | |
| not only A but also B | A, B | |
| A-free B | A-free B | A |
| no. 7 A; no-rinse A; a no fuss A; no doubt; no more than $20; "not said, but quoted" | as written | |
| I don't mind A; A need not be B; no preference for A | nothing, where anything else is said | |

A sentence, a semicolon and a new line begin as wanted again. Wanted texts lose what only frames them ("Could you find
me a", "please"). Where nothing would be left on either side the whole text is wanted, but "no preference" and its
like ask for nothing, and so does a text without a word that says what ("not", "please", "!!!"). A longer phrase
counts before a shorter one; a negated verb that is not listed ("that won't dry my skin") stays as it is. Limits:
unquoted names that read as a negation ("No Crease"; two that shops carry are known), meanings that no listed word
carries ("lavender reminds me of hospitals"), and every language but English.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_TEXTS = 40
"""Texts of each side at most; what exceeds them is joined to the last one."""


@dataclass(frozen=True)
class SplitPreference:
    """What a preference wants and what it avoids: texts in the order in which they were written."""

    wanted: tuple[str, ...] = ()
    avoided: tuple[str, ...] = ()


# Phrases are regular expressions over tokens with one space between them: lower-cased words, contractions written out
# ("don't" as "do not"), punctuation as tokens of its own, # for a number. A line or | begins another phrase; a name in
# angle brackets stands for any of these.
_NAMED = {
    "aux": "do|does|did|would|should|shall|will|must|might|may|could|can",
    "be": "is|are|was|were|am|be|being|been|looks?|seems?|feels?",
    "i": r"i|we|you|he|she|they|my \w+|mother|mom|mum|dad",
    "all": "anything|something|everything|any|all|anyone",
    "but": "but|except for|except|other than|besides|apart from|aside from|excluding|save",
    "adverb": """
        really|just|absolutely|definitely|personally|simply|also|still|honestly|particularly|especially|actually|ever
        usually|generally|normally|totally|strictly|truly|very|too|quite|that|much|even|always|mostly|only|currently
        so
    """,
    "adv": "(?:<adverb> ){0,3}",
    "have": """
        see|get|have|buy|own|use|wear|try|find|smell|receive|be shown|look at|hear about|be offered|order|eat|drink
    """,
    "to": "(?: to <have>)?(?: me| us)?",
    # what one may "not" do, so that what follows is avoided
    "ask": """
        want|like|love|need|wish for|wish|enjoy|buy|use|wear|eat|drink|show|give|recommend|suggest|send|bring|offer
        put|include|add|tolerate|care for|go for|fancy|accept|see|contain|have|has|involve|feature|feel like|look for
        look|search for|find|go near|propose|list|display|return|prefer|appreciate|get along with|get on with|get|pick
        choose|consider|smell|taste|come|agree with|suit|work with|do well with|select|serve|stock|purchase|order
        present|keep|approve of|bother with|liked|loved|wanted|enjoyed|needed|used|bought|ask for|deal with
        end up with|trust|take
    """,
    "stand": "do|stand|bear|tolerate|have|use|wear|eat|drink|abide|take|handle|deal with|see|smell|contain",
    "after": """
        looking for|searching for|interested in|into|fond of|keen on|crazy about|big on|wild about|in the mood for
        after|here for|shopping for|buying|in need of|hoping for|asking for|mad about|sold on|comfortable with
        thrilled with|(?:an? |much of an? )?(?:big |huge |great )?(?:fan|lover|friend|believer) (?:of|in)
    """,
    # what "no" may stand before without being about it
    "of": """
        interest in|(?:need|desire|use|room|time|love|patience|taste|appetite) for|fan of
        (?:trace|hint|note|whiff)s? of|(?:sign|scent|amount|touch) of|(?:kind|sort|form|type)s? of|more|such|other
        thanks to|thank you to|way to|to
    """,
    "wish": """
        want|like|love|adore|enjoy|prefer|need|fancy|wish for|use|care for|feel like|go for|rather have|rather get
        rather|wants|likes|loves|adores|enjoys|prefers|needs|wanted|liked|loved|needed|after|looking for|searching for
        into|hoping for|shopping for|hunting for|interested in|in the mood for|an? fan of|fond of|in need of|keen on
        seeking|on the hunt for|all for|wish there (?:was|were)
    """,
    "request": """
        search for|search|searching for|look for|looking for|looking at|find|finding|show|give|get|recommend|suggest
        send|bring|prefer|preferring|opt for|prioriti[sz]e|explore|choose|pick|stick to|stick with|focus on|offer|list
        select|display|browse|discover|include|favou?r
    """,
    "you": "(?:can|could|would|will) (?:you|i|we)(?: please| maybe| just| kindly)?",
}

# Read as they are: what is wanted goes on, or what is avoided does.
_KEPT = r"""
    no (?:#|doubt|question|matter|wonder|problem|rush|hurry|worries|kidding|joke|one|frills|fuss|nonsense|limit|idea)
    no \w+er than|no (?:more|less|fewer) than|no better|no questions asked|(?:a|an|the|this|my|your|her|his) no
    not (?:more|less|fewer) than|not (?:over|under|above|below) [#$€£]|(?:for )?less than|for less|less is more
    whether or not|never mind
    not (?:bad|yet|even|all|every|much|many|quite|until|long|unlike|enough|always|compatible|included|required|tested)
    not to mention|without (?:any |a )?(?:doubt|question|fail|further ado|breaking the bank)|of course not|why not
    if not|or not|nothing wrong|none other than|enough (?:to|for)|hide (?:and|n|&)|skip hop|not your mother(?:'s|s)?
    <aux> not(?! [.,;!?]| $)|do not forget to
"""
# Neither wanted nor avoided.
_NEUTRAL = r"""
    (?:do|does|did) not <adv>mind(?! having)|(?:do|does|did) not <adv>care (?:if|whether|about|what|which)
    (?:do|does) not (?:have|need) to (?:be|have|contain)|need not (?:be|have|contain)|not necessarily
    (?:do|does) not <adv>matter (?:if|whether)|(?:am )?not <adv>(?:picky|fussy|particular|choosy)(?: about)?
    (?:can|could) not care less about|nothing against|not that (?:i|we) (?:mind|dislike|hate)|no hard feelings about
    (?:am )?not sure(?: what (?:i|we) (?:want|need))?
    no (?:particular |special |real |strong )?preferences?(?: for| about| on| as to| regarding| when it comes to)?
"""
# Two negations: what follows is wanted.
_DOUBLED = r"""
    (?:can|could) not <adv>get enough(?: of)?|(?:can )?never (?:get|have|had|tire) (?:tired |enough )?(?:of)?
    <aux> (?:not|never) (?:want to )?(?:live|do|be|go|manage|survive|cope|leave|travel) without
    never (?:live|do|be|go|travel|leave the house) without|(?:not|never|nor|not complete|incomplete) without
    (?:can|could) not (?:resist|wait for|say no to|go wrong with|beat|do better than)|never say no to
    (?:would|will) not (?:mind|say no to)|do not mind having|no (?:end|shortage|lack) of
    (?:do|does|must|should|will|would) not (?:forget|skip|avoid|exclude|omit|leave out|miss|hide|want to miss|ignore)
    <aux> not <adv><ask><to> (?:anything|any|something) <but>|(?:nothing|none|no one|nobody) <but>
    <aux> not <adv><ask><to> (?:anything|any|something|things|items?) (?:that|which) (?:is|are|has|have) not
    <aux> not <adv>(?:dislike|hate|detest|despise|loathe)
    nothing (?:beats|compares to|compares with|better than|tops)|there is nothing (?:like|better than)
    not (?:only|just|merely|simply|solely)|(?:do|does) not (?:just|only) (?:show|give|find|want|need|like)(?: me)?
"""
# What follows is avoided, and so is what a comma adds to it ("no parabens, sulfates").
_LISTED = r"""
    <aux> <adv>(?:not|never) <adv>(?:again )?<ask><to>|(?:never|no longer) <adv><ask><to>
    (?:can|could) not <adv><stand>
    (?:would )?(?:rather|prefer)(?: to)? not(?: to)?(?: have| see| get| buy| use| wear)?|(?:<be> )?not <adv><after>
    (?:(?:want|like|need|try|trying|prefer|have|has|wants|tries) to )?(?:avoid|exclude)|to (?:avoid|exclude|skip|omit)
    (?:would )?rather (?:skip|omit|pass on|leave out|go without)|(?:have |has )?had it with
    neither of us (?:likes?|wants?)|avoiding|excluding|excludes|avoids|hates?|dislikes?|detests?|despises?|loathes?
    hating|disliking|far from|(?:swore|sworn) off|gave up(?: on)?|(?:am|are) <adv>over(?! [#$€£])
    (?:(?:have|had|has|got|am|are|is|getting) )?<adv>(?:had )?(?:enough (?:of|with)|sick of|tired of|fed up with)
    (?:<be> )?<adv>(?:allergic|intolerant|sensitive|averse|opposed|an allergy|allergy|aversion) to|bored (?:of|with)
    (?:have|has|own|got|had) (?:already )?(?:way )?(?:too many|too much|plenty of|enough|(?:a ton|tons|lots|loads) of)
    already (?:have|has|own|bought|got)(?: (?:way )?(?:too many|too much|plenty of|enough|lots of))?
    you keep (?:recommending|showing|suggesting|sending|offering)(?: me| us)?|<be> (?:all |so )?(?:done|finished) with
    (?:break|breaks|broke) out (?:from|with|because of|when(?:ever)? there is)|reacts? (?:badly )?to
    <i> used to (?:like|love|want|enjoy|need|prefer|buy)|(?:i )?doubt (?:that )?(?:i|we) (?:want|need)
    <i> <aux> not think (?:that )?(?:i|we) (?:want|need)
    (?:has|have) not got|(?:stay|lay|keep|staying|laying) off|<aux> not have any|(?:has|have) not any
    (?:get|gets|got) (?:an? )?(?:rash|rashes|headaches?|migraines?|hives|itchy) from|<be> <adv>(?:put off by|against)
    (?:stay|keep|steer|shy|run)s? (?:far |well )?(?:away|clear) (?:from|of)|hold the|spare (?:me|us)|get rid of
    (?:leave|leaving|keep|filter|rule|cut|weed) out|leave off|do away with|with absolutely no|(?:with|has|have) zero
    (?:(?:with|has|have|having|contains?|there is|there are|wants?|say|absolutely) )?no(?: <of>)?|neither|nor|sans
    not an? (?:trace|hint|drop|bit|single|sign|touch|fan|lover)(?: of)?|without(?: any)?|lacking|minus|devoid of
    (?:<be> )?free (?:of|from)|(?:with )?none of|none (?:with|that has|that have|in)|(?:any|some|every)thing not
    nothing|fewer|less|not (?:any|one)
"""
# The same, only where a clause begins.
_LISTED_FIRST = r"""
    skip|skipping|omit|drop|remove|hide|ban|block|ditch|never(?: ever| again)?|forget(?: about)?|reject|refuse|enough
    stop (?:showing|recommending|suggesting|offering|sending|with)(?: me| us)?|boycott|dodge|shun|pass on|scrap|zero
    down with|cut down on|too (?:much|many)|nope to|eliminate|discard|veto|nix|ignore|lose the
"""
# What follows is avoided up to the next comma.
_CONTRASTED = r"""
    <all> <but>|<all> that (?:is|are) not|except(?: for)?|other than|apart from|aside from|with the exception of
    unlike|as opposed to|instead of|rather than|sooner than|in place of|save for|<be> <adv>(?:not|never)|<aux> not be
    not be|not|(?:as long as|provided|if|so long as) (?:it|they) (?:is|are) not
"""
# What stands before is avoided.
_BEHIND = r"""
    <be> <adv>not <adv>(?:for (?:me|us|her|him|them)|my (?:thing|style|taste|cup of tea)|welcome|allowed|an option)
    <be> <adv>not <adv>(?:wanted|needed|on my list|what i (?:want|need|like|am after|am looking for))|need not apply
    (?:is|are|would be) <adv>(?:out of the question|out|banned|forbidden|off the table|off[ -]limits|unwanted|taboo)
    (?:is|are|would be) <adv>(?:a no-go|no-gos|a no-no|a no|no go|a deal ?breaker|a turn-?off|awful|horrible)
    (?:is|are) <adv>(?:gross|disgusting|overrated|terrible|the worst|unbearable|yucky|useless|ugly|excluded)
    (?:do|does|<be>|would|would be) not(?= [.,;!?]| $)|excluded(?= [.,;!?]| $)
    no longer (?:interests?|excites?|appeals? to) (?:me|us)|(?:bores?|disgusts?|sickens?|nauseates?) (?:me|us)
    (?:is|are) <adv>not what (?:i|we) (?:want|need|like)
    (?<!not )(?<!never )(?<!to )(?:sucks?|stinks?)(?= [.,;!?]| $)
    (?:[,:?] |- )(?:never|absolutely not|certainly not|hell no|god no)(?= [.,;!?]| $)
    (?:makes?|gives?) (?:me|us) (?:sick|nauseous|sneeze|itch|itchy|cough|(?:an? )?headaches?|migraines?|an? rash|hives)
    (?:irritates?|bothers?|upsets?|annoys?) (?:me|us|my \w+)|(?:turns?|puts?) me off|not (?:wanted|for (?:me|us))
    (?:no|not)(?= [,.;!?]| $)|(?:[,:?] |- )?(?:no thanks|no thank you|no way|nope|not wanted|not welcome|not for me)
    (?:[,:?] |- )no(?= [.!?]| $)
"""
# What follows is wanted.
_WISHED = r"""
    <i>(?: (?:would|am|are|is|have|was|were|will|might|could|been|do|does|<adverb>)){0,4} <wish>(?: to <have>)?(?: me)?
"""
_REQUESTED = r"""
    (?:<you> |help me |let (?:me|us) )?<request>(?! (?:and|&|n) )(?: me| us| her| him| them)?|yes to|what about
    <you> (?:have|see|buy|get|try)|let (?:me|us) (?:see|have|try)|do you (?:have|sell|carry|stock)(?: any)?
    how about|have you got(?: any)?|what (?:have you got|do you have)(?: (?:that|which) (?:is|are))?|got any
    (?:is|are) there(?: any)?|interested in|in the mood for|hoping for|on the hunt for|in need of|seeking|in search of
    hunting for|shopping for
"""
# The same, only after a comma or "and": a name may begin with such a word.
_REQUESTED_LATER = """
    loves?|likes?|need|wants?|adores?|enjoys?|go for|use|make it|(?:is |am |are )?(?:crazy about|into|fond of|keen on)
"""
# The whole text, when it asks for nothing.
_NOTHING = r"""
    (?:i )?(?:have )?(?:got )?no (?:particular |special |real |strong )?(?:preferences?|idea|wish|wishes|opinion)|none
    no|nope|nothing|nothing (?:special|in particular|particular|specific)|n / a|not sure|i do not know
    h+m+|lol|thanks a lot|good (?:morning|evening|day|night)|(?:i am )?bored|help me (?:decide|choose)
    what (?:do|would|can) you (?:recommend|suggest|advise)
    (?:i )?do not (?:mind|care)|(?:it )?does not matter|whatever|anything|everything|anything goes|surprise me
    no thanks|no thank you
"""
# Phrases that end a text without belonging to it, and those that end only what is avoided.
_TAIL = r"""
    please|thanks|thank you|if (?:at all )?possible|if you (?:can|could|have any|have some|have it|please)|instead
    (?:would|will) (?:be|do) (?:nice|great|perfect|lovely|good|ideal|fine|wonderful|best|awesome|cool)|would do
    will do|(?:is|are) my (?:thing|style|favou?rites?|cup of tea)
    [,:;.!?()*•–—-]|okay|ok|at all|ideally|preferably|for now|today|this time|right now|anyway|though|however
    and|but|or|(?:but )?for (?:heaven|god|goodness)'s sake|(?:is|are) (?:fine|ok|okay|welcome|good|great|perfect)
"""
_AVOIDED_TAIL = r"""
    (?:in|on|inside|near|around) (?:it|them|there|me|this|that)|whatsoever|any ?more|ever|again|either|involved
    allowed|(?:for|from|to) (?:me|us|him|her|them|you|(?:my|our|his) \w+)|of any (?:kind|sort|type)|as well|too|ones
    one|with|(?:or|and) (?:anything|something|things|stuff)(?: (?:like|of) (?:that|it|this|the sort|the kind))?
    or the like|that|(?:and|or) such|etc|and so (?:on|forth)|or similar|for sure
    no|already|lately|recently|nowadays|these days|for once|(?:last|next) time|(?:last|next) time so|so|itself
    themselves|you know|so much|things|anything|altogether|products|items|stuff
"""


def _pattern(text: str) -> str:
    """One alternation of the phrases of a text, names filled in."""
    phrases = "|".join(line.strip() for line in text.splitlines() if line.strip())
    return "(?:" + re.sub(r"<(\w+)>", lambda match: _pattern(_NAMED[match[1]]), phrases) + ")"


_RULES = tuple(
    (kind, re.compile(_pattern(text) + "(?= )"))
    for kind, text in (
        ("kept", _KEPT),
        ("neutral", _NEUTRAL),
        ("doubled", _DOUBLED),
        ("behind", _BEHIND),
        ("listed", _LISTED),
        ("contrasted", _CONTRASTED),
        ("listed first", _LISTED_FIRST),
        ("wished", _WISHED),
        ("requested", _REQUESTED),
        ("requested later", _REQUESTED_LATER),
    )
)
"""Of the phrases that begin at a token the longest counts, the first of equally long ones."""
_FRAMES = tuple(pattern for kind, pattern in _RULES if kind in ("wished", "requested"))
_NOTHING_ASKED = re.compile(
    _pattern(_NOTHING) + r"(?: (?:at all|today|please|either way|really|thanks|thank you|whatsoever|[.!?,-]))* $"
)
_ENDS = re.compile(" " + _pattern(_TAIL) + "$")
_AVOIDED_ENDS = re.compile(" " + _pattern(_AVOIDED_TAIL) + "$")
_ALL_BUT = re.compile(_pattern("<all> <but>"))
_NEGATION = re.compile(r"\b(?:no|not|nothing|never|none|nor|neither|zero|without)\b")
_LACKING = re.compile(
    r"(?<![\w'’-])([^\W\d_]{3,})[ -]free(?![\w'’-])"
    r"(?! (?:of|from|standing|radicals?|shipping|gifts?|samples?|style)\b)",
    re.IGNORECASE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SENTENCE_ENDS, _MARKS = _words(". ! ? ;"), _words(", ( ) - – —")
_JOINING, _ARTICLES = _words("and or nor but also yet"), _words("a an the")
_PRONOUNS, _OWNERS = _words("it them that those this one ones"), _words("my our his her their")
_PREPOSITIONS = _words("in with for by from at under on of to like as made")
_NEW_CLAUSE = _words("what which how who i he she we they it you is are do does can could would")
_PERSONAL = _words("does do did is are was hates hate dislikes detests despises loathes can could will would never no")
_BEFORE_NEGATION = _JOINING | _words("with me please has have contains absolutely i say want is are it thanks ok")
_COURTESY = _words("please kindly hi hello hey ok okay well sorry thanks yes just so then now today honestly : * •")
_POLITE = _JOINING | _MARKS | _COURTESY
# Words that begin what is wanted again, behind a comma or "and" in what is avoided.
_AGAIN = _words("""
    rather preferably ideally only just maybe perhaps something some more but though however although otherwise
    instead please then so yes mostly especially thanks
""")
_AFTER_BUT = _AGAIN | _PREPOSITIONS | _ARTICLES | _words("it i make also")
_LED_TEXT = """
    . ! ? ; / nor rather sooner preferably ideally maybe perhaps instead however though although otherwise only a an
    the some any me us
"""
_AVOIDED_LED_TEXT = """
    . ! ? ; / me us to see seeing show showing get getting have having has buy buying be being any anything something
    everything thing things stuff item items product products one ones a an the those these that which with
    containing contains contain include includes including made of from in by like smell smells smelling taste tastes
    tasting type kind sort types kinds sorts more another else all other others is are it them ever really as if even
    either both featuring involving based every using at about on than would such definitely absolutely certainly
    especially particularly need needs requires require uses needing requiring
"""
_TRAILED_TEXT = """
    only with that which who is are has have having be it they i we you he she would should must could do does am was
    were me us really absolutely still though although a an the in of for to from by as instead definitely rather want
    wants thing contain contains
"""
_GENERIC_TEXT = """
    i we you he she they him her his my our your their there this do does should could can will not for what whatever
    want good nice great am was were too anyone again out here stop trying filter results goes long hard big yes
"""
# Words that may lead to a wanted text, to an avoided one, and from a wanted one to what is avoided.
_LED, _AVOIDED_LED, _TRAILED = (_POLITE | _words(text) for text in (_LED_TEXT, _AVOIDED_LED_TEXT, _TRAILED_TEXT))
# A text of these words alone says nothing.
_GENERIC = _LED | _AVOIDED_LED | _words(_GENERIC_TEXT)
# So does one of these, or of punctuation: there is nothing to search for.
_EMPTY = _GENERIC | _words("no not never without avoid exclude skip nothing none neither except but only")
# "hands-free" avoids no hands.
_FREE_WORDS = _words("""
    feel get set break for and the with one two all is are be it hands hand care worry hassle duty tax toll stress mess
    risk guilt trouble pain cruelty buy or ship completely totally really that so any rent post error tear neutralizing
    shape
""")

_WRITTEN_OUT = {
    "can't": "can not", "cannot": "can not", "won't": "will not", "shan't": "shall not", "ain't": "is not",
    "dont": "do not", "doesnt": "does not", "didnt": "did not", "isnt": "is not", "arent": "are not",
    "cant": "can not", "wont": "will not", "couldnt": "could not", "wouldnt": "would not", "shouldnt": "should not",
    "i'm": "i am", "im": "i am", "ive": "i have", "let's": "let us", "wanna": "want to", "w/o": "without",
    "pls": "please", "plz": "please", "thx": "thanks",
}  # fmt: skip
_IS = _words("it's that's there's what's here's he's she's who's this's where's which's everything's")
_ENDINGS = {"'m": "am", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would"}
_ABBREVIATIONS = _words("dr st mr mrs ms vs approx oz fl vol pt inc co ltd e.g i.e ca")
_SENTENCE_STARTS = _words("i we find show search look avoid exclude no not never please prefer without also but it")
_SEARCH_WORD = re.compile(r"[a-z]{3}")
_APOSTROPHES = str.maketrans("’‘ʼ´`", "'''''")
_TOKEN = re.compile(
    r""""[^"\n]{1,200}"|“[^”\n]{1,200}”|\bw/o\b|\d+(?:[.,]\d+)*(?![^\W\d_])|[^\W_]+(?:['&-][^\W_]+)*|\S|\n""",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Token:
    """A word, a punctuation mark, or one word of a contraction; `start` and `end` are places in the text."""

    word: str
    start: int
    end: int


@dataclass(slots=True)
class _Segment:
    """Tokens `first..last` of one sentence that are wanted (1), avoided (-1) or neither (0), and what made them so."""

    polarity: int
    first: int
    last: int
    sentence: int
    kind: str = ""
    trigger: str = ""


def split_preference(text: str, names_absence: Callable[[str], bool] | None = None) -> SplitPreference:
    """Splits one English preference by the rules above.

    Args:
        text (`str`): One sentence or several.
        names_absence (`Callable[[str], bool]`, *optional*): Whether the catalogue's texts have a lower-cased word such
            as "paraben-free". Where they do it is an attribute like any other: it stays wanted, and nothing is
            avoided. Where they do not it leaves the wanted text, which would find parabens by it, and "paraben" is
            avoided. By default it stays, and "paraben" is avoided.

    Returns:
        [`SplitPreference`]: Both sides are empty for an empty text and for one that says that there is no preference.

    >>> split_preference("I'd like a lamp, walnut if possible, but nothing rustic, please")
    SplitPreference(wanted=('lamp, walnut',), avoided=('rustic',))
    >>> split_preference("Avoid bar soaps and candles"), split_preference("anything but candles").avoided
    (SplitPreference(wanted=(), avoided=('bar soaps', 'candles')), ('candles',))
    >>> split_preference("Not only lamps but also vases").wanted, split_preference("nothing but candles").wanted
    (('lamps', 'vases'), ('candles',))
    >>> split_preference("Avoid everything except tea").wanted, split_preference("No-rinse soap").avoided
    (('tea',), ())
    >>> split_preference("no preference") == split_preference("not") == split_preference("!!!") == SplitPreference()
    True
    """
    tokens = _tokens(text)
    words = [token.word for token in tokens]
    if not text.strip() or _NOTHING_ASKED.match(_line(words)):
        return SplitPreference()
    wanted: list[str] = []
    avoided: list[str] = []
    sentence = -1
    for segment in _Reader(words).read():
        if segment.polarity > 0:
            first, last = _trim_wanted(words, segment)
            if _says_nothing(words[first:last], _GENERIC):
                continue
            goes_on = words[first] in _PREPOSITIONS
            piece, lacking = _take_lacking(_text(text, tokens, first, last), names_absence)
            avoided += lacking
            if goes_on and sentence == segment.sentence:
                wanted[-1] = f"{wanted[-1]} {piece}"
            elif piece and not (words[first] == "for" and avoided):
                wanted.append(re.sub("(?i)^with ", "", piece))
                sentence = segment.sentence
        elif segment.polarity < 0:
            texts = _avoided_texts(text, tokens, words, segment)
            if segment.kind == "instead" and wanted and texts:
                wanted[-1] = _with_shared_head([wanted[-1], texts[0]])[0]
            avoided += texts
    if not wanted and not avoided and not _says_nothing(words, _EMPTY):
        wanted = [core(text)]
    return SplitPreference(_joined(wanted), _joined(avoided))


def _says_nothing(words: Sequence[str], empty: frozenset[str]) -> bool:
    """Whether all words are among those that say nothing, or marks."""
    return empty.issuperset(word for word in words if word[0].isalnum() or word == "#")


def core(text: str) -> str:
    """A text without what only frames it; the text itself where nothing else is there.

    >>> core("Could you please find me a walnut lamp, if possible?"), core("Search for soap"), core("Please!")
    ('walnut lamp', 'soap', 'Please!')
    """
    tokens = _tokens(text)
    first, last = _trim_wanted([token.word for token in tokens], _Segment(1, 0, len(tokens), 0))
    return _text(text, tokens, first, last) or " ".join(text.split())


def _tokens(text: str) -> list[_Token]:
    """Words and punctuation of a text, normalized for the rules."""
    tokens: list[_Token] = []
    straight = text.translate(_APOSTROPHES)
    found = list(_TOKEN.finditer(straight))
    for place, match in enumerate(found):
        word, (start, end) = match[0].lower(), match.span()
        following = straight[end : end + 1]
        if word[0] in '"“' and len(word) > 1:
            word = "quotation"
        elif word[0].isdigit() and word[-1].isdigit():
            word = "#"
        elif word == "\n":
            word = ";"
        elif word == "." and tokens:
            before = tokens[-1].word
            after = found[place + 1][0] if place + 1 < len(found) else ""
            inner = following != "" and not following.isspace() and following not in ')"”!?.'
            if inner or before in _ABBREVIATIONS:
                continue
            if len(before) == 1 and before.isalpha() and after and after.lower() not in _SENTENCE_STARTS:
                continue
            if (before == "no" and after[:1].isdigit()) or (before == "etc" and after[:1].islower()):
                continue
        elif word in ("no", "not") and _is_name(found, place):
            word = "name"
        elif word in "-!" and _SEARCH_WORD.match(straight, end) and (not start or straight[start - 1].isspace()):
            word = "-not"  # as in a search box
        words = _written_out(word)
        tokens += [_Token(one, start, end) for one in words]
    return tokens


def _is_name(found: Sequence[re.Match[str]], place: int) -> bool:
    """Whether "No" is part of a name: capitalized, behind a word and before a capitalized one ("Ties No Crease")."""
    if not 0 < place < len(found) - 1 or found[place][0] not in ("No", "Not"):
        return False
    before, after = found[place - 1][0], found[place + 1][0]
    return after[0].isupper() and before[-1].isalnum() and before.lower() not in _BEFORE_NEGATION


def _written_out(word: str) -> list[str]:
    """A contraction as its words.

    >>> _written_out("don't"), _written_out("i'd"), _written_out("there's"), _written_out("mother's")
    (['do', 'not'], ['i', 'would'], ['there', 'is'], ["mother's"])
    """
    if word in _WRITTEN_OUT:
        return _WRITTEN_OUT[word].split()
    if word.endswith("n't") and len(word) > 3:
        return [word[:-3], "not"]
    if word in _IS:
        return [word[:-2], "is"]
    for ending, meaning in _ENDINGS.items():
        if word.endswith(ending) and len(word) > len(ending):
            return [word.removesuffix(ending), meaning]
    return [word]


def _text(text: str, tokens: Sequence[_Token], first: int, last: int) -> str:
    """What the tokens `first..last` were written as, with single spaces."""
    if last <= first:
        return ""
    piece = " ".join(text[tokens[first].start : tokens[last - 1].end].split())
    follows = text[tokens[last - 1].end :].lstrip()[:1]
    return f"{piece})" if follows == ")" and piece.count("(") > piece.count(")") else piece


class _Reader:
    """Reads tokens from left to right into segments."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        self.line = _line(words)
        self.places = [0]  # of every token in the line
        for word in self.words:
            self.places.append(self.places[-1] + len(word) + 1)
        self.number = {place: number for number, place in enumerate(self.places)}
        self.segments: list[_Segment] = []
        self.sentence = 0
        self.said = False  # something but courtesy, in this sentence
        self.flags: set[str] = set()  # of this sentence: "rather", "prefer", "only", "choice"
        self.begin(0, 1)

    def begin(self, first: int, polarity: int, kind: str = "", trigger: str = "") -> None:
        """Ends the open segment before token `first`, if that is not done, and opens another one."""
        self.segments.append(_Segment(polarity, first, first, self.sentence, kind, trigger))
        self.clause = first

    def read(self) -> list[_Segment]:
        """The segments, in order."""
        number = 0
        while number < len(self.words):
            after = self._step(number)
            if after == number:  # a word of the open segment
                after = number + 1
                self.segments[-1].last = after
                self.said = self.said or self.words[number] not in _POLITE
            number = after
        return [segment for segment in self.segments if segment.last > segment.first]

    def _step(self, number: int) -> int:
        """Handles what begins at a token; the number of the token behind it, or `number` for a plain word."""
        kind, after = self._longest(number)
        open_segment = self.segments[-1]
        word = self.words[number]
        if kind == "behind":
            return self._refuse_behind(number, after)
        if kind == "kept":
            open_segment.last = after
            return after
        if kind in ("neutral", "doubled"):
            if self.line[self.places[number] : self.places[after]].startswith("not "):
                self.flags.add("only")
            self.begin(after, 0 if kind == "neutral" else 1)
            return after
        if word in _SENTENCE_ENDS:
            self.sentence += 1
            self.said = False
            self.flags.clear()
            self.begin(number + 1, 1)
            return number + 1
        around = self._kept_away(number)
        if around is not None:
            return around
        if kind in ("listed", "contrasted", "listed first"):
            return self._refuse(kind, number, after)
        if kind in ("wished", "requested", "requested later"):
            return self._ask(kind, number, after)
        return self._word(number)

    def _longest(self, number: int) -> tuple[str, int]:
        """The rule of the longest phrase that begins at a token, and the token behind the phrase."""
        best, end = "", 0
        for kind, pattern in _RULES:
            match = pattern.match(self.line, self.places[number])
            if match is None or match.end() <= end:
                continue
            begins = self._begins_clause(number) or (kind == "requested" and self.segments[-1].kind == "introduced")
            if kind in ("listed first", "requested", "requested later") and not begins:
                continue
            if kind == "listed first" and number == self.segments[-1].first and self.segments[-1].kind == "frame":
                continue  # "Search for Skip Bo"
            if kind == "requested later" and not (number and self.words[number - 1] in _JOINING | {","}):
                continue
            best, end = kind, match.end()
        # a phrase ends before the space that follows it
        return best, self.number[end + 1] if best else number

    def _begins_clause(self, number: int) -> bool:
        """Whether only words of courtesy stand between a token and the beginning of its clause."""
        for place in range(number - 1, max(number - 9, self.clause - 1), -1):
            if self.words[place] in ("and", "but", "or", "so", ","):
                return True
            if self.words[place] not in _POLITE:
                return False
        return number - self.clause <= 8

    def _refuse_behind(self, number: int, after: int) -> int:
        """Avoids the open clause: "A is not for me"."""
        clause = self.clause if self.clause < number or not number else self.segments[-1].first
        if self.segments[-1].polarity > 0 and number > clause:
            self.segments[-1].last = min(self.segments[-1].last, clause)
            self.begin(clause, -1, "listed", "behind")
            self.segments[-1].last = number
        self.begin(after, 1)
        return after

    def _kept_away(self, number: int) -> int | None:
        """Avoids what stands inside "keep A away"; the token behind it, or `None` where that is not said."""
        words = self.words
        if words[number] not in ("keep", "leave", "filter", "rule", "cut", "weed") or not self._begins_clause(number):
            return None
        for place in range(number + 2, min(number + 10, len(words))):
            if words[place] in ("away", "out", "off") and words[number + 1] not in ("me", "my", "us", "warm"):
                if _PRONOUNS.issuperset(words[number + 1 : place]):  # "A, leave that out"
                    return self._refuse_behind(number, place + 1)
                self.begin(number + 1, -1, "listed", "keep")
                self.segments[-1].last = place
                self.begin(place + 1, 1)
                if words[place + 1 : place + 3] in (["from", "me"], ["of", "it"], ["from", "us"], ["of", "this"]):
                    return place + 3
                return place + 1
            if not words[place][0].isalnum():
                break
        return None

    def _refuse(self, kind: str, number: int, after: int) -> int:
        segment = self.segments[-1]
        trigger = self.line[self.places[number] : self.places[after]].strip()
        inside = segment.polarity < 0 and segment.last > segment.first
        if inside and trigger.startswith("without"):
            if segment.trigger.startswith("without"):
                self.begin(after, -1, kind, trigger)
                return after
            if _NEGATION.search(segment.trigger):  # "no soap without honey" wants honey
                segment.polarity = 1
                self.begin(after, 1)
                return after
            return number
        if inside and trigger.split()[0] in ("except", "other", "apart", "aside", "besides"):
            self.begin(after, 1)
            return after
        if inside and trigger == "not" and segment.kind == "listed" and not _NEGATION.search(segment.trigger):
            self.begin(after, 1)  # "avoid candles, not lamps"
            return after
        if segment.polarity < 0 and segment.last == segment.first and segment.trigger and _ALL_BUT.fullmatch(trigger):
            self.begin(after, 1)  # "avoid everything but tea"
            return after
        if kind == "contrasted" and not _NEGATION.search(trigger):
            kind = "instead" if re.match("instead|rather|sooner|in place", trigger) else "except"
            if not self.said and not _ALL_BUT.fullmatch(trigger):  # "Instead of A, B"
                kind = "introduced"
        self.begin(after, -1, "listed" if kind == "listed first" else kind, trigger)
        return after

    def _ask(self, kind: str, number: int, after: int) -> int:
        segment = self.segments[-1]
        said = self.words[number:after]
        for word in ("rather", "sooner", "prefer", "prefers", "preferring"):
            if word in said:
                self.flags.add("prefer" if word.startswith("prefer") else "rather")
        plain = kind == "wished" and not self._begins_clause(number)
        if plain and (segment.polarity > 0 or not {"want", "need", "prefer", "would"} & set(said)):
            return number
        self.begin(after, 1, "frame" if kind == "requested" else "")
        return after

    def _word(self, number: int) -> int:
        """Words that change the side only in their place."""
        word, segment = self.words[number], self.segments[-1]
        following = self.words[number + 1] if number + 1 < len(self.words) else ""
        if word in ("rather", "sooner"):
            self.flags.add("rather")
        if word in ("any", "every", "all", "everything"):
            self.flags.add("choice")
        if word == "-not":
            self.begin(number + 1, -1, "listed", "-")
            self.segments[-1].last = number + 2
            self.begin(number + 2, 1)
            return number + 2
        if word == "than" and "rather" in self.flags:
            self.begin(number + 1, -1, "instead", word)
            return number + 1
        if word == "over" and "prefer" in self.flags and following not in ("#", "$", "my", "the", "a"):
            self.begin(number + 1, -1, "instead", word)
            return number + 1
        if word == "but":
            if segment.polarity <= 0 or "only" in self.flags:
                self.begin(number + 1, 1)
                return number + 1
            if "choice" in self.flags and following not in _AFTER_BUT:
                self.begin(number + 1, -1, "except", word)
                return number + 1
        if word == "unless" and segment.polarity < 0:
            self.begin(number + 1, 0)
            return number + 1
        if word in ("though", "however", "although", "otherwise") and segment.polarity < 0:
            self.begin(number + 1, 1)
            return number + 1
        if word in _MARKS:
            if segment.polarity > 0:
                self.clause = number + 1
            elif segment.polarity == 0 or word in "()" or not self._list_goes_on(number + 1):
                self.begin(number + 1, 1)
                return number + 1
        if word in ("and", "or") and segment.polarity < 0 and self._begins_again(number + 1):
            self.begin(number + 1, 1)
            return number + 1
        return number

    def _begins_again(self, number: int) -> bool:
        return number < len(self.words) and self.words[number] in _AGAIN | {"with"}

    def _list_goes_on(self, number: int) -> bool:
        """Whether what follows a comma is avoided like what stands before it."""
        segment = self.segments[-1]
        if number >= len(self.words) or segment.kind == "introduced":
            return False
        word = self.words[number]
        if word in ("and", "or", "nor"):
            return not self._begins_again(number + 1)
        if word in _AGAIN or word in _PREPOSITIONS or word in _NEW_CLAUSE:
            return False
        if word in _ARTICLES:
            return self.words[segment.first] in _ARTICLES
        if segment.kind == "listed" and not self._ends_with_only(number):
            return True
        for place in range(number, min(number + 12, len(self.words))):
            if self.words[place] in _SENTENCE_ENDS | {"but"}:
                return False
            if self.words[place] in ("or", "nor", "and"):
                return True
        return False

    def _ends_with_only(self, number: int) -> bool:
        """Whether the clause ends with "only" or "instead": "no caffeine, herbal tea only"."""
        for place in range(number, min(number + 8, len(self.words))):
            if self.words[place] in _SENTENCE_ENDS or self.words[place] in _MARKS:
                return self.words[place - 1] in ("only", "instead")
        return self.words[-1] in ("only", "instead")


def _line(words: Sequence[str]) -> str:
    return "".join(f"{word} " for word in words)


def _trim_wanted(words: Sequence[str], segment: _Segment) -> tuple[int, int]:
    """First and last token without frames, articles, courtesy and what led over to the next segment."""
    first, last = segment.first, segment.last
    is_cut = last < len(words) and words[last] not in _SENTENCE_ENDS
    before = -1
    while before < first < last:
        before = first
        while first < last and words[first] in _LED:
            first += 1
        line = _line(words[first : min(first + 16, last)])
        match = next(filter(None, (frame.match(line) for frame in _FRAMES)), None)
        if match and match.end() + 1 < len(line):
            first += line.count(" ", 0, match.end() + 1)
    last = _without_tail(words, first, last, _ENDS)
    if is_cut:
        while last > first and words[last - 1] in _TRAILED:
            last -= 1
        if last - first == 2 and words[first] in _OWNERS and words[segment.last] in _PERSONAL:
            last = first  # "my mother hates"
    return first, last


def _without_tail(words: Sequence[str], first: int, last: int, tail: re.Pattern[str]) -> int:
    """The last token without the phrases that may stand behind a text."""
    while last > first:
        line = " " + " ".join(words[max(first, last - 8) : last])
        match = tail.search(line)
        if match is None:
            break
        last -= match[0].count(" ")
    return max(first, last)


def _avoided_texts(text: str, tokens: Sequence[_Token], words: Sequence[str], segment: _Segment) -> list[str]:
    """The parts of a list, each without what leads to it and what stands behind it."""
    parts: list[str] = []
    first = segment.first
    for place in range(segment.first, segment.last + 1):
        if place < segment.last and words[place] not in (",", "or", "nor", "and", "/", "-", "–", "—", ":"):
            continue
        start, end = first, place
        first = place + 1
        changed = True
        while changed:
            before = (start, end)
            while start < end and words[start] in _AVOIDED_LED:
                start += 1
            end = _without_tail(words, start, _without_tail(words, start, end, _ENDS), _AVOIDED_ENDS)
            changed = (start, end) != before
        if not _says_nothing(words[start:end], _GENERIC):
            parts.append(_text(text, tokens, start, end))
    return _with_shared_head(parts)


def _with_shared_head(parts: list[str]) -> list[str]:
    """Gives the plural noun at the end of a list to single words before it.

    >>> _with_shared_head(["lavender", "rose candles"]), _with_shared_head(["soaps", "bath bombs"])
    (['lavender candles', 'rose candles'], ['soaps', 'bath bombs'])
    """
    *others, last = [part.split() for part in parts] or [[]]
    modifiers = [part[0] for part in others if len(part) == 1 and not _is_plural(part[0])]
    if len(last) < 2 or not _is_plural(last[-1]) or len(modifiers) < len(others):
        return parts
    return [*(f"{modifier} {last[-1]}" for modifier in modifiers), parts[-1]]


def _is_plural(word: str) -> bool:
    return len(word) > 3 and word.lower().endswith("s") and not word.lower().endswith(("ss", "us", "is"))


def _take_lacking(piece: str, names_absence: Callable[[str], bool] | None) -> tuple[str, list[str]]:
    """What "A-free" in a wanted text avoids, and the text without it where the catalogue does not name it."""
    avoided: list[str] = []

    def decide(match: re.Match[str]) -> str:
        if match[1].lower() in _FREE_WORDS:
            return match[0]
        if names_absence is not None and names_absence(f"{match[1].lower()}-free"):
            return match[0]
        avoided.append(match[1])
        return match[0] if names_absence is None else ""

    return " ".join(_LACKING.sub(decide, piece).split()), avoided


def _joined(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts without repetition, the last ones joined where there are too many."""
    distinct: dict[str, str] = {}
    for text in texts:
        distinct.setdefault(text.casefold(), text)
    texts = list(distinct.values())
    if len(texts) > MAX_TEXTS:
        texts[MAX_TEXTS - 1 :] = [", ".join(texts[MAX_TEXTS - 1 :])]
    return tuple(texts)
