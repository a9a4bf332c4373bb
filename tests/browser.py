"""Headless Chromium: the system's, else the one that `playwright install` fetched; and what a
person does with the page in it."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, expect

STEPS = 3
# WebGL without a GPU, and nothing looked for on the network.
OPTIONS = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launched(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(
        executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
        args=list(OPTIONS),
    )


def make_head(
    page: Page, name: str, *, seed: int = 7, steps: int = STEPS, **numbers: float
) -> None:
    """Ask for a head as a person does, and wait until it is shown."""
    for condition, value in numbers.items():
        page.locator(f"[data-condition={condition}] input[type=number]").fill(str(value))
    if not page.locator("#steps").is_visible():
        page.get_by_text("More", exact=True).click()
    page.locator("#seed").fill(str(seed))
    page.locator("#steps").fill(str(steps))
    page.locator("#name").fill(name)
    page.get_by_role("button", name="Make a head").click()
    expect(page.locator("#first-name")).to_have_text(f"{name} · synthetic", timeout=60_000)
    page.wait_for_function("() => window.brainldm.first.engine.volumes.length > 0")


def look_at_voxels(page: Page, image: Any) -> None:
    """The viewer shows the file's own intensities where they are, left and right not exchanged."""
    array = np.asarray(image.dataobj)
    for place in ((-30, -20, 30), (30, -20, 30), (40, 10, -5), (0, -60, 10)):
        i, j, k = np.rint(np.linalg.inv(image.affine) @ [*place, 1])[:3].astype(int)
        at = (image.affine @ [i, j, k, 1])[:3].tolist()
        said = page.evaluate(
            """at => {
                const { engine } = window.brainldm.first;
                engine.scene.crosshairPos = engine.mm2frac(at);
                engine.createOnLocationChange();
                return document.getElementById("place").textContent;
            }""",
            at,
        )
        position, _, value = said.partition(" mm (right, front, up): ")
        assert [int(each) for each in position.split(",")] == [round(each) for each in at]
        assert float(value) == pytest.approx(float(array[i, j, k]), abs=2e-3)
