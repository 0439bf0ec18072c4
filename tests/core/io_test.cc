// Files: atomic writes under failure, and safetensors under every truncation and many bit flips.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/io/safetensors.h"
#include "core/rng.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
namespace fs = std::filesystem;

namespace {
struct Folder : TempFolder {
  std::size_t count() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path()), fs::directory_iterator()));
  }
};

std::string content(const std::string& path) {
  const auto bytes = read_file(path);
  return {bytes.begin(), bytes.end()};
}

Safetensors parse(const std::vector<std::uint8_t>& bytes) {
  auto owned = std::make_shared<std::vector<std::uint8_t>>(bytes);
  return parse_safetensors({owned->data(), owned->size()}, owned, "test");
}

std::vector<std::uint8_t> with_header(const std::string& header, std::size_t data) {
  std::vector<std::uint8_t> bytes(8 + header.size() + data);
  const std::uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}
}  // namespace

TEST_CASE("an interrupted write leaves the old file and no litter") {
  const Folder folder;
  const std::string path = folder / "weights";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("half of the n");
  }
  CHECK(content(path) == "old");
  CHECK(folder.count() == 1);
  write_file(path, "new");
  CHECK(content(path) == "new");
  CHECK(folder.count() == 1);
}

TEST_CASE("names of 255 bytes and of any alphabet can be written") {
  const Folder folder;
  for (const std::string& name : {std::string(255, 'x'), std::string("päärynä 梨.bin"), std::string("a\nb")}) {
    write_file(folder / name, "1");
    CHECK(content(folder / name) == "1");
  }
}

TEST_CASE("what cannot be written or read says so") {
  const Folder folder;
  CHECK_THROWS_AS(write_file(folder / "no/such/folder/x", "1"), Error);
  CHECK_THROWS_AS(write_file(folder.path(), "1"), Error);
  CHECK_THROWS_AS(read_file(folder / "missing"), Error);
  CHECK_THROWS_AS(read_file(folder.path()), Error);
  CHECK_THROWS_AS(MappedFile::open(folder.path()), Error);
  REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_AS(read_file(folder / "pipe"), Error);
  if (fs::exists("/dev/full")) {
    try {
      write_file("/dev/full", std::string(100000, 'x'));
      FAIL("a full device took the data");
    } catch (const Error& e) {
      CHECK(e.kind() == ErrorKind::file);
      CHECK(std::string(e.what()).find("No space left") != std::string::npos);
    }
  }
  write_file(folder / "file", "1");
  CHECK_THROWS_AS(make_folders(folder / "file/below"), Error);
  make_folders(folder / "a/b/c");
  CHECK(fs::is_directory(folder / "a/b/c"));
  CHECK_THROWS_AS(read_file(folder / "file", 0), Error);
}

TEST_CASE("safetensors come back as they were written") {
  const Folder folder;
  const std::string path = folder / "t.safetensors";
  std::vector<std::pair<std::string, Tensor>> tensors = {
      {"bytes", Tensor::from<std::uint8_t>({3}, {1, 2, 3})},
      {"weights/ä", Tensor::from<float>({2, 2}, {1, -2, 3.5f, 0})},
      {"empty", Tensor::zeros({0, 5})},
      {"scalar", Tensor::scalar<std::int64_t>(-7)},
      {"half", Tensor::from<float>({2}, {0.5f, 2}).to(DType::f16)},
      {"brain", Tensor::from<float>({1}, {3}).to(DType::bf16)},
      {"double", Tensor::from<double>({1}, {1e-300})},
  };
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "\"quoted\"\n"}});
  const Safetensors back = read_safetensors(path);
  REQUIRE(back.tensors.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const Tensor found = back.find(name);
    REQUIRE(found.defined());
    CHECK(found.spec() == tensor.spec());
    CHECK(found.to_vector<double>() == tensor.to_vector<double>());
  }
  CHECK(*back.find_metadata("note") == "\"quoted\"\n");
  CHECK_FALSE(back.find("nothing").defined());
  // Writing into a read tensor must not reach the file.
  Tensor mapped = back.find("weights/ä");
  mapped.fill(9);
  CHECK(read_safetensors(path).find("weights/ä").data<float>()[0] == 1);
  CHECK_THROWS_AS(write_safetensors(path, {{"a", tensors[0].second}, {"a", tensors[0].second}}), Error);
  CHECK_THROWS_AS(write_safetensors(path, {{"\xff", tensors[0].second}}), Error);
}

TEST_CASE("every truncation of a safetensors file is an error") {
  const Folder folder;
  write_safetensors(folder / "t", {{"a", Tensor::ones({4})}, {"b", Tensor::ones({3}, DType::u8)}});
  const std::vector<std::uint8_t> good = read_file(folder / "t");
  CHECK(parse(good).tensors.size() == 2);
  for (std::size_t n = 0; n < good.size(); ++n) {
    REQUIRE_THROWS_AS(parse({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(n)}), Error);
  }
  std::vector<std::uint8_t> longer = good;
  longer.push_back(0);
  CHECK_THROWS_AS(parse(longer), Error);
}

TEST_CASE("flipped bits never crash and never give a tensor outside the file") {
  const Folder folder;
  write_safetensors(folder / "t", {{"a", Tensor::ones({4})}, {"b", Tensor::ones({2, 2}, DType::i64)}}, {{"k", "v"}});
  const std::vector<std::uint8_t> good = read_file(folder / "t");
  Rng rng(1, "flips");
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::uint8_t> bad = good;
    for (int flips = 0; flips < 2; ++flips) bad[rng.below(bad.size())] ^= static_cast<std::uint8_t>(1u << rng.below(8));
    try {
      for (const auto& [name, tensor] : parse(bad).tensors) (void)tensor.to_vector<double>();
    } catch (const Error&) {
    }
  }
}

TEST_CASE("hostile headers are refused") {
  for (
      const std::string& header :
      {std::string(
           R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,8]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"C64","shape":[2],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,4],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"F32","shape":[4]}})"), std::string(R"({"a":7})"), std::string(R"([])"),
       std::string(R"({"__metadata__":{"k":1},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
       std::string(100000, '['), std::string(R"( {"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
       std::string(R"({"__metadata__":["k"],"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
       std::string(R"({"a":{"dtype":"F64","dtype":"F32","shape":[4],"data_offsets":[0,16]}})"),
       std::string(
           R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})")}) {
    CAPTURE(header.substr(0, 150));
    CHECK_THROWS_AS(parse(with_header(header, 16)), Error);
  }
  std::vector<std::uint8_t> huge(8, 0xff);
  CHECK_THROWS_AS(parse(huge), Error);
}
