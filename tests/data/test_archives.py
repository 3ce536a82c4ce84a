"""Archives that try to do harm, and archives that are simply there to be unpacked."""

import io
import stat
import tarfile
import zipfile

import pytest

from manifold_ocr.data.archives import Limits, is_archive, unpack
from manifold_ocr.errors import UserError


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_wrapping_folder_and_clutter_are_left_away(tmp_path):
    members = [
        ("top/a/x.txt", "1"),
        ("top/y.txt", "2"),
        ("__MACOSX/top/y.txt", ""),
        ("top/.DS_Store", ""),
    ]
    assert unpack(make_zip(tmp_path / "a.zip", members), tmp_path / "out") == 2
    found = sorted(
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.txt")
    )
    assert found == ["a/x.txt", "y.txt"]


def test_tar(tmp_path):
    members = [(tarfile.TarInfo("d/x.txt"), b"1"), (tarfile.TarInfo("e/y.txt"), b"22")]
    assert unpack(make_tar(tmp_path / "a.tar.gz", members), tmp_path / "out") == 2
    assert (tmp_path / "out/e/y.txt").read_bytes() == b"22"


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "C:evil.txt", "..\\evil"]
)
def test_paths_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="refused"):
        unpack(make_zip(tmp_path / "a.zip", [(name, "x")]), tmp_path / "out")
    with pytest.raises(UserError, match="refused"):
        unpack(make_tar(tmp_path / "a.tgz", [(tarfile.TarInfo(name), b"x")]), tmp_path / "out")
    assert not list(tmp_path.rglob("evil*"))


def test_links_and_devices_are_refused(tmp_path):
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(UserError, match="link or device"):
            unpack(make_tar(tmp_path / "a.tgz", [(info, b"")]), tmp_path / "out")
    info = zipfile.ZipInfo("a/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(UserError, match="link or device"):
        unpack(make_zip(tmp_path / "a.zip", [(info, "/etc/passwd")]), tmp_path / "out")


def test_ten_gigabyte_bomb_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(10):
            with archive.open(f"part{number}.bin", "w", force_zip64=True) as file:
                file.write(b"\0" * (1 << 20))
    data = bytearray(path.read_bytes())
    for number in range(10):  # the directory claims 1 GiB a member, as a real bomb has
        entry = data.rindex(f"part{number}.bin".encode()) - 46
        assert data[entry : entry + 4] == b"PK\x01\x02"
        data[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(UserError, match="bomb"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_lies_about_its_size_is_stopped_while_unpacking(tmp_path):
    path = make_zip(tmp_path / "liar.zip", [("zeros.bin", b"\0" * (8 << 20))])
    small = Limits(free_bytes=1 << 20, ratio=100)
    with pytest.raises(UserError, match="bomb"):
        unpack(path, tmp_path / "out", small)
    tar = make_tar(tmp_path / "liar.tar.gz", [(tarfile.TarInfo("zeros.bin"), b"\0" * (8 << 20))])
    with pytest.raises(UserError, match="bomb"):
        unpack(tar, tmp_path / "out2", small)


def test_too_many_files_and_double_names(tmp_path):
    many = make_zip(tmp_path / "many.zip", [(f"{n}.txt", "") for n in range(20)])
    with pytest.raises(UserError, match="more than 10 files"):
        unpack(many, tmp_path / "out", Limits(files=10))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = make_zip(tmp_path / "twice.zip", [("a.txt", "1"), ("a.txt", "2")])
    with pytest.raises(UserError, match="twice"):
        unpack(twice, tmp_path / "out")


def test_damaged_archives_are_one_clear_error(tmp_path):
    path = make_zip(tmp_path / "a.zip", [("a.txt", "hello" * 1000)])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged"):
        unpack(path, tmp_path / "out")
    tar = make_tar(tmp_path / "a.tar.gz", [(tarfile.TarInfo("x"), b"abc" * 5000)])
    tar.write_bytes(tar.read_bytes()[:-20])
    with pytest.raises(UserError, match="damaged"):
        unpack(tar, tmp_path / "out")


def test_names_of_archives(tmp_path):
    assert is_archive(tmp_path / "a.ZIP") and is_archive(tmp_path / "b.tar.gz")
    assert not is_archive(tmp_path / "a.gz") and not is_archive(tmp_path / "a.png")
