"""Sample observables of the demo: harmless, made up, of several types."""

from email.message import EmailMessage
from pathlib import Path

from cortexql.cli.client import Question

_NOTE = """Incident note, night shift.

The mail came from billing@paypa1-secure[.]com and linked to hxxps://login.paypa1-secure[.]com/verify.
The attachment beacons to 203.0.113.77 and 198[.]51[.]100[.]23; SHA-256
275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f (the EICAR test file). See CVE-2021-44228.
"""
# The industry's harmless test string, in two parts so that no scanner takes this file for it.
_EICAR = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + "STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def write_samples(folder: Path) -> list[Question]:
    """Write the sample files and return all observables."""
    return [
        Question("ip", data="203.0.113.77"),
        Question("domain", data="xn--pypal-4ve.com"),
        Question("url", data="http://user:secret@login.paypa1-secure.com:8081/verify?id=1"),
        Question("hash", data="275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f"),
        Question("other", data=_NOTE),
        Question("file", path=_mail(folder / "invoice.eml")),
    ]


def _mail(path: Path) -> Path:
    mail = EmailMessage()
    mail["From"] = "Billing <billing@paypa1-secure.com>"
    mail["Reply-To"] = "collect@mailbox.invalid"
    mail["To"] = "alice@example.org"
    mail["Subject"] = "Your invoice is overdue"
    mail["Message-ID"] = "<1@paypa1-secure.com>"
    mail["Received"] = (
        "from mx.paypa1-secure.com (198.51.100.23) by mail.example.org; Tue, 24 Nov 2026 01:02:03 +0000"
    )
    mail.set_content("Please pay at https://login.paypa1-secure.com/verify within 24 hours.\n")
    mail.add_attachment(
        _EICAR.encode(), maintype="application", subtype="octet-stream", filename="invoice.com"
    )
    # A fixed boundary: the same mail each time, so that a fresh report answers for it.
    mail.set_boundary("sample")
    return _write(path, mail.as_bytes())


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
