// Files stuffed with identifying data come out with none of it; names, keys, boxes, folders.
#include "insight/protect/anonymize.h"

#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "augment/csv_dataset.h"
#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/sha256.h"
#include "core/rng.h"
#include "image/decode.h"
#include "insight/planted.h"
#include "insight/protect/hidden.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
using namespace fovea::insight;
namespace fs = std::filesystem;

namespace {

void put(const std::string& path, const planted::Bytes& bytes) {
  make_folders(fs::path(path).parent_path().string());
  write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

image::Image noise(int width, int height, std::uint64_t seed) {
  Rng rng(seed, "noise");
  image::Image out(width, height, 3);
  for (std::uint8_t& v : out.pixels) v = static_cast<std::uint8_t>(rng.below(256));
  return out;
}

PseudonymKey test_key(std::uint8_t first = 7) {
  std::array<std::uint8_t, 32> secret{};
  secret[0] = first;
  return PseudonymKey(secret);
}

std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) out.push_back(entry.path().lexically_relative(folder).generic_string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string text_of(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

ErrorKind kind_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    INFO(e.what());
    return e.kind();
  }
  FAIL("no error");
  return ErrorKind::usage;
}

}  // namespace

TEST_CASE("anonymize: nothing planted in any place of JPEG, PNG and BMP comes out") {
  const TempFolder folder;
  const image::Image picture = noise(33, 20, 1);
  const std::string name(planted::kName);
  put(folder / ("in/cat/" + name + ".jpg"), planted::jpeg(picture, 6));
  put(folder / ("in/cat/" + name + ".png"), planted::png(picture, 8));
  put(folder / ("in/dog/" + name + ".bmp"), planted::bmp(picture));
  write_file(folder / "in/dog/notes.txt", name);
  std::vector<std::string> before;
  for (const std::string& file : files_in(folder / "in")) {
    const std::vector<std::uint8_t> bytes = read_file(folder / ("in/" + file));
    before.push_back(sha256(bytes));
    if (!file.ends_with(".txt")) {
      REQUIRE(planted::found(bytes));
      REQUIRE_NOTHROW(image::decode(bytes));  // what is planted does not keep a file from being read
    }
  }

  const Anonymized result = anonymize({folder / "in"}, folder / "out", test_key());
  REQUIRE(result.pictures.size() == 3);
  CHECK(result.failed() == 0);
  CHECK(result.left_out == std::map<std::string, std::int64_t>{{"txt", 1}});
  CHECK(result.strangers == 0);
  const std::vector<std::string> files = files_in(folder / "out");
  REQUIRE(files.size() == 4);
  for (const std::string& file : files) {
    CHECK(file.find(name) == std::string::npos);
    CHECK_FALSE(planted::found(read_file(folder / ("out/" + file))));
  }
  for (const AnonymizedPicture& p : result.pictures) {
    const std::vector<std::uint8_t> bytes = read_file(folder / ("out/" + p.path));
    CHECK(hidden_content(bytes).empty());
    CHECK(sha256(bytes) == p.sha256);
    const image::Image out = image::decode(bytes);
    const std::set<std::string> removed(p.removed.begin(), p.removed.end());
    const std::string extension = fs::path(p.source).extension().string();
    if (extension == ".jpg") {
      CHECK(p.path.starts_with("cat/"));
      CHECK(p.path.ends_with(".jpg"));
      CHECK(removed == std::set<std::string>{"EXIF", "GPS position", "maker note", "thumbnail", "XMP", "IPTC",
                                             "Photoshop data", "colour profile", "more pictures", "APP7 data",
                                             "comment", "bytes between the parts", "bytes after the end",
                                             "orientation"});
      CHECK(out.width == 20);  // upright
      const image::Image original = image::decode(read_file(p.source));
      double error = 0;
      for (std::size_t i = 0; i < out.pixels.size(); ++i)
        error += std::abs(int{out.pixels[i]} - int{original.pixels[i]});
      CHECK(error / static_cast<double>(out.pixels.size()) < 6);  // noise is the hardest for JPEG
    } else if (extension == ".png") {
      CHECK(removed == std::set<std::string>{"EXIF", "GPS position", "maker note", "thumbnail", "XMP", "IPTC",
                                             "colour profile", "text", "time", "chunk prVt", "more pictures",
                                             "bytes after the end", "orientation"});
      CHECK(out == image::apply_orientation(picture, 8));
    } else {
      CHECK(p.path.starts_with("dog/"));
      CHECK(p.path.ends_with(".png"));
      CHECK(removed == std::set<std::string>{"bytes between the parts", "bytes after the end"});
      CHECK(out == picture);
    }
  }
  // Originals are untouched, and the manifest lists what is there.
  const std::vector<std::string> sources = files_in(folder / "in");
  for (std::size_t i = 0; i < sources.size(); ++i) CHECK(sha256(read_file(folder / ("in/" + sources[i]))) == before[i]);
  const std::vector<CsvRecord> manifest = parse_csv(text_of(folder / "out/manifest.csv"));
  REQUIRE(manifest.size() == 4);
  CHECK(manifest[0].fields ==
        std::vector<std::string>{"path", "group", "sha256", "removed", "concealed", "text_lines"});
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(manifest[i + 1].fields[0] == result.pictures[i].path);
    CHECK(manifest[i + 1].fields[2] == result.pictures[i].sha256);
  }
}

TEST_CASE("anonymize: what lies under transparent pixels does not come out") {
  const TempFolder folder;
  // A 2 x 1 PNG with alpha: red, opaque; blue, invisible.
  planted::Bytes png = image::encode_png(image::Image(2, 1, 3, 0));
  const planted::Bytes row{0, 255, 0, 0, 255, 0, 0, 255, 0};
  planted::Bytes packed(64);
  uLongf size = packed.size();
  REQUIRE(compress2(packed.data(), &size, row.data(), row.size(), 0) == Z_OK);
  planted::Bytes file(png.begin(), png.begin() + 8);
  const auto chunk = [&](const std::string& text) {
    planted::add_big(file, static_cast<std::uint32_t>(text.size() - 4), 4);
    planted::add(file, text);
    planted::add_big(file,
                     static_cast<std::uint32_t>(
                         crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size()))),
                     4);
  };
  chunk("IHDR" + std::string("\0\0\0\2\0\0\0\1\x08\6\0\0\0", 13));
  chunk("IDAT" + std::string(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size)));
  chunk("IEND");
  REQUIRE(image::decode(file).at(1, 0, 2) == 255);
  REQUIRE(image::decode(file).at(1, 0, 0) == 0);
  put(folder / "in/a.png", file);
  const Anonymized result = anonymize({folder / "in/a.png"}, folder / "out", test_key());
  REQUIRE(result.failed() == 0);
  const image::Image out = image::read_image(folder / ("out/" + result.pictures[0].path));
  CHECK(out.pixels == planted::Bytes{255, 0, 0, 255, 255, 255});
  CHECK(result.pictures[0].removed == std::vector<std::string>{"transparency"});
}

TEST_CASE("anonymize: names depend on key, path and subject only") {
  const TempFolder folder;
  for (const char* name : {"pat00001_a.png", "pat00001_b.png", "pat00002_a.png"})
    put(folder / (std::string("in/") + name), image::encode_png(noise(9, 9, 3)));
  put(folder / "in/deep/visit/pat00001_a.png", image::encode_png(noise(9, 9, 3)));
  const AnonymizeOptions grouped{.group_prefix = 8, .keep_folders = 1, .link = folder / "apart/link.csv"};
  const Anonymized a = anonymize({folder / "in"}, folder / "a", test_key(), grouped);
  REQUIRE(a.failed() == 0);
  std::map<std::string, std::vector<std::string>> subjects;
  for (const AnonymizedPicture& p : a.pictures) {
    subjects[p.group].push_back(p.source);
    const std::string file = fs::path(p.path).filename().string();
    CHECK(file.substr(0, 13) == p.group + "_");
    CHECK(file.size() == 12 + 1 + 12 + 4);
    if (p.source.find("deep") != std::string::npos) {
      CHECK(p.path.starts_with("deep/"));
      CHECK(p.path.find("visit") == std::string::npos);
    }
  }
  REQUIRE(subjects.size() == 2);
  for (const auto& [group, sources] : subjects) {
    CHECK(sources.size() == (sources[0].find("pat00001") != std::string::npos ? 3u : 1u));
  }
  // The link is apart, private, and complete.
  struct stat info {};
  REQUIRE(::stat((folder / "apart/link.csv").c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(parse_csv(text_of(folder / "apart/link.csv")).size() == 5);
  CHECK(kind_of([&] { anonymize({folder / "in"}, folder / "b", test_key(), grouped); }) == ErrorKind::usage);
  // Same key, same names; another key, others.
  AnonymizeOptions plain = grouped;
  plain.link.clear();
  const Anonymized b = anonymize({folder / "in"}, folder / "b", test_key(), plain);
  CHECK(files_in(folder / "a") == files_in(folder / "b"));
  anonymize({folder / "in"}, folder / "c", test_key(8), plain);
  CHECK(files_in(folder / "a") != files_in(folder / "c"));
  CHECK(text_of(folder / "a/manifest.csv").find("pat0") == std::string::npos);

  // Two inputs keep apart by their own names.
  fs::create_directories(folder / "two/val");
  fs::copy(folder / "in", folder / "two/train");
  fs::copy(folder / "in/pat00002_a.png", folder / "two/val/x.png");
  const Anonymized two = anonymize({folder / "two/train", folder / "two/val"}, folder / "d", test_key());
  CHECK(std::count_if(two.pictures.begin(), two.pictures.end(),
                      [](const AnonymizedPicture& p) { return p.path.starts_with("train/"); }) == 3);
  CHECK(two.pictures.back().path.starts_with("val/"));
}

TEST_CASE("pseudonyms: HMAC-SHA-256 by the book, keys that are kept private") {
  // RFC 4231's second case has the key "Jefe", which is padded with zeros like ours; the message is split at the zero
  // that separates a domain from a text, so the reference is computed over the joined message:
  // printf 'what\0do ya want' | openssl dgst -sha256 -mac HMAC -macopt hexkey:4a656665
  std::array<std::uint8_t, 32> secret{'J', 'e', 'f', 'e'};
  const PseudonymKey key(secret);
  CHECK(key.pseudonym("what", "do ya want", 64) == "5f264eb23e39ec96e3deb49c9e78beea0fe10f3a97755d3bd483b4ddd5378b11");
  CHECK(key.pseudonym("what", "do ya want", 5).size() == 5);
  CHECK(key.pseudonym("wha", "tdo ya want") != key.pseudonym("what", "do ya want"));
  const std::string uid = key.uid("1.2.840.1");
  CHECK(uid == "2.25.128024897240907456233050906719044172564");
  CHECK(uid == key.uid("1.2.840.1"));
  CHECK(uid != key.uid("1.2.840.2"));
  CHECK(uid.size() <= 64);

  const TempFolder folder;
  const std::string path = folder / "keys/a.key";
  const PseudonymKey made = PseudonymKey::create(path);
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  CHECK(PseudonymKey::load(path).pseudonym("a", "b") == made.pseudonym("a", "b"));
  CHECK(PseudonymKey::create(folder / "keys/b.key").pseudonym("a", "b") != made.pseudonym("a", "b"));
  CHECK(kind_of([&] { PseudonymKey::create(path); }) == ErrorKind::file);
  fs::permissions(path, fs::perms(0640));
  CHECK(kind_of([&] { PseudonymKey::load(path); }) == ErrorKind::file);
  fs::permissions(path, fs::perms(0600));
  for (const std::string text : {"", "abc\n", "0123\n"}) {
    write_file(path, text);
    fs::permissions(path, fs::perms(0600));
    CHECK(kind_of([&] { PseudonymKey::load(path); }) == ErrorKind::format);
  }
}

TEST_CASE("anonymize: boxes are gone from the pixels, and a box without a picture stops all") {
  const TempFolder folder;
  const image::Image picture = noise(96, 64, 5);
  put(folder / "in/a/one.png", image::encode_png(picture));
  put(folder / "in/b/one.png", image::encode_png(picture));
  put(folder / "in/b/two.png", image::encode_png(picture));
  const auto boxes = [&](const std::string& rows) {
    write_file(folder / "boxes.csv", "path,x,y,w,h,how\n" + rows);
    return AnonymizeOptions{.boxes = read_boxes(folder / "boxes.csv")};
  };
  const Anonymized result = anonymize(
      {folder / "in"}, folder / "out", test_key(),
      boxes("a/one.png,10.5,20,30,16,\n" + (folder / "in/b/one.png") + ",8,8,80,48,blur\ntwo.png,90,60,50,50,mask\n"));
  REQUIRE(result.failed() == 0);
  for (const AnonymizedPicture& p : result.pictures) {
    CHECK(p.concealed == 1);
    const image::Image out = image::read_image(folder / ("out/" + p.path));
    const bool first = p.source.ends_with("a/one.png"), second = p.source.ends_with("b/one.png");
    const int left = first ? 10 : second ? 8 : 90, right = first ? 41 : second ? 88 : 96;
    const int top = first ? 20 : second ? 8 : 60, bottom = first ? 36 : second ? 56 : 64;
    std::set<int> levels;
    int outside = 0, black = 0;
    for (int y = 0; y < 64; ++y) {
      for (int x = 0; x < 96; ++x) {
        const bool in = x >= left && x < right && y >= top && y < bottom;
        for (int c = 0; c < 3; ++c) {
          if (!in) outside += out.at(x, y, c) != picture.at(x, y, c);
          if (in) black += out.at(x, y, c) == 0;
          if (in && second) levels.insert(out.at(x, y, c));
        }
      }
    }
    CHECK(outside == 0);
    if (!second) CHECK(black == 3 * (right - left) * (bottom - top));
    if (second)
      CHECK(*levels.rbegin() - *levels.begin() < 80);  // of noise from 0 to 255 only the means of cells are left
  }
  // A blurred box is a function of its few means: pictures that differ only within cells become one.
  image::Image swapped = picture;
  for (int c = 0; c < 3; ++c) std::swap(swapped.at(9, 9, c), swapped.at(10, 10, c));
  image::Image blurred = picture;
  REQUIRE(swapped != picture);
  conceal(blurred, {{8, 8, 80, 48, Concealment::blur}});
  conceal(swapped, {{8, 8, 80, 48, Concealment::blur}});
  CHECK(swapped == blurred);

  for (const char* rows : {"nobody.png,1,1,5,5,\n", "one.png,1,1,5,5,\n"}) {
    CHECK(kind_of([&] { anonymize({folder / "in"}, folder / "none", test_key(), boxes(rows)); }) == ErrorKind::usage);
    CHECK_FALSE(fs::exists(folder / "none"));
  }
  for (const char* rows : {"a/one.png,1,1,5\n", "a/one.png,1,x,5,5,\n", "a/one.png,1,1,5,5,smear\n"})
    CHECK(kind_of([&] { boxes(rows); }) == ErrorKind::format);
  // A box outside its picture: that one is not written, the others are.
  for (const char* rows : {"two.png,200,0,5,5,\n", "two.png,5,5,0,5,\n", "two.png,nan,5,5,5,\n"}) {
    const Anonymized part = anonymize({folder / "in"}, folder / "part", test_key(), [&] {
      auto o = boxes(rows);
      o.overwrite = true;
      return o;
    }());
    CHECK(part.failed() == 1);
    CHECK(files_in(folder / "part").size() == 3);
  }
}

TEST_CASE("anonymize: originals and results never mix, damage is told file by file") {
  const TempFolder folder;
  put(folder / "in/a.png", image::encode_png(noise(9, 9, 1)));
  put(folder / "in/b.png", image::encode_png(noise(9, 9, 2)));
  write_file(folder / "in/c.jpg", "no picture");
  const auto run = [&](std::vector<std::string> inputs, const std::string& out, const AnonymizeOptions& o = {}) {
    return anonymize(inputs, out, test_key(), o);
  };
  fs::create_directory_symlink(folder / "in", folder / "door");
  for (const std::string& out : {folder / "in", folder / "in/out", folder / "door/out", folder / "in/../in/x/y"})
    CHECK(kind_of([&] { run({folder / "in"}, out); }) == ErrorKind::usage);
  CHECK(kind_of([&] { run({folder / "in/a.png"}, folder / "in/a.png/.."); }) == ErrorKind::usage);
  CHECK(kind_of([&] { run({folder / "in", folder / "out/x"}, folder / "out"); }) == ErrorKind::file);
  fs::create_directories(folder / "out/x");
  CHECK(kind_of([&] { run({folder / "in", folder / "out/x"}, folder / "out"); }) == ErrorKind::usage);
  CHECK(kind_of([&] { run({folder / "in"}, folder / "out"); }) == ErrorKind::usage);  // not empty
  CHECK(kind_of([&] { run({folder / "in"}, folder / "new", {.link = folder / "new/link.csv"}); }) == ErrorKind::usage);
  CHECK(kind_of([&] { run({folder / "out"}, folder / "new"); }) == ErrorKind::usage);  // no pictures
  CHECK(files_in(folder / "in").size() == 3);

  Anonymized result = run({folder / "in"}, folder / "new");
  CHECK(result.failed() == 1);
  CHECK(files_in(folder / "new").size() == 3);
  write_file(folder / "new/stranger.png", "x");
  result = run({folder / "in"}, folder / "new", {.overwrite = true});
  CHECK(result.strangers == 1);
  // Damaged since: what an earlier run made of it goes.
  write_file(folder / "in/a.png", "no picture any more");
  result = run({folder / "in"}, folder / "new", {.overwrite = true});
  CHECK(result.failed() == 2);
  CHECK(files_in(folder / "new").size() == 3);
  // A folder of results that is a link back to the originals.
  put(folder / "deep/cat/a.png", image::encode_png(noise(9, 9, 1)));
  fs::create_directories(folder / "trap");
  fs::create_directory_symlink(folder / "deep/cat", folder / "trap/cat");
  result = run({folder / "deep"}, folder / "trap", {.overwrite = true});
  CHECK(result.failed() == 1);
  CHECK(files_in(folder / "deep").size() == 1);

  CancelToken stop;
  stop.request();
  CHECK(kind_of([&] { run({folder / "in"}, folder / "cancelled", {.cancel = &stop}); }) == ErrorKind::cancelled);
}
