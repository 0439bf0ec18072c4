// TensorFlow checkpoints assembled by hand: big-endian ones, and what no good program writes.
#include "catch.h"
#include "models/tf_writer.h"

using namespace fovea;
using namespace writer;
using weights::CheckpointShard;
using weights::WeightFile;

namespace {

const std::string kFour = floats({1, 2, 3, 4});
const std::uint32_t kCrc = weights::masked(weights::crc32c(as_bytes(kFour)));

WeightFile read(const std::string& table, const std::string& content = kFour) {
  const Memory index(table), data(content);
  return weights::parse_tf_checkpoint(
      *index.bytes, index.bytes,
      [&](int, int) {
        return CheckpointShard{*data.bytes, data.bytes};
      },
      "test");
}
WeightFile read_entries(const std::string& entries, const std::string& content = kFour) {
  return read(table_of(entries + block_end()), content);
}
/// The error of a checkpoint with a header and these entries, whose one data file holds four floats.
std::string refused(const std::string& entries) {
  return error_of([&] {
    for (const auto& t : read_entries(entry("", field(1, 1)) + entries).tensors) t.read();
  });
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("TensorFlow by hand: plain and big-endian values") {
  const std::string one = entry("v", numbers(1, {2, 2}, 0, 0, 16, kCrc));
  REQUIRE(refused(one).empty());
  const WeightFile file = read_entries(entry("", field(1, 1)) + one);
  CHECK(file.find("v")->read().to_vector<double>() == std::vector<double>{1, 2, 3, 4});
  const std::string big("\x3f\xc0\0\0\x40\0\0\0", 8);
  const WeightFile swapped =
      read_entries(entry("", field(1, 1) + field(2, 1)) +
                       entry("v", numbers(1, {2}, 0, 0, 8, weights::masked(weights::crc32c(as_bytes(big))))),
                   big);
  CHECK(swapped.find("v")->read().to_vector<double>() == std::vector<double>{1.5, 2});
}

TEST_CASE("TensorFlow by hand: an average without what it averages has its name, slots below it go") {
  const auto v = [](const std::string& key, std::uint64_t at) {
    return entry(key,
                 numbers(1, {}, 0, 4 * at, 4, weights::masked(weights::crc32c(as_bytes(kFour.substr(4 * at, 4))))));
  };
  const WeightFile file = read_entries(entry("", field(1, 1)) + v("a/ExponentialMovingAverage", 0) + v("b", 1) +
                                       v("b/Adam", 2) + v("global_step", 3));
  REQUIRE(file.tensors.size() == 2);
  CHECK(file.find("a")->read().item() == 1);
  CHECK(file.find("b")->read().item() == 2);
  CHECK(*file.find_metadata("tf.moving_averages") == "1");
}

TEST_CASE("TensorFlow by hand: hostile entries end in an error that names them") {
  constexpr std::uint64_t kMost = 0x7fffffffffffffff;
  const auto tensor = [&](int dtype, const std::vector<std::uint64_t>& shape, std::uint64_t shard, std::uint64_t offset,
                          std::uint64_t size, std::uint32_t crc = kCrc) {
    return refused(entry("v", numbers(dtype, shape, shard, offset, size, crc)));
  };
  CHECK(has(tensor(1, {4}, 0, 0, 16, kCrc ^ 1), "tensor 'v' is damaged"));
  CHECK(has(tensor(1, {5}, 0, 0, 16), "needs 20"));
  CHECK(has(tensor(1, {5}, 0, 0, 20), "its data file has 16"));
  CHECK(has(tensor(1, {4}, 0, 1, 16), "its data file has 16"));
  CHECK(has(tensor(1, {4}, 0, kMost, 16), "its data file has 16"));
  CHECK(has(tensor(1, {4}, 0, ~std::uint64_t{0}, 16), "byte -1"));
  CHECK(has(tensor(1, {kMost, kMost}, 0, 0, 16), "impossible shape"));
  CHECK(has(tensor(8, {kMost, kMost}, 0, 0, 16), "impossible shape"));
  CHECK(has(tensor(1, {~std::uint64_t{0}}, 0, 0, 16), "impossible shape"));
  CHECK(has(tensor(1, {4}, 1, 0, 16), "data file 1 of 1"));
  CHECK(has(tensor(1, {4}, ~std::uint64_t{0}, 0, 16), "data file -1"));
  CHECK(has(tensor(1, {1, 1, 1, 1, 1, 1, 1, 1, 4}, 0, 0, 16), "9 axes"));
  CHECK(has(tensor(77, {4}, 0, 0, 16), "type 77"));
  CHECK(has(tensor(-1, {4}, 0, 0, 16), "tensor 'v'"));
  CHECK(has(refused(entry("a", numbers(1, {4}, 0, 0, 16, kCrc)) + entry("b", numbers(1, {4}, 0, 0, 16, kCrc))),
            "overlaps"));
  CHECK(has(refused(""), "no weights"));
  CHECK(has(refused(entry("v", "\x0f")), "damaged entry"));
  CHECK(has(refused(entry("v", field(1, "float"))), "damaged entry"));
  CHECK(has(refused(entry("v", "\x12\x7f")), "damaged entry"));

  // The table.
  const auto table = [](const std::string& entries) { return error_of([&] { read_entries(entries); }); };
  const std::string good = numbers(1, {4}, 0, 0, 16, kCrc);
  CHECK(has(table(""), "no header"));
  CHECK(has(table(entry("v", good)), "no header"));
  CHECK(has(table(entry("", field(1, 0))), "0 data files"));
  CHECK(has(table(entry("", field(1, ~std::uint64_t{0}))), "-1 data files"));
  CHECK(has(table(entry("", field(1, 1)) + entry("b", good) + entry("a", good)), "out of order"));
  CHECK(has(table(entry("", field(1, 1)) + varint(1) + varint(1) + varint(0) + "a"), "beyond its block"));
  CHECK(
      has(table(entry("", field(1, 1)) + varint(0) + varint(~std::uint64_t{0}) + varint(0) + "a"), "beyond its block"));
  CHECK(has(table(std::string(20, '\xff')), "beyond its block"));
  // Keys that share a megabyte, ever again.
  std::string bomb = entry("", field(1, 1)) + entry(std::string(1 << 20, 'k'), good);
  for (int i = 0; i < 1000; ++i) bomb += varint(1 << 20) + varint(1) + varint(0) + "k";
  CHECK(has(table(bomb), "its keys take more than"));
  CHECK(has(error_of([&] { read(std::string(47, '\0')); }), "shorter than its footer"));
  CHECK(has(error_of([&] { read(std::string(48, '\0')); }), "not those of a table"));

  // A compressed block: the table of one block, sealed again with another type.
  const std::string block = entry("", field(1, 1)) + entry("v", good) + block_end();
  std::string compressed = table_of(block);
  compressed.replace(0, block.size() + 5, sealed(block, 1));
  CHECK(has(error_of([&] { read(compressed); }), "compressed (type 1)"));
}

TEST_CASE("TensorFlow by hand: hostile object graphs") {
  // Two objects that refer to each other; the second has the variable, under a key that is there or not.
  const auto graph_error = [&](const std::string& graph, std::uint32_t flip = 0) {
    const auto length = static_cast<std::uint32_t>(graph.size());
    const std::string sum = little(weights::masked(weights::crc32c(as_bytes(little(length)))));
    const std::uint32_t crc =
        weights::masked(weights::crc32c(as_bytes(sum + graph), weights::crc32c(as_bytes(little(length)))));
    const std::string text = varint(graph.size()) + sum + graph;
    return error_of([&] {
      const WeightFile file =
          read_entries(entry("", field(1, 1)) +
                           entry("_CHECKPOINTABLE_OBJECT_GRAPH",
                                 field(1, 7) + field(4, 16) + field(5, text.size()) + check(crc ^ flip)) +
                           entry("v", numbers(1, {4}, 0, 0, 16, kCrc)),
                       kFour + text);
      REQUIRE(file.find("layer/kernel"));
      CHECK(file.find("layer/kernel")->read().to_vector<double>() == std::vector<double>{1, 2, 3, 4});
    });
  };
  const auto reference = [](std::uint64_t node, const std::string& name) {
    return field(1, field(1, node) + field(2, name));
  };
  const auto variable = [](const std::string& key) {
    return field(2, field(1, "VARIABLE_VALUE") + field(2, "layer/kernel") + field(3, key));
  };
  const std::string good = field(1, reference(1, "layer")) + field(1, reference(0, "up") + variable("v"));
  CHECK(graph_error(good).empty());
  CHECK(has(graph_error(good, 1), "checksum"));
  CHECK(has(graph_error(field(1, reference(2, "layer")) + field(1, variable("v"))), "an object is missing"));
  CHECK(has(graph_error(field(1, reference(~std::uint64_t{0}, "x"))), "an object is missing"));
  CHECK(has(graph_error(field(1, variable("w"))), "misses the tensor 'w'"));
  CHECK(has(graph_error(field(1, reference(1, "optimizer")) + field(1, variable("v"))), "no weights"));
  CHECK(has(graph_error(""), "no weights"));
  CHECK(has(graph_error("\x0a\x7f"), "damaged object graph"));
}
