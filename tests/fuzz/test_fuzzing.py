"""Each target under atheris (libFuzzer, led by the coverage of our own code) for a minute; for an hour with
PASSERELLE_TEST_FUZZ_SECONDS=3600. Not collected where there is no atheris: see conftest.py."""

import asyncio
import base64
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuzz.targets import COUNTS, TARGETS, hostile_seeds, seeds
from tests.support.deadlines import SECOND

ROOT = Path(__file__).resolve().parents[2]
FUZZ_S = int(os.environ.get("PASSERELLE_TEST_FUZZ_SECONDS", "60"))
LONGEST_INPUT_BYTES = 4_096
ONE_INPUT_S = 20
"""An input that takes this long has found something; a usual one takes well below a millisecond."""
MEMORY_MIB = 2_048

pytestmark = [pytest.mark.long, pytest.mark.timeout(FUZZ_S + 300)]


@dataclass(frozen=True, slots=True)
class Outcome:
    exit_code: int
    output: str
    tried: int
    let_in: int
    crashes: list[bytes]

    def __str__(self) -> str:
        """What is needed to see it again."""
        inputs = "\n".join(f"input (base64): {base64.b64encode(crash).decode()}" for crash in self.crashes)
        return f"exit code {self.exit_code} after {self.tried} inputs\n{inputs}\n{self.output[-6_000:]}"


async def fuzz(name: str, corpus: list[bytes], folder: Path, seconds: int) -> Outcome:
    (folder / "corpus").mkdir()
    for number, seed in enumerate(corpus):
        (folder / "corpus" / str(number)).write_bytes(seed)
    arguments = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT_BYTES,
        "timeout": ONE_INPUT_S,
        "rss_limit_mb": MEMORY_MIB,
        "artifact_prefix": f"{folder}/found-",
    }
    command = [*(f"-{key}={value}" for key, value in arguments.items()), str(folder / "corpus")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fuzz.run", name, str(folder / "counts"), *command),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds + 60 * SECOND):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    tried, let_in = COUNTS.unpack((folder / "counts").read_bytes())
    crashes = [path.read_bytes() for path in sorted(folder.glob("found-*"))]
    return Outcome(process.returncode, output.decode("utf-8", "replace"), tried, let_in, crashes)


@pytest.mark.parametrize("name", TARGETS)
async def test_nothing_breaks_the_target(name: str, tmp_path: Path) -> None:
    corpus = [*seeds()[name], *(hostile_seeds() if name == "scan_update" else ())]
    outcome = await fuzz(name, corpus, tmp_path, FUZZ_S)
    print(f"{name}: {outcome.tried} inputs in {FUZZ_S} s, {outcome.let_in} let in")
    assert outcome.exit_code == 0, str(outcome)
    assert outcome.tried > len(corpus)
    assert outcome.let_in >= len(seeds()[name]), "the fuzzer never came past the door"


async def test_what_is_found_is_told(tmp_path: Path) -> None:
    outcome = await fuzz("always_fails", [b"an input"], tmp_path, 10)
    assert outcome.exit_code != 0
    assert "as it was asked to" in str(outcome)
    assert outcome.crashes, str(outcome)
    assert f"input (base64): {base64.b64encode(outcome.crashes[0]).decode()}" in str(outcome)
