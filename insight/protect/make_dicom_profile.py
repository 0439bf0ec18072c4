"""Converts Table E.1-1 of DICOM PS3.15 (Application Level Confidentiality Profile Attributes) into our data file.

The input is standard/confidentiality_profile_attributes.json of github.com/innolitics/dicom-standard, which is made from
the web version of the standard; its README names the edition. The whole table is kept, in its order.
usage: make_dicom_profile.py confidentiality_profile_attributes.json >insight/protect/dicom_profile_2024e.csv
"""

import csv
import json
import sys

# The columns of the table after name and tag: the basic profile and the options.
COLUMNS = {
    "basic": "basicProfile",
    "safe_private": "rtnSafePrivOpt",
    "uids": "rtnUIDsOpt",
    "device": "rtnDevIdOpt",
    "institution": "rtnInstIdOpt",
    "patient": "rtnPatCharsOpt",
    "full_dates": "rtnLongFullDatesOpt",
    "modified_dates": "rtnLongModifDatesOpt",
    "descriptors": "cleanDescOpt",
    "structured": "cleanStructContOpt",
    "graphics": "cleanGraphOpt",
}

with open(sys.argv[1]) as file:
    rows = json.load(file)
out = csv.writer(sys.stdout, lineterminator="\n")
out.writerow(["tag", "name", *COLUMNS])
for row in rows:
    # "(0008,0050)" becomes 00080050, "(50XX,XXXX)" 50xxxxxx, private attributes "private".
    tag = row["tag"].strip("()").replace(",", "").lower()
    if "odd" in tag:
        tag = "private"
    elif len(tag) != 8 or set(tag) - set("0123456789abcdefx"):
        sys.exit(f"unexpected tag {row['tag']}")
    out.writerow([tag, row["name"], *(row.get(key, "") for key in COLUMNS.values())])
