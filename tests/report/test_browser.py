import os
import shutil

import pytest

from tdro.cleaning.inspection import inspect
from tdro.report.comparison import write_comparison
from tdro.report.inspection import render
from tdro.report.page import write_report
from tests.report.conftest import HOSTILE, RETRIEVERS, make_comparison, make_run
from tests.tasks.helpers import row, source, write_jsonl

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DRAWN = """
const figures = [...document.querySelectorAll('.figure')];
return figures.length > 0 && figures.every((figure) => figure.querySelector('svg.main-svg'));
"""
# plotly skips hovers that follow each other too fast.
HOVER = """
const [figure, curve, point, done] = arguments;
Plotly.Fx.hover(figure, [{curveNumber: curve, pointNumber: point}]);
setTimeout(() => {
  const text = document.querySelector(`#${figure} .hoverlayer .nums`);
  done(text.querySelector("tspan").textContent);
}, 150);
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        if os.environ.get("CI") == "true":
            pytest.fail("chromium and chromedriver must be installed on CI")
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(make_run(tmp_path_factory.mktemp("report") / "run"))


def show(browser, path, width, height=900):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda driver: driver.execute_script(DRAWN))


def severe(browser):
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_page_draws_and_does_no_harm(browser, report):
    from selenium.common.exceptions import NoAlertPresentException

    show(browser, report, 1280)
    assert severe(browser) == []
    assert len(browser.find_elements("css selector", ".figure")) == 3
    assert browser.find_elements("css selector", "img") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert
    cells = browser.execute_script(
        "return [...document.querySelectorAll('th')].map((cell) => cell.textContent)"
    )
    assert {*HOSTILE, *RETRIEVERS} <= set(cells)


def test_labels_and_hovers_show_names_as_they_are(browser, report):
    show(browser, report, 1280)
    ticks = browser.execute_script(
        "return [...document.querySelectorAll('#mixture-figure .ytick text')]"
        ".map((text) => text.textContent)"
    )
    assert len(ticks) == 12
    assert "</script><img …ert(1)>" in ticks
    for figure, curve in (("mixture-figure", 0), ("loss-figure", 1)):
        seen = {browser.execute_async_script(HOVER, figure, curve, point) for point in range(12)}
        assert set(HOSTILE) <= seen
    assert browser.find_elements("css selector", "img") == []
    assert severe(browser) == []


@pytest.mark.parametrize("width", [390, 768])
def test_page_never_scrolls_sideways(browser, report, width):
    show(browser, report, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    used, there = browser.execute_script(
        "return [document.scrollingElement.scrollWidth, innerWidth]"
    )
    assert used <= there == width
    widest = browser.execute_script(
        "return Math.max(...[...document.querySelectorAll('svg.main-svg')]"
        ".map((svg) => svg.getBoundingClientRect().right))"
    )
    assert widest <= width
    section = browser.find_element("css selector", "#diagnosis")
    assert len(section.find_elements("css selector", ".warnings li")) == 2
    assert len(section.find_elements("css selector", "tbody tr")) == 12
    box = section.find_element("css selector", ".scroll")
    assert box.rect["x"] + box.rect["width"] <= width
    if width == 390:
        assert browser.execute_script(
            "arguments[0].scrollLeft = 9999; return arguments[0].scrollLeft > 0", box
        ), "what does not fit is reached by scrolling the table alone"


def test_a_warning_about_a_long_name_fits_a_phone(browser, tmp_path):
    path = write_report(make_run(tmp_path / "run", tasks=("x" * 120, "b", "c")))
    show(browser, path, 390)
    warnings = browser.find_elements("css selector", "#diagnosis .warnings li")
    assert any("x" * 120 in warning.text.replace("\n", "") for warning in warnings)
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 390


def test_figures_follow_the_window(browser, report):
    show(browser, report, 1280)
    from selenium.webdriver.support.ui import WebDriverWait

    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 500, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    WebDriverWait(browser, 10).until(
        lambda driver: driver.execute_script(
            "return document.querySelector('svg.main-svg').getBoundingClientRect().right <= 500"
        )
    )


def test_five_hundred_tasks(browser, tmp_path):
    tasks = tuple(f"task {number}" for number in range(500))
    path = write_report(make_run(tmp_path / "run", tasks=tasks, steps=30))
    show(browser, path, 390)
    assert severe(browser) == []
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 390
    assert browser.execute_script("return document.scrollingElement.scrollHeight") < 9000
    legend = browser.find_elements("css selector", "#trajectory .legend li")
    assert len(legend) == 12, "ten tasks, the others, uniform"


def test_an_unfinished_run(browser, tmp_path):
    run = make_run(tmp_path / "run", tasks=("a", "b"), steps=1)
    for name in ("scores.parquet", "mixture/last.json", "mixture/mean.json", "mixture/ema.json"):
        (run / name).unlink()
    show(browser, write_report(run), 390)
    assert severe(browser) == []
    assert len(browser.find_elements("css selector", ".missing")) == 2


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_a_comparison_draws_its_curves(browser, tmp_path, width):
    names = ("uniform", HOSTILE[1], HOSTILE[5])
    folder = make_comparison(tmp_path / "found", names, HOSTILE)
    show(browser, write_comparison(folder)[1], width)
    assert severe(browser) == []
    assert len(browser.find_elements("css selector", ".figure")) == 3
    assert browser.find_elements("css selector", "img") == []
    lines = browser.execute_script(
        "return document.querySelectorAll('#curve-holdout .scatterlayer .trace').length"
    )
    assert lines == len(names)
    seen = {
        browser.execute_async_script(HOVER, "curve-holdout", curve, 0)
        for curve in range(len(names))
    }
    assert set(names) == seen
    used = browser.execute_script("return document.scrollingElement.scrollWidth")
    assert used <= width


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    """Tasks with hostile names and texts, the first of which lies in the second."""
    folder = tmp_path_factory.mktemp("tasks")
    tasks = []
    for number, name in enumerate(HOSTILE):
        rows = [row(f"query {number} {n} {name}", f"passage {n} {name}") for n in range(5)]
        if number == 0:
            rows = [row(f"query 1 {n} {HOSTILE[1]}", f"{n} {name}") for n in range(2)]
        tasks.append(source(write_jsonl(folder / f"{number}.jsonl", rows), name=name))
    path = folder / "page.html"
    path.write_text(render(HOSTILE[0], inspect(tasks)), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_of_tasks_draws_and_does_no_harm(browser, inspection, width):
    from selenium.common.exceptions import NoAlertPresentException

    show(browser, inspection, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert severe(browser) == []
    assert len(browser.find_elements("css selector", ".figure")) == 3
    assert browser.find_elements("css selector", "img") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    with pytest.raises(NoAlertPresentException):
        _ = browser.switch_to.alert
    for element in ("#sizes th", "summary"):
        texts = browser.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)",
            element,
        )
        assert set(HOSTILE) <= set(texts)
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= width


def test_the_matrix_of_tasks_shows_shares_and_names_as_they_are(browser, inspection):
    show(browser, inspection, 1280)
    drawn = browser.execute_script(
        "const data = document.getElementById('overlap').data[0];"
        "return [data.z[0][1], data.z[1][0], data.z.length]"
    )
    assert drawn == [1, 2 / 5, len(HOSTILE)]
    seen = {
        browser.execute_async_script(HOVER, "query-lengths", 2, place)
        for place in range(len(HOSTILE))
    }
    assert set(HOSTILE) <= seen
    assert severe(browser) == []
