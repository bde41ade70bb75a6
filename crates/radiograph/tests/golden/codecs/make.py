"""Writes the compressed streams of this folder and, in `decoded.txt`, what their reference decoders make of them.

`decoded.txt` has one block for each stream: a line `NAME HEIGHT WIDTH COMPONENTS`, then one line of samples for each row,
components one after the other for each pixel. Streams whose names differ in the part behind a dash alone have one block.

    apt-get install libopenjp2-tools
    pip install numpy imagecodecs pyjpegls
    python make.py

Made with OpenJPEG 2.5.0, imagecodecs 2026.3.6 (OpenJPEG 2.5.4, OpenJPH 0.26.3, libjxl 0.11.2, CharLS 2.4.3) and pyjpegls
1.5.1.
"""

import subprocess
import tempfile
from pathlib import Path

import imagecodecs
import jpeg_ls
import numpy as np

HERE = Path(__file__).parent
HEIGHT, WIDTH = 40, 48
decoded = {}


def write(name, stream, samples=None):
    """A stream, and its samples where they are not those of another."""
    (HERE / name).write_bytes(bytes(stream))
    if samples is not None:
        key = name.split(".")[0].split("-")[0]
        assert key not in decoded or (decoded[key] == samples).all(), name
        decoded[key] = samples


def picture(bits, signed=False):
    """A ramp with squares of 8 x 8 pixels that have the least and the greatest value: lossy codecs leave the range there."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    top = 2**bits - 1
    values = np.round(top * (0.2 + 0.5 * columns / WIDTH)).astype(np.int64)
    squares = (rows // 8 + columns // 8) % 3
    values[squares == 0] = top
    values[squares == 1] = 0
    return values - (2 ** (bits - 1) if signed else 0)


def words(values, signed):
    return values.astype(np.int16 if signed else np.uint16)


def with_overlay(values, signed):
    """The same values in 12 bits, with other bits above them: what a lossless stream keeps and a reader masks."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    above = (rows * 5 + columns * 3) % 16 << 12
    return ((values & 0xFFF) | above).astype(np.uint16).view(np.int16 if signed else np.uint16)


def opj(arguments, values, suffix, reduce=None):
    """OpenJPEG's programs, which know tiles, tile-parts and reduced decoding."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        stream = folder / "x.j2k"
        if values is None:
            stream.write_bytes(arguments)
            output = folder / "x.rawl"
            subprocess.run(["opj_decompress", "-i", stream, "-o", output, "-r", str(reduce)], check=True, capture_output=True)
            height, width = -(-HEIGHT >> reduce), -(-WIDTH >> reduce)
            return np.frombuffer(output.read_bytes(), suffix).reshape(height, width).astype(np.int64)
        raw = folder / "x.rawl"
        raw.write_bytes(values.astype("<u2").tobytes())
        command = ["opj_compress", "-i", raw, "-o", stream, "-F", f"{WIDTH},{HEIGHT},1,12,u", *arguments]
        subprocess.run(command, check=True, capture_output=True)
        return stream.read_bytes()


def fitting():
    """Streams of 16 bits whose pictures have 12, and of 12 bits."""
    for signed in (False, True):
        sign = "i" if signed else "u"
        source, overlay = words(picture(12, signed), signed), with_overlay(picture(12, signed), signed)
        low, high = (-2048, 2047) if signed else (0, 4095)
        for kind in ("j2k", "htj2k"):
            if kind == "j2k":
                encode = lambda values, **options: imagecodecs.jpeg2k_encode(values, codecformat="J2K", resolutions=3, **options)
                decode, loss = imagecodecs.jpeg2k_decode, 42
            else:
                encode = lambda values, **options: imagecodecs.htj2k_encode(values, resolutions=3, **options)
                decode, loss = imagecodecs.htj2k_decode, 0.0001
            stream = encode(overlay, level=0, reversible=True)
            assert (decode(stream) == overlay).all(), (kind, signed)
            write(f"{kind}_lossless_{sign}16.{kind}", stream, overlay.astype(np.int64))
            stream = encode(source, level=loss, reversible=False)
            samples = decode(stream).astype(np.int64)
            assert samples.max() > high, (kind, signed, samples.max())
            assert samples.min() < low or not signed, (kind, signed, samples.min())
            write(f"{kind}_lossy_{sign}16.{kind}", stream, samples)
            if kind == "j2k":
                decoded[f"{kind}_lossy_{sign}16_half"] = opj(stream, None, "<i2" if signed else "<u2", 1)
                # The reversible wavelet with data cut off: lossy, though its header does not say so.
                stream = encode(source, level=36, reversible=True)
                samples = decode(stream).astype(np.int64)
                assert samples.max() > high, (signed, samples.max())
                write(f"j2k_cut_{sign}16.j2k", stream, samples)
        if not signed:
            stream = imagecodecs.jpeg2k_encode(source, level=0, codecformat="J2K", resolutions=3, reversible=True, bitspersample=12)
            write("j2k_lossless_u12.j2k", stream, source.astype(np.int64))
    source, overlay = words(picture(12), False), with_overlay(picture(12), False)
    for near, name in ((0, "lossless"), (9, "lossy")):
        # Near-lossless data leave the range where samples are not all the greatest.
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        values = np.where(source == 4095, source - (rows * 5 + columns * 3) % 7, source).astype(np.uint16) if near else overlay
        stream = jpeg_ls.encode_buffer(values.tobytes(), HEIGHT, WIDTH, 1, 16, lossy_error=near, interleave_mode=0)
        samples = imagecodecs.jpegls_decode(bytes(stream)).astype(np.int64)
        assert (samples.max() > 4095 if near else (samples == overlay).all()), (name, samples.max())
        write(f"jls_{name}_u16.jls", stream, samples)
    write("jls_lossless_u12.jls", jpeg_ls.encode_array(source), source.astype(np.int64))
    write("jxl_lossless_u16.jxl", imagecodecs.jpegxl_encode(overlay, lossless=True), overlay.astype(np.int64))
    stream = imagecodecs.jpegxl_encode(source, distance=0.3)
    samples = imagecodecs.jpegxl_decode(stream).astype(np.int64)
    assert samples.max() > 4095, samples.max()
    write("jxl_lossy_u16.jxl", stream, samples)


def tiles():
    """One picture in one or several tiles of one or several parts."""
    values = picture(12).astype(np.uint16)
    decoded["tiles"] = values.astype(np.int64)
    for tile in (None, (24, 20)):
        for part in (False, True):
            arguments = ["-n", "3"]
            arguments += ["-t", f"{tile[0]},{tile[1]}"] if tile else []
            arguments += ["-p", "RLCP", "-TP", "R"] if part else []
            name = f"tiles-{4 if tile else 1}_{'several' if part else 'one'}"
            stream = opj(arguments, values, "")
            assert (imagecodecs.jpeg2k_decode(stream) == values).all(), name
            assert stream.count(b"\xff\x90") == (4 if tile else 1) * (3 if part else 1), name
            write(f"{name}.j2k", stream)
            options = dict(tile=tile) if tile else {}
            options |= dict(tilepart=1) if part else {}
            stream = imagecodecs.htj2k_encode(values, level=0, resolutions=2, reversible=True, **options)
            assert (imagecodecs.htj2k_decode(stream) == values).all(), name
            assert stream.count(b"\xff\x90") == (4 if tile else 1) * (3 if part else 1), (name, stream.count(b"\xff\x90"))
            write(f"{name}.htj2k", stream)


def colors():
    """JPEG-LS of three components: all orders, lossless and not, and with the colour transforms that CharLS undoes."""
    rows, columns = np.mgrid[0:13, 0:18]
    for bits in (8, 16):
        top = 2**bits - 1
        planes = [top * columns // 17, top * rows // 12, (rows * 3731 + columns * 977) % (top + 1)]
        values = np.stack(planes, -1).astype(np.uint8 if bits == 8 else np.uint16)
        # Runs end in one component before they do so in others.
        values[2:9, 3:] = values[2, 3]
        values[4, 9:, 1] += 5
        values[7, 12:, 2] -= 3
        for near in (0, 2):
            for order, interleave in (("planes", 0), ("lines", 1), ("samples", 2)):
                # CharLS takes and returns samples by pixels for the order of lines, too.
                laid = values if interleave else values.transpose(2, 0, 1)
                stream = jpeg_ls.encode_buffer(
                    np.ascontiguousarray(laid).tobytes(), 13, 18, 3, bits, lossy_error=near, interleave_mode=interleave
                )
                samples = imagecodecs.jpegls_decode(bytes(stream)).astype(np.int64)
                samples = samples.transpose(1, 2, 0) if samples.shape[0] == 3 else samples
                assert abs(samples - values).max() <= near, (order, near, samples.shape, abs(samples - values).max())
                # Lossy samples depend on the order in which contexts were learned.
                write(f"rgb{bits}_near{near}{'_' if near else '-'}{order}.jls", stream, samples)
        half, quarter, wrap = 2 ** (bits - 1), 2 ** (bits - 2), lambda value: value & top
        red, green, blue = (values[..., channel].astype(np.int64) for channel in range(3))
        v2, v3 = wrap(blue - green + half), wrap(red - green + half)
        transforms = {
            1: (wrap(red - green + half), green, wrap(blue - green + half)),
            2: (wrap(red - green + half), green, wrap(blue - ((red + green) >> 1) - half)),
            3: (wrap(green + ((v2 + v3) >> 2) - quarter), v2, v3),
        }
        for kind, mixed in transforms.items():
            mixed = np.ascontiguousarray(np.stack(mixed, -1).astype(values.dtype))
            stream = bytes(jpeg_ls.encode_buffer(mixed.tobytes(), 13, 18, 3, bits, interleave_mode=2))
            stream = stream[:2] + b"\xff\xe8\x00\x07mrfx" + bytes([kind]) + stream[2:]
            assert (imagecodecs.jpegls_decode(stream) == values).all(), kind
            write(f"rgb{bits}_near0-hp{kind}.jls", stream, values.astype(np.int64))


fitting()
tiles()
colors()
with open(HERE / "decoded.txt", "w") as out:
    for name, samples in decoded.items():
        components = 1 if samples.ndim == 2 else samples.shape[2]
        print(name, *samples.shape[:2], components, file=out)
        for row in samples.reshape(samples.shape[0], -1):
            print(*row, file=out)
