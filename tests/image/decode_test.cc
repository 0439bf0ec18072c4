// Decoding against Pillow's pixels, and what must be refused with which words.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <tuple>

#include "catch.h"
#include "core/error.h"
#include "image/decode.h"
#include "image/encode.h"
#include "image/resize.h"
#include "reference.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
using namespace fovea::image;

namespace {

std::string message(const std::vector<std::uint8_t>& bytes, ErrorKind kind, const DecodeOptions& options = {}) {
  try {
    decode(bytes, options, "pic.jpg");
  } catch (const Error& error) {
    CHECK(error.kind() == kind);
    CHECK(error.where() == "pic.jpg");
    return error.what();
  }
  FAIL("decoded what should have been refused");
  return {};
}

std::vector<std::uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

bool contains(const std::string& text, std::string_view part) { return text.find(part) != text.npos; }

void put(const std::string& path, const std::vector<std::uint8_t>& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

ErrorKind file_error(const std::string& path) {
  try {
    read_image(path);
  } catch (const Error& error) {
    CHECK(error.where() == path);
    return error.kind();
  }
  FAIL("read " << path);
  return ErrorKind::usage;
}

}  // namespace

TEST_CASE("decode gives Pillow's pixels for every kind of file") {
  const auto records = reference::read("decode.ref");
  REQUIRE(records.size() > 60);
  for (const auto& [name, expected] : records) {
    if (contains(name, " ")) continue;
    INFO(name);
    const Image got = read_image(reference::data_path(name));
    CHECK(reference::largest_difference(got, expected) == 0);
    const auto bytes = reference::bytes_of(reference::data_path(name));
    const ImageInfo info = probe(bytes);
    CHECK(info.oriented_width() == expected.width);
    CHECK(info.oriented_height() == expected.height);
    CHECK(info.channels == expected.channels);
    CHECK(decode(bytes, {.color = ColorMode::rgb}) == to_rgb(expected));
    CHECK(decode(bytes, {.color = ColorMode::grey}) == to_grey(expected));
  }
}

TEST_CASE("alpha is blended over a colour on request") {
  const auto records = reference::read("decode.ref");
  const DecodeOptions over{.background = std::array<std::uint8_t, 3>{10, 200, 77}};
  CHECK(read_image(reference::data_path("blend.png"), over) == reference::find(records, "blend.png over 10,200,77"));
  // Transparent colours of palette and grey files: index i of palette_trns.png has alpha 20 i (opaque from 8 on).
  const Image plain = read_image(reference::data_path("palette_trns.png"));
  const Image blended = read_image(reference::data_path("palette_trns.png"), over);
  CHECK(plain.channels == 3);
  CHECK(reference::largest_difference(plain, blended) > 0);
  const Image grey = read_image(reference::data_path("grey_trns.png"));
  const Image grey_over =
      read_image(reference::data_path("grey_trns.png"), {.background = std::array<std::uint8_t, 3>{7, 7, 7}});
  REQUIRE(grey_over.channels == 1);
  for (std::size_t i = 0; i < grey.pixels.size(); ++i) {
    REQUIRE(grey_over.pixels[i] == (grey.pixels[i] == grey.pixels[0] ? 7 : grey.pixels[i]));
  }
  // 16-bit and grey + alpha take the same way; opaque files are left alone.
  CHECK(read_image(reference::data_path("rgba_16.png"), over).channels == 3);
  CHECK(read_image(reference::data_path("grey_alpha_16.png"), over).channels == 1);
  CHECK(read_image(reference::data_path("rgb_8.png"), over) == read_image(reference::data_path("rgb_8.png")));
  CHECK(read_image(reference::data_path("rgb_32_v4.bmp"), over) != read_image(reference::data_path("rgb_32_v4.bmp")));
}

TEST_CASE("orientation can be left as stored") {
  const Image stored = read_image(reference::data_path("orientation_6.jpg"), {.apply_orientation = false});
  CHECK(stored.width == 13);
  CHECK(stored.height == 9);
  const ImageInfo info = probe_file(reference::data_path("orientation_6.jpg"));
  CHECK(info.orientation == 6);
  CHECK(info.width == 13);
  for (int o = 1; o <= 8; ++o) {
    const Image upright = read_image(reference::data_path(str("orientation_", o, ".jpg")));
    CHECK(apply_orientation(
              read_image(reference::data_path(str("orientation_", o, ".jpg")), {.apply_orientation = false}), o) ==
          upright);
  }
}

TEST_CASE("photos decode as Pillow decodes them") {
  if (!shared_path("")) FOVEA_SKIP("no shared reference data");
  std::ifstream list(reference::data_path("photos.txt"));
  std::string line;
  int checked = 0;
  while (std::getline(list, line)) {
    char name[300], what[20];
    unsigned crc = 0, length = 0;
    int width = 0, height = 0;
    REQUIRE(std::sscanf(line.c_str(), "%299[^\t]\t%19s\t%d\t%d\t%x %u", name, what, &width, &height, &crc, &length) ==
            6);
    if (std::string_view(what) != "decode") continue;
    const std::string path = *shared_path(name);
    if (!std::filesystem::exists(path)) continue;
    INFO(path);
    const Image image = read_image(path, {.color = ColorMode::rgb});
    CHECK(image.width == width);
    CHECK(image.height == height);
    CHECK(reference::crc32(image.pixels) == crc);
    ++checked;
  }
  if (checked == 0) FOVEA_SKIP("no photos in the shared data");
}

TEST_CASE("other formats are refused by name") {
  const std::pair<std::string, const char*> cases[] = {
      {std::string("GIF89a") + std::string(20, 1), "GIF"},
      {std::string("RIFF\x10\0\0\0WEBPVP8 ", 16), "WebP"},
      {std::string("II*\0\x08\0\0\0", 8), "TIFF"},
      {std::string("MM\0*\0\0\0\x08", 8), "TIFF"},
      {std::string("8BPS\0\x01", 6), "PSD"},
      {"#?RADIANCE\n", "HDR"},
      {"P6\n2 2\n255\n", "PNM"},
      {std::string("\0\0\0\x20"
                   "ftypavif",
                   12),
       "AVIF"},
      {std::string("\0\0\0\x20"
                   "ftypheic",
                   12),
       "HEIC"},
      {std::string("\0\0\0\x0cjP  \r\n\x87\n", 12), "JPEG 2000"},
      {"\xff\x0a\x01\x02", "JPEG XL"},
      {std::string("\0\0\1\0\1\0", 6), "icon"},
      {"%PDF-1.4", "PDF"},
      {"PK\3\4....", "ZIP"},
      {"\x89HDF\r\n\x1a\n", "HDF5"},
  };
  for (const auto& [bytes, name] : cases) {
    INFO(name);
    const std::string text = message(bytes_of(bytes), ErrorKind::format);
    CHECK(contains(text, name));
    CHECK(contains(text, "fovea reads JPEG, PNG and BMP"));
  }
  CHECK(contains(message(bytes_of("Hello, this is my holiday.\nBye\n"), ErrorKind::format), "this is a text file"));
  CHECK(!contains(message(bytes_of("Hello, this is my holiday.\nBye\n"), ErrorKind::format), "holiday"));
  CHECK(contains(message(bytes_of("caf\xc3\xa9 au lait, s'il vous pla\xc3\xaet"), ErrorKind::format), "text file"));
  CHECK(contains(message(bytes_of("<!DOCTYPE html><html><body>404</body></html>"), ErrorKind::format), "web page"));
  CHECK(contains(message({}, ErrorKind::format), "0 bytes"));
  CHECK(contains(message(std::vector<std::uint8_t>(4096), ErrorKind::format), "zeros"));
  CHECK(contains(message(bytes_of("\x89PNX\x01\x02\x03 and more bytes than a few"), ErrorKind::format),
                 "neither JPEG, PNG nor BMP"));
}

TEST_CASE("a hostile header is refused before memory is taken") {
  auto png = reference::bytes_of(reference::data_path("rgb_8.png"));
  const auto set_size = [&](std::uint32_t w, std::uint32_t h) {
    for (int i = 0; i < 4; ++i)
      png[16 + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(w >> (24 - 8 * i)),
               png[20 + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(h >> (24 - 8 * i));
    const std::uint32_t crc = reference::crc32({png.data() + 12, 17});
    for (int i = 0; i < 4; ++i) png[29 + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(crc >> (24 - 8 * i));
  };
  set_size(100000, 100000);
  const std::string text = message(png, ErrorKind::memory);
  CHECK(contains(text, "100000x100000"));
  CHECK(contains(text, "178956970"));
  set_size(0x7fffffff, 0x7fffffff);
  message(png, ErrorKind::memory);
  set_size(0xffffffff, 1);
  message(png, ErrorKind::format);
  set_size(0, 5);
  message(png, ErrorKind::format);
  // Within the cap, but far more than the data can hold: no allocation of half a gigabyte for 700 bytes.
  set_size(13000, 13000);
  CHECK(contains(message(png, ErrorKind::format), "cannot hold"));
  // A cap of one's own.
  const auto good = reference::bytes_of(reference::data_path("rgb_8.png"));
  message(good, ErrorKind::memory, {.max_pixels = 21 * 14 - 1});
  CHECK(decode(good, {.max_pixels = 21 * 14}).width == 21);
  message(good, ErrorKind::memory, {.max_file_bytes = good.size() - 1});
  CHECK_NOTHROW(decode(good, {.max_file_bytes = good.size()}));

  auto bmp = reference::bytes_of(reference::data_path("rgb_24.bmp"));
  const auto set_bmp = [&](std::uint32_t w, std::uint32_t h) {
    for (std::size_t i = 0; i < 4; ++i)
      bmp[18 + i] = static_cast<std::uint8_t>(w >> (8 * i)), bmp[22 + i] = static_cast<std::uint8_t>(h >> (8 * i));
  };
  set_bmp(100000, 100000);
  message(bmp, ErrorKind::memory);
  set_bmp(21, 0x80000000u);  // the one height whose sign cannot be turned
  message(bmp, ErrorKind::format);
  set_bmp(9000, 9000);
  CHECK(contains(message(bmp, ErrorKind::format), "truncated BMP"));

  auto jpeg = reference::bytes_of(reference::data_path("rgb_444.jpg"));
  const std::uint8_t start_of_frame[2] = {0xff, 0xc0};
  const auto frame = std::search(jpeg.begin(), jpeg.end(), start_of_frame, start_of_frame + 2);
  REQUIRE(frame != jpeg.end());
  frame[5] = 0x30, frame[6] = 0, frame[7] = 0x30, frame[8] = 0;  // 12288 x 12288
  CHECK(contains(message(jpeg, ErrorKind::format), "cannot hold"));
  frame[5] = 0xff, frame[7] = 0xff;
  message(jpeg, ErrorKind::memory);
}

TEST_CASE("a damaged PNG palette index, checksum or chunk does not pass") {
  auto png = reference::bytes_of(reference::data_path("rgb_8.png"));
  auto changed = png;
  changed[changed.size() / 2] ^= 0x40;
  CHECK(contains(message(changed, ErrorKind::format), "PNG"));
  changed = png;
  changed[17] ^= 1;  // the width, so that the header's checksum is wrong
  CHECK(contains(message(changed, ErrorKind::format), "header's checksum"));
  const auto colors = reference::bytes_of(reference::data_path("palette_8.png"));
  std::vector<std::uint8_t> bare;
  const std::uint8_t plte[4] = {'P', 'L', 'T', 'E'};
  const auto at = std::search(colors.begin(), colors.end(), plte, plte + 4) - 4;
  bare.insert(bare.end(), colors.begin(), at);
  bare.insert(bare.end(), at + 12 + 768, colors.end());
  CHECK(contains(message(bare, ErrorKind::format), "palette is missing"));
}

TEST_CASE("compressed and odd BMP files are named") {
  auto bmp = reference::bytes_of(reference::data_path("palette_8.bmp"));
  bmp[30] = 1;
  CHECK(contains(message(bmp, ErrorKind::format), "RLE"));
  bmp[30] = 4;
  CHECK(contains(message(bmp, ErrorKind::format), "embedded"));
  bmp[30] = 0;
  bmp[28] = 2;
  CHECK(contains(message(bmp, ErrorKind::format), "2 bits"));
}

TEST_CASE("files cut at every byte are errors, never half pictures") {
  for (const char* name :
       {"rgb_420.jpg", "progressive.jpg", "cmyk_adobe.jpg", "orientation_6.jpg", "rgb_16_interlaced.png",
        "palette_4.png", "orientation_6.png", "palette_1.bmp", "rgb_565.bmp", "rgb_24_os2.bmp"}) {
    INFO(name);
    const auto bytes = reference::bytes_of(reference::data_path(name));
    const Image whole = decode(bytes);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
      // A copy of exactly n bytes, so that the address sanitizer sees any read past the end.
      const std::vector<std::uint8_t> cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
      try {
        // Only what carries no pixels may be missing (a BMP row's padding).
        const Image got = decode(cut);
        if (!(got == whole)) FAIL("cut at " << n << ": another picture");
        if (n + 4 <= bytes.size()) FAIL("cut at " << n << " of " << bytes.size() << " passed");
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::format) FAIL("cut at " << n << ": " << error.what());
      }
      try {
        const Image part = decode(cut, {.apply_orientation = false, .allow_truncated = true});
        if (part.pixels.size() != whole.pixels.size()) FAIL("cut at " << n << ": another size");
      } catch (const Error&) {
      }
    }
  }
}

TEST_CASE("truncated files can be accepted") {
  Image image(64, 64, 3);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i * i >> 8);
  std::vector<std::vector<std::uint8_t>> files = {encode_jpeg(image), encode_png(image),
                                                  encode_jpeg(to_grey(image), {.progressive = true})};
  for (const char* name : {"rgb_8.png", "rgb_24_top_down.bmp"})
    files.push_back(reference::bytes_of(reference::data_path(name)));
  for (auto& bytes : files) {
    INFO("file of " << bytes.size() << " bytes");
    const Image whole = decode(bytes);
    bytes.resize(bytes.size() * 9 / 10);
    CHECK_THROWS_AS(decode(bytes), Error);
    const Image part = decode(bytes, {.allow_truncated = true});
    REQUIRE(part.width == whole.width);
    REQUIRE(part.height == whole.height);
    CHECK(std::equal(part.pixels.begin(), part.pixels.begin() + 3, whole.pixels.begin(),
                     [](int a, int b) { return std::abs(a - b) < 40; }));
    CHECK(!(part == whole));
  }
}

TEST_CASE("a JPEG with a hole in it is refused although its end marker is there") {
  Image noise(64, 64, 1);
  for (std::size_t i = 0; i < noise.pixels.size(); ++i) noise.pixels[i] = static_cast<std::uint8_t>(i * i * 7 >> 5);
  auto bytes = encode_jpeg(noise);
  bytes.erase(bytes.end() - 300, bytes.end() - 2);
  CHECK(contains(message(bytes, ErrorKind::format), "truncated or damaged"));
  CHECK(decode(bytes, {.allow_truncated = true}).width == 64);
  // Bytes after the end are harmless.
  bytes = reference::bytes_of(reference::data_path("rgb_444.jpg"));
  const Image whole = decode(bytes);
  bytes.insert(bytes.end(), 1000, 0x55);
  CHECK(decode(bytes) == whole);
}

TEST_CASE("flipped bits never crash and never leak") {
  std::uint64_t state = 12345;
  const auto next = [&state] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33);
  };
  std::size_t refused = 0, decoded = 0;
  for (const auto& entry : std::filesystem::directory_iterator(reference::data_path(""))) {
    const std::string ending = entry.path().extension().string();
    if (ending != ".jpg" && ending != ".png" && ending != ".bmp") continue;
    const auto bytes = reference::bytes_of(entry.path().string());
    for (int round = 0; round < 60; ++round) {
      auto changed = bytes;
      for (std::size_t flips = 1 + next() % 4; flips > 0; --flips)
        changed[next() % changed.size()] ^= static_cast<std::uint8_t>(1u << (next() % 8));
      DecodeOptions options{.allow_truncated = round % 2 == 1, .max_pixels = 1 << 20};
      if (round % 3 == 0) options.background = std::array<std::uint8_t, 3>{1, 2, 3};
      try {
        const Image image = decode(changed, options);
        check(image, "test");
        REQUIRE(!image.empty());
        ++decoded;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  CHECK(refused > 500);
  CHECK(decoded > 500);
}

TEST_CASE("files that cannot be read say why, with their path") {
  const TempFolder folder;
  CHECK(file_error(folder / "missing.jpg") == ErrorKind::file);
  CHECK(file_error(folder.path()) == ErrorKind::file);
  put(folder / "empty.png", {});
  CHECK(file_error(folder / "empty.png") == ErrorKind::format);
  REQUIRE(::mkfifo((folder / "pipe.jpg").c_str(), 0600) == 0);
  CHECK(file_error(folder / "pipe.jpg") == ErrorKind::file);
  CHECK(file_error("/dev/null") == ErrorKind::file);
  put(folder / "secret.png", reference::bytes_of(reference::data_path("rgb_8.png")));
  ::chmod((folder / "secret.png").c_str(), 0);
  if (::geteuid() != 0) CHECK(file_error(folder / "secret.png") == ErrorKind::file);
  put(folder / "notes.jpg", bytes_of("shopping list: eggs, flour"));
  CHECK(file_error(folder / "notes.jpg") == ErrorKind::format);
  CHECK(file_error((folder / std::string(300, 'x')) + ".png") == ErrorKind::file);
  // Names beyond ASCII and as long as they may be are ordinary.
  for (const std::string& name :
       {std::string("vögel \xe9\xb3\xa5 \xf0\x9f\x90\xa6.png"), std::string(251, 'n') + ".png"}) {
    put(folder / name, reference::bytes_of(reference::data_path("rgb_8.png")));
    CHECK(read_image(folder / name).width == 21);
  }
  // The ending does not decide what a file is.
  put(folder / "really_a_png.jpg", reference::bytes_of(reference::data_path("rgb_8.png")));
  CHECK(probe_file(folder / "really_a_png.jpg").format == Format::png);
}

TEST_CASE("jpeg: decoded at a part of its size where a smaller picture will do") {
  Image picture(640, 480, 3);
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      picture.at(x, y, 0) = static_cast<std::uint8_t>(x / 3);
      picture.at(x, y, 1) = static_cast<std::uint8_t>(y / 2);
      picture.at(x, y, 2) = static_cast<std::uint8_t>(127 + 100 * std::sin(0.02 * x + 0.03 * y));
    }
  }
  const std::vector<std::uint8_t> bytes = encode_jpeg(picture, {.quality = 95});
  const Image full = decode(bytes);
  for (const auto& [least, width, height] :
       {std::tuple(0, 640, 480), {241, 640, 480}, {240, 320, 240}, {100, 160, 120}, {60, 80, 60}, {1, 80, 60}}) {
    const Image small = decode(bytes, {.shorter_side_at_least = least});
    CAPTURE(least);
    REQUIRE(small.width == width);
    REQUIRE(small.height == height);
    // What shrinking the whole picture gives, but for rounding and the chroma's own way.
    const Image wanted = resize(full, width, height, Filter::box);
    double off = 0;
    for (std::size_t i = 0; i < small.pixels.size(); ++i) off += std::abs(small.pixels[i] - wanted.pixels[i]);
    CHECK(off / static_cast<double>(small.pixels.size()) < 1.5);
  }
  const Image odd = decode(encode_jpeg(crop(picture, 0, 0, 633, 479)), {.shorter_side_at_least = 119});
  CHECK(odd.width == 159);
  CHECK(odd.height == 120);
}
