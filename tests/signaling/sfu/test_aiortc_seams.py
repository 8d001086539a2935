"""The private parts of aiortc and pylibsrtp are what this version says they are."""

import pytest

from signaling.engines.sfu import aiortc_seams
from signaling.engines.sfu.aiortc_seams import SeamsChanged, check_seams


def test_the_seams_are_as_they_were() -> None:
    check_seams()


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc_seams, "version", lambda name: "9.9.9" if name == "aiortc" else "1.0.0")
    with pytest.raises(SeamsChanged, match=r"aiortc is 9\.9\.9, not 1\.16\.0"):
        check_seams()


def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(aiortc_seams.RTCDtlsTransport, "_recv_next")
    with pytest.raises(SeamsChanged, match=r"RTCDtlsTransport\._recv_next is gone"):
        check_seams()


def test_the_web_process_loads_no_media_library() -> None:
    """aiortc, av and OpenSSL stay in the workers: 40 MB and 0.4 s that the web process needs not."""
    import subprocess
    import sys

    code = "import sys, signaling.engines.sfu; sys.exit('aiortc' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
