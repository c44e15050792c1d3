# SPDX-License-Identifier: AGPL-3.0-or-later
"""MailParser: an ordinary mail whole, and the hostile ones."""

import hashlib
import time
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from neuron_harness import Outcome, run_neuron

NAME = "analyzers/MailParser/MailParser"
HTML = '<p>See <a href="http://login.evil.org/x?a=1&amp;b=2">https://www.corp.org/</a><img src="cid:1"></p>'
RESULTS = "in.corp.org; spf=fail (dkim=pass) smtp.mailfrom=evil.org; dkim=none; dmarc=fail"
PHISH = f"""\
Received: from mx.evil.org (mx.evil.org [203.0.114.9]) by in.corp.org with ESMTP id 1;
 Mon, 6 Jul 2026 10:00:00 +0000
Received: from pc (unknown [10.0.0.7]) by mx.evil.org with SMTP id 2;
 Mon, 6 Jul 2026 09:59:58 +0000
Authentication-Results: {RESULTS}
Authentication-Results: forged.org; spf=pass; arc=pass
From: "boss@corp.org" <boss@evil.org>
Reply-To: collect@worse.org
To: a@corp.org, B <b@corp.org>
Subject: =?utf-8?q?Zahlung_f=C3=A4llig?=
Date: Mon, 6 Jul 2026 09:59:58 +0000
Message-ID: <1@evil.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8

{HTML}
--b
Content-Type: text/plain

or http://plain.evil.org/y.
--b
Content-Type: application/octet-stream
Content-Disposition: attachment; filename="a b.exe"
Content-Transfer-Encoding: base64

TVqQ
--b--
""".replace("\n", "\r\n").encode()
HOPS = [
    {
        "hop": 1,
        "from": "pc (unknown [10.0.0.7])",
        "by": "mx.evil.org",
        "with": "SMTP",
        "for": None,
        "id": "2",
        "date_utc": "2026-07-06T09:59:58+00:00",
        "delay": 0,
        "addresses": [],
    },
    {
        "hop": 2,
        "from": "mx.evil.org (mx.evil.org [203.0.114.9])",
        "by": "in.corp.org",
        "with": "ESMTP",
        "for": None,
        "id": "1",
        "date_utc": "2026-07-06T10:00:00+00:00",
        "delay": 2.0,
        "addresses": ["203.0.114.9"],
    },
]


def parse(job: Path, content: bytes, **config: Any) -> Outcome:
    """Run MailParser on a mail."""
    return run_neuron(job, NAME, content=content, filename="mail.eml", config=config)


def attach(*names: str, content: bytes = b"planted") -> bytes:
    """Return a mail with attachments of these names."""
    mail = EmailMessage()
    mail["From"] = "a@corp.org"
    mail["Subject"] = "files"
    mail.set_content("see attached")
    for number, name in enumerate(names):
        mail.add_attachment(
            content + bytes([number]), maintype="application", subtype="x-test", filename=name
        )
    return mail.as_bytes()


def test_phishing_mail_is_reported_whole(tmp_path: Path) -> None:
    done = parse(tmp_path, PHISH)
    headers = done.full.pop("headers")
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert [name for name, _ in headers][:4] == ["Received", "Received", *["Authentication-Results"] * 2]
    assert done.full == {
        "subject": "Zahlung fällig",
        "date": "2026-07-06T09:59:58+00:00",
        "message_id": "<1@evil.org>",
        "addresses": {
            "from": [{"name": "boss@corp.org", "address": "boss@evil.org"}],
            "reply-to": [{"name": "", "address": "collect@worse.org"}],
            "to": [{"name": "", "address": "a@corp.org"}, {"name": "B", "address": "b@corp.org"}],
        },
        "hops": HOPS,
        "authentication": {
            "results": {"spf": "fail", "dkim": "none", "dmarc": "fail"},
            "headers": [RESULTS, "forged.org; spf=pass; arc=pass"],
        },
        "text": "or http://plain.evil.org/y.",
        "html": HTML,
        "links": [
            {
                "kind": "a",
                "url": "http://login.evil.org/x?a=1&b=2",
                "text": "https://www.corp.org/",
                "misleading": True,
            },
            {"kind": "text", "url": "http://plain.evil.org/y", "text": "", "misleading": False},
        ],
        "attachments": [
            {
                "name": "a b.exe",
                "safe_name": "a b.exe",
                "content_type": "application/octet-stream",
                "size": 3,
                "sha256": hashlib.sha256(b"MZ\x90").hexdigest(),
            }
        ],
        "defects": [],
        "findings": [
            {"code": "reply-to", "text": "reply-to collect@worse.org is not of the sender's domain"},
            {"code": "display-name", "text": "boss@evil.org calls itself boss@corp.org"},
            {
                "code": "link",
                "text": "shows 'https://www.corp.org/', leads to http://login.evil.org/x?a=1&b=2",
            },
        ],
    }


def test_phishing_mail_yields_artifacts_and_levels(tmp_path: Path) -> None:
    done = parse(tmp_path, PHISH)
    file = done.output["artifacts"][0]
    assert done.output_folder.joinpath(file.pop("file")).read_bytes() == b"MZ\x90"
    assert file == {"dataType": "file", "filename": "a b.exe", "contentType": "application/octet-stream"}
    assert done.artifacts == [
        *(("mail", f"{name}.org") for name in ("boss@evil", "collect@worse", "a@corp", "b@corp")),
        ("url", "http://login.evil.org/x?a=1&b=2"),
        ("url", "http://plain.evil.org/y"),
        ("ip", "203.0.114.9"),
    ]
    assert [(level, predicate, value) for level, _, predicate, value in done.taxonomies] == [
        ("info", "Attachments", 1),
        ("info", "Links", 2),
        ("suspicious", "SPF", "fail"),
        ("info", "DKIM", "none"),
        ("suspicious", "DMARC", "fail"),
        ("suspicious", "Finding", "reply-to"),
        ("suspicious", "Finding", "display-name"),
        ("suspicious", "Finding", "link"),
    ]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("output.json", "output.json"),
        ("../../x", "x"),
        ("..\\..\\x", "x"),
        ("/etc/passwd", "passwd"),
        ("..", "attachment"),
        ("a:b|c?.txt", "a_b_c_.txt"),
        ("x\u202efdp.exe", "x_fdp.exe"),
        ("n" * 300 + ".txt", "n" * 196 + ".txt"),
    ],
)
def test_hostile_name_does_no_harm(tmp_path: Path, name: str, safe: str) -> None:
    done = parse(tmp_path / "job", attach(name))
    [artifact] = [entry for entry in done.output["artifacts"] if entry["dataType"] == "file"]
    written = {path.name for path in done.output_folder.iterdir()}
    assert artifact["filename"] == safe
    assert written == {"output.json", artifact["file"]}
    assert artifact["file"].startswith("attachment-")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["input.json", "attachment1234567890", "output.json", artifact["file"]]
    )


@pytest.mark.parametrize(
    ("markup", "links"),
    [
        ("<A HREF='http://a.org/'>x <b>y</b></a>", [("a", "http://a.org/", "x y")]),
        (
            "<a href=http://a.org/>never <a href=http://b.org/>closed",
            [("a", "http://a.org/", "never"), ("a", "http://b.org/", "closed")],
        ),
        (
            "<img src='http://t.org/1.gif'><form action='/post'>",
            [("img", "http://t.org/1.gif", ""), ("form", "/post", "")],
        ),
        ("<a title='<' href='http://hidden.org/'>x</a>", [("bare", "http://hidden.org/", "")]),
        ("<a href='#top'>up</a><a href='cid:1'>in</a><a>none</a>", []),
    ],
)
def test_links_are_read_from_sloppy_markup(
    tmp_path: Path, markup: str, links: list[tuple[str, str, str]]
) -> None:
    done = parse(tmp_path, b"From: a@b.org\nContent-Type: text/html\n\n" + markup.encode())
    assert [(link["kind"], link["url"], link["text"]) for link in done.full["links"]] == links


@pytest.mark.parametrize("run", [b"<a ", b"<!--", b"<a href='", b"http://", b"(", b"a.", b"&"])
def test_hostile_run_takes_no_time(tmp_path: Path, run: bytes) -> None:
    begin = time.monotonic()
    done = parse(tmp_path, b"From: a@b.org\nContent-Type: text/html\n\n" + run * 200_000)
    assert done.output["success"] is True
    assert time.monotonic() - begin < 10


def test_attachments_are_limited_and_told_once(tmp_path: Path) -> None:
    few = parse(tmp_path / "1", attach("a", "b", "c"), max_attachments=2)
    same = parse(tmp_path / "2", attach("a", "b").replace(b"cGxhbnRlZAE=", b"cGxhbnRlZAA="))
    assert len([entry for entry in few.output["artifacts"] if entry["dataType"] == "file"]) == 2
    assert len(few.full["attachments"]) == 3
    assert len([entry for entry in same.output["artifacts"] if entry["dataType"] == "file"]) == 1
    assert len(same.full["attachments"]) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: =?utf-8?b?7aCA?= \xff\xfe\x00x\r\nFrom: a@\xff.org\r\n\r\n\xff\x00body",
        b"From: a@b.org\r\nContent-Type: text/plain; charset=no-such\r\n\r\n\xe9t\xe9",
        b"From: a@b.org\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nnever closed",
        b"To: a@b.org\nContent-Disposition: attachment; filename=x\nContent-Transfer-Encoding: base64\n\nTVq",
        b"From: a@b.org\r\nContent-Type: text/html\r\n\r\n<a href='http://[::1'>corp.org</a><a href=",
        b"From: a@b.org\r\nReceived: \r\nDate: never\r\nHeaders_json: x\r\nParse: y\r\n\r\n",
    ],
)
def test_broken_mail_is_reported_all_the_same(tmp_path: Path, content: bytes) -> None:
    done = parse(tmp_path, content)
    assert (done.code, done.output["success"], done.stderr) == (0, True, "")
    assert "\x00" not in str(done.full)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_mail_that_an_editor_has_marked_is_read(tmp_path: Path, encoding: str) -> None:
    plain = parse(tmp_path / "1", PHISH)
    marked = parse(tmp_path / "2", PHISH.decode().encode(encoding))
    assert marked.full["subject"] == "Zahlung fällig"
    assert marked.full == plain.full


def test_deep_nesting_is_an_error_not_a_crash(tmp_path: Path) -> None:
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(3000)
    )
    done = parse(tmp_path, b"From: a@b.org\r\n" + nested)
    assert done.code == 1
    assert done.output["errorMessage"].startswith("not a mail: Message nesting too deep")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a mail: it has no header of a mail"),
        (b"\x89PNG\r\n\x1a\n", "not a mail: it has no header of a mail"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "not a mail: an Outlook file; save it as .eml"),
    ],
)
def test_other_file_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    done = parse(tmp_path, content)
    assert (done.code, done.output["errorMessage"]) == (1, message)


def test_wrong_input_is_an_error(tmp_path: Path) -> None:
    absent = run_neuron(tmp_path / "1", NAME, dataType="file", filename="a", file="nowhere")
    value = run_neuron(tmp_path / "2", NAME, dataType="ip", data="192.0.2.1")
    assert absent.output["errorMessage"] == "the file is not in the job folder"
    assert value.output["errorMessage"] == "MailParser takes file, not ip"
