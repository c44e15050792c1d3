"""What an observable is, by its form."""

import pytest

from cortexql import guess


@pytest.mark.parametrize(
    ("text", "refanged", "data_type"),
    [
        ("192[.]0[.]2[.]1", "192.0.2.1", "ip"),
        ("2001:db8::1", "2001:db8::1", "ip"),
        ("hxxps://evil[.]example[.]com/a?b=c", "https://evil.example.com/a?b=c", "url"),
        ("evil[.]com", "evil.com", "domain"),
        ("example.co.uk", "example.co.uk", "domain"),
        ("www.example.co.uk", "www.example.co.uk", "fqdn"),
        ("somebody[@]example.com", "somebody@example.com", "mail"),
        ("d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e", "hash"),
        ("A" * 64, "A" * 64, "hash"),
        ("A" * 63, "A" * 63, "other"),
        ("cve-2026-12345", "cve-2026-12345", "cve"),
        (r"HKLM\Software\Run", r"HKLM\Software\Run", "registry"),
        ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)", "user-agent"),
        ("file.unknownsuffix", "file.unknownsuffix", "other"),
        ("just words", "just words", "other"),
        ("", "", "other"),
    ],
)
def test_an_observable_is_refanged_and_guessed(text: str, refanged: str, data_type: str) -> None:
    assert guess.refang(text) == refanged
    assert guess.data_type(refanged) == data_type


@pytest.mark.parametrize(
    ("text", "data_type", "harmless"),
    [
        ("https://evil.com:8080/a.b?c=d@e.f", "url", "hxxps://evil[.]com:8080/a[.]b?c=d[@]e[.]f"),
        ("HTTP://evil.com", "url", "hxxp://evil[.]com"),
        ("ftp://evil.com/x", "url", "ftp[://]evil[.]com/x"),
        ("evil.com/x", "url", "evil[.]com/x"),
        ("www.evil.co.uk", "fqdn", "www[.]evil[.]co[.]uk"),
        ("192.0.2.1", "ip", "192[.]0[.]2[.]1"),
        ("2001:db8::1", "ip", "2001[:]db8[:][:]1"),
        ("192.0.2.0/24", "network", "192[.]0[.]2[.]0/24"),
        ("me@evil.com", "mail", "me[@]evil[.]com"),
        ("d41d8cd98f00b204e9800998ecf8427e", "hash", "d41d8cd98f00b204e9800998ecf8427e"),
        ("invoice.exe", "filename", "invoice.exe"),
    ],
)
def test_an_observable_is_defanged_and_comes_back(text: str, data_type: str, harmless: str) -> None:
    assert guess.defang(text, data_type) == harmless
    assert guess.refang(harmless).lower() == text.lower()
