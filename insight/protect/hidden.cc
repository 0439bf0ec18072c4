// Walks the segments of JPEG, the chunks of PNG and the headers of BMP. Only says what is there: anonymising never
// copies parts of a file, so what this walk does not know cannot slip through.
#include "insight/protect/hidden.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace fovea::insight {
namespace {

using Bytes = std::span<const std::uint8_t>;

class Kinds {
 public:
  void add(std::string kind) {
    if (std::find(kinds_.begin(), kinds_.end(), kind) == kinds_.end()) kinds_.push_back(std::move(kind));
  }
  std::vector<std::string> take() { return std::move(kinds_); }

 private:
  std::vector<std::string> kinds_;
};

bool begins(Bytes bytes, std::string_view with) {
  return bytes.size() >= with.size() && std::equal(with.begin(), with.end(), bytes.begin(), [](char a, std::uint8_t b) {
           return static_cast<std::uint8_t>(a) == b;
         });
}

std::uint32_t number(Bytes bytes, std::size_t at, std::size_t size, bool little) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < size; ++i) v = v << 8 | bytes[at + (little ? size - 1 - i : i)];
  return v;
}

void look_into_exif(Bytes tiff, Kinds& kinds) {
  kinds.add("EXIF");
  if (tiff.size() < 8) return;
  const bool little = tiff[0] == 'I';
  std::size_t directory = number(tiff, 4, 4, little);
  std::size_t details = 0;
  // The first directory, the one with the camera's details, and the one of the thumbnail.
  for (int i = 0; i < 3; ++i) {
    if (directory == 0 || directory + 2 > tiff.size()) return;
    const std::size_t entries = number(tiff, directory, 2, little), end = directory + 2 + 12 * entries;
    if (end > tiff.size()) return;
    for (std::size_t at = directory + 2; at < end; at += 12) {
      switch (number(tiff, at, 2, little)) {
        case 0x8825: kinds.add("GPS position"); break;
        case 0x927c: kinds.add("maker note"); break;
        case 0x0201:
        case 0x0111: kinds.add("thumbnail"); break;
        case 0x02bc: kinds.add("XMP"); break;
        case 0x83bb: kinds.add("IPTC"); break;
        case 0x8769: details = number(tiff, at + 8, 4, little); break;
        default: break;
      }
    }
    const std::size_t next = i == 0 && end + 4 <= tiff.size() ? number(tiff, end, 4, little) : 0;
    if (next > 0 && next < tiff.size()) kinds.add("thumbnail");
    directory = std::exchange(details, 0);
  }
}

void look_into_photoshop(Bytes data, Kinds& kinds) {
  constexpr std::string_view kIptc("8BIM\4\4", 6);
  const auto found = std::search(data.begin(), data.end(), kIptc.begin(), kIptc.end(),
                                 [](std::uint8_t a, char b) { return a == static_cast<std::uint8_t>(b); });
  kinds.add("Photoshop data");
  if (found != data.end()) kinds.add("IPTC");
}

void look_at_segment(int marker, Bytes body, Kinds& kinds) {
  using namespace std::string_view_literals;
  if (marker == 0xfe) {
    kinds.add("comment");
  } else if (marker == 0xe0 && begins(body, "JFIF\0"sv)) {
    if (body.size() > 14) kinds.add("thumbnail");
  } else if (marker == 0xe0 && begins(body, "JFXX\0"sv)) {
    kinds.add("thumbnail");
  } else if (marker == 0xe1 && begins(body, "Exif\0\0"sv)) {
    look_into_exif(body.subspan(6), kinds);
  } else if (marker == 0xe1 && begins(body, "http://ns.adobe.com/"sv)) {
    kinds.add("XMP");
  } else if (marker == 0xe2 && begins(body, "ICC_PROFILE\0"sv)) {
    kinds.add("colour profile");
  } else if (marker == 0xe2 && begins(body, "MPF\0"sv)) {
    kinds.add("more pictures");
  } else if (marker == 0xed && begins(body, "Photoshop 3.0\0"sv)) {
    look_into_photoshop(body, kinds);
  } else if (marker == 0xee && begins(body, "Adobe"sv) && body.size() == 12) {
    // the colour transform, which decoding needs
  } else if (marker >= 0xe0 && marker <= 0xef) {
    kinds.add(str("APP", marker - 0xe0, " data"));
  }
}

/// Where the entropy-coded data that begins at `at` ends: a marker is an FF without a 0 or a restart number behind it
/// (JPEG-LS: without a byte below 128).
std::size_t end_of_scan(Bytes file, std::size_t at, bool ls) {
  while (at + 1 < file.size()) {
    if (file[at] == 0xff) {
      const int next = file[at + 1];
      const bool data = next == 0xff || (next >= 0xd0 && next <= 0xd7) || (ls ? next < 0x80 : next == 0);
      if (!data) return at;
    }
    ++at;
  }
  return file.size();
}

void look_into_jpeg(Bytes file, Kinds& kinds) {
  std::size_t at = 2;
  while (at + 1 < file.size()) {
    if (file[at] != 0xff) {
      kinds.add("bytes between the parts");
      while (at + 1 < file.size() && file[at] != 0xff) ++at;
      continue;
    }
    const int marker = file[at + 1];
    if (marker == 0xff) {  // a fill byte
      ++at;
      continue;
    }
    at += 2;
    if (marker == 0xd9) {
      if (at < file.size()) kinds.add("bytes after the end");
      return;
    }
    if (marker <= 1 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (at + 2 > file.size()) return;
    const std::size_t size = number(file, at, 2, false);
    if (size < 2 || size > file.size() - at) return;
    look_at_segment(marker, file.subspan(at + 2, size - 2), kinds);
    at += size;
    if (marker != 0xda) continue;
    at = end_of_scan(file, at, false);
  }
}

void look_into_png(Bytes file, Kinds& kinds) {
  std::size_t at = 8;
  while (at + 12 <= file.size()) {
    const std::size_t size = number(file, at, 4, false);
    if (size > file.size() - at - 12) return;
    const Bytes body = file.subspan(at + 8, size);
    std::string type;
    for (std::size_t i = 4; i < 8; ++i) type += file[at + i] < 0x80 ? static_cast<char>(file[at + i]) : '?';
    at += 12 + size;
    if (type == "IEND") {
      if (at < file.size()) kinds.add("bytes after the end");
      return;
    }
    if (type == "IHDR" || type == "PLTE" || type == "IDAT") {
      if (type == "IHDR" && size == 13 && (body[9] & 4)) kinds.add("transparency");
    } else if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
      const bool xmp = begins(body, "XML:com.adobe.xmp");
      kinds.add(xmp ? "XMP" : "text");
    } else if (type == "eXIf") {
      look_into_exif(body, kinds);
    } else if (type == "iCCP") {
      kinds.add("colour profile");
    } else if (type == "tIME") {
      kinds.add("time");
    } else if (type == "tRNS") {
      kinds.add("transparency");
    } else if (type == "acTL" || type == "fcTL" || type == "fdAT") {
      kinds.add("more pictures");
    } else {
      for (char& c : type) c = c > ' ' && c < 0x7f ? c : '?';
      kinds.add("chunk " + type);
    }
  }
}

void look_into_bmp(Bytes file, Kinds& kinds) {
  if (file.size() < 54) return;
  const std::uint64_t pixels = number(file, 10, 4, true), header = number(file, 14, 4, true);
  const std::uint64_t bits = number(file, 28, 2, true), colors = number(file, 46, 4, true);
  const std::uint64_t width = number(file, 18, 4, true);
  const auto signed_height = static_cast<std::int32_t>(number(file, 22, 4, true));
  const std::uint64_t height = signed_height < 0 ? 0 - std::uint64_t(std::int64_t{signed_height}) : signed_height;
  if (header < 40 || width > 0x7fffffff) return;
  const std::uint64_t palette = bits <= 8 ? 4 * (colors ? std::min<std::uint64_t>(colors, 256) : 1u << bits) : 0;
  const std::uint64_t masks = header == 40 && number(file, 30, 4, true) == 3 ? 12 : 0;
  if (pixels > 14 + header + palette + masks) kinds.add("bytes between the parts");
  if (header >= 124 && file.size() >= 14 + 124 && number(file, 14 + 116, 4, true) != 0) kinds.add("colour profile");
  const std::uint64_t row = (width * bits + 31) / 32 * 4;
  if (height > 0 && row > file.size() / height) return;
  if (file.size() > pixels + row * height) kinds.add("bytes after the end");
}

}  // namespace

std::vector<std::uint8_t> strip_jpeg(std::span<const std::uint8_t> file, const std::string& name) {
  const auto damaged = [&](const char* what) { return Error(ErrorKind::format, name, str("damaged JPEG: ", what)); };
  if (!begins(file, "\xff\xd8")) throw damaged("it does not begin as one");
  std::vector<std::uint8_t> out(file.begin(), file.begin() + 2);
  const auto copy = [&](std::size_t begin, std::size_t end) {
    out.insert(out.end(), file.begin() + static_cast<std::ptrdiff_t>(begin),
               file.begin() + static_cast<std::ptrdiff_t>(end));
  };
  bool ls = false;
  for (std::size_t at = 2; at + 1 < file.size();) {
    if (file[at] != 0xff || file[at + 1] == 0xff || file[at + 1] == 0) {  // stray or filling
      ++at;
      continue;
    }
    const int marker = file[at + 1];
    if (marker == 0xd9) {
      copy(at, at + 2);
      return out;
    }
    if (marker == 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    if (at + 4 > file.size()) break;
    const std::size_t size = number(file, at + 2, 2, false), end = at + 2 + size;
    if (size < 2 || end > file.size()) break;
    const Bytes body = file.subspan(at + 4, size - 2);
    ls |= marker == 0xf7;
    using namespace std::string_view_literals;
    const bool adobe = marker == 0xee && begins(body, "Adobe"sv) && body.size() == 12;
    const bool jfif = marker == 0xe0 && begins(body, "JFIF\0"sv) && body.size() == 14;
    const bool colors = marker == 0xe8 && begins(body, "mrfx"sv);  // the colour transform of some JPEG-LS
    const bool note = marker == 0xfe || (marker >= 0xe0 && marker <= 0xef);
    if (!note || adobe || jfif || (colors && body.size() == 5)) copy(at, end);
    at = end;
    if (marker == 0xda) {
      const std::size_t scan = end_of_scan(file, at, ls);
      copy(at, scan);
      at = scan;
    }
  }
  throw damaged("it ends in its middle");
}

std::vector<std::string> hidden_content(std::span<const std::uint8_t> file) {
  Kinds kinds;
  if (begins(file, "\xff\xd8")) {
    look_into_jpeg(file, kinds);
  } else if (begins(file, "\x89PNG\r\n\x1a\n")) {
    look_into_png(file, kinds);
  } else if (begins(file, "BM")) {
    look_into_bmp(file, kinds);
  }
  return kinds.take();
}

}  // namespace fovea::insight
