"""The PyTorch side of `ingest.sh`: a DataLoader as people write it, and the files that both sides read.

    reference_ingest.py load FOLDER --decoder NAME --workers N --size N --out FILE      prints one line of JSON
    reference_ingest.py generate KIND --images FOLDER --out FOLDER --number N
"""

import argparse
import json
import os
import time
from pathlib import Path

DICOM_SIDE = 2000
BATCH = 32


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def decode_pillow(path):
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(path).convert("L"))


def decode_imagecodecs(path):
    """Plain images only."""
    import imagecodecs
    import numpy as np

    data = path.read_bytes()
    picture = imagecodecs.jpeg8_decode(data) if data[:2] == b"\xff\xd8" else imagecodecs.png_decode(data)
    if picture.ndim == 3:
        picture = picture[..., :3] @ np.array([0.299, 0.587, 0.114])
    return picture.astype(np.uint8)


def decode_pydicom(path):
    import pydicom

    return windowed(dataset := pydicom.dcmread(path), dataset.pixel_array)


def decode_pydicom_imagecodecs(path):
    """pydicom for the header, imagecodecs for JPEG 2000."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import get_frame

    dataset = pydicom.dcmread(path)
    return windowed(dataset, imagecodecs.jpeg2k_decode(get_frame(dataset.PixelData, 0)))


def windowed(dataset, stored):
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)  # 0 to 2^BitsStored - 1
    values = np.asarray(values, dtype=np.float32) * (255 / (2**dataset.BitsStored - 1))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = 255 - values
    return values.round().clip(0, 255).astype(np.uint8)


DECODERS = {
    "pillow": decode_pillow,
    "imagecodecs": decode_imagecodecs,
    "pydicom": decode_pydicom,
    "pydicom+imagecodecs": decode_pydicom_imagecodecs,
}


class Pictures:
    """A map-style dataset of `[1, size, size]` u8 tensors: all of the picture, centred on black."""

    def __init__(self, paths, decoder, size):
        self.paths, self.decoder, self.size = paths, DECODERS[decoder], size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        import torch
        from torchvision.transforms.v2.functional import pad, resize

        picture = torch.from_numpy(self.decoder(self.paths[index]).copy())[None]
        scale = self.size / max(picture.shape[1:])
        height, width = (max(1, round(side * scale)) for side in picture.shape[1:])
        picture = resize(picture, [height, width], antialias=True)
        left, top = (self.size - width) // 2, (self.size - height) // 2
        return pad(picture, [left, top, self.size - width - left, self.size - height - top])


def load(arguments):
    import numpy as np
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)  # the workers compute
    paths = files_of(arguments.folder)
    dataset = Pictures(paths, arguments.decoder, arguments.size)
    loader = DataLoader(dataset, batch_size=BATCH, num_workers=arguments.workers, persistent_workers=True)
    for _ in loader:  # workers start and import, files come into the cache: not counted
        pass
    begun = time.perf_counter()
    batches = [batch.clone() for batch in loader]
    secs = time.perf_counter() - begun
    np.save(arguments.out, torch.cat(batches)[:, 0].numpy())
    print(json.dumps(dict(rate=len(paths) / secs, number=len(paths))))


def generate(arguments):
    """Real radiographs enlarged, with noise in the low bits as detectors have it, of 16 bits, in DICOM."""
    import numpy as np
    import pydicom
    from PIL import Image
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

    sources = [path for path in files_of(arguments.images) if path.suffix in (".jpeg", ".jpg", ".png")]
    if not sources:
        raise SystemExit(f"there are no radiographs to enlarge; give a folder by IMAGES: {arguments.images}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0)
    for number in range(arguments.number):
        picture = Image.open(sources[number * len(sources) // arguments.number % len(sources)]).convert("L")
        picture = np.asarray(picture.resize((DICOM_SIDE, DICOM_SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        picture = picture * 240 + noise.normal(2000, 60, picture.shape)
        pixels = picture.round().clip(0, 65535).astype(np.uint16)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        dataset.PatientID, dataset.Modality = f"patient-{number}", "CR"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.WindowCenter, dataset.WindowWidth = 32000, 60000
        dataset.PixelData = pixels.tobytes()
        if arguments.folder == Path("jpeg2000"):
            dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
        pydicom.dcmwrite(arguments.out / f"{number:04}.dcm", dataset, enforce_file_format=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["load", "generate"])
    parser.add_argument("folder", type=Path, help="of the images; when generating: dicom or jpeg2000")
    parser.add_argument("--decoder", choices=DECODERS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load(arguments) if arguments.task == "load" else generate(arguments)


if __name__ == "__main__":
    main()
