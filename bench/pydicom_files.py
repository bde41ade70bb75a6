"""Decodes pydicom's own test files with this program and with pydicom, and says where and why they differ.

    cargo build --release -p dino-diffusion-radiograph --example decode
    pip install numpy==2.4.6 pydicom==3.0.2 pydicom-data==1.0.0 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 \\
        pylibjpeg-openjpeg==2.6.0 pyjpegls==1.5.1
    python bench/pydicom_files.py target/release/examples/decode [--table docs/reading-dicom.md]

pydicom's side is `pixel_array`, `apply_modality_lut`, `apply_voi_lut` (a table before a window), scaling of the window to
0 to 1, inversion of MONOCHROME1, and black where Pixel Padding Value says that there is no image. Without a window or
table, values of 8 bits are taken as they are, and others are stretched between the percentiles 0.5 and 99.5.

Prints a Markdown table with a line for each image. Every file that is not read or differs needs a rule below that explains
it: one that no rule explains makes the script exit with status 1.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, HTJ2K

warnings.filterwarnings("ignore")
HEADING = "## pydicom's own test files"
LUMA = [0.299, 0.587, 0.114]
LOSSY = {JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, HTJ2K}

# What our message says -> why it is right to refuse the file.
REFUSED = {
    r"it has [0-9.]+ frames": "several frames: which one is wanted is unknown; export one frame",
    r"has no PixelData": "no pixel data: a report, a plan, a structure or a waveform",
    r"has no (Rows|Columns|BitsAllocated)": "no image: attributes of the pixels are missing",
    r"directory of a medium": "DICOMDIR: a directory of images, not an image",
    r"bits stored in (1|32|64) allocated": "1, 32 or 64 bits: masks, doses and maps, not radiographs",
    r"this is .*, not a DICOM": "not a DICOM file by its content",
    r"photometric interpretation \S+ with": "a photometric interpretation that is not read",
    r"file is empty": "empty on purpose",
}

# Of files that hold no image, the table has numbers alone.
WITHOUT_IMAGE = {
    REFUSED[pattern]
    for pattern in (r"has no PixelData", r"directory of a medium", r"this is .*, not a DICOM", r"it has [0-9.]+ frames")
}

# Files whose refusal or difference is a matter of the single file.
FILES = {
    "MR_truncated.dcm": "cut short on purpose",
    "rtplan_truncated.dcm": "cut short on purpose",
}


def files():
    """pydicom's test files, and those of pydicom-data, by a short name."""
    places = {"pydicom": Path(pydicom.__file__).parent / "data"}
    for name in ("test_files", "charset_files"):
        yield from (("pydicom/" + str(path.relative_to(places["pydicom"])), path) for path in walk(places["pydicom"] / name))
    spec = importlib.util.find_spec("data_store")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    yield from (("pydicom-data/" + str(path.relative_to(folder)), path) for path in walk(folder))


def walk(folder):
    skipped = {".py", ".pyc", ".txt", ".md", ".json", ".xml", ".zip", ".gz", ".csv", ".npy", ".toml", ".typed"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() not in skipped)


def scaled(shown, low, high):
    return ((shown.astype(np.float64) - low) / (high - low)).clip(0, 1) if high > low else np.full(shown.shape, 0.5)


def reference(path):
    """Ways in which pydicom's values may be shown, first the one that is right; the sample values; and the data set."""
    dataset = pydicom.dcmread(path, force=True)
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    stored = pixel_array(dataset, raw=True)
    if stored.ndim > (3 if dataset.get("SamplesPerPixel", 1) == 3 else 2):
        raise ValueError("several frames")
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    if kind == "PALETTE COLOR":
        top = 2 ** int(dataset.RedPaletteColorLookupTableDescriptor[2]) - 1
        if not dataset.original_encoding[1] and "RedPaletteColorLookupTableData" in dataset:
            # `apply_color_lut` takes the words of tables as little endian whatever the file is.
            for color in ("Red", "Green", "Blue"):
                data = dataset[f"{color}PaletteColorLookupTableData"]
                data.value = np.frombuffer(data.value, ">u2").astype("<u2").tobytes()
        colors = apply_color_lut(stored, dataset).astype(np.float64)[..., :3]
        return [colors @ LUMA / top], stored, dataset
    if dataset.get("SamplesPerPixel", 1) == 3:
        luma = stored[..., 0].astype(np.float64) if kind.startswith("YBR_FULL") else stored.astype(np.float64) @ LUMA
        return [luma / (2**bits - 1)], stored, dataset
    modality = apply_modality_lut(stored, dataset)
    shown = apply_voi_lut(modality, dataset)
    signed = bool(dataset.get("PixelRepresentation", 0))
    codes = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if dataset.get("VOILUTSequence"):
        ways = [scaled(shown, 0, 2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)]
    elif "WindowWidth" in dataset and dataset.WindowWidth not in (None, ""):
        # `apply_voi_lut` puts out the range of values that can be stored.
        if dataset.get("ModalityLUTSequence"):
            low, high = 0, 2 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
        else:
            slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
            low, high = (code * slope + intercept for code in codes)
        ways = [scaled(shown, low, high)]
    else:
        ordered = np.sort(modality.ravel())
        low, high = (ordered[int(np.floor(p / 100 * (ordered.size - 1) + 0.5))] for p in (0.5, 99.5))
        ways = [scaled(modality, low, high)]
        if bits <= 8:
            ways.insert(0, scaled(stored, *codes))
    if kind == "MONOCHROME1":
        ways = [1 - way for way in ways]
    if "PixelPaddingValue" in dataset:
        ends = [int(dataset[name].value) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit") if name in dataset]
        padding = (stored >= min(ends)) & (stored <= max(ends))
        ways = [np.where(padding, 0, way) for way in ways]
    return ways, stored, dataset


def steepest(values, shown):
    """How much brightness changes at most when a sample changes by 1."""
    levels, places = np.unique(values.ravel(), return_index=True)
    if levels.size < 2:
        return 1.0
    return float(np.max(np.abs(np.diff(shown.ravel()[places])) / np.diff(levels.astype(np.float64))))


def compare(decoder, name, path, scratch):
    """A line of the table: syntax, result, explanation (None where there is none)."""
    run = subprocess.run([decoder, path, scratch], capture_output=True, text=True)
    message = run.stdout.strip()
    try:
        ways, stored, dataset = reference(path)
        failure = None
    except Exception as error:  # pydicom raises what it likes
        ways, failure = [], f"{type(error).__name__}: {error}".split("\n")[0][:100]
    try:
        syntax = str(pydicom.dcmread(path, force=True, stop_before_pixels=True).file_meta.TransferSyntaxUID.name)
    except Exception:
        syntax = "?"
    single = next((text for key, text in FILES.items() if name.endswith(key)), None)
    if run.returncode not in (0, 2):
        return syntax, f"exit status {run.returncode}: {run.stderr.strip()[-100:]}", None
    if run.returncode == 2:
        why = single or next((text for pattern, text in REFUSED.items() if re.search(pattern, message)), None)
        if why is None and failure:
            why = f"pydicom does not read it either ({failure})"
        return syntax, f"not read: {message}", why
    if failure:
        return syntax, "read", single or f"pydicom does not read it ({failure})"
    height, width = map(int, message.split())
    found = np.fromfile(scratch, "<f4").reshape(height, width)
    if found.shape != ways[0].shape:
        columns, rows = ways[0].shape[::-1]
        why = single
        if is_made_square(dataset, found, ways):
            why = "pixels that are not square: made square by the finer distance; the same mean brightness"
        return syntax, f"{width} x {height} pixels instead of {columns} x {rows}", why
    differences = [float(np.abs(found - way).max()) for way in ways]
    difference = min(differences)
    if difference <= 2e-5:
        return syntax, "equal", ""
    result = f"differs by {difference:.5f} at most, {np.abs(found - ways[differences.index(difference)]).mean():.5f} on average"
    if single:
        return syntax, result, single
    lossy = dataset.file_meta.TransferSyntaxUID in LOSSY
    if lossy and stored.ndim == 2 and difference <= 2.01 * steepest(stored, ways[0]):
        return syntax, result, "lossy: within two values before the window, as decoders round"
    if lossy and difference <= 3 / 255:
        return syntax, result, "lossy colours: within three grey values, as decoders round"
    if lossy and stored.ndim == 3 and difference <= 10 / 255 and abs(found - ways[0]).mean() <= 1 / 255:
        return syntax, result, "lossy colours: brightness of RGB, which is clipped where YCbCr lies outside of it"
    return syntax, result, None


def is_made_square(dataset, found, ways):
    """Whether sizes differ just as the distances of pixels ask for, and brightness is the same on average."""
    height, width = ways[0].shape
    for name in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        if name in dataset and dataset[name].value:
            between_rows, between_columns = map(float, dataset[name].value)
            ratio = between_rows / between_columns
            size = (round(height * max(ratio, 1)), round(width * max(1 / ratio, 1)))
            same_mean = min(abs(float(found.mean() - way.mean())) for way in ways) <= 0.01
            return abs(ratio - 1) > 0.05 and found.shape == size and same_mean
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("decoder", help="the example program `decode`")
    parser.add_argument("--table", type=Path, help="also put the table at the end of this file, in place of an older one")
    arguments = parser.parse_args()
    lines = ["| file | transfer syntax | result | explanation |", "| --- | --- | --- | --- |"]
    counts, without_image, unexplained = {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files():
            syntax, result, why = compare(arguments.decoder, name, path, Path(folder) / "brightness")
            counts[result.split(":")[0].split(" by")[0]] = counts.get(result.split(":")[0].split(" by")[0], 0) + 1
            if why is None:
                unexplained.append(name)
            cell = lambda text: text.replace("|", "\\|").replace("\n", " ")
            if why in WITHOUT_IMAGE:
                without_image[why] = without_image.get(why, 0) + 1
                continue
            lines.append(f"| {name} | {syntax} | {cell(result)} | {cell(why if why is not None else 'UNEXPLAINED')} |")
    lines += [f"| {number} others | | not read | {why} |" for why, number in without_image.items()]
    table = "\n".join(lines)
    print(table)
    summary = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
    summary = f"{sum(counts.values())} files: {summary}; {len(unexplained)} without an explanation"
    print(f"\n{summary}", *unexplained, sep="\n", file=sys.stderr)
    if arguments.table:
        # The table is the last part of the file, behind its heading.
        text = arguments.table.read_text() if arguments.table.exists() else ""
        arguments.table.write_text(text.split(HEADING)[0].rstrip() + f"\n\n{HEADING}\n\n{summary}.\n\n{table}\n")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
