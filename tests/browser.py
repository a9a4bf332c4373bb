"""Headless Chromium: the system's, else the one that `playwright install` fetched."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

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
