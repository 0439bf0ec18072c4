// TensorFlow checkpoints that TensorFlow wrote (data/tf/make_reference.py): names, values, and what is left out.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "models/weight_file_writer.h"
#include "models/weights/formula.h"
#include "models/weights/weight_file.h"
#include "tests/temp_folder.h"

using namespace fovea;
using test::TempFolder;
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
    CHECK(writer::error_of([&] { file.find(name)->read(); }).find(name) != std::string::npos);
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

TEST_CASE("TensorFlow: every cut and every flipped bit is noticed") {
  using Bytes = std::vector<std::uint8_t>;
  const Bytes good_index = read_file(data("objects.ckpt.index"));
  const Bytes good_data = read_file(data("objects.ckpt.data-00000-of-00001"));
  const auto error = [](const Bytes& index, const Bytes& content) {
    return writer::error_of([&] {
      auto i = std::make_shared<Bytes>(index), d = std::make_shared<Bytes>(content);
      const auto shard = [&](int, int) { return CheckpointShard{*d, d}; };
      for (const FileTensor& t : weights::parse_tf_checkpoint(*i, i, shard, "test").tensors) t.read();
    });
  };
  REQUIRE(error(good_index, good_data).empty());
  for (std::size_t cut = 0; cut < good_index.size(); ++cut) {
    if (error({good_index.begin(), good_index.begin() + static_cast<std::ptrdiff_t>(cut)}, good_data).empty()) {
      FAIL("the index is accepted when cut to " << cut);
    }
  }
  const auto silent_flips = [&](const Bytes& good, const auto& try_it) {
    std::size_t silent = 0;
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
      Bytes bad = good;
      bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ 1 << bit % 8);
      silent += try_it(bad).empty();
    }
    return silent;
  };
  // Of the index only the footer's padding has no checksum.
  CHECK(silent_flips(good_index, [&](const Bytes& bad) { return error(bad, good_data); }) < 8 * 48);
  // Optimizer slots are not read, the rest is: the weights and the object graph.
  std::size_t weights_bytes = 0;
  {
    const WeightFile file = weights::read_weight_file(data("objects.ckpt"));
    for (const FileTensor& t : file.tensors) weights_bytes += t.read().nbytes();
  }
  const std::size_t silent = silent_flips(good_data, [&](const Bytes& bad) { return error(good_index, bad); });
  CHECK(silent <= 8 * (good_data.size() - weights_bytes));
  CHECK(silent < 8 * good_data.size() / 2);
}

TEST_CASE("TensorFlow: a missing data file is named") {
  const TempFolder folder;
  std::filesystem::copy_file(data("types.ckpt.index"), folder / "types.ckpt.index",
                             std::filesystem::copy_options::overwrite_existing);
  CHECK(writer::error_of([&] { weights::read_weight_file(folder / "types.ckpt"); }).find(".data-0000") !=
        std::string::npos);
}

TEST_CASE("TensorFlow: another file of a checkpoint is refused with the path to pass instead") {
  const TempFolder folder;
  const auto refusal = [&](const std::string& name, std::string_view content) {
    const std::string path = folder / name;
    std::ofstream(path, std::ios::binary) << content;
    return writer::error_of([&] { weights::read_weight_file(path); });
  };
  const auto says = [](const std::string& error, const std::string& part) {
    CAPTURE(error);
    CAPTURE(part);
    CHECK(error.find(part) != std::string::npos);
  };
  const std::string prefix = folder / "m.ckpt", data_file = "m.ckpt.data-00000-of-00001";
  const std::string listed = "model_checkpoint_path: \"/home/else/m.ckpt\"\nall_model_checkpoint_paths: \"m.ckpt-1\"\n";

  // Without the index.
  says(refusal(data_file, "weights"), "pass " + prefix + ".index, once it is there");
  says(refusal("m.ckpt.meta", "\n\x05graph"), "pass " + prefix + ".index, once it is there");
  says(refusal("checkpoint", listed), "pass the checkpoint's file that ends in .index");

  std::filesystem::copy_file(data("types.ckpt.index"), prefix + ".index",
                             std::filesystem::copy_options::overwrite_existing);
  const std::string instead = "pass " + prefix + " or " + prefix + ".index";
  // Numbers may begin like a pickle or like safetensors.
  for (const std::string_view content : {"weights", "\x80\x02weights", "weights {weights"}) {
    says(refusal(data_file, content), "is a data file of a TensorFlow checkpoint");
    says(refusal(data_file, content), instead);
  }
  says(refusal("m.ckpt.meta", "\n\x05graph"), "is the graph of a TensorFlow checkpoint");
  says(refusal("m.ckpt.meta", "\n\x05graph"), instead);
  says(refusal("checkpoint", listed), instead);
  for (const char* cut : {"model_checkpoint_path:", "model_checkpoint_path: \"m.ckpt", "model_checkpoint_path: \"\""})
    says(refusal("checkpoint", cut), "pass the checkpoint's file that ends in .index");
  says(refusal("saved_model.pb", "\x08\x01"), "pass its folder");

  // Only names of exactly that form, and nothing that has a reader.
  for (const char* name : {"m.data-00000-of-0001", "m.data-0000x-of-00001", "notes.meta"})
    says(refusal(name, "weights"), "is no weight file");
  std::filesystem::copy_file(std::string(FOVEA_SOURCE_DIR) + "/tests/models/data/keras_legacy.h5", folder / data_file,
                             std::filesystem::copy_options::overwrite_existing);
  CHECK_NOTHROW(weights::read_weight_file(folder / data_file));
}
