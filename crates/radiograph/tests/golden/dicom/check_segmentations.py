"""Reads many segmentation objects with pydicom and highdicom, and compares them with what highdicom makes of their sources.

    pip install pydicom==3.0.2 highdicom==0.28.2
    DINO_DIFFUSION_KEEP=FOLDER cargo test -p dino-diffusion-radiograph --test segmentation_objects
    python check_segmentations.py FOLDER

highdicom copies loss, ratio and method where the source names them, and writes "00" where it does not, whatever its
transfer syntax; Patient Orientation it never writes.
"""

import pathlib
import sys

import highdicom
import numpy
import pydicom
from pydicom.sr.codedict import codes

METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.55": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
    "1.2.840.10008.1.2.4.111": "ISO_10918_1",
    "1.2.840.10008.1.2.4.112": "ISO_18181_1",
}
LOSS = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def theirs(source):
    """Of highdicom, which reads no pixels of the source."""
    if "FrameOfReferenceUID" in source and not source.FrameOfReferenceUID:
        del source.FrameOfReferenceUID
    description = highdicom.seg.SegmentDescription(
        1, "Lung", codes.SCT.AnatomicalStructure, codes.SCT.Lung, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
    return highdicom.seg.Segmentation(
        [source], numpy.ones((1, source.Rows, source.Columns), numpy.uint8), "BINARY", [description],
        highdicom.UID(), 1, highdicom.UID(), 1, "m", "m", "1", "1")


compared = derived = 0
paths = sorted(pathlib.Path(sys.argv[1]).glob("*-seg.dcm"))
for path in paths:
    source = pydicom.dcmread(str(path).replace("-seg", "-image"), force=True)
    found = pydicom.dcmread(path)
    assert (found.PatientOrientation or None) == (source.get("PatientOrientation") or None), path
    assert found.PatientName == source.PatientName and found.StudyInstanceUID == source.StudyInstanceUID
    read = highdicom.seg.segread(path)
    assert read.number_of_segments == 2 and read.pixel_array.shape == (2, source.Rows, source.Columns)
    by_source = read.get_pixels_by_source_instance([source.SOPInstanceUID])
    assert by_source.shape == (1, source.Rows, source.Columns, 2)
    method = METHODS.get(source.file_meta.TransferSyntaxUID)
    if method and "LossyImageCompressionMethod" not in source and found.LossyImageCompression == "01":
        assert found.LossyImageCompressionMethod == method and found.LossyImageCompressionRatio > 0, path
        derived += 1
    elif method != "ISO_10918_1" or source.get("LossyImageCompression") != "00":
        try:
            expected = theirs(source)
        except (AttributeError, ValueError) as error:
            print("highdicom makes none of", path.name, "because", error)
            continue
        assert [found.get(key) for key in LOSS] == [expected.get(key) for key in LOSS], path
        compared += 1
print(len(paths), "objects are sound;", compared, "say of loss what highdicom says,", derived, "say what it leaves out")
