"""Small files: what is written is whole, and goes where it was meant to go."""

import os

import pytest

from support.files import write_text


def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path):
    target = tmp_path / "target.json"
    target.write_text("old")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "target.json"]


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    """As root, --out /dev/null made a file of the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "text")
    assert os.read(reader, 99) == b"text" and pipe.is_fifo()
    os.close(reader)


def test_a_folder_is_no_file_and_nothing_is_left_beside_it(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(folder, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
