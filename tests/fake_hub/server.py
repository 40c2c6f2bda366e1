"""A stand-in for the Hugging Face Hub on loopback, which the real clients speak to.

It knows the wire: repositories (models, datasets, Spaces) with commits, branches, tags and pull requests; uploads by
preupload, LFS batch (basic transfer) and commit; downloads with ranges and ETags; trees, paths, refs, listings by tag;
tokens, private and gated repositories; the check of a card's YAML; and faults that a test orders: an upload that
breaks off, a download that is cut short or altered. Everything lives in memory.

It leaves out Xet storage, LFS multipart, pages of a listing, redirects to a CDN (large files are answered in place),
copies between repositories, diffs, the dataset viewer, Spaces at run time, and whatever is meant for browsers. The
rules for cards are what the Hub's documentation and its error messages say, not its source: a card that passes here
may still be refused there.

The clients read `HF_ENDPOINT` when they are imported: give [`FakeHub.environment`] to a subprocess.
"""

import base64
import json
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .repositories import (
    GITATTRIBUTES,
    Commit,
    Discussion,
    Refusal,
    Repository,
    card_of,
    check_card,
    describe_file,
    git_sha1,
    is_large,
    parents,
    sha256,
    tags_of,
    timestamp,
)

# The Hub


@dataclass
class Request:
    """What a route reads; `user` is `None` without a token."""

    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    user: str | None

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body) if self.body else {}

    def asks(self, name: str) -> bool:
        return self.query.get(name, ["0"])[-1].lower() in ("1", "true")


@dataclass
class Reply:
    """What is sent; `announced` bytes are promised, and where there are fewer the connection breaks."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None


class FakeHub:
    """`with FakeHub() as hub:` serves on a free port of loopback, and raises at the end what went wrong inside it.

    Attributes:
        url: `http://127.0.0.1:PORT`, for `HF_ENDPOINT`.
        tokens: Token -> user. Default: `hf_writer` -> `writer`, `hf_reader` -> `reader`.
        namespaces: User -> the namespaces in which the user may create and commit. Default: `writer` -> `writer` and
            `org`; `reader` -> `reader`.
        repositories: (kind, id) -> [`Repository`]; kind is "model", "dataset" or "space".
        requests: (method, path) of every request, in order; the path as sent, without its query.
        uploaded_bytes: Bytes of LFS content that arrived whole.
        errors: Tracebacks of this stand-in's own mistakes; answered with 500.
    """

    def __init__(self) -> None:
        self.tokens = {"hf_writer": "writer", "hf_reader": "reader"}
        self.namespaces = {"writer": {"writer", "org"}, "reader": {"reader"}}
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.uploaded_bytes = 0
        self.errors: list[str] = []
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.heal()

    def __enter__(self) -> "FakeHub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        if kind is None and self.errors:
            raise AssertionError("the stand-in itself failed:\n" + "\n".join(self.errors))

    def environment(self, home: Path, token: str | None = "hf_writer") -> dict[str, str]:
        """`os.environ` for a subprocess whose clients speak to this Hub and keep everything under `home`."""
        foreign = re.compile(r"HF_|HUGGING|.*_(PROXY|OFFLINE)$", re.IGNORECASE)
        environment = {name: value for name, value in os.environ.items() if not foreign.match(name)}
        for what in ("XET", "TELEMETRY", "UPDATE_CHECK", "PROGRESS_BARS"):
            environment[f"HF_HUB_DISABLE_{what}"] = "1"
        environment["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # evaluate counts loads at an address outside the Hub
        environment |= {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
        return environment | ({"HF_TOKEN": token} if token else {})

    def repo(self, kind: str, repo_id: str) -> Repository:
        """The repository; `KeyError` where there is none."""
        return self.repositories[kind, repo_id]

    def create_repo(
        self,
        kind: str,
        repo_id: str,
        files: Mapping[str, bytes | str] | None = None,
        author: str = "writer",
        sdk: str = "gradio",
    ) -> Repository:
        """A new repository with the Hub's first commit (`.gitattributes`, for a Space a card), then `files`."""
        with self._lock:
            repo = self.repositories[kind, repo_id] = Repository(kind, repo_id)
            first = {".gitattributes": GITATTRIBUTES}
            if kind == "space":
                title = repo_id.split("/")[1]
                first["README.md"] = f"---\ntitle: {title}\ncolorFrom: blue\ncolorTo: gray\nsdk: {sdk}\n---\n".encode()
            repo.commit(first, "initial commit", author=author)
            if files:
                given = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
                repo.commit(given, author=author)
            return repo

    # Faults

    def fail_after_uploads(self, number: int, status: int | None = None) -> None:
        """Lets `number` more LFS uploads arrive; the next and every request after it fail, until [`heal`].

        Args:
            status: `None` closes the connection: the client tries five times more, for 23 s. A status outside 408,
                429 and 500 to 504 is answered as it is, and the client gives up at once.
        """
        self._uploads_left, self._fault_status = number, status

    def corrupt(self, path_suffix: str, how: str = "truncate") -> None:
        """Spoils the GET of the files whose path ends so, until [`heal`].

        Args:
            how: "truncate" announces the whole file, sends nothing behind its middle and closes the connection;
                "flip" changes one bit of the middle byte.
        """
        if how not in ("truncate", "flip"):
            raise ValueError(f"how must be 'truncate' or 'flip', not {how!r}")
        self._corrupt[path_suffix] = how

    def heal(self) -> None:
        """Ends every fault; what had arrived stays."""
        self._uploads_left: int | None = None
        self._fault_status: int | None = None
        self._down = False
        self._corrupt: dict[str, str] = {}

    def _admits(self, method: str, path: str) -> bool:
        """Whether a request is served, or fails as a test ordered."""
        with self._lock:
            if method == "PUT" and path.startswith(STORAGE) and self._uploads_left is not None:
                self._down = self._down or self._uploads_left == 0
                self._uploads_left -= 1
            return not self._down

    # Access

    def _user(self, authorization: str | None) -> str | None:
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.tokens:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.tokens[token]

    def _owns(self, user: str | None, repo_id: str) -> bool:
        return repo_id.split("/")[0] in self.namespaces.get(user or "", set())

    def _readable(self, kind: str, repo_id: str, user: str | None) -> Repository:
        """A repository that the user may see; to others a private one looks as if it did not exist."""
        repo = self.repositories.get((kind, repo_id))
        if repo is None or (repo.private and not self._owns(user, repo_id) and user not in repo.granted):
            if user is None:
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return repo

    def _require_write(self, repo: Repository, user: str | None, revision: str = "", opens_pull: bool = False) -> None:
        """Members write anywhere; any user opens pull requests and adds to their own."""
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        pull = repo.discussions.get(int(revision.rpartition("/")[2])) if revision in repo.pull_refs else None
        if not (self._owns(user, repo.id) or opens_pull or (pull and pull.author == user)):
            hint = "pass `create_pr=1` as a query parameter to create a Pull Request"
            raise Refusal(403, f"Forbidden: you have no write access to {repo.id}; {hint}")

    def _web(self, repo: Repository) -> str:
        return f"{self.url}/{'' if repo.kind == 'model' else repo.kind + 's/'}{repo.id}"

    def _answer(self, method: str, request: Request) -> Reply:
        """Finds the route of a request and takes it; one request at a time."""
        try:
            with self._lock:
                request.user = self._user(request.headers.get("Authorization"))
                for route_methods, pattern, take in ROUTES:
                    if method in route_methods and (found := pattern.fullmatch(request.path)):
                        groups = {name: unquote(value or "") for name, value in found.groupdict().items()}
                        if "id" in groups:
                            kind = (groups.pop("kind") or "models").removesuffix("s")
                            groups["repo"] = self._readable(kind, groups.pop("id"), request.user)
                        answer = take(self, request, **groups)
                        return answer if isinstance(answer, Reply) else _as_json(answer)
            raise Refusal(404, f"the stand-in has no route for {method} {request.path}")
        except Refusal as refusal:
            return _as_json({"error": refusal.message}, refusal.status, refusal.headers)
        except Exception:
            self.errors.append(f"{method} {request.path}\n{traceback.format_exc()}")
            return _as_json({"error": "the stand-in failed"}, 500)


def _as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


# Routes

API = r"/api/(?P<kind>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
WEB = r"/(?:(?P<kind>datasets|spaces)/)?(?P<id>[^/]+/[^/]+?)"
REVISION = r"(?P<revision>refs/(?:pr|convert)/[^/]+|[^/]+)"
STORAGE = "/lfs-storage/"
ROUTES: list[tuple[tuple[str, ...], re.Pattern[str], Callable[..., Any]]] = []


def route(methods: str, pattern: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function as the answer to requests; it gets the Hub, the request, the repository and the pattern's groups."""

    def register(take: Callable[..., Any]) -> Callable[..., Any]:
        ROUTES.append((tuple(methods.split()), re.compile(pattern), take))
        return take

    return register


@route("GET HEAD", "/api/(models|datasets|spaces)/[^/]+(/revision/.+)?|/[^/]+/resolve/.+")
def repo_without_namespace(hub: FakeHub, request: Request) -> Any:
    """Ids of one part ("gpt2") name nothing here."""
    return hub._readable("model", "", request.user)


@route("GET", "/api/whoami-v2")
def whoami(hub: FakeHub, request: Request) -> Any:
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name} for name in sorted(hub.namespaces[request.user] - {request.user})]
    token = {"displayName": "test", "role": "write", "createdAt": timestamp()}
    user = {"type": "user", "id": request.user, "name": request.user, "fullname": request.user, "orgs": orgs}
    return user | {"isPro": False, "auth": {"type": "access_token", "accessToken": token}}


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: FakeHub, request: Request) -> Any:
    errors, warnings = check_card(request.json["content"], request.json.get("repoType") or "model")
    answer = {"errors": [{"message": one} for one in errors], "warnings": [{"message": one} for one in warnings]}
    return _as_json(answer, 400 if errors else 200)


@route("POST", "/api/repos/create")
def create_repo(hub: FakeHub, request: Request) -> Any:
    asked, kind = request.json, request.json.get("type") or "model"
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    repo_id = f"{asked.get('organization') or request.user}/{asked['name']}"
    if not hub._owns(request.user, repo_id):
        raise Refusal(403, f"You don't have the rights to create a {kind} under the namespace {repo_id.split('/')[0]}")
    if (kind, repo_id) in hub.repositories:
        url = hub._web(hub.repo(kind, repo_id))
        return _as_json({"error": f"You already created this {kind} repo", "url": url}, 409)
    repo = hub.create_repo(kind, repo_id, author=request.user, sdk=asked.get("sdk") or "gradio")
    repo.private = asked.get("visibility") == "private" or bool(asked.get("private"))
    return {"url": hub._web(repo), "name": repo_id, "id": repo_id}


@route("DELETE", "/api/repos/delete")
def delete_repo(hub: FakeHub, request: Request) -> Any:
    asked = request.json
    repo_id = f"{asked.get('organization') or request.user}/{asked['name']}"
    repo = hub._readable(asked.get("type") or "model", repo_id, request.user)
    hub._require_write(repo, request.user)
    del hub.repositories[repo.kind, repo.id]
    return {}


@route("PUT", API + "/settings")
def update_settings(hub: FakeHub, request: Request, repo: Repository) -> Any:
    hub._require_write(repo, request.user)
    if "visibility" in request.json:
        repo.private = request.json["visibility"] == "private"
    repo.gated = bool(request.json.get("gated", repo.gated))
    return {"private": repo.private, "gated": repo.gated}


def describe(repo: Repository, commit: Commit, blobs: bool = False) -> dict[str, Any]:
    """A repository at a revision, as `HfApi.repo_info` and the listings read it."""
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in sorted(commit.files)]
    for sibling in siblings if blobs else []:
        entry = describe_file(sibling["rfilename"], commit.files[sibling["rfilename"]])
        sibling |= {"size": entry["size"], "blobId": entry["oid"]}
        if "lfs" in entry:
            sibling["lfs"] = {**entry["lfs"], "sha256": entry["lfs"]["oid"]}
    card, author = card_of(commit), repo.id.split("/")[0]
    info = {"id": repo.id, "author": author, "sha": commit.oid, "private": repo.private, "disabled": False}
    info |= {"gated": "auto" if repo.gated else False, "createdAt": repo.created, "lastModified": commit.date}
    info |= {"downloads": 0, "likes": 0, "tags": tags_of(repo), "cardData": card, "siblings": siblings}
    if repo.kind == "model":
        info |= {name: card.get(name) for name in ("pipeline_tag", "library_name", "model-index")}
        info |= {"config": json.loads(commit.files.get("config.json", b"null"))}
    if repo.kind == "space":
        info |= {"sdk": card.get("sdk")}
    return info


@route("GET", "/api/(?P<kind>models|datasets|spaces)")
def list_repos(hub: FakeHub, request: Request, kind: str) -> Any:
    listed = []
    for repo in hub.repositories.values():
        visible = not repo.private or hub._owns(request.user, repo.id)
        if repo.kind != kind.removesuffix("s") or not visible:
            continue
        info = describe(repo, repo.find("main"))
        words = request.query.get("search", [])
        wanted = request.query.get("filter", []) + request.query.get("pipeline_tag", [])
        fits = set(wanted) <= set(info["tags"]) and all(word.lower() in repo.id.lower() for word in words)
        if fits and request.query.get("author", [info["author"]]) == [info["author"]]:
            listed.append(info)
    return listed[: int(request.query.get("limit", ["1000"])[0])]


@route("GET", API + f"(?:/revision/{REVISION})?")
def repo_info(hub: FakeHub, request: Request, repo: Repository, revision: str) -> Any:
    return describe(repo, repo.find(revision or "main"), request.asks("blobs"))


@route("GET", API + "/auth-check(?P<write>/write)?")
def auth_check(hub: FakeHub, request: Request, repo: Repository, write: str) -> Any:
    _require_download(hub, repo, request.user)
    if write:
        hub._require_write(repo, request.user)
    return {}


@route("GET", API + "/refs")
def list_refs(hub: FakeHub, request: Request, repo: Repository) -> Any:
    def listed(names: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": name, "ref": prefix + name, "targetCommit": oid} for name, oid in names.items()]

    refs = {"branches": listed(repo.branches, "refs/heads/"), "tags": listed(repo.tags, "refs/tags/"), "converts": []}
    return refs | {"pullRequests": listed(repo.pull_refs, "")}


@route("POST DELETE", API + "/(?P<what>branch|tag)/(?P<name>[^/]+)")
def change_refs(hub: FakeHub, request: Request, repo: Repository, what: str, name: str) -> Any:
    hub._require_write(repo, request.user)
    names = repo.branches if what == "branch" else repo.tags
    if "tag" in request.json:  # the path names what is tagged
        name, target = request.json["tag"], name
    else:
        target = request.json.get("startingPoint") or "main"
    if request.body:
        if name in names:
            raise Refusal(409, f"Reference already exists: {name}")
        names[name] = repo.find(target).oid
    elif names.pop(name, None) is None:
        raise Refusal(404, f"no {what} {name}", "RevisionNotFound")
    return {}


@route("GET", API + f"/commits/{REVISION}")
def list_commits(hub: FakeHub, request: Request, repo: Repository, revision: str) -> Any:
    return [
        {"id": one.oid, "title": one.title, "message": one.description, "date": one.date}
        | {"authors": [{"user": one.author}]}
        for one in repo.history(repo.find(revision))
    ]


def describe_path(repo: Repository, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    if path in commit.files:
        entry = describe_file(path, commit.files[path])
    else:
        entry = {"type": "directory", "path": path, "size": 0, "oid": git_sha1(f"{commit.oid} {path}".encode())}
    if expand:
        last = repo.last_touch(commit, path)
        entry["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return entry


@route("GET", API + f"/tree/{REVISION}(?:/(?P<folder>.+))?")
def list_tree(hub: FakeHub, request: Request, repo: Repository, revision: str, folder: str) -> Any:
    commit, prefix = repo.find(revision), folder + "/" if folder else ""
    names = {name for path in commit.files for name in (path, *parents(path)) if name.startswith(prefix)}
    if not names and folder:
        raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    if not request.asks("recursive"):
        names = {name for name in names if "/" not in name.removeprefix(prefix)}
    return [describe_path(repo, commit, name, request.asks("expand")) for name in sorted(names)]


@route("POST", API + f"/paths-info/{REVISION}")
def paths_info(hub: FakeHub, request: Request, repo: Repository, revision: str) -> Any:
    form = request.json if request.body.startswith(b"{") else parse_qs(request.body.decode())
    commit, expand = repo.find(revision), str(form.get("expand", ["false"])).lower().find("true") >= 0
    known = {name for path in commit.files for name in (path, *parents(path))}
    return [describe_path(repo, commit, path, expand) for path in form.get("paths", []) if path in known]


# Downloads


def _require_download(hub: FakeHub, repo: Repository, user: str | None) -> None:
    if repo.gated and not hub._owns(user, repo.id) and user not in repo.granted:
        message = f"Access to {repo.kind} {repo.id} is restricted; ask for access at {hub._web(repo)}"
        raise Refusal(401 if user is None else 403, message, "GatedRepo")


@route("GET HEAD", WEB + f"/resolve/{REVISION}/(?P<path>.+)")
def resolve(hub: FakeHub, request: Request, repo: Repository, revision: str, path: str) -> Any:
    _require_download(hub, repo, request.user)
    commit = repo.find(revision)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if path not in commit.files:
        raise Refusal(404, "Entry not found", "EntryNotFound", headers)
    content = commit.files[path]
    entry = describe_file(path, content)
    etag = f'"{entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]}"'
    headers |= {"ETag": etag, "Content-Type": "application/octet-stream"}
    if "lfs" in entry:
        headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": etag}
    if request.headers.get("If-None-Match") == etag:
        return Reply(304, b"", headers)
    how = next((how for suffix, how in hub._corrupt.items() if path.endswith(suffix)), None)
    middle = len(content) // 2
    if how == "flip" and content:
        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    reply = _cut_range(content, request.headers.get("Range"), headers)
    if how == "truncate" and reply.status < 300:
        reply.announced = len(reply.body)
        start = int(reply.headers.get("Content-Range", "bytes 0-").removeprefix("bytes ").split("-")[0])
        reply.body = reply.body[: max(0, middle - start)]
    return reply


def _cut_range(content: bytes, asked: str | None, headers: Mapping[str, str]) -> Reply:
    """The whole content, or the range that `asked` (`bytes=2-5`, `bytes=2-`, `bytes=-4`) names."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if not found or not any(found.groups()):
        return Reply(200, content, dict(headers))
    size, (first, last) = len(content), found.groups()
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= stop:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
    return Reply(206, content[start:stop], {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"})


# Uploads


@route("POST", API + f"/preupload/{REVISION}")
def preupload(hub: FakeHub, request: Request, repo: Repository, revision: str) -> Any:
    hub._require_write(repo, request.user, revision, request.asks("create_pr"))
    present, answers = repo.find(revision).files, []
    for file in request.json["files"]:
        path, large = file["path"], is_large(file["path"], file["size"], base64.b64decode(file["sample"]))
        answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if path in present:
            answer["oid"] = sha256(present[path]) if large else git_sha1(present[path])
        answers.append(answer)
    return {"files": answers}


@route("POST", WEB + r"\.git/info/lfs/objects/batch")
def lfs_batch(hub: FakeHub, request: Request, repo: Repository) -> Any:
    hub._require_write(repo, request.user, opens_pull=True)  # the commit asks again, and knows where it goes
    objects: list[dict[str, Any]] = []
    for asked in request.json["objects"]:
        objects.append({"oid": asked["oid"], "size": asked["size"]})
        if asked["oid"] not in repo.uploads:
            upload = {"href": f"{hub.url}{STORAGE}{repo.kind}/{repo.id}/{asked['oid']}"}
            verify = {"href": f"{hub._web(repo)}.git/info/lfs/objects/verify"}
            objects[-1]["actions"] = {"upload": upload, "verify": verify}
    return {"transfer": "basic", "objects": objects}


@route("PUT", STORAGE + r"(?P<kind>[^/]+)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})")
def store(hub: FakeHub, request: Request, kind: str, name: str, oid: str) -> Any:
    """Takes one blob; like a signed URL it asks for no token."""
    if sha256(request.body) != oid:
        raise Refusal(400, f"BadDigest: {len(request.body)} bytes arrived that are not {oid}")
    hub.repo(kind, name).uploads[oid] = request.body
    hub.uploaded_bytes += len(request.body)
    return {}


@route("POST", WEB + r"\.git/info/lfs/objects/verify")
def lfs_verify(hub: FakeHub, request: Request, repo: Repository) -> Any:
    if len(repo.uploads.get(request.json["oid"], b"")) != request.json["size"]:
        raise Refusal(404, f"{request.json['oid']} did not arrive whole")
    return {}


def read_changes(
    repo: Repository, lines: list[dict[str, Any]], present: Mapping[str, bytes]
) -> dict[str, bytes | None]:
    """What the lines of a commit's body put (content) and remove (`None`)."""
    changes: dict[str, bytes | None] = {}
    for line in lines:
        key, value = line["key"], line["value"]
        path = value.get("path", "")
        if key == "file":
            changes[path] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in repo.uploads:
                raise Refusal(400, f"LFS pointer pointed to a file that does not exist: {path} ({value['oid']})")
            changes[path] = repo.uploads[value["oid"]]
        elif key in ("deletedFile", "deletedFolder"):
            gone = [name for name in present if name == path or name.startswith(path.rstrip("/") + "/")]
            if not gone or (key == "deletedFile" and path not in present):
                raise Refusal(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            changes |= dict.fromkeys(gone)
    return changes


@route("POST", API + f"/commit/{REVISION}")
def commit(hub: FakeHub, request: Request, repo: Repository, revision: str) -> Any:
    opens_pull = request.asks("create_pr")
    hub._require_write(repo, request.user, revision, opens_pull)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    base = repo.find(revision)
    if header.get("parentCommit", base.oid) != base.oid:
        raise Refusal(412, "A commit has happened since. Please refresh and try again.")
    changes = read_changes(repo, lines, base.files)
    errors, _ = check_card((changes.get("README.md") or b"").decode(), repo.kind)
    if errors:
        raise Refusal(400, "Invalid metadata in README.md: " + "; ".join(errors))
    answer: dict[str, Any] = {"success": True, "hookOutput": ""}
    if opens_pull:
        pull = repo.open_discussion(header["summary"], request.user or "", revision)
        revision = f"refs/pr/{pull.number}"
        answer["pullRequestUrl"] = f"{hub._web(repo)}/discussions/{pull.number}"
    made = repo.commit(changes, header["summary"], revision, request.user or "", header.get("description") or "")
    return answer | {"commitOid": made.oid, "commitUrl": f"{hub._web(repo)}/commit/{made.oid}"}


# Discussions and pull requests


def describe_discussion(repo: Repository, one: Discussion) -> dict[str, Any]:
    shown = {"num": one.number, "title": one.title, "author": {"name": one.author}, "createdAt": one.date}
    shown |= {"status": one.status, "repo": {"name": repo.id, "type": repo.kind}}
    return shown | {"isPullRequest": one.is_pull_request}


@route("GET", API + "/discussions")
def list_discussions(hub: FakeHub, request: Request, repo: Repository) -> Any:
    shown = [describe_discussion(repo, one) for one in reversed(repo.discussions.values())]
    kind, status = request.query.get("type", ["all"])[0], request.query.get("status", ["all"])[0]
    authors = request.query.get("author")
    shown = [one for one in shown if kind == "all" or one["isPullRequest"] == (kind == "pull_request")]
    shown = [one for one in shown if status == "all" or (one["status"] in ("open", "draft")) == (status == "open")]
    shown = [one for one in shown if authors is None or one["author"]["name"] in authors]
    return {"count": len(shown), "start": 0, "discussions": shown}


@route("POST", API + "/discussions")
def open_discussion(hub: FakeHub, request: Request, repo: Repository) -> Any:
    hub._require_write(repo, request.user, opens_pull=True)
    kind = "draft" if request.json.get("pullRequest") else "talk"
    one = repo.open_discussion(request.json["title"], request.user or "", kind=kind)
    one.comment(request.user or "", request.json.get("description") or "")
    return {"num": one.number, "pullRequest": one.is_pull_request}


def find_discussion(repo: Repository, number: str) -> Discussion:
    if int(number) not in repo.discussions:
        raise Refusal(404, f"no discussion {number} in {repo.id}")
    return repo.discussions[int(number)]


@route("GET", API + r"/discussions/(?P<number>\d+)")
def show_discussion(hub: FakeHub, request: Request, repo: Repository, number: str) -> Any:
    one = find_discussion(repo, number)
    shown = describe_discussion(repo, one) | {"events": one.events}
    if one.is_pull_request:
        shown["filesWithConflicts"] = [] if one.status == "merged" else repo.pull_changes(one)[1]
        shown["changes"] = {"base": "refs/heads/main", "mergeCommitId": one.merge_oid}
    return shown


@route("POST", API + r"/discussions/(?P<number>\d+)/(?P<what>merge|status|comment)")
def change_discussion(hub: FakeHub, request: Request, repo: Repository, number: str, what: str) -> Any:
    one, user = find_discussion(repo, number), request.user or ""
    if what == "merge":
        hub._require_write(repo, request.user)
        return {"oid": repo.merge(one.number, user).oid}
    hub._require_write(repo, request.user, opens_pull=what == "comment" or user == one.author)
    text = request.json.get("comment")
    event = one.comment(user, text) if text else {}
    if what == "comment":
        return {"newMessage": event}
    return {"newStatus": one.set_status(user, request.json["status"])}


# The wire


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event; mistakes of the routes are kept in `FakeHub.errors`."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes
    server: _Server

    def _serve(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        hub.requests.append((self.command, url.path))
        served = hub._admits(self.command, url.path)
        if not served and hub._fault_status is None:
            self._drop()
            return
        body = self._read_body()
        if served:
            request = Request(url.path, parse_qs(url.query), self.headers, body, None)
            self._send(hub._answer(self.command, request))
        else:
            self._send(_as_json({"error": "a fault ordered by the test"}, hub._fault_status or 503))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self._read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        size = len(reply.body) if reply.announced is None else reply.announced
        for name, value in {**reply.headers, "Content-Length": str(size)}.items():
            self.send_header(name, quote(value, safe=" !\"#$%&'()*+,-./:;<=>?@[]^_`{|}~"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
            if len(reply.body) < size:
                self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr; `FakeHub.requests` keeps what was asked."""
