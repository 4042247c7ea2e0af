"""The report in a browser: it renders, requests nothing, and can be read by everyone."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from browser import Browser, chromium
from shop import PEOPLE, Shop

from tailrace.project import Project
from tailrace.testing.segment.simulator import SegmentSimulator

ROWS = [{"id": f"c{number}", "email": f"{number}@example.com", "score": 1.5} for number in range(9)]
CONSENT = PEOPLE.replace("identify:", "consent: {suppress_when: is_deleted}\nidentify:").replace(
    "score FROM salesforce.contact WHERE NOT is_deleted",
    "score, is_deleted FROM salesforce.contact",
)
OTHERS = PEOPLE.replace("audience: people", "audience: others").replace(
    "user_id: id", "user_id: email"
)

SCREENSHOTS = Path(__file__).parent / "screenshots"
# The goldens are a quarter of the page's top; compared are cells of 50 pixels.
SMALLER, CELL, TOP = 4, 50, 2_000


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A report with a held audience, rejected rows, an edited model and a saved plan."""
    folder = tmp_path_factory.mktemp("report")
    with SegmentSimulator() as segment:
        shop = Shop(folder / "shop", segment)
        shop.audience(CONSENT)
        shop.audience(OTHERS, "others")
        shop.land([*ROWS, {"id": "c20"}, {"id": "c21", "email": "no", "is_deleted": True}])
        shop.sync()
        shop.land([*ROWS[2:], ROWS[8], {"id": "c20"}])
        shop.sync()
        shop.audience(OTHERS.replace("NOT is_deleted", "NOT is_deleted AND score > 0"), "others")
        project = Project(shop.project)
        project.plan(out=folder / "plan.json")
        project.report(folder / "report.html", plan_file=folder / "plan.json")
        yield folder / "report.html"


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def test_it_renders_without_an_error_and_without_a_request(report: Path, browser: Browser) -> None:
    browser.open(report.as_uri())
    assert [] == browser.messages()
    assert {report.as_uri(), "data:,"} >= set(browser.requests())
    assert 0 < browser.run("return document.querySelector('.verdict').offsetHeight")
    assert [] == browser.run(
        "return [...document.querySelectorAll('svg')].filter(e => !e.getBoundingClientRect().width)"
        ".filter(e => !e.closest('details:not([open])')).map(e => e.outerHTML)"
    )


@pytest.mark.parametrize(
    ("dark", "width", "media"),
    [(False, 1400, ""), (True, 1400, ""), (False, 390, ""), (True, 390, ""), (False, 800, "print")],
    ids=["light", "dark", "narrow", "narrow and dark", "print"],
)
def test_no_serious_problem_of_accessibility(
    report: Path, browser: Browser, dark: bool, width: int, media: str
) -> None:
    browser.emulate(dark=dark, width=width, media=media)
    browser.open(report.as_uri())
    browser.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert [] == browser.problems()
    # The page itself never scrolls sideways; wide tables do.
    assert width >= browser.run("return document.documentElement.scrollWidth")


def test_the_steps_of_the_funnel_add_up_as_they_are_shown(report: Path, browser: Browser) -> None:
    browser.open(report.as_uri())
    tables = browser.run(
        "const number = e => Number(e.textContent.trim().split(' ')[0].replace(/,/g, '')"
        ".replace('\u2212', '-'));"
        "return [...document.querySelectorAll('table.funnel')].map(table =>"
        " [...table.tBodies[0].rows].map(row =>"
        "  [number(row.querySelector('.number')), [...row.querySelectorAll('li')].map(number)]))"
    )
    assert 2 == len(tables)
    for steps in tables:
        assert 7 == len(steps)
        for (before, _), (count, drops) in pairwise(steps):
            assert before + sum(drops) == count
    assert 2 <= sum(drop for _, drops in tables[1] for drop in map(abs, drops))


def test_it_can_be_used_with_the_keyboard(report: Path, browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.emulate()
    browser.open(report.as_uri())
    assert "Skip to the content" == browser.press(Keys.TAB)
    browser.press(Keys.ENTER)
    assert browser.press(Keys.TAB).startswith("Copy: tailrace ")
    browser.run("document.querySelector('summary').focus()")
    assert not browser.run("return document.querySelector('details').open")
    browser.press(Keys.ENTER)
    assert browser.run("return document.querySelector('details').open")


def test_on_paper_closed_parts_are_printed_and_buttons_are_not(
    report: Path, browser: Browser
) -> None:
    browser.emulate(media="print", width=800)
    browser.open(report.as_uri())
    assert 0 < browser.run(
        "return document.querySelector('details pre').getBoundingClientRect().height"
    )
    assert 0 == browser.run("return document.querySelector('button').offsetHeight")
    assert 0 == browser.run("return document.querySelector('nav').offsetHeight")
    # A sheet cannot be scrolled.
    assert [] == browser.run(
        "return [...document.querySelectorAll('.scroll')]"
        ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel || e.textContent)"
    )


@pytest.mark.parametrize(
    ("name", "dark", "width", "media"),
    [
        ("wide", False, 1400, ""),
        ("narrow", False, 400, ""),
        ("dark", True, 1400, ""),
        ("print", False, 800, "print"),
    ],
)
def test_it_looks_like_its_golden_screenshot(
    report: Path,
    browser: Browser,
    pytestconfig: pytest.Config,
    name: str,
    dark: bool,
    width: int,
    media: str,
) -> None:
    """Within a tolerance for other fonts; `--write-screenshots` writes them again."""
    browser.emulate(dark=dark, width=width, media=media)
    browser.open(report.as_uri())
    picture = browser.screenshot(width=width, height=TOP)
    golden = SCREENSHOTS / f"{name}.png"
    # The page's security policy lets no other picture be read.
    browser.open("about:blank")
    if pytestconfig.getoption("--write-screenshots"):
        small, _ = browser.resized(picture, width=width // SMALLER, height=TOP // SMALLER)
        golden.write_bytes(base64.b64decode(small))
    expected = base64.b64encode(golden.read_bytes()).decode()
    cells = {"width": width // CELL, "height": TOP // CELL}
    _, colours = browser.resized(picture, **cells)
    _, golden_colours = browser.resized(expected, **cells)
    differences = [abs(a - b) for a, b in zip(colours, golden_colours, strict=True)]
    assert sum(differences) / len(differences) < 3.5
    assert sum(difference > 48 for difference in differences) / len(differences) < 0.015
