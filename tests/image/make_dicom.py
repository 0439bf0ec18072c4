"""Writes small DICOM files into tests/image/data, as seeds of tests/fuzz/fuzz_dicom.cc. Needs pydicom, whose own test
files are cut down to a few rows. usage: make_dicom.py"""

import pathlib

import pydicom
from pydicom.data import get_testdata_file

data = pathlib.Path(__file__).parent / "data"
for source, name in [("CT_small.dcm", "dicom_ct.dcm"), ("MR_small_implicit.dcm", "dicom_implicit.dcm"),
                     ("MR_small_bigendian.dcm", "dicom_big_endian.dcm"), ("examples_palette.dcm", "dicom_palette.dcm")]:
    ds = pydicom.dcmread(get_testdata_file(source))
    words = ds.BitsAllocated // 8
    ds.Rows = min(ds.Rows, 8)
    ds.PixelData = ds.PixelData[:ds.Rows * ds.Columns * words]
    ds.save_as(data / name)
ds = pydicom.dcmread(get_testdata_file("SC_rgb_small_odd_jpeg.dcm"))
ds.save_as(data / "dicom_jpeg.dcm")
