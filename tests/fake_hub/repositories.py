"""What the stand-in Hub keeps: files, commits, branches, tags, discussions, and what it asks of a card.

Knows no wire; `fake_hub.py` speaks it. The rules for cards are those of the Hub's documentation and error messages.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import yaml

LARGE_SUFFIXES = tuple(
    ".7z .arrow .bin .bz2 .gif .gz .h5 .jpg .jpeg .model .npy .npz .onnx .ot .parquet .pb .pickle .pkl .png .pt .pth"
    " .safetensors .tar .tgz .tflite .wav .xz .zip .zst".split()
)
LARGE_SIZE = 10 * 2**20  # bytes; above it text goes to LFS as well
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES).encode()


# Contents


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub keeps a file in LFS: by suffix, size or a zero byte in its first 512 bytes; never if empty."""
    return size > 0 and (path.endswith(LARGE_SUFFIXES) or size > LARGE_SIZE or b"\0" in sample[:512])


@lru_cache(maxsize=1024)
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=1024)
def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def describe_file(path: str, content: bytes) -> dict[str, Any]:
    """One file as `tree` and `paths-info` show it."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
    if is_large(path, len(content), content):
        pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n"
        pointer %= (sha256(content).encode(), len(content))
        entry["oid"] = git_sha1(pointer)
        entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": len(pointer)}
    return entry


def parents(path: str) -> Iterator[str]:
    """Folders above a file, innermost first.

    >>> list(parents("a/b/c.txt"))
    ['a/b', 'a']
    """
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


# Repositories


class Refusal(Exception):
    """An answer other than success; `code` is what the client reads from `X-Error-Code`."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}


@dataclass(frozen=True)
class Commit:
    """A state of the files; `oid` is 40 hex digits."""

    oid: str
    parent: str | None
    title: str
    description: str
    author: str
    date: str
    files: Mapping[str, bytes]


@dataclass
class Discussion:
    """A discussion, or a pull request, whose commits lie on `refs/pr/{number}`."""

    number: int
    title: str
    author: str
    is_pull_request: bool
    status: str
    base: str
    merge_oid: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    date: str = field(default_factory=timestamp)

    def add_event(self, kind: str, author: str, **data: Any) -> dict[str, Any]:
        event = {"id": f"{len(self.events):024x}", "type": kind, "createdAt": timestamp()}
        self.events.append(event | {"author": {"name": author}, "data": data})
        return self.events[-1]

    def comment(self, author: str, text: str) -> dict[str, Any]:
        latest = {"raw": text, "html": text, "updatedAt": timestamp(), "author": {"name": author}}
        return self.add_event("comment", author, edited=False, hidden=False, latest=latest, history=[latest])

    def set_status(self, author: str, status: str) -> dict[str, Any]:
        self.status = status
        return self.add_event("status-change", author, status=status)


@dataclass
class Repository:
    """One repository. `granted` names the users outside the namespace who may read it while private or gated."""

    kind: str
    id: str
    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    pull_refs: dict[str, str] = field(default_factory=dict)
    discussions: dict[int, Discussion] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)  # of LFS, by SHA-256
    created: str = field(default_factory=timestamp)

    def find(self, revision: str) -> Commit:
        """The commit that a branch, a tag, `refs/pr/N` or a commit id names; `Refusal` 404 `RevisionNotFound` else."""
        for names in (self.branches, self.tags, self.pull_refs):
            if revision in names:
                return self.commits[names[revision]]
        if revision in self.commits:
            return self.commits[revision]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Path -> content at a revision."""
        return dict(self.find(revision).files)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """The commit and those before it, newest first."""
        while True:
            yield commit
            if commit.parent is None:
                return
            commit = self.commits[commit.parent]

    def last_touch(self, commit: Commit, path: str) -> Commit:
        """The commit that gave the file, or a file in the folder, its present content."""

        def below(one: Commit) -> dict[str, bytes]:
            return {name: data for name, data in one.files.items() if name == path or name.startswith(path + "/")}

        for one in self.history(commit):
            if one.parent is None or below(self.commits[one.parent]) != below(one):
                return one
        raise AssertionError("a history ends with a commit that has no parent")

    def commit(
        self,
        changes: Mapping[str, bytes | None],
        title: str = "Upload files",
        revision: str = "main",
        author: str = "writer",
        description: str = "",
    ) -> Commit:
        """Puts files (or, with `None`, removes them) on a branch or a pull request."""
        refs = self.pull_refs if revision in self.pull_refs else self.branches
        parent = self.find(revision) if self.commits else None
        if self.commits and revision not in refs:
            raise Refusal(403, f"{revision} is no branch: nothing can be committed to it")
        files = {**(parent.files if parent else {}), **changes}
        files = {path: content for path, content in files.items() if content is not None}
        oid = hashlib.sha1(f"{self.kind} {self.id} {len(self.commits)} {title}".encode()).hexdigest()
        commit = Commit(oid, parent.oid if parent else None, title, description, author, timestamp(), files)
        self.commits[oid] = commit
        large = [data for path, data in files.items() if is_large(path, len(data), data)]
        self.uploads |= {sha256(data): data for data in large}
        refs[revision] = oid
        if refs is self.pull_refs:
            self.discussions[int(revision.rpartition("/")[2])].add_event("commit", author, subject=title, oid=oid)
        return commit

    def open_discussion(self, title: str, author: str, base: str = "main", kind: str = "pull") -> Discussion:
        """A new discussion (`kind` "talk"), pull request ("pull") or one that cannot be merged yet ("draft")."""
        number = len(self.discussions) + 1
        status = "draft" if kind == "draft" else "open"
        self.discussions[number] = Discussion(number, title, author, kind != "talk", status, self.find(base).oid)
        if kind != "talk":
            self.pull_refs[f"refs/pr/{number}"] = self.find(base).oid
        return self.discussions[number]

    def pull_changes(self, pull: Discussion) -> tuple[dict[str, bytes | None], list[str]]:
        """What a pull request changes (`None`: it deletes), and the paths that main changed otherwise meanwhile."""
        base, head, main = self.commits[pull.base].files, self.files(f"refs/pr/{pull.number}"), self.files()
        changes = {path: head.get(path) for path in base | head if head.get(path) != base.get(path)}
        conflicts = [path for path, new in changes.items() if main.get(path) not in (base.get(path), new)]
        return changes, conflicts

    def merge(self, number: int, author: str = "writer") -> Commit:
        """Puts an open pull request on main; `Refusal` 409 where it conflicts or is not open."""
        pull = self.discussions[number]
        changes, conflicts = self.pull_changes(pull)
        if pull.status != "open" or conflicts:
            raise Refusal(409, f"pull request {number} is {pull.status}, conflicts: {conflicts}; it cannot be merged")
        commit = self.commit(changes, f"{pull.title} (#{number})", author=author)
        pull.merge_oid = commit.oid
        pull.set_status(author, "merged")
        return commit


# Cards

LICENSES = set(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other""".split()
)
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
LISTS = ("tags", "datasets", "metrics", "task_categories", "task_ids", "size_categories")


class _CardLoader(yaml.SafeLoader):
    """Refuses a key given twice, as the Hub's parser does and PyYAML does not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"duplicated mapping key: {key}")
        return super().construct_mapping(node, deep)


def card_header(text: str) -> Any:
    """The YAML between the first two `---` lines, `None` where there is none; `yaml.YAMLError` if it is broken."""
    found = re.match(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    return yaml.load(found[1], _CardLoader) if found else None  # a SafeLoader


def card_of(commit: Commit) -> dict[str, Any]:
    """The card's fields, `{}` where there is no card that can be read."""
    try:
        header = card_header(commit.files.get("README.md", b"").decode())
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return json.loads(json.dumps(header, default=str)) if isinstance(header, dict) else {}


def check_card(text: str, kind: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the card (README.md) of a model, dataset or Space."""
    try:
        card = card_header(text)
    except yaml.YAMLError as error:
        return [f"YAML does not parse: {error}"], []
    if not card:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(card, dict):
        return ["the metadata must be an object of fields"], []
    errors = []
    licenses = card["license"] if isinstance(card.get("license"), list) else [card.get("license", "unknown")]
    if any(name not in LICENSES for name in licenses):
        errors.append(f'"license" must be one of {sorted(LICENSES)}; got {card["license"]!r}')
    if "other" in licenses and not card.get("license_name"):
        errors.append('"license_name" is required where "license" is "other"')
    for name in LISTS:
        values = card.get(name, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            errors.append(f'"{name}" must be an array of strings')
    languages = card.get("language", [])
    for language in languages if isinstance(languages, list) else [languages]:
        if not isinstance(language, str):
            errors.append(f'"language" must be a string; got {language!r} (quote "no")')
    check = {"model": _check_model_index, "dataset": _check_configs, "space": _check_space}[kind]
    return errors + list(check(card)), []


def _check_model_index(card: Mapping[str, Any]) -> Iterator[str]:
    models = card.get("model-index", [])
    if not isinstance(models, list):
        yield '"model-index" must be an array'
        return
    for i, model in enumerate(models):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            yield f'"model-index[{i}].name" is required'
        results = model.get("results") if isinstance(model, dict) else None
        if not isinstance(results, list):
            yield f'"model-index[{i}].results" must be an array'
            continue
        for j, result in enumerate(results):
            at = f"model-index[{i}].results[{j}]"
            result = result if isinstance(result, dict) else {}
            metrics = result.get("metrics") or [{}]
            required = [("task", result.get("task"), ["type"]), ("dataset", result.get("dataset"), ["type", "name"])]
            required += [(f"metrics[{k}]", metric, ["type", "value"]) for k, metric in enumerate(metrics)]
            for name, part, fields in required:
                for one in fields:
                    if not isinstance(part, dict) or part.get(one) is None:
                        yield f'"{at}.{name}.{one}" is required'


def _check_configs(card: Mapping[str, Any]) -> Iterator[str]:
    configs = card.get("configs", [])
    names = [one.get("config_name") if isinstance(one, dict) else None for one in configs or []]
    if not all(isinstance(name, str) for name in names):
        yield '"configs" must be an array of objects with a "config_name"'
    if len(set(names)) < len(names):
        yield f'"configs" names a config twice: {names}'


def _check_space(card: Mapping[str, Any]) -> Iterator[str]:
    if card.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
        yield f'"sdk" must be one of gradio, docker, static, streamlit; got {card.get("sdk")!r}'
    for name in ("colorFrom", "colorTo"):
        if card.get(name, "red") not in COLORS:
            yield f'"{name}" must be one of {sorted(COLORS)}; got {card[name]!r}'
    if len(str(card.get("short_description", ""))) > 60:
        yield '"short_description" must have at most 60 characters'


def tags_of(repo: Repository) -> list[str]:
    """What a listing can be filtered by: the card's tags and those the Hub makes of its other fields."""
    card = card_of(repo.find("main"))

    def values(name: str) -> list[str]:
        value = card.get(name) or []
        return [str(one) for one in (value if isinstance(value, list) else [value])]

    plain = ("tags", "pipeline_tag", "library_name", "language") if repo.kind == "model" else ("tags", "sdk")
    prefixes = {"datasets": "dataset"} | {name: name for name in ("license", "base_model", "task_categories")}
    tags = [value for name in plain for value in values(name)]
    tags += [f"{prefix}:{value}" for name, prefix in prefixes.items() for value in values(name)]
    if "config.json" in repo.files() and card.get("library_name") == "transformers":
        model_type = json.loads(repo.files()["config.json"]).get("model_type")
        tags += [model_type] if model_type else []
    return list(dict.fromkeys([*tags, "region:us"]))
