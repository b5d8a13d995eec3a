"""`pytest tests/campaigns --full` runs the campaigns at their full size; without it they are short."""

import random
import subprocess
import time

import pytest
from killing import ENVIRONMENT, start


@pytest.fixture(scope="session")
def full(request):
    return request.config.getoption("--full")


@pytest.fixture(scope="session")
def whole(tmp_path_factory, scenes):
    """The run folder of the training without a fault, and the seconds it took after it had told its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    process = start(scenes, folder)
    begin = time.monotonic()
    process.communicate()
    assert process.returncode == 0
    return folder, time.monotonic() - begin


@pytest.fixture(scope="session")
def chance():
    """Random numbers whose seed is printed."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a disk of its own of 256 MB; only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT)
    except FileNotFoundError:
        pytest.skip("there is no mount command, so no small disk")
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
