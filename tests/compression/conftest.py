"""FFmpegs that lack something: scripts around the real one, found through IMAGEIO_FFMPEG_EXE."""

import imageio_ffmpeg
import pytest


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A function that makes a shell script FFmpeg; `$FFMPEG` in it is the real one."""
    real = imageio_ffmpeg.get_ffmpeg_exe()

    def make(script):
        path = tmp_path / f"ffmpeg-{len(list(tmp_path.glob('ffmpeg-*')))}"
        path.write_text(f"#!/bin/sh\nFFMPEG='{real}'\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        return path

    return make


@pytest.fixture
def ffmpeg_without(stand_in):
    """A function that makes an FFmpeg that neither lists nor takes these encoders and filters."""
    def make(*missing):
        hidden = "|".join(missing)
        return stand_in(f"""\
case "$*" in *-encoders | *-filters) "$FFMPEG" "$@" | grep -v -w -E '{hidden}'; exit ;; esac
if echo " $*" | grep -q -w -E '{hidden}'; then echo "Unknown {hidden}" >&2; exit 8; fi
exec "$FFMPEG" "$@\"""")

    return make
