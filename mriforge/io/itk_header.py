"""Headers of NRRD and MetaImage, looked at before SimpleITK reads them.

Its NRRD reader (teem) writes what it has to say about a wrong line into buffers of fixed size: a
long line there ends the process. So lines that it would complain about at length never reach it,
and no more voxels are promised to either reader than the file can hold.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path

from mriforge.errors import BadInput
from mriforge.untrusted.sizes import DEFLATED, bytes_of, refuse_more_than_held

_MOST_AXES = 16
_LONGEST_LINE = 1000
_LONGEST_HEADER = 64 << 20
_LONGEST_NUMBER = 64
_HINT = "Copy the file or export the image again."

_NUMBER = r"[-+]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,4})?|[-+]?(?:nan|inf)"
_VECTOR = rf"\(\s*(?:{_NUMBER})(?:\s*,\s*(?:{_NUMBER})){{0,7}}\s*\)|none"
_WHOLE = r"-?\d{1,18}"
_WORDS = r"[^\x00-\x08\x0b-\x1f\x7f]*"


def _list(item: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{item})(?:\s+(?:{item})){{0,{_MOST_AXES - 1}}}", re.IGNORECASE)


_FIELDS = {
    "dimension": re.compile(r"\d{1,2}"),
    "space dimension": re.compile(r"\d"),
    "block size": re.compile(_WHOLE),
    "sizes": _list(r"\d{1,18}"),
    "spacings": _list(_NUMBER),
    "axis mins": _list(_NUMBER),
    "axis maxs": _list(_NUMBER),
    "thicknesses": _list(_NUMBER),
    "space directions": _list(_VECTOR),
    "space origin": _list(_VECTOR),
    "measurement frame": _list(_VECTOR),
    "centers": _list(r"cell|node|none|\?\?\?"),
    "kinds": _list(r"[\w?-]{1,40}"),
    "endian": re.compile(r"little|big", re.IGNORECASE),
    "line skip": re.compile(r"\d{1,9}"),
    "byte skip": re.compile(r"-1|\d{1,18}"),
    **dict.fromkeys(("min", "max", "old min", "old max"), re.compile(_NUMBER, re.IGNORECASE)),
    **dict.fromkeys(
        ("space", "content", "number", "sample units", "type", "encoding", "data file"),
        re.compile(_WORDS),
    ),
    **dict.fromkeys(("labels", "units", "space units"), re.compile(_WORDS)),
}
_OTHER_NAMES = {
    "datafile": "data file",
    "centerings": "centers",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "blocksize": "block size",
    "oldmin": "old min",
    "oldmax": "old max",
    "sampleunits": "sample units",
}
_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8"), 1),
    **dict.fromkeys(("uint8_t", "char"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16"), 2),
    **dict.fromkeys(("int16_t", "ushort", "unsigned short", "unsigned short int", "uint16"), 2),
    **dict.fromkeys(("uint16_t",), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long"), 8),
    **dict.fromkeys(("signed long long int", "int64", "int64_t", "ulonglong"), 8),
    **dict.fromkeys(("unsigned long long", "unsigned long long int", "uint64"), 8),
    **dict.fromkeys(("uint64_t", "double"), 8),
}
_LONGEST_META_LINE = 8100
"""MetaIO keeps a line in a buffer of fixed size."""
_ANSWER = re.compile(r"true|false|[01tf]", re.IGNORECASE)
_META_FIELDS = {
    "NDims": re.compile(r"\d{1,2}"),
    "DimSize": _list(r"\d{1,18}"),
    "ElementNumberOfChannels": re.compile(r"[1-9]\d{0,5}"),
    "ElementType": re.compile(r"MET_\w{1,30}"),
    "ElementDataFile": re.compile(_WORDS),
    "HeaderSize": re.compile(r"-1|\d{1,12}"),
    "CompressedDataSize": re.compile(r"\d{1,18}"),
    **dict.fromkeys(("BinaryData", "CompressedData", "BinaryDataByteOrderMSB"), _ANSWER),
    "ElementByteOrderMSB": _ANSWER,
    **dict.fromkeys(
        ("Offset", "ElementSpacing", "ElementSize", "CenterOfRotation"), _list(_NUMBER)
    ),
    "TransformMatrix": re.compile(rf"(?:{_NUMBER})(?:\s+(?:{_NUMBER})){{0,255}}", re.IGNORECASE),
}
_OTHER_META_NAMES = {
    **dict.fromkeys(("Position", "Origin"), "Offset"),
    **dict.fromkeys(("Rotation", "Orientation"), "TransformMatrix"),
}
_META_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG", "MET_ULONG"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_LENGTHS = ("spacings", "space directions", "space origin", "measurement frame", "thicknesses",
            "axis mins", "axis maxs", "Offset", "ElementSpacing", "TransformMatrix",
            "CenterOfRotation", "ElementSize")  # fmt: skip
_LARGEST = 1e12
_RAW, _TEXT, _HEX = ("raw",), ("txt", "text", "ascii"), ("hex",)
_GZIP, _BZIP2 = ("gz", "gzip"), ("bz2", "bzip2")


def _damaged(what: str) -> BadInput:
    return BadInput(f"The file cannot be read: its header is damaged ({what}).", _HINT)


def check_nrrd(path: Path) -> None:
    """Refuses an NRRD header that is damaged, or that promises more than its file holds.

    Raises:
        BadInput: it is so.
        OutOfMemory: the image does not fit into the free memory.
    """
    head, start = _nrrd_header(path)
    fields = _fields(head)
    for name in ("type", "dimension", "sizes", "encoding"):
        if name not in fields:
            raise _damaged(f"no field '{name}'")
    kind, encoding = fields["type"].lower(), fields["encoding"].lower()
    sizes = [int(n) for n in fields["sizes"].split()]
    if kind not in _BYTES:
        raise _damaged(f"voxels of type '{kind:.40}'")
    if len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
        raise _damaged(f"sizes {fields['sizes']:.80}")
    voxels = path
    if "data file" in fields:
        start = 0
        named = fields["data file"]
        voxels = path.parent / named
        if named.upper().startswith("LIST") or "%" in named or not voxels.is_file():
            raise BadInput(
                f"{path}: its voxels are not in one file beside it ({named:.80}).",
                "Save it as one .nrrd file.",
            )
    wanted = bytes_of(sizes, _BYTES[kind])
    ratio = {
        **dict.fromkeys(_RAW + _HEX, 1.0),
        **dict.fromkeys(_TEXT, float(_BYTES[kind])),
        **dict.fromkeys(_GZIP, float(DEFLATED)),
        **dict.fromkeys(_BZIP2, 1e6),
    }.get(encoding)
    if ratio is None:
        raise _damaged(f"encoding '{encoding:.40}'")
    refuse_more_than_held(voxels, wanted, voxels.stat().st_size - start, ratio=ratio)
    if encoding in _TEXT + _HEX:
        _check_words(voxels, start)


def check_whole(path: Path, size: int) -> None:
    """Refuses a packed file that was just written and is cut off.

    ITK does not notice when a disk takes its last bytes no more.

    Args:
        size: bytes of its voxels.

    Raises:
        OSError: it is cut off.
    """
    held = path.stat().st_size
    if path.suffix.lower() in (".nrrd", ".nhdr"):
        _, start = _nrrd_header(path)
        with open(path, "rb") as file:
            file.seek(max(start, held - 4))
            whole = file.read() == (size % 2**32).to_bytes(4, "little")  # the end of gzip
    else:
        fields, start = _meta_fields(path)
        whole = held == start + int(fields.get("CompressedDataSize", -1))
    if not whole:
        raise OSError(errno.EIO, "not all of it was written; is the disk full?")


def _nrrd_header(path: Path) -> tuple[bytes, int]:
    """The lines before the empty one, and where the voxels begin."""
    lines, size = [], 0
    with open(path, "rb") as file:
        while size < _LONGEST_HEADER:
            line = file.readline(_LONGEST_HEADER)
            size += len(line)
            if not line.strip(b"\r\n"):
                break
            lines.append(line.rstrip(b"\r\n"))
    return b"\n".join(lines), size


def _fields(head: bytes) -> dict[str, str]:
    """Fields by name; key-value pairs and comments are only looked at for their letters."""
    found: dict[str, str] = {}
    for line in head.split(b"\n")[1:]:
        if line.startswith(b"#"):
            continue
        field, colon, value = line.partition(b": ")
        if b":=" in line and (not colon or line.index(b":=") < len(field)):
            if b"\0" in line:
                raise _damaged("zero bytes")
            continue
        text = line.decode("latin-1")
        if not colon or len(line) > _LONGEST_LINE:
            raise _damaged(f"the line {text[:50]!r}")
        name = field.decode("latin-1").strip().lower()
        name = _OTHER_NAMES.get(name, name)
        value = value.decode("latin-1").strip()
        known = _FIELDS.get(name)
        if known is None or name in found or not known.fullmatch(value) or _beyond(name, value):
            raise _damaged(f"the line {text[:50]!r}")
        found[name] = value
    return found


def _beyond(name: str, value: str) -> bool:
    """Whether a length or a direction is so large that ITK's decompositions never end."""
    if name not in _LENGTHS:
        return False
    numbers = re.findall(_NUMBER, value, re.IGNORECASE)
    return any(not abs(float(n)) <= _LARGEST for n in numbers if n.lower() != "nan")


def _check_words(path: Path, start: int) -> None:
    """Refuses voxels written as text that are other than numbers."""
    with open(path, "rb") as file:
        file.seek(start)
        rest = file.read()
    odd = re.search(rb"[^\s\d+\-.,eEa-fA-FnNiI]|\S{%d}" % _LONGEST_NUMBER, rest)
    if odd:
        raise _damaged(f"{odd[0][:20]!r} among the voxels")


def check_meta(path: Path) -> None:
    """Refuses a MetaImage header that is damaged, or that promises more than its file holds.

    Raises:
        BadInput: it is so.
        OutOfMemory: the image does not fit into the free memory.
    """
    fields, start = _meta_fields(path)
    for name in ("NDims", "DimSize", "ElementType", "ElementDataFile"):
        if name not in fields:
            raise _damaged(f"no field '{name}'")
    axes, sizes = int(fields["NDims"]), [int(n) for n in fields["DimSize"].split()]
    itemsize = _META_BYTES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if itemsize is None:
        raise _damaged(f"voxels of type {fields['ElementType']:.40}")
    if not 1 <= axes <= _MOST_AXES or len(sizes) != axes or min(sizes) < 1:
        raise _damaged(f"sizes {fields['DimSize']:.80}")
    for name, count in (("Offset", axes), ("ElementSpacing", axes), ("TransformMatrix", axes**2)):
        if name in fields and len(fields[name].split()) != count:
            raise _damaged(f"'{name}' without {count} numbers")
    named, voxels = fields["ElementDataFile"], path
    if named.upper() != "LOCAL":
        voxels, start = path.parent / named, 0
        if named.upper().startswith("LIST") or "%" in named or not voxels.is_file():
            raise BadInput(
                f"{path}: its voxels are not in one file beside it ({named:.80}).",
                "Save it as one .mha file.",
            )
    is_packed = fields.get("CompressedData", "").lower().startswith(("t", "1"))
    is_text = fields.get("BinaryData", "True").lower().startswith(("f", "0"))
    wanted = bytes_of([*sizes, int(fields.get("ElementNumberOfChannels", "1"))], itemsize)
    ratio = DEFLATED if is_packed else itemsize if is_text else 1
    held = voxels.stat().st_size - start
    if int(fields.get("CompressedDataSize", "0")) > held:
        raise _damaged("packed voxels are cut off")
    refuse_more_than_held(voxels, wanted, held, ratio=ratio)
    if is_text:
        _check_words(voxels, start)


def _meta_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields by name, and where the voxels begin."""
    found: dict[str, str] = {}
    with open(path, "rb") as file:
        while "ElementDataFile" not in found:
            line = file.readline(_LONGEST_META_LINE + 1)
            if not line:
                break
            text = line.decode("latin-1").strip()
            name, equals, value = (part.strip() for part in text.partition("="))
            name = _OTHER_META_NAMES.get(name, name)
            known = _META_FIELDS.get(name)
            short = len(line) <= (_LONGEST_LINE if known else _LONGEST_META_LINE)
            if not text and short:
                continue
            usual = bool(equals and 0 < len(name) <= 80) and short and "\0" not in text
            wrong = known and (not known.fullmatch(value) or _beyond(name, value))
            if not usual or name in found or wrong:
                raise _damaged(f"the line {text[:50]!r}")
            found[name] = value
        return found, file.tell()
