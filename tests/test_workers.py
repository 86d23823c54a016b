"""Several processes give what one gives, in order; none outlives the work; progress is shown."""

import heapq
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from leanclips import workers
from leanclips.errors import StudyError
from leanclips.workers import cores, description, known_before, progress, run_all, run_learning

WORK = """
import sys, time
from pathlib import Path
from leanclips.workers import run_all
from functools import partial
sys.path.insert(0, sys.argv[1])
from test_workers import sleepy
run_all(partial(sleepy, Path(sys.argv[2])), range(8), 2, "work")
"""


def double(number):
    return 2 * number


def counted(number, known):
    """The number, and how many earlier results it was told."""
    return number, known


def itself(result):
    return result[0]


def sleepy(folder, number):
    """Note the process id, then work for a long time."""
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def failing(folder, number):
    (folder / str(number)).touch()
    if number == 1:
        raise StudyError("the clip is empty", f"{number}.mp4", "replace it")
    time.sleep(0.2)


def noted(folder, number):
    (folder / str(number)).touch()
    return number


def threads(_):
    return cv2.getNumThreads()


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_order_from_any_number_of_processes(jobs):
    assert run_all(double, range(10), jobs, "doubling") == [2 * n for n in range(10)]


def test_nothing_to_do_is_done_at_once():
    assert run_all(double, [], 4, "doubling") == []


def test_each_process_computes_in_one_thread():
    assert set(run_all(threads, range(3), 2, "threads")) == {1}


def test_the_first_error_comes_back_whole_and_stops_the_rest(tmp_path):
    with pytest.raises(StudyError) as error:
        run_all(partial(failing, tmp_path), range(100), 2, "failing")
    assert str(error.value) == "1.mp4: the clip is empty; replace it."
    assert len(list(tmp_path.iterdir())) < 50


def test_there_is_at_least_one_core(monkeypatch):
    assert 1 <= cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert cores() == (os.cpu_count() or 1)


def alive(pid):
    """Whether the process runs (a zombie does not)."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at /proc")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path, blow):
    process = subprocess.Popen([sys.executable, "-c", WORK, Path(__file__).parent, tmp_path],
                               start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        process.send_signal(blow)
        process.wait()
        workers = [int(path.name) for path in tmp_path.iterdir()]
        until(lambda: not any(map(alive, workers)))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def until(condition, seconds=30):
    """Wait for `condition`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_an_item_learns_from_does_not_depend_on_the_workers(jobs):
    results = list(run_learning(counted, range(70), jobs, "work", itself))
    assert [number for number, _ in results] == list(range(70))
    for number, known in results:
        assert known == list(range(0 if number < 32 else 8 if number < 64 else 16))


def seconds(lasts, workers, before):
    """How long items that last so long take where each waits for the first `before(item)`."""
    free, ends, begun = [0.0] * workers, [], 0.0
    for item, long in enumerate(lasts):
        begun = max([begun, *ends[:before(item)]])  # they are begun in order
        heapq.heapify(free)
        ends.append(max(heapq.heappop(free), begun) + long)
        free.append(ends[-1])
    return max(ends)


def test_workers_hardly_wait_for_what_they_learn_from():
    """160 clips of which one takes longer than another, as clips do, and 16 workers."""
    rng, ratios, before = np.random.default_rng(0), [], []
    for _ in range(40):
        lasts = rng.lognormal(0, 0.5, 160)
        free = seconds(lasts, 16, lambda item: 0)
        ratios.append(seconds(lasts, 16, known_before) / free)
        before.append(seconds(lasts, 16, lambda item: max(item - max(8, item // 4), 0)) / free)
    print(f"{np.mean(ratios):.2f}, at most {max(ratios):.2f}; learning from all but the last "
          f"quarter: {np.mean(before):.2f}")
    assert np.mean(ratios) < 1.1 < np.mean(before)


def test_learning_from_nothing_is_no_work():
    assert list(run_learning(counted, [], 2, "work", itself)) == []


def encoding(folder, number):
    """Note the process id, then run another program, as an encode does."""
    (folder / str(os.getpid())).touch()
    subprocess.run(["sleep", "60"])


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_the_programs_that_workers_run_end_with_the_parent_too(tmp_path, blow):
    work = WORK.replace("sleepy", "encoding")
    parent = subprocess.Popen([sys.executable, "-c", work, Path(__file__).parent, tmp_path],
                              start_new_session=True, stderr=subprocess.PIPE, text=True)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    time.sleep(0.3)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert sum(child.name() == "sleep" for child in children) == 2
    if blow == signal.SIGINT:  # as a terminal does: to all of them
        os.killpg(parent.pid, blow)
    else:
        parent.kill()
    _, error = parent.communicate(timeout=20)
    assert ("KeyboardInterrupt" in error) == (blow == signal.SIGINT)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not [child for child in alive if child.name() in ("sleep", "python")]


IMPORTS = """
import sys
from pathlib import Path
from leanclips.compression.quality import Goal
from leanclips.compression.tree import optimize_tree
from leanclips.workers import run_all
"""
CALLS = {"tree": "optimize_tree(Path('in'), Path('out'), Goal(), 2)",
         "spawn": "run_all(abs, [1, 2], 2, 'work')",
         "forkserver": "run_all(abs, [1, 2], 2, 'work', ['json'])"}


@pytest.mark.parametrize("kind", CALLS)
def test_a_script_without_a_main_guard_is_told_to_have_one(tmp_path, kind):
    script = tmp_path / "script.py"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").touch()

    def run():
        return subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True,
                              text=True, timeout=60)

    script.write_text(IMPORTS + CALLS[kind])
    done = run()
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1  # the script's own
    assert done.stderr.splitlines()[-1] == (
        f"leanclips.errors.StudyError: {script}: no worker process can start: each imports the "
        "script that was started; save it as a file, with all that it does below the line "
        "'if __name__ == \"__main__\":'.")
    script.write_text(f'{IMPORTS}\nif __name__ == "__main__":\n    {CALLS[kind]}')
    assert run().returncode == 0


def test_a_log_file_gets_plain_lines_and_the_last_one_always(capsys):
    assert list(progress(iter("abc"), 3, "crop")) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"crop: 3/3 clips, [\d.]+/s, 0 s left\n", err)


def test_lines_come_as_often_as_agreed(capsys, monkeypatch):
    monkeypatch.setattr(workers, "SECONDS_BETWEEN_LINES", 0)
    list(progress(range(4), 4, "training", "epochs"))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        f"training: {n}/4 epochs" for n in (1, 2, 3, 4)]


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress(range(3), 3, "crop")) == [0, 1, 2]
    err = capsys.readouterr().err
    assert "crop: 100%" in err and "\r" in err and "3/3" in err


def test_work_that_fails_half_way_says_so_itself(capsys):
    def work():
        yield 1
        raise ValueError("two")

    with pytest.raises(ValueError, match="two"):
        list(progress(work(), 2, "crop"))


def test_a_description_tells_what_times_depend_on():
    told = description()
    assert told["cores"] == cores() and told["cpu"] and told["system"]
