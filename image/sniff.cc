// What kind of file is this? JPEG, PNG and BMP pass; everything else is refused by its name.
#include <algorithm>
#include <string_view>

#include "core/error.h"
#include "image/codec.h"

namespace fovea::image::codec {
namespace {

using namespace std::string_view_literals;

struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

// The first match wins, so longer and rarer signatures stand before shorter ones.
constexpr Magic kOthers[] = {
    {0, "GIF87a"sv, "a GIF"},
    {0, "GIF89a"sv, "a GIF"},
    {8, "WEBP"sv, "a WebP picture"},
    {0, "II*\0"sv, "a TIFF (or a camera's raw file)"},
    {0, "MM\0*"sv, "a TIFF (or a camera's raw file)"},
    {0, "II+\0"sv, "a BigTIFF"},
    {0, "MM\0+"sv, "a BigTIFF"},
    {0, "8BPS"sv, "a Photoshop file (PSD)"},
    {0, "#?RADIANCE"sv, "a Radiance HDR picture"},
    {0, "#?RGBE"sv, "a Radiance HDR picture"},
    {4, "ftypavif"sv, "an AVIF picture"},
    {4, "ftypavis"sv, "an AVIF picture"},
    {4, "ftyphei"sv, "a HEIC picture"},
    {4, "ftyphev"sv, "a HEIC picture"},
    {4, "ftypmif1"sv, "a HEIC or AVIF picture"},
    {4, "ftypmsf1"sv, "a HEIC or AVIF picture"},
    {4, "ftypcrx"sv, "a Canon raw file (CR3)"},
    {4, "ftyp"sv, "a video (MP4 or QuickTime)"},
    {0, "\0\0\0\x0cjP  "sv, "a JPEG 2000 picture"},
    {0, "\xff\x4f\xff\x51"sv, "a JPEG 2000 codestream"},
    {0, "\0\0\0\x0cJXL "sv, "a JPEG XL picture"},
    {0, "\xff\x0a"sv, "a JPEG XL picture"},
    {0, "\xff\xd8\xff\xf7"sv, "a JPEG-LS picture"},
    {0, "\x8aMNG\r\n\x1a\n"sv, "an MNG animation"},
    {0, "\x8bJNG\r\n\x1a\n"sv, "a JNG picture"},
    {0, "\0\0\1\0"sv, "a Windows icon (ICO)"},
    {0, "\0\0\2\0"sv, "a Windows cursor (CUR)"},
    {0, "\x76\x2f\x31\x01"sv, "an OpenEXR picture"},
    {0, "DDS "sv, "a DDS texture"},
    {0, "qoif"sv, "a QOI picture"},
    {0, "SIMPLE  ="sv, "a FITS file"},
    {0, "\x0a\x05\x01"sv, "a PCX picture"},
    {0, "%PDF-"sv, "a PDF document"},
    {0, "PK\3\4"sv, "a ZIP archive"},
    {0, "\x1f\x8b"sv, "a gzip file"},
    {0, "Rar!\x1a\x07"sv, "a RAR archive"},
    {0, "7z\xbc\xaf\x27\x1c"sv, "a 7-Zip archive"},
    {0, "\x89HDF\r\n\x1a\n"sv, "an HDF5 file"},
    {0, "\x93NUMPY"sv, "a NumPy array"},
    {0, "\0\5\x16\7"sv, "macOS's companion file (AppleDouble), not the picture itself"},
    {0, "version https://git-lfs"sv, "a Git LFS pointer, not the picture itself"},
};

bool at(Bytes bytes, std::size_t offset, std::string_view magic) {
  return bytes.size() >= offset + magic.size() &&
         std::equal(magic.begin(), magic.end(), bytes.begin() + static_cast<std::ptrdiff_t>(offset),
                    [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; });
}

bool is_text(Bytes bytes) {
  const Bytes head = bytes.first(std::min<std::size_t>(bytes.size(), 512));
  if (head.size() >= 3 && head[0] == 0xef && head[1] == 0xbb && head[2] == 0xbf) return true;  // UTF-8 with a mark
  return std::all_of(head.begin(), head.end(), [](std::uint8_t c) {
    return c == '\t' || c == '\n' || c == '\r' || c == '\f' || (c >= 0x20 && c != 0x7f);
  });
}

// The first words of a text file, safe to print.
std::string excerpt(Bytes bytes) {
  std::string out;
  for (std::uint8_t c : bytes.first(std::min<std::size_t>(bytes.size(), 40))) {
    if (c == '\n' || c == '\r') {
      if (!out.empty()) break;
      continue;
    }
    out += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '.';
  }
  return out;
}

bool begins_like_html(Bytes bytes) {
  std::string lower;
  for (std::uint8_t c : bytes.first(std::min<std::size_t>(bytes.size(), 256))) {
    lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  return lower.find("<!doctype html") != lower.npos || lower.find("<html") != lower.npos;
}

}  // namespace

Format sniff(Bytes bytes, const std::string& name) {
  if (bytes.empty())
    throw Error(ErrorKind::format, name, "the file is empty (0 bytes)",
                "it may be a broken download or copy; fetch it again or delete it");
  if (at(bytes, 0, "\x89PNG\r\n\x1a\n"sv)) return Format::png;
  if (at(bytes, 0, "BM"sv) && bytes.size() >= 18 && bytes[15] == 0 && bytes[16] == 0 && bytes[17] == 0)
    return Format::bmp;
  // Before the others: the first 128 bytes of a DICOM file may be anything.
  if (at(bytes, 128, "DICM"sv)) return Format::dicom;

  constexpr auto kHint = "fovea reads JPEG, PNG and BMP; convert it first, e.g. with ImageMagick: convert IN OUT.png"sv;
  const auto refuse = [&](std::string_view what) -> Error {
    return Error(ErrorKind::format, name, str("this is ", what, ", which fovea does not read"), kHint);
  };
  for (const Magic& magic : kOthers) {
    if (at(bytes, magic.offset, magic.bytes)) throw refuse(magic.name);
  }
  if (at(bytes, 0, "\xff\xd8"sv)) return Format::jpeg;
  if (bytes.size() >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '7' &&
      (bytes[2] == '\n' || bytes[2] == ' ' || bytes[2] == '\r')) {
    throw refuse("a PNM picture (PBM, PGM, PPM or PAM)");
  }
  if (is_text(bytes)) {
    if (begins_like_html(bytes)) {
      throw Error(ErrorKind::format, name, "this is a web page (HTML), not a picture",
                  "the download probably failed and saved the error page");
    }
    const std::string head = excerpt(bytes);
    if (head.find("<svg") != head.npos || head.starts_with("<?xml")) throw refuse("an SVG drawing or other XML file");
    // Its text is not quoted: a manifest may name any file, and messages end up in logs.
    throw Error(ErrorKind::format, name, "this is a text file, not a picture");
  }
  // What is left of a picture when its first bytes are cut off or overwritten.
  if (bytes.size() < 18)
    throw Error(ErrorKind::format, name, str("only ", bytes.size(), " bytes, too short for any picture"),
                "the file is truncated");
  if (std::all_of(bytes.begin(), bytes.begin() + 18, [](std::uint8_t b) { return b == 0; })) {
    throw Error(ErrorKind::format, name, "the file is filled with zeros",
                "a copy was interrupted or the disk was full; fetch it again");
  }
  throw Error(ErrorKind::format, name,
              "not a picture file this library knows: neither JPEG, PNG nor BMP by its first bytes", kHint);
}

}  // namespace fovea::image::codec
