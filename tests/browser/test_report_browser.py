"""The report in a real browser: it draws without complaint, asks for nothing, and fits a phone, a desk and paper."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.commands.report import command as report_command
from tests.browser.chromium import Chromium, find_chromium
from tests.helpers.processes import HANG_S
from tests.helpers.report_runs import MadeUp, make_run

pytestmark = pytest.mark.browser

COMPLAINTS = {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}
HARD = MadeUp(
    images=60,
    cards=3,
    failed=(3, 50),
    lost=(41,),
    crowds=True,
    predicted_ms=11.3,
    pause_s=4000,
    prefix="<b>&'\"/",
)
# Whatever an author of the page might forget: each of these must be caught.
BROKEN = {
    "a script that complains": ("<script>console.error('no')</script>", "complaint"),
    "a picture from elsewhere": ("<img src='http://127.0.0.1:9/x.png' alt=''>", "request"),
    "a font from a file": (
        "<style>@font-face{font-family:f;src:url(f.woff)}p{font-family:f}</style><p>x</p>",
        "request",
    ),
    "something too wide": ("<div style='width:600px'>x</div>", "overflow"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with Chromium(program) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    hard = make_run(folder / "hard", HARD)
    plain = make_run(folder / "plain", MadeUp(seed=1))
    comparison = folder / "comparison.html"
    report_command([hard.store.place])
    report_command([hard.store.place, plain.store.place], output=comparison)
    return {"report": folder / "hard" / "run" / "report.html", "comparison": comparison}


def faults(browser: Chromium) -> dict[str, list[str]]:
    """What is wrong with the page that is open."""
    page = browser.evaluate("location.href")
    # Not innerWidth: a phone zooms out until all of a page that is too wide is on its screen.
    overflow = browser.evaluate("document.documentElement.scrollWidth") - browser.width
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return {
        "complaint": [str(event["params"]) for event in browser.events if event["method"] in COMPLAINTS],
        "request": [url for url in requests if not url.startswith("data:") and url != page],
        "overflow": [f"{overflow} px"] if overflow > 0 else [],
    }


def faults_once(browser: Chromium, kind: str, *, least: int = 1) -> list[str]:
    """The faults of a kind once there are so many: a complaint may come a little later than the page."""
    deadline = time.monotonic() + HANG_S
    while len(found := faults(browser)[kind]) < least and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 1400])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_draws_without_complaint_or_request_at_every_width(
    browser: Chromium, pages: dict[str, Path], name: str, width: int, dark: bool
) -> None:
    browser.open(pages[name], width=width, dark=dark)
    assert faults(browser) == {"complaint": [], "request": [], "overflow": []}


@pytest.mark.parametrize("name", BROKEN)
def test_the_faults_looked_for_are_found(browser: Chromium, tmp_path: Path, name: str) -> None:
    body, fault = BROKEN[name]
    page = tmp_path / "broken.html"
    page.write_text(
        f"<!DOCTYPE html><meta charset=utf-8><meta name=viewport content='width=device-width'><body>{body}"
    )
    browser.open(page, width=400)
    assert faults_once(browser, fault)


def test_the_policy_stops_scripts_and_requests_that_a_name_might_smuggle_in(
    browser: Chromium, pages: dict[str, Path], tmp_path: Path
) -> None:
    page = tmp_path / "smuggled.html"
    smuggled = "<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png' alt=''>"
    page.write_text(pages["report"].read_text().replace("</header>", f"{smuggled}</header>"))
    browser.open(page, width=400)
    assert browser.evaluate("document.title") == "run: Raysail report"
    assert len(faults_once(browser, "complaint", least=2)) >= 2  # the browser names each thing it has stopped


def test_every_image_is_drawn_and_its_boxes_lie_on_it(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["report"], width=1400)
    drawn = browser.evaluate(
        "Promise.all([...document.querySelectorAll('image')].map(one => { const image = new Image();"
        "image.src = one.href.baseVal; return image.decode().then(() => image.naturalWidth); }))"
    )
    assert len(drawn) >= 37  # twenty worst, of which three could not be read, and twenty typical ones
    assert set(drawn) == {320}
    outside = browser.evaluate(
        "[...document.querySelectorAll('.photo .box')].filter(box => { const a = box.getBoundingClientRect(),"
        "b = box.ownerSVGElement.getBoundingClientRect(); return a.left < b.left - 4 || a.right > b.right + 4 ||"
        "a.top < b.top - 4 || a.bottom > b.bottom + 4; }).length"
    )
    assert outside == 0


@pytest.mark.parametrize(("dark", "shade"), [(False, 252), (True, 23)], ids=["light", "dark"])
def test_light_and_dark_follow_the_reader(
    browser: Chromium, pages: dict[str, Path], tmp_path: Path, dark: bool, shade: int
) -> None:
    browser.open(pages["report"], width=400, dark=dark)
    shot = tmp_path / "shot.png"
    browser.screenshot(shot, height=600)
    pixels = cv2.imread(str(shot))
    assert pixels is not None
    assert int(np.median(pixels)) == pytest.approx(shade, abs=3)


def test_paper_is_white_and_shows_what_the_screen_folds_away(
    browser: Chromium, pages: dict[str, Path]
) -> None:
    browser.open(pages["report"], width=1000, dark=True, medium="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert folded_height(browser) > 0
    browser.open(pages["report"], width=1000)
    assert folded_height(browser) == 0


def folded_height(browser: Chromium) -> float:
    """How high a closed fold's content is drawn."""
    height: float = browser.evaluate(
        "(() => { const fold = document.createElement('details');"
        "fold.innerHTML = '<summary>more</summary><p>content</p>'; document.body.append(fold);"
        "return fold.querySelector('p').checkVisibility({contentVisibilityAuto: true}) ?"
        "fold.querySelector('p').offsetHeight : 0; })()"
    )
    return height
