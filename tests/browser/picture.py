"""Draws docs/images/report.png from the real program: python3 tests/browser/picture.py target/debug/scalems FILE.png"""

import os
import sys

from chromium import Browser
from scene import Scene

WIDTH = 1180


def main():
    program, picture = map(os.path.abspath, sys.argv[1:3])
    with Scene(program) as scene:
        # Longer than in the tests, and with names as people give them.
        scene.play(scale=6.0, name="night", cores=12, calm=True)
        path = str(scene.root / "run.html")
        scene.run("report", "--pilot", "night", path)
        with Browser() as browser:
            page = browser.page(WIDTH, 900)
            page.media("", "light")
            page.open(path)
            page.ask("document.querySelector('.facts').remove()")
            # As far as the drawing of the workers goes.
            drawing = "document.querySelector('#workers').parentElement.querySelector('.legend')"
            height = page.ask(f"{drawing}.getBoundingClientRect().bottom")
            page.picture(picture, clip={"x": 0, "y": 0, "width": WIDTH, "height": int(height) + 6, "scale": 1})
    print(f"{picture}: {os.path.getsize(picture) // 1000} kB")


if __name__ == "__main__":
    main()
