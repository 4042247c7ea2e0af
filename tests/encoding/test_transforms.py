"""Hash, mask and drop."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.encoding.transforms import (
    mask,
    mask_sample,
    normalization_of,
    normalize_name,
    normalize_phone,
    normalize_phone_e164,
    sha256,
)


def digest(text: str) -> str:
    """SHA-256 as anyone computes it."""
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("email", ["John_Smith@gmail.com", " john_smith@gmail.com\n"])
def test_an_email_gives_the_digest_that_meta_documents(email: str) -> None:
    """One address has one digest, however it was typed: the example in Meta's documentation."""
    expected = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
    assert expected == sha256(email)


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("+1 (415) 555-0100", "14155550100"),
        ("001 415 555 0100", "14155550100"),
        ("+44 (0)20 7946 0958", "442079460958"),
        ("+1 415 555 0100 ext. 12", "14155550100"),
        ("+1 415 555 0100 x12", "14155550100"),
        ("(415) 555-0100", "4155550100"),
        ("\u0660\u0664\u0661\u0665", "415"),
        ("n/a", ""),
    ],
)
def test_a_phone_number_is_its_digits(written: str, digits: str) -> None:
    """Symbols, leading zeros, the trunk zero and extensions go; nothing is guessed."""
    assert digits == normalize_phone(written)
    assert (f"+{digits}" if digits else "") == normalize_phone_e164(written)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("  Mary-Ann ", "maryann"),
        ("O'Brien", "obrien"),
        ("Zoe\u0308", "zoë"),
        ("DE  LA Cruz", "de la cruz"),
    ],
)
def test_a_name_is_lower_case_without_punctuation(written: str, name: str) -> None:
    """Letters stay in their own script, composed; the rest goes."""
    assert name == normalize_name(written)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("email", "email"),
        ("email_sha256", "email"),
        ("phone", "phone"),
        ("mobilePhone", "phone"),
        ("phone_number", "phone"),
        ("phone_sha256", "phone"),
        ("first_name", "name"),
        ("lastName", "name"),
        ("account_name", "email"),
        ("phone_id", "email"),
        ("", "email"),
    ],
)
def test_the_name_decides_where_the_header_does_not(name: str, rule: str) -> None:
    """A field called a phone is normalized as a phone."""
    assert rule == normalization_of(name)


def test_a_digest_passes_unchanged() -> None:
    """What the warehouse hashed already is not hashed again, and keeps its case."""
    upper = digest("a").upper()
    assert upper == sha256(upper)
    assert digest("a") == sha256(digest("a"), salt="pepper")


def test_nothing_is_hashed_to_nothing() -> None:
    """The digest of an empty text would match every other empty text."""
    assert sha256("  ") is None
    assert sha256("n/a", normalize="phone") is None


def test_a_salt_stands_before_the_normalized_text() -> None:
    """So that anyone with the salt can compute the same digest in SQL."""
    assert digest("pepperann@example.com") == sha256(" Ann@example.com", salt="pepper")


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_hashing_and_masking_take_any_text(text: str) -> None:
    """No text makes them fail, lone surrogates included."""
    for rule in ("email", "phone", "phone_e164", "name", "none"):
        hashed = sha256(text, normalize=rule)
        assert hashed is None or len(hashed) == 64
    assert len(mask(text)) <= len(text) + 3


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("ann.lee@example.com", "a***@example.com"),
        ("+1 415 555 0100", "***00"),
        ("Ann", "A***"),
        ("Al", "***"),
        ("", "***"),
    ],
)
def test_a_mask_leaves_enough_to_recognise(value: str, masked: str) -> None:
    """A mask in a payload keeps an end of the value."""
    assert masked == mask(value)


@given(
    st.text(st.characters(exclude_characters="*@"), min_size=3, max_size=40)
    | st.integers(min_value=100)
    | st.floats(min_value=100)
)
def test_a_sample_never_shows_the_value(value: object) -> None:
    """What plans, rejections and logs show does not hold what it stands for."""
    shown = mask_sample(value)
    assert shown is not None
    assert str(value) not in shown


def test_a_sample_of_a_salesforce_id_keeps_its_prefix() -> None:
    """Two contacts of a sample can be told apart."""
    assert "003***TmAQ" == mask_sample("003xx000004TmAQ")
    assert "003***TmAQ" == mask_sample("003xx000004TmAQAU0")
    assert mask_sample(None) is None
    assert "true" == mask_sample(True)
    assert "<decimal>" == mask_sample(Decimal(5))
