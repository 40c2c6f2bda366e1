"""The paper's tables 1, 2, 5, 6, 7, 8 and 9 as entries: our results with the published values beside them.

Results whose preferences differ in their writer or prompt get separate blocks; results that claim the same preferences
and differ in their rows are refused, see [`~dataset_builders.paper_tables.results.check_comparable`].
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..benchmark.axes import get_axis
from ..benchmark.baselines import BASELINES
from ..scoring.result_parts import Figures
from .published import Published, read_published
from .results import TIMES, Cell, Group, axes_in_order, encoder_size

QUALITY = ("recall@5", "ndcg@5", "recall@10", "ndcg@10")
DOMAIN_TITLES = {"sports": "Sports", "beauty": "Beauty", "toys": "Toys", "steam": "Steam"}  # the order of table 1
# In the order of the rows: without training, ours that read nothing, table 2's, table 1's, ours; others come last.
METHOD_TITLES = {
    "constant_list": "Constant list", "preference_only": "Preference only", "history_only": "History only",
    "most_popular": "Most popular", "transition_graph": "Transition graph",
    "transition_graph_text": "Transition graph + text", "p5": "P5", "caser": "Caser", "hgn": "HGN",
    "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "fdsa": "FDSA", "sasrec": "SASRec", "sasrec_bce": "SASRec-BCE",
    "s3_rec": "S3-Rec", "tiger": "TIGER", "tiger_user_emb": "TIGER-UserEmb", "vocabext_rnd": "VocabExt_RND",
    "lc_rec": "LC-REC", "vocabext_lm": "VocabExt_LM", "liger": "LIGER", "mender_emb": "Mender_Emb",
    "mender_tok": "Mender_Tok", "mender_steer": "Mender_Steer",
}  # fmt: skip
NOT_IN_TABLE_2 = ("vocabext_rnd", "lc_rec", "vocabext_lm", "liger", "mender_emb", "mender_tok")
MIXTURES = ("none", "pos", "neg", "pos_neg", "fine", "coarse", "fine_coarse", "all")  # the order of table 5
OUR_MIXTURES = ("wanted",)  # these come after the paper's
OWN_MIXTURES = {"mender_steer": "wanted"}  # methods whose own training reads the rows of all axes
OUR_METHODS = ("mender_steer", *BASELINES)  # no Mender of the paper, and no baseline of it
WITH_BASELINES = (1, 2, 5, 8, 9)  # tables of quality alone
IMPROVEMENT = "relative_improvement"


@dataclass(frozen=True)
class Row:
    """A row of a table: one configuration, over the domains. `variant` is the published one it stands beside.

    `stated` holds figures that other results state: domain and axis -> metric -> value.
    """

    label: str
    method: str
    variant: str
    groups: dict[str, Group]
    stated: dict[tuple[str, str], Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A value of a table, ours beside the published one.

    Ours is over no seed where it is made of other figures (a relative improvement) or stated beside them (a baseline).
    """

    label: str
    method: str
    variant: str
    domain: str
    axis: str
    metric: str
    ours: Cell | None
    published: Published | None

    @property
    def shows(self) -> bool:
        """Whether there is any value."""
        return self.ours is not None or (self.published is not None and self.published.was_run)


@dataclass(frozen=True)
class Section:
    """The rows of one base method, or of all; tables 5, 8 and 9 have one for each base method."""

    heading: str
    rows: list[Row]


@dataclass(frozen=True)
class Block:
    """One table over one kind of preferences, by one protocol."""

    table: int
    preferences: str
    protocol: str
    heading: str
    entries: list[Entry]
    groups: list[Group]


def method_order(method: str) -> tuple[int, str]:
    """Known methods first, in the order of the tables."""
    names = list(METHOD_TITLES)
    return (names.index(method) if method in METHOD_TITLES else len(names)), method


def domain_order(domain: str) -> tuple[int, str]:
    """The paper's domains first, in the order of table 1."""
    names = list(DOMAIN_TITLES)
    return (names.index(domain) if domain in DOMAIN_TITLES else len(names)), domain


def title_of(method: str) -> str:
    """Title of a method in tables; an unknown name is its own title."""
    return METHOD_TITLES.get(method, method)


def label_of(group: Group) -> str:
    """Title of a configuration that stands beside those trained on recommendation data alone."""
    return title_of(group.first.method) + (" (all axes)" if group.first.mixture != "none" else "")


def mixture_title(mixture: str) -> str:
    """Title of a data mixture in tables.

    >>> mixture_title("pos_neg"), mixture_title("all_prefs")
    ('Pos-Neg', 'AllPrefs')
    """
    return "AllPrefs" if mixture == "all_prefs" else "-".join(word.title() for word in mixture.split("_"))


# -- which configurations belong in which table ---------------------------------------------------------------------


def default_encoders(groups: Iterable[Group]) -> dict[str, str]:
    """Smallest text encoder of each method's trainings on recommendation data; table 9 has the larger ones.

    A method that was never trained on recommendation data alone takes the smallest of its others.
    """
    smallest: dict[str, tuple[bool, tuple[int, str]]] = {}
    for group in groups:
        first = group.first
        place = (first.inputs, first.mixture) != ("both", "none"), encoder_size(first.text_encoder)
        smallest[first.method] = min(smallest.get(first.method, place), place)
    return {method: name for method, (_, (_, name)) in smallest.items()}


def by_domain(groups: Iterable[Group]) -> dict[str, Group]:
    """Groups by domain."""
    return {group.first.domain: group for group in groups}


def with_default_encoder(groups: Sequence[Group]) -> list[Group]:
    """Whether a group was trained with history, preference and the smallest encoder."""
    default = default_encoders(groups)
    return [g for g in groups if g.first.inputs == "both" and g.first.text_encoder == default[g.first.method]]


def recommendation_groups(groups: Sequence[Group]) -> list[Group]:
    """Table 1's configurations: trained on recommendation data alone, from history and preference."""
    return [group for group in with_default_encoder(groups) if group.first.mixture == "none"]


def compared_groups(groups: Sequence[Group]) -> list[Group]:
    """Configurations of a comparison of methods: table 1's, and methods with a mixture of their own."""
    return [g for g in with_default_encoder(groups) if g.first.mixture in ("none", OWN_MIXTURES.get(g.first.method))]


def method_rows(table: int, groups: Sequence[Group], left_out: Sequence[str] = ()) -> list[Section]:
    """One row per method, those of the published table among them."""
    chosen = [group for group in compared_groups(groups) if group.first.method not in left_out]
    labels = {
        (method, variant): title_of(method) + (" (Rajput et al., 2023)" if variant == "rajput_2023" else "")
        for number, method, variant, *_ in read_published()
        if number == table and method != IMPROVEMENT
    }
    found: dict[tuple[str, str], list[Group]] = {}
    for group in chosen:
        key = (group.first.method, "" if group.first.mixture == "none" else group.first.mixture)
        labels[key] = label_of(group)
        found.setdefault(key, []).append(group)
    rows = []
    for method, variant in sorted(labels, key=lambda key: (method_order(key[0]), key[1] == "")):
        own = by_domain(found.get((method, variant), ()))
        rows.append(Row(labels[method, variant], method, variant, own))
    return [Section("", rows)]


def mixture_rows(groups: Sequence[Group]) -> list[Section]:
    """Table 5: one section per base method that was trained on more than recommendation data."""
    return _mixture_sections(groups, (*MIXTURES, *OUR_MIXTURES))


def all_preferences_rows(groups: Sequence[Group]) -> list[Section]:
    """Table 8: the single matched preference against all five."""
    return _mixture_sections(groups, ("none", "all_prefs"))


def _mixture_sections(groups: Sequence[Group], mixtures: Sequence[str]) -> list[Section]:
    chosen = [group for group in with_default_encoder(groups) if group.first.mixture in mixtures]
    trained: dict[str, set[str]] = {}
    for group in chosen:
        trained.setdefault(group.first.method, set()).add(group.first.mixture)
    # a method's own mixture alone compares nothing, and stands in table 1
    bases = [name for name, found in trained.items() if found not in ({"none"}, {OWN_MIXTURES.get(name)})]
    sections = []
    for method in sorted(bases, key=method_order):
        rows = []
        for mixture in mixtures:
            own = by_domain(g for g in chosen if (g.first.method, g.first.mixture) == (method, mixture))
            suffix = "" if mixture == "none" else f"-{mixture_title(mixture)}"
            rows.append(Row(title_of(method) + suffix, method, "" if mixture == "none" else mixture, own))
        sections.append(Section(title_of(method), rows))
    return sections


def encoder_rows(groups: Sequence[Group]) -> list[Section]:
    """Table 9: one section per method that was trained with two text encoders or more."""
    chosen = [group for group in groups if group.first.inputs == "both" and group.first.mixture == "none"]
    sections = []
    for method in sorted({group.first.method for group in chosen}, key=method_order):
        own = [group for group in chosen if group.first.method == method]
        encoders = sorted({group.first.text_encoder for group in own}, key=encoder_size)
        if len(encoders) < 2:
            continue
        largest = next((encoder for encoder in reversed(encoders[1:]) if "xxl" in encoder.lower()), None)
        rows = []
        for i, encoder in enumerate(encoders):
            # the smallest stands beside the paper's FLAN-T5-small, whatever it is; others only by name
            variant = "" if i == 0 else "xxl" if encoder == largest else encoder
            label = f"{title_of(method)} ({encoder.rsplit('/', 1)[-1] or 'unknown'})"
            rows.append(Row(label, method, variant, by_domain(g for g in own if g.first.text_encoder == encoder)))
        if method == "mender_tok" and not any(row.variant == "xxl" for row in rows):
            rows.append(Row(f"{title_of(method)}-XXL", method, "xxl", {}))
        sections.append(Section(title_of(method), rows))
    return sections


@dataclass(frozen=True)
class TableSpec:
    """Definition of a table of the paper: title, rows, axes, metrics and notes, one of them on published figures."""

    title: str
    sections: Callable[[Sequence[Group]], list[Section]]
    only: Sequence[str] | None
    metrics: Sequence[str]
    missing: str
    note: str = ""
    published_note: str = ""

    @property
    def axes(self) -> Sequence[str]:
        """Axes of the table: `only` these, or all."""
        return axes_in_order() if self.only is None else self.only


TABLES = {
    1: TableSpec(
        "All methods, trained on recommendation data",
        lambda groups: method_rows(1, groups),
        None,
        QUALITY,
        "no method was trained on recommendation data alone",
        "The last row of an axis is the better of the paper's two Menders against the best other row of the column, "
        "Mender_Steer and the rows without training left out.",
        "TIGER's published zeros on sentiment following and history consolidation mean that it was not run there. The "
        "published improvement knows the paper's four baselines only.",
    ),
    2: TableSpec(
        "Recommendation, against traditional baselines",
        lambda groups: method_rows(2, groups, NOT_IN_TABLE_2),
        ("recommendation",),
        QUALITY,
        "there are no results of TIGER, of a traditional baseline or of an outside run",
        published_note="The published baselines are those that Rajput et al. (2023) report; TIGER is beside the "
        "paper's own run.",
    ),
    5: TableSpec(
        "Data mixtures",
        mixture_rows,
        None,
        QUALITY,
        "no method was trained on another mixture than `none` or its own",
        "The paper has no mixture `wanted`: every row that says what is wanted, of all axes.",
    ),
    6: TableSpec(
        "Standard deviations over seeds",
        lambda groups: method_rows(6, groups),
        None,
        QUALITY,
        "no method has two seeds",
        published_note="The published table heads its last columns R@5, N@5, R@10, N@5, R@10, N@5, R@10, "
        "N@10; they are read in the order of table 1. It has no row of VocabExt_LM, and TIGER's zeros on sentiment "
        "following and history consolidation mean that it was not run there.",
    ),
    7: TableSpec(
        "Time and quality",
        lambda groups: method_rows(7, groups),
        ("recommendation",),
        (*TIMES, "ndcg@10", "recall@10"),
        "no result says how long training or ranking took",
        "Times of ours are wall-clock time on the machine that made each result, ranking in batches, over the "
        "distinct queries of the axes that were scored.",
        "Published times are on an A100.",
    ),
    8: TableSpec(
        "The single matched preference against all five",
        all_preferences_rows,
        None,
        ("recall@10", "ndcg@10"),
        "no method was trained on the mixture `all_prefs`",
    ),
    9: TableSpec(
        "Size of the text encoder",
        encoder_rows,
        None,
        QUALITY,
        "no method was trained with two text encoders",
        published_note="The smallest encoder stands beside the paper's FLAN-T5-small, one with xxl in its name beside "
        "its FLAN-T5-XXL.",
    ),
}


# -- figures --------------------------------------------------------------------------------------------------------


def metric_on(axis: str, metric: str) -> str | None:
    """The name of a column's metric on an axis: its own metric for recall@k; no NDCG where that is m@k."""
    own = get_axis(axis).metric
    if metric.startswith("ndcg"):
        return None if own == "m" else metric
    return metric.replace("recall", own)


def section_entries(
    table: int, section: Section, domains: Sequence[str], protocol: str, spec: TableSpec
) -> list[Entry]:
    """All values of a section, row by row, without empty rows."""
    entries = []
    for axis in spec.axes:
        of_axis = []
        for row in [*section.rows, *(baseline_rows(section) if table in WITH_BASELINES else ())]:
            figures = [
                Entry(
                    row.label, row.method, row.variant, domain, axis, metric,
                    _ours(table, row, domain, axis, metric, protocol),
                    _published(table, row, domain, axis, metric) if protocol == "all" else None,
                )
                for domain in domains
                for metric in filter(None, (metric_on(axis, metric) for metric in spec.metrics))
            ]  # fmt: skip
            if any(entry.shows for entry in figures):
                of_axis += figures
        if table == 1:
            of_axis += improvements(of_axis, protocol)
        entries += of_axis
    return entries


def baseline_rows(section: Section) -> list[Row]:
    """One row per baseline without training that the results of a section state, unless it has a row as a method."""
    groups = [group for row in section.rows for group in row.groups.values()]
    rows = []
    for name in BASELINES:
        if any(group.first.method == name for group in groups):
            continue
        stated = {
            (result.domain, axis): found.baselines[name]
            for group in groups
            for result in group.results
            for axis, found in result.results.axes.items()
            if name in found.baselines
        }
        rows += [Row(title_of(name), name, "", {}, stated)] if stated else []
    return rows


def _ours(table: int, row: Row, domain: str, axis: str, metric: str, protocol: str) -> Cell | None:
    if protocol == "all" and (stated := row.stated.get((domain, axis), {}).get(metric)) is not None:
        return Cell(stated, seeds=0)
    group = row.groups.get(domain)
    cell = group.cell(axis, metric, protocol) if group is not None else None
    if table == 6:
        return Cell(cell.std, None, cell.seeds) if cell is not None and cell.std is not None else None
    return cell


def _published(table: int, row: Row, domain: str, axis: str, metric: str) -> Published | None:
    return read_published().get((table, row.method, row.variant, domain, axis, metric))


def improvements(entries: Sequence[Entry], protocol: str) -> list[Entry]:
    """Table 1's last row of an axis: the best Mender of the paper against the best other row, in percent."""
    columns: dict[tuple[str, str, str], tuple[list[float], list[float]]] = {}
    for entry in entries:
        menders, others = columns.setdefault((entry.domain, entry.axis, entry.metric), ([], []))
        if entry.ours is not None and entry.method not in OUR_METHODS:
            (menders if entry.method.startswith("mender") else others).append(entry.ours.mean)
    found = []
    for (domain, axis, metric), (menders, others) in columns.items():
        best = max(others, default=0.0)
        ours = Cell(100 * (max(menders) / best - 1), seeds=0) if menders and best > 0 else None
        published = read_published().get((1, IMPROVEMENT, "", domain, axis, metric)) if protocol == "all" else None
        found.append(Entry("Rel. impr.", IMPROVEMENT, "", domain, axis, metric, ours, published))
    return found if any(entry.shows for entry in found) else []


def make_table(table: int, groups: Sequence[Group], protocols: Sequence[str]) -> list[Block]:
    """The blocks of a table, by kind of preferences, protocol and base method; empty if there are no results."""
    spec, blocks = TABLES[table], []
    for preferences in sorted({group.first.preferences for group in groups}):
        own = [group for group in groups if group.first.preferences == preferences]
        for protocol in protocols:
            for section in spec.sections(own):
                used = [group for row in section.rows for group in row.groups.values()]
                used = [group for group in used if table != 6 or len(group.results) > 1]
                domains = sorted({group.first.domain for group in used}, key=domain_order)
                entries = section_entries(table, section, domains, protocol, spec)
                if any(entry.ours is not None and (table != 7 or entry.metric in TIMES) for entry in entries):
                    blocks.append(Block(table, preferences, protocol, section.heading, entries, used))
    return blocks
