"""Guesses what an observable is, as an analyst would: refanged, then by its form."""

import ipaddress
import re
from functools import cache

import ioc_fanger
import tldextract

_HASH = re.compile(r"[0-9a-fA-F]+")
_HASH_LENGTHS = (32, 40, 56, 64, 96, 128)
_CVE = re.compile(r"cve-\d{4}-\d{4,}", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://\S+", re.IGNORECASE)
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_REGISTRY = re.compile(r"(?:HKLM|HKCU|HKCR|HKU|HKCC|HKEY_[A-Z_]+)\\\S.*", re.IGNORECASE)
_HOST = re.compile(r"(?:[\w-]{1,63}\.)+[\w-]{2,63}\.?")
# What a click leads to, or a mail program and a chat make a link of.
_LEADING = frozenset({"url", "domain", "fqdn", "ip", "network", "mail"})
_AGENT = re.compile(r"(?:Mozilla|curl|Wget|python-requests|Go-http-client|okhttp)/\S+.*")


def refang(text: str) -> str:
    """Return an observable as it was before somebody made it harmless: `hxxp://evil[.]com` is `http://evil.com`."""
    return str(ioc_fanger.fang(text.strip())).strip()


def defang(text: str, data_type: str) -> str:
    """Return an observable as it is harmless where it is pasted: `http://evil.com` is `hxxp://evil[.]com`.

    `refang` gives it back. What leads nowhere, such as a hash, stays as it is.
    """
    if data_type not in _LEADING:
        return text
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _without_dots(text, data_type)
    if scheme.lower() in ("http", "https"):
        return f"{scheme.lower().replace('tt', 'xx')}://{_without_dots(rest, data_type)}"
    return f"{scheme}[://]{_without_dots(rest, data_type)}"


def _without_dots(text: str, data_type: str) -> str:
    if data_type == "ip" and "." not in text:
        return text.replace(":", "[:]")
    return text.replace(".", "[.]").replace("@", "[@]")


def data_type(text: str) -> str:
    """Return the data type of a refanged observable; `other` where its form says nothing."""
    if _is_address(text):
        return "ip"
    if _HASH.fullmatch(text) and len(text) in _HASH_LENGTHS:
        return "hash"
    for name, pattern in (
        ("cve", _CVE),
        ("url", _URL),
        ("mail", _MAIL),
        ("registry", _REGISTRY),
        ("user-agent", _AGENT),
    ):
        if pattern.fullmatch(text):
            return name
    return _host_type(text) if _HOST.fullmatch(text) else "other"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_type(text: str) -> str:
    parts = _extract()(text)
    if not parts.suffix or not parts.domain:
        return "other"
    return "fqdn" if parts.subdomain else "domain"


@cache
def _extract() -> tldextract.TLDExtract:
    # The snapshot that the package brings: no network, no cache folder.
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
