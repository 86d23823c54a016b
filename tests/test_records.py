"""Records: what is written is what is read, and a key tells what a record was made from."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanclips.errors import StudyError
from leanclips.records import (Origin, RunResult, StageRecord, check_origin, found, read_csv,
                               read_record, versions, write_csv, write_record)

ORIGIN = Origin(recipe=1, settings={"epochs": 25, "backbone": {"name": "lite2", "size": 224},
                                    "inputs": ["shuffled", "mean"], "weights": None},
                inputs={"the features": "a" * 64, "the clip table": "b" * 64},
                machine={"device": "cpu", "torch": "2.11"})
CHANGES = [
    ({"recipe": 2}, "the recipe was 1 and is 2"),
    ({"settings": ORIGIN.settings | {"epochs": 2}}, "epochs was 25 and is 2"),
    ({"settings": ORIGIN.settings | {"backbone": {"name": "lite2", "size": 260}}},
     "backbone.size was 224 and is 260"),
    ({"settings": ORIGIN.settings | {"inputs": ["shuffled"]}},
     "inputs was ['shuffled', 'mean'] and is ['shuffled']"),
    ({"settings": ORIGIN.settings | {"weights": "x.pth"}}, "weights was absent and is x.pth"),
    ({"settings": ORIGIN.settings | {"device": "auto"}}, "device was absent and is auto"),
    ({"settings": {name: value for name, value in ORIGIN.settings.items() if name != "epochs"}},
     "epochs was 25 and is absent"),
    ({"inputs": ORIGIN.inputs | {"the features": "c" * 64}},
     "the content of the features was aaaaaaaaaaaa and is cccccccccccc"),
    ({"inputs": ORIGIN.inputs | {"the weights": "d" * 64}},
     "the content of the weights was absent and is dddddddddddd"),
    ({"machine": {"device": "cuda", "torch": "2.11"}}, "device was cpu and is cuda"),
]


@pytest.mark.parametrize("change, words", CHANGES)
def test_every_part_of_an_origin_is_in_its_key_and_a_difference_is_told_in_words(change, words):
    now = ORIGIN.model_copy(update=change)
    assert now.key != ORIGIN.key
    assert ORIGIN.difference(now) == words


def test_an_origin_is_no_different_from_itself_in_whatever_order_it_is_written():
    turned = Origin(recipe=1, settings=dict(reversed(ORIGIN.settings.items())),
                    inputs=dict(reversed(ORIGIN.inputs.items())),
                    machine=dict(reversed(ORIGIN.machine.items())))
    assert turned.key == ORIGIN.key and ORIGIN.difference(turned) == ""
    assert len(ORIGIN.key) == 64


VALUES = st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.text("ab", max_size=2),
                      lambda inner: st.lists(inner, max_size=2)
                      | st.dictionaries(st.text("xy", min_size=1, max_size=1), inner, max_size=2),
                      max_leaves=4)


@given(st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(0, 2), max_size=3),
       st.dictionaries(st.text("ab", min_size=1, max_size=2), st.integers(0, 2), max_size=3))
def test_settings_that_are_different_are_told(then, now):
    then, now = (Origin(recipe=1, settings=one, inputs={}) for one in (then, now))
    assert (then.difference(now) == "") == (then.key == now.key)


@given(VALUES)
def test_settings_read_back_from_a_record_have_the_same_key(value):
    origin = Origin(recipe=1, settings={"a": value}, inputs={})
    again = Origin.model_validate_json(origin.model_dump_json())
    assert again.key == origin.key and origin.difference(again) == ""


def test_what_a_reader_cannot_know_is_not_compared():
    """Without the original clips, the weights and the machine that made the record."""
    reading = ORIGIN.model_copy(update={"inputs": {"the clip table": "b" * 64}, "machine": {}})
    assert ORIGIN.difference(reading) == ""
    other = reading.model_copy(update={"inputs": {"the clip table": "c" * 64}})
    assert ORIGIN.difference(other).startswith("the content of the clip table was")


def test_a_record_made_from_something_else_is_told_in_one_sentence():
    check_origin(Path("result.json"), ORIGIN, ORIGIN)
    with pytest.raises(StudyError) as error:
        check_origin(Path("runs/result.json"), ORIGIN,
                     ORIGIN.model_copy(update={"settings": ORIGIN.settings | {"epochs": 2}}))
    assert str(error.value) == (
        "runs/result.json: was made from something else than the study is now: epochs was 25 and "
        "is 2; run the study again ('make study STUDY=…'); it redoes only what does not match.")


def test_a_record_reads_back_the_same(tmp_path):
    record = StageRecord(key=ORIGIN.key, origin=ORIGIN)
    write_record(tmp_path / "new" / "report.json", record)
    assert read_record(tmp_path / "new" / "report.json", StageRecord) == record
    readable = json.loads((tmp_path / "new" / "report.json").read_text())
    assert readable["origin"]["settings"]["epochs"] == 25


# As the first version wrote it.
OLD = {"schema_version": 1, "study": "jhmdb", "variant": "source", "seed": 1, "synthetic": False,
       "backbone": "efficientnet-lite2", "classes": ["run", "walk"], "train_clips": 85}


@pytest.mark.parametrize("content", ["", "no record", "[]", json.dumps(OLD), "{}"])
def test_a_record_of_another_version_is_told_in_one_sentence(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(StudyError, match="result.json: is not a record of this version; run the "
                                         "study again") as error:
        read_record(path, RunResult)
    assert "\n" not in str(error.value)
    assert found(path, RunResult) is None


def test_a_record_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StudyError, match="result.json: the record is not there yet; run the study"):
        read_record(tmp_path / "result.json", RunResult)
    assert found(tmp_path / "result.json", RunResult) is None


def test_a_record_with_a_field_of_another_version_is_refused(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"key": "a", "origin": ORIGIN.model_dump(), "date": "today"}))
    assert found(path, StageRecord) is None


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = pd.DataFrame({"clip": ["001", "1e3"], "label": ["7", "07"], "seed": [1, 2],
                          "detail": [None, "12"], "key": ["0012", "12e4"]})
    write_csv(tmp_path / "table.csv", table)
    again = read_csv(tmp_path / "table.csv")
    assert again["clip"].tolist() == ["001", "1e3"] and again["label"].tolist() == ["7", "07"]
    assert again["key"].tolist() == ["0012", "12e4"]
    assert again["seed"].tolist() == [1, 2] and again["detail"][1] == "12"


def test_names_that_mean_nothing_to_pandas_stay_names(tmp_path):
    table = pd.DataFrame({"clip": ["NA", "null"], "predicted": ["nan", "None"]})
    write_csv(tmp_path / "table.csv.gz", table)
    assert read_csv(tmp_path / "table.csv.gz").equals(table)


def test_a_compressed_table_holds_what_the_plain_one_does_and_no_date(tmp_path):
    table = pd.DataFrame({"clip": ["001", "ü\nb"], "p: run": [0.25, 1.0]})
    paths = [tmp_path / name for name in ("one/a.csv.gz", "two/a.csv.gz", "a.csv")]
    for path in paths:
        write_csv(path, table)
    first, second, plain = (path.read_bytes() for path in paths)
    assert first == second
    assert gzip.decompress(first) == plain
    assert first[4:8] == bytes(4)  # gzip's date
    assert read_csv(paths[0]).equals(read_csv(paths[2]))
    assert read_csv(paths[0])["clip"].tolist() == ["001", "ü\nb"]


def test_a_file_name_that_is_no_unicode_can_be_written(tmp_path):
    table = pd.DataFrame({"clip": [b"caf\xe9.mp4".decode(errors="surrogateescape")]})
    for name in ("table.csv", "table.csv.gz"):
        write_csv(tmp_path / name, table)
        assert read_csv(tmp_path / name)["clip"][0].startswith("caf\\udce9")


@pytest.mark.parametrize("name, content", [
    ("table.csv", b""), ("table.csv", b'a,b\n"1,2\n'), ("table.csv", b"a\n\xff\xfe\n"),
    ("table.csv.gz", b""), ("table.csv.gz", b"clip,label\n"),
    ("table.csv.gz", gzip.compress(b"clip,label\na,b\n" * 100, mtime=0)[:-20])])
def test_a_damaged_table_is_told_in_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError, match=f"{name}: is not a readable table .*; delete it and run "
                                         "the study again"):
        read_csv(tmp_path / name)


def test_a_table_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StudyError, match="table.csv: the table is not there yet; run the study"):
        read_csv(tmp_path / "table.csv")


def test_versions_of_packages_that_are_not_installed_are_left_out():
    known = versions(("python", "numpy", "no-such-package"))
    assert known == {"python": known["python"], "numpy": np.__version__}
