"""A command that is stopped, or has nowhere to write or to be, says so in a sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from builders.command_line import run
from click.testing import CliRunner

import cli
from featurestore import options, starting


@pytest.mark.parametrize("command", ["encoders", "sql", "status"])
def test_a_closed_stdout_is_told_in_a_sentence(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(SystemExit) as left:
        cli.main([command])
    assert left.value.code == 1
    assert capsys.readouterr().err == "trephine: stdout is closed. Give it a file, or /dev/null\n"


@pytest.mark.parametrize("how", starting.STOPPING)
@pytest.mark.parametrize("error", [None, RuntimeError("Query interrupted")])
def test_a_signal_stops_a_command_as_ctrl_c_does_whatever_a_library_makes_of_it(
    how: signal.Signals, error: Exception | None
) -> None:
    @click.group(cls=options.Main)
    def main() -> None:
        pass

    @main.command()
    def ingest() -> None:
        try:
            os.kill(os.getpid(), how)
            time.sleep(10)
        except KeyboardInterrupt as stop:
            raise error or stop from None

    before = signal.getsignal(how)
    result = CliRunner().invoke(main, ["ingest"])
    assert result.exit_code == 130
    assert result.stderr.startswith("trephine: ingest was stopped. Every finished slide is kept;")
    assert signal.getsignal(how) is before


@pytest.mark.parametrize("how", starting.STOPPING)
def test_a_signal_while_python_imports_gets_a_sentence(how: signal.Signals) -> None:
    code = f"""
import os, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), {int(how)})
sys.meta_path.insert(0, Stop())
sys.argv = ["/bin/trephine", "status"]
import cli
"""
    at = Path(cli.__file__).parent
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=at)
    said = "trephine: it was stopped. Nothing is lost: give the same command again.\n"
    assert (out.returncode, out.stderr) == (130, said)


def test_a_working_folder_that_was_deleted_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert "this folder was deleted. Go to" in run("status", "--store", tmp_path, code=1).stderr
