"""Valid files made invalid: what storage, copying, other programs and ill will do to them.

Everything is drawn from one ``random.Random``, so that hypothesis (which hands in one of its own
and shrinks what it drew) and a seeded loop can use the same mutations. Bytes are changed inside
what packs them where there is such a thing: a flipped bit in a gzip file only tests its checksum.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Files = dict[str, bytes]
"""What a reader is given: contents by name, relative to one folder."""

HOSTILE_NUMBERS = (
    *("0", "-0", "-1", "1", "2", "3", "7", "0.0", "1e-310", "1e-30", "1e30", "1e308", "1e400"),
    *("-1e400", "nan", "NaN", "-inf", "Infinity", "255", "256", "32767", "32768", "65535", "65536"),
    *("2147483647", "2147483648", "-2147483648", "4294967295", "4294967296", "1000000"),
    *("9223372036854775807", "18446744073709551616", "9" * 400, "0x10", "1,5", "١", "1_000", ""),
)
HOSTILE_TEXTS = (
    *("", " ", "\0", "\x00abc", "\ufeff", "\udcff", "é" * 300, "x" * 5000, "../../../etc/passwd"),
    *(
        "/dev/zero",
        "/",
        ".",
        "..",
        "~nobody9/x",
        "${HOME}",
        "a\nb",
        "-rf",
        "%s%n",
        "CON",
        "\x85\x1c",
    ),
)
_INTEGERS = (0, 1, 2, 127, 128, 255, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1,
             2**40, 2**63 - 1, 2**64 - 1)  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-310, 1e-30, 1e30, 1e300, float("nan"), float("inf"))
_DEEP = (60, 900, 20000)


def mutated(files: Files, random: Random) -> Files:
    """One to four changes of ``files``."""
    changed = dict(files)
    for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
        names = sorted(changed)
        if not names:
            break
        name = random.choice(names)
        what = random.randrange(40)
        if what == 0 and len(names) > 1:
            del changed[name]
        elif what == 1 and len(names) > 1:
            changed[name] = changed[random.choice(names)]
        else:
            changed[name] = _mutator(name)(changed[name], random)
    return changed


def _mutator(name: str) -> Callable[[bytes, Random], bytes]:
    lower = name.lower()
    return next((change for ending, change in _BY_ENDING if lower.endswith(ending)), raw)


def raw(data: bytes, random: Random) -> bytes:
    """Bytes changed, cut, moved, doubled, lengthened."""
    # Headers are at the beginning, and matter more than voxels.
    reach = min(len(data), random.choice((64, 512, len(data) or 1))) or 1
    at = random.randrange(reach)
    what = random.randrange(9)
    if what == 0:
        return data[:at]
    if what == 1:
        return data + bytes(random.choice((1, 7, 4096)))
    if what == 2:
        return data[:at] + data[at + random.choice((1, 4, 100)) :]
    if what == 3:
        size = random.choice((1, 16, 300))
        return data[:at] + data[at : at + size] + data[at:]
    if what == 4:
        other = random.randrange(len(data) or 1)
        piece = data[other : other + random.choice((1, 2, 4, 8, 64))]
        return data[:at] + piece + data[at + len(piece) :]
    if what in (5, 6):
        piece = _number(random)
        return data[:at] + piece + data[at + len(piece) :]
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 3, 16))):
        if changed:
            changed[random.randrange(reach)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _number(random: Random) -> bytes:
    """A value at the edge of what its type holds, in one byte order or the other."""
    order = random.choice("<>")
    if random.randrange(2):
        size = random.choice((1, 2, 4, 8))
        value = random.choice(_INTEGERS) % 256**size
        return value.to_bytes(size, "little" if order == "<" else "big")
    value, kind = random.choice(_FLOATS), random.choice("fd")
    return struct.pack(order + kind, value if kind == "d" or value != 1e300 else 1e38)


def text(data: bytes, random: Random) -> bytes:
    """Lines, numbers and words of a text changed; sometimes another encoding."""
    if random.randrange(6) == 0:
        return random.choice((raw(data, random), data.decode("latin-1").encode("utf-16")))
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    at = random.randrange(len(lines))
    what = random.randrange(7)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[random.randrange(len(lines))])
    elif what == 2:
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif what == 3:
        depth = random.choice(_DEEP)
        lines[at] += " = " + "[" * depth + "]" * depth
    else:
        words = lines[at].split(" ")
        word = random.randrange(len(words))
        words[word] = random.choice(random.choice((HOSTILE_NUMBERS, HOSTILE_TEXTS)))
        lines[at] = " ".join(words)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def structured(data: bytes, random: Random) -> bytes:
    """One entry of a JSON text replaced, left out or there twice."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return text(data, random)
    if random.randrange(4) == 0:
        return text(data, random)
    return _replaced(tree, random).encode("utf-8", "surrogatepass")


def _replaced(tree: Any, random: Random) -> str:
    """JSON of ``tree`` with a hostile value at a place that is drawn on the way down."""
    if isinstance(tree, dict) and tree and random.randrange(5):
        key = random.choice(sorted(tree))
        rest = {k: v for k, v in tree.items() if k != key}
        whole = json.dumps(rest)[1:-1]
        fate = random.randrange(8)
        if fate == 0:
            return "{" + whole + "}"
        name = json.dumps(key if fate != 1 else random.choice(HOSTILE_TEXTS))
        pair = f"{name}: {_replaced(tree[key], random)}"
        pairs = [whole, pair, pair] if fate == 2 else [whole, pair]
        return "{" + ", ".join(p for p in pairs if p) + "}"
    if isinstance(tree, list) and tree and random.randrange(4):
        at = random.randrange(len(tree))
        items = [json.dumps(item) for item in tree[:200]]
        if at < len(items):
            items[at] = _replaced(tree[at], random)
        fate = random.randrange(6)
        return "[" + ", ".join(items[:at] if fate == 0 else items * (2 if fate == 1 else 1)) + "]"
    return _hostile_json(random)


def _hostile_json(random: Random) -> str:
    kind = random.randrange(5)
    if kind == 0:
        return random.choice(("null", "true", "false", "[]", "{}", "[null]", '[""]', '{"a": {}}'))
    if kind == 1:
        return json.dumps(random.choice(HOSTILE_TEXTS))
    if kind == 2:
        depth = random.choice(_DEEP)
        opened, closed = random.choice((("[", "]"), ('{"a":', "}")))
        return opened * depth + "1" + closed * depth
    return random.choice(HOSTILE_NUMBERS) or "null"


def in_gzip(data: bytes, random: Random) -> bytes:
    """Inside of a gzip file, or the file itself; sometimes what it holds is endless."""
    what = random.randrange(6)
    if what == 0:
        return raw(data, random)
    try:
        inside = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return raw(data, random)
    if what == 1:
        inside += bytes(1 << 21)
    return gzip.compress(raw(inside, random), 1, mtime=0)


def in_zip(data: bytes, random: Random) -> bytes:
    """A member of an archive changed, renamed, left out or stored packed."""
    if random.randrange(5) == 0:
        return raw(data, random)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zlib.error,
            zipfile.BadZipFile, struct.error):  # fmt: skip
        return raw(data, random)
    if not members:
        return data
    name = random.choice(sorted(members))
    what = random.randrange(8)
    if what == 0:
        del members[name]
    elif what == 1:
        members[random.choice(("extra.npy", "../up.npy", ""))] = members.pop(name)
    else:
        members[name] = _mutator(name)(members[name], random)
    packed = io.BytesIO()
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return packed.getvalue()


def in_header(end: bytes) -> Callable[[bytes, Random], bytes]:
    """Changes of a text header that ends with ``end``, rarely of what follows."""

    def change(data: bytes, random: Random) -> bytes:
        head, mark, body = data.partition(end)
        if not mark or random.randrange(4) == 0:
            return raw(data, random)
        return text(head, random) + mark + body

    return change


_DESCRIPTIONS = ("<f4", "<f8", ">i2", "|u1", "|b1", "<c8", "|O", "|V8", "<U9", "<M8[s]", "|S0", "x")
_SHAPES = ("()", "(0,)", "(-1,)", "(7,)", "(2, 3, 4)", "(1, 0, 3)", "(2**40,)", "(100000,) * 3",
           "(1099511627776, 4, 4)", "(4, 4, 4, 1048576)", "(1,) * 40", "None")  # fmt: skip


def in_npy(data: bytes, random: Random) -> bytes:
    """The header of a NumPy array rewritten, so that it lies."""
    if random.randrange(3) == 0 or not data.startswith(b"\x93NUMPY\x01"):
        return raw(data, random)
    size = struct.unpack_from("<H", data, 8)[0] if len(data) > 10 else 0
    head = data[10 : 10 + size].decode("latin-1").strip()
    try:
        known = eval(head, {"__builtins__": {}})
        what = random.choice(("descr", "shape", "fortran_order"))
        known[what] = {"descr": random.choice(_DESCRIPTIONS), "fortran_order": True,
                       "shape": eval(random.choice(_SHAPES))}[what]  # fmt: skip
        head = repr(known)
    except Exception:
        return raw(data, random)
    line = head.encode().ljust(117) + b"\n"
    return data[:8] + struct.pack("<H", len(line)) + line + data[10 + size :]


def in_safetensors(data: bytes, random: Random) -> bytes:
    """The JSON header of weights changed, its length right or wrong."""
    if random.randrange(4) == 0 or len(data) < 8:
        return raw(data, random)
    size = struct.unpack_from("<Q", data)[0]
    head = structured(data[8 : 8 + size], random)
    told = len(head) if random.randrange(4) else random.choice(_INTEGERS) % 2**64
    return struct.pack("<Q", told) + head + data[8 + size :]


def in_dicom(data: bytes, random: Random) -> bytes:
    """The value of one element replaced, or left out."""
    if random.randrange(3) == 0:
        return raw(data, random)
    import warnings

    import pydicom
    from pydicom.dataelem import RawDataElement

    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        where = dataset
        tag = random.choice(sorted(where.keys()))
        while where[tag].VR == "SQ" and where[tag].value and random.randrange(6):
            where = random.choice(list(where[tag].value))
            tag = random.choice(sorted(where.keys()))
        if random.randrange(6) == 0:
            del where[tag]
        else:
            kind = where[tag].VR
            value = random.choice(random.choice((HOSTILE_NUMBERS, HOSTILE_TEXTS))).encode(
                "utf-8", "surrogateescape"
            )
            if kind in ("US", "SS", "UL", "SL", "FD", "FL", "OW", "OB"):
                value = _number(random)
            elif random.randrange(3) == 0:
                value = b"\\".join([value] * random.choice((2, 3, 6)))
            little = dataset.file_meta.TransferSyntaxUID.is_little_endian
            element = RawDataElement(tag, kind, len(value), value, 0, False, little)
            where._dict[element.tag] = element
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        return out.getvalue()
    return raw(data, random)


def in_hdf5(data: bytes, random: Random) -> bytes:
    """XML or readout headers of ISMRMRD changed through the library, or the bytes themselves."""
    if random.randrange(2) == 0:
        return raw(data, random)
    import h5py

    with contextlib.suppress(Exception):
        held = io.BytesIO(data)
        with h5py.File(held, "r+") as file:
            group = file["dataset"]
            if random.randrange(2):
                xml = bytes(group["xml"][0])
                spots = [at for at, letter in enumerate(xml) if letter == ord(">")]
                at = random.choice(spots) + 1
                until = xml.find(b"<", at)
                value = random.choice(random.choice((HOSTILE_NUMBERS, HOSTILE_TEXTS)))
                group["xml"][0] = xml[:at] + value.encode("utf-8", "ignore") + xml[until:]
            else:
                at = random.randrange(len(group["data"]))
                row = group["data"][at]
                name = random.choice(row["head"].dtype.names)
                field = row["head"][name]
                size = field.dtype.itemsize * max(1, field.size)
                filled = (_number(random) * size)[:size]
                import numpy as np

                row["head"][name] = np.frombuffer(filled, field.dtype).reshape(field.shape or (1,))[
                    ... if field.shape else 0
                ]
                group["data"][at] = row
        return held.getvalue()
    return raw(data, random)


_BY_ENDING: tuple[tuple[str, Callable[[bytes, Random], bytes]], ...] = (
    (".nii.gz", in_gzip),
    (".mgz", in_gzip),
    (".npz", in_zip),
    (".npy", in_npy),
    (".nrrd", in_header(b"\n\n")),
    (".nhdr", text),
    (".mhd", text),
    (".mha", in_header(b"ElementDataFile = LOCAL\n")),
    (".json", structured),
    (".toml", text),
    (".csv", text),
    (".tsv", text),
    (".txt", text),
    ("cfl.hdr", text),
    (".safetensors", in_safetensors),
    (".dcm", in_dicom),
    (".h5", in_hdf5),
)
