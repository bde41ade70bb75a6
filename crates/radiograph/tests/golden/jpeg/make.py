"""Writes small JPEG streams of every process that is read, and what other programs make of them.

`expected.txt` has one block for each image: a line `height width NAME NAME...` with all streams of it, and its samples; red,
green and blue of a pixel are joined by commas. All streams whose names begin with `grey_` are one grey image.

- `grey_*`: Pillow (libjpeg-turbo): grey, RGB without transform, YCbCr at three resolutions, baseline and progressive.
- `lossless_*`: imagecodecs (libjpeg-turbo 3) without, dcmtk's dcmcjpeg with a point transform; with restart marks the
  encoder below, after ITU-T T.81, annex H, for neither program writes them. dcmtk's dcmdjpeg decodes all of them.
- `spectral_*`, `progressive_*`: dcmtk's dcmcjpeg; dcmdjpeg decodes them.

    pip install imagecodecs numpy pillow pydicom
    apt-get install dcmtk
    python make.py

Made with imagecodecs 2026.3.6, Pillow 13.0.0, pydicom 3.0.2 and dcmtk 3.6.7.
"""

import io
import struct
import subprocess
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import ExplicitVRLittleEndian, JPEGLossless

HERE = Path(__file__).parent
HEIGHT, WIDTH = 29, 37


def picture(bits, height=HEIGHT, width=WIDTH):
    """A smooth hill with texture, a bright square and a dark one."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    values = 0.1 + 0.6 * np.exp(-((x - 20) ** 2 + (y - 14) ** 2) / 120) + 0.1 * ((x * 7 + y * 3) % 5) / 5
    values[2:7, 3:9] = 1
    values[20:26, 25:33] = 0
    return np.round(values * (2**bits - 1)).astype(np.uint16 if bits > 8 else np.uint8)


def dataset(values, bits, syntax=ExplicitVRLittleEndian, codestream=None):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    meta.TransferSyntaxUID, meta.ImplementationClassUID = syntax, "1.2.3"
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3.1", "1.2.3.2", "OT"
    data.PatientName = data.PatientID = "x"
    data.SamplesPerPixel = 1 if values.ndim == 2 else 3
    data.PhotometricInterpretation = "MONOCHROME2" if values.ndim == 2 else "RGB"
    if values.ndim == 3:
        data.PlanarConfiguration = 0
    data.Rows, data.Columns = values.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    data.PixelRepresentation = 0
    data.PixelData = values.tobytes() + bytes(values.nbytes % 2) if codestream is None else encapsulate([codestream])
    data["PixelData"].VR = "OB" if bits <= 8 or codestream else "OW"
    data["PixelData"].is_undefined_length = codestream is not None
    return data


def dcmtk(program, data, *options):
    """What a program of dcmtk makes of a data set."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.dcm", Path(folder) / "b.dcm"
        data.save_as(source, enforce_file_format=True)
        subprocess.run([program, *options, source, target], check=True)
        return dcmread(target)


def lossless(values, bits, predictor, shift, interval):
    """Process 14 with a restart mark after every `interval` samples; a code of 5 bits for each size."""

    def segment(marker, content):
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content

    height, width = values.shape
    values = values.astype(int) >> shift
    pieces = []
    for start in range(0, height * width, interval):
        text = ""
        for at in range(start, min(start + interval, height * width)):
            y, x = divmod(at, width)
            if at == start:
                guess = 1 << (bits - shift - 1)
            elif y == start // width:
                guess = values[y, x - 1]
            elif x == 0:
                guess = values[y - 1, x]
            else:
                a, b, c = values[y, x - 1], values[y - 1, x], values[y - 1, x - 1]
                guess = [a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1][predictor - 1]
            difference = (values[y, x] - guess + 32767) % 65536 - 32767
            size = int(abs(difference)).bit_length()
            text += format(size, "05b")
            if 0 < size < 16:
                text += format(difference if difference > 0 else difference + (1 << size) - 1, f"0{size}b")
        text += "1" * (-len(text) % 8)
        pieces.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\0"))
    out = b"\xff\xd8" + segment(0xC3, struct.pack(">BHHB", bits, height, width, 1) + bytes([1, 0x11, 0]))
    out += segment(0xC4, bytes([0, 0, 0, 0, 0, 17] + [0] * 11 + list(range(17))))
    out += segment(0xDD, struct.pack(">H", interval)) + segment(0xDA, bytes([1, 1, 0, predictor, 0, shift]))
    for number, piece in enumerate(pieces):
        out += (b"\xff" + bytes([0xD0 + (number - 1) % 8]) if number else b"") + piece
    return out + b"\xff\xd9"


def main():
    blocks = {}

    def write(name, codestream, values):
        (HERE / f"{name}.jpg").write_bytes(codestream)
        lines = (" ".join(",".join(map(str, np.atleast_1d(pixel))) for pixel in row) for row in values)
        blocks.setdefault((values.shape[:2], "\n".join(lines)), []).append(name)

    grey = Image.fromarray(picture(8))
    color = Image.merge("RGB", [grey] * 3)
    ways = {"rgb": dict(keep_rgb=True), "444": dict(subsampling=0), "422": dict(subsampling=1), "420": dict(subsampling=2)}
    for kind, progressive in [("baseline", False), ("progressive", True)]:
        for name, way in [("grey", None), *ways.items()]:
            buffer = io.BytesIO()
            (grey if way is None else color).save(buffer, "JPEG", quality=85, progressive=progressive, **(way or {}))
            # Pillow rounds colours that it converts; the component of brightness is exact.
            opened = Image.open(buffer)
            opened.draft("YCbCr" if name.isdigit() else None, None)
            write(f"grey_{name}_{kind}", buffer.getvalue(), np.asarray(opened.split()[0]))

    def checked(name, values, bits, codestream):
        decoded = dcmtk("dcmdjpeg", dataset(values, bits, JPEGLossless, codestream)).pixel_array
        assert (decoded == values).all(), name
        write(name, codestream, values)

    for bits in [8, 12, 16]:
        values = picture(bits)
        for predictor in range(1, 8):
            codestream = imagecodecs.jpeg_encode(values, lossless=True, predictor=predictor, bitspersample=bits)
            checked(f"lossless_u{bits}_predictor{predictor}", values, bits, codestream)
    values = picture(8)
    values = np.stack([values, values[::-1], values // 2], -1)
    checked("lossless_rgb", values, 8, imagecodecs.jpeg_encode(values, lossless=True, predictor=4))
    for bits, predictor, shift in [(12, 1, 1), (16, 6, 3)]:
        made = dcmtk("dcmcjpeg", dataset(picture(bits), bits), "+el", "+sv", str(predictor), "+pt", str(shift))
        codestream = get_frame(made.PixelData, 0, number_of_frames=1)
        checked(f"lossless_u{bits}_shift{shift}", picture(bits) >> shift << shift, bits, codestream)
    for bits, predictor, shift, lines in [(12, 1, 0, 1), (12, 4, 1, 8), (16, 7, 3, 5), (8, 5, 0, 1), (16, 6, 0, 3)]:
        values = picture(bits) >> shift << shift
        codestream = lossless(values, bits, predictor, shift, lines * WIDTH)
        checked(f"lossless_u{bits}_predictor{predictor}_restart{lines}", values, bits, codestream)
    for name, option in [("spectral", "+es"), ("progressive", "+ep")]:
        for bits in [8, 12]:
            made = dcmtk("dcmcjpeg", dataset(picture(bits), bits), option, "+q", "90")
            values = dcmtk("dcmdjpeg", made).pixel_array
            assert made.BitsStored == bits
            write(f"{name}_u{bits}", get_frame(made.PixelData, 0, number_of_frames=1), values)
    with open(HERE / "expected.txt", "w") as expected:
        for (shape, samples), names in blocks.items():
            print(*shape, *names, file=expected)
            print(samples, file=expected)


if __name__ == "__main__":
    main()
