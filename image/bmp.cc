// BMP. The header variants are read and checked here, and stb_image gets a file with one plain header, a full palette
// and all the rows the size asks for: its own reader trusts palette sizes and returns zeros past the end of a file.
#include <algorithm>
#include <array>
#include <cstring>

#include "core/error.h"
#include "image/codec.h"

namespace fovea::image::codec {
namespace {

struct Header {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  bool top_down = false;
  int bits = 0;
  std::array<std::uint32_t, 4> masks{};  // red, green, blue, alpha; all zero for the default layout
  std::uint64_t pixels_at = 0;
  std::array<std::uint8_t, 1024> palette{};  // blue, green, red, 0
  bool grey = false;
};

std::uint32_t le16(const std::uint8_t* p) { return p[0] | std::uint32_t{p[1]} << 8; }
std::uint32_t le32(const std::uint8_t* p) { return le16(p) | le16(p + 2) << 16; }

Header read_header(Bytes bytes, const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("damaged BMP: ", what));
  };
  const auto unread = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("this is a BMP with ", what, ", which fovea does not read"),
                 "convert it to PNG");
  };
  Header h;
  const std::uint32_t size = le32(bytes.data() + 14);
  if (size != 12 && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 && size != 124) {
    throw damaged(str("its header of ", size, " bytes is none of the known ones"));
  }
  if (bytes.size() < 14 + std::size_t{size})
    throw Error(ErrorKind::format, name, "truncated BMP: it ends in its header");
  const std::uint8_t* p = bytes.data() + 14;
  std::uint32_t compression = 0, colors = 0, planes = 0;
  std::uint64_t after = 14 + std::uint64_t{size};
  if (size == 12) {
    h.width = le16(p + 4), h.height = le16(p + 6), planes = le16(p + 8), h.bits = static_cast<int>(le16(p + 10));
  } else {
    h.width = le32(p + 4);
    const std::uint32_t height = le32(p + 8);
    h.top_down = height >> 31;
    h.height = h.top_down ? 0u - height : height;
    planes = le16(p + 12), h.bits = static_cast<int>(le16(p + 14)), compression = le32(p + 16), colors = le32(p + 32);
    if (h.width > 0x7fffffff || h.height > 0x7fffffff) throw damaged("its size is negative");
  }
  if (planes != 1) throw damaged(str("it has ", planes, " planes, not 1"));
  if (h.bits != 1 && h.bits != 4 && h.bits != 8 && h.bits != 16 && h.bits != 24 && h.bits != 32) {
    throw unread(str(h.bits, " bits a pixel"));
  }
  if (compression == 1 || compression == 2) throw unread("run-length compression (RLE)");
  if (compression == 4 || compression == 5) throw unread("an embedded JPEG or PNG");
  const bool bitfields = compression == 3;
  if (compression != 0 && !(bitfields && size != 12 && size != 64)) throw unread(str("compression ", compression));
  if (bitfields) {
    if (h.bits != 16 && h.bits != 32) throw damaged(str("colour masks with ", h.bits, " bits a pixel"));
    const std::size_t count = size >= 56 ? 4 : 3;
    if (size == 40) after += 12;
    if (bytes.size() < 54 + 4 * count) throw Error(ErrorKind::format, name, "truncated BMP: it ends in its header");
    for (std::size_t i = 0; i < count; ++i) h.masks[i] = le32(bytes.data() + 54 + 4 * i);
    if (!h.masks[0] || !h.masks[1] || !h.masks[2]) throw damaged("a colour mask is zero");
  }
  h.pixels_at = le32(bytes.data() + 10);
  if (h.pixels_at < after) throw damaged("its pixels would begin inside its header");
  if (h.bits <= 8) {
    const std::size_t entry = size == 12 ? 3 : 4;
    const std::uint64_t most = std::uint64_t{1} << h.bits;
    std::uint64_t count = colors == 0 || colors > most ? most : colors;
    count = std::min<std::uint64_t>(count, (h.pixels_at - after) / entry);
    if (after + count * entry > bytes.size())
      throw Error(ErrorKind::format, name, "truncated BMP: it ends in its palette");
    if (count == 0) throw damaged("its palette is missing");
    h.grey = true;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t* c = bytes.data() + after + i * entry;
      std::copy(c, c + 3, h.palette.begin() + static_cast<std::ptrdiff_t>(4 * i));
      h.grey = h.grey && c[0] == c[1] && c[1] == c[2];
    }
  }
  return h;
}

ImageInfo describe(const Header& h) {
  ImageInfo info;
  info.format = Format::bmp;
  info.width = static_cast<int>(h.width);
  info.height = static_cast<int>(h.height);
  info.channels = h.grey ? 1 : 3;
  info.bit_depth = h.bits <= 8 ? h.bits : 8;
  info.has_alpha = h.masks[3] != 0;
  info.has_palette = h.bits <= 8;
  return info;
}

void put16(std::uint8_t*& p, std::uint32_t v) {
  *p++ = static_cast<std::uint8_t>(v);
  *p++ = static_cast<std::uint8_t>(v >> 8);
}
void put32(std::uint8_t*& p, std::uint32_t v) {
  put16(p, v);
  put16(p, v >> 16);
}

}  // namespace

ImageInfo probe_bmp(Bytes bytes, const std::string& name) { return describe(read_header(bytes, name)); }

Raw decode_bmp(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name) {
  const Header h = read_header(bytes, name);
  info = describe(h);
  const auto row_bits = std::uint64_t{h.width} * static_cast<std::uint64_t>(h.bits);
  const std::uint64_t stride = (row_bits + 31) / 32 * 4;
  const std::uint64_t total = stride * h.height;
  // Some writers leave out the padding of the last row.
  const std::uint64_t needed = stride * (h.height - std::uint64_t{1}) + (row_bits + 7) / 8;
  const std::uint64_t there = bytes.size() > h.pixels_at ? bytes.size() - h.pixels_at : 0;
  if (there < needed && !options.allow_truncated) {
    throw Error(
        ErrorKind::format, name,
        str("truncated BMP: its ", h.width, "x", h.height, " pixels need ", needed, " bytes, ", there, " are there"),
        "fetch it again, or accept a partly black picture with DecodeOptions::allow_truncated");
  }
  const bool masked = h.masks[0] != 0;
  const std::uint32_t header = masked ? 108 : 40;
  const std::size_t colors = h.bits <= 8 ? std::size_t{1} << h.bits : 0;
  const std::size_t before = 14 + header + 4 * colors;
  std::vector<std::uint8_t> clean = allocate(before + total, name);
  std::uint8_t* p = clean.data();
  put16(p, 0x4d42);
  put32(p, 0);  // file size and two reserved fields, which nobody reads
  put32(p, 0);
  put32(p, static_cast<std::uint32_t>(before));
  put32(p, header);
  put32(p, h.width);
  put32(p, h.top_down ? 0u - h.height : h.height);
  put16(p, 1);
  put16(p, static_cast<std::uint32_t>(h.bits));
  put32(p, masked ? 3 : 0);
  p = clean.data() + 14 + 40;
  if (masked) {
    for (const std::uint32_t mask : h.masks) put32(p, mask);
  }
  std::copy_n(h.palette.begin(), 4 * colors, clean.begin() + static_cast<std::ptrdiff_t>(14 + header));
  if (there > 0) std::memcpy(clean.data() + before, bytes.data() + h.pixels_at, std::min(there, total));

  const bool alpha = info.has_alpha && options.background.has_value();
  const std::uint64_t pixels = std::uint64_t{h.width} * h.height;
  Raw raw = stb_decode(clean, alpha ? 4 : 3, 8 * pixels + (1 << 20), name);
  if (h.grey) {
    for (std::size_t i = 0; i < pixels; ++i) raw.pixels[i] = raw.pixels[3 * i];
    raw.pixels.resize(pixels);
    raw.channels = 1;
  }
  return raw;
}

}  // namespace fovea::image::codec
