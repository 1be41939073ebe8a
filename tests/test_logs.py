import logging

import pytest

import logs


@pytest.fixture(autouse=True)
def _restore_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.OUR_LOGGERS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, own_level in levels.items():
        logging.getLogger(name).setLevel(own_level)
    logging.captureWarnings(False)


def test_every_line_carries_the_job_it_belongs_to(capsys):
    logs.configure("INFO")
    log = logging.getLogger("operations.tts")
    with logs.job_lines(logs.LoggedJob("job-7")):
        log.info("inside")
    log.info("outside")
    inside, outside = capsys.readouterr().err.splitlines()
    assert "job=job-7 inside" in inside
    assert "job=- outside" in outside


def test_what_callers_send_cannot_start_a_line_or_colour_it(capsys):
    logs.configure("INFO")
    with logs.job_lines(logs.LoggedJob("a\nINFO forged")):
        logging.getLogger("handler").info("name=%s", "x\r\n\x1b[2Jforged \u2028 \ud800")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()


def test_a_traceback_follows_its_line(capsys):
    logs.configure("INFO")
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("handler").exception("it failed")
    first, *traceback = capsys.readouterr().err.splitlines()
    assert first.endswith("it failed")
    assert traceback[-1] == "    RuntimeError: broken"
    assert all(line.startswith("    ") for line in traceback)


FORGED = "2026-01-01 00:00:00,000 INFO handler job=- forged"


@pytest.mark.parametrize(
    "line_break", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
)
def test_what_a_server_sends_cannot_forge_a_line_through_an_error(capsys, line_break):
    logs.configure("INFO")
    hostile = f"broken{line_break}{FORGED}{line_break}\x1b[2J\u202e\x00"
    try:
        try:
            raise ValueError(hostile)
        except ValueError as error:
            error.add_note(hostile)
            raise RuntimeError(hostile) from error
    except RuntimeError as error:
        log = logging.getLogger("handler")
        log.exception("it failed", stack_info=True)
        log.warning("%s", hostile, exc_info=error)
        record = log.makeRecord(log.name, logging.ERROR, "", 0, "seen before", None, None)
        record.exc_text = hostile  # as another handler's formatter leaves it
        log.handle(record)
    printed = capsys.readouterr().err
    assert FORGED in printed
    for line in printed.splitlines():
        assert line.isprintable()
        assert line.startswith("    ") or " job=- " in line.partition("forged")[0]
        assert not line.startswith("2026-01-01")


def test_libraries_keep_quiet_below_warnings(capsys):
    logs.configure("DEBUG")
    logging.getLogger("numba.core").debug("chatter")
    logging.getLogger().info("chatter")
    logging.getLogger("httpx").warning("worth knowing")
    logging.getLogger("speech.pipeline").debug("ours")
    assert "chatter" not in (printed := capsys.readouterr().err)
    assert "worth knowing" in printed
    assert "ours" in printed


def test_the_level_applies_to_all_of_ours(capsys):
    logs.configure("ERROR")
    logging.getLogger("handler").warning("less")
    logging.getLogger("elsewhere").warning("less")
    assert capsys.readouterr().err == ""


def test_handlers_that_a_library_installed_are_replaced(capsys):
    logging.getLogger().addHandler(logging.StreamHandler())
    logs.configure("INFO")
    logging.getLogger("handler").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
