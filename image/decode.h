// Picture files to pixels: JPEG, PNG, BMP and, where the library was built with DCMTK, DICOM. Files are treated as
// hostile: every size is capped and checked before memory is taken, and a damaged file ends in an Error that names it,
// never in a crash, a hang or a silently grey half.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "core/export.h"
#include "image/image.h"

namespace fovea::image {

enum class Format { jpeg, png, bmp, dicom };
FOVEA_API const char* to_string(Format format);

/// What the channels of the result are.
enum class ColorMode {
  as_stored,  ///< 1 channel for grey files (grey PNG and JPEG, BMP with an all-grey palette), else 3
  grey,       ///< always 1 (luma, see to_grey)
  rgb,        ///< always 3
};

struct DecodeOptions {
  ColorMode color = ColorMode::as_stored;
  /// Turn the picture upright as its EXIF orientation (1 to 8) says: JPEG's APP1 and PNG's eXIf. Damaged EXIF data
  /// counts as none.
  bool apply_orientation = true;
  /// Alpha is dropped, as Pillow's convert("RGB") does, so transparent pixels show the colour stored under them. With a
  /// colour here, pixels are blended over it instead: (c * a + background * (255 - a)) / 255, rounded, equal to
  /// Pillow's paste with the alpha as mask.
  std::optional<std::array<std::uint8_t, 3>> background;
  /// Off: a file whose picture data ends early, or a JPEG whose data stops making sense part way, is an Error(format).
  /// On: what could be decoded is returned and the rest is grey or black. Unlike Pillow, a JPEG that is cut *inside*
  /// but has its end marker is refused too, because Pillow fills the hole with grey without a word. Harmless oddities
  /// (bytes after the picture or between segments) are accepted either way.
  bool allow_truncated = false;
  /// Above 0: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps so many pixels.
  /// The inverse transform then averages blocks itself: several times as fast for large photographs that are shrunk
  /// afterwards, but not the pixels that Pillow makes of them.
  int shorter_side_at_least = 0;
  /// width * height beyond this is an Error(memory) before anything is allocated. The default is Pillow's bomb limit.
  std::uint64_t max_pixels = 178'956'970;
  /// Files larger than this are an Error(memory) and are not read.
  std::uint64_t max_file_bytes = std::uint64_t{1} << 30;
};

/// What a file says about itself, from its header.
struct ImageInfo {
  Format format = Format::jpeg;
  int width = 0;           ///< as stored; see oriented_width
  int height = 0;          ///< as stored
  int channels = 0;        ///< colour channels decode() gives with ColorMode::as_stored: 1 or 3
  int bit_depth = 8;       ///< bits per sample in the file (palette index size for palette files)
  bool has_alpha = false;  ///< an alpha channel, or a transparent colour
  bool has_palette = false;
  int orientation = 1;  ///< EXIF, 1 (upright) to 8
  /// Size after apply_orientation (5 to 8 swap the sides).
  int oriented_width() const { return orientation >= 5 ? height : width; }
  int oriented_height() const { return orientation >= 5 ? width : height; }
};

/// Decodes a whole file held in memory. `name` goes into error texts (a path, usually).
///
/// JPEG: baseline, extended, progressive, arithmetic as libjpeg-turbo was built; grey, YCbCr, RGB, CMYK and YCCK
/// (Adobe's are stored inverted), the last two turned into RGB as Pillow's convert("RGB") does, without a colour
/// profile. PNG: all colour types and depths, interlaced too. 16-bit samples keep their high byte; 1-, 2- and 4-bit
/// grey is scaled to 0..255. BMP: 1, 4, 8, 16, 24, 32 bits, bottom-up and top-down; run-length compressed ones are
/// refused. DICOM (files with a preamble): uncompressed and JPEG baseline, the first frame as it is meant to be seen:
/// rescale, the first window or VOI LUT (without one the range of 16-bit values), MONOCHROME1 inverted, palettes.
/// Colour profiles and gamma are ignored.
///
/// Errors: format (damaged, truncated, empty, or a kind of file this library does not read, which is then named),
/// memory (beyond a cap, or out of memory).
FOVEA_API Image decode(std::span<const std::uint8_t> bytes, const DecodeOptions& options = {},
                       const std::string& name = "image");
/// decode() of a file. Adds Error(file): missing, unreadable, a directory, a pipe or device (never waits for one).
FOVEA_API Image read_image(const std::string& path, const DecodeOptions& options = {});

/// Format and size without decoding pixels; caps are checked as decode() does. The same errors for what the header
/// shows.
FOVEA_API ImageInfo probe(std::span<const std::uint8_t> bytes, const DecodeOptions& options = {},
                          const std::string& name = "image");
FOVEA_API ImageInfo probe_file(const std::string& path, const DecodeOptions& options = {});

/// Turns a picture stored with an EXIF orientation upright (Pillow's ImageOps.exif_transpose). Anything but 2 to 8
/// returns it unchanged.
FOVEA_API Image apply_orientation(const Image& image, int orientation);

}  // namespace fovea::image
