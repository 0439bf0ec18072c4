// What a picture file carries besides its picture: notes of the camera, places, names, previews, whatever was appended.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/export.h"

namespace fovea::insight {

/// Kinds of content of a JPEG, PNG or BMP file that do not belong to the pixels, each once, in the order of the file:
/// "EXIF", "GPS position", "maker note", "thumbnail", "XMP", "IPTC", "Photoshop data", "colour profile", "comment",
/// "text", "time", "transparency", "more pictures", "bytes after the end", "bytes between the parts", "APP7 data",
/// "chunk prVt". Never the content itself. Empty for what encode_jpeg() and encode_png() write, and for any other kind
/// of file. Damage ends the search, it is no error.
FOVEA_API std::vector<std::string> hidden_content(std::span<const std::uint8_t> file);

/// A JPEG (lossy, lossless or JPEG-LS) without comments, application data (but what the colours need), bytes between
/// its parts and behind its end; its compressed data is copied bit by bit. Error{format} where its parts cannot be
/// told.
FOVEA_API std::vector<std::uint8_t> strip_jpeg(std::span<const std::uint8_t> file, const std::string& name = "JPEG");

}  // namespace fovea::insight
