"""Downloads from a server on loopback that cuts, refuses, lies and forgets."""

import errno
import gzip
import hashlib
import http.server
import json
import random
import re
import socket
import threading
import tracemalloc

import pytest

from dataset_builders.building import downloads
from dataset_builders.building.downloads import DownloadError, download
from dataset_builders.building.remote_file import RemoteFile

# Random bytes, which do not compress: a cut lies inside the data.
DATA = gzip.compress(random.Random(0).randbytes(300_000), mtime=0)
OTHER = gzip.compress(random.Random(1).randbytes(200_000), mtime=0)


class Site(http.server.ThreadingHTTPServer):
    """Answers by path with the functions in `routes`, and keeps each request's path and headers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes, self.seen = {}, []

    def url(self, path, answer=None):
        if answer is not None:
            self.routes[path] = answer
        return f"http://127.0.0.1:{self.server_port}{path}"

    def ranges(self):
        return [headers.get("Range") for _, headers in self.seen]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        self.server.routes[self.path](self)

    def answer(self, status, body, cut=None, **headers):
        self.close_connection = True
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


def file_of(data=DATA, cuts=(), ranges=True, tag='"v1"', slice_size=None, **headers):
    """A server of one file; `cuts` holds how many bytes each answer sends before the connection closes."""
    cuts = list(cuts)

    def answer(request):
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        cut = cuts.pop(0) if cuts else None
        if asked and ranges and request.headers.get("If-Range") in (tag, headers.get("Last_Modified")):
            start = int(asked[1])
            if start >= len(data):
                request.answer(416, b"past the end", Content_Range=f"bytes */{len(data)}")
                return
            body = data[start:][:slice_size]
            span = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
            request.answer(206, body, cut, ETag=tag, Content_Range=span, **headers)
        else:
            request.answer(200, data, cut, ETag=tag, **headers)

    return answer


def status(code, body=b"no", **headers):
    return lambda request: request.answer(code, body, **headers)


def in_turn(*answers):
    remaining = list(answers)
    return lambda request: (remaining.pop(0) if len(remaining) > 1 else remaining[0])(request)


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0, 0.0))
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(folder, *urls, sha256=None):
    return download(RemoteFile("reviews.json.gz", urls, sha256), folder, progress=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_file_arrives_whole_with_its_checksum_beside_it(site, tmp_path):
    path = get(tmp_path / "new", site.url("/a", file_of()))
    assert path == tmp_path / "new" / "reviews.json.gz" and path.read_bytes() == DATA
    assert names(path.parent) == ["reviews.json.gz", "reviews.json.gz.sha256"]
    record = (path.parent / "reviews.json.gz.sha256").read_text()
    assert record == f"{hashlib.sha256(DATA).hexdigest()}  reviews.json.gz\n"


def test_file_that_is_there_is_not_asked_for_again(site, tmp_path):
    url = site.url("/a", file_of())
    assert get(tmp_path, url) == get(tmp_path, url)
    assert len(site.seen) == 1


def test_cut_connection_goes_on_where_it_broke(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of(cuts=[100_000, 50_000])))
    assert path.read_bytes() == DATA
    assert site.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert site.seen[1][1]["If-Range"] == '"v1"'


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(site, tmp_path):
    url = site.url("/a", in_turn(file_of(cuts=[100_000]), status(503)))
    with pytest.raises(DownloadError, match="failed 4 times in a row .answers 503"):
        get(tmp_path, url)
    assert names(tmp_path) == ["reviews.json.gz.part", "reviews.json.gz.part.json"]
    site.seen.clear()
    assert get(tmp_path, site.url("/a", file_of())).read_bytes() == DATA
    assert site.ranges() == ["bytes=100000-"]
    assert names(tmp_path) == ["reviews.json.gz", "reviews.json.gz.sha256"]


def test_many_cuts_are_borne_as_long_as_each_try_brings_bytes(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of(cuts=[20_000] * 12)))
    assert path.read_bytes() == DATA and len(site.seen) == 13


def test_file_that_changed_between_the_tries_starts_anew(site, tmp_path):
    old, new = file_of(OTHER, cuts=[100_000]), file_of(DATA, tag='"v2"')
    path = get(tmp_path, site.url("/a", in_turn(old, new)))
    assert path.read_bytes() == DATA and site.ranges() == [None, "bytes=100000-"]


def test_server_without_ranges_starts_anew(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of(cuts=[100_000], ranges=False)))
    assert path.read_bytes() == DATA and site.ranges() == [None, "bytes=100000-"]


def test_last_modified_serves_where_there_is_no_strong_tag(site, tmp_path):
    modified = "Tue, 26 Apr 2016 10:00:00 GMT"
    path = get(tmp_path, site.url("/a", file_of(cuts=[100_000], tag='W/"v1"', Last_Modified=modified)))
    assert path.read_bytes() == DATA and site.seen[1][1]["If-Range"] == modified


def test_without_any_validator_nothing_is_pieced_together(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of(cuts=[100_000], tag=None)))
    assert path.read_bytes() == DATA and site.ranges() == [None, None]


def test_wrong_place_in_the_answer_is_not_appended(site, tmp_path):
    wrong = status(206, DATA[5:], Content_Range=f"bytes 5-{len(DATA) - 1}/{len(DATA)}")
    path = get(tmp_path, site.url("/a", in_turn(file_of(cuts=[100_000]), wrong, file_of())))
    assert path.read_bytes() == DATA and site.ranges() == [None, "bytes=100000-", None]


def test_server_that_gives_the_rest_in_slices_is_asked_until_the_end(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of(cuts=[100_000], slice_size=80_000)))
    assert path.read_bytes() == DATA and site.ranges() == [None, "bytes=100000-", "bytes=180000-", "bytes=260000-"]


def test_part_that_was_complete_but_not_renamed_is_finished(site, tmp_path):
    url = site.url("/a", file_of())
    (tmp_path / "reviews.json.gz.part").write_bytes(DATA)
    (tmp_path / "reviews.json.gz.part.json").write_text(json.dumps({"url": url, "validator": '"v1"'}))
    assert get(tmp_path, url).read_bytes() == DATA
    assert site.ranges() == [f"bytes={len(DATA)}-"]


@pytest.mark.parametrize("state", ["", "{}", "[]", "not json"])
def test_part_of_unknown_origin_is_not_gone_on_with(site, tmp_path, state):
    (tmp_path / "reviews.json.gz.part").write_bytes(b"from elsewhere")
    (tmp_path / "reviews.json.gz.part.json").write_text(state)
    assert get(tmp_path, site.url("/a", file_of())).read_bytes() == DATA
    assert site.ranges() == [None]


def test_missing_file_is_had_from_the_next_address_without_asking_twice(site, tmp_path):
    path = get(tmp_path, site.url("/a", status(404)), site.url("/b", file_of()))
    assert path.read_bytes() == DATA and [seen for seen, _ in site.seen] == ["/a", "/b"]


def test_address_half_way_is_asked_first_next_time(site, tmp_path):
    first = site.url("/a", status(404))
    second = site.url("/b", in_turn(file_of(cuts=[100_000]), status(503)))
    with pytest.raises(DownloadError):
        get(tmp_path, first, second)
    site.seen.clear()
    site.url("/b", file_of())
    assert get(tmp_path, first, second).read_bytes() == DATA
    assert [seen for seen, _ in site.seen] == ["/b"]


def test_half_of_one_address_is_never_joined_with_another(site, tmp_path):
    first = site.url("/a", in_turn(file_of(OTHER, cuts=[100_000]), status(404)))
    assert get(tmp_path, first, site.url("/b", file_of())).read_bytes() == DATA
    assert site.ranges() == [None, "bytes=100000-", None]


def test_busy_server_is_asked_again(site, tmp_path):
    url = site.url("/a", in_turn(status(503), status(429), file_of()))
    assert get(tmp_path, url).read_bytes() == DATA and len(site.seen) == 3


def test_wait_that_a_server_asks_for_is_kept_but_bounded(site, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(downloads.time, "sleep", waits.append)
    busy = [status(503, Retry_After=after) for after in ("7", "86400", "Wed, 21 Oct 2026 07:28:00 GMT")]
    get(tmp_path, site.url("/a", in_turn(*busy, file_of())))
    assert waits == [7.0, 60.0, 0.0]


def test_closed_port_is_named_with_the_way_out(site, tmp_path):
    url = site.url("/a").replace(str(site.server_port), "9")
    with pytest.raises(
        DownloadError, match=r"127.0.0.1:9/a failed 4 times in a row \(Connection refused\).*--raw_dir"
    ):
        get(tmp_path, url)


def test_all_addresses_are_named_with_their_reasons(site, tmp_path):
    urls = site.url("/a", status(404)), site.url("/b", status(403))
    with pytest.raises(DownloadError, match=r"reviews.json.gz: .*/a answers 404 Not Found; .*/b answers 403 Forb"):
        get(tmp_path, *urls)


@pytest.mark.parametrize(
    "page",
    [
        status(200, b"<p>moved</p>", Content_Type="text/html; charset=utf-8"),
        status(200, b"\n<!DOCTYPE html><html>sign in</html>"),
        status(200, b"<HTML>down</HTML>", Content_Type="application/gzip"),
    ],
)
def test_html_page_instead_of_the_file_is_refused(site, tmp_path, page):
    with pytest.raises(DownloadError, match="answers with an HTML page instead of the file"):
        get(tmp_path, site.url("/a", page))
    assert names(tmp_path) == [] and len(site.seen) == 1


def test_html_page_does_not_cost_the_half_that_is_there(site, tmp_path):
    page = status(200, b"<html>sign in</html>", Content_Type="text/html")
    with pytest.raises(DownloadError):
        get(tmp_path, site.url("/a", in_turn(file_of(cuts=[100_000]), page)))
    assert (tmp_path / "reviews.json.gz.part").stat().st_size == 100_000


def test_gzip_file_that_is_declared_as_a_page_or_as_packed_is_kept_as_it_is(site, tmp_path):
    declared = file_of(Content_Type="text/html", Content_Encoding="x-gzip")
    assert get(tmp_path, site.url("/a", declared)).read_bytes() == DATA


@pytest.mark.parametrize(
    ("body", "reason"),
    [(DATA[:-9], "end-of-stream"), (DATA[:-8] + bytes(8), "CRC"), (b"abc", "begin like one")],
)
def test_file_that_the_server_holds_damaged_is_refused_and_not_kept(site, tmp_path, body, reason):
    with pytest.raises(DownloadError, match=f"no whole gzip file .*{reason}"):
        get(tmp_path, site.url("/a", file_of(body)))
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(200, b""), "an empty file"),
        (status(200, b"\xef\xbb\xbf<!DOCTYPE html>"), "an HTML page"),
        (status(200, b"<!-- sorry --><html>"), "an HTML page"),
        (status(200, DATA, Content_Encoding="gzip"), "compresses the file"),
    ],
)
def test_what_is_not_the_file_is_refused_though_its_status_is_200(site, tmp_path, answer, words):
    with pytest.raises(DownloadError, match=words):
        download(RemoteFile("items.json", (site.url("/a", answer),)), tmp_path, progress=False)
    assert names(tmp_path) == []


def test_the_rest_of_other_content_is_not_joined_though_the_server_ignores_if_range(site, tmp_path):
    rest = status(206, b"X" * (len(DATA) - 9), ETag='"v2"', Content_Range=f"bytes 9-{len(DATA) - 1}/{len(DATA)}")
    url = site.url("/a", in_turn(file_of(cuts=[9]), rest, file_of(tag='"v2"')))
    path = download(RemoteFile("items.json", (url,)), tmp_path, progress=False)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("name", ["items.json", "items.json.part"])
def test_a_folder_in_the_place_of_a_file_is_named(site, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(DownloadError, match=f"{name} is a folder"):
        download(RemoteFile("items.json", (site.url("/a", file_of()),)), tmp_path, progress=False)


def test_cut_file_of_unknown_length_is_found_by_its_gzip_end(site, tmp_path):
    no_length = status(200, DATA[:100_000], Content_Length=None)
    with pytest.raises(DownloadError, match="no whole gzip file"):
        get(tmp_path, site.url("/a", no_length))


def test_pinned_checksum_is_held_at_the_first_download(site, tmp_path):
    wrong, right = site.url("/a", file_of(OTHER)), site.url("/b", file_of())
    digest = hashlib.sha256(DATA).hexdigest()
    with pytest.raises(DownloadError, match=f"sha256 {hashlib.sha256(OTHER).hexdigest()}, not {digest}"):
        get(tmp_path, wrong, sha256=digest)
    assert names(tmp_path) == []
    assert get(tmp_path, wrong, right, sha256=digest).read_bytes() == DATA


def test_file_that_changed_since_its_download_is_refused(site, tmp_path):
    path = get(tmp_path, site.url("/a", file_of()))
    path.write_bytes(OTHER)
    with pytest.raises(DownloadError, match="which it had when it was downloaded; delete it and reviews"):
        get(tmp_path, site.url("/a"))
    assert path.read_bytes() == OTHER


def test_file_put_there_by_hand_gets_its_checksum_at_the_first_use(site, tmp_path):
    (tmp_path / "reviews.json.gz").write_bytes(DATA)
    get(tmp_path, site.url("/a"))
    assert (tmp_path / "reviews.json.gz.sha256").read_text().startswith(hashlib.sha256(DATA).hexdigest())
    assert not site.seen


def test_damaged_file_put_there_by_hand_is_refused(site, tmp_path):
    (tmp_path / "reviews.json.gz").write_bytes(DATA[:-9])
    with pytest.raises(DownloadError, match="is no whole gzip file .* delete it to download it again"):
        get(tmp_path, site.url("/a"))


def test_full_disk_keeps_what_there_is_and_a_later_run_goes_on(site, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 50_000)
    writing = downloads._append

    def full_after_two_chunks(partial, chunks, *rest):
        def leaky():
            for number, chunk in enumerate(chunks):
                if number == 2:
                    raise OSError(errno.ENOSPC, "No space left on device")
                yield chunk

        writing(partial, leaky(), *rest)

    url = site.url("/a", file_of())
    with monkeypatch.context() as patched:
        patched.setattr(downloads, "_append", full_after_two_chunks)
        with pytest.raises(DownloadError, match="no space left .* 100,000 bytes are kept in reviews.json.gz.part"):
            get(tmp_path, url)
    assert get(tmp_path, url).read_bytes() == DATA
    assert site.ranges() == [None, "bytes=100000-"]


def test_two_at_once_get_one_file_from_one_transfer(site, tmp_path):
    url = site.url("/a", file_of())
    got = []
    threads = [threading.Thread(target=lambda: got.append(get(tmp_path, url).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [DATA] * 4 and len(site.seen) == 1


def moved(target, code=302, body=b"moved"):
    return status(code, body, Location=target)


@pytest.fixture
def public(site, monkeypatch):
    """The site, taken for one of the public internet; `inside.example` is a name of a private address."""
    real, resolve = downloads._is_public, socket.getaddrinfo
    monkeypatch.setattr(downloads, "_is_public", lambda text: text == "127.0.0.1" or real(text))
    names = {"inside.example": "10.0.0.1"}
    monkeypatch.setattr(downloads.socket, "getaddrinfo", lambda host, *a, **k: resolve(names.get(host, host), *a, **k))
    return site


def test_redirects_are_followed(public, tmp_path):
    public.url("/b", moved("c", 307))
    public.url("/c", file_of())
    path = get(tmp_path, public.url("/a", moved(public.url("/b"), 301)))
    assert path.read_bytes() == DATA and [path for path, _ in public.seen] == ["/a", "/b", "/c"]


def test_a_redirect_keeps_what_is_there_and_is_resumed(public, tmp_path):
    public.url("/b", file_of(cuts=[100_000]))
    assert get(tmp_path, public.url("/a", moved("/b"))).read_bytes() == DATA
    assert public.ranges() == [None, None, "bytes=100000-", "bytes=100000-"]


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "10.1",
        "167772161",
        "0x0a.0.0.1",
        "012.0.0.1",
        "[::ffff:10.0.0.1]",
        "[::ffff:a00:1]",
        "[::1]",
        "[::]",
        "[::10.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "169.254.169.254",
        "192.168.0.1:8080",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "inside.example",
        "INSIDE.example",
        "user:pass@inside.example",
        "127.0.0.1@10.0.0.1",
    ],
)
def test_redirect_to_a_private_address_is_refused(public, tmp_path, host):
    with pytest.raises(DownloadError, match=r"redirects to http://.*, which is the private address .*--raw_dir"):
        get(tmp_path, public.url("/a", moved(f"http://{host}/x")))
    assert len(public.seen) == 1 and names(tmp_path) == []


def test_redirect_within_a_private_network_is_followed(site, tmp_path):
    site.url("/b", file_of())
    assert get(tmp_path, site.url("/a", moved("/b"))).read_bytes() == DATA


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("ftp://a.example/x", "which is neither https nor http"),
        ("file:///etc/passwd", "which is neither https nor http"),
        ("data:,x", "which is neither https nor http"),
        ("http://:80/x", "cannot be asked for"),
        ("http://[::1/x", "cannot be asked for"),
        ("http://a..example/x\x1b[31m", "redirects to|cannot be asked for|failed 4 times"),
        ("/a", "redirects more than 10 times"),
    ],
)
def test_redirect_that_leads_nowhere_is_refused(public, tmp_path, target, reason):
    with pytest.raises(DownloadError, match=reason) as error:
        get(tmp_path, public.url("/a", moved(target)))
    assert "\x1b" not in str(error.value) and len(public.seen) <= 11


def test_redirect_from_https_to_http_is_refused():
    with pytest.raises(downloads._Refused, match="redirects from https to http://a.example/x, which anyone"):
        downloads._check_redirect("https://a.example/", "https://a.example/", "http://a.example/x")
    downloads._check_redirect("http://a.example/", "http://a.example/", "HTTPS://8.8.8.8/x")


def test_body_of_a_redirect_is_not_read(public, tmp_path):
    public.url("/b", file_of())
    tracemalloc.start()
    assert get(tmp_path, public.url("/a", moved("/b", body=bytes(30_000_000)))).read_bytes() == DATA
    assert tracemalloc.get_traced_memory()[1] < 45e6  # 30 MB are the server's own
    tracemalloc.stop()


def test_file_beyond_its_limit_is_refused(site, tmp_path):
    said, hidden = site.url("/a", file_of()), site.url("/b", status(200, DATA, Content_Length=None))
    remote = RemoteFile("reviews.json.gz", (said, hidden), max_bytes=200_000)
    with pytest.raises(DownloadError, match=r"/a gives 300,\d+ bytes, more than max_bytes .*/b gives more than max_b"):
        download(remote, tmp_path, progress=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", ["abc", "-5", "\xb2", "9" * 5000, "1e6", ""])
def test_length_that_is_no_number_is_ignored(site, tmp_path, length):
    assert get(tmp_path, site.url("/a", file_of(Content_Length=length))).read_bytes() == DATA


@pytest.mark.parametrize(
    ("length", "reason"), [(400_000_000, "failed 4 times"), (1000, "no whole gzip file"), (0, "an empty file")]
)
def test_length_that_is_wrong_is_found(site, tmp_path, length, reason):
    with pytest.raises(DownloadError, match=reason):
        get(tmp_path, site.url("/a", file_of(ranges=False, Content_Length=length)))


@pytest.mark.parametrize(
    "given", ["bytes 100000-100001/50", "bytes 5-9/300", "bytes 100000-/" + "9" * 5000, "items 1-2/3", "bytes */*"]
)
def test_rest_that_fits_nothing_starts_again_or_is_refused(site, tmp_path, given):
    rest = status(206, DATA[100_000:], Content_Range=given)
    answers = in_turn(file_of(cuts=[100_000]), rest, file_of())
    try:
        assert get(tmp_path, site.url("/a", answers)).read_bytes() == DATA
    except DownloadError as error:
        assert "more than the 50 bytes that it says" in str(error)


@pytest.mark.parametrize("wait", ["\xb2", "9" * 400, "-1", "nan", "tomorrow"])
def test_wait_that_is_none_is_ignored(site, tmp_path, monkeypatch, wait):
    waits = []
    monkeypatch.setattr(downloads.time, "sleep", waits.append)
    get(tmp_path, site.url("/a", in_turn(status(503, Retry_After=wait), file_of())))
    assert waits in ([0.0], [60.0])


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"url": 5, "validator": "x"}',
        b'{"url": "URL", "validator": "x\\r\\nHost: evil"}',
        b'{"url": "URL", "validator": "\\u2028"}',
    ],
)
def test_damaged_state_of_a_part_starts_again(site, tmp_path, state):
    url = site.url("/a", file_of())
    (tmp_path / "reviews.json.gz.part").write_bytes(b"old")
    (tmp_path / "reviews.json.gz.part.json").write_bytes(state.replace(b"URL", url.encode()))
    assert get(tmp_path, url).read_bytes() == DATA and site.ranges() == [None]


@pytest.mark.parametrize("length", [50_000, len(DATA), len(DATA) + 5])
def test_damaged_part_is_fetched_once_more(site, tmp_path, length):
    url = site.url("/a", file_of())
    (tmp_path / "reviews.json.gz.part").write_bytes(bytes(length))
    (tmp_path / "reviews.json.gz.part.json").write_text(json.dumps({"url": url, "validator": '"v1"'}))
    assert get(tmp_path, url).read_bytes() == DATA


def test_what_a_server_says_obeys_no_terminal(site, tmp_path):
    def answer(request):
        request.close_connection = True
        request.wfile.write(b"HTTP/1.1 404 \x1b[2JGone\x07\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(DownloadError, match=r"answers 404 \\x1b\[2JGone\\x07"):
        get(tmp_path, site.url("/a", answer))


def test_checksum_file_that_is_none_is_named(site, tmp_path):
    get(tmp_path, site.url("/a", file_of()))
    (tmp_path / "reviews.json.gz.sha256").write_bytes(b"\xff\x1b[2J")
    with pytest.raises(DownloadError, match=r"reviews.json.gz.sha256 to download it again") as error:
        get(tmp_path, site.url("/a"))
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "urls", "reason"),
    [
        ("../x.gz", ("https://a.example/x",), "without a folder"),
        ("..", ("https://a.example/x",), "without a folder"),
        (".", ("https://a.example/x",), "without a folder"),
        ("", ("https://a.example/x",), "without a folder"),
        (" ", ("https://a.example/x",), "without a folder"),
        ("/etc/x", ("https://a.example/x",), "without a folder"),
        ("..\\x.gz", ("https://a.example/x",), "without a folder"),
        ("C:x.gz", ("https://a.example/x",), "without a folder"),
        ("x.gz:stream", ("https://a.example/x",), "without a folder"),
        ("x\0.gz", ("https://a.example/x",), "without a folder"),
        ("x\u202ezg.gz", ("https://a.example/x",), "without a folder"),
        (".bashrc", ("https://a.example/x",), "without a folder"),
        ("x.gz.", ("https://a.example/x",), "without a folder"),
        ("x" * 300, ("https://a.example/x",), "at most 200 bytes"),
        ("x.gz", (), "no address"),
        ("x.gz", "https://a.example/x", "in a tuple"),
        ("x.gz", ("ftp://a.example/x",), "must start with https"),
        ("x.gz", ("x.gz",), "must start with https"),
        ("x.gz", ("https://",), "name a host"),
        ("x.gz", ("https://a.example/\r\nx",), "must start with https"),
    ],
)
def test_remote_file_that_cannot_be_asked_for_is_refused(name, urls, reason):
    with pytest.raises(ValueError, match=reason):
        RemoteFile(name, urls)


@pytest.mark.parametrize("options", [{"sha256": "abc"}, {"sha256": ""}, {"max_bytes": 0}])
def test_remote_file_with_a_checksum_or_limit_that_is_none_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RemoteFile("x.gz", ("https://a.example/x",), **options)
