"""The pictures of the page in the documentation, made anew: heads of the demo model in a browser.

    python benchmarks/pictures.py [--scan T1.nii.gz]    # some minutes on two cores

Writes docs/images/serve*.jpg. `--scan` drops a scan onto the page as well; its picture stays in
build/, since it is of a person.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.browser import launched, make_head
from tests.servers import free_port, process

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
STEPS = 16
"""The default of the page."""
PATIENCE = 600_000
"""Milliseconds that labels, a sweep or a scan may take."""


def opened(browser: Browser, address: str, width: int, height: int, scheme: str) -> Page:
    """The page in a window of its own."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page: Page = context.new_page()
    page.goto(address)
    expect(page.locator("#model")).to_contain_text("Made by the model")
    return page


def keep(page: Page, file: Path) -> None:
    """What the window shows, once the viewer has drawn."""
    page.wait_for_timeout(1500)
    page.screenshot(path=file, type="jpeg", quality=85)
    print(file)


def compared(page: Page) -> None:
    """Two heads side by side, with the difference."""
    heads = {"small ventricles": 20, "large ventricles": 50}
    for name, volume in heads.items():
        make_head(page, name, seed=3, steps=STEPS, age=70, ventricular_volume_ml=volume)
    for name in heads:
        page.get_by_label(f"Choose {name}").first.check()
    page.get_by_text("More", exact=True).click()  # closed again
    page.get_by_role("button", name="Compare").click()
    page.wait_for_function("() => window.brainldm.second.engine.volumes.length > 0")
    page.get_by_role("button", name="Difference").click()
    page.wait_for_function("() => window.brainldm.first.engine.volumes.length === 2")
    keep(page, IMAGES / "serve.jpg")
    page.get_by_role("button", name="Close the second").click()


def labelled(page: Page) -> None:
    """A head with its labels."""
    page.get_by_role("button", name="Labels").click()
    page.wait_for_function(
        "() => window.brainldm.first.engine.volumes.length === 2", timeout=PATIENCE
    )
    keep(page, IMAGES / "serve-labels.jpg")
    page.get_by_role("button", name="Labels").click()


def swept(page: Page) -> None:
    """Ventricles from small to large, at one seed."""
    page.get_by_text("Sweep: one seed").click()
    page.get_by_label("Condition").select_option("ventricular_volume_ml")
    for label, value in (("From", "10"), ("To", "70"), ("Heads", "5")):
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_role("button", name="Make a sweep").click()
    frames = page.locator("#frames button")
    expect(frames).to_have_count(5, timeout=PATIENCE)
    frames.nth(3).click()
    page.locator("#frames").scroll_into_view_if_needed()
    keep(page, IMAGES / "serve-sweep.jpg")


def dropped(page: Page, scan: Path) -> None:
    """A scan and what the model makes of it."""
    page.get_by_text("A scan of your own").click()
    page.locator("#file").set_input_files(scan)
    page.wait_for_function(
        "() => window.brainldm.second.engine?.volumes.length > 0", timeout=PATIENCE
    )
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    keep(page, folder / "serve-scan.jpg")


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scan", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        port = free_port()
        browser, address = launched(playwright), f"http://127.0.0.1:{port}"
        with process("demo", Path(folder) / "library", port):
            page = opened(browser, address, 1280, 860, "light")
            compared(page)
            labelled(page)
            swept(page)
            keep(opened(browser, address, 390, 844, "dark"), IMAGES / "serve-phone.jpg")
            if asked.scan:
                dropped(opened(browser, address, 1280, 860, "light"), asked.scan)


if __name__ == "__main__":
    main()
