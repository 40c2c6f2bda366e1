"""A user study of invented histories, small enough to check by eye, for the tests of the study and of its page."""

from dataset_builders.user_study.form import PERSON, Scenario, Study, read_study

SCRIPT = "<script>window.hacked = 1</script>"
IMAGE = "<img src=x onerror='window.hacked = 1'>"
TEMPLATE = "${window.hacked = 1} {{ 7 * 7 }}"


def scenario(number):
    """The history of user u0, u1, ...; its texts try to be more than text."""
    history = [
        {
            "title": f"Pine Soap {number} {SCRIPT}",
            "brand": "Oak & <b>Moth</b>",
            "rating": 5,
            "review": f"Fine {IMAGE}",
        },
        {"title": f"Lamp {number}", "categories": ["Home", "<i>Lamps</i>"], "price": "$4.50", "review": TEMPLATE},
    ]
    preferences = [f"Look for soap {number} {IMAGE}", f"Avoid lamps {number} {TEMPLATE}", f"Prefer pine {number}"]
    return Scenario(f"u{number}", 3, history, preferences, 2, {"title": f"Pine Tray {number} {SCRIPT}"})


def make_study(folder, num_scenarios=3, raters=2, per_annotator=3):
    """Writes a study into a new folder and reads it."""
    folder.mkdir(parents=True)
    scenarios = tuple(map(scenario, range(num_scenarios)))
    Study("toys", "toy", "test", "tables", 0, raters, per_annotator, scenarios).write(folder)
    return read_study(folder)


def row(annotator, question, answer, user="u0", preference="p", kind=PERSON, domain="toy", time="2026"):
    """An answer."""
    about = {"domain": domain, "user_id": user, "position": 3, "preference": preference, "question": question}
    return {**about, "answer": answer, "annotator": annotator, "kind": kind, "form": 1, "time": time}
