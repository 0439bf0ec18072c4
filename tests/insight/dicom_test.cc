// A DICOM file with a patient's name in every place that the format has comes out without it.
#include "insight/protect/dicom.h"

#include <algorithm>
#include <set>

#include "catch.h"
#include "core/error.h"
#include "image/decode.h"
#include "image/dicom_writer.h"
#include "image/encode.h"
#include "insight/planted.h"
#include "insight/protect/hidden.h"

using namespace fovea;
using namespace fovea::insight;
namespace df = dicom_file;

namespace {

PseudonymKey test_key(std::uint8_t first = 7) {
  std::array<std::uint8_t, 32> secret{};
  secret[0] = first;
  return PseudonymKey(secret);
}

/// All text places of a patient's file; `study` tells files apart.
df::Bytes planted_file(const std::string& study, const std::string& pixels, const std::string& syntax = df::kPlain,
                       const df::Picture& picture = {}) {
  const std::string name(planted::kName);
  using df::element;
  const std::string nested =
      df::item(element(0x00080050, "SH", name) + element(0x00090010, "LO", name) + element(0x00091001, "UN", name) +
               element(0x00100010, "PN", name) +
               element(0x0040a730, "SQ", df::item(element(0x0040a123, "PN", name) + element(0x0040a160, "UT", name))));
  const std::string elements =
      element(0x00080005, "CS", "ISO_IR 100") + element(0x00080016, "UI", "1.2.840.10008.5.1.4.1.1.7") +
      element(0x00080018, "UI", "1.2.3.4.5." + study) + element(0x00080020, "DA", "19610304") +
      element(0x00080050, "SH", name) + element(0x00080080, "LO", name) + element(0x00080090, "PN", name) +
      element(0x00081030, "LO", name) + element(0x00081040, "LO", name) + element(0x00081050, "PN", name) +
      element(
          0x00081140, "SQ",
          df::item(element(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.7") + element(0x00081155, "UI", "1.2.3.4.5.1"))) +
      element(0x00090010, "LO", name) + element(0x00091001, "LO", name) + element(0x00091002, "SQ", nested) +
      element(0x00100010, "PN", name) + element(0x00100020, "LO", "PAT " + name) +
      element(0x00100030, "DA", "19610304") + element(0x00101000, "LO", name) + element(0x00101040, "LO", name) +
      element(0x00102180, "SH", name) + element(0x00104000, "LT", name) + element(0x00181030, "LO", name) +
      element(0x00189999, "LO", name) + element(0x0020000d, "UI", "1.2.3.4.9") +
      element(0x0020000e, "UI", "1.2.3.4.9.1") + element(0x00200010, "SH", name) + element(0x00204000, "LT", name) +
      df::description(picture) + element(0x00321032, "PN", name) + element(0x00324000, "LT", name) +
      element(0x00400275, "SQ", nested) + element(0x0040a730, "SQ", nested) +
      element(0x0040a073, "SQ", df::item(element(0x00080104, "LO", name) + element(0x0040a075, "PN", name))) +
      element(0x00880200, "SQ", df::item(element(0x7fe00010, "OB", name))) + element(0x40004000, "LT", name) +
      element(0x50000022, "LO", name) + element(0x60000022, "LO", name) + element(0x60003000, "OW", name) +
      element(0x60004000, "LO", name) + pixels + element(0xfffcfffc, "OB", name);
  df::Bytes out = df::file(
      elements, syntax, "preamble " + name,
      element(0x00020016, "AE", name) + element(0x00020100, "UI", "1.2.3.99") + element(0x00020102, "OB", name));
  return out;
}

/// The value behind a tag with a short length; empty where there is none.
std::string value_of(const df::Bytes& file, std::uint32_t tag, std::size_t from = 132) {
  const std::string head = df::tag(tag);
  const auto at = std::search(file.begin() + static_cast<std::ptrdiff_t>(from), file.end(), head.begin(), head.end());
  if (file.end() - at < 8) return {};
  const std::size_t size = at[6] | at[7] << 8;
  std::string out(at + 8, at + 8 + static_cast<std::ptrdiff_t>(size));
  while (!out.empty() && (out.back() == ' ' || out.back() == '\0')) out.pop_back();
  return out;
}

bool holds(const df::Bytes& file, const std::string& text) {
  return std::string(file.begin(), file.end()).find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("DICOM profile: the whole of Table E.1-1") {
  const auto& rows = dicom_profile();
  CHECK(dicom_profile_edition() == "2024e");
  CHECK(rows.size() == 621);
  std::set<std::string> tags, basic;
  for (const DicomProfileRow& row : rows) {
    tags.insert(row.tag);
    basic.insert(row.basic);
    CHECK(row.options.size() == 10);
  }
  CHECK(tags.size() == rows.size());
  CHECK(basic == std::set<std::string>{"D", "U", "X", "X/D", "X/Z", "X/Z/D", "X/Z/U*", "Z", "Z/D"});
  for (const char* tag : {"private", "50xxxxxx", "60xx3000", "60xx4000", "00100010", "fffcfffc"})
    CHECK(tags.contains(tag));
}

TEST_CASE("DICOM: nothing planted in any place comes out, and files go on fitting together") {
  if (!dicom_available()) {
    WARN("SKIPPED: this build has no DCMTK");
    return;
  }
  const std::string pixels = df::element(0x7fe00010, "OB", "abcd");
  const df::Bytes first = planted_file("1", pixels), second = planted_file("2", pixels);
  REQUIRE(planted::found(first));
  const DeidentifiedDicom a = deidentify_dicom(first, test_key()), b = deidentify_dicom(second, test_key());
  for (const DeidentifiedDicom* d : {&a, &b}) {
    CHECK_FALSE(planted::found(d->bytes));
    CHECK_FALSE(holds(d->bytes, "19610304"));
    CHECK_FALSE(holds(d->bytes, "1.2.3.4"));
    CHECK_FALSE(holds(d->bytes, "1.2.3.99"));
    CHECK(std::all_of(d->bytes.begin(), d->bytes.begin() + 128, [](std::uint8_t v) { return v == 0; }));
    CHECK(value_of(d->bytes, 0x00120062) == "YES");
    CHECK(value_of(d->bytes, 0x00120063).find("PS3.15 2024e") != std::string::npos);
    CHECK(holds(d->bytes, "113100"));
    CHECK_FALSE(holds(d->bytes, "113101"));
    CHECK(value_of(d->bytes, 0x00100020) == d->subject);
    CHECK(value_of(d->bytes, 0x00100010) == d->subject);
    CHECK(d->subject == test_key().pseudonym("subject", "PAT " + std::string(planted::kName), 12));
    CHECK(image::decode(d->bytes).pixels == std::vector<std::uint8_t>{'a', 'b', 'c', 'd'});
    // The class of an object is no secret, its own UID and those of the file's head are new and the same.
    CHECK(value_of(d->bytes, 0x00080016) == "1.2.840.10008.5.1.4.1.1.7");
    CHECK(value_of(d->bytes, 0x00080018).starts_with("2.25."));
    CHECK(value_of(d->bytes, 0x00020003) == value_of(d->bytes, 0x00080018));
    CHECK(std::set<std::string>(d->removed.begin(), d->removed.end()) ==
          std::set<std::string>{"UIDs", "attributes", "curves", "overlays", "preamble", "private attributes",
                                "unknown attributes"});
  }
  // Study, series and references are the same in both; the objects differ; the second refers to the first.
  for (const std::uint32_t tag : {0x0020000du, 0x0020000eu, 0x00081155u})
    CHECK(value_of(a.bytes, tag) == value_of(b.bytes, tag));
  CHECK(value_of(a.bytes, 0x00080018) != value_of(b.bytes, 0x00080018));
  CHECK(value_of(b.bytes, 0x00081155) == value_of(a.bytes, 0x00080018));
  CHECK(value_of(deidentify_dicom(first, test_key(8)).bytes, 0x0020000d) != value_of(a.bytes, 0x0020000d));
  // Once more changes nothing but the pseudonyms.
  CHECK_FALSE(planted::found(deidentify_dicom(a.bytes, test_key()).bytes));
}

TEST_CASE("DICOM: JPEG data loses its notes and nothing else") {
  if (!dicom_available()) return;
  image::Image picture(32, 24, 3);
  for (std::size_t i = 0; i < picture.pixels.size(); ++i) picture.pixels[i] = static_cast<std::uint8_t>(i * 7 % 251);
  const planted::Bytes stuffed = planted::jpeg(picture), plain = image::encode_jpeg(picture);
  const planted::Bytes stripped = strip_jpeg(stuffed);
  CHECK_FALSE(planted::found(stripped));
  CHECK(hidden_content(stripped).empty());
  CHECK(image::decode(stripped) == image::decode(plain));
  CHECK(strip_jpeg(plain) == plain);
  const planted::Bytes progressive = image::encode_jpeg(picture, {.progressive = true});
  CHECK(strip_jpeg(progressive) == progressive);
  for (std::size_t size = 0; size + 1 < plain.size(); size += 17)
    CHECK_THROWS_AS(strip_jpeg(std::span(plain).first(size)), Error);

  const df::Picture as_jpeg{.rows = 24, .columns = 32, .samples = 3, .photometric = "YBR_FULL_422"};
  const std::string text(stuffed.begin(), stuffed.end());
  const df::Bytes file = planted_file("1", df::packed({text.substr(0, 500), text.substr(500)}), df::kJpeg, as_jpeg);
  const DeidentifiedDicom out = deidentify_dicom(file, test_key());
  CHECK_FALSE(planted::found(out.bytes));
  CHECK(image::decode(out.bytes) == image::decode(plain));
  CHECK(value_of(out.bytes, 0x00020010) == df::kJpeg);
  CHECK(std::count(out.removed.begin(), out.removed.end(), "JPEG notes") == 1);
  // JPEG 2000 has places for notes that are not known here.
  CHECK_THROWS_AS(deidentify_dicom(planted_file("1", df::packed({"xx"}), df::kJpeg2000, as_jpeg), test_key()), Error);
}

TEST_CASE("DICOM: pixels are masked in all frames, and only then is it said so") {
  if (!dicom_available()) return;
  const df::Picture words{.rows = 4, .columns = 4, .allocated = 16, .stored = 12};
  std::vector<int> values;
  for (int i = 0; i < 16; ++i) values.push_back(1000 + i);
  const df::Bytes file = planted_file("1", df::element(0x7fe00010, "OW", df::words(values)), df::kPlain, words);
  const DeidentifiedDicom out = deidentify_dicom(file, test_key(), {.boxes = {{1, 1, 2, 2}}});
  CHECK(holds(out.bytes, "113100"));
  CHECK(holds(out.bytes, "113101"));
  CHECK(value_of(out.bytes, 0x00280301) == "NO");
  for (const int i : {5, 6, 9, 10}) values[static_cast<std::size_t>(i)] = 0;
  CHECK(holds(out.bytes, df::words(values)));
  CHECK_THROWS_AS(deidentify_dicom(file, test_key(), {.boxes = {{9, 9, 2, 2}}}), Error);

  const image::Image picture(32, 24, 3, 200);
  const planted::Bytes jpeg = planted::jpeg(picture);
  const df::Picture as_jpeg{.rows = 24, .columns = 32, .samples = 3, .photometric = "YBR_FULL_422"};
  const DeidentifiedDicom masked =
      deidentify_dicom(planted_file("1", df::packed({std::string(jpeg.begin(), jpeg.end())}), df::kJpeg, as_jpeg),
                       test_key(), {.boxes = {{0, 0, 8, 8}}});
  CHECK_FALSE(planted::found(masked.bytes));
  CHECK(value_of(masked.bytes, 0x00020010) == df::kPlain);
  const image::Image seen = image::decode(masked.bytes);
  CHECK(seen.at(7, 7, 1) == 0);
  CHECK(std::abs(seen.at(8, 8, 1) - 200) < 3);
}

TEST_CASE("DICOM: damage is an error, what is appended is dropped") {
  if (!dicom_available()) return;
  const df::Bytes file = planted_file("1", df::element(0x7fe00010, "OB", "abcd"));
  df::Bytes appended = file;
  planted::add(appended, "behind the end " + std::string(planted::kName));
  const DeidentifiedDicom whole = deidentify_dicom(appended, test_key());
  CHECK_FALSE(planted::found(whole.bytes));
  CHECK(whole.bytes == deidentify_dicom(file, test_key()).bytes);
  for (const std::size_t size : {std::size_t{0}, std::size_t{131}, std::size_t{140}, file.size() / 2}) {
    try {
      const DeidentifiedDicom out = deidentify_dicom(std::span(file).first(size), test_key());
      CHECK_FALSE(planted::found(out.bytes));
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::format);
    }
  }
}
