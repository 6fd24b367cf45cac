"""Records a session with Debian's Chromium as a HAR file. Usage: record.py SCENARIO URL FILE."""

import sys

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def shop(page, url):
    """The demo shop: sign in, search, open a product, put it into the cart."""
    page.goto(f"{url}/login")
    page.fill("form#login input[name=user]", "synthetic-member")
    page.fill("form#login input[name=password]", "demo-password")
    page.click("form#login button")
    page.wait_for_url("**/account")
    page.goto(f"{url}/search?q=mug")
    page.click("ul.results li a")
    page.wait_for_url("**/products/**")
    page.click("form button")
    page.wait_for_url("**/cart")
    page.evaluate(
        "fetch('/api/orders', {method: 'POST', headers: {'Content-Type': 'application/json'},"
        " body: JSON.stringify({sku: 'mug-01', quantity: 1})}).then(r => r.json())"
        ".then(r => fetch('/api/orders/' + r.order.id)).then(r => r.json())"
    )


def django(page, url):
    """The Django site: sign in, save a note, star it."""
    page.goto(f"{url}/notes/")
    page.fill("input[name=username]", "alice")
    page.fill("input[name=password]", "in-wonderland-42")
    page.click("button")
    page.wait_for_url("**/notes/")
    page.fill("input[name=text]", "buy a mug")
    page.click("button")
    page.wait_for_url("**/notes/*/")
    page.click("#star")
    page.wait_for_function("document.title == 'starred'")


scenario, url, file = sys.argv[1:4]
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
    context = browser.new_context(record_har_path=file, record_har_content="embed")
    {"shop": shop, "django": django}[scenario](context.new_page(), url)
    context.close()
    browser.close()
