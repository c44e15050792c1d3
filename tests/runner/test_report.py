"""Reports and named failures, from whatever a neuron left."""

import json
from typing import Any

import pytest

from cortexql.runner.base import Ending, Outcome
from cortexql.runner.report import (
    MAX_ARTIFACT_CHARACTERS,
    REMOVED,
    Failure,
    ParsedArtifact,
    ParsedReport,
    ParsedTaxonomy,
    Scrubber,
    clean,
    judge,
)

SECRET = "s3cret-of-12"


def outcome(
    output: bytes | str | None, ending: Ending = Ending.EXITED, code: int = 0, **more: Any
) -> Outcome:
    """Return an outcome."""
    return Outcome(ending, code, output.encode() if isinstance(output, str) else output, **more)


def parse(report: Any, secrets: tuple[str, ...] = ()) -> ParsedReport:
    """Judge a report that is one."""
    result = judge(outcome(json.dumps(report)), [], secrets)
    assert isinstance(result, ParsedReport), result
    return result


def fail(output: bytes | str | None, lines: tuple[str, ...] = ()) -> Failure:
    """Judge what is no report."""
    result = judge(outcome(output), lines, ())
    assert isinstance(result, Failure), result
    return result


def success(**more: Any) -> dict[str, Any]:
    """Return a report."""
    return {"success": True, "full": {}, **more}


def test_whole_report_is_read() -> None:
    taxonomy = {"level": "malicious", "namespace": "N", "predicate": "P", "value": "1"}
    report = success(
        full={"a": [1, 2.5, None, "é"]},
        summary={"taxonomies": [taxonomy, {**taxonomy, "level": "safe"}]},
        artifacts=[
            {"dataType": "ip", "data": "1.1.1.1", "tags": ["a", 1], "tlp": 3, "message": "m"},
            {"dataType": "file", "file": "tmpx", "filename": "a.txt", "contentType": "text/plain"},
        ],
        operations=[{"type": "AddTagToCase", "tag": "x"}],
    )
    result = parse(report)
    assert result.output == report
    assert result.level == "malicious"
    assert result.taxonomies == (
        ParsedTaxonomy("malicious", "N", "P", "1"),
        ParsedTaxonomy("safe", "N", "P", "1"),
    )
    assert result.artifacts == (
        ParsedArtifact("ip", "1.1.1.1", None, None, "application/octet-stream", ("a",), 3, "m"),
        ParsedArtifact("file", None, "tmpx", "a.txt", "text/plain", (), 2, None),
    )
    assert result.operations == ({"type": "AddTagToCase", "tag": "x"},)


def test_least_report_is_one() -> None:
    result = parse(success())
    assert (result.output, result.level) == (success(), None)
    assert (result.taxonomies, result.artifacts, result.operations) == ((), (), ())


def test_error_report_keeps_message_and_input() -> None:
    given = {"data": "1.1.1.1", "config": {"key": "REMOVED"}}
    output = {"success": False, "errorMessage": "no such host", "input": given}
    assert judge(outcome(json.dumps(output), code=1), ["noise"], ()) == Failure("no such host", given)


@pytest.mark.parametrize(
    "report", [{"success": False}, {"errorMessage": ""}, {"errorMessage": 5, "input": []}]
)
def test_error_without_message_is_named(report: dict[str, Any]) -> None:
    assert fail(json.dumps(report)) == Failure("the neuron failed without a message")


@pytest.mark.parametrize("value", ["true", 1, None, "yes"])
def test_success_is_true_and_nothing_else(value: Any) -> None:
    assert fail(json.dumps({"success": value, "full": {}})).message == "the neuron failed without a message"


@pytest.mark.parametrize("full", [None, [], "text", 5])
def test_full_is_an_object(full: Any) -> None:
    assert fail(json.dumps({"success": True, "full": full})).message == "the report's `full` is not an object"


@pytest.mark.parametrize("output", ["[]", "5", '"text"', "null", "NaN"])
def test_output_is_an_object(output: str) -> None:
    assert fail(output).message == "output.json is not an object"


@pytest.mark.parametrize("output", [None, b"", b" \n"])
def test_no_output_is_named_by_the_last_words(output: bytes | None) -> None:
    assert fail(output, ("Traceback", "KeyError: 'a'")).message == "Traceback\nKeyError: 'a'"
    assert fail(output).message == "no output"


def test_problem_with_the_output_is_the_failure() -> None:
    result = judge(outcome(None, problem="output.json is not a regular file"), ["said"], ())
    assert result == Failure("output.json is not a regular file; it said last: said")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (Ending.KILLED, "the neuron was killed (exit code 137)"),
        (Ending.OUT_OF_MEMORY, "the neuron ran out of memory"),
    ],
)
def test_planted_report_of_a_killed_neuron_is_not_read(ending: Ending, message: str) -> None:
    planted = outcome(json.dumps(success()), ending, 137)
    assert judge(planted, [], ()) == Failure(message)
    assert judge(planted, ["a", "b"], ()) == Failure(f"{message}; it said last: a\nb")


@pytest.mark.parametrize(
    "output",
    [
        b'{"success": true, "full": {"cut',
        b'{"success": true}}',
        b"\xff\xfe\xfd",
        b'{"a": "\xe9"}',
        b"\x00" * 100,
    ],
)
def test_what_is_not_json_is_named(output: bytes) -> None:
    assert fail(output, ("said",)).message.startswith("output.json is not JSON: ")
    assert fail(output, ("said",)).message.endswith("; it said last: said")


def test_number_of_too_many_digits_is_named() -> None:
    assert fail('{"success": true, "full": {"n": ' + "9" * 5000 + "}}").message.startswith(
        "output.json is not JSON"
    )


def test_what_json_and_postgres_lack_becomes_text() -> None:
    result = judge(
        outcome('{"success": true, "full": {"a": [NaN, Infinity, -Infinity, 1e999, -1e999, 1.5]}}'), [], ()
    )
    assert isinstance(result, ParsedReport)
    assert result.output["full"]["a"] == ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", 1.5]
    json.dumps(result.output, allow_nan=False)


@pytest.mark.parametrize("depth", [50_000, 2_000, 990, 900, 700, 500, 450])
@pytest.mark.parametrize("secrets", [(), (SECRET,)])
@pytest.mark.parametrize("where", ["full", "value"])
def test_deep_nesting_is_a_report_or_a_failure(depth: int, secrets: tuple[str, ...], where: str) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    taxonomy = f'{{"namespace": "N", "predicate": "P", "value": {deep if where == "value" else 1}}}'
    full = f'{{"a": {deep if where == "full" else 1}}}'
    output = f'{{"success": true, "full": {full}, "summary": {{"taxonomies": [{taxonomy}]}}}}'
    result = judge(outcome(output), [], secrets)
    if isinstance(result, Failure):
        assert "nested too deeply" in result.message
        assert depth > 300


def test_nul_is_kept_in_the_report_and_replaced_where_it_is_shown() -> None:
    report = success(
        full={"a\0": "b\0"},
        summary={"taxonomies": [{"namespace": "N\0", "predicate": "P\0", "value": "v\0", "level": "info\0"}]},
        artifacts=[
            {"dataType": "other", "data": "with\0"},
            {"dataType": "ot\0her", "data": "x"},
            {"dataType": "other", "data": "good", "message": "m\0", "tags": ["t\0"]},
        ],
    )
    result = parse(report)
    assert result.output == report
    assert result.taxonomies == (ParsedTaxonomy("info", "N\ufffd", "P\ufffd", "v\ufffd"),)
    assert [(each.data, each.message, each.tags) for each in result.artifacts] == [
        ("good", "m\ufffd", ("t\ufffd",))
    ]


def test_half_of_a_surrogate_pair_is_shown_as_a_question_mark() -> None:
    taxonomy = {"namespace": "N\ud800", "predicate": "P", "value": "v\udfff"}
    result = parse(
        success(summary={"taxonomies": [taxonomy]}, artifacts=[{"dataType": "other", "data": "\ud800"}])
    )
    assert result.taxonomies == (ParsedTaxonomy("info", "N?", "P", "v?"),)
    assert result.artifacts == ()
    assert fail(json.dumps({"success": False, "errorMessage": "a\ud800\0"})).message == "a?\ufffd"


@pytest.mark.parametrize(
    "taxonomy",
    [
        None,
        5,
        "text",
        [],
        {},
        {"namespace": "N", "predicate": "P"},
        {"namespace": 1, "predicate": "P", "value": 1},
        {"namespace": "N", "predicate": None, "value": 1},
    ],
)
def test_malformed_taxonomy_is_left_out(taxonomy: Any) -> None:
    good = {"namespace": "N", "predicate": "P", "value": 0, "level": "SAFE"}
    result = parse(success(summary={"taxonomies": [taxonomy, good]}))
    assert result.taxonomies == (ParsedTaxonomy("safe", "N", "P", "0"),)


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1"), (None, "null"), (1.5, "1.5"), (True, "true"), ([1], "[1]")]
)
def test_value_of_a_taxonomy_is_text(value: Any, shown: str) -> None:
    taxonomy = {"namespace": "N", "predicate": "P", "value": value, "level": "unheard"}
    assert parse(success(summary={"taxonomies": [taxonomy]})).taxonomies == (
        ParsedTaxonomy("info", "N", "P", shown),
    )


@pytest.mark.parametrize(
    "more", [{"summary": []}, {"summary": {"taxonomies": {}}}, {"artifacts": {}}, {"operations": 5}]
)
def test_lists_of_another_shape_are_empty(more: dict[str, Any]) -> None:
    result = parse(success(**more))
    assert (result.taxonomies, result.artifacts, result.operations) == ((), (), ())


@pytest.mark.parametrize(
    "artifact",
    [
        None,
        "text",
        {},
        {"dataType": "ip"},
        {"dataType": "ip", "data": ""},
        {"dataType": "ip", "data": 5},
        {"dataType": "ip", "data": "x" * (MAX_ARTIFACT_CHARACTERS + 1)},
        {"dataType": "", "data": "x"},
        {"dataType": "x" * 129, "data": "x"},
        {"dataType": 5, "data": "x"},
        {"dataType": "file", "data": "x"},
        {"dataType": "file", "file": "x"},
        {"dataType": "file", "file": 5, "filename": "x"},
    ],
)
def test_malformed_artifact_is_left_out(artifact: Any) -> None:
    result = parse(success(artifacts=[artifact, {"dataType": "ip", "data": "1.1.1.1"}]))
    assert [each.data for each in result.artifacts] == ["1.1.1.1"]


@pytest.mark.parametrize(
    ("tlp", "read"), [(0, 0), (4, 4), (5, 2), (-1, 2), (True, 2), ("3", 2), (None, 2), (1.0, 2)]
)
def test_tlp_of_an_artifact_is_a_level_or_amber(tlp: Any, read: int) -> None:
    [artifact] = parse(success(artifacts=[{"dataType": "ip", "data": "1.1.1.1", "tlp": tlp}])).artifacts
    assert artifact.tlp == read


def test_secrets_are_scrubbed_wherever_they_stand() -> None:
    report = success(
        full={SECRET: [f"a {SECRET} b", {"x": SECRET}], "other": 5},
        summary={"taxonomies": [{"namespace": SECRET, "predicate": "P", "value": f"<{SECRET}>"}]},
        artifacts=[
            {"dataType": "other", "data": f"https://x/?key={SECRET}", "tags": [SECRET], "message": SECRET}
        ],
        operations=[{"type": SECRET}],
    )
    result = parse(report, (SECRET,))
    assert SECRET not in repr(result)
    assert result.output["full"] == {REMOVED: [f"a {REMOVED} b", {"x": REMOVED}], "other": 5}
    assert result.artifacts[0].data == f"https://x/?key={REMOVED}"


def test_secrets_are_scrubbed_from_failures() -> None:
    output = {"success": False, "errorMessage": f"bad {SECRET}", "input": {"config": {"token": SECRET}}}
    assert judge(outcome(json.dumps(output)), [], [SECRET]) == Failure(
        f"bad {REMOVED}", {"config": {"token": REMOVED}}
    )
    assert judge(outcome(None), [f"said {SECRET}"], [SECRET]) == Failure(f"said {REMOVED}")


def test_scrubber_takes_the_longest_first_and_leaves_words() -> None:
    scrubber = Scrubber(["password", "password-and-more", "short", ""])
    assert scrubber.text("password-and-more password short") == f"{REMOVED} {REMOVED} short"
    assert scrubber.value({"n": 1, "l": [None, True, "password"]}) == {"n": 1, "l": [None, True, REMOVED]}


def test_clean_text_fits_postgres() -> None:
    assert clean("a\0b\ud800c") == "a\ufffdb?c"
    assert clean("é日🙂") == "é日🙂"
