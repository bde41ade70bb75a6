"""Writes small valid archives and tables to begin fuzzing from, and copies JPEG streams of every process and DICOM files from
the golden tests: `python3 fuzz/seeds.py fuzz/corpus`."""

import gzip
import io
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
    "rsna": (
        "j",
        [
            "patientId,x,Target\na,1.0,1\na,2.0,1\n",
            "patientId,PredictionString\nb,\n",
            "patientId,class\na,Lung Opacity\n",
            '[{"subset_img_id": "a", "img_id": "00000001_000.png", "orig_labels": ["Mass"]}]',
        ],
    ),
    "siim": ("k", ["ImageId,EncodedPixels\na,1 2 3 4\na, -1\n"]),
    "covid": (
        "l",
        [
            "patientid,finding,view,modality,folder,filename,license\n1,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.png,CC0\n"
        ],
    ),
    "exclude": ("m", ["collection,patient,pixel_hash,note\nsiim,,,why\n,007,,\n,,abababababababab,\n"]),
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
    letter, files = TABLES["nih"]
    packed = [gzip.compress(file.encode(), mtime=0) for file in files[:1]]
    yield "nih-gzipped", SEPARATOR.encode().join([letter.encode() + packed[0], *(file.encode() for file in files[1:])])


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
        ("dicom", images("dcm")),
    ]:
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in inputs:
            (folder / name).write_bytes(content)
