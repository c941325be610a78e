"""The page in headless Chromium: it draws, filters, answers keys, keeps its state in the address, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PROGRAM, Browser
from scripts import EVIL

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")]

POINTS = "[...new Set(document.querySelector('#plot').data.flatMap((trace) => trace.customdata))].length"
ROWS = "document.querySelectorAll('#table tbody tr').length"


@pytest.fixture(scope="module")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(started: Browser, address: str) -> Iterator[Browser]:
    """The page as it opens, at the width of a laptop; whatever a test does, nothing may go wrong meanwhile."""
    started.errors.clear()
    started.resize(1400, 900)
    started.scheme("light")
    started.open(f"{address}#device=abacus&batch=8")
    yield started
    started.evaluate("new Promise((done) => setTimeout(done, 50))")  # what was to be told of the page is told
    assert started.errors == []


def test_it_draws_every_point_and_a_row_of_each(browser: Browser) -> None:
    assert browser.evaluate(POINTS) == browser.evaluate(ROWS) == 5
    assert browser.evaluate("document.querySelector('#count').textContent") == "5 of 5 points shown, 3 on the front."
    front = "document.querySelector('#plot').data[0].customdata.length"
    assert browser.evaluate(front) == 3


def test_a_legend_names_every_series_that_is_drawn(browser: Browser) -> None:
    told = browser.evaluate("[...document.querySelectorAll('#legend li')].map((one) => one.textContent)")
    assert {text.partition(" ")[2] for text in told} == {
        "front of what is shown",
        *("unmerged", "ToMe, constant r", "ToMe, decreasing r"),
        "disturbed, of no standing",
    }
    assert len({text[0] for text in told}) == len(told) == 5  # each has a sign of its own


def test_names_from_files_are_shown_as_they_are(browser: Browser, address: str) -> None:
    browser.open(address)
    assert EVIL.title() in browser.evaluate("document.querySelector('#choice-device').textContent")
    assert browser.evaluate("document.querySelectorAll('img').length") == 0


def test_a_filter_takes_points_out_and_the_front_follows(browser: Browser) -> None:
    browser.click("#without_schedule-0")  # constant
    browser.wait("location.hash.includes('without_schedule=constant')")
    assert browser.evaluate(POINTS) == browser.evaluate(ROWS) == 3
    browser.click("#reset")
    browser.wait("location.hash === ''")


def test_a_click_on_a_point_shows_its_record(browser: Browser) -> None:
    browser.evaluate("document.querySelector('#plot').scrollIntoView()")
    place = browser.evaluate(
        "(() => { const box = document.querySelector('#plot .scatterlayer .points path').getBoundingClientRect();"
        " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
    )
    browser.click_at(*place)
    browser.wait("location.hash.includes('point=')")
    record = browser.evaluate("document.querySelector('#record').textContent")
    assert "Measured with Abacus, AVX512, 2 threads" in record
    assert "results/abacus/invented/" in record
    assert "c0ffee" in record


def test_arrow_keys_go_from_point_to_point_and_escape_leaves(browser: Browser) -> None:
    browser.evaluate("document.querySelector('#plot').focus()")
    named = []
    for _ in range(2):
        browser.press("ArrowRight", 39)
        named.append(browser.evaluate("document.querySelector('#record h3').textContent"))
    assert named == ["unmerged", "ToMe, constant r, r = 20"]  # from slow to fast
    assert browser.evaluate("document.activeElement.id") == "plot"
    assert browser.evaluate("document.querySelector('#table tr.chosen button').ariaLabel") == named[-1]
    browser.press("Enter", 13, "\r")
    assert browser.evaluate("document.activeElement.id") == "record"
    browser.evaluate("document.querySelector('#plot').focus()")
    browser.press("Escape", 27)
    browser.wait("!location.hash.includes('point=')")


def test_what_was_opened_of_a_record_stays_open_while_other_things_change(browser: Browser) -> None:
    browser.click("#table tbody button")
    browser.click("#record details summary")
    for key in ("sort-speedup", "without_schedule-0", "merging-1"):
        browser.click(f"#{key}")
    assert browser.evaluate("document.querySelector('#record details').open") is True


def test_a_head_sorts_by_keyboard_and_keeps_the_focus(browser: Browser) -> None:
    first = "document.querySelector('#table tbody button').ariaLabel"
    browser.evaluate("document.querySelector('#sort-speedup').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.evaluate(first) == "ToMe, decreasing r, r = 20"  # the disturbed one, which is no best
    assert browser.evaluate("document.activeElement.id") == "sort-speedup"
    assert browser.evaluate("document.activeElement.parentElement.getAttribute('aria-sort')") == "descending"
    browser.press("Enter", 13, "\r")
    assert browser.evaluate(first) == "unmerged"


def test_readings_follow_what_is_asked(browser: Browser, address: str) -> None:
    browser.open(f"{address}#device=abacus&batch=8&loss=0.0101&speed=2.1")
    told = "document.querySelector('#{}').textContent"
    assert browser.evaluate(told.format("fastest")).startswith("ToMe, constant r, r = 40: 16.0 clips/s, 2.00")
    assert browser.evaluate(told.format("best")).startswith("ToMe, decreasing r, r = 40: 20.0 clips/s, 2.50")
    browser.evaluate("document.querySelector('#loss').select()")
    browser.evaluate("document.querySelector('#loss').focus()")
    browser.press("0", 48, "0")
    assert browser.evaluate(told.format("fastest")).startswith("unmerged")
    browser.wait("/loss=0(&|$)/.test(location.hash)")


def test_an_address_opens_what_it_was_copied_from(browser: Browser, address: str) -> None:
    browser.open(f"{address}#device=abacus&batch=1&axes=relative&find=decreasing&r=40&block=3&merging=topk")
    assert browser.evaluate("document.querySelector('#choice-batch').value") == "1"
    assert browser.evaluate("document.querySelector('#plot').layout.xaxis.title.text") == "Speed-up over unmerged"
    assert browser.evaluate(ROWS) == 2
    captions = browser.evaluate("[...document.querySelectorAll('#merges figcaption')].map((one) => one.textContent)")
    assert len(captions) == 1
    assert captions[0].startswith("Top-K: 600 patches in 480 tokens, 120 dropped")


def test_tokens_merge_while_sliders_move(browser: Browser) -> None:
    caption = "document.querySelector('#merges figcaption').textContent"
    assert "600 patches in 120 tokens" in browser.evaluate(caption)  # r = 40, all twelve blocks
    browser.evaluate("document.querySelector('#block').focus()")
    browser.press("Home", 36)
    assert "600 patches in 600 tokens" in browser.evaluate(caption)
    browser.press("ArrowRight", 39)
    assert "600 patches in 560 tokens" in browser.evaluate(caption)
    browser.evaluate("document.querySelector('#r').focus()")
    browser.press("Home", 36)
    assert "600 patches in 580 tokens" in browser.evaluate(caption)
    browser.wait("location.hash.endsWith('r=20&block=1')")
    pixels = (
        "new Set(document.querySelector('#merges canvas').getContext('2d').getImageData(0, 0, 1024, 256).data).size"
    )
    assert browser.evaluate(pixels) > 50  # something was drawn


def test_a_patch_shows_its_token_by_pointer_and_by_keyboard(browser: Browser) -> None:
    told = "document.querySelector('#merges figcaption').textContent"
    browser.evaluate("document.querySelector('#block').focus()")
    browser.press("Home", 36)  # every patch alone
    browser.click("#merges-tome")
    assert browser.evaluate(told).endswith("Here: a token of 1 patch.")
    browser.evaluate("document.querySelector('#merges-topk').focus()")
    assert "Here" not in browser.evaluate(told)
    browser.evaluate("document.querySelector('#merges-tome').focus()")
    browser.press("ArrowRight", 39)
    browser.press("ArrowUp", 38)
    assert browser.evaluate(told).endswith("Here: a token of 1 patch.")
    browser.press("Escape", 27)
    assert "Here" not in browser.evaluate(told)


def test_the_sound_can_be_played(browser: Browser) -> None:
    browser.wait("document.querySelector('#player').readyState >= 1")
    assert browser.evaluate("document.querySelector('#player').duration") == pytest.approx(5.1, abs=0.1)


def test_how_points_stand_is_whole_on_a_small_screen(browser: Browser, address: str) -> None:
    browser.resize(1280, 900)
    browser.open(f"{address}#device=abacus&batch=8")
    right = "document.querySelector('{}').getBoundingClientRect().right"
    assert browser.evaluate(right.format("#table tbody td.words")) <= browser.evaluate(right.format(".long"))
    colours = "document.querySelector('#plot').data.filter((one) => one.error_y).map((one) => one.error_y.color)"
    opacity = {}
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        browser.open(f"{address}#device=abacus&batch=8")
        (ends,) = {colour[7:] for colour in browser.evaluate(colours) if len(colour) > 7}
        opacity[scheme] = int(ends, 16)
    assert opacity["dark"] > opacity["light"] > 0x80
    places = browser.evaluate("document.querySelector('#plot').data.flatMap((one) => one.textposition || [])")
    assert len(places) >= 3
    browser.scheme("light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_either_scheme(browser: Browser, address: str, scheme: str) -> None:
    browser.resize(390, 844, phone=True)
    browser.scheme(scheme)
    browser.open(f"{address}#device=abacus&batch=8")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("document.querySelector('#plot .main-svg').getBoundingClientRect().width") <= 390
    lines = "[...document.querySelectorAll('#choices output')].map((one) => one.scrollWidth - one.clientWidth)"
    assert set(browser.evaluate(lines)) == {0}  # nothing of a choice that is none is cut off
    red = browser.evaluate("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (red < 50) == (scheme == "dark")
    font = browser.evaluate("document.querySelector('#plot').layout.font.color")
    assert font == {"light": "#1a1a1a", "dark": "#e8e8e8"}[scheme]
    fields = "[...document.querySelectorAll('select, input:not([type=checkbox]):not([type=range])')]"
    heights = browser.evaluate(f"{fields}.map((field) => field.getBoundingClientRect().height)")
    assert min(heights) >= 32  # what a finger is to hit


def test_everything_is_reached_by_the_tab_key(browser: Browser) -> None:
    seen = []
    for _ in range(90):
        browser.press("Tab", 9)
        seen.append(browser.evaluate("document.activeElement.id || document.activeElement.getAttribute('role') || ''"))
    order = [
        "choice-batch",
        "without_method-0",
        "find",
        "axes",
        "reset",
        "plot",
        "loss",
        "speed",
        "region",
        "sort-none",
        "player",
        "merging-0",
        "r",
        "block",
    ]
    places = [seen.index(name) for name in order]
    assert places == sorted(places)


def test_screenshots_can_be_taken(browser: Browser, tmp_path: Path) -> None:
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
