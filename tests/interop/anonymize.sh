#!/usr/bin/env bash
# Has exiftool stuff pictures with every tag it can write, anonymises them, and has it look again: only what pixels need
# may be left. usage: tests/interop/anonymize.sh FOVEA_PROGRAM  (needs libimage-exiftool-perl)
set -euo pipefail

fovea=$(readlink -f "$1")
command -v exiftool >/dev/null || { echo "SKIPPED: exiftool is not installed (libimage-exiftool-perl)"; exit 77; }
here=$(dirname "$(readlink -f "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=PLANTED7731
mkdir -p "$work/in/cat"
cp "$here"/../image/data/*.jpg "$here"/../image/data/*.png "$work/in/cat/" 2>/dev/null || true

stuffed=0
for file in "$work"/in/cat/*; do
  # The thumbnail, too, is a picture with a name in it.
  exiftool -q -m -overwrite_original -Artist="$name" -ImageDescription="$name" -Copyright="$name" -XPComment="$name" \
    -UserComment="$name" -OwnerName="$name" -SerialNumber="$name" -LensSerialNumber="$name" -GPSLatitude=52.5 -GPSLatitudeRef=N \
    -GPSLongitude=13.4 -GPSLongitudeRef=E -GPSAreaInformation="$name" -DateTimeOriginal="2024:01:02 03:04:05" \
    -XMP-dc:Creator="$name" -XMP-dc:Description="$name" -XMP-photoshop:City="$name" -IPTC:By-line="$name" \
    -IPTC:Caption-Abstract="$name" -Comment="$name" -PNG:Author="$name" -PNG:Description="$name" "$file" 2>/dev/null || { rm "$file"; continue; }
  printf 'appended %s' "$name" >>"$file"
  grep -q "$name" "$file" && stuffed=$((stuffed + 1))
done
[ "$stuffed" -ge 10 ] || { echo "only $stuffed files could be stuffed"; exit 1; }

"$fovea" anonymize "$work/in" --out "$work/out" --key "$work/key" --quiet || true # damaged test pictures fail, and are not written
made=$(find "$work/out" -name '*.jpg' -o -name '*.png' | wc -l)
[ "$made" -ge 10 ] || { echo "only $made pictures were made"; exit 1; }
if grep -rl "$name" "$work/out"; then echo "the files above still hold the name"; exit 1; fi
# What a picture's own format must say, and what exiftool says of files in general.
allowed='^(ExifTool Version Number|File Name|Directory|File Size|File (Modification|Access|Inode Change) Date/Time|File Permissions|File Type|File Type Extension|MIME Type|JFIF Version|Resolution Unit|[XY] Resolution|Image (Width|Height|Size)|Encoding Process|Bits Per Sample|Color Components|Y Cb Cr Sub Sampling|Megapixels|Bit Depth|Color Type|Compression|Filter|Interlace)$'
left=$(find "$work/out" \( -name '*.jpg' -o -name '*.png' \) -exec exiftool -s2 -a -G0 -u {} + 2>&1 | grep -c "Warning" || true)
[ "$left" -eq 0 ] || { echo "exiftool warns of $left things"; exit 1; }
find "$work/out" \( -name '*.jpg' -o -name '*.png' \) -exec exiftool -a -u {} + | grep -v '^=====' | grep -v 'image files read$' |
  sed 's/ *:.*//; s/^ *//' | sort -u | grep -Ev "$allowed" >"$work/strange" || true
if [ -s "$work/strange" ]; then echo "exiftool still finds:"; cat "$work/strange"; exit 1; fi
echo "exiftool finds nothing in $made anonymised pictures, $stuffed of which were stuffed"
