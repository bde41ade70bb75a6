"""Writes the DICOM fixtures of this folder and what pydicom makes of them.

Each `NAME.dcm` is a small image in one encoding. `expected.txt` has one block for each: a line
`NAME height width` and the brightness of every pixel in 0..=1, from pydicom's `pixel_array`, `apply_modality_lut` and
`apply_voi_lut`, divided by the range of the window or table, inverted for MONOCHROME1.

    pip install pydicom numpy pillow pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg pyjpegls imagecodecs
    python make.py

Made with pydicom 3.0.2, pylibjpeg-libjpeg 2.5.0, pylibjpeg-openjpeg 2.6.0, pyjpegls 1.5.1 and imagecodecs 2026.3.6.
High-throughput JPEG 2000 and JPEG XL are written and read by imagecodecs, which has OpenJPH 0.26.3 and libjxl 0.11.2.
JPEG lossless has no encoder among these: `lossless_jpeg` below is one, after ITU-T T.81, annex H; the expected values
come from pylibjpeg. Files called `refused_NAME.dcm` are not in `expected.txt`: the decoder says why it does not read
them.
"""

from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2K,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

JPEGXLLossless = "1.2.840.10008.1.2.4.110"
JPEGXLJPEGRecompression = "1.2.840.10008.1.2.4.111"
JPEGXL = "1.2.840.10008.1.2.4.112"

HERE = Path(__file__).parent
HEIGHT, WIDTH = 13, 18


def picture(bits, signed=False, height=HEIGHT, width=WIDTH):
    """A smooth hill with texture and flat parts, over most of the range."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    hill = np.exp(-((x - 8) ** 2 + (y - 6) ** 2) / 30)
    values = hill * 0.8 + 0.1 * ((x * 7 + y * 3) % 5) / 5
    values[:3, :7] = 0.05
    values[-2:, -6:] = 0.99
    top = 2**bits - 1
    whole = np.round(values * top).clip(0, top).astype(np.int64)
    if signed:
        whole -= 2 ** (bits - 1)
    return whole


def table(first, entries, bits, signed):
    item = Dataset()
    item.add_new(0x00283002, "SS" if signed else "US", [len(entries), first, bits])
    item.add_new(0x00283006, "US", [int(entry) for entry in entries])
    return Sequence([item])


def dataset(values, bits, syntax=ExplicitVRLittleEndian, signed=False, photometric="MONOCHROME2", **attributes):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    meta.TransferSyntaxUID = syntax
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    out.SOPClassUID = meta.MediaStorageSOPClassUID
    out.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    out.PatientName = "Phantom^Painted"
    out.PatientID = "P-0042"
    out.ViewPosition = "PA"
    out.Modality = "DX"
    allocated = 8 if bits <= 8 else 16
    out.Rows, out.Columns = values.shape[:2]
    out.SamplesPerPixel = 1 if values.ndim == 2 else 3
    if values.ndim == 3:
        out.PlanarConfiguration = 0
    out.PhotometricInterpretation = photometric
    out.BitsAllocated, out.BitsStored, out.HighBit = allocated, bits, bits - 1
    out.PixelRepresentation = int(signed)
    for name, value in attributes.items():
        setattr(out, name, value)
    kind = {(8, False): "u1", (8, True): "i1", (16, False): "<u2", (16, True): "<i2"}[allocated, signed]
    if syntax == ExplicitVRBigEndian and allocated == 16:
        kind = kind.replace("<", ">")
    out.PixelData = values.astype(kind).tobytes()
    if len(out.PixelData) % 2:
        out.PixelData += b"\0"
    out["PixelData"].VR = "OW" if allocated == 16 else "OB"
    return out


def lossless_jpeg(values, precision, predictor=1):
    """ITU-T T.81, process 14, predictors of table H.1, one Huffman table with all categories of equal rank."""
    height, width = values.shape
    lengths = [0] * 16
    lengths[3], lengths[4] = 14, 3  # 14 codes of 4 bits, 3 of 5 bits: categories 0 to 16
    codes, code, symbol = {}, 0, 0
    for size, count in enumerate(lengths, start=1):
        for _ in range(count):
            codes[symbol] = format(code, f"0{size}b")
            code, symbol = code + 1, symbol + 1
        code <<= 1
    bits = []
    for row in range(height):
        for column in range(width):
            left, above, corner = (
                int(values[max(row - up, 0), max(column - back, 0)]) for up, back in ((0, 1), (1, 0), (1, 1))
            )
            if row and column:
                prediction = {
                    1: left,
                    2: above,
                    3: corner,
                    4: left + above - corner,
                    5: left + ((above - corner) >> 1),
                    6: above + ((left - corner) >> 1),
                    7: (left + above) >> 1,
                }[predictor]
            elif column:
                prediction = left
            else:
                prediction = above if row else 1 << (precision - 1)
            difference = (int(values[row, column]) - int(prediction) + 32768) % 65536 - 32768
            category = abs(difference).bit_length()
            bits.append(codes[category])
            if 0 < category < 16:
                extra = difference if difference > 0 else difference + (1 << category) - 1
                bits.append(format(extra, f"0{category}b"))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")
    word = lambda value: value.to_bytes(2, "big")
    frame = b"\xff\xc3" + word(11) + bytes([precision]) + word(height) + word(width) + b"\x01\x01\x11\x00"
    huffman = b"\xff\xc4" + word(2 + 17 + 17) + b"\x00" + bytes(lengths) + bytes(range(17))
    scan = b"\xff\xda" + word(8) + b"\x01\x01\x00" + bytes([predictor]) + b"\x00\x00"
    return b"\xff\xd8" + frame + huffman + scan + data + b"\xff\xd9"


def brightness(read):
    """The expected brightness, and how it is normalised."""
    stored = read.pixel_array
    if read.PhotometricInterpretation == "PALETTE COLOR":
        bits = read.RedPaletteColorLookupTableDescriptor[2]
        if read.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
            # `apply_color_lut` takes the words of tables as little endian whatever the file is.
            for color in ("Red", "Green", "Blue"):
                data = read[f"{color}PaletteColorLookupTableData"]
                data.value = np.frombuffer(data.value, ">u2").astype("<u2").tobytes()
        return apply_color_lut(stored, read).astype(np.float64) @ [0.299, 0.587, 0.114] / (2**bits - 1)
    if read.SamplesPerPixel == 3:
        return stored.astype(np.float64) @ [0.299, 0.587, 0.114] / (2**read.BitsStored - 1)
    if read.PixelRepresentation == 0:
        stored = stored & (2**read.BitsStored - 1)
    modality = apply_modality_lut(stored, read)
    shown = apply_voi_lut(modality, read).astype(np.float64)
    if "VOILUTSequence" in read:
        low, high = 0, 2 ** int(read.VOILUTSequence[0].LUTDescriptor[2]) - 1
    elif "WindowWidth" in read:
        # The output range that pydicom documents: the possible values after the modality step.
        if "ModalityLUTSequence" in read:
            low, high = 0, 2 ** int(read.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        elif read.PixelRepresentation:
            low, high = -(2 ** (read.BitsStored - 1)), 2 ** (read.BitsStored - 1) - 1
        else:
            low, high = 0, 2**read.BitsStored - 1
        if "RescaleSlope" in read:
            low, high = (value * read.RescaleSlope + read.RescaleIntercept for value in (low, high))
    elif read.BitsStored <= 8:
        # As in a PNG: the values as they are, over all that can be stored.
        low, high = 0, 2**read.BitsStored - 1
    else:
        # Nearest-rank percentiles 0.5 and 99.5.
        ordered = np.sort(shown.ravel())
        low, high = (ordered[int(np.floor(p / 100 * (ordered.size - 1) + 0.5))] for p in (0.5, 99.5))
    shown = ((shown - low) / (high - low)).clip(0, 1)
    return 1 - shown if read.PhotometricInterpretation == "MONOCHROME1" else shown


def main():
    # The files; decoded values that do not come from pydicom; transfer syntaxes that pydicom does not write.
    files, references, renamed = {}, {}, {}
    ramp = np.round(255 * (np.arange(200) / 199) ** 2)
    window12 = dict(WindowCenter="1800", WindowWidth="2400")
    files["u8"] = dataset(picture(8), 8, WindowCenter="128", WindowWidth="256")
    files["u8_no_window"] = dataset(picture(8), 8)
    files["u10_window"] = dataset(picture(10), 10, WindowCenter="500", WindowWidth="700")
    files["u12_window"] = dataset(picture(12), 12, **window12, ImagerPixelSpacing=["0.143", "0.15"])
    files["u12_study"] = dataset(
        picture(12), 12, **window12, ImagerPixelSpacing=["0.143", "0.15"], StudyInstanceUID="1.2.826.0.1.3680043.8.498.2",
        SeriesInstanceUID="1.2.826.0.1.3680043.8.498.3", StudyDate="20240229", StudyTime="101500", StudyID="7",
        AccessionNumber="A-1", PatientBirthDate="19600101", PatientSex="F",
    )
    files["u12_two_windows"] = dataset(picture(12), 12, WindowCenter=["1500", "9"], WindowWidth=["900", "3"])
    files["u14_sigmoid"] = dataset(picture(14), 14, WindowCenter="7000", WindowWidth="6000", VOILUTFunction="SIGMOID")
    files["u14_exact"] = dataset(picture(14), 14, WindowCenter="7000", WindowWidth="6000", VOILUTFunction="LINEAR_EXACT")
    files["u16"] = dataset(picture(16), 16, WindowCenter="30000", WindowWidth="50000")
    files["i16_rescale"] = dataset(
        picture(16, True), 16, signed=True, RescaleSlope="0.5", RescaleIntercept="-1000", WindowCenter="-1200", WindowWidth="20000"
    )
    files["i12_signed"] = dataset(picture(12, True), 12, signed=True, WindowCenter="-100", WindowWidth="2500")
    files["i8_signed"] = dataset(picture(8, True), 8, signed=True, WindowCenter="0", WindowWidth="200")
    files["monochrome1"] = dataset(picture(12), 12, photometric="MONOCHROME1", **window12)
    files["monochrome1_no_window"] = dataset(picture(12), 12, photometric="MONOCHROME1")
    files["implicit"] = dataset(picture(12), 12, ImplicitVRLittleEndian, **window12)
    files["big_endian"] = dataset(picture(12), 12, ExplicitVRBigEndian, **window12)
    files["deflated"] = dataset(picture(12), 12, DeflatedExplicitVRLittleEndian, **window12)
    files["voi_lut"] = dataset(picture(8), 8, VOILUTSequence=table(20, ramp, 8, False))
    # 16-bit samples: with 8-bit signed ones pydicom's subtraction of the first entry wraps around in int8.
    long_ramp = np.round(4095 * (np.arange(2000) / 1999) ** 2)
    files["voi_lut_signed"] = dataset(picture(12, True), 12, signed=True, VOILUTSequence=table(-900, long_ramp, 12, True))
    files["voi_lut_monochrome1"] = dataset(
        picture(8), 8, photometric="MONOCHROME1", VOILUTSequence=table(20, ramp, 8, False), WindowCenter="9", WindowWidth="3"
    )
    files["modality_lut"] = dataset(
        picture(8), 8, ModalityLUTSequence=table(10, 4000 - 15 * ramp, 16, False), WindowCenter="2000", WindowWidth="3000"
    )
    files["modality_lut"].ModalityLUTSequence[0].ModalityLUTType = "US"
    colors = np.stack([picture(8), picture(8).T.reshape(HEIGHT, WIDTH), 255 - picture(8)], axis=-1)
    files["rgb"] = dataset(colors, 8, photometric="RGB")

    def encoded(name, values, bits, syntax, **options):
        keywords = {key: options.pop(key) for key in ("signed", "photometric") if key in options}
        encoder = options.pop("encoder", {})
        out = dataset(values, bits, **keywords, **options)
        out.compress(syntax, generate_instance_uid=False, **encoder)
        files[name] = out

    encoded("rle_u8", picture(8), 8, RLELossless, WindowCenter="128", WindowWidth="256")
    encoded("rle_u12", picture(12), 12, RLELossless, **window12)
    encoded("rle_i16", picture(16, True), 16, RLELossless, signed=True, WindowCenter="0", WindowWidth="60000")
    encoded("rle_rgb", colors, 8, RLELossless, photometric="RGB")
    # OpenJPEG's default of six resolutions needs 32 pixels.
    encoded("j2k_u8", picture(8, False, 36, 40), 8, JPEG2000Lossless, WindowCenter="128", WindowWidth="256")
    encoded("j2k_u12", picture(12, False, 36, 40), 12, JPEG2000Lossless, **window12)
    encoded("j2k_u16", picture(16, False, 36, 40), 16, JPEG2000Lossless, WindowCenter="30000", WindowWidth="50000")
    encoded("j2k_i12", picture(12, True, 36, 40), 12, JPEG2000Lossless, signed=True, WindowCenter="0", WindowWidth="3000")
    encoded("jls_u8", picture(8), 8, JPEGLSLossless, WindowCenter="128", WindowWidth="256")
    encoded("jls_u12", picture(12), 12, JPEGLSLossless, **window12)
    encoded("jls_u16", picture(16), 16, JPEGLSLossless, WindowCenter="30000", WindowWidth="50000")
    encoded("jls_near", picture(12), 12, JPEGLSNearLossless, **window12, encoder={"jls_error": 3})
    for bits in (8, 12, 16):
        out = dataset(picture(bits), bits, WindowCenter=str(2 ** (bits - 1)), WindowWidth=str(2**bits))
        out.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        out.PixelData = encapsulate([lossless_jpeg(picture(bits), bits)])
        out["PixelData"].VR = "OB"
        out["PixelData"].is_undefined_length = True
        files[f"jpeg_lossless_u{bits}"] = out

    buffer = BytesIO()
    Image.fromarray(picture(8).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    files["jpeg_baseline"] = dataset(picture(8), 8, WindowCenter="128", WindowWidth="256")
    files["jpeg_baseline"].file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    files["jpeg_baseline"].PixelData = encapsulate([buffer.getvalue()])
    files["jpeg_baseline"]["PixelData"].is_undefined_length = True

    def wrapped(name, values, bits, syntax, codestream, photometric="MONOCHROME2"):
        window = dict(WindowCenter=str(2 ** (bits - 1)), WindowWidth=str(2**bits)) if values.ndim == 2 else {}
        out = dataset(values, bits, photometric=photometric, **window)
        out.file_meta.TransferSyntaxUID = syntax
        out.PixelData = encapsulate([codestream])
        out["PixelData"].VR = "OB"
        out["PixelData"].is_undefined_length = True
        files[name] = out

    # JPEG extended of 8 bits differs from baseline in the marker of its frame alone.
    extended = buffer.getvalue().replace(b"\xff\xc0", b"\xff\xc1", 1)
    wrapped("jpeg_extended_u8", picture(8), 8, JPEGExtended12Bit, extended)
    buffer = BytesIO()
    Image.fromarray(colors.astype(np.uint8)).save(buffer, "JPEG", quality=95, subsampling=0)
    wrapped("jpeg_baseline_ybr", colors, 8, JPEGBaseline8Bit, buffer.getvalue(), "YBR_FULL")
    for predictor in range(1, 8):
        codestream = lossless_jpeg(picture(12), 12, predictor)
        wrapped(f"jpeg_lossless_predictor{predictor}", picture(12), 12, JPEGLossless, codestream)
    encoded("j2k_lossy_u8", picture(8, False, 36, 40), 8, JPEG2000, encoder={"j2k_psnr": [45]},
            WindowCenter="128", WindowWidth="256")
    encoded("j2k_lossy_u12", picture(12, False, 36, 40), 12, JPEG2000, encoder={"j2k_psnr": [60]}, **window12)

    def palette(name, bits, entries, syntax=ExplicitVRLittleEndian):
        out = dataset(picture(8), 8, syntax, photometric="PALETTE COLOR")
        ramp = np.linspace(0, 2**bits - 1, entries).round().astype("<u2" if bits == 16 else "u1")
        kind = ">u2" if syntax == ExplicitVRBigEndian else "<u2"
        for color, curve in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", np.roll(ramp, entries // 3))):
            setattr(out, f"{color}PaletteColorLookupTableDescriptor", [entries, 5, bits])
            data = curve.astype(kind).tobytes() if bits == 16 else curve.tobytes()
            setattr(out, f"{color}PaletteColorLookupTableData", data)
        files[name] = out

    palette("palette_u16", 16, 240)
    palette("palette_u8", 8, 200)
    palette("palette_big_endian", 16, 240, ExplicitVRBigEndian)

    # Three sizes: blocks that are cut on both sides, whole ones, and more than are transformed at once.
    for name, height, width in (("", HEIGHT, WIDTH), ("_whole", 24, 32), ("_wide", 17, 300)):
        values = picture(12, False, height, width)
        extended = imagecodecs.jpeg8_encode(values.astype(np.uint16), level=95, bitspersample=12)
        wrapped(f"jpeg_extended_u12{name}", values, 12, JPEGExtended12Bit, extended)
        references[f"jpeg_extended_u12{name}"] = imagecodecs.jpeg8_decode(extended)
    def high_throughput(name, bits, signed=False, colors=None, syntax=HTJ2KLossless, reversible=True):
        values = picture(bits, signed, 36, 40) if colors is None else colors
        # OpenJPH takes samples of 8 and 16 bits: others are put where the shift by half of 16 bits leaves them as they
        # are to lie, and their number of bits and sign are written into the header (ISO/IEC 15444-1, A.5.1).
        shift = 2**15 - (0 if signed else 2 ** (bits - 1)) if bits != 8 else 0
        codestream = bytearray(imagecodecs.htj2k_encode(
            (values + shift).astype(np.uint8 if bits == 8 else np.uint16), reversible=reversible
        ))
        if bits != 8:
            codestream[42] = bits - 1 | signed << 7
        wrapped(name, values, bits, syntax, bytes(codestream), "MONOCHROME2" if colors is None else "YBR_RCT")
        files[name].PixelRepresentation = int(signed)
        if signed:
            files[name].WindowCenter = "0"
        else:
            # pydicom reads this syntax by OpenJPEG, these are OpenJPH's values.
            references[name] = imagecodecs.htj2k_decode(bytes(codestream))

    wide = np.stack([picture(8, False, 36, 40), picture(8, False, 40, 36).T, 255 - picture(8, False, 36, 40)], axis=-1)
    for bits in (8, 12, 16):
        high_throughput(f"htj2k_u{bits}", bits)
    high_throughput("htj2k_i12", 12, signed=True)
    high_throughput("htj2k_rgb", 8, colors=wide)
    high_throughput("htj2k_lossy_u8", 8, syntax=HTJ2K, reversible=False)
    high_throughput("htj2k_lossy_u12", 12, syntax=HTJ2K, reversible=False)

    def jpeg_xl(name, values, bits, syntax, codestream):
        # pydicom neither writes nor reads JPEG XL: the syntax is put in its place below, and libjxl's values are taken.
        wrapped(name, values, bits, HTJ2KLossless, codestream, "MONOCHROME2" if values.ndim == 2 else "RGB")
        renamed[name] = syntax
        references[name] = imagecodecs.jpegxl_decode(codestream)

    for bits in (8, 12, 16):
        values = picture(bits, False, 36, 40)
        samples = values.astype(np.uint8 if bits == 8 else np.uint16)
        lossless = imagecodecs.jpegxl_encode(samples, lossless=True, bitspersample=bits)
        jpeg_xl(f"jxl_u{bits}", values, bits, JPEGXLLossless, lossless)
        lossy = imagecodecs.jpegxl_encode(samples, lossless=False, distance=0.5, bitspersample=bits, usecontainer=bits > 8)
        jpeg_xl(f"jxl_lossy_u{bits}", values, bits, JPEGXL, lossy)
    jpeg_xl("jxl_rgb", wide, 8, JPEGXLLossless, imagecodecs.jpegxl_encode(wide.astype(np.uint8), lossless=True))
    buffer = BytesIO()
    Image.fromarray(picture(8, False, 36, 40).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    packed = imagecodecs.jpegxl_encode_jpeg(buffer.getvalue())
    jpeg_xl("jxl_jpeg", picture(8, False, 36, 40), 8, JPEGXLJPEGRecompression, packed)
    films = dataset(np.concatenate([picture(8)] * 3), 8, NumberOfFrames="3")
    films.Rows = HEIGHT
    files["refused_multi_frame"] = films

    with open(HERE / "expected.txt", "w") as expected:
        for name, item in files.items():
            path = HERE / f"{name}.dcm"
            item.save_as(path, enforce_file_format=True)
            if name in renamed:
                path.write_bytes(path.read_bytes().replace(HTJ2KLossless.encode(), renamed[name].encode()))
            if name.startswith("refused_"):
                continue
            read = dcmread(path)
            if name in references:
                known = references[name]
                if name not in renamed and name.startswith("htj2k_") and "lossy" not in name:
                    assert (read.pixel_array == known).all(), name
                keywords = {key: read[key].value for key in ("WindowCenter", "WindowWidth") if key in read}
                photometric = "MONOCHROME2" if known.ndim == 2 else "RGB"
                read = dataset(known, read.BitsStored, photometric=photometric, **keywords)
            values = brightness(read)
            print(name, *values.shape, file=expected)
            for row in values:
                print(*(f"{value:.7g}" for value in row), file=expected)


if __name__ == "__main__":
    main()
