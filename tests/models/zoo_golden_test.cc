// Whole networks against the frameworks they come from: weights and input by formula, logits, sampled activations and
// their checksums in shared/golden/zoo (its README gives the tolerances and their reasons).
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "catch.h"
#include "core/io/safetensors.h"
#include "models/load.h"
#include "models/trace.h"
#include "models/weights/formula.h"

using namespace fovea;
using models::Layout;
using nlohmann::json;

namespace {

struct Case {
  const char* name;
  const char* model;
  Layout layout;
  double logits_tolerance = 1e-3;
  double width = 0;
  std::pair<double, double> input = {-1, 1};
};

// SiLU networks amplify float32 rounding: the README allows them 2e-3.
constexpr double kSilu = 2e-3;
const std::vector<Case> kCases = {
    {"tv_mobilenet_v2_100_224", "mobilenet_v2", Layout::torchvision},
    {"tv_mobilenet_v2_035_96", "auto", Layout::torchvision},
    {"files_tv_mobilenet_v2_035_96_c10", "auto", Layout::torchvision},
    {"timm_mobilenetv2_100_224", "mobilenetv2_100", Layout::timm},
    {"hf_mobilenet_v2_100_224", "auto", Layout::huggingface},
    {"keras_mobilenetv2_100_224", "MobileNetV2", Layout::keras},
    {"keras_mobilenetv2_035_96", "mobilenet_v2", Layout::keras, 1e-3, 0.35},
    {"keras_mobilenetv2_050_97", "auto", Layout::keras},
    {"files_keras_mobilenetv2_035_96_c10", "auto", Layout::keras},
    {"tv_resnet18_224", "auto", Layout::torchvision},
    {"tv_resnet50_224", "resnet50", Layout::torchvision},
    {"keras_resnet50_224", "auto", Layout::keras},
    {"tv_inception_v3_299", "auto", Layout::torchvision},
    {"keras_inceptionv3_299", "auto", Layout::keras},
};

/// {0, 1, n−2, n−1}, all where there are at most 4.
std::vector<std::int64_t> ends(std::int64_t n) {
  if (n > 4) return {0, 1, n - 2, n - 1};
  std::vector<std::int64_t> all;
  for (std::int64_t i = 0; i < n; ++i) all.push_back(i);
  return all;
}

struct Sampled {
  std::vector<float> values;
  double largest = 0, mean = 0, deviation = 0, probe = 0;
};

Sampled sample(const Tensor& t) {
  const bool vector = t.rank() == 2;
  const std::int64_t h = vector ? 1 : t.dim(1), w = vector ? 1 : t.dim(2), c = t.dim(-1);
  const float* p = t.data<float>();
  Sampled s;
  for (const std::int64_t y : ends(h)) {
    for (const std::int64_t x : ends(w)) {
      const std::int64_t count = std::min<std::int64_t>(c, 64);
      for (std::int64_t k = 0; k < count; ++k) s.values.push_back(p[(y * w + x) * c + (c > 64 ? k * c / 64 : k)]);
    }
  }
  double sum = 0, squares = 0;
  for (std::int64_t j = 0; j < t.numel(); ++j) {
    const double v = p[j];
    s.largest = std::max(s.largest, std::abs(v));
    sum += v;
    squares += v * v;
    s.probe += v * (2 * weights::formula_uniform("probe", static_cast<std::uint64_t>(j)) - 1);
  }
  const auto n = static_cast<double>(t.numel());
  s.mean = sum / n;
  s.deviation = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  return s;
}

double greatest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  REQUIRE(x.size() == y.size());
  double most = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    if (!(d <= most)) most = d;  // NaN counts
  }
  return most;
}

void check(const Case& c) {
  const std::string base = *shared_path("golden/zoo/") + c.name;
  std::ifstream in(base + ".json");
  const json about = json::parse(in);
  const Safetensors golden = read_safetensors(base + ".safetensors");
  const int size = about["input"]["shape_nhwc"][1].get<int>();
  const Model model = models::load(weights::read_formula(base + ".tsv"),
                                   {.model = c.model, .layout = c.layout, .width = c.width, .image_size = size});
  const auto input = [&](const char* name) {
    return weights::formula_input(name, size, 3, c.input.first, c.input.second);
  };
  const models::Trace trace = models::trace(model, input("input"), c.layout);
  CHECK(greatest_difference(trace.result, golden.find("logits_f64")) <= c.logits_tolerance);
  CHECK(greatest_difference(model(input("input2")), golden.find("logits_input2")) <= c.logits_tolerance);
  std::map<std::string, Tensor> activations(trace.activations.begin(), trace.activations.end());
  for (const json& act : about["activations"]) {
    const std::string name = act["name"].get<std::string>();
    INFO(c.name << " " << name);
    REQUIRE(activations.contains(name));
    const Sampled ours = sample(activations[name]);
    const std::vector<float> theirs = golden.find("act/" + name).to_vector<float>();
    REQUIRE(ours.values.size() == theirs.size());
    double most = 0;
    for (std::size_t i = 0; i < theirs.size(); ++i)
      most = std::max(most, std::abs(static_cast<double>(ours.values[i]) - static_cast<double>(theirs[i])));
    CHECK(most <= 2e-4 * ours.largest);
    const auto n = static_cast<double>(activations[name].numel());
    CHECK(std::abs(ours.probe - act["probe"].get<double>()) <= 1e-4 * ours.deviation * std::sqrt(n));
  }
}

}  // namespace

TEST_CASE("zoo networks give the logits and activations of the frameworks they come from") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  for (const Case& c : kCases) {
    INFO(c.name);
    check(c);
  }
}

TEST_CASE("every golden network is in the list of this test") {
  if (!shared_path("")) FOVEA_SKIP("FOVEA_SHARED is not set");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*shared_path("golden/zoo")))
    files += entry.path().extension() == ".tsv";
  WARN("cases: " << kCases.size() << " of " << files);
}
