"""Which types of MISP's are which data types, as Cortex has it: what stands nowhere here is `other`."""

_OTHER = """
pdb filename|md5 filename|sha1 filename|sha256 domain|ip email-attachment float http-method AS snort
pattern-in-file pattern-in-traffic pattern-in-memory yara sigma vulnerability link comment text hex
other named mutex target-user target-org target-location target-external btc iban bic
bank-account-nr aba-rtn bin cc-number prtn threat-actor campaign-name campaign-id malware-type
authentihash tlsh filename|authentihash filename|ssdeep filename|imphash filename|impfuzzy
filename|pehash filename|sha224 filename|sha384 filename|sha512 filename|sha512/224
filename|sha512/256 filename|tlsh windows-scheduled-task windows-service-name
windows-service-displayname whois-registrant-phone whois-registrant-name whois-registrar
whois-creation-date x509-fingerprint-sha1 dns-soa-email size-in-bytes counter datetime cpe port
ip-dst|port ip-src|port hostname|port email-dst-display-name email-src-display-name email-header
email-reply-to email-x-mailer email-mime-boundary email-thread-index email-message-id
github-username github-repository github-organisation jabber-id twitter-id first-name middle-name
last-name date-of-birth place-of-birth gender passport-number passport-country passport-expiration
redress-number nationality visa-number issue-date-of-the-visa primary-residence country-of-residence
special-service-request frequent-flyer-number travel-details payment-details
place-port-of-original-embarkation place-port-of-clearance place-port-of-onward-foreign-destination
passenger-name-record-locator-number mobile-application-id
"""
_OF_DATA_TYPE = {
    name: types.split()
    for name, types in {
        "hash": "md5 sha1 sha256 ssdeep imphash pehash impfuzzy sha224 sha384 sha512 sha512/224 sha512/256",
        "ip": "ip-src ip-dst",
        "domain": "domain",
        "fqdn": "hostname target-machine",
        "url": "url",
        "uri_path": "uri",
        "user-agent": "user-agent",
        "mail": "email-src email-dst target-email whois-registrant-email",
        "mail_subject": "email-subject",
        "filename": "filename",
        "registry": "regkey regkey|value",
        "file": "attachment malware-sample",
        "other": _OTHER,
    }.items()
}
_TO_DATA_TYPE = {type_: name for name, types in _OF_DATA_TYPE.items() for type_ in types}


def to_data_type(type_: str) -> str:
    """Return the data type of a MISP type."""
    return _TO_DATA_TYPE.get(type_, "other")


def of_data_type(data_type: str) -> list[str]:
    """Return all MISP types of a data type."""
    return _OF_DATA_TYPE.get(data_type, ["other"])
