"""The demo's table and the stage that renders its clips."""

from pathlib import Path

from leanclips.clips import check_roles, read_table
from leanclips.datasets.rendering import Task, render_clip, synthetic_table
from leanclips.files import file_sha256
from leanclips.layout import Layout
from leanclips.study import load_study

DEMO = Layout(Path(__file__).parents[2] / "data" / "demo")


def test_the_demo_table_is_the_one_its_settings_make():
    clips = read_table(DEMO.table)
    assert clips == synthetic_table(load_study(DEMO.study).synthetic)
    check_roles(clips, DEMO.table)


def test_a_rendered_clip_is_not_rendered_again_and_a_damaged_one_is(tmp_path):
    task = Task("dancing-000", 0, tmp_path / "dancing-000.mp4")
    render_clip(task)
    made, digest = task.path.stat().st_mtime_ns, file_sha256(task.path)
    render_clip(task)
    assert task.path.stat().st_mtime_ns == made
    task.path.write_bytes(task.path.read_bytes()[:1000])
    render_clip(task)
    assert file_sha256(task.path) == digest
