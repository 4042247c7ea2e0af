"""Hash, mask and drop: what a personal value becomes before it leaves.

Pure functions from text to text. Ad platforms match people by the SHA-256 of a normalised value,
and one stray blank gives another digest, so the normalising is part of the hash:

| normalize    | what is hashed                                                            |
| ------------ | ------------------------------------------------------------------------- |
| `email`      | trimmed, lower case                                                       |
| `phone`      | digits with the country code, no leading zeros, no extension: `14155550100` |
| `phone_e164` | the same behind a plus sign: `+14155550100`                               |
| `name`       | lower case, no punctuation, single blanks                                 |
| `none`       | the value as it is                                                        |

Where the header names none, the name under which the value is sent decides: `phone` and
`mobile_phone` are phone numbers, `first_name` and `lastName` are names, the rest is treated like
an email, which is to say trimmed and lower-cased. A value that is a SHA-256 digest already passes
unchanged. A salt, where the project has one, stands before the normalised text.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_EXTENSION = re.compile(r"\s*(?:extension|ext\.?|x|#)\s*\d+\s*$", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_SALESFORCE_ID = re.compile(r"(?=.*[A-Za-z])(?=.*\d)[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_PHONE_WORDS = frozenset({"phone", "mobile", "fax", "telephone"})
_NAME_WORDS = frozenset({"first", "last", "given", "family", "middle", "full"})
_ONE_WORD_NAMES = frozenset({"firstname", "lastname", "surname"})
_HASH_WORDS = frozenset({"sha256", "hash", "hashed"})


def normalize_email(text: str) -> str:
    """Trimmed and lower-cased; dots before `@gmail.com` stay: only one platform drops them."""
    return text.strip().lower()


def normalize_phone(text: str) -> str:
    """The digits, country code first; a number written without one stays without."""
    text = _EXTENSION.sub("", text.strip())
    if text.startswith(("+", "00")):
        # +44 (0)20 …: the trunk zero is dialled from inside the country only.
        text = text.replace("(0)", "")
    digits = (unicodedata.decimal(letter, None) for letter in text)
    return "".join(str(digit) for digit in digits if digit is not None).lstrip("0")


def normalize_phone_e164(text: str) -> str:
    """The same digits behind a plus sign."""
    digits = normalize_phone(text)
    return f"+{digits}" if digits else ""


def normalize_name(text: str) -> str:
    """Lower case, composed letters, no punctuation, single blanks."""
    kept = (
        letter
        for letter in unicodedata.normalize("NFC", text).lower()
        if not unicodedata.category(letter).startswith(("P", "S"))
    )
    return " ".join("".join(kept).split())


NORMALIZERS: dict[str, Callable[[str], str]] = {
    "email": normalize_email,
    "phone": normalize_phone,
    "phone_e164": normalize_phone_e164,
    "name": normalize_name,
    "none": str,
}


def normalization_of(name: str) -> str:
    """The normalising that a name asks for: the one of `mobile_phone` is `phone`."""
    words = [word.lower() for word in _WORDS.findall(name)]
    while words and words[-1] in _HASH_WORDS:
        words.pop()
    last, before = (words[-1:] or [""])[0], (words[-2:-1] or [""])[0]
    if last in _PHONE_WORDS or (before, last) == ("phone", "number"):
        return "phone"
    if (before in _NAME_WORDS and last == "name") or last in _ONE_WORD_NAMES:
        return "name"
    return "email"


def sha256(text: str, *, normalize: str = "email", salt: str | None = None) -> str | None:
    """The digest in lower-case hex; None where nothing is left to hash."""
    if _DIGEST.fullmatch(text.strip()):
        return text.strip()
    normalized = NORMALIZERS[normalize](text)
    if not normalized:
        return None
    return hashlib.sha256(((salt or "") + normalized).encode("utf-8", "replace")).hexdigest()


def mask(text: str) -> str:
    """The first letters or last digits of a value: `j***@example.com`, `***00`, `A***`."""
    name, at, domain = text.strip().rpartition("@")
    if at and name and domain:
        return f"{name[0]}***@{domain}"
    text = text.strip()
    if len(text) <= 2:
        return "***"
    if sum(letter.isdigit() for letter in text) * 2 > len(text):
        return f"***{text[-2:]}" if len(text) > 4 else "***"
    return f"{text[0]}***"


def mask_sample(value: Any) -> str | None:
    """A value as plans, rejections and logs may show it: its shape and never itself.

    A Salesforce id keeps its object's prefix and four characters, so that a reader who
    may look them up can distinguish two rows of a sample.
    """
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return f"<{type(value).__name__.lower()}>"
    if _SALESFORCE_ID.fullmatch(value):
        return f"{value[:3]}***{value[11:15]}"
    first = value.strip()[:1] if len(value.strip()) > 2 else ""
    return f"{first}***@***" if "@" in value else f"{first}***"


def transformation(
    name: str, *, hash: str | None, normalize: str | None, mask_it: bool, salt: str | None
) -> Callable[[str], str | None] | None:
    """What happens to the text sent under `name`; None where it is sent as it is."""
    if hash is not None:
        rule = normalize or normalization_of(name)
        return lambda text: sha256(text, normalize=rule, salt=salt)
    if mask_it:
        return mask
    if normalize is not None and normalize != "none":
        normalizer = NORMALIZERS[normalize]
        return lambda text: normalizer(text) or None
    return None
