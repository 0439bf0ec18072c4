// IDX files: sound ones in every spelling, and every way to be damaged.
#include "augment/idx.h"

#include "tests/augment/helpers.h"

using namespace fovea;
using namespace helpers;

namespace {

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string parse_error(const std::string& text) {
  return error_of([&] { parse_idx(bytes_of(text), "file"); });
}

}  // namespace

TEST_CASE("idx: arrays plain and gzipped") {
  const std::string plain = idx({5, 3, 2});
  for (const std::string& text : {plain, gzip(plain), gzip(plain.substr(0, 20)) + gzip(plain.substr(20))}) {
    const IdxArray array = parse_idx(bytes_of(text), "file");
    CHECK(array.shape == Shape{5, 3, 2});
    REQUIRE(array.values.size() == 30);
    for (std::size_t i = 0; i < 30; ++i) CHECK(array.values[i] == i);
  }
  CHECK(parse_idx(bytes_of(idx({0, 28, 28}))).values.empty());
}

TEST_CASE("idx: damage is told apart") {
  const std::string plain = idx({5, 3, 2});
  CHECK(contains(parse_error(""), "the file is empty"));
  CHECK(contains(parse_error("\x1f\x8b"), "ends too early"));
  CHECK(contains(parse_error("hello, this is text"), "not an IDX file"));
  CHECK(contains(parse_error(std::string("\0\0\x0d\x01\0\0\0\0", 8)), "element type 13"));
  CHECK(contains(parse_error(std::string("\0\0\x08\x05", 4) + std::string(20, '\0')), "5 axes"));
  CHECK(contains(parse_error(plain + "x"), "goes on after the 30 values"));
  CHECK(contains(parse_error(gzip(plain + "x")), "goes on after the 30 values"));
  CHECK(contains(parse_error(gzip(plain) + "trailing"), "follow the end of the gzip data"));

  // Every shorter file is an error, never a smaller data set.
  for (const std::string& text : {plain, gzip(plain)}) {
    for (std::size_t n = 0; n < text.size(); ++n) {
      const std::string error = parse_error(text.substr(0, n));
      INFO(n << ": " << error);
      CHECK(contains(error, "format: [file]"));
    }
  }
  // A wrong checksum at the end, and damage in the middle.
  std::string bad = gzip(plain);
  bad[bad.size() - 6] = static_cast<char>(bad[bad.size() - 6] ^ 1);
  CHECK(contains(parse_error(bad), "damaged gzip data"));
  bad = gzip(plain);
  bad[12] = static_cast<char>(bad[12] ^ 0xff);
  CHECK(contains(parse_error(bad), "format: [file]"));
}

TEST_CASE("idx: a header alone allocates nothing") {
  // 2^32 pictures of 2^32 by 2^32: the product does not fit 64 bits.
  const std::string giant = std::string("\0\0\x08\x03", 4) + std::string(12, '\xff');
  CHECK(contains(parse_error(giant), "memory"));
  // 3 GB, below the limit: more than these bytes can hold, plain or compressed.
  const std::string large = std::string("\0\0\x08\x01", 4) + big_endian(3u << 30);
  CHECK(contains(parse_error(large), "header promises"));
  CHECK(contains(parse_error(gzip(large)), "header promises"));
}

TEST_CASE("idx: datasets") {
  TempFolder folder;
  write(folder / "train-images-idx3-ubyte.gz", gzip(idx({6, 4, 5})));
  write(folder / "train-labels-idx1-ubyte", idx({6}, 3));
  const IdxDataset data = IdxDataset::open(folder.path(), "train");
  CHECK(data.size() == 6);
  CHECK(data.num_classes() == 10);
  CHECK(data.class_names()[7] == "7");
  CHECK(data.label(4) == 1);
  CHECK(data.name(4) == "train-images-idx3-ubyte.gz#4");
  CHECK(data.in_memory());
  const image::Image picture = data.image(2);
  CHECK((picture.width == 5 && picture.height == 4 && picture.channels == 1));
  CHECK(picture.at(1, 0) == 41);
  CHECK(contains(error_of([&] { data.image(6); }), "no item 6"));
  CHECK(contains(error_of([&] { data.label(-1); }), "no item -1"));

  CHECK(IdxDataset::found_in(folder.path(), "train"));
  CHECK_FALSE(IdxDataset::found_in(folder.path(), "test"));
  const std::string missing = error_of([&] { IdxDataset::open(folder.path(), "test"); });
  CHECK(contains(missing, "there is no t10k-images-idx3-ubyte here"));
  CHECK(contains(error_of([&] { IdxDataset::open(folder / "absent", "train"); }), "there is no such folder"));
  CHECK(contains(error_of([&] { IdxDataset::open(folder.path(), "foo"); }), "no part \"foo\""));

  const auto open = [&](const std::string& images, const std::string& labels, IdxOptions options = {}) {
    write(folder / "a", images);
    write(folder / "b", labels);
    return error_of([&] { IdxDataset(folder / "a", folder / "b", options); });
  };
  CHECK(open(idx({6, 4, 4}), idx({6}, 10)) == "none");
  CHECK(open(idx({6, 4, 4, 3}), idx({6}, 10)) == "none");
  CHECK(contains(open(idx({6, 4, 4}), idx({7}, 10)), "has 7 labels, but"));
  CHECK(contains(open(idx({6}), idx({6, 4, 4})), "exchanged"));
  CHECK(contains(open(idx({6, 4, 4, 2}), idx({6})), "1 or 3 channels"));
  CHECK(contains(open(idx({0, 4, 4}), idx({0})), "holds no pictures"));
  CHECK(contains(open(idx({6, 4, 4}), idx({6}), {.class_names = {"a", "b"}}),
                 "label 5 of picture 5 is beyond the 2 classes"));
}

TEST_CASE("idx: Fashion-MNIST") {
  const std::string folder = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(folder)) FOVEA_SKIP("dataset-fashion-mnist is not installed");
  const IdxDataset test = IdxDataset::open(folder, "test");
  CHECK(test.size() == 10000);
  CHECK(test.class_names()[9] == "Ankle boot");
  CHECK(class_counts(test) == std::vector<std::int64_t>(10, 1000));
  CHECK(test.image(0).width == 28);
  CHECK(test.label(0) == 9);
  auto [train, val] = test.split({.val = 0.2, .seed = 3});
  CHECK(train->size() == 8000);
  CHECK(class_counts(*val) == std::vector<std::int64_t>(10, 200));
}
