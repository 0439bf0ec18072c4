// Picture files stuffed with identifying text in every place that the formats have for it, and the search for it.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "image/encode.h"
#include "image/image.h"

namespace planted {

using Bytes = std::vector<std::uint8_t>;

/// Stands wherever a file can hold text; in UTF-16 too.
inline constexpr std::string_view kName = "JOHNDOE^1961";

inline std::string utf16(std::string_view text) {
  std::string out;
  for (const char c : text) out += std::string{c, '\0'};
  return out;
}

/// Whether the name stands in the bytes, plain, reversed in byte order or as UTF-16.
inline bool found(const Bytes& bytes, std::string_view name = kName) {
  const std::string all(bytes.begin(), bytes.end());
  return all.find(name) != all.npos || all.find(utf16(name)) != all.npos;
}

inline void add(Bytes& out, std::string_view text) { out.insert(out.end(), text.begin(), text.end()); }
inline void add_big(Bytes& out, std::uint32_t v, int size) {
  for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(v >> shift));
}
inline void add_little(Bytes& out, std::uint32_t v, int size) {
  for (int i = 0; i < size; ++i) out.push_back(static_cast<std::uint8_t>(v >> 8 * i));
}
inline void put_little(Bytes& out, std::size_t at, std::uint32_t v, int size) {
  for (int i = 0; i < size; ++i) out[at + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(v >> 8 * i);
}

/// TIFF-structured EXIF data: orientation, artist, maker note, GPS position, a thumbnail, XMP and IPTC as tags.
inline Bytes exif(int orientation, const Bytes& thumbnail) {
  Bytes tiff;
  add(tiff, std::string_view("II*\0", 4));
  add_little(tiff, 8, 4);
  struct Entry {
    std::uint32_t tag, type;
    std::string text;  // stored behind the directory; or the value where empty
    std::uint32_t value = 0;
  };
  const std::string name(kName);
  const auto directory = [&](const std::vector<Entry>& entries, std::uint32_t next) {
    std::size_t text_at = tiff.size() + 2 + 12 * entries.size() + 4;
    add_little(tiff, static_cast<std::uint32_t>(entries.size()), 2);
    for (const Entry& e : entries) {
      add_little(tiff, e.tag, 2);
      add_little(tiff, e.type, 2);
      add_little(tiff, e.text.empty() ? 1 : static_cast<std::uint32_t>(e.text.size()), 4);
      add_little(tiff, e.text.empty() ? e.value : static_cast<std::uint32_t>(text_at), 4);
      text_at += e.text.size();
    }
    add_little(tiff, next, 4);
    for (const Entry& e : entries) add(tiff, e.text);
  };
  const auto pointer = [&](std::size_t directory_at, std::size_t entry) { return directory_at + 2 + 12 * entry + 8; };
  directory({{0x010e, 2, name + '\0'},
             {0x0112, 3, "", static_cast<std::uint32_t>(orientation)},
             {0x013b, 2, name + '\0'},
             {0x02bc, 1, "<x:xmpmeta>" + name + "</x:xmpmeta>"},
             {0x83bb, 1, name},
             {0x8298, 2, name + '\0'},
             {0x8769, 4, "", 0},
             {0x8825, 4, "", 0},
             {0x9c9d, 1, utf16(name)}},
            0);
  const std::size_t details = tiff.size();
  directory({{0x9003, 2, "2024:01:02 03:04:05\0"},
             {0x927c, 7, "MAKER" + name},
             {0x9286, 7, std::string("UNICODE\0", 8) + utf16(name)},
             {0xa431, 2, name + '\0'}},
            0);
  put_little(tiff, pointer(8, 6), static_cast<std::uint32_t>(details), 4);
  const std::size_t gps = tiff.size();
  directory({{0x0001, 2, "", 'N'}, {0x001b, 7, "ASCII" + name}}, 0);
  put_little(tiff, pointer(8, 7), static_cast<std::uint32_t>(gps), 4);
  const std::size_t second = tiff.size();
  directory({{0x0201, 4, "", 0}, {0x0202, 4, "", static_cast<std::uint32_t>(thumbnail.size())}}, 0);
  put_little(tiff, pointer(second, 0), static_cast<std::uint32_t>(tiff.size()), 4);
  tiff.insert(tiff.end(), thumbnail.begin(), thumbnail.end());
  put_little(tiff, 8 + 2 + 12 * 9, static_cast<std::uint32_t>(second), 4);
  return tiff;
}

inline std::string text_of(const Bytes& bytes) { return {bytes.begin(), bytes.end()}; }

/// A JPEG with the name in: JFIF and EXIF thumbnails, EXIF, XMP and its extension, an ICC profile, MPF, IPTC, a
/// comment, application data, between segments, and behind the end.
inline Bytes jpeg(const fovea::image::Image& picture, int orientation = 1) {
  const Bytes plain = fovea::image::encode_jpeg(picture);
  const std::string name(kName);
  Bytes out(plain.begin(), plain.begin() + 2);
  const auto segment = [&](int marker, const std::string& body) {
    out.push_back(0xff);
    out.push_back(static_cast<std::uint8_t>(marker));
    add_big(out, static_cast<std::uint32_t>(body.size() + 2), 2);
    add(out, body);
  };
  Bytes thumbnail = fovea::image::encode_jpeg(fovea::image::Image(16, 8, 3, 120));
  Bytes comment{0xff, 0xfe};
  add_big(comment, static_cast<std::uint32_t>(name.size() + 2), 2);
  add(comment, name);
  thumbnail.insert(thumbnail.begin() + 2, comment.begin(), comment.end());
  // A JFIF header whose thumbnail is the name: 4 pixels of 3 bytes.
  segment(0xe0, std::string("JFIF\0\1\1\0\0\1\0\1\4\1", 14) + name);
  segment(0xe0, std::string("JFXX\0\x10", 6) + text_of(thumbnail));
  segment(0xe1, std::string("Exif\0\0", 6) + text_of(exif(orientation, thumbnail)));
  segment(0xe1, std::string("http://ns.adobe.com/xap/1.0/\0", 29) + "<dc:creator>" + name + "</dc:creator>");
  segment(0xe1, std::string("http://ns.adobe.com/xmp/extension/\0", 35) + name);
  segment(0xe2, std::string("ICC_PROFILE\0\1\1", 14) + std::string(128, 'p') + name);
  segment(0xe2, std::string("MPF\0", 4) + name);
  segment(0xe7, "vendor" + name);
  segment(0xed, std::string("Photoshop 3.0\0", 14) + std::string("8BIM\4\4\0\0\0\0\0\x10", 12) + "\x1c\2P" + name);
  segment(0xfe, name);
  add(out, name);  // stray bytes, which decoders pass over
  out.insert(out.end(), plain.begin() + 2, plain.end());
  add(out, "PK\3\4 an archive with " + name);
  const Bytes again = fovea::image::encode_jpeg(picture);
  out.insert(out.end(), again.begin(), again.end());
  return out;
}

/// A PNG with the name in: text of three kinds (one compressed), EXIF, an ICC profile, a private chunk, the time, a
/// second frame, behind the picture's compressed data, and behind the end.
inline Bytes png(const fovea::image::Image& picture, int orientation = 1) {
  const Bytes plain = fovea::image::encode_png(picture);
  const std::string name(kName);
  Bytes out(plain.begin(), plain.begin() + 8 + 25);
  const auto chunk = [&](const std::string& type, const std::string& body) {
    add_big(out, static_cast<std::uint32_t>(body.size()), 4);
    const std::string checked = type + body;
    add(out, checked);
    add_big(out,
            static_cast<std::uint32_t>(
                crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()))),
            4);
  };
  // Stored, not compressed, so that a search of bytes can see the name.
  const auto deflated = [](const std::string& text) {
    std::string packed(text.size() + 64, '\0');
    uLongf size = packed.size();
    compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size(),
              0);
    packed.resize(size);
    return packed;
  };
  chunk("iCCP", "profile" + std::string("\0\0", 2) + deflated(std::string(128, 'p') + name));
  chunk("tEXt", "Author" + std::string("\0", 1) + name);
  chunk("zTXt", "Comment" + std::string("\0\0", 2) + deflated(name));
  chunk("iTXt", "Title" + std::string("\0\0\0\0\0", 5) + name);
  chunk("iTXt", "XML:com.adobe.xmp" + std::string("\0\0\0\0\0", 5) + "<dc:creator>" + name);
  chunk("eXIf", text_of(exif(orientation, fovea::image::encode_jpeg(fovea::image::Image(16, 8, 3, 120)))));
  chunk("tIME", std::string("\x07\xe8\1\2\3\4\5", 7));
  chunk("prVt", name);
  // The picture's data; then what no decoder reads.
  out.insert(out.end(), plain.begin() + 8 + 25, plain.end() - 12);
  chunk("fdAT", name);
  chunk("IEND", "");
  add(out, name);
  return out;
}

/// A 24-bit BMP with the name between its header and its pixels, in the padding of its rows, and behind them.
inline Bytes bmp(const fovea::image::Image& picture) {
  const std::string name(kName);
  Bytes out;
  const auto width = static_cast<std::uint32_t>(picture.width), height = static_cast<std::uint32_t>(picture.height);
  const std::uint32_t row = (width * 3 + 3) / 4 * 4, pixels_at = 54 + static_cast<std::uint32_t>(name.size());
  add(out, "BM");
  add_little(out, pixels_at + row * height, 4);
  add_little(out, 0, 4);
  add_little(out, pixels_at, 4);
  for (const std::uint32_t v : {40u, width, height}) add_little(out, v, 4);
  add_little(out, 1, 2);
  add_little(out, 24, 2);
  for (int i = 0; i < 6; ++i) add_little(out, 0, 4);
  add(out, name);
  for (int y = picture.height - 1; y >= 0; --y) {
    for (int x = 0; x < picture.width; ++x) {
      for (int c = 2; c >= 0; --c) out.push_back(picture.at(x, y, picture.channels == 3 ? c : 0));
    }
    while ((out.size() - pixels_at) % 4) out.push_back('J');
  }
  add(out, name);
  return out;
}

}  // namespace planted
