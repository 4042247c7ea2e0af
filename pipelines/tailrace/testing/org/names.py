"""Invented names of people, places and companies; addresses use example.com only."""

from __future__ import annotations

FIRST_NAMES = (
    "Ada", "Björn", "Carmen", "Dmitri", "Elif", "Fatima", "Gæa", "Hugo", "Ingrid", "Jonas",
    "Kateřina", "Liam", "Mei", "Noor", "Óscar", "Priya", "Quentin", "Rosa", "Søren", "Thandiwe",
    "Ulla", "Việt", "Wanjiru", "Xavier", "Yūki", "Zoë",
)  # fmt: skip
LAST_NAMES = (
    "Abara", "Berg", "Castillo", "Dvořák", "Eriksen", "Fischer", "García", "Haddad", "Ito",
    "Jansen", "Kowalska", "Lindqvist", "Müller", "Nakamura", "O'Brien", "Papadopoulos", "Quiroga",
    "Rossi", "Smith", "Tanaka", "Ünal", "van der Berg", "Weiß", "Xu", "Yilmaz", "Zając",
)  # fmt: skip
COMPANIES = (
    "Acorn Supply", "Blue Harbor", "Cobalt Foods", "Delta Ridge", "Ember Works", "Fjord & Sons",
    "Grün Logistik", "Harvest Lane", "Iris Optics", "Juniper \"North\" Labs", "Kite, Sail & Co",
    "Lumen Health", "Marlow Tools", "Nimbus Air", "Orchard Bank", "Pine Street",
)  # fmt: skip
ENDINGS = ("Ltd", "GmbH", "Inc.", "S.A.", "AB", "株式会社")
CITIES = ("Berlin", "Bogotá", "Chicago", "Kraków", "Nairobi", "Oslo", "São Paulo", "Tōkyō")
COUNTRIES = (
    "Germany", "Colombia", "United States", "Poland", "Kenya", "Norway", "Brazil", "Japan",
)  # fmt: skip
STREETS = (
    "1 Main Street", "12 Hafenstraße\nHinterhof", "7, rue de la Paix", "99 Cedar Ave, Apt 4",
)  # fmt: skip
TITLES = (
    "CEO",
    "Data Engineer",
    "Head of Growth",
    "Marketing Manager",
    "VP, Sales",
    'CTO "acting"',
)
DEPARTMENTS = ("Finance", "Growth", "Operations", "R&D")
SUBJECTS = ("Cannot log in", "Invoice is wrong", "Export is slow", "How do I add a user?")
PHONES = ("+49 30 5550101", "+1 (312) 555-0142", "+47 22 55 50 19", "+81 3-5555-0177")

POOLS: dict[str, tuple[str, ...]] = {
    "FirstName": FIRST_NAMES,
    "LastName": LAST_NAMES,
    "Company": COMPANIES,
    "Title": TITLES,
    "Department": DEPARTMENTS,
    "Subject": SUBJECTS,
    "Description": ("Met at a fair.\nCall back.", 'Said: "maybe, next year"', "NA", "null", "N/A"),
}
for _name in ("Phone", "Fax", "MobilePhone", "HomePhone"):
    POOLS[_name] = PHONES
for _prefix in ("", "Billing", "Shipping", "Mailing", "Other"):
    POOLS[f"{_prefix}Street"] = STREETS
    POOLS[f"{_prefix}City"] = CITIES
    POOLS[f"{_prefix}Country"] = COUNTRIES
    # Leading zeros and an exponent, which CSV readers may take for numbers.
    POOLS[f"{_prefix}PostalCode"] = ("00123", "10115", "1E5", "60601", "0150")


def several(values: tuple[str, ...]) -> tuple[str, ...]:
    """One, two or all of a multi-select picklist's values, joined as Salesforce does."""
    if not values:
        return ("",)
    return (*values, ";".join(values[:2]), ";".join(values))
