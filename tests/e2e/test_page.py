"""The page of `brainldm serve`, used in a browser as a person would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.segmenters import write_random
from tests.servers import free_port, process

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Error, Page, Route, expect, sync_playwright

from tests.browser import launched, look_at_voxels, make_head

expect.set_options(timeout=30_000)  # the machine may have other work


@contextmanager
def serving(model: str | Path, folder: Path) -> Iterator[str]:
    port = free_port()
    segmenter = write_random(folder / "segmenter")
    with process(model, folder / "library", port, f"--segmenter={segmenter}"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("demo", tmp_path_factory.mktemp("demo")) as address:
        yield address


@pytest.fixture(scope="module")
def toys(toy_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where heads are made at once, and show nothing."""
    with serving(toy_directory, tmp_path_factory.mktemp("toys")) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        try:
            chromium = launched(playwright)
        except Error as error:
            pytest.skip(f"no Chromium that starts: {error.message.splitlines()[0]}")
        yield chromium


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open the page; anything that it complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def opened(address: str, width: int = 960, height: int = 680, **more: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **more))
        page: Page = contexts[-1].new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto(address)
        expect(page.locator("#model")).to_contain_text("Made by the model")
        return page

    yield opened
    for context in contexts:
        context.close()
    refusals = "the server responded with a status of 422"  # which the page tells in words
    assert [each for each in complaints if refusals not in each] == []


def test_a_head_is_made_and_looked_at(opened: Open, demo: str, tmp_path: Path) -> None:
    page = opened(demo)
    expect(page.locator("header")).to_contain_text("synthetic: it shows no person")
    make_head(page, "first", age=70)
    expect(page.locator("#facts")).to_contain_text("70 years")
    with page.expect_download() as download:
        page.locator("#heads li").first.get_by_role("link", name="NIfTI").click()
    download.value.save_as(tmp_path / "head.nii.gz")
    image = nib.load(tmp_path / "head.nii.gz")
    look_at_voxels(page, image)
    page.get_by_role("button", name="3-D").click()
    expect(page.get_by_role("button", name="3-D")).to_have_attribute("aria-pressed", "true")


def test_the_viewer_keeps_its_size(opened: Open, demo: str) -> None:
    page = opened(demo)
    make_head(page, "sized")
    size = "() => [window.brainldm.first.engine.canvas.width, document.body.scrollHeight]"
    before = page.evaluate(size)
    page.get_by_role("button", name="3-D").click()
    page.wait_for_timeout(500)
    assert page.evaluate(size) == before


def test_the_canvas_shows_the_head_upright(opened: Open, demo: str) -> None:
    """What is drawn has the head's crown up and, in the axial plane, its left on the left."""
    page = opened(demo)
    make_head(page, "drawn")
    drawn = page.evaluate(
        """async () => {
            const { engine } = window.brainldm.first, { gl } = engine;
            engine.opts.crosshairWidth = 0;
            engine.setSliceType(engine.sliceTypeAxial);
            engine.drawScene();
            const { width, height } = engine.canvas;
            const pixels = new Uint8Array(4 * width * height);
            gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
            return { width, height, red: Array.from(pixels.filter((_, i) => i % 4 === 0)) };
        }"""
    )
    pixels = np.array(drawn["red"]).reshape(drawn["height"], drawn["width"])[::-1]
    assert (pixels > 60).mean() > 0.05
    front, back = np.array_split(pixels > 60, 2)
    widest = [int(half.sum(1).argmax()) for half in (front, back)]
    assert widest[0] > widest[1] - len(back) // 2  # a head is widest behind its middle


def test_a_sweep_is_played(opened: Open, toys: str, tmp_path: Path) -> None:
    page = opened(toys)
    page.get_by_text("More", exact=True).click()
    page.locator("#seed").fill("7")
    page.locator("#steps").fill("2")
    page.get_by_text("Sweep: one seed").click()
    page.get_by_label("Condition").select_option("ventricular_volume_ml")
    expect(page.get_by_label("To", exact=True)).to_have_value("171.4")
    page.get_by_label("From", exact=True).fill("10")
    page.get_by_label("To", exact=True).fill("75")
    page.get_by_label("Heads", exact=True).fill("3")
    page.get_by_role("button", name="Make a sweep").click()
    frames = page.locator("#frames button")
    expect(frames).to_have_count(3, timeout=60_000)
    expect(frames).to_have_text(["10 mL", "42.5 mL", "75 mL"])
    frames.nth(2).click()
    expect(frames.nth(2)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Play").click()
    expect(frames.nth(1)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Stop").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Animated picture").click()
    download.value.save_as(tmp_path / "sweep.gif")
    assert (tmp_path / "sweep.gif").read_bytes()[:6] == b"GIF89a"


def test_two_heads_are_compared_and_linked(opened: Open, toys: str) -> None:
    page = opened(toys)
    make_head(page, "small", ventricular_volume_ml=12)
    make_head(page, "large", ventricular_volume_ml=70)
    for name in ("small", "large"):
        page.get_by_label(f"Choose {name}").first.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#second-name")).to_have_text("small · synthetic")
    page.wait_for_function("() => window.brainldm.second.engine.volumes.length > 0")
    page.locator("#first").click(position={"x": 100, "y": 120})
    page.wait_for_function(
        """() => {
            const place = (x) => Array.from(window.brainldm[x].engine.scene.crosshairPos);
            return place("first").every((each, i) => Math.abs(each - place("second")[i]) < 1e-3);
        }"""
    )
    page.get_by_role("button", name="Difference").click()
    page.wait_for_function("() => window.brainldm.first.engine.volumes.length === 2")
    page.get_by_role("button", name="Close the second").click()
    expect(page.locator("#second")).to_be_hidden()
    page.wait_for_function("() => window.brainldm.first.engine.volumes.length === 1")


def test_labels_lie_over_a_head(opened: Open, toys: str) -> None:
    page = opened(toys)
    make_head(page, "labelled")
    page.get_by_role("button", name="Labels").click()
    page.wait_for_function(
        "() => window.brainldm.first.engine.volumes.length === 2", timeout=90_000
    )
    expect(page.locator("#legend li")).to_have_count(34)
    expect(page.locator("#legend")).to_contain_text("Left hippocampus")
    expect(page.locator("#facts")).to_contain_text("not segmented with certainty")
    page.get_by_role("button", name="Labels").click()
    expect(page.locator("#legend")).to_be_hidden()


def test_a_head_is_changed(opened: Open, demo: str, tmp_path: Path) -> None:
    page = opened(demo)

    def sooner(route: Route) -> None:  # than with the usual steps
        asked = route.request.post_data_json or {}
        edits = asked.get("kind") == "edit"
        route.continue_(post_data={**asked, "steps": 4} if edits else None)

    page.route("**/v1/jobs", sooner)
    make_head(page, "before", ventricular_volume_ml=25)
    page.get_by_text("Change the head that is shown").click()
    page.get_by_role("button", name="Change it").click()
    expect(page.locator("#notice")).to_contain_text("Nothing is to change")
    page.get_by_label("Ventricular volume then", exact=True).fill("55")
    page.get_by_role("button", name="Change it").click()
    name = page.locator("#first-name")
    expect(name).to_have_text("before, ventricular volume 55 · edited", timeout=240_000)
    expect(page.locator("#second-name")).to_have_text("before · synthetic")
    page.wait_for_function("() => window.brainldm.first.engine.volumes.length === 2")
    expect(page.locator("#difference")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#facts")).to_contain_text("voxels are those of 'before'")


def test_the_library_on_a_phone(opened: Open, toys: str) -> None:
    page = opened(toys, 390, 844, color_scheme="dark")
    make_head(page, "on a phone")
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    card = page.locator("#heads li").first
    page.once("dialog", lambda dialog: dialog.accept("renamed"))
    card.get_by_role("button", name="Rename").click()
    expect(page.locator("#heads li").first).to_contain_text("renamed")
    page.get_by_label("Search the library").fill("renamed")
    expect(page.locator("#heads li")).to_have_count(1)
    page.get_by_label("Choose renamed").check()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#heads li")).to_have_count(0)


def test_what_the_model_does_not_know_is_said(opened: Open, toys: str) -> None:
    page = opened(toys)
    age = page.locator("[data-condition=age]")
    age.locator("input[type=number]").fill("99")
    expect(age.locator(".outside")).to_contain_text("outside 44 to 82")
    page.get_by_role("button", name="Make a head").click()
    expect(page.locator("#notice")).to_contain_text("age is 99 years")
    expect(page.locator(".job")).to_have_count(0)
    age.get_by_label("left to chance").check()
    expect(age.get_by_label("Age", exact=True)).to_be_disabled()


def test_a_job_is_cancelled_and_a_bad_scan_refused(opened: Open, toys: str, tmp_path: Path) -> None:
    page = opened(toys)
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Sampler").select_option("ddpm")
    page.get_by_role("button", name="Make a head").click()
    expect(page.locator(".job img")).to_be_visible(timeout=60_000)  # a look at what is denoised
    expect(page.locator(".job")).to_contain_text("of 1000")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job")).to_have_count(0)
    (tmp_path / "t1.nii.gz").write_bytes(b"not a scan")
    page.get_by_text("A scan of your own").click()
    page.locator("#file").set_input_files(tmp_path / "t1.nii.gz")
    expect(page.locator("#notice")).to_contain_text("Cannot read")


def test_everything_is_reached_by_keyboard(opened: Open, toys: str) -> None:
    page = opened(toys)
    page.locator("#first").press("ArrowLeft")  # no head is there yet, perhaps
    make_head(page, "by keyboard")
    page.evaluate("document.activeElement.blur()")
    wanted = {"make", "planes", "solid", "first", "search", "Age"}
    for _ in range(200):  # through all of the library, and from the top again
        page.keyboard.press("Tab")
        wanted.discard(
            page.evaluate("document.activeElement.id || document.activeElement.ariaLabel")
        )
        if not wanted:
            break
    assert wanted == set()
    before = page.locator("#place").text_content()
    page.locator("#first").press("ArrowLeft")
    page.locator("#first").press("ArrowUp")
    expect(page.locator("#place")).not_to_have_text(before or "")


def test_what_is_loaded_is_small_and_from_here(demo: str, browser: Browser) -> None:
    sizes: dict[str, int] = {}
    with browser.new_page() as page:
        page.on("response", lambda got: sizes.update({got.url: len(got.body())}))
        page.goto(demo)
        expect(page.locator("#model")).to_contain_text("Made by the model demo")
    assert all(url.startswith((demo, "data:", "blob:")) for url in sizes)
    page_alone = {url: size for url, size in sizes.items() if "/v1/heads/" not in url}
    assert sum(page_alone.values()) < 3e6, json.dumps(page_alone)
