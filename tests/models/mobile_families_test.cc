// MobileNetV1, MobileNetV3 and EfficientNet: sizes and costs as published, compound scaling, spellings, variants, and
// the conventions that names and shapes do not show. Logits are the golden tests' business.
#include <algorithm>
#include <cmath>

#include "catch.h"
#include "layers/init.h"
#include "models/load.h"
#include "models/summary.h"
#include "models/weights/weight_file.h"
#include "models/zoo.h"

using namespace fovea;
using models::Layout;
using models::Options;

namespace {

std::int64_t parameters(const char* name, double width = 0, std::optional<Layout> layout = std::nullopt) {
  Options o;
  o.width = width;
  o.layout = layout;
  return models::cost(name, o).parameters;
}

Model outline(const std::string& name, const Options& options = {}) {
  const models::Resolved r = models::resolve(name, options);
  const ParameterMode mode(ParameterMode::Kind::meta);
  return models::build(*r.architecture, r.options);
}

/// The network's weights as a file of that layout.
weights::WeightFile file_of(const Model& model, Layout layout) {
  weights::WeightFile file;
  file.path = "memory";
  for (const auto& [key, tensor] : models::export_weights(model, layout))
    file.tensors.push_back({key, tensor.shape(), tensor.dtype(), [t = tensor] { return t; }});
  return file;
}

bool is_of(const weights::FileTensor& t, const std::vector<std::string>& layers) {
  return std::any_of(layers.begin(), layers.end(), [&](const std::string& l) { return t.name.starts_with(l + "/"); });
}

}  // namespace

TEST_CASE("mobile networks have as many parameters as published") {
  const struct {
    const char* name;
    double width;
    Layout layout;
    std::int64_t published;
  } rows[] = {
      // torchvision's and timm's tables
      {"mobilenet_v1", 1, Layout::timm, 4231976},
      {"mobilenet_v1", 1.25, Layout::timm, 6270840},
      {"mobilenet_v3_small", 1, Layout::torchvision, 2542856},
      {"mobilenet_v3_large", 1, Layout::torchvision, 5483032},
      {"mobilenet_v3_small", 0.5, Layout::timm, 1593224},
      {"mobilenet_v3_small", 0.75, Layout::timm, 2041872},
      {"mobilenet_v3_large", 0.75, Layout::timm, 3993528},
      {"efficientnet_b0", 0, Layout::torchvision, 5288548},
      {"efficientnet_b1", 0, Layout::torchvision, 7794184},
      {"efficientnet_b2", 0, Layout::torchvision, 9109994},
      {"efficientnet_b3", 0, Layout::torchvision, 12233232},
      {"efficientnet_b4", 0, Layout::torchvision, 19341616},
      {"efficientnet_b5", 0, Layout::torchvision, 30389784},
      {"efficientnet_b6", 0, Layout::torchvision, 43040704},
      {"efficientnet_b7", 0, Layout::torchvision, 66347960},
      {"efficientnet_lite0", 0, Layout::timm, 4652008},
      {"efficientnet_lite1", 0, Layout::timm, 5416680},
      {"efficientnet_lite2", 0, Layout::timm, 6092072},
      {"efficientnet_lite3", 0, Layout::timm, 8197096},
      {"efficientnet_lite4", 0, Layout::timm, 13006568},
  };
  for (const auto& row : rows) {
    INFO(row.name << " " << row.width);
    CHECK(parameters(row.name, row.width, row.layout) == row.published);
  }
}

TEST_CASE("Keras counts running statistics too") {
  const struct {
    const char* name;
    double width;
    std::int64_t published;
  } rows[] = {
      {"mobilenet_v1", 1, 4253864},          {"mobilenet_v1", 0.25, 475544},     {"mobilenet_v1", 0.5, 1342536},
      {"mobilenet_v1", 0.75, 2601976},       {"mobilenet_v3_small", 1, 2554968}, {"mobilenet_v3_large", 1, 5507432},
      {"mobilenet_v3_large", 0.75, 4012616}, {"efficientnet_b0", 0, 5330571},    {"efficientnet_b3", 0, 12320535},
  };
  for (const auto& row : rows) {
    INFO(row.name << " " << row.width);
    const Model model = outline(row.name, {.width = row.width, .layout = Layout::keras});
    std::int64_t n = model.network().parameter_count();
    for (const NamedTensor& t : model.network().buffers()) n += t.tensor.numel();
    const bool counts_batches = std::string(row.name).starts_with("efficientnet");  // Normalization's own counter
    CHECK(n + counts_batches == row.published);
  }
}

TEST_CASE("mobile networks cost as many multiply-adds as published") {
  // Thousand millions: the MobileNetV1 paper (569 million, table 4) and torchvision's tables.
  const struct {
    const char* name;
    int size;
    double published;
  } rows[] = {{"mobilenet_v1", 224, 0.569},     {"mobilenet_v3_small", 224, 0.057}, {"mobilenet_v3_large", 224, 0.217},
              {"efficientnet_b0", 224, 0.386},  {"efficientnet_b1", 240, 0.687},    {"efficientnet_b2", 288, 1.088},
              {"efficientnet_b3", 300, 1.827},  {"efficientnet_b4", 380, 4.394},    {"efficientnet_b5", 456, 10.266},
              {"efficientnet_b6", 528, 19.068}, {"efficientnet_b7", 600, 37.746}};
  for (const auto& row : rows) {
    INFO(row.name);
    CHECK(std::abs(1e-9 * static_cast<double>(models::cost(row.name, {.image_size = row.size}).macs) - row.published) <
          6e-4);
  }
}

TEST_CASE("published sizes are the default; weights of a layout bring that source's") {
  const int sizes[] = {224, 240, 260, 300, 380, 456, 528, 600};
  for (int n = 0; n < 8; ++n) CHECK(models::info(str("efficientnet_b", n)).image_size == sizes[n]);
  const int lite[] = {224, 240, 260, 280, 300};
  for (int n = 0; n < 5; ++n) CHECK(models::info(str("efficientnet_lite", n)).image_size == lite[n]);
  CHECK(outline("efficientnet_b2").preprocessing.width == 260);
  CHECK(outline("efficientnet_b2", {.layout = Layout::torchvision}).preprocessing.width == 288);
  CHECK(outline("timm/efficientnet_b4").preprocessing.width == 320);
  CHECK(outline("tf_efficientnet_b4").preprocessing.width == 380);
  CHECK(outline("efficientnet-b4").preprocessing.width == 380);
}

TEST_CASE("compound scaling serves any phi") {
  const Model base = outline("efficientnet_phi0"), larger = outline("efficientnet_phi1.7"),
              smaller = outline("efficientnet_phi-1");
  CHECK(base.network().parameter_count() == outline("efficientnet_b0").network().parameter_count());
  CHECK(base.preprocessing.width == 224);
  CHECK(larger.options.width == Approx(std::pow(1.1, 1.7)));
  CHECK(larger.options.depth == Approx(std::pow(1.2, 1.7)));
  CHECK(larger.preprocessing.width == 288);  // 224 · 1.15^1.7 = 284.1
  CHECK(larger.network().parameter_count() > base.network().parameter_count());
  CHECK(smaller.network().parameter_count() < base.network().parameter_count());
  // The published table is not the formula: B7 is width 2 and depth 3.1, phi 7 would be 1.95 and 3.58.
  CHECK(outline("efficientnet", {.width = 2, .depth = 3.1}).network().parameter_count() == 66347960);
}

TEST_CASE("spellings of mobile networks bring their layout, variant, width and size") {
  const auto is = [](const char* name, const char* canonical, Layout layout, const char* variant = "", double width = 0,
                     int size = 0) {
    INFO(name);
    const models::Resolved r = models::resolve(name, {});
    CHECK(std::string(r.architecture->name) == canonical);
    CHECK(r.options.layout == layout);
    CHECK(r.options.variant == variant);
    if (width > 0) CHECK(r.options.width == Approx(width));
    if (size > 0) CHECK(r.options.image_size == size);
  };
  is("mobilenetv1_100", "mobilenet_v1", Layout::timm, "", 1);
  is("mobilenetv1_125.ra4_e3600_r224_in1k", "mobilenet_v1", Layout::timm, "", 1.25);
  is("MobileNet", "mobilenet_v1", Layout::keras);
  is("mobilenet_0.50_160", "mobilenet_v1", Layout::keras, "", 0.5, 160);
  is("google/mobilenet_v1_0.75_192", "mobilenet_v1", Layout::huggingface, "", 0.75, 192);
  is("mobilenet_v3_small", "mobilenet_v3_small", Layout::torchvision);
  is("mobilenetv3_small_050.lamb_in1k", "mobilenet_v3_small", Layout::timm, "", 0.5);
  is("timm/tf_mobilenetv3_large_075.in1k", "mobilenet_v3_large", Layout::timm, "tf", 0.75);
  is("MobilenetV3small", "mobilenet_v3_small", Layout::keras);
  is("MobileNetV3Large", "mobilenet_v3_large", Layout::keras);
  is("efficientnet_b3", "efficientnet_b3", Layout::torchvision);
  is("efficientnet_b3.ra2_in1k", "efficientnet_b3", Layout::timm);
  is("tf_efficientnet_b7.ns_jft_in1k", "efficientnet_b7", Layout::timm, "tf");
  is("tf_efficientnet_lite4", "efficientnet_lite4", Layout::timm, "tf");
  is("EfficientNetB5", "efficientnet_b5", Layout::keras);
  is("efficientnet-lite2", "efficientnet_lite2", Layout::lukemelas);
  is("google/efficientnet-b1", "efficientnet_b1", Layout::huggingface);
  CHECK_THROWS_AS(models::resolve("efficientnet_b8", {}), Error);
  CHECK_THROWS_AS(models::resolve("mobilenetv1_100h", {}), Error);
  const std::vector<std::string> other = models::info("efficientnet_b3").aliases;
  CHECK(std::find(other.begin(), other.end(), "EfficientNetB3") != other.end());
  CHECK(std::find(other.begin(), other.end(), "tf_efficientnet_b3") != other.end());
}

TEST_CASE("a variant that a layout has not is refused; one alone says the layout") {
  CHECK_THROWS_AS(models::resolve("efficientnet_b0", {.variant = "fast"}), Error);
  CHECK_THROWS_AS(models::resolve("efficientnet_b0", {.layout = Layout::keras, .variant = "tf"}), Error);
  CHECK_THROWS_AS(models::resolve("mobilenet_v3_small", {.depth = 2}), Error);
  CHECK(models::resolve("efficientnet_b0", {.variant = "tf"}).options.layout == Layout::timm);
  CHECK(models::resolve("efficientnet_b0", {.variant = "imagenet"}).options.layout == Layout::keras);
}

TEST_CASE("preprocessing is what the weights' source documents") {
  const auto keras = outline("EfficientNetB0").preprocessing;  // in the network
  CHECK(keras.scale == 1);
  CHECK(keras.mean == std::array<float, 3>{0, 0, 0});
  CHECK(keras.std == std::array<float, 3>{1, 1, 1});
  CHECK(outline("MobileNetV3Small").preprocessing.scale == 1);
  CHECK(outline("MobileNetV3Small", {.variant = "no_rescaling"}).preprocessing.scale == Approx(1 / 127.5));
  const auto lite = outline("efficientnet-lite0").preprocessing;  // (x − 127)/128
  CHECK(lite.resize_size == 256);
  CHECK(lite.filter == image::Filter::bicubic);
  CHECK((0 * lite.scale - static_cast<double>(lite.mean[0])) / static_cast<double>(lite.std[0]) == -127 / 128.0);
  CHECK((255 * lite.scale - static_cast<double>(lite.mean[0])) / static_cast<double>(lite.std[0]) == 1);
  const auto b3 = outline("efficientnet_b3", {.layout = Layout::torchvision}).preprocessing;
  CHECK(b3.resize_size == 320);
  CHECK(b3.filter == image::Filter::bicubic);
  const auto tf = outline("tf_efficientnet_b7").preprocessing;
  CHECK(tf.resize_size == 632);  // 600 of 0.949
  CHECK(tf.mean == image::Preprocessing().mean);
  CHECK(outline("tf_mobilenetv3_large_100").preprocessing.mean == std::array<float, 3>{0.5f, 0.5f, 0.5f});
}

TEST_CASE("Keras files tell their variant: by their description, or by ImageNet's deviations") {
  const Options options = {.classes = 2, .layout = Layout::keras};
  const Model model = models::create("efficientnet_b0", options);
  weights::WeightFile file = file_of(model, Layout::keras);
  CHECK(models::recognize(file).options.variant.empty());
  const auto config = [](const char* before) {
    return str(R"({"class_name":"Sequential","config":{"layers":[{"class_name":"Rescaling","config":{"name":"own"}},)",
               R"({"class_name":"Sequential","config":{"name":"efficientnetb0","layers":[{"class_name":"InputLayer",)",
               R"("config":{"name":"x"}},{"class_name":"Rescaling","config":{"name":"rescaling"}},)",
               R"({"class_name":"Normalization","config":{"name":"normalization"}},)", before,
               R"({"class_name":"Conv2D","config":{"name":"stem_conv"}}]}}]}})");
  };
  file.metadata = {{"keras.config", config("")}};
  CHECK(models::recognize(file).options.variant.empty());
  file.metadata = {{"keras.config", config(R"({"class_name":"Rescaling","config":{"name":"rescaling_1"}},)")}};
  CHECK(models::recognize(file).options.variant == "imagenet");
  file.metadata.clear();
  for (weights::FileTensor& t : file.tensors) {
    if (t.name == "normalization/variance")
      t.read = [] { return Tensor::from<float>(Shape{3}, {0.229f, 0.224f, 0.225f}); };
  }
  CHECK(models::recognize(file).options.variant == "imagenet");
  CHECK(models::recognize(file, {.variant = "imagenet"}).options.variant == "imagenet");
}

TEST_CASE("timm's tf_ networks are told by the file's name, where it says so") {
  const Model model = models::create("mobilenetv3_small_050", {.classes = 2});
  weights::WeightFile file = file_of(model, Layout::timm);
  file.path = "some/mobilenetv3_small_050.pth";
  CHECK(models::recognize(file).options.variant.empty());
  file.path = "some/tf_mobilenetv3_small_050-0123abcd.pth";
  CHECK(models::recognize(file).options.variant == "tf");
  CHECK(models::recognize(file, {.model = "mobilenetv3_small_050"}).options.variant.empty());
}

TEST_CASE("MobileNetV3 without its top: features, or a new head with the layer behind the pooling") {
  const Model model = models::create("mobilenet_v3_small", {.classes = 2, .layout = Layout::keras});
  weights::WeightFile file = file_of(model, Layout::keras);
  std::erase_if(file.tensors, [](const auto& t) { return is_of(t, {"conv_2", "logits"}); });
  CHECK(models::load(file).options.top == models::Top::none);
  const Model tuned = models::load(file, {.classes = 4, .head = Head::replace});
  const Tensor x({1, 64, 64, 3});
  const std::vector<float> logits = tuned(x.to(DType::f32)).to_vector<float>();
  CHECK(logits.size() == 4);
  for (const float v : tuned.network().tensor("hidden.weight").to_vector<float>()) REQUIRE(std::abs(v) < 1);
}

TEST_CASE("Hugging Face's padding of EfficientNet is that of the published size at any size") {
  // B1 at 240 has an odd map before the last stride: at 224 its padding stays what TensorFlow's would be at 240.
  Options options = {.image_size = 224, .top = models::Top::pooled};
  Model hf = models::create("google/efficientnet-b1", options), tf = models::create("efficientnet-b1", options);
  // Depthwise weights as they start are so small that signals would not reach the end.
  for (Model* model : {&hf, &tf}) {
    for (NamedTensor& t : model->network().parameters()) {
      if (t.name.ends_with("depthwise.conv.weight"))
        initialize(t.tensor, init::pytorch::kaiming_normal(0, Initializer::Fan::in), Rng(1, t.name));
    }
  }
  Tensor at224({1, 224, 224, 3}), at240({1, 240, 240, 3});
  for (Tensor* x : {&at224, &at240}) {
    for (std::int64_t i = 0; i < x->numel(); ++i) x->mutable_data<float>()[i] = static_cast<float>(i % 97) / 97;
  }
  const auto differ = [&](const Tensor& x) {
    const std::vector<float> a = hf(x).to_vector<float>(), b = tf(x).to_vector<float>();
    CHECK(*std::max_element(a.begin(), a.end()) > 0);
    return a != b;
  };
  CHECK(differ(at224));
  CHECK(!differ(at240));
}
