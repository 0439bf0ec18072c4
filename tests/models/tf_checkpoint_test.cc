// TensorFlow checkpoints that TensorFlow wrote (data/tf/make_reference.py): names, values, and what is left out.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "models/weights/formula.h"
#include "models/weights/weight_file.h"

using namespace fovea;
using weights::CheckpointShard;
using weights::FileTensor;
using weights::WeightFile;

namespace {

std::string data(const std::string& name) { return std::string(FOVEA_SOURCE_DIR) + "/tests/models/data/tf/" + name; }

using Shapes = std::map<std::string, Shape>;

Shapes shapes_of(const WeightFile& file) {
  Shapes shapes;
  for (const FileTensor& t : file.tensors) shapes[t.name] = t.shape;
  CHECK(shapes.size() == file.tensors.size());
  return shapes;
}

/// Values as make_reference.py computes them, in the type's own precision.
void check_values(const FileTensor& tensor) {
  CAPTURE(tensor.name);
  const Tensor have = tensor.read();
  REQUIRE(have.shape() == tensor.shape);
  REQUIRE(have.dtype() == tensor.dtype);
  const std::vector<double> values = have.to_vector<double>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double u = weights::formula_uniform(tensor.name, i);
    double want = static_cast<float>(2 * u - 1);
    if (tensor.name == "t/bool") want = u < 0.5;
    if (tensor.dtype == DType::f16) want = static_cast<double>(static_cast<float>(f16(static_cast<float>(want))));
    if (tensor.dtype == DType::bf16) want = static_cast<double>(static_cast<float>(bf16(static_cast<float>(want))));
    if (tensor.name.find("int") != std::string::npos) want = std::floor(100 * u);
    REQUIRE(values[i] == want);
  }
}

}  // namespace

TEST_CASE(
    "TensorFlow: a TF-slim checkpoint gives averages under the names of what they average, and nothing of training") {
  const WeightFile file = weights::read_weight_file(data("slim.ckpt"));
  CHECK(file.format == "TensorFlow checkpoint");
  CHECK(shapes_of(file) == Shapes{{"MobilenetV2/Conv/BatchNorm/beta", {8}},
                                  {"MobilenetV2/Conv/BatchNorm/gamma", {8}},
                                  {"MobilenetV2/Conv/BatchNorm/moving_mean", {8}},
                                  {"MobilenetV2/Conv/BatchNorm/moving_variance", {8}},
                                  {"MobilenetV2/Conv/weights", {3, 3, 3, 8}},
                                  {"MobilenetV2/Logits/Conv2d_1c_1x1/biases", {11}},
                                  {"MobilenetV2/Logits/Conv2d_1c_1x1/weights", {1, 1, 8, 11}},
                                  {"MobilenetV2/expanded_conv/depthwise/depthwise_weights", {3, 3, 8, 1}}});
  REQUIRE(file.find_metadata("tf.moving_averages"));
  CHECK(*file.find_metadata("tf.moving_averages") == "6");
  for (const FileTensor& t : file.tensors) check_values(t);
}

TEST_CASE("TensorFlow: every element type, in two data files; what has no counterpart is refused by name") {
  const WeightFile file = weights::read_weight_file(data("types.ckpt.index"));
  const std::map<std::string, DType> types = {
      {"t/bool", DType::u8},       {"t/float", DType::f32}, {"t/double", DType::f64}, {"t/half", DType::f16},
      {"t/bfloat16", DType::bf16}, {"t/int8", DType::i8},   {"t/uint8", DType::u8},   {"t/int16", DType::i32},
      {"t/int32", DType::i32},     {"t/int64", DType::i64}, {"t/empty", DType::f32}};
  for (const auto& [name, dtype] : types) {
    CAPTURE(name);
    const FileTensor* t = file.find(name);
    REQUIRE(t);
    CHECK(t->dtype == dtype);
    check_values(*t);
  }
  CHECK(file.find("t/empty")->shape == Shape{0, 4});
  CHECK_FALSE(file.find("t/string"));
  for (const char* name : {"t/complex", "t/parts"}) {
    CAPTURE(name);
    REQUIRE(file.find(name));
    CHECK_THROWS_WITH(file.find(name)->read(), Catch::Matchers::Contains(name));
  }
  CHECK(file.tensors.size() == types.size() + 2);
}

TEST_CASE("TensorFlow: checkpoints of objects give variables their full names") {
  const Shapes keras = {{"sequential/Conv1/kernel", {3, 3, 3, 4}},
                        {"sequential/bn_Conv1/gamma", {4}},
                        {"sequential/bn_Conv1/beta", {4}},
                        {"sequential/bn_Conv1/moving_mean", {4}},
                        {"sequential/bn_Conv1/moving_variance", {4}},
                        {"sequential/depthwise/kernel", {3, 3, 4, 1}},
                        {"sequential/predictions/kernel", {4, 5}},
                        {"sequential/predictions/bias", {5}}};
  const Shapes hub = {{"MobilenetV2/Conv/weights", {3, 3, 3, 4}},
                      {"MobilenetV2/Conv/BatchNorm/gamma", {4}},
                      {"MobilenetV2/Conv/BatchNorm/moving_variance", {4}}};
  for (const auto& [path, shapes] : {std::pair<std::string, Shapes>{"objects.ckpt", keras},
                                     {"export", keras},
                                     {"hub", hub},
                                     {"hub/variables/variables.index", hub}}) {
    CAPTURE(path);
    const WeightFile file = weights::read_weight_file(data(path));
    CHECK(shapes_of(file) == shapes);
    for (const FileTensor& t : file.tensors) check_values(t);
  }
}
