// PNG. This file checks the container (chunk sizes, checksums, legal combinations), inflates the pixel data with zlib
// to exactly the size the header promises, and hands stb_image a clean file of its own making whose data is merely
// stored. So stb_image does the unfiltering, unpacking, palettes and interlacing, and never meets a hostile byte count.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "image/codec.h"
#include "image/exif.h"

namespace fovea::image::codec {
namespace {

constexpr std::size_t kSignature = 8;
// zlib's densest output: 1032 bytes for one (zlib's own manual). A header that promises more is a lie.
constexpr std::uint64_t kMaxInflation = 1032;

enum ColorType { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6 };

struct Parts {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  int depth = 0;
  int type = 0;
  bool interlaced = false;
  Bytes palette;
  Bytes transparency;
  std::vector<Bytes> data;  // the IDAT chunks
  std::uint64_t data_bytes = 0;
  int orientation = 1;
  std::string damage;  // first thing found broken after the header, empty when nothing is
};

std::uint32_t be32(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

bool crc_holds(Bytes bytes, std::size_t type_at, std::size_t length) {
  const uLong crc = crc32(0, bytes.data() + type_at, static_cast<uInt>(length + 4));
  return crc == be32(bytes.data() + type_at + 4 + length);
}

int samples(int type) {
  switch (type) {
    case kRgb: return 3;
    case kGreyAlpha: return 2;
    case kRgba: return 4;
    default: return 1;  // grey, palette index
  }
}

void read_header(Parts& parts, Bytes header, const std::string& name) {
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("damaged PNG: ", what));
  };
  parts.width = be32(header.data());
  parts.height = be32(header.data() + 4);
  parts.depth = header[8];
  parts.type = header[9];
  if (parts.width > 0x7fffffff || parts.height > 0x7fffffff) throw damaged("its size is beyond what PNG allows");
  const int d = parts.depth;
  const bool legal = parts.type == kGrey      ? d == 1 || d == 2 || d == 4 || d == 8 || d == 16
                     : parts.type == kPalette ? d == 1 || d == 2 || d == 4 || d == 8
                     : parts.type == kRgb || parts.type == kGreyAlpha || parts.type == kRgba ? d == 8 || d == 16
                                                                                             : false;
  if (!legal) throw damaged(str("colour type ", parts.type, " with ", d, " bits is not defined"));
  if (header[10] != 0 || header[11] != 0 || header[12] > 1)
    throw damaged("unknown compression, filter or interlace method");
  parts.interlaced = header[12] == 1;
}

// Walks the chunks. Throws for what makes the header unusable; later damage is noted in Parts::damage.
Parts walk(Bytes bytes, const std::string& name) {
  Parts parts;
  bool first = true, ended = false;
  std::size_t at = kSignature;
  while (!ended) {
    if (bytes.size() - at < 12) {
      if (first) throw Error(ErrorKind::format, name, "truncated PNG: it ends before its header");
      parts.damage = "it ends before its end marker";
      break;
    }
    const std::size_t length = be32(bytes.data() + at);
    const std::string_view type(reinterpret_cast<const char*>(bytes.data() + at + 4), 4);
    if (first && type == "CgBI") {
      throw Error(ErrorKind::format, name, "this is a PNG altered by Apple's Xcode (CgBI), which fovea does not read",
                  "convert it back with: xcrun pngcrush -revert-iphone-optimizations");
    }
    if (first && (type != "IHDR" || length != 13))
      throw Error(ErrorKind::format, name, "damaged PNG: it does not begin with a header chunk");
    if (length > bytes.size() - at - 12) {
      if (first) throw Error(ErrorKind::format, name, "truncated PNG: it ends in its header");
      parts.damage = "it ends inside a chunk";
      // What is there of the pixels serves allow_truncated.
      if (type == "IDAT") {
        parts.data.push_back(bytes.subspan(at + 8));
        parts.data_bytes += bytes.size() - at - 8;
      }
      break;
    }
    const Bytes body = bytes.subspan(at + 8, length);
    const bool critical = (type[0] & 0x20) == 0;
    const bool intact = crc_holds(bytes, at + 4, length);
    if (first) {
      if (!intact) throw Error(ErrorKind::format, name, "damaged PNG: the header's checksum is wrong");
      read_header(parts, body, name);
      first = false;
    } else if (critical && !intact) {
      if (parts.damage.empty()) parts.damage = "a chunk's checksum is wrong";
      if (type == "IDAT") parts.data.push_back(body), parts.data_bytes += length;
    } else if (type == "IDAT") {
      parts.data.push_back(body);
      parts.data_bytes += length;
    } else if (type == "PLTE") {
      if (length == 0 || length % 3 != 0 || length > 768)
        throw Error(ErrorKind::format, name, "damaged PNG: its palette has a wrong size");
      if (parts.data.empty()) parts.palette = body;
    } else if (type == "tRNS") {
      if (intact && parts.data.empty()) parts.transparency = body;
    } else if (type == "eXIf") {
      if (intact) parts.orientation = exif_orientation(body);
    } else if (type == "IEND") {
      ended = true;
    } else if (type == "IHDR") {
      throw Error(ErrorKind::format, name, "damaged PNG: it has two headers");
    } else if (critical) {
      throw Error(ErrorKind::format, name, "damaged PNG: unknown critical chunk");
    }
    at += 12 + length;
  }
  // A transparency chunk of the wrong size says nothing usable.
  const std::size_t wanted = parts.type == kGrey ? 2 : parts.type == kRgb ? 6 : 0;
  if (parts.type == kPalette ? parts.transparency.size() > parts.palette.size() / 3
                             : parts.transparency.size() != wanted) {
    parts.transparency = {};
  }
  return parts;
}

ImageInfo describe(const Parts& parts) {
  ImageInfo info;
  info.format = Format::png;
  info.width = static_cast<int>(parts.width);
  info.height = static_cast<int>(parts.height);
  info.channels = parts.type == kGrey || parts.type == kGreyAlpha ? 1 : 3;
  info.bit_depth = parts.depth;
  info.has_alpha = parts.type == kGreyAlpha || parts.type == kRgba || !parts.transparency.empty();
  info.has_palette = parts.type == kPalette;
  info.orientation = parts.orientation;
  return info;
}

// Bytes of the filtered rows, one filter byte each, over all interlace passes. Fits: at most 2^31 * 2^31 * 8 would not,
// but check_size has run before (max_pixels), and 64 bits hold 8 bytes for each of 2^60 pixels.
std::uint64_t filtered_bytes(const Parts& parts) {
  const auto bits = static_cast<std::uint64_t>(samples(parts.type) * parts.depth);
  const auto rows = [&](std::uint64_t w, std::uint64_t h) { return w == 0 ? 0 : h * ((w * bits + 7) / 8 + 1); };
  if (!parts.interlaced) return rows(parts.width, parts.height);
  static constexpr std::uint32_t kX[7] = {0, 4, 0, 2, 0, 1, 0}, kY[7] = {0, 0, 4, 0, 2, 0, 1};
  static constexpr std::uint32_t kDx[7] = {8, 8, 4, 4, 2, 2, 1}, kDy[7] = {8, 8, 8, 4, 4, 2, 2};
  std::uint64_t total = 0;
  for (int p = 0; p < 7; ++p) {
    const auto steps = [](std::uint64_t size, std::uint64_t first, std::uint64_t step) {
      return size > first ? (size - first + step - 1) / step : 0;
    };
    total += rows(steps(parts.width, kX[p], kDx[p]), steps(parts.height, kY[p], kDy[p]));
  }
  return total;
}

struct Inflater {
  z_stream stream{};
  bool open = false;
  Inflater() { open = inflateInit(&stream) == Z_OK; }
  ~Inflater() {
    if (open) inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

constexpr std::size_t kBlock = 65535;  // the longest stored block

// Inflates the chunks straight into stored deflate blocks at `out`, which begin at `start`. Returns how many bytes
// came.
std::uint64_t inflate_stored(const Parts& parts, std::uint8_t* out, std::uint64_t total, std::string& problem,
                             const std::string& name) {
  Inflater inflater;
  if (!inflater.open) throw Error(ErrorKind::memory, name, "no memory to inflate this PNG");
  z_stream& z = inflater.stream;
  std::uint64_t done = 0;
  std::size_t chunk = 0;
  std::uint8_t* block = out;  // its 5-byte head
  while (done < total) {
    const std::uint64_t length = std::min<std::uint64_t>(kBlock, total - done);
    block[0] = length == total - done ? 1 : 0;
    block[1] = static_cast<std::uint8_t>(length);
    block[2] = static_cast<std::uint8_t>(length >> 8);
    block[3] = static_cast<std::uint8_t>(~length);
    block[4] = static_cast<std::uint8_t>(~length >> 8);
    if (problem.empty()) {
      z.next_out = block + 5;
      z.avail_out = static_cast<uInt>(length);
      while (z.avail_out > 0) {
        if (z.avail_in == 0 && chunk < parts.data.size()) {
          z.next_in = const_cast<Bytef*>(parts.data[chunk].data());
          z.avail_in = static_cast<uInt>(parts.data[chunk].size());
          ++chunk;
          continue;
        }
        const uInt before_in = z.avail_in, before_out = z.avail_out;
        const int result = inflate(&z, Z_NO_FLUSH);
        if (result == Z_MEM_ERROR) throw Error(ErrorKind::memory, name, "no memory to inflate this PNG");
        if (result == Z_STREAM_END && z.avail_out == 0) break;
        if (result == Z_STREAM_END || (result == Z_BUF_ERROR && chunk == parts.data.size())) {
          problem = "its pixel data ends early";
          break;
        }
        if (result != Z_OK && result != Z_BUF_ERROR) {
          problem = str("its pixel data is corrupt (", z.msg ? z.msg : "zlib error", ")");
          break;
        }
        if (z.avail_in == before_in && z.avail_out == before_out && (z.avail_in > 0 || chunk == parts.data.size())) {
          problem = "its pixel data ends early";
          break;
        }
      }
      const std::uint64_t got = length - z.avail_out;
      done += got;
      // Rows that did not come are filter 0, value 0: black.
      if (got < length) std::memset(block + 5 + got, 0, length - got), done += length - got;
    } else {
      std::memset(block + 5, 0, length);
      done += length;
    }
    block += 5 + length;
  }
  return done;
}

void put32(std::vector<std::uint8_t>& out, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(v >> shift));
}

void put_chunk(std::vector<std::uint8_t>& out, std::string_view type, Bytes body) {
  put32(out, static_cast<std::uint32_t>(body.size()));
  out.insert(out.end(), type.begin(), type.end());
  out.insert(out.end(), body.begin(), body.end());
  put32(out, 0);  // stb_image does not look at checksums; ours have been verified
}

}  // namespace

ImageInfo probe_png(Bytes bytes, const std::string& name) { return describe(walk(bytes, name)); }

Raw decode_png(Bytes bytes, const DecodeOptions& options, ImageInfo& info, const std::string& name) {
  const Parts parts = walk(bytes, name);
  info = describe(parts);
  if (parts.type == kPalette && parts.palette.empty())
    throw Error(ErrorKind::format, name, "damaged PNG: its palette is missing");
  const auto truncated = [&](const std::string& what) {
    return Error(ErrorKind::format, name, str("truncated or damaged PNG: ", what),
                 "fetch it again, or accept a partly black picture with DecodeOptions::allow_truncated");
  };
  if (!options.allow_truncated && !parts.damage.empty()) throw truncated(parts.damage);
  const std::uint64_t total = filtered_bytes(parts);
  if (!options.allow_truncated && total / kMaxInflation > parts.data_bytes) {
    throw truncated(str(parts.data_bytes, " bytes of data cannot hold ", parts.width, "x", parts.height, " pixels"));
  }

  // The clean file: signature, header, palette filled up to 256 colours (an index beyond the palette is black), alpha
  // only where it is wanted, one data chunk, end.
  const bool alpha = info.has_alpha && options.background.has_value();
  std::vector<std::uint8_t> clean;
  const std::uint64_t blocks = (total + kBlock - 1) / kBlock;
  const std::uint64_t data = 2 + total + 5 * blocks + 4;
  constexpr std::size_t kRoomForTheRest = 2048;
  if (data + kRoomForTheRest > 0x7fffffff) {
    throw Error(ErrorKind::memory, name,
                str(parts.width, "x", parts.height, " pixels of this depth are more than the PNG decoder's 2 GiB"));
  }
  clean = allocate(data + kRoomForTheRest, name);
  clean.clear();  // keeps the room, so that what follows does not allocate
  clean.insert(clean.end(), bytes.begin(), bytes.begin() + kSignature);
  put_chunk(clean, "IHDR", bytes.subspan(kSignature + 8, 13));
  if (parts.type == kPalette) {
    std::array<std::uint8_t, 768> full{};
    std::copy(parts.palette.begin(), parts.palette.end(), full.begin());
    put_chunk(clean, "PLTE", full);
  }
  if (alpha && !parts.transparency.empty()) put_chunk(clean, "tRNS", parts.transparency);
  put32(clean, static_cast<std::uint32_t>(data));
  for (const char c : std::string_view("IDAT")) clean.push_back(static_cast<std::uint8_t>(c));
  clean.push_back(0x78);
  clean.push_back(0x01);
  const std::size_t body = clean.size();
  clean.resize(body + total + 5 * blocks);
  std::string problem;
  inflate_stored(parts, clean.data() + body, total, problem, name);
  if (!problem.empty() && !options.allow_truncated) throw truncated(problem);
  put32(clean, 0);  // the stream's checksum, which stb_image does not read
  put32(clean, 0);
  put_chunk(clean, "IEND", {});

  const std::uint64_t pixels = std::uint64_t{parts.width} * parts.height;
  return stb_decode(clean, info.channels + (alpha ? 1 : 0), 4 * std::uint64_t{clean.size()} + 16 * pixels + (1 << 20),
                    name);
}

}  // namespace fovea::image::codec
