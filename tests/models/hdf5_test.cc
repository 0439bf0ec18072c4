// The HDF5 reader against libhdf5: files in every version of the format, made by data/make_hdf5.py, and what h5py says
// is in them.
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "models/checksum.h"
#include "models/hdf5_walk.h"
#include "models/weights/hdf5/hdf5_internal.h"

using namespace fovea;
using namespace fovea::weights::hdf5;

namespace {

const std::string kData = FOVEA_SOURCE_DIR "/tests/models/data/";

struct Opened {
  explicit Opened(std::vector<std::uint8_t> content)
      : bytes(std::make_shared<std::vector<std::uint8_t>>(std::move(content))), file(*bytes, bytes, "test") {}
  explicit Opened(const std::string& name) : Opened(read_file(kData + name)) {}
  std::shared_ptr<std::vector<std::uint8_t>> bytes;
  File file;
};

std::string message_of(const auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("HDF5 files of every version hold what libhdf5 finds in them") {
  std::ifstream in(kData + "hdf5.json");
  const nlohmann::json expected = nlohmann::json::parse(in);
  REQUIRE(expected.size() == 4);
  for (const auto& [name, wanted] : expected.items()) {
    CAPTURE(name);
    Opened opened(name);
    File& file = opened.file;
    std::size_t datasets = 0, texts = 0, others = 0;
    for (const auto& [path, address] : objects(file)) {
      CAPTURE(path);
      if (file.is_dataset(address)) {
        ++datasets;
        const auto& want = wanted["datasets"].at(path);
        const Tensor tensor = file.read(file.dataset(address, path));
        CHECK(to_string(tensor.dtype()) == want[0].get<std::string>());
        CHECK(std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end()) == want[1]);
        CHECK(fnv1a64(tensor) == want[2].get<std::string>());
      }
      for (const Attribute& attribute : file.attributes(address)) {
        const std::string where = path + "@" + attribute.name;
        CAPTURE(where);
        if (wanted["texts"].contains(where)) {
          ++texts;
          CHECK(file.strings(attribute) == wanted["texts"][where].get<std::vector<std::string>>());
        } else {
          ++others;
          CHECK(attribute.count == wanted["attributes"].at(where).get<std::uint64_t>());
        }
      }
    }
    CHECK(datasets == wanted["datasets"].size());
    CHECK(texts == wanted["texts"].size());
    CHECK(others == wanted["attributes"].size());
  }
}

TEST_CASE("HDF5 names lead through soft links, and nowhere else") {
  for (const char* name : {"hdf5_earliest.h5", "hdf5_v108.h5", "hdf5_latest.h5"}) {
    CAPTURE(name);
    Opened opened(name);
    File& file = opened.file;
    const auto direct = file.find(file.root(), "many/member_007");
    REQUIRE(direct);
    CHECK(file.find(file.root(), "soft") == direct);
    CHECK(file.find(file.root(), "/chain") == direct);
    CHECK(file.find(*file.find(file.root(), "texts"), "/many/again/./again//member_007") == direct);
    CHECK(!file.find(file.root(), "dangling"));
    CHECK(!file.find(file.root(), "many/nobody"));
    CHECK(!file.find(file.root(), "many/member_007/below"));
    CHECK(message_of([&] { file.find(file.root(), "round"); }).find("circle") != std::string::npos);
    CHECK(message_of([&] { file.find(file.root(), "outside"); }).find("another file") != std::string::npos);
  }
}

TEST_CASE("contiguous HDF5 data that is aligned is used where it lies, other data is copied") {
  const auto lies_inside = [](const char* name, const char* path) {
    Opened opened(name);
    File& file = opened.file;
    const Tensor tensor = file.read(file.dataset(*file.find(file.root(), path), path));
    const auto* at = static_cast<const std::uint8_t*>(tensor.view().data);
    return at >= opened.bytes->data() && at < opened.bytes->data() + opened.bytes->size();
  };
  CHECK(lies_inside("keras_legacy.h5", "model_weights/dense/dense/kernel"));
  CHECK(lies_inside("hdf5_earliest.h5", "types/le_f2"));
  CHECK_FALSE(lies_inside("hdf5_earliest.h5", "types/be_f4"));
  CHECK_FALSE(lies_inside("hdf5_earliest.h5", "types/le_u8"));
  CHECK_FALSE(lies_inside("hdf5_earliest.h5", "chunks/plain"));
}

TEST_CASE("an HDF5 file cut at any byte is an error that says so") {
  const std::vector<std::uint8_t> good = read_file(kData + "hdf5_v110.h5");
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    const std::vector<std::uint8_t> piece(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(cut));
    REQUIRE_THROWS_AS(Opened(piece), Error);
  }
  std::vector<std::uint8_t> longer = good;
  longer.resize(good.size() + 100);
  CHECK_NOTHROW(Opened(longer));
}

TEST_CASE("an HDF5 file whose end is cut off, but which denies it, is an error wherever something is missing") {
  const std::vector<std::uint8_t> good = read_file(kData + "hdf5_earliest.h5");
  std::size_t errors = 0;
  for (std::size_t cut = 100; cut < good.size(); cut += 37) {
    std::vector<std::uint8_t> piece(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(cut));
    const std::uint64_t end = cut;
    std::memcpy(piece.data() + 40, &end, 8);  // version 0 has no checksum
    try {
      Opened opened(std::move(piece));
      read_all(opened.file);
    } catch (const Error&) {
      ++errors;
    }
  }
  CHECK(errors == (good.size() - 100 + 36) / 37);
}

TEST_CASE("a flipped bit in metadata with checksums is an error") {
  const std::vector<std::uint8_t> good = read_file(kData + "hdf5_latest.h5");
  const char* const signatures[] = {"OHDR", "OCHK", "FRHP", "FHDB", "FHIB", "BTHD", "BTLF",
                                    "BTIN", "FAHD", "FADB", "EAHD", "EAIB", "EADB", "EASB"};
  for (const char* signature : signatures) {
    CAPTURE(signature);
    const auto at = std::search(good.begin(), good.end(), signature, signature + 4);
    REQUIRE(at != good.end());
    std::vector<std::uint8_t> bad = good;
    bad[static_cast<std::size_t>(at - good.begin()) + 12] ^= 4;
    Opened opened(bad);
    CHECK_THROWS_AS(read_all(opened.file), Error);
  }
}

TEST_CASE("HDF5 sizes beyond the file are refused before memory is taken") {
  const std::vector<std::uint8_t> good = read_file(kData + "hdf5_earliest.h5");
  Opened opened(good);
  const std::uint64_t address = *opened.file.find(opened.file.root(), "chunks/sparse");
  const std::uint64_t dims[2] = {20, 20};
  const auto* at = reinterpret_cast<const std::uint8_t*>(dims);
  const auto place = std::search(good.begin() + static_cast<std::ptrdiff_t>(address), good.end(), at, at + 16);
  REQUIRE(place < good.begin() + static_cast<std::ptrdiff_t>(address + 300));
  const std::uint64_t extents[] = {std::uint64_t{1} << 20, std::uint64_t{1} << 33, std::uint64_t{1} << 61,
                                   ~std::uint64_t{0}};
  for (const std::uint64_t extent : extents) {
    std::vector<std::uint8_t> bad = good;
    std::memcpy(bad.data() + (place - good.begin()), &extent, 8);
    Opened claims(bad);
    CHECK_THROWS_AS(claims.file.read(claims.file.dataset(address, "sparse")), Error);
  }
}

TEST_CASE("what is no HDF5 file is said to be none") {
  CHECK(message_of([] { Opened(std::vector<std::uint8_t>(2000)); }).find("no HDF5 file") != std::string::npos);
  CHECK(message_of([] { Opened(std::vector<std::uint8_t>{}); }).find("no HDF5 file") != std::string::npos);
}
