"""The page, in a real Chromium; the model is a fake. Screenshots are kept in out/page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import soundfile

from speech.contract import ModelInfo
from speech.models.spec import CHATTERBOX
from tests.fakes import FAKE_REVISION, FakeSynthesizer
from tests.job_server import REPOSITORY
from tests.recordings import silence, speech_like, wav_bytes
from tests.serving.http_server import KEY, http_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = REPOSITORY / "out" / "page"
WAIT_MS = 60_000
PROGRESS = "document.getElementById('progress').dataset"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium, whose microphone hears the sample."""
    if CHROMIUM is None:
        if os.environ.get("BROWSER_REQUIRED"):
            pytest.fail("Chromium is not installed: make browser")
        pytest.skip("Chromium is not installed: make browser")
    from playwright.sync_api import sync_playwright

    speech = tmp_path_factory.mktemp("microphone") / "speech.wav"
    soundfile.write(speech, *soundfile.read(REPOSITORY / "samples" / "reference.flac"), subtype="PCM_16")
    microphone = f"--use-file-for-fake-audio-capture={speech}"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, microphone])
        yield found
        found.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(accept_downloads=True)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.errors = []
    page.hosts = set()
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
    yield page
    context.close()


class Waiting(FakeSynthesizer):
    """Makes its second chunk of text, and those after it, once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()

    def _chunks(self, utterances, cancel):
        for chunk in super()._chunks(utterances, cancel):
            if chunk.index == 1:
                self._wait_for(self.may_go_on, cancel)
            yield chunk


def wait_for(page, expression: str) -> None:
    """Waits until an expression is true; the page's policy keeps Playwright's own function from that."""
    for _ in range(6_000):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"{expression} never came true; {page.locator('#error').inner_text()}")


def open_page(page, served) -> None:
    page.goto(served.address)
    page.get_by_text("ready", exact=True).wait_for()
    wait_for(page, "document.getElementById('voice').options.length > 0")


def screenshot(page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def test_a_voice_is_cloned_and_speaks_before_the_speech_is_complete(page, tmp_path):
    recording = tmp_path / "recording.wav"
    recording.write_bytes(wav_bytes(speech_like(6.0, 24_000, 1), 24_000))
    synthesizer = Waiting()
    with http_server(tmp_path, synthesizer) as served:
        open_page(page, served)
        page.get_by_label("Name of the voice").fill("张伟 <b>Anna")
        other = tmp_path / "other.wav"
        other.write_bytes(wav_bytes(speech_like(7.0, 24_000, 1), 24_000))
        page.get_by_label("Recording").set_input_files([recording, other])
        page.get_by_label("The person agreed to this.").check()
        page.get_by_role("button", name="Clone", exact=True).click()
        page.get_by_text("is there.").wait_for()
        assert not page.get_by_label("Key", exact=True).is_visible()
        assert page.locator("#voice option:checked").inner_text() == "张伟 <b>Anna"
        assert "Signal to noise" in page.locator("#quality").inner_text()
        (voice,) = httpx.get(f"{served.address}/v1/audio/voices").json()["voices"]
        stored = httpx.post(f"{served.address}/jobs/get_voice", json={"voice_id": voice["id"]}).json()
        assert stored["voice"]["duration"] > 12  # both recordings

        page.get_by_label("Text").fill("The first sentence is here. The second one waits. So does the third.")
        page.get_by_role("button", name="Speak", exact=True).click()
        wait_for(page, f"+{PROGRESS}.played > 0.5")
        assert page.locator("#progress").get_attribute("data-state") == "speaking"
        assert page.locator("#segments li").count() == 1
        assert not synthesizer.may_go_on.is_set()
        screenshot(page, "speaking")
        synthesizer.may_go_on.set()
        page.locator("#progress[data-state=done]").wait_for()
        assert page.locator("#segments li").count() == 3
        wait_for(page, f"+{PROGRESS}.played > {PROGRESS}.made - 0.2")
        receipt = json.loads(page.locator("#receipt").text_content())
        assert receipt["voice"]["voice_name"] == "张伟 <b>Anna"
        made_s = float(page.locator("#progress").get_attribute("data-made"))
        assert made_s == pytest.approx(receipt["duration"], abs=0.01)
        assert "curl http://127.0.0.1" in page.locator("#curl").text_content()
        for format in ("wav", "mp3"):
            page.get_by_label("Download as").select_option(format)
            with page.expect_download() as downloading:
                page.get_by_role("button", name="Download").click()
            assert downloading.value.suggested_filename == f"speech.{format}"
            assert Path(downloading.value.path()).stat().st_size > 10_000
        screenshot(page, "done")
    assert page.errors == []
    assert page.hosts == {served.address.removeprefix("http://")}


def test_speech_that_is_stopped_ends_the_job(page, tmp_path):
    synthesizer = Waiting()
    with http_server(tmp_path, synthesizer) as served:
        open_page(page, served)
        page.get_by_role("button", name="Speak", exact=True).click()
        wait_for(page, f"+{PROGRESS}.made > 0.5")
        page.get_by_role("button", name="Stop").click()
        page.locator("#progress[data-state=stopped]").wait_for()
        for _ in range(6_000):
            if served.gate.device.jobs == 0:
                break
            page.wait_for_timeout(10)
        assert served.gate.device.jobs == 0
    assert page.errors == []


def test_an_error_is_shown_in_its_words(page, tmp_path):
    with http_server(tmp_path) as served:
        open_page(page, served)
        page.get_by_label("Text").fill("...")
        page.get_by_role("button", name="Speak", exact=True).click()
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert "text has nothing in it to say" in alert.inner_text()
        screenshot(page, "error")


def test_a_key_is_asked_for_and_kept_for_the_tab_alone(page, tmp_path):
    with http_server(tmp_path, env={"API_KEY": KEY}) as served:
        page.goto(served.address)
        field = page.get_by_label("Key", exact=True)
        field.wait_for()
        field.fill(KEY)
        page.get_by_role("button", name="Use this key").click()
        wait_for(page, "document.getElementById('voice').options.length > 0")
        page.get_by_role("button", name="Speak", exact=True).click()
        page.locator("#progress[data-state=done]").wait_for()
        assert KEY not in page.url
        assert KEY not in page.content()
        assert page.evaluate("localStorage.length") == 0


def test_a_voice_is_cloned_from_the_microphone(page, tmp_path):
    with http_server(tmp_path) as served:
        open_page(page, served)
        page.get_by_label("Name of the voice").fill("Microphone")
        page.get_by_role("button", name="Record", exact=True).click()
        page.get_by_text("recording …").wait_for()
        page.wait_for_timeout(4_000)  # of speech
        page.get_by_role("button", name="Stop recording").click()
        page.get_by_text("recorded,").wait_for()
        page.get_by_label("The person agreed to this.").check()
        page.get_by_role("button", name="Clone", exact=True).click()
        page.get_by_text("Microphone is there.").wait_for()
        assert page.locator("#quality").is_visible()
        (voice,) = served.worker.services().voices.list()
        assert voice["speaker_name"] == "Microphone"
        assert voice["duration"] > 2


def test_speech_is_converted_to_a_voice_and_checked_for_the_watermark(page, tmp_path):
    speech = tmp_path / "speech.wav"
    speech.write_bytes(wav_bytes(speech_like(6.0, 24_000, 1), 24_000))
    silent = tmp_path / "silent.wav"
    silent.write_bytes(wav_bytes(silence(6.0), 24_000))
    synthesizer = FakeSynthesizer()
    with http_server(tmp_path, synthesizer) as served:
        sent = {"reference_audio": base64.b64encode(speech.read_bytes()).decode(), "voice_name": "Ada"}
        httpx.post(f"{served.address}/jobs/clone_voice", json={**sent, "preview": False}).raise_for_status()
        open_page(page, served)
        convert = page.get_by_role("button", name="Convert", exact=True)
        convert.click()
        page.get_by_text("choose a file with speech").wait_for()
        page.get_by_label("File", exact=True).set_input_files(speech)
        page.get_by_label("Converted to").select_option("Ada")
        convert.click()
        page.get_by_text("converted", exact=True).wait_for()
        assert not page.locator("#error").is_visible()
        wait_for(page, "document.getElementById('conversion').duration > 5")
        page.get_by_role("button", name="Check the watermark").click()
        page.get_by_text("It is watermarked, confidence 0.75.").wait_for()
        assert not page.locator("#conversion").is_visible()
        page.get_by_label("File", exact=True).set_input_files(silent)
        convert.click()
        page.get_by_text("source_audio is silent").wait_for()
        assert page.locator("#converted").inner_text() == ""
    assert len(synthesizer.converted) == 1
    assert page.errors == []


class Seams(FakeSynthesizer):
    """Warns of each piece of a conversion."""

    def convert(self, recording, voice, seed, cancel):
        for chunk in super().convert(recording, voice, seed, cancel):
            yield replace(chunk, warnings=(f"segment {chunk.index + 1} ends in <b>speech",))


def test_the_warnings_of_a_conversion_are_shown_those_of_its_end_too(page, tmp_path):
    speech = tmp_path / "speech.wav"
    speech.write_bytes(wav_bytes(speech_like(31.0, 24_000, 1), 24_000))
    with http_server(tmp_path, Seams()) as served:
        open_page(page, served)
        page.get_by_label("File", exact=True).set_input_files(speech)
        page.get_by_role("button", name="Convert", exact=True).click()
        page.get_by_text("converted", exact=True).wait_for()
        shown = page.locator("#conversion-warnings dd")
        assert shown.all_inner_texts() == [f"segment {number} ends in <b>speech" for number in (1, 2)]
        wait_for(page, "document.getElementById('conversion').duration > 30")
        screenshot(page, "conversion")
        page.get_by_role("button", name="Check the watermark").click()
        page.get_by_text("It is watermarked, confidence 0.75.").wait_for()
        assert shown.count() == 0
    assert page.errors == []


def test_what_a_text_may_hold_is_said_beside_it(page, tmp_path):
    with http_server(tmp_path) as served:
        open_page(page, served)
        page.get_by_text("What a text may hold").click()
        assert page.get_by_text("An empty line makes a longer pause.").is_visible()
        page.get_by_label("Text").fill("One [laugh] two.")
        page.get_by_role("button", name="Speak", exact=True).click()
        wait_for(page, f"{PROGRESS}.state === 'done'")
        page.get_by_text("Receipt").click()
        receipt = json.loads(page.locator("#receipt").inner_text())
        assert receipt["warnings"] == ["the chatterbox model does not know event tags: left out [laugh]"]


def test_tags_in_a_text_are_pauses_and_voices(page, tmp_path):
    with http_server(tmp_path) as served:
        sample = {"audio_sample": ("a.wav", wav_bytes(speech_like(6.0, 24_000, 1), 24_000), "audio/wav")}
        httpx.post(f"{served.address}/v1/audio/voices", data={"name": "Ann"}, files=sample, timeout=60)
        open_page(page, served)
        page.get_by_label("Text").fill("[voice:Ann] One [pause:1s] two. [voice:] It is 9:30.")
        page.get_by_role("button", name="Speak", exact=True).click()
        wait_for(page, f"{PROGRESS}.state === 'done'")
        receipt = json.loads(page.locator("#receipt").text_content())
        first, second, third = receipt["segments"]
        assert second["start"] - first["end"] == pytest.approx(1.0, abs=0.002)
        assert [first["voice"], second["voice"], third["voice"]] == ["Ann", "Ann", None]
        shown = page.locator("#segments li").all_inner_texts()
        assert [line.partition(": ")[2] for line in shown] == ["One", "two", "It is 9:30"]
        page.get_by_label("Text").fill("One [pause:99s] two.")
        page.get_by_role("button", name="Speak", exact=True).click()
        alert = page.get_by_role("alert")
        alert.wait_for()
        assert "[pause:99s]" in alert.inner_text()
    assert page.errors == []


def test_model_and_language_are_chosen(page, tmp_path):
    german = replace(CHATTERBOX, name="multilingual", languages=("en", "de"))
    models = [FakeSynthesizer(), FakeSynthesizer(info=ModelInfo(german, FAKE_REVISION))]
    with http_server(tmp_path, models, env={"MODEL": "chatterbox,multilingual"}) as served:
        open_page(page, served)
        options = page.locator("#model option")
        assert options.all_inner_texts() == ["by language", "chatterbox", "multilingual"]
        page.get_by_label("Model").select_option("chatterbox")
        assert page.locator("#language option").all_inner_texts() == ["the voice's", "English (en)"]
        page.get_by_label("Model").select_option("")
        page.get_by_label("Language").select_option("de")
        page.get_by_role("button", name="Speak", exact=True).click()
        wait_for(page, f"{PROGRESS}.state === 'done'")
        receipt = json.loads(page.locator("#receipt").text_content())
        assert receipt["model"]["variant"] == "multilingual"
        assert receipt["parameters"]["language"] == "de"
        assert '"language":"de"' in page.locator("#curl").text_content()
        screenshot(page, "languages")
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_people_with_impairments_can_use_it(browser, tmp_path, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    size = {"width": width, "height": 800}
    context = browser.new_context(color_scheme=scheme, viewport=size, bypass_csp=True)
    page = context.new_page()
    with http_server(tmp_path) as served:
        open_page(page, served)
        found = Axe().run(page).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        screenshot(page, f"{scheme}-{width}")
    context.close()


def test_the_page_may_neither_be_framed_nor_load_from_elsewhere(tmp_path):
    import httpx

    with http_server(tmp_path) as served:
        reply = httpx.get(served.address)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
