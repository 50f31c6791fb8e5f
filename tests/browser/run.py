"""The page of a real run in a real browser. Ends with a line "N passed, N failed"."""

import os
import re
import sys
import traceback

from chromium import Browser
from scene import CONTROLS, HOSTILE, Scene

OUTLINE = """[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))"""
NAMELESS = """[...document.querySelectorAll('svg,img')].filter(e => {
    if (e.getAttribute('aria-hidden') === 'true') return false;
    const ids = (e.getAttribute('aria-labelledby') || '').split(/\\s+/).filter(Boolean);
    const named = ids.length && ids.every(id => document.getElementById(id)?.textContent.trim());
    return !(named && e.getAttribute('role') === 'img');
}).length"""
TABLES = """[...document.querySelectorAll('table')].map(t => [
    !!t.querySelector('caption')?.textContent.trim(),
    [...t.querySelectorAll('thead th')].every(th => th.scope === 'col' && th.textContent.trim()),
    [...t.querySelectorAll('tbody tr')].every(tr => tr.querySelector('th[scope=row]')),
    [...t.querySelectorAll('tbody tr')].every(tr => tr.children.length === t.querySelectorAll('thead th').length)])"""
REFERENCES = """[...document.querySelectorAll('*')].flatMap(e => ['src', 'href', 'action', 'data', 'srcset', 'poster']
    .map(a => e.getAttribute(a)).filter(Boolean)).filter(r => !r.startsWith('#') && r !== 'data:,')"""
HANDLERS = """[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => a.name.startsWith('on')).length"""
CONTRAST = """(() => {
    const parts = c => c.match(/[\\d.]+/g).map(Number);
    const light = c => { const [r, g, b] = parts(c).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
        return .2126 * r + .7152 * g + .0722 * b; };
    const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };
    const bad = [];
    for (const e of document.querySelectorAll('p,td,th,dt,dd,a,li,h1,h2,h3,summary,pre,figcaption,caption')) {
        if (!e.textContent.trim() || e.className === 'skip') continue;
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a);
        if ((a + .05) / (b + .05) < 4.5) bad.push(e.tagName + ' ' + e.textContent.slice(0, 40));
    }
    return bad;
})()"""


def equal(found, wanted):
    assert found == wanted, f"{found!r}, wanted {wanted!r}"


class Checks:
    """Everything that the page has to be."""

    def __init__(self, page, path, pictures):
        self.page, self.path, self.pictures = page, path, pictures

    def nothing_leaves_the_page(self):
        requests = [event["request"]["url"] for event in self.page.said("Network.requestWillBeSent")]
        equal(requests, ["file://" + self.path])
        equal(self.page.ask(REFERENCES), [])
        style = self.page.ask("document.querySelector('style').textContent")
        equal([url for url in re.findall(r"url\(([^)]*)\)", style) if not url.startswith("#")], [])
        assert "@import" not in style
        equal(self.page.said("Log.entryAdded"), [])

    def nothing_of_it_runs(self):
        equal(self.page.ask("document.title"), "Run of pilot default")
        equal(self.page.ask("document.scripts.length"), 0)
        equal(self.page.ask(HANDLERS), 0)
        equal(self.page.ask("document.images.length"), 0)
        # What scripts would do is forbidden besides.
        equal(self.page.ask("document.querySelector('meta[http-equiv]').content.includes(\"default-src 'none'\")"), True)

    def hostile_texts_are_shown_as_they_are(self):
        text = self.page.ask("document.body.textContent")
        assert HOSTILE[:70] in text, "the name"
        assert f"cannot open {HOSTILE}" in text, "the end of stderr"
        assert "\x1b" not in text and "\u202e" not in text
        assert CONTROLS.replace("\x1b", "\\u{1b}").replace("\u202e", "\\u{202e}") in text

    def the_run_is_told(self):
        sections = self.page.ask("[...document.querySelectorAll('main h2')].map(h => h.textContent)")
        wanted = "Summary|Utilisation|Workers|Times and sizes|Failures|Slowest|What waited for what|Allocation|Submissions"
        equal(sections, wanted.split("|"))
        tiles = self.page.ask(
            "Object.fromEntries([...document.querySelectorAll('.tiles div')].map(d => [...d.children].map(c => c.textContent)))"
        )
        equal([tiles[name] for name in ("tasks", "done", "failed", "canceled")], ["84", "78", "5", "1"])
        failures = self.page.ask("[...document.querySelectorAll('.failure h3')].map(h => h.textContent)")
        assert any(re.match(r"exit_code 3 on .*: 4 tasks failed", title) for title in failures), failures
        assert any(title.startswith("signal on ") for title in failures), failures
        assert any(title.endswith("5 attempts followed by another") for title in failures), failures
        waited = self.page.ask("document.querySelector('#dependencies').parentElement.textContent")
        for text in ("2 simulate", "1 prepare", "all end well", "The chain that ended last"):
            assert text in waited, waited
        assert self.page.ask("document.querySelectorAll('svg rect.done title').length") > 50
        assert self.page.ask("document.querySelector('#slowest').parentElement.querySelectorAll('tbody tr').length") == 20

    def who_cannot_see_it_can_read_it(self):
        levels = self.page.ask(OUTLINE)
        equal(levels.count(1), 1)
        steps = [below - above for above, below in zip(levels, levels[1:])]
        assert max(steps) <= 1, levels
        equal(self.page.ask(NAMELESS), 0)
        tables = self.page.ask(TABLES)
        assert len(tables) >= 8 and all(all(table) for table in tables), tables
        for landmark in ("header", "nav[aria-label]", "main", "footer", "html[lang=en]"):
            equal(self.page.ask(f"document.querySelectorAll('{landmark}').length"), 1)
        equal(self.page.ask("(ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(e => e.id))"), 0)
        nodes = self.page.call("Accessibility.getFullAXTree")["nodes"]
        role = lambda node: node.get("role", {}).get("value")  # noqa: E731
        name = lambda node: node.get("name", {}).get("value", "")  # noqa: E731
        for wanted in ("image", "region", "navigation", "link", "heading", "table"):
            found = [node for node in nodes if role(node) == wanted and not node.get("ignored")]
            assert found and all(name(node).strip() for node in found), f"each {wanted} has a name"

    def keys_lead_everywhere(self):
        self.page.ask("window.scrollTo(0, 0)")
        self.page.press("Tab")
        equal(self.page.ask("document.activeElement.textContent"), "Skip to the content")
        assert self.page.ask("document.activeElement.getBoundingClientRect().left") >= 0, "it is seen while it is chosen"
        reached = set()
        for _ in range(200):
            self.page.press("Tab")
            what = "(e => e === document.body ? '' : e.tagName + (e.getAttribute('aria-label') || e.textContent))(document.activeElement)"
            reached.add(self.page.ask(what))
        seen = "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
        wide = self.page.ask(f"{seen}.map(e => e.tagName + e.getAttribute('aria-label'))")
        assert set(wide) <= reached, set(wide) - reached
        details = self.page.ask("[...document.querySelectorAll('summary')].map(e => e.tagName + e.textContent)")
        assert set(details) <= reached, set(details) - reached
        self.page.ask("document.querySelector('summary').focus()")
        equal(self.page.ask("document.querySelector('details').open"), False)
        self.page.press("Enter")
        equal(self.page.ask("document.querySelector('details').open"), True)

    def it_is_readable_light_and_dark(self):
        colours = []
        for scheme in ("light", "dark"):
            self.page.media("", scheme)
            colours.append(self.page.ask("getComputedStyle(document.body).backgroundColor"))
            equal(self.page.ask(CONTRAST), [])
            self.page.picture(os.path.join(self.pictures, f"{scheme}.png"))
        equal(colours, ["rgb(255, 255, 255)", "rgb(18, 23, 29)"])

    def what_ended_badly_is_told_by_more_than_its_colour(self):
        self.page.media("", "light")
        for outcome in ("failed", "retried", "canceled"):
            fill = self.page.ask(f"getComputedStyle(document.querySelector('svg .{outcome}')).fill")
            assert f"hatch-{outcome}" in fill, fill
            assert self.page.ask(f"document.querySelectorAll('#hatch-{outcome} rect').length") == 2
            legend = self.page.ask("document.querySelector('.legend').textContent")
            assert outcome in legend, legend

    def it_fits_a_narrow_screen(self):
        for width in (360, 800, 1200, 2400):
            self.page.size(width, 900)
            wide = self.page.ask("document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} in {width}"
        self.page.size(1200, 900)

    def it_is_readable_on_paper(self):
        self.page.media("print", "dark")
        equal(self.page.ask("getComputedStyle(document.body).backgroundColor"), "rgb(255, 255, 255)")
        equal(self.page.ask("getComputedStyle(document.querySelector('nav')).display"), "none")
        # What is folded on a screen is there on paper.
        equal(self.page.ask("[...document.querySelectorAll('details pre')].every(e => e.checkVisibility())"), True)
        self.page.media("", "light")
        path = os.path.join(self.pictures, "paper.pdf")
        self.page.paper(path)
        with open(path, "rb") as file:
            pdf = file.read()
        assert pdf.startswith(b"%PDF-") and len(pdf) > 50_000
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
        assert 3 <= pages <= 12, pages


def main():
    program = os.path.abspath(os.environ["SCALEMS_BIN"])
    pictures = os.environ.get("SCALEMS_PICTURES") or os.path.join(os.path.dirname(program), "..", "report")
    os.makedirs(pictures, exist_ok=True)
    passed = failed = 0
    with Scene(program) as scene:
        scene.play()
        path = str(scene.root / "run.html")
        scene.run("report", path)
        with Browser() as browser:
            page = browser.page()
            page.open(path)
            checks = Checks(page, path, pictures)
            names = [name for name in vars(Checks) if not name.startswith("_")]
            for name in names:
                try:
                    getattr(checks, name)()
                    passed += 1
                except Exception:
                    print(f"failed: {name}")
                    traceback.print_exc(file=sys.stdout)
                    failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
