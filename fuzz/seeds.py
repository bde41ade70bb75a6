"""Writes small valid archives and tables to begin fuzzing from, and copies JPEG streams of every process and DICOM files from
the golden tests: `python3 fuzz/seeds.py fuzz/corpus`."""

import gzip
import io
import itertools
import pathlib
import struct
import sys
import tarfile
import zipfile
import zlib

# Between the tables of one input, see fuzz_targets/tables.rs.
SEPARATOR = "\x1e"

FINDINGS = "Atelectasis,Cardiomegaly,No Finding,Support Devices"

# The letter of a reader in fuzz_targets/tables.rs, and its tables in their order there.
TABLES = {
    "csv": ("a", ["path,patient,view,labels,split\na.png,p1,PA,Mass|Nodule,train\n/x/b.png,,,,\n"]),
    "csv-semicolons": ("a", ['Image Index;Patient ID;mask\na.png;7;"m;1.png"\n']),
    "csv-rows": ("a", ["sep=;\npath;patient;labels\n0.png;12,0;a\nC:\\x\\a.png;12;b|c\n0.png;nan;a\n"]),
    "csv-findings": ("a", ["path|class|Mass\r0.png|1.0|-1.0\ra.PNG|0|None\r"]),
    "mimic-jpg": (
        "b",
        [
            "dicom_id,subject_id,study_id,ViewPosition\na,10,1,AP\n",
            "dicom_id,study_id,subject_id,split\na,1,10,test\n",
            f"subject_id,study_id,{FINDINGS}\n10,1,1.0,0.0,-1.0,\n",
        ],
    ),
    "mimic": (
        "c",
        [
            "subject_id,study_id,dicom_id,path\n10,1,a,files/a.dcm\n",
            "dicom_id,split\na,validate\n",
            "dicom_id,ViewPosition\na,LATERAL\n",
        ],
    ),
    "chexpert": (
        "d",
        [
            f"Path,Frontal/Lateral,AP/PA,{FINDINGS}\nCheXpert-v1.0/train/patient1/a.jpg,Frontal,AP,1,0,,-1\n",
            f"Path,Frontal/Lateral,AP/PA,{FINDINGS}\nx/valid/b.jpg,Lateral,,1.0,0.0,,\n",
        ],
    ),
    "chexpert-plus": (
        "e",
        [
            "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id\ntrain/patient1/a.jpg,x.dcm,Frontal,PA,p1\n",
            '{"path_to_image": "train/patient1/a.jpg", "Edema": -1.0, "No Finding": null}\n',
        ],
    ),
    "nih": (
        "f",
        ["Image Index,Finding Labels,Patient ID,View Position\na.png,Mass|Hernia,1,PA\n", "a.png\n", "b.png\n"],
    ),
    "padchest": ("g", ["ImageID,ImageDir,PatientID,Projection,Labels\na.png,0,1,COSTAL,\"['mass', 'nodule']\"\n"]),
    "brax": ("h", [f"DicomPath,PngPath,PatientID,ViewPosition,{FINDINGS}\n,a.png,1,L,1,0,0,\n"]),
    "vindr": (
        "i",
        ["image_id,rad_id,No finding,Mass\na,R1,0,1\na,R2,1,0\n", "image_id,No finding,Mass\nb,1,0\n"],
    ),
    "vindr-kaggle": (
        "j",
        ["image_id,class_name,class_id,rad_id,x_min\na,No finding,14,R1,\na,ILD,5,R2,1\n", "image_id,PredictionString\nb,14 1\n"],
    ),
    "rsna": (
        "k",
        [
            "patientId,x,Target\na,1.0,1\na,2.0,1\n",
            "patientId,PredictionString\nb,\n",
            "patientId,class\na,Lung Opacity\n",
            '[{"subset_img_id": "a", "img_id": "00000001_000.png", "orig_labels": ["Mass"]}]',
        ],
    ),
    "siim": ("l", ["ImageId,EncodedPixels\na,1 2 3 4\na, -1\n"]),
    "covid": (
        "m",
        [
            "patientid,finding,view,modality,folder,filename,license\n1,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.png,CC0\n"
        ],
    ),
    "exclude": ("n", ["collection,patient,pixel_hash,note\nsiim,,,why\n,007,,\n,,abababababababab,\n"]),
}


def png(grey):
    """An image of 2 x 2 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes([0, grey, grey, 0, grey, grey]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


MEMBERS = [("a.png", png(1)), ("train/b.png", png(200)), ("train/.hidden", b"x"), ("notes.txt", b"text " * 40)]


def zip_file(method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in MEMBERS:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
        archive.writestr("empty/", b"")
        archive.comment = b"a comment"
    return file.getvalue()


def tar_file(kind):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        long_name = "deep/" * (15 if kind == tarfile.USTAR_FORMAT else 30) + "ü.txt"
        for name, content in [MEMBERS[0], (long_name, b"a long name")]:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        archive.addfile(link)
    # Without the zeros at the end, for small inputs are changed faster.
    content = file.getvalue().rstrip(b"\0")
    return content + bytes(-len(content) % 512)


def archives():
    yield "stored.zip", zip_file(zipfile.ZIP_STORED)
    yield "deflated.zip", zip_file(zipfile.ZIP_DEFLATED)
    yield "empty.zip", b"PK\x05\x06" + bytes(18)
    for name, kind in [("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT), ("ustar", tarfile.USTAR_FORMAT)]:
        content = tar_file(kind)
        yield f"{name}.tar", content
        yield f"{name}.tar.gz", gzip.compress(content, mtime=0)
    # Two streams in one file.
    yield "two.tar.gz", gzip.compress(content[:700], mtime=0) + gzip.compress(content[700:], mtime=0)


def tables():
    for name, (letter, files) in TABLES.items():
        yield name, (letter + SEPARATOR.join(files)).encode()
    letter, files = TABLES["csv-rows"]
    yield "csv-utf-16", letter.encode() + files[0].encode("utf-16")
    yield "csv-latin-1", letter.encode() + b"path,patient,labels\n0.png,1,neumon\xeda\n"
    letter, files = TABLES["nih"]
    packed = [gzip.compress(file.encode(), mtime=0) for file in files[:1]]
    yield "nih-gzipped", SEPARATOR.encode().join([letter.encode() + packed[0], *(file.encode() for file in files[1:])])


def put(tag, kind, value, coding="explicit"):
    """An element, with its length unless the value is of undefined length (a list of items)."""
    order = ">" if coding == "big" else "<"
    length = 0xFFFFFFFF if isinstance(value, list) else len(value)
    head = struct.pack(order + "HH", *tag)
    if coding == "implicit":
        head += struct.pack("<I", length)
    elif kind in (b"OB", b"OW", b"SQ", b"UN"):
        head += kind + b"\0\0" + struct.pack(order + "I", length)
    else:
        head += kind + struct.pack(order + "H", length)
    if not isinstance(value, list):
        return head + value
    order = "<" if kind == b"UN" else order
    # Fragments have a length, items of a sequence do not.
    for item in value:
        if tag[0] == 0x7FE0:
            head += struct.pack(order + "HHI", 0xFFFE, 0xE000, len(item)) + item
        else:
            head += struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + item
            head += struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
    return head + struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)


def data_set(coding, extra=b"", behind=b"", photometric=b"MONOCHROME2 ", pixels=bytes(range(12)), first=0):
    """An image of 4 x 3 pixels; from one element on, implicit."""
    word = lambda value: struct.pack(">H" if coding == "big" else "<H", value)
    elements = [
        ((0x08, 0x16), b"UI", b"1.2.840.10008.5.1.4.1.1.1\0"),
        ((0x10, 0x20), b"LO", b"P1"),
        ((0x28, 0x02), b"US", word(1)),
        ((0x28, 0x04), b"CS", photometric),
        ((0x28, 0x10), b"US", word(3)),
        ((0x28, 0x11), b"US", word(4)),
        ((0x28, 0x100), b"US", word(8)),
        ((0x28, 0x101), b"US", word(8)),
        ((0x28, 0x103), b"US", word(0)),
    ]
    codings = ["implicit" if first and at >= first else coding for at in range(len(elements) + 1)]
    start, *rest = [put(*element, coding) for element, coding in zip(elements, codings)]
    return start + extra + b"".join(rest) + behind + put((0x7FE0, 0x10), b"OB", pixels, codings[-1])


def dicom():
    def with_meta(syntax, body, coding="explicit"):
        uid = syntax + b"\0" * (len(syntax) % 2)
        return bytes(128) + b"DICM" + put((2, 0x10), b"UI", uid, coding) + body

    explicit, implicit, big = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2"
    deflated = b"1.2.840.10008.1.2.1.99"
    private = put((9, 0x1011), b"", b"AB", "implicit")
    nested = put((8, 0x1115), b"", [private, b""], "implicit")
    for name, coding, syntax in [("explicit", "explicit", explicit), ("big", "big", big)]:
        for kind, items in [("private", [private]), ("nested", [nested]), ("empty", [b""]), ("none", [])]:
            yield f"un-{kind}-{name}.dcm", with_meta(syntax, data_set(coding, put((9, 0x1010), b"UN", items, coding)))
    for claimed in (explicit, implicit, big):
        for coding in ("explicit", "implicit", "big"):
            yield f"says-{claimed.decode()}-is-{coding}.dcm", with_meta(claimed, data_set(coding))
    yield "switches.dcm", with_meta(explicit, data_set("explicit", first=4))
    yield "implicit-meta.dcm", with_meta(explicit, data_set("explicit"), "implicit")
    yield "bare-big.dcm", data_set("big")
    yield "zlib.dcm", with_meta(deflated, zlib.compress(data_set("explicit")))
    yield "in-fragments.dcm", with_meta(explicit, data_set("explicit", pixels=[b"", bytes(12)]))
    window = put((0x28, 0x1050), b"DS", b"5 ") + put((0x28, 0x1051), b"DS", b"9 ")
    groups = put((0x5200, 0x9229), b"SQ", [put((0x28, 0x9132), b"SQ", [window])])
    yield "groups.dcm", with_meta(explicit, data_set("explicit", behind=groups))
    descriptors = [put((0x28, 0x1100 + color), b"US", struct.pack("<HHH", 12, 0, 16)) for color in (1, 2, 3)]
    segments = struct.pack("<14H", 0, 2, 5, 900, 1, 3, 60000, 2, 2, 0, 0, 1, 2, 9)
    tables = [put((0x28, 0x1220 + color), b"OW", segments) for color in (1, 2, 3)]
    palette = b"".join(descriptors + tables)
    yield "segmented.dcm", with_meta(explicit, data_set("explicit", behind=palette, photometric=b"PALETTE COLOR "))


GOLDEN = pathlib.Path(__file__).parent.parent / "crates/radiograph/tests/golden"


def images(ending):
    """Lossless streams with restart marks and progressive ones are among them."""
    for path in sorted(GOLDEN.glob(f"*/*.{ending}")):
        yield f"{path.parent.name}-{path.name}", path.read_bytes()


if __name__ == "__main__":
    for target, inputs in [
        ("archive", archives()),
        ("tables", tables()),
        ("jpeg", images("jpg")),
        ("dicom", itertools.chain(dicom(), images("dcm"))),
    ]:
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in inputs:
            (folder / name).write_bytes(content)
