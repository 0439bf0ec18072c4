#!/usr/bin/env bash
# Has DCMTK make a DICOM file with a name in every kind of attribute, de-identifies it, and has dcmdump, dciodvfy and a
# search of bytes look at the result. usage: tests/interop/dicom.sh FOVEA_PROGRAM  (needs dcmtk and dicom3tools)
set -euo pipefail

fovea=$(readlink -f "$1")
for tool in dump2dcm dcmdump dcmcjpeg dciodvfy; do
  command -v $tool >/dev/null || { echo "SKIPPED: $tool is not installed (dcmtk, dicom3tools)"; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=PLANTED7731
mkdir -p "$work/in/ward"

# A secondary capture that dciodvfy finds nothing wrong with, and the places for names around it.
head -c 12288 /dev/urandom >"$work/pixels.raw"
cat >"$work/dump.txt" <<TEXT
(0008,0005) CS [ISO_IR 100]
(0008,0008) CS [DERIVED\\SECONDARY]
(0008,0016) UI =SecondaryCaptureImageStorage
(0008,0018) UI [1.2.3.4.5.7731]
(0008,0020) DA [19610304]
(0008,0023) DA [19610304]
(0008,0030) TM [101010]
(0008,0033) TM [101010]
(0008,0050) SH [$name]
(0008,0060) CS [OT]
(0008,0064) CS [WSD]
(0008,0070) LO [Maker]
(0008,0080) LO [$name]
(0008,0081) ST [$name]
(0008,0090) PN [$name^Ref]
(0008,1010) SH [$name]
(0008,1030) LO [$name]
(0008,103e) LO [$name]
(0008,1048) PN [$name^Physician]
(0008,1070) PN [$name^Operator]
(0009,0010) LO [$name private]
(0009,1001) LO [$name]
(0010,0010) PN [$name^Jane]
(0010,0020) LO [$name]
(0010,0030) DA [19610304]
(0010,0040) CS [F]
(0010,1000) LO [$name]
(0010,1001) PN [$name^Other]
(0010,1040) LO [$name street]
(0010,4000) LT [$name comments]
(0020,000d) UI [1.2.3.4.5.1]
(0020,000e) UI [1.2.3.4.5.2]
(0020,0010) SH [$name]
(0020,0011) IS [1]
(0020,0013) IS [1]
(0020,0020) CS
(0020,0060) CS [L]
(0020,4000) LT [$name comments]
(0028,0002) US 3
(0028,0004) CS [RGB]
(0028,0006) US 0
(0028,0010) US 64
(0028,0011) US 64
(0028,0100) US 8
(0028,0101) US 8
(0028,0102) US 7
(0028,0103) US 0
(0028,4000) LT [$name comments]
(0032,1032) PN [$name^Requester]
(0040,0275) SQ
(fffe,e000) na
(0040,0007) LO [$name]
(0040,1001) SH [$name]
(fffe,e00d) na
(fffe,e0dd) na
(7fe0,0010) OB =$work/pixels.raw
TEXT
dump2dcm -q "$work/dump.txt" "$work/in/ward/$name.dcm"
dcmcjpeg -q +eb "$work/in/ward/$name.dcm" "$work/in/ward/${name}_jpeg.dcm"
for file in "$work"/in/ward/*; do
  printf '%s' "preamble $name" | dd of="$file" conv=notrunc status=none
  printf 'behind the end %s' "$name" >>"$file"
done

"$fovea" anonymize "$work/in" --out "$work/out" --key "$work/key" --quiet
made=$(find "$work/out" -name '*.dcm' | wc -l)
[ "$made" -eq 2 ] || { echo "expected 2 files, got $made"; exit 1; }
if grep -rla -e "$name" -e 19610304 -e '1\.2\.3\.4\.5' "$work/out"; then echo "the files above still say whose they are"; exit 1; fi
for file in "$work"/out/ward/*.dcm; do
  dump=$(dcmdump -q +L "$file")
  for wanted in '(0012,0062) CS \[YES\]' '113100' '(0010,0020) LO \[[0-9a-f]\{12\}\]' '(0020,000d) UI \[2\.25\.'; do
    grep -q "$wanted" <<<"$dump" || { echo "dcmdump does not show $wanted in $file"; echo "$dump"; exit 1; }
  done
  if grep -q '113101' <<<"$dump"; then echo "113101 is claimed, but no pixel was changed"; exit 1; fi
  if grep -qE '\(00(09|11|29),|\(60[0-9a-f]{2},' <<<"$dump"; then echo "private attributes or overlays are left"; exit 1; fi
  [ "$(head -c 128 "$file" | tr -d '\0' | wc -c)" -eq 0 ] || { echo "the preamble is not empty"; exit 1; }
  dciodvfy "$file" >"$work/said" 2>&1 || true # its status is that of its last complaint
  if grep '^Error' "$work/said"; then echo "dciodvfy finds the errors above in $file"; exit 1; fi
done
echo "dcmdump, dciodvfy and a search of bytes find nothing wrong with $made de-identified files"
