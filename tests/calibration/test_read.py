import gzip
import io
from typing import Any

import numpy as np
import polars as pl
import pytest

from foresee.calibration.read import read_predictions
from foresee.errors import CalibrationError

LOGITS = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [-1.0, 4.0, 2.5], [0.0, 0.0, 1.0]])
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
TRUTH = np.array([0, 1, 1, 2])


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def table(labels: Any = TRUTH, names=("a", "b", "c"), values=LOGITS, column="label"):
    columns = dict(zip(names, values.T, strict=True)) | ({} if labels is None else {column: labels})
    return pl.DataFrame(columns)


def parquet(frame):
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


GOOD = {
    "npz": npz(predictions=LOGITS, labels=TRUTH),
    "npz of another": npz(predictions=LOGITS.astype(np.float32), ground_truth=TRUTH.astype(np.uint8)),
    "npz of logits": npz(logits=LOGITS, labels=TRUTH.astype(float)),
    "npz, gzipped": gzip.compress(npz(predictions=LOGITS, labels=TRUTH)),
    "csv": table().write_csv(),
    "csv, gzipped": gzip.compress(table().write_csv().encode()),
    "csv with names of classes": table(np.array(["a", "b", "b", "c"])).write_csv(),
    "csv with row numbers": table().with_row_index("row").write_csv().removeprefix("row"),
    "csv with semicolons": table().write_csv(separator=";"),
    "tsv": table().write_csv(separator="\t"),
    "parquet": parquet(table()),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_every_format_reads_the_same(data, tmp_path):
    read = read_predictions(write(tmp_path, "file", data))
    np.testing.assert_allclose(read.table, LOGITS, rtol=1e-6)
    np.testing.assert_array_equal(read.labels, TRUTH)
    assert not read.probabilities
    assert len(read.classes) == 3


def test_probabilities_are_told_from_logits(tmp_path):
    read = read_predictions(write(tmp_path, "file.npz", npz(predictions=SHARES, labels=TRUTH)))
    assert read.probabilities
    np.testing.assert_allclose(np.exp(read.logits()), SHARES)


LABEL_FILES = {
    "npz": npz(labels=TRUTH),
    "npz, one array": npz(anything=TRUTH),
    "npy": npy(TRUTH),
    "txt": "0\n1\n1\n2\n",
    "csv": "label\n0\n1\n1\n2\n",
    "csv with more": "id,label\n7,0\n8,1\n9,1\n10,2\n",
}


@pytest.mark.parametrize("data", LABEL_FILES.values(), ids=LABEL_FILES)
def test_labels_of_their_own_file(data, tmp_path):
    path = write(tmp_path, "predictions.npy", npy(LOGITS))
    np.testing.assert_array_equal(read_predictions(path, write(tmp_path, "truth", data)).labels, TRUTH)


def test_labels_by_name(tmp_path):
    path = write(tmp_path, "t.csv", table(column="kind").write_csv())
    np.testing.assert_array_equal(read_predictions(path, "kind").labels, TRUTH)
    read = read_predictions(write(tmp_path, "t.npz", npz(predictions=LOGITS, kind=TRUTH)), "kind")
    np.testing.assert_array_equal(read.labels, TRUTH)


def test_columns_named_by_numbers_are_labels_by_name(tmp_path):
    path = write(tmp_path, "t.parquet", parquet(table(TRUTH + 1, names=("1", "2", "3"))))
    np.testing.assert_array_equal(read_predictions(path).labels, TRUTH)


def test_rows_outside_need_no_labels_and_may_have_some(tmp_path):
    assert read_predictions(write(tmp_path, "a.npy", npy(LOGITS)), labelled=False).labels is None
    read = read_predictions(write(tmp_path, "b.csv", table().write_csv()), labelled=False)
    assert read.table.shape == (4, 3)


NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, LOGITS)
BAD = [
    (npz(predictions=LOGITS), "expected labels under one of label, labels, ground_truth"),
    (npz(labels=TRUTH), "expected an array 'predictions', got labels"),
    (npz(predictions=TRUTH, labels=TRUTH), r"expected predictions of shape \(rows, classes\)"),
    (npz(predictions=LOGITS, labels=TRUTH[:3]), "one label for each of 4 rows, got 3"),
    (npz(predictions=LOGITS, labels=TRUTH + 1), "expected labels 0 to 2, got 3 in row 3"),
    (npz(predictions=LOGITS, labels=TRUTH - 0.5), r"expected labels 0 to 2, got -0\.5 in row 0"),
    (npz(predictions=LOGITS, labels=0 * TRUTH), "at least two classes, got 0 in every row"),
    (npz(predictions=NAN, labels=TRUTH), "expected finite predictions, got nan in row 2, class 1"),
    (npz(predictions=0.9 * SHARES, labels=TRUTH), r"sums to 0\.9"),
    (npz(predictions=100 * SHARES, labels=TRUTH), "rows that sum to 100; divide"),
    (npz(probabilities=LOGITS, labels=TRUTH), "probabilities ≥ 0 that sum to one"),
    (npz(predictions=LOGITS.astype(str), labels=TRUTH), "expected numbers in predictions"),
    (table(labels=None).write_csv(), "expected labels under one of"),
    (table(np.array(["a", "b", "b", "x"])).write_csv(), "expected numbers in the labels, got 'a'"),
    ("a,b,label\n1,x,0\n2,3,1\n", "expected numbers in column 'b', got 'x' in row 0"),
    ("a,b,label\n1,,0\n2,3,1\n", "expected numbers in column 'b', got '' in row 0"),
    ("a,label\n1,0\n2,1\n", "at least two classes"),
    ("", "the file is empty"),
    (b"\x1f\x8b\x08nonsense", "truncated or damaged"),
    (npz(predictions=LOGITS, labels=TRUTH)[:200], "damaged"),
    (b"PK\x03\x04 and so on", "damaged"),
    (b"\xff\xfe\x00\x01", "expected npz, npy, Parquet or text in UTF-8"),
    (b"PAR1 but no more", "cannot be read as a table"),
    (npz(predictions=np.array([[None]]), labels=TRUTH), "it holds Python objects"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_files_are_named_in_one_line(data, message, tmp_path):
    path = write(tmp_path, "file", data)
    with pytest.raises(CalibrationError, match=message) as raised:
        read_predictions(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_missing_things_are_named(tmp_path):
    with pytest.raises(CalibrationError, match=r"none\.npz: no such file"):
        read_predictions(tmp_path / "none.npz")
    with pytest.raises(CalibrationError, match="got a directory"):
        read_predictions(tmp_path)
    path = write(tmp_path, "file.npz", npz(predictions=LOGITS, labels=TRUTH))
    with pytest.raises(CalibrationError, match="expected an array or a file 'kind' with labels"):
        read_predictions(path, "kind")
    with pytest.raises(CalibrationError, match="expected one column or array of labels"):
        read_predictions(path, write(tmp_path, "l.csv", "x,y\n1,2\n"))
