"""English phrases and words that mark a text as wanted, avoided or neither.

The rules of `preference_parsing` as data: regular expressions over normalized tokens, and sets of words.
"""

import re

# Phrases are regular expressions over tokens with one space between them: lower-cased words, contractions written out
# ("don't" as "do not"), punctuation as tokens of its own, # for a number. A new line or | begins another phrase; a
# name in angle brackets stands for any phrase of that entry.
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
    # verbs behind "not" after which the text is avoided
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
    # words between "no" and what is avoided
    "of": """
        interest in|(?:need|desire|use|room|time|love|patience|taste|appetite) for|fan of
        (?:trace|hint|note|whiff)s? of|(?:sign|scent|amount|touch) of|(?:kind|sort|form|type)s? of|more|such|other
        thanks to|thank you to|way to|to
    """,
    "like": """
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

# Kept as they are: the open segment goes on, wanted or avoided.
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
# Double negations: what follows is wanted.
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
# What follows is avoided, items behind a comma included ("no parabens, sulfates").
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
# The same, only at the beginning of a clause.
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
_PREFERRED = r"""
    <i>(?: (?:would|am|are|is|have|was|were|will|might|could|been|do|does|<adverb>)){0,4} <like>(?: to <have>)?(?: me)?
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
# Whole texts without a preference.
_NOTHING = r"""
    (?:i )?(?:have )?(?:got )?no (?:particular |special |real |strong )?(?:preferences?|idea|wish|wishes|opinion)|none
    no|nope|nothing|nothing (?:special|in particular|particular|specific)|n / a|not sure|i do not know
    h+m+|lol|thanks a lot|good (?:morning|evening|day|night)|(?:i am )?bored|help me (?:decide|choose)
    what (?:do|would|can) you (?:recommend|suggest|advise)
    (?:i )?do not (?:mind|care)|(?:it )?does not matter|whatever|anything|everything|anything goes|surprise me
    no thanks|no thank you
"""
# Phrases behind a text that do not belong to it; the second list holds for avoided texts only.
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
    """One alternation of the phrases of `text`, with the names in angle brackets filled in."""
    phrases = "|".join(line.strip() for line in text.splitlines() if line.strip())
    return "(?:" + re.sub(r"<(\w+)>", lambda match: _pattern(_NAMED[match[1]]), phrases) + ")"


RULES = tuple(
    (kind, re.compile(_pattern(text) + "(?= )"))
    for kind, text in (
        ("kept", _KEPT),
        ("neutral", _NEUTRAL),
        ("doubled", _DOUBLED),
        ("behind", _BEHIND),
        ("listed", _LISTED),
        ("contrasted", _CONTRASTED),
        ("listed first", _LISTED_FIRST),
        ("preferred", _PREFERRED),
        ("requested", _REQUESTED),
        ("requested later", _REQUESTED_LATER),
    )
)
"""At each token the longest matching phrase counts; of equally long ones the first."""
FRAMES = tuple(pattern for kind, pattern in RULES if kind in ("preferred", "requested"))
NOTHING_ASKED = re.compile(
    _pattern(_NOTHING) + r"(?: (?:at all|today|please|either way|really|thanks|thank you|whatsoever|[.!?,-]))* $"
)
ENDS = re.compile(" " + _pattern(_TAIL) + "$")
AVOIDED_ENDS = re.compile(" " + _pattern(_AVOIDED_TAIL) + "$")
ALL_BUT = re.compile(_pattern("<all> <but>"))
NEGATION = re.compile(r"\b(?:no|not|nothing|never|none|nor|neither|zero|without)\b")


def word_set(text: str) -> frozenset[str]:
    """The words of `text`, separated by white space."""
    return frozenset(text.split())


SENTENCE_ENDS, MARKS = word_set(". ! ? ;"), word_set(", ( ) - – —")
JOINING, ARTICLES = word_set("and or nor but also yet"), word_set("a an the")
PRONOUNS, OWNERS = word_set("it them that those this one ones"), word_set("my our his her their")
PREPOSITIONS = word_set("in with for by from at under on of to like as made")
NEW_CLAUSE = word_set("what which how who i he she we they it you is are do does can could would")
PERSONAL = word_set(
    "does do did is are was hates hate dislikes detests despises loathes can could will would never no"
)
BEFORE_NEGATION = JOINING | word_set("with me please has have contains absolutely i say want is are it thanks ok")
_COURTESY = word_set("please kindly hi hello hey ok okay well sorry thanks yes just so then now today honestly : * •")
POLITE = JOINING | MARKS | _COURTESY
# Words behind a comma or "and" of an avoided list that begin a wanted text.
AGAIN = word_set("""
    rather preferably ideally only just maybe perhaps something some more but though however although otherwise
    instead please then so yes mostly especially thanks
""")
AFTER_BUT = AGAIN | PREPOSITIONS | ARTICLES | word_set("it i make also")
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
# Words that are stripped before a wanted text, before an avoided text, and between a wanted and an avoided one.
LED, AVOIDED_LED, TRAILED = (POLITE | word_set(text) for text in (_LED_TEXT, _AVOIDED_LED_TEXT, _TRAILED_TEXT))
# A text of these words alone has no content.
GENERIC = LED | AVOIDED_LED | word_set(_GENERIC_TEXT)
# The same for a whole preference: there is nothing to search for.
EMPTY = GENERIC | word_set("no not never without avoid exclude skip nothing none neither except but only")
# "hands-free" does not avoid hands.
FREE_WORDS = word_set("""
    feel get set break for and the with one two all is are be it hands hand care worry hassle duty tax toll stress mess
    risk guilt trouble pain cruelty buy or ship completely totally really that so any rent post error tear neutralizing
    shape
""")
