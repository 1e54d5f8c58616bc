"""Pictures of the page for the README: `make screenshots`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
from mosquitto import wait_until
from PIL import Image
from playwright.sync_api import Page
from web.browser import browser, demo, page

FOLDER = Path(__file__).parent / "screenshots"
DESKTOP = {"width": 1280, "height": 860}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": DESKTOP, "color_scheme": "light"},
    "dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}
HEARD = 6
"""Events that the live view shows at least."""


def main() -> None:
    """Play the demo, and look at it."""
    with demo() as playing, browser() as chromium:
        events = f"{playing.url}api/v1/events"
        with page(chromium, playing.url, **LOOKS["light"]) as light:
            with (
                page(chromium, playing.url, **LOOKS["dark"]) as dark,
                page(chromium, playing.url, **LOOKS["phone"]) as phone,
            ):
                wait_until(lambda: len(httpx.get(events).json()["events"]) >= HEARD, "events", 90)
                for name, looked in (("light", light), ("dark", dark), ("phone", phone)):
                    looked.wait_for_timeout(1500)
                    take(looked, f"live-{name}")
            with_clip = next(e for e in httpx.get(events).json()["events"] if e["has_clip"])
            light.goto(f"{playing.url}#/event/{with_clip['id']}")
            light.wait_for_timeout(2500)
            take(light, "event-light")


def take(page: Page, name: str) -> None:
    """A picture of what is in the window, in 256 colours: it is in everybody's checkout."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
