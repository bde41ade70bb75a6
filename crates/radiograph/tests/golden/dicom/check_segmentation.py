"""Reads a segmentation object with pydicom and highdicom and says what is in it.

pip install pydicom highdicom
DINO_DIFFUSION_KEEP=FOLDER cargo test -p dino-diffusion-radiograph --test dicom segmentation
python check_segmentation.py FOLDER/segmentation.dcm u12_study.dcm
"""

import sys

import highdicom
import numpy
import pydicom

made, source = sys.argv[1:]
image = pydicom.dcmread(source)
dataset = pydicom.dcmread(made)
assert dataset.StudyInstanceUID == image.StudyInstanceUID
assert dataset.get("PatientID") == image.get("PatientID")
segmentation = highdicom.seg.segread(made)
assert segmentation.number_of_segments == 2, segmentation.number_of_segments
for number in segmentation.segment_numbers:
    description = segmentation.get_segment_description(number)
    print(number, description.segment_label, description.segmented_property_type.meaning, description.algorithm_type)
pixels = segmentation.pixel_array
rows, columns = image.Rows, image.Columns
assert pixels.shape == (2, rows, columns), pixels.shape
column = numpy.arange(columns)[None].repeat(rows, 0)
assert (pixels[0] == (column < columns // 3)).all() and (pixels[1] == (column >= 2 * columns // 3)).all()
by_source = segmentation.get_pixels_by_source_instance([image.SOPInstanceUID])
assert by_source.shape == (1, rows, columns, 2) and (by_source[0, ..., 0] == pixels[0]).all()
print("sound:", dataset.SOPInstanceUID)
