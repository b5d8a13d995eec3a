from pathlib import Path

import pytest

import atrous.cache
from atrous.cache import cache_folder


def test_the_environment_moves_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATROUS_CACHE", "here")
    monkeypatch.chdir(tmp_path)
    assert cache_folder() == tmp_path / "here"
    assert not cache_folder().exists()


def test_the_cache_folder_of_each_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ATROUS_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for system, folder in (
        ("linux", ".cache/atrous"),
        ("darwin", "Library/Caches/atrous"),
        ("win32", "AppData/Local/atrous/cache"),
    ):
        monkeypatch.setattr(atrous.cache.sys, "platform", system)
        assert cache_folder() == tmp_path / folder
    monkeypatch.setattr(atrous.cache.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "atrous"


def test_no_home_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ATROUS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder().is_absolute()
