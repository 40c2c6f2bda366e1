"""Every parser answers or raises an error of ours; some thousand cases here, 100,000 by the command."""

import fuzz

CASES = 60  # of a parser


def test_no_parser_raises_what_is_not_ours():
    findings = []
    with fuzz.targets() as every:
        for one in every:
            for text in one.valid:
                one.parse(fuzz.as_bytes(text))
            counts, found = fuzz.fuzz(one, CASES // one.cost, number=1)
            assert counts.total() >= CASES / one.cost / 2, one.name
            findings += found
    assert findings == []


def test_a_parser_that_lets_an_error_of_a_library_through_is_found():
    counts, found = fuzz.fuzz(fuzz.Target("numbers", lambda content: int(content.decode()), ("17",)), 100, 0)
    assert counts["answered"] > 0 < counts["other"]
    assert any("ValueError" in finding.error for finding in found)
