"""The Yelp Open Dataset on a small invented one: every form of its archive, its days, and what is skipped."""

import io
import json
import tarfile
import zipfile

import pytest
from benchmark_world import hash_embed

from dataset_builders.building.build import build_benchmark
from dataset_builders.building.interactions import connect
from dataset_builders.building.sources import get_source
from dataset_builders.building.sources.yelp import BUSINESSES, REVIEWS, YelpSource, find_archive

REVIEW = {
    "review_id": "r1",
    "user_id": "u1",
    "business_id": "b1",
    "stars": 4.0,
    "useful": 0,
    "text": "Great dough.\n\nSlow service.",
    "date": "2018-07-07 22:09:11",
}
BUSINESS = {
    "business_id": "b1",
    "name": "Fernhollow Pizza",
    "city": "Tampa",
    "state": "FL",
    "stars": 3.5,
    "attributes": {"RestaurantsPriceRange2": "2", "WiFi": "u'free'"},
    "categories": "Pizza, Restaurants, Pop-Up Restaurants",
}


def without(record, *fields):
    return {name: value for name, value in record.items() if name not in fields}


def lines(records) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in records)


def tar_bytes(members: dict[str, bytes], mode="w") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def zip_file(path, members: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write(tmp_path, form, reviews=(REVIEW,), businesses=(BUSINESS,)):
    """The dataset in one of the forms people have it in."""
    # As in the real archive: other members before, between and behind, among them what macOS adds.
    members = {
        "Dataset_User_Agreement.pdf": b"%PDF",
        f"._{BUSINESSES}": b"\x00\x05\x16\x07",
        BUSINESSES: lines(businesses),
        "yelp_academic_dataset_checkin.json": b"{}\n",
        REVIEWS: lines(reviews),
        "yelp_academic_dataset_user.json": b"{}\n",
    }
    if form == "folder":
        for name, content in members.items():
            (tmp_path / name).write_bytes(content)
        return tmp_path
    if form == "zip":
        return zip_file(tmp_path / "archive.zip", {**members, f"__MACOSX/{BUSINESSES}": b"x"})
    if form == "tar in zip":
        return zip_file(tmp_path / "Yelp-JSON.zip", {"Yelp JSON/yelp_dataset.tar": tar_bytes(members, "w:gz")})
    path = tmp_path / {"tar": "yelp_dataset.tar", "packed tar": "yelp_dataset.tgz", "odd name": "data.bin"}[form]
    path.write_bytes(
        tar_bytes({f"yelp/{name}": data for name, data in members.items()}, "w" if form == "tar" else "w:gz")
    )
    return path


def load(archive, **days):
    raw = YelpSource(archive, **days).load(connect())
    return (
        raw,
        raw.interactions.order_by("row").to_pyarrow().to_pylist(),
        raw.items.order_by("source_id").to_pyarrow().to_pylist(),
    )


@pytest.mark.parametrize("form", ["folder", "tar", "packed tar", "odd name", "zip", "tar in zip"])
def test_every_form_of_the_dataset_gives_the_same_tables(tmp_path, form):
    raw, actions, items = load(write(tmp_path, form))
    assert actions == [
        {
            "user_id": "u1",
            "source_id": "b1",
            "timestamp": 1_531_001_351,
            "rating": 4.0,
            "review": "Great dough. Slow service.",
            "row": 0,
        }
    ]
    assert items == [
        {
            "source_id": "b1",
            "title": "Fernhollow Pizza",
            "brand": "",
            "categories": ["Pizza", "Restaurants", "Pop-Up Restaurants"],
            "price": None,
            "description": "place: Tampa, FL; price level: 2 of 4",
        }
    ]
    assert raw.skipped.total() == raw.noted.total() == 0


def test_nothing_is_unpacked_to_disk(tmp_path, monkeypatch):
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    archive = write(tmp_path, "tar in zip")
    written = []
    monkeypatch.setattr(tarfile.TarFile, "extract", lambda *_, **__: written.append("tar"))
    monkeypatch.setattr(zipfile.ZipFile, "extract", lambda *_, **__: written.append("zip"))
    load(archive)
    assert not written and not list((tmp_path / "temp").rglob("*.json"))


@pytest.mark.parametrize(
    ("attributes", "level"),
    [
        ({"RestaurantsPriceRange2": "4"}, "; price level: 4 of 4"),
        ({"RestaurantsPriceRange2": 1}, "; price level: 1 of 4"),
        ({"RestaurantsPriceRange2": "None"}, ""),
        ({"RestaurantsPriceRange2": None}, ""),
        ({"RestaurantsPriceRange2": "5"}, ""),
        ({}, ""),
        (None, ""),
        (["RestaurantsPriceRange2: 2"], ""),
    ],
)
def test_price_level_is_one_of_four_or_left_out(tmp_path, attributes, level):
    _, _, items = load(write(tmp_path, "folder", businesses=[{**BUSINESS, "attributes": attributes}]))
    assert items[0]["description"] == "place: Tampa, FL" + level


@pytest.mark.parametrize(
    ("categories", "expected"), [(None, []), ("", []), ("Pizza", ["Pizza"]), (["A", "B"], ["A", "B"])]
)
def test_categories_are_split_at_commas(tmp_path, categories, expected):
    _, _, items = load(write(tmp_path, "folder", businesses=[{**BUSINESS, "categories": categories}]))
    assert items[0]["categories"] == expected


def test_the_mean_of_all_stars_is_not_in_the_item_for_it_holds_the_answer(tmp_path):
    _, _, items = load(write(tmp_path, "folder"))
    assert "3.5" not in repr(items)


BAD_REVIEWS = [
    (b'{"user_id": ', "malformed line"),
    (without(REVIEW, "stars"), "a required field is missing"),
    (without(REVIEW, "date"), "a required field is missing"),
    ({**REVIEW, "user_id": None}, "user or item is no text"),
    ({**REVIEW, "stars": "many"}, "rating is no number"),
    ({**REVIEW, "stars": 6}, "rating outside 1..5"),
    ({**REVIEW, "date": "yesterday"}, "date is no date"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_REVIEWS, ids=range(len(BAD_REVIEWS)))
def test_single_bad_review_is_skipped_and_counted_by_its_reason(tmp_path, bad, reason):
    reviews = [{**REVIEW, "user_id": "u1"}, bad, {**REVIEW, "user_id": "u2"}]
    raw, actions, _ = load(write(tmp_path, "tar", reviews))
    assert [(action["user_id"], action["row"]) for action in actions] == [("u1", 0), ("u2", 2)]
    assert raw.skipped == {f"reviews: {reason}": 1}


DATES = ["2018-12-31 23:59:59", "2019-01-01 00:00:00", "2019-12-31 23:59:59", "2020-01-01 00:00:00"]


@pytest.mark.parametrize(
    ("days", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"since": "2019-01-01"}, [1, 2, 3]),
        ({"until": "2019-12-31"}, [0, 1, 2]),
        ({"since": "2019-01-01", "until": "2019-12-31"}, [1, 2]),
    ],
)
def test_both_days_are_included(tmp_path, days, kept):
    raw, actions, _ = load(write(tmp_path, "tar", [{**REVIEW, "date": date} for date in DATES]), **days)
    assert [action["row"] for action in actions] == kept
    assert raw.skipped.total() == 4 - len(kept)


def test_most_reviews_may_lie_outside_the_days(tmp_path):
    reviews = [{**REVIEW, "date": "2012-01-01 00:00:00"}] * 9 + [REVIEW]
    raw, actions, _ = load(write(tmp_path, "tar", reviews), since="2018-01-01")
    assert len(actions) == 1 and raw.skipped == {"reviews: outside the days asked for": 9}


def test_days_without_a_review_are_answered_with_the_days_there_are(tmp_path):
    archive = write(tmp_path, "tar", [{**REVIEW, "date": date} for date in DATES])
    with pytest.raises(ValueError, match=r"since \(2022-01-01\).*they run from 2018-12-31 to 2020-01-01"):
        load(archive, since="2022-01-01")


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ({"since": "2019"}, "since .*is no day; write it as"),
        ({"since": "2020-01-01", "until": "2019-01-01"}, "before"),
    ],
)
def test_days_that_are_none_are_refused_at_once(days, reason):
    with pytest.raises(ValueError, match=reason):
        YelpSource("anywhere", **days)


@pytest.mark.parametrize("form", ["tar", "packed tar", "zip", "tar in zip"])
def test_damaged_archive_names_the_way_out(tmp_path, form):
    # Users whose names do not compress, so that half of the file ends inside the reviews.
    names = [f"{pow(3, number, 2**61 - 1):x}" for number in range(4000)]
    archive = write(tmp_path, form, [{**REVIEW, "user_id": name} for name in names])
    data = archive.read_bytes()
    archive.write_bytes(data[: len(data) // 2])
    with pytest.raises((ValueError, FileNotFoundError), match="yelp.com/dataset"):
        load(archive)


@pytest.mark.parametrize(
    "name", [f"../{REVIEWS}", f"/tmp/{REVIEWS}", f"a/../../{REVIEWS}", f"..\\x/{REVIEWS}", f"C:\\/{REVIEWS}"]
)
@pytest.mark.parametrize("kind", ["tar", "zip", "tar in zip"])
def test_member_whose_name_leads_out_of_the_archive_is_refused(tmp_path, name, kind):
    members = {BUSINESSES: lines([BUSINESS]), name: lines([REVIEW])}
    path = tmp_path / "archive"
    if kind == "tar":
        path.write_bytes(tar_bytes(members))
    else:
        zip_file(path, members if kind == "zip" else {"yelp_dataset.tar": tar_bytes(members)})
    with pytest.raises(ValueError, match="a name that leads out of the archive; download it again"):
        load(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, "sparse", "zip"]
)
def test_member_that_is_no_plain_file_is_refused(tmp_path, kind):
    path = tmp_path / "archive"
    if kind == "zip":
        link = zipfile.ZipInfo(REVIEWS)
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(link, "/etc/passwd")
    else:
        entry = tarfile.TarInfo(REVIEWS)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            if kind == "sparse":  # 8 EB of nothing
                entry.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**63)}
            else:
                entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    with pytest.raises(ValueError, match=f"archive holds {REVIEWS} (as a link|not as a plain file)"):
        load(path)


@pytest.mark.parametrize(("place", "value", "reason"), [(8, 1, "encrypted"), (10, 99, "not supported")])
def test_zip_file_that_cannot_be_unpacked_is_refused(tmp_path, place, value, reason):
    path = write(tmp_path, "zip")
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02")
    while start >= 0:
        data[start + place] = value
        start = data.find(b"PK\x01\x02", start + 1)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"cannot be unpacked .*{reason}.*; download it again"):
        load(path)


def test_zip_file_with_the_reviews_twice_is_refused(tmp_path):
    members = {f"a/{REVIEWS}": lines([REVIEW]), f"b/{REVIEWS}": lines([REVIEW]), BUSINESSES: lines([BUSINESS])}
    with pytest.raises(ValueError, match=f"holds {REVIEWS} 2 times"):
        load(zip_file(tmp_path / "archive.zip", members))


def test_archive_without_the_reviews_is_named(tmp_path):
    path = tmp_path / "photos.tar"
    path.write_bytes(tar_bytes({"photos.json": b"{}\n"}))
    with pytest.raises(FileNotFoundError, match=f"photos.tar holds no {REVIEWS}"):
        load(path)


def test_folder_without_the_businesses_is_named(tmp_path):
    (tmp_path / REVIEWS).write_bytes(lines([REVIEW]))
    with pytest.raises(FileNotFoundError, match=f"holds no {BUSINESSES}"):
        load(tmp_path)


def test_missing_archive_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="get it from https://www.yelp.com/dataset"):
        load(tmp_path / "yelp_dataset.tar")


def test_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(lines([REVIEW]))
    with pytest.raises(ValueError, match="is neither a tar nor a zip file"):
        load(tmp_path / "x.tar")


def test_businesses_given_as_reviews_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unusable as reviews .* the layout of the Yelp Open Dataset"):
        load(write(tmp_path, "tar", [BUSINESS] * 3))


def test_business_without_a_record_is_kept(tmp_path):
    raw, _, items = load(write(tmp_path, "tar", [REVIEW, {**REVIEW, "business_id": "b2"}]))
    assert [item["title"] for item in items] == ["Fernhollow Pizza", None]
    assert raw.noted == {"items: no metadata record, kept without a title": 1}


@pytest.mark.parametrize("form", ["folder", "tar", "packed tar", "tar in zip"])
def test_archive_is_found_in_a_folder_under_its_usual_names(tmp_path, form):
    archive = write(tmp_path, form)
    assert find_archive(tmp_path) == archive


def test_folder_without_the_dataset_is_answered_with_what_to_put_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="accept its agreement: put one of yelp_dataset.tar"):
        find_archive(tmp_path)


def test_inputs_are_the_files_that_are_read_and_the_days(tmp_path):
    source = get_source("yelp", archive=tmp_path / "yelp_dataset.tar", since="2019-01-01")
    assert source.inputs() == {"archive": tmp_path / "yelp_dataset.tar", "since": "2019-01-01", "until": None}
    folder = YelpSource(write(tmp_path, "folder"))
    assert folder.inputs() == {
        "reviews": tmp_path / REVIEWS,
        "businesses": tmp_path / BUSINESSES,
        "since": None,
        "until": None,
    }


def test_toy_dump_becomes_a_benchmark_that_says_not_to_pass_it_on(tmp_path):
    businesses = [{**BUSINESS, "business_id": f"b{place}", "name": f"Place {place}"} for place in range(6)]
    reviews = [
        {
            **REVIEW,
            "user_id": f"u{user}",
            "business_id": f"b{(user + day) % 6}",
            "date": f"2019-01-0{1 + day} 10:00:00",
        }
        for user in range(6)
        for day in range(6)
    ]
    archive = write(tmp_path, "packed tar", reviews, businesses)
    report = build_benchmark(YelpSource(archive), "yelp", tmp_path / "yelp", hash_embed, progress=False)
    assert (report.num_users, report.num_items, report.num_actions) == (6, 6, 36)
    assert report.rows["yelp_recommendation"]["test"] == 6
    assert "restricts passing the data on" in (tmp_path / "yelp" / "README.md").read_text(encoding="utf-8")
