// DICOM pictures as they are meant to be seen.
#include "image/dicom_writer.h"

#include "catch.h"
#include "core/error.h"
#include "image/decode.h"
#include "image/encode.h"

using namespace fovea;
using namespace fovea::image;
namespace df = dicom_file;

namespace {

bool can_read() {
  try {
    decode(df::picture({}, "abcd"));
    return true;
  } catch (const Error& e) {
    if (std::string(e.what()).find("this build of fovea does not read") == std::string::npos) throw;
    WARN("SKIPPED: this build has no DCMTK");
    return false;
  }
}

df::Bytes pixels(const df::Bytes& file) { return decode(file).pixels; }
using P = df::Bytes;

}  // namespace

TEST_CASE("DICOM: grey values become what a window makes of them") {
  if (!can_read()) return;
  const std::string four("\0\x40\x80\xff", 4);
  CHECK(pixels(df::picture({}, four)) == P{0, 64, 128, 255});
  CHECK(pixels(df::picture({.photometric = "MONOCHROME1"}, four)) == P{255, 191, 127, 0});
  CHECK(pixels(df::picture({.more = df::element(0x20500020, "CS", "INVERSE")}, four)) == P{255, 191, 127, 0});
  // Without a window 16 bits are spread over what is there, padding left out.
  const df::Picture words{.allocated = 16, .stored = 12};
  CHECK(pixels(df::picture(words, df::words({100, 300, 500, 1100}))) == P{0, 51, 102, 255});
  df::Picture padded = words;
  padded.more = df::element(0x00280120, "US", df::little(4000, 2));
  CHECK(pixels(df::picture(padded, df::words({4000, 200, 400, 1200}))) == P{255, 0, 51, 255});
  // Hounsfield units: signed, rescaled, windowed by PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255.
  df::Picture ct{.allocated = 16, .stored = 16, .is_signed = true};
  ct.more = df::element(0x00281050, "DS", "40\\600") + df::element(0x00281051, "DS", "401\\1500") +
            df::element(0x00281052, "DS", "-1024") + df::element(0x00281053, "DS", "1");
  CHECK(pixels(df::picture(ct, df::words({-5, 1024, 1064, 1264}))) == P{0, 102, 128, 255});
  ct.more = df::element(0x00281050, "DS", "40") + df::element(0x00281051, "DS", "400") +
            df::element(0x00281056, "CS", "LINEAR_EXACT");
  CHECK(pixels(df::picture(ct, df::words({-160, 40, 140, 240}))) == P{0, 128, 191, 255});
  ct.more = df::element(0x00281050, "DS", "0") + df::element(0x00281051, "DS", "100") +
            df::element(0x00281056, "CS", "SIGMOID");
  CHECK(pixels(df::picture(ct, df::words({-25, 0, 25, 3000}))) == P{69, 128, 186, 255});
  // A table of values instead of a window.
  df::Picture table = words;
  table.more = df::element(0x00283010, "SQ",
                           df::item(df::element(0x00283002, "US", df::words({4, 10, 8})) +
                                    df::element(0x00283006, "OW", df::words({7, 50, 90, 200}))));
  CHECK(pixels(df::picture(table, df::words({0, 11, 13, 99}))) == P{7, 50, 200, 200});
}

TEST_CASE("DICOM: colours, planes, palettes and JPEG") {
  if (!can_read()) return;
  const std::string red_blue("\xff\0\0\0\0\xff", 6);
  const df::Picture rgb{.rows = 1, .samples = 3, .photometric = "RGB"};
  CHECK(pixels(df::picture(rgb, red_blue)) == P{255, 0, 0, 0, 0, 255});
  df::Picture planar = rgb;
  planar.planar = true;
  CHECK(pixels(df::picture(planar, std::string("\xff\0\0\0\0\xff", 6))) == P{255, 0, 0, 0, 0, 255});
  df::Picture ybr = rgb;
  ybr.photometric = "YBR_FULL";
  CHECK(pixels(df::picture(ybr, std::string("\x4c\x55\xff\x80\x80\x80", 6))) == P{254, 0, 0, 128, 128, 128});
  ybr.photometric = "YBR_FULL_422";
  CHECK(pixels(df::picture(ybr, std::string("\x10\xf0\x80\x80", 4))) == P{16, 16, 16, 240, 240, 240});
  df::Picture palette{.rows = 1, .photometric = "PALETTE COLOR"};
  for (std::uint32_t i = 0; i < 3; ++i) palette.more += df::element(0x00281101 + i, "US", df::words({3, 5, 16}));
  for (int i = 0; i < 3; ++i)
    palette.more +=
        df::element(0x00281201 + static_cast<std::uint32_t>(i), "OW", df::words({0, 256 * 10 * (i + 1), 65280}));
  CHECK(pixels(df::picture(palette, std::string("\6\7", 2))) == P{10, 20, 30, 255, 255, 255});

  Image colors(40, 30, 3);
  for (int y = 0; y < 30; ++y) {
    for (int x = 0; x < 40; ++x)
      colors.at(x, y, 0) = static_cast<std::uint8_t>(6 * x), colors.at(x, y, 2) = static_cast<std::uint8_t>(8 * y);
  }
  const df::Bytes jpeg = encode_jpeg(colors);
  const std::string text(jpeg.begin(), jpeg.end());
  const df::Picture as_jpeg{.rows = 30, .columns = 40, .samples = 3, .photometric = "YBR_FULL_422"};
  const df::Bytes whole = df::file(df::description(as_jpeg) + df::packed({text}), df::kJpeg);
  CHECK(decode(whole) == decode(jpeg));
  CHECK(probe(whole).format == Format::dicom);
  CHECK(probe(whole).width == 40);
  // In two fragments; and the first of two frames.
  CHECK(decode(df::file(df::description(as_jpeg) + df::packed({text.substr(0, 300), text.substr(300)}), df::kJpeg)) ==
        decode(jpeg));
  df::Picture frames = as_jpeg;
  const std::string second_text = [] {
    const df::Bytes b = encode_jpeg(Image(40, 30, 3, 9));
    return std::string(b.begin(), b.end());
  }();
  const std::string with_frames = df::element(0x00280002, "US", df::little(3, 2)) +
                                  df::element(0x00280004, "CS", "YBR_FULL_422") +
                                  df::element(0x00280006, "US", df::little(0, 2)) + df::element(0x00280008, "IS", "2") +
                                  df::description(frames).substr(df::element(0x00280002, "US", "ab").size() +
                                                                 df::element(0x00280004, "CS", "YBR_FULL_422").size() +
                                                                 df::element(0x00280006, "US", "ab").size());
  CHECK(decode(df::file(with_frames + df::packed({text, second_text}), df::kJpeg)) == decode(jpeg));
}

TEST_CASE("DICOM: damage and what is not read are said") {
  if (!can_read()) return;
  const auto kind = [](const df::Bytes& bytes, const DecodeOptions& o = {}) {
    try {
      decode(bytes, o);
    } catch (const Error& e) {
      return e.kind();
    }
    FAIL("no error");
    return ErrorKind::usage;
  };
  CHECK(kind(df::picture({}, "ab")) == ErrorKind::format);
  CHECK(decode(df::picture({}, "ab"), {.allow_truncated = true}).pixels == P{'a', 'b', 0, 0});
  CHECK(kind(df::picture({.rows = 60000, .columns = 60000}, "ab")) == ErrorKind::memory);
  CHECK(kind(df::picture({.rows = 0}, "")) == ErrorKind::format);
  CHECK(kind(df::picture({.allocated = 32, .stored = 32}, std::string(16, 'a'))) == ErrorKind::format);
  CHECK(kind(df::picture({.photometric = "HSV"}, "abcd")) == ErrorKind::format);
  CHECK(kind(df::file(df::description({}))) == ErrorKind::format);
  CHECK(kind(df::file(df::description({}) + df::packed({"xx"}), df::kJpeg2000)) == ErrorKind::format);
  CHECK(kind(df::file(df::description({}) + df::packed({"xx"}), df::kJpeg)) == ErrorKind::format);
  const df::Bytes jpeg = encode_jpeg(Image(5, 5, 1));
  CHECK(kind(df::file(df::description({}) + df::packed({std::string(jpeg.begin(), jpeg.end())}), df::kJpeg)) ==
        ErrorKind::format);
  df::Bytes cut = df::picture({}, "abcd");
  cut.resize(cut.size() - 30);
  CHECK(kind(cut) == ErrorKind::format);
  cut.resize(140);
  CHECK(kind(cut) == ErrorKind::format);
}
