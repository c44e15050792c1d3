# SPDX-License-Identifier: AGPL-3.0-or-later
"""UrlAnatomy: parts, suffixes, and the tricks played on a reader."""

from pathlib import Path
from typing import Any

import pytest
from neuron_harness import Outcome, run_neuron

NAME = "analyzers/UrlAnatomy/UrlAnatomy"


def dissect(job: Path, data: str, data_type: str = "url") -> Outcome:
    """Run UrlAnatomy as it comes."""
    return run_neuron(job, NAME, dataType=data_type, data=data)


def test_plain_url_is_taken_apart(tmp_path: Path) -> None:
    done = dissect(tmp_path, "https://www.shop.example.co.uk/a/b?x=1&y=#top")
    labels: list[dict[str, Any]] = [
        {"given": label, "unicode": label, "scripts": [], "looks_like": None}
        for label in ("www", "shop", "example", "co", "uk")
    ]
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert done.full == {
        "data": "https://www.shop.example.co.uk/a/b?x=1&y=#top",
        "scheme": "https",
        "userinfo": None,
        "host": "www.shop.example.co.uk",
        "host_unicode": "www.shop.example.co.uk",
        "host_ascii": "www.shop.example.co.uk",
        "address": None,
        "port": None,
        "domain": {
            "subdomain": "www.shop",
            "name": "example",
            "suffix": "co.uk",
            "registered": "example.co.uk",
            "private": False,
        },
        "labels": labels,
        "path": "/a/b",
        "query": [["x", "1"], ["y", ""]],
        "fragment": "top",
        "findings": [],
    }
    assert done.taxonomies == [("info", "UrlAnatomy", "Domain", "example.co.uk")]


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        ("http://paypal.com@evil.example/", ["suspicious userinfo"]),
        ("http://192.0.2.7/", ["suspicious address"]),
        ("http://3232235777/", ["suspicious address", "suspicious disguised-address"]),
        ("http://0x7f.1/", ["suspicious address", "suspicious disguised-address"]),
        ("http://[2001:db8::1]/", ["suspicious address"]),
        ("http://example.org:8080/", ["info port"]),
        ("https://example.org:4444/", ["suspicious port"]),
        ("https://example.org:443/", []),
        ("https://evil.example\\@example.org/", ["suspicious backslash"]),
        ("https://exam\u200bple.org/", ["suspicious invisible"]),
        ("javascript:alert(1)", ["suspicious script-scheme"]),
        ("https://xn--bcher-kva.example/", ["info punycode"]),
        ("https://日本語テスト.jp/", []),
        (
            "https://p\u0430ypal.com/",
            ["suspicious mixed-scripts", "suspicious look-alike", "malicious imitation"],
        ),
        ("https://xn--80ak6aa92e.com/", ["info punycode", "suspicious look-alike", "malicious imitation"]),
        ("https://rnicrosoft.com/", ["malicious imitation"]),
        ("https://paypa1.com/", ["malicious imitation"]),
        ("https://login.paypal.com.evil.example/", ["suspicious embedded"]),
        ("https://paypal.evil.example/", ["suspicious embedded"]),
        ("https://www.paypal.com/signin", []),
    ],
)
def test_trick_is_found(tmp_path: Path, data: str, codes: list[str]) -> None:
    done = dissect(tmp_path, data)
    assert [f"{finding['level']} {finding['code']}" for finding in done.full["findings"]] == codes


def test_worst_finding_colours_the_domain(tmp_path: Path) -> None:
    done = dissect(tmp_path, "https://paypa1.com/")
    assert done.taxonomies == [
        ("malicious", "UrlAnatomy", "Domain", "paypa1.com"),
        ("malicious", "UrlAnatomy", "Finding", "imitation"),
    ]


def test_punycode_is_shown_and_kept(tmp_path: Path) -> None:
    done = dissect(tmp_path, "xn--bcher-kva.example", "domain")
    assert (done.full["host_unicode"], done.full["host_ascii"]) == ("bücher.example", "xn--bcher-kva.example")


def test_defanged_url_is_put_right(tmp_path: Path) -> None:
    done = dissect(tmp_path, "hxxps://evil[.]example[.]org/x")
    assert (done.full["scheme"], done.full["host"]) == ("https", "evil.example.org")


def test_private_suffix_is_marked(tmp_path: Path) -> None:
    done = dissect(tmp_path, "someone.github.io", "fqdn")
    assert done.full["domain"]["registered"] == "someone.github.io"
    assert done.full["domain"]["private"] is True


def test_password_is_not_repeated(tmp_path: Path) -> None:
    done = dissect(tmp_path, "ftp://bob:hunter2@files.example/")
    assert done.full["userinfo"] == {"username": "bob", "has_password": True}
    assert "hunter2" not in str({**done.full, "data": None})


def test_own_domains_are_protected(tmp_path: Path) -> None:
    config = {"protected_domains": ["bank0.example"]}
    done = run_neuron(tmp_path, NAME, dataType="domain", data="banko.example", config=config)
    assert [finding["code"] for finding in done.full["findings"]] == ["imitation"]


@pytest.mark.parametrize(
    "data",
    [
        "http://",
        "http://[::1",
        "https://example.org:99999/",
        "http://a\uff0fb/",
        "not a url",
        "https://exa mple.org/",
    ],
)
def test_hopeless_url_is_an_error(tmp_path: Path, data: str) -> None:
    done = dissect(tmp_path, data)
    assert done.code == 1
    assert done.output["errorMessage"].startswith("not a url: ")


def test_wrong_type_is_an_error(tmp_path: Path) -> None:
    done = dissect(tmp_path, "192.0.2.1", "ip")
    assert (done.code, done.output["errorMessage"]) == (1, "UrlAnatomy takes url, domain or fqdn, not ip")
