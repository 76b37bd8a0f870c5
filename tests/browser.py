# SPDX-FileCopyrightText: The GNU Health imaging suite contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tryton's web client as a person uses it, in headless Chromium."""
import contextlib
import io
import re
import shutil

from PIL import Image
from playwright.sync_api import expect, sync_playwright

SIZE = {'width': 1400, 'height': 900}
# milliseconds: the client asks its server for every view the first time
LIMIT = 30_000
ARGUMENTS = [
    '--no-sandbox', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update',
    '--disable-sync',
    # WebGL by software: there is no graphics card
    '--use-gl=angle', '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist']


@contextlib.contextmanager
def chromium():
    "Yield the browser that Debian ships"
    program = shutil.which('chromium')
    assert program, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class WebClient:
    """A page with the web client in it.

    Parameters
    ----------
    page : playwright's Page
    url : str
        The address with the database, as a person would open it.
    """

    def __init__(self, page, url):
        self.page = page
        self.url = url
        self.errors = []
        page.set_default_timeout(LIMIT)
        page.on('pageerror', lambda error: self.errors.append(str(error)))

    def log_in(self, user, password):
        page = self.page
        page.goto(self.url)
        # the dialog takes no log-in before it knows the databases
        page.wait_for_load_state('networkidle')
        page.fill('input#login', user)
        page.keyboard.press('Enter')
        page.fill('input[type=password]:visible', password)
        page.keyboard.press('Enter')
        page.locator('#menu').get_by_text('Health', exact=True).wait_for()

    def menu(self, *path):
        "Open the menu entry at the end of the path"
        # what was open at the last log-in is open again
        for name, below in zip(path, path[1:]):
            if not self._menu_row(below).is_visible():
                self._menu_row(name).locator(
                    '[class*=expander]').first.click()
                self._menu_row(below).wait_for()
        # one click opens: the second of a double click opens it once more
        self._menu_row(path[-1]).click()

    def _menu_row(self, name):
        return self.page.locator('#menu tr:visible').filter(
            has=self.page.get_by_text(name, exact=True)).first

    def open(self, model, id_):
        "Open a record by its address"
        page = self.page
        # from elsewhere, since a change of the fragment alone loads nothing
        page.goto('about:blank')
        page.goto(f'{self.url}/model/{model}/{id_}')
        page.locator('.tab-form .form-container:visible').first.wait_for()

    def many2one(self, within, name, text):
        "Type into a field and take the first proposal"
        field = self._propose(within, name, text)
        expect(field).to_have_value(re.compile(re.escape(text)))

    def many2many(self, within, name, text):
        "Type into a field of several and take the first proposal"
        self._propose(within, name, text)
        within.locator('.treeview tr').filter(has_text=text).wait_for()

    def _propose(self, within, name, text):
        field = within.locator(f'input[name="{name}"]')
        field.click()
        field.press_sequentially(text)
        self.page.locator('.dropdown-menu:visible li').filter(
            has_text=text).first.click()
        return field

    def screenshot(self, path):
        self.page.wait_for_load_state('networkidle')
        self.page.screenshot(path=path)


def wait_for_picture(page, levels=60):
    """Wait until the viewer's canvas shows a picture, and return its gray
    levels: a black or an empty canvas has a handful of them."""
    canvas = page.locator('.cornerstone-canvas').first
    canvas.wait_for(timeout=60_000)
    found = 0
    for _ in range(60):
        image = Image.open(io.BytesIO(canvas.screenshot())).convert('L')
        found = len(image.getcolors())
        if found >= levels:
            break
        page.wait_for_timeout(500)
    return found
