"""The report in a real browser: it loads, fits, answers the pointer and the keyboard, and runs nothing it was fed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boundary_artefacts import artefact, results_with_boundaries
from layer_files import layers, results_with_layers, row
from look_files import results_with_looks
from PIL import Image
from synthetic_study import BASE, DROPOUT, Behaviour, dropout_study, make_results

from assay.metrics.catalogue import CATALOGUE
from assay.reports import words, write
from assay.studies.design import Study
from assay.studies.results import StudyResults

pytestmark = pytest.mark.browser

HOSTILE = [
    "</script><img src=x onerror=\"document.title='owned'\">",
    "\"'><svg onload=\"document.title='owned'\">",
    "{{ 7 * 7 }} {% raw %} ${document.title='owned'}",
    "عربي \u05e2\u05d1\u05e8\u05d9\u05ea mixed",
    "😀 " + "long" * 70,
]
FILM = {
    "slow": artefact(epochs=(0, 1, 4, 9), radius=(0.2, 0.3, 0.5, 0.6)),
    "quick": artefact(epochs=(0, 2, 9), radius=(0.1, 0.6, 0.8)),
    "at once": artefact(epochs=(1,), kind="decisions"),
}
PHONE, DESKTOP = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Chromium and chromedriver on the PATH")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    yield window
    window.quit()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Callable[..., Any]:
    def open_page(results: StudyResults, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> Any:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        browser.get(write(results, tmp_path).as_uri())
        return browser

    return open_page


def hostile_results() -> StudyResults:
    arms: dict[str, Any] = {name: {"model.dropout": 0.1 * number} for number, name in enumerate(HOSTILE)}
    claims = [{"arm": name, "beats": HOSTILE[0], "metric": "val_accuracy"} for name in HOSTILE[1:]]
    study = Study(question=HOSTILE[0], base=BASE, arms=arms, claims=claims, margin={"val_accuracy": 0.01})
    classes = [*HOSTILE, "</title>", "<!--", "]]>", "&lt;", "\\"]
    return make_results(study, seeds=3, classes=classes, evaluated=True)


def exploded_results() -> StudyResults:
    return make_results(dropout_study(), {"plain": Behaviour(overfit=1e14), "dropout 0.5": Behaviour(overfit=3e13)})


def complaints(page: Any) -> list[str]:
    return [entry["message"] for entry in page.get_log("browser")]


def test_a_page_opens_from_disk_without_a_complaint(opened: Callable[..., Any]) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True))
    assert page.title == "Does dropout help a small MLP on handwritten digits?"
    assert complaints(page) == []
    # The style sheet was admitted by the policy, and so was the script.
    assert page.execute_script("return getComputedStyle(document.querySelector('.claim')).display") == "grid"
    assert page.execute_script("return document.getElementById('theme').hidden") is False


def test_the_policy_refuses_what_is_injected(opened: Callable[..., Any]) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True))
    page.execute_script(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=1\">');"
        "const s = document.createElement('script'); s.textContent = 'document.title = 2'; document.body.append(s);"
    )
    messages = complaints(page)
    assert page.title.startswith("Does dropout")
    assert any("Content Security Policy" in message for message in messages)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize(
    "results",
    [
        lambda: make_results(dropout_study(), DROPOUT, evaluated=True),
        hostile_results,
        exploded_results,
        lambda: results_with_boundaries(FILM),
        lambda: results_with_boundaries({name: artefact() for name in HOSTILE}, classes=HOSTILE),
        lambda: results_with_layers({name: layers(rows=[row(name=name[:200], kind=name[:200])]) for name in HOSTILE}),
        lambda: results_with_looks(HOSTILE, classes=HOSTILE, layers=[name[:200] for name in HOSTILE], seeds=1),
    ],
)
def test_nothing_overflows_sideways(
    opened: Callable[..., Any], results: Callable[[], StudyResults], size: tuple[int, int]
) -> None:
    page = opened(results(), size)
    page.execute_script("for (const fold of document.querySelectorAll('details')) fold.open = true")
    width, inner = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert inner == size[0]
    assert width <= inner


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_arm_names_stay_in_their_cells_and_break_between_words(
    opened: Callable[..., Any], size: tuple[int, int]
) -> None:
    grid = {"optimizer.lr": [0.0001, 0.1], "train.batch_size": [32, 128], "model.activation": ["relu", "tanh"]}
    page = opened(make_results(dropout_study(arms={}, grid=grid, claims=[]), seeds=3), size)
    names = page.execute_script(
        "return [...document.querySelectorAll('table.arms tbody bdi')].map(bdi => {"
        "  const range = document.createRange(); range.selectNodeContents(bdi);"
        "  const cell = bdi.closest('th, td').getBoundingClientRect(), name = bdi.getBoundingClientRect();"
        "  return [bdi.textContent, cell.right - name.right,"
        "          new Set([...range.getClientRects()].map(line => Math.round(line.top))).size]})"
    )
    assert len(names) == 8 * 4
    for text, room, lines in names:
        assert room >= 0, text
        assert lines <= len(text.split()), text


def test_hostile_names_are_shown_and_not_run(opened: Callable[..., Any]) -> None:
    page = opened(hostile_results())
    assert page.title == HOSTILE[0]
    assert complaints(page) == []
    names = page.execute_script(
        "return [...document.querySelectorAll('table.arms tbody th')].map(th => th.textContent)"
    )
    assert names == HOSTILE
    assert page.execute_script("return document.images.length") == 0
    text = hover(page, page.find_element("css selector", "figure[data-chart] .area"))
    assert HOSTILE[0] in text
    assert page.title == HOSTILE[0]


def hover(page: Any, element: Any) -> str:
    from selenium.webdriver import ActionChains

    page.execute_script(
        "document.documentElement.style.scrollBehavior = 'auto'; arguments[0].scrollIntoView({block: 'center'})",
        element,
    )
    page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    ActionChains(page).move_to_element(element).perform()
    tip = page.find_element("id", "tip")
    assert tip.is_displayed()
    return str(tip.text)


def test_pointing_at_a_curve_reads_every_arm(opened: Callable[..., Any]) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, seeds=5))
    text = hover(page, page.find_element("css selector", "figure[data-chart] .area"))
    assert text.startswith("Epoch 2")  # the middle of 40
    for arm in DROPOUT:
        assert arm in text
    assert text.count("n = 5") == 4
    assert "±" in text


def test_pointing_at_a_dot_names_seed_and_run(opened: Callable[..., Any]) -> None:
    results = make_results(dropout_study(), {"plain": Behaviour(spread=0.02)}, seeds=3)
    page = opened(results)
    dots = page.find_elements("css selector", ".distribution .dots .dot")[:3]
    texts = {hover(page, dot) for dot in dots}
    for seed, run in results.runs["plain"].items():
        value = run.record.metrics["val_accuracy"]
        assert value is not None
        assert any(
            f"seed {seed}: {words.value(CATALOGUE['val_accuracy'], value, value / 100)} " in text
            and run.fingerprint[:12] in text
            for text in texts
        ), (seed, value, texts)


def test_arrow_keys_read_epochs_seeds_and_cells(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True))
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    tip = page.find_element("id", "tip")

    def keys(selector: str, *pressed: str) -> str:
        chart = page.find_element("css selector", selector)
        page.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].focus()", chart)
        page.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        for key in pressed:
            chart.send_keys(key)
        return str(tip.text)

    assert keys("figure[data-chart] .area", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).startswith("Epoch 2\n")
    assert keys("figure[data-chart] .area", Keys.END).startswith("Epoch 40\n")
    assert "seed" in keys("svg.dots", Keys.ARROW_RIGHT)
    assert keys("svg.matrix", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).startswith("0 taken for 1:")
    assert keys("svg.matrix", Keys.ARROW_DOWN).startswith("1 taken for 1:")
    keys("svg.matrix", Keys.ESCAPE)
    assert not tip.is_displayed()


def test_cells_of_a_large_matrix_can_be_read(opened: Callable[..., Any]) -> None:
    study = dropout_study(arms={"plain": {}}, claims=[])
    page = opened(make_results(study, seeds=2, classes=[f"class {i}" for i in range(30)], examples=600))
    text = hover(page, page.find_element("css selector", "svg.matrix .frame"))
    assert text.startswith("class 1")
    assert " taken for class 1" in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_reader_and_the_toggle(opened: Callable[..., Any], scheme: str) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True), scheme=scheme)

    def is_dark() -> bool:
        colour = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        return int(colour.removeprefix("rgb(").partition(",")[0]) < 128

    assert is_dark() == (scheme == "dark")
    page.find_element("id", "theme").click()
    assert is_dark() == (scheme == "light")
    page.find_element("id", "theme").click()
    assert is_dark() == (scheme == "dark")


def test_folds_open_and_keys_pick_an_arm(opened: Callable[..., Any]) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True))
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    table = page.find_element("css selector", "table.runs")
    assert not table.is_displayed()
    page.find_element("css selector", "#runs > summary").click()
    assert table.is_displayed()
    page.find_element("css selector", "#runs > summary").click()
    assert not table.is_displayed()
    page.find_element("css selector", "a[href='#runs']").click()
    assert table.is_displayed()
    key = page.find_element("css selector", ".key[data-arm='1']")
    key.click()
    assert key.get_attribute("aria-pressed") == "true"
    faded = page.execute_script(
        "return [...document.querySelectorAll('#curves path.line')]"
        ".map(path => [path.dataset.arm, getComputedStyle(path).opacity])"
    )
    assert {arm for arm, opacity in faded if opacity == "1"} == {"1"}
    key.click()
    assert key.get_attribute("aria-pressed") == "false"


def test_print_shows_what_is_folded_and_prints_on_white(opened: Callable[..., Any]) -> None:
    page = opened(make_results(dropout_study(), DROPOUT, evaluated=True), scheme="dark")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert page.execute_script("return document.querySelector('table.runs').checkVisibility()")
        assert not page.find_element("id", "theme").is_displayed()
        assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert not page.execute_script("return document.querySelector('table.runs').checkVisibility()")


# --- the decision boundary by epoch -----------------------------------------------------------------------------------


def drawn(page: Any) -> list[tuple[str, str]]:
    """Of each panel, its line and what stands below it."""
    found = page.execute_script(
        "return [...document.querySelectorAll('figure.boundary')].map(figure => "
        "[figure.querySelector('.decision').getAttribute('d'), figure.querySelector('.now').textContent])"
    )
    return [(line, text.replace("\N{NO-BREAK SPACE}", " ")) for line, text in found]


def slide(page: Any, *keys: str) -> list[tuple[str, str]]:
    slider = page.find_element("id", "film-epoch")
    page.execute_script("arguments[0].focus()", slider)
    for key in keys:
        slider.send_keys(key)
    return drawn(page)


def test_the_keyboard_moves_all_boundaries_through_the_epochs(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(results_with_boundaries(FILM))
    slider, now = page.find_element("id", "film-epoch"), page.find_element("id", "film-now")
    assert slider.accessible_name == "Epoch"
    at_last = drawn(page)
    assert [text.partition(":")[0] for _, text in at_last] == ["epoch 9", "epoch 9", "fitted at once"]
    assert (now.text, slider.get_attribute("aria-valuetext")) == ("9", "epoch 9")
    at_first = slide(page, Keys.HOME)
    assert [text.partition(",")[0] for _, text in at_first][:2] == ["epoch 0: training 50.0 %"] * 2
    assert (now.text, slider.get_attribute("aria-valuetext")) == ("0", "epoch 0")
    assert [line == last for (line, _), (last, _) in zip(at_first, at_last, strict=True)] == [False, False, True]
    one, two = slide(page, Keys.ARROW_RIGHT), slide(page, Keys.ARROW_RIGHT)
    # A panel without a frame of that epoch keeps the one before.
    assert [text.partition(":")[0] for _, text in one][:2] == ["epoch 1", "epoch 0"]
    assert [text.partition(":")[0] for _, text in two][:2] == ["epoch 1", "epoch 2"]
    assert (now.text, slider.get_attribute("aria-valuetext")) == ("2", "epoch 2")
    assert one[0] == two[0] != at_first[0]
    assert one[1] == at_first[1] != two[1]
    assert slide(page, Keys.END) == at_last
    assert complaints(page) == []


def test_shades_move_with_their_line(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(results_with_boundaries(FILM))

    def widths() -> list[float]:
        return list(
            page.execute_script(
                "return [...document.querySelectorAll('figure.boundary')].slice(0, 2).map(figure => "
                "figure.querySelector('.shade.a2').getBBox().width / 600)"
            )
        )

    assert widths() == pytest.approx([0.6, 0.8], abs=0.02)
    slide(page, Keys.HOME)
    assert widths() == pytest.approx([0.2, 0.1], abs=0.02)
    line, halo = page.execute_script(
        "return [...document.querySelectorAll('figure.boundary')[0].querySelectorAll('.decision')].map(p => "
        "p.getAttribute('d'))"
    )
    assert line == halo


def test_playing_goes_through_the_epochs_once_and_can_be_paused(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    page = opened(results_with_boundaries(FILM))
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    at_last = drawn(page)
    play, now = page.find_element("id", "film-play"), page.find_element("id", "film-now")
    play.click()
    assert play.text == "Pause"
    assert drawn(page) != at_last
    WebDriverWait(page, 10).until(lambda _: play.text == "Play")
    assert now.text == "9"
    assert drawn(page) == at_last
    play.click()
    play.click()
    paused = now.text
    assert play.text == "Play"
    page.execute_async_script("setTimeout(arguments[0], 600)")
    assert now.text == paused != "9"


def test_a_page_without_script_shows_the_last_epoch(opened: Callable[..., Any]) -> None:
    page = opened(results_with_boundaries(FILM))
    with_script = drawn(page)
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.refresh()
        assert not page.find_element("id", "film-epoch").is_displayed()
        texts = [element.text for element in page.find_elements("css selector", "figure.boundary .now")]
        lines = [element.get_attribute("d") for element in page.find_elements("css selector", "figure.boundary .halo")]
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts] == [text for _, text in with_script]
    assert lines == [line for line, _ in with_script]


def test_printing_shows_the_last_epoch_and_then_what_was_there(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(results_with_boundaries(FILM))
    at_last = drawn(page)
    at_first = slide(page, Keys.HOME)
    page.execute_script(
        "addEventListener('beforeprint', () => { window.printed = "
        "[...document.querySelectorAll('figure.boundary .decision')].map(path => path.getAttribute('d')) })"
    )
    page.execute_cdp_cmd("Page.printToPDF", {})
    printed = page.execute_script("return window.printed")
    assert printed[::2] == [line for line, _ in at_last]
    assert drawn(page) == at_first
    assert page.find_element("id", "film-now").text == "0"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not page.find_element("id", "film-epoch").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_hostile_class_names_are_shown_and_not_run(opened: Callable[..., Any]) -> None:
    from selenium.webdriver.common.keys import Keys

    page = opened(results_with_boundaries({name: artefact() for name in HOSTILE}, classes=HOSTILE))
    slide(page, Keys.HOME, Keys.ARROW_RIGHT)
    assert page.title == "Where does the line run?"
    assert complaints(page) == []
    shown = page.execute_script("return [...document.querySelectorAll('.legend.classes bdi')].map(e => e.textContent)")
    assert shown == HOSTILE


# --- the closer look --------------------------------------------------------------------------------------------------


def test_thumbnails_are_parts_of_their_sheet(opened: Callable[..., Any]) -> None:
    page = opened(results_with_looks(["plain", "other"]))
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    folds = page.find_elements("css selector", "#looking details")
    assert [fold.get_attribute("open") for fold in folds] == [None] * 4
    page.execute_script("for (const fold of arguments[0]) fold.open = true", folds)
    thumbs = page.find_elements("css selector", "#looking .look:nth-of-type(2) .thumb")[:3]
    seen = []
    for thumb in thumbs:
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", thumb)
        with Image.open(io.BytesIO(thumb.screenshot_as_png)) as image:
            assert image.size == (96, 96)
            assert len(image.convert("RGB").getcolors(96 * 96) or []) > 100  # noise, and not paper
            seen.append(image.convert("RGB").tobytes())
    assert len(set(seen)) == 3
    assert complaints(page) == []


def test_hostile_names_of_classes_and_layers_are_shown_and_not_run(opened: Callable[..., Any]) -> None:
    page = opened(results_with_looks(HOSTILE, classes=HOSTILE, layers=[name[:200] for name in HOSTILE], seeds=1))
    page.execute_script("for (const fold of document.querySelectorAll('#looking details')) fold.open = true")
    assert page.title == "looks"
    assert complaints(page) == []
    shown = page.execute_script(
        "return [...document.querySelectorAll('#looking tbody bdi')].map(bdi => bdi.textContent)"
    )
    assert shown == [name[:200] for name in HOSTILE]
