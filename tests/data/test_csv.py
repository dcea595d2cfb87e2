import re
from pathlib import Path

import pytest
from PIL import Image

from assay.data.source import checked
from assay.data.sources.csv import CsvSource
from assay.errors import DataError
from assay.recipe.schema import CsvData


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    """A folder with the images 0.png to 11.png, each of its own grey."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(12):
        Image.new("L", (4, 4), number * 20).save(folder / f"{number}.png")
    return folder


def source(root: Path, text: str | bytes, **options: object) -> CsvSource:
    table = root / "table.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return CsvSource(CsvData(source="csv", file=str(table), color="grey", **options))


def refused(root: Path, text: str | bytes, message: str, **options: object) -> None:
    with pytest.raises(DataError, match=message):
        source(root, text, **options).load()


def table(*labels: str, header: str = "path,label") -> str:
    return "\n".join([header, *(f"{number}.png,{label}" for number, label in enumerate(labels))]) + "\n"


SPLITS = ["cat,train", "dog,train", "cat,val", "dog,val", "cat,test", "dog,test"] * 2


# --- what is read -----------------------------------------------------------------------------------------------------


def test_rows_keep_their_order_and_classes_that_of_the_alphabet(root):
    text = "label,id,path\n" + "".join(
        f"{label},x,{number}.png\n" for number, label in enumerate(["dog", "cat", "Äffchen"] * 4)
    )
    examples = checked(source(root, text).load(), "csv")
    assert examples.classes == ("cat", "dog", "Äffchen")
    assert examples.labels_N.tolist() == [1, 0, 2] * 4
    assert examples.inputs[:, 0, 0, 0].tolist() == [number * 20 for number in range(12)]
    assert (examples.test_indices, examples.skipped, examples.remarks) == (None, (), ())


def test_labels_that_are_whole_numbers_are_in_the_order_of_these(root):
    assert source(root, table("10", "9", "-1", "100")).files().classes == ("-1", "9", "10", "100")
    assert source(root, table("10", "9", "b")).files().classes == ("10", "9", "b")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_byte_order_marks_line_ends_blank_lines_quotes_and_spaces_do_no_harm(root, encoding, line_end):
    Image.new("L", (4, 4)).save(root / "a, b.png")
    lines = [" Path , LABEL", '"a, b.png",naïve', "", " 1.png , naïve", '2.png,"x ""y"""', ""]
    files = source(root, line_end.join(lines).encode(encoding)).files()
    assert files.paths_N == ("a, b.png", "1.png", "2.png")
    assert files.classes == ("naïve", 'x "y"')
    assert files.labels_N.tolist() == [0, 0, 1]


def test_paths_may_lead_outside_and_be_absolute(root, tmp_path):
    (tmp_path / "other").mkdir()
    for number in range(3):
        (root / f"{number}.png").rename(tmp_path / "other" / f"{number}.png")
    rows = [f"../other/0.png,a\n{tmp_path}/other/1.png,a\n{root}/../other/2.png,a", "3.png,b\n4.png,b\n./5.png,b"]
    examples = source(root, "path,label\n" + "\n".join(rows)).load()
    assert examples.inputs[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80, 100]


def test_relative_paths_start_at_the_folder_of_a_linked_table(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    source(root, table("a", "b"))
    linked = CsvSource(CsvData(source="csv", file=str(tmp_path / "link" / "table.csv")))
    assert [(linked.files().root / path).is_file() for path in linked.files().paths_N] == [True, True]


def test_splits(root):
    examples = source(root, table(*SPLITS, header="path,label,split")).load()
    assert examples.test_indices.tolist() == [4, 5, 10, 11]
    assert examples.val_indices.tolist() == [2, 3, 8, 9]
    two = [row.replace("test", "train") for row in SPLITS]
    examples = source(root, table(*two, header="path,label,split")).load()
    assert (examples.test_indices.tolist(), examples.val_indices) == ([2, 3, 8, 9], None)
    assert examples.remarks == (
        "There is no split test, so val is the test split, and validation is drawn from train.",
    )


def test_the_fingerprint_follows_labels_order_and_splits_and_not_the_place(root, tmp_path):
    texts = [
        table("a", "b", "a", "b"),
        table("a", "b", "b", "a"),
        table("a", "c", "a", "c"),
        "path,label\n1.png,b\n0.png,a\n2.png,a\n3.png,b\n",
        table("a,train", "b,train", "a,test", "b,test", header="path,label,split"),
    ]
    prints = [source(root, text).fingerprint() for text in texts]
    assert len(set(prints)) == len(prints)
    root.rename(tmp_path / "moved")
    moved = texts[0].replace("0.png", f"{tmp_path}/moved/0.png").replace("label", "label,note").replace("a\n", "a,x\n")
    assert source(tmp_path / "moved", moved.replace("b\n", "b,x\n")).fingerprint() == prints[0]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_missing_table_and_a_folder_as_table(root):
    with pytest.raises(DataError, match=r"^Data source csv: file '.*none\.csv' was not found\."):
        CsvSource(CsvData(source="csv", file=str(root / "none.csv"))).load()
    with pytest.raises(
        DataError, match=r"file must be a table, got the folder .*data\. A folder of images .* folder\.$"
    ):
        CsvSource(CsvData(source="csv", file=str(root))).load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table\.csv, line 1: .* must name the columns path and label, .*; path and label are missing, got ''\."),
        ("path;label\n0.png;a\n", r"are missing, got 'path;label'\. Separate the cells by commas, not by ';'\.$"),
        ("path,class\n0.png,a\n", r"; label is missing, got 'path,class'\.$"),
        ("path,label,path\n", r"line 1: the column path must be there once, got 2\.$"),
        ("path,label\n", r"table\.csv has no rows below its header\. Add a row with path and label for each image\.$"),
        (
            b"path,label\n0.png,a\n1.png,caf\xe9\n",
            r"line 3: the table must be in UTF-8, got the byte 0xe9\. Save it again",
        ),
        (
            'path,label\n0.png,a\n"1.png,b\n2.png,b\n',
            r"table\.csv, line 3: unexpected end of data\. Mend the row that begins there, and look for a quote left ",
        ),
        ("path,label\n0.png,a\n1.png,a\n2.png,a\n", r"must have images of at least 2 classes, got 1: a\.$"),
    ],
)
def test_tables_that_are_none(root, text, message):
    refused(root, text, message)
    refused(root, text, message, on_bad="skip")


def test_rows_that_break_a_rule_are_listed_with_their_lines(root):
    text = (
        "path,label,split\n0.png,,train\n,a,train\n1.png,a,\n2.png,a,Train\n3.png,a\n4, 5.png,a,test\n\n6.png,a,train\n"
    )
    with pytest.raises(DataError) as caught:
        source(root, text).load()
    assert str(caught.value).split("\n")[0].endswith("table.csv has 6 rows that break a rule:")
    assert str(caught.value).split("\n")[1:] == [
        "  line 2: label is empty",
        "  line 3: path is empty",
        "  line 4: split is empty",
        "  line 5: split must be train, val or test, got 'Train'",
        "  line 6: there must be 3 cells as in the first line, got 2: '3.png,a'",
        "  line 7: there must be 3 cells as in the first line, got 4: '4, 5.png,a,test'",
    ]


def test_only_ten_of_many_rows_are_listed(root):
    refused(root, "path,label\n" + "0.png,\n" * 12, r"has 12 rows(?s:.*)line 11: label is empty\n  … and 2 more$")


def test_a_path_given_twice(root):
    refused(
        root,
        "path,label,split\n0.png,a,train\n1.png,b,train\n./0.png,a,train\n1.png,c,test\n",
        r"has 2 rows that break a rule:\n  line 4: \./0\.png is on line 2 already\n"
        r"  line 5: 1\.png is on line 3 already, with another label \(c, before b\), "
        r"with another split \(test, before train\)$",
    )


def test_files_that_are_not_there_are_listed_or_left_out(root):
    (root / "sub").mkdir()
    Image.new("L", (4, 4)).save(root / "sub" / "x.png")
    text = table("a", "b", "a", "b", "a", "b") + "no.png,a\nsub,b\nsub\\x.png,b\nx\0y.png,b\n"
    refused(
        root,
        text,
        r"table\.csv names 4 files that are not there:\n  line 8: no\.png: there is no such file\n"
        r"  line 9: sub: this is a folder\n"
        r"  line 10: sub\\x\.png: there is no such file, but one with / in place of \\\n"
        r"  line 11: x\\x00y\.png: there is no such file\n  Relative paths start at the table's folder\.",
    )
    examples = source(root, text, on_bad="skip").load()
    assert examples.labels_N.tolist() == [0, 1] * 3
    assert len(examples.skipped) == 4
    assert examples.skipped[0] == "line 8: no.png: there is no such file"


def test_bad_files_are_listed_or_left_out(root):
    (root / "3.png").write_text("text")
    text = table(*["a", "b"] * 4)
    refused(
        root, text, r"1 of 8 image files that cannot be read:\n  3\.png: it is no image of a format that is read here"
    )
    examples = source(root, text, on_bad="skip").load()
    assert examples.inputs[:, 0, 0, 0].tolist() == [0, 20, 40, 80, 100, 120, 140]
    assert examples.labels_N.tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert examples.skipped == ("3.png: it is no image of a format that is read here",)


def test_a_class_missing_from_a_split_and_no_train(root):
    header = "path,label,split"
    refused(root, table("a,train", "b,train", "a,test", header=header), r"Without:\n  b: none in test\n")
    refused(root, table("a,test", "b,test", header=header), r"has the split test but no train\. Add it\.$")


def test_a_very_long_number_is_a_label(root):
    label = "9" * 900
    assert re.fullmatch("9+", source(root, table("1", label)).files().classes[1])
