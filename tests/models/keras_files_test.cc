// Keras files: names of nested, old and nameless ones, made by data/make_keras.py; and archives that lie.
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "models/checksum.h"
#include "models/weight_file_writer.h"
#include "models/weights/keras_names.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using weights::FileTensor;
using weights::KerasLayer;
using weights::WeightFile;

namespace {

const std::string kData = FOVEA_SOURCE_DIR "/tests/models/data/";

std::string content_of(const std::string& name) {
  const std::vector<std::uint8_t> bytes = read_file(kData + name);
  return {bytes.begin(), bytes.end()};
}

WeightFile parse_zip(const std::string& content) {
  const auto bytes = std::make_shared<std::vector<std::uint8_t>>(content.begin(), content.end());
  WeightFile file = weights::parse_keras_zip(*bytes, bytes, "test");
  for (const FileTensor& tensor : file.tensors) tensor.read();
  return file;
}

std::string error_of(const std::string& archive) {
  try {
    parse_zip(archive);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// What deflate makes of a text, without zlib's own head.
std::string deflated(const std::string& text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

/// An archive with one member more, which is deflated and claims to unpack to `size` bytes of this checksum.
std::string with_deflated(const std::string& name, const std::string& packed, std::uint32_t size, std::uint32_t crc) {
  std::string archive = writer::zip({{name, packed, 8}}, false);
  const std::uint32_t stored = static_cast<std::uint32_t>(packed.size());
  for (const char* head : {"PK\3\4", "PK\1\2"}) {
    const std::size_t at = archive.rfind(std::string(head, 4)) + (head[2] == 3 ? 14 : 16);
    std::memcpy(archive.data() + at, &crc, 4);
    std::memcpy(archive.data() + at + 4, &stored, 4);
    std::memcpy(archive.data() + at + 8, &size, 4);
  }
  return archive;
}

}  // namespace

TEST_CASE("Keras files of every layout hold what Keras has, under the names of layers") {
  std::ifstream in(kData + "keras.json");
  const nlohmann::json expected = nlohmann::json::parse(in);
  REQUIRE(expected.size() == 6);
  for (const auto& [name, wanted] : expected.items()) {
    CAPTURE(name);
    const WeightFile file = weights::read_weight_file(kData + name);
    CHECK(file.tensors.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto& want = wanted[i];
      const FileTensor* found = file.find(want[0].get<std::string>());
      CAPTURE(want[0].get<std::string>());
      REQUIRE(found);
      // Legacy files put what can be trained first.
      if (!name.ends_with("legacy.h5")) CHECK(found == &file.tensors[i]);
      CHECK(to_string(found->dtype) == want[1].get<std::string>());
      CHECK(std::vector<std::int64_t>(found->shape.begin(), found->shape.end()) == want[2]);
      const Tensor values = found->read();
      CHECK(values.shape() == found->shape);
      CHECK(values.dtype() == found->dtype);
      CHECK(fnv1a64(values) == want[3].get<std::string>());
    }
  }
}

TEST_CASE("Keras files say what else is in them") {
  const auto metadata = [](const char* name, const char* key) {
    const WeightFile file = weights::read_weight_file(kData + name);
    const std::string* found = file.find_metadata(key);
    return found ? *found : "none";
  };
  CHECK(metadata("keras_legacy.h5", "keras.submodel") == "backbone");
  CHECK(metadata("keras_legacy.h5", "keras.version") == "3.12.0");
  CHECK(metadata("keras_old.h5", "keras.version") == "2.2.4");
  CHECK(metadata("keras_old.h5", "keras.submodel") == "net_1.00");
  CHECK(metadata("keras_old.h5", "keras.config") == "none");
  CHECK(metadata("keras_nested.keras", "keras.version") == "3.12.0");
  CHECK(metadata("keras_nested.keras", "keras.names") == "config");
  CHECK(metadata("keras_small.keras", "keras.submodel") == "none");
  CHECK(metadata("keras_unnamed.weights.h5", "keras.names") == "classes");
}

TEST_CASE("a Keras config is a tree of layers with their inputs") {
  const WeightFile file = weights::read_weight_file(kData + "keras_nested.keras");
  const std::vector<KerasLayer> layers = weights::keras_layers(*file.find_metadata("keras.config"), "test");
  const auto find = [](const std::vector<KerasLayer>& all, const std::string& name) -> const KerasLayer& {
    const auto at = std::find_if(all.begin(), all.end(), [&](const KerasLayer& l) { return l.name == name; });
    REQUIRE(at != all.end());
    return *at;
  };
  using Names = std::vector<std::string>;
  CHECK(layers[0].class_name == "InputLayer");
  CHECK(layers[0].inbound.empty());
  CHECK(find(layers, "first").inbound == Names{"norm"});
  CHECK(nlohmann::json::parse(find(layers, "first").config)["filters"] == 4);
  CHECK(find(layers, "sum").inbound == Names{"right", "left"});
  CHECK(find(layers, "sum").is_layer);
  CHECK_FALSE(find(layers, "multiply").is_layer);
  CHECK(find(layers, "multiply").inbound == Names{"bn"});
  CHECK(find(layers, "shared").inbound == Names{"flatten"});
  const KerasLayer& left = find(layers, "left");
  CHECK(left.is_model());
  CHECK(left.class_name == "Functional");
  CHECK(left.children.size() == 3);
  CHECK(find(left.children, "twin").class_name == "Conv2D");
  const KerasLayer& head = find(layers, "head");
  CHECK(head.class_name == "Sequential");
  CHECK(find(head.children, "inner").inbound == Names{"dense_2"});
  CHECK(find(head.children, "inner").children.size() == 3);
  CHECK_FALSE(find(layers, "each").is_model());
  CHECK(find(layers, "each").children.size() == 1);
}

TEST_CASE("configs in the dialects of Keras 1 and 2") {
  const std::vector<KerasLayer> sequential = weights::keras_layers(
      R"({"class_name": "Sequential", "config": [{"class_name": "Conv2D", "config": {"name": "a", "filters": 2}},
          {"class_name": "Custom>Thing", "config": {"name": "b"}}]})",
      "test");
  REQUIRE(sequential.size() == 2);
  CHECK(sequential[0].name == "a");
  CHECK(sequential[1].class_name == "Thing");
  CHECK(sequential[1].inbound == std::vector<std::string>{"a"});
  const std::vector<KerasLayer> functional = weights::keras_layers(
      R"({"class_name": "Model", "config": {"name": "m", "layers": [
          {"name": "x", "class_name": "InputLayer", "config": {}, "inbound_nodes": []},
          {"name": "y", "class_name": "TFOpLambda", "config": {}, "inbound_nodes": [["x", 0, 0, {"y": 2.0, "name": null}]]},
          {"name": "z", "class_name": "Add", "config": {}, "inbound_nodes": [[["x", 0, 0, {}], ["y", 0, 0, {"other": ["w", 0, 0]}]], [["v", 0, 0, {}]]]},
          {"name": "c", "class_name": "TFOpLambda", "config": {}, "inbound_nodes": [["_CONSTANT_VALUE", -1, 5, {"y": ["z", 0, 0]}]]}
          ]}})",
      "test");
  REQUIRE(functional.size() == 4);
  CHECK(functional[1].inbound == std::vector<std::string>{"x"});
  CHECK(functional[2].inbound == std::vector<std::string>{"x", "y", "w"});
  CHECK(functional[3].inbound == std::vector<std::string>{"z"});
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  for (const std::string& bad :
       {std::string("{"), std::string("[]"), std::string("{}"), std::string("\"\xff\""), deep,
        std::string(R"({"class_name": 1})"), "{\"class_name\": \"Model\", \"x\": " + deep + "}"}) {
    CHECK_THROWS_AS(weights::keras_model(bad, "test"), Error);
  }
}

TEST_CASE("class names become group names as in Keras") {
  const char* const cases[][2] = {{"Conv2D", "conv2d"},
                                  {"DepthwiseConv2D", "depthwise_conv2d"},
                                  {"ReLU", "re_lu"},
                                  {"PReLU", "p_re_lu"},
                                  {"GlobalAveragePooling2D", "global_average_pooling2d"},
                                  {"LSTMCell", "lstm_cell"},
                                  {"HTMLParserX", "html_parser_x"},
                                  {"MyABlock", "my_a_block"},
                                  {"AbCdEf", "ab_cd_ef"}};
  for (const auto& one : cases) CHECK(weights::keras_snake_case(one[0]) == one[1]);
  using Counted = std::pair<std::string, std::size_t>;
  CHECK(weights::keras_counter("conv2d_12") == Counted{"conv2d", 12});
  CHECK(weights::keras_counter("conv2d") == Counted{"conv2d", 0});
  CHECK(weights::keras_counter("conv_2d") == Counted{"conv_2d", 0});
}

TEST_CASE("a Keras archive cut anywhere is an error") {
  const std::string good = content_of("keras_small.keras");
  for (std::size_t cut = 0; cut < good.size(); ++cut) REQUIRE_THROWS_AS(parse_zip(good.substr(0, cut)), Error);
}

TEST_CASE("any flipped bit in the weights of a Keras archive is found") {
  for (const char* name : {"keras_small.keras", "keras_nested.keras"}) {
    const std::string good = content_of(name);
    const std::size_t begin = good.find("model.weights.h5") + 16;
    const std::size_t end = good.find(std::string("PK\1\2"), begin);
    for (std::size_t at = begin; at < end; at += 101) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1 << at % 8);
      REQUIRE_THROWS_AS(parse_zip(bad), Error);
    }
  }
}

TEST_CASE("archives that lie are refused, without the memory that they ask for") {
  const std::string zeros(16u << 20, '\0');
  const std::string packed = deflated(zeros);
  const auto size = static_cast<std::uint32_t>(zeros.size());
  const std::uint32_t crc = weights::crc32(writer::as_bytes(zeros));
  // A bomb as weights is unpacked to a file, and found to be none.
  CHECK(error_of(with_deflated("model.weights.h5", packed, size, crc)).find("no HDF5 file") != std::string::npos);
  // As a config it is refused by its size.
  std::string both = writer::zip({{"model.weights.h5", "x"}, {"config.json", packed, 8}}, false);
  for (const char* head : {"PK\3\4", "PK\1\2"}) {
    std::memcpy(both.data() + both.rfind(std::string(head, 4)) + (head[2] == 3 ? 22 : 24), &size, 4);
  }
  CHECK(error_of(both).find("config.json' has 16777216 bytes") != std::string::npos);
  CHECK(error_of(with_deflated("model.weights.h5", packed, 0xfffffff0u, crc)).find("would unpack to") !=
        std::string::npos);
  CHECK(error_of(with_deflated("model.weights.h5", packed, size - 1, crc)).find("damaged") != std::string::npos);
  CHECK(error_of(with_deflated("model.weights.h5", packed, size, crc + 1)).find("damaged") != std::string::npos);
  const std::string small = content_of("keras_small.keras");
  CHECK(error_of(writer::zip({{"model.weights.h5", small}, {"model.weights.h5", small}})).find("twice") !=
        std::string::npos);
  CHECK(error_of(writer::zip({{"model.weights.npz", small}})).find("not read") != std::string::npos);
  CHECK(error_of(writer::zip({{"readme", small}})).find("no Keras archive") != std::string::npos);
  CHECK(error_of(writer::zip({{"model.weights.h5", small, 12}})).find("zip method 12") != std::string::npos);
  CHECK(error_of("").find("no Keras archive") != std::string::npos);
  std::vector<writer::Member> many;
  for (int i = 0; i < 10001; ++i) many.push_back({"m" + std::to_string(i), ""});
  CHECK(error_of(writer::zip(many)).find("members") != std::string::npos);
}
