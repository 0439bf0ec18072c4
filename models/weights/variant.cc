#include "models/weights/variant.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

namespace fovea::models {
namespace {

using nlohmann::json;
using weights::WeightFile;

bool has(const Architecture& a, Layout layout, std::string_view variant) {
  return std::any_of(a.variants.begin(), a.variants.end(),
                     [&](const auto& v) { return v.first == layout && v.second == variant; });
}

/// The names of the network's first convolution.
std::set<std::string> first_layer(const LayerNames& names) {
  std::set<std::string> out;
  for (const LayerName& layer : names.layers) {
    if (layer.kind != LayerKind::conv) continue;
    out.insert(layer.source);
    for (const auto& [module, source] : names.alternatives) {
      if (module == layer.module) out.insert(source);
    }
    break;
  }
  return out;
}

std::string text_at(const json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

/// The classes of the layers before the first convolution, of the innermost list of layers that holds it; nothing if
/// none does.
std::optional<std::vector<std::string>> classes_before(const json& config, const std::set<std::string>& convolution) {
  std::vector<const json*> open = {&config};
  while (!open.empty()) {
    const json& value = *open.back();
    open.pop_back();
    if (value.is_array()) {
      std::vector<std::string> before;
      for (const json& layer : value) {
        if (!layer.is_object()) break;
        std::string name = text_at(layer, "name");
        const auto inner = layer.find("config");
        if (name.empty() && inner != layer.end() && inner->is_object()) name = text_at(*inner, "name");
        const std::string kind = text_at(layer, "class_name");
        if (convolution.contains(name) && kind == "Conv2D") return before;
        before.push_back(kind);
      }
    }
    if (value.is_structured()) {
      for (const json& child : value) open.push_back(&child);
    }
  }
  return std::nullopt;
}

/// 0.229, 0.224 and 0.225 as variances.
bool holds_imagenet_deviations(const WeightFile& file, const std::string& name) {
  const weights::FileTensor* t = file.find(name);
  if (!t || t->shape.numel() != 3 || !is_floating(t->dtype)) return false;
  const std::vector<double> values = t->read().to_vector<double>();
  const double deviations[] = {0.229, 0.224, 0.225};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!(std::abs(values[i] - deviations[i]) < 1e-4)) return false;
  }
  return true;
}

std::string keras_variant(const Architecture& a, const LayerNames& names, const std::string& prefix,
                          const WeightFile& file) {
  if (const std::string* text = file.find_metadata("keras.config")) {
    const json config = json::parse(*text, nullptr, false);
    if (const auto before = classes_before(config, first_layer(names))) {
      const auto normalization = std::find(before->begin(), before->end(), "Normalization");
      if (has(a, Layout::keras, "imagenet"))
        return std::find(normalization, before->end(), "Rescaling") == before->end() ? "" : "imagenet";
      if (has(a, Layout::keras, "no_rescaling"))
        return std::find(before->begin(), before->end(), "Rescaling") == before->end() ? "no_rescaling" : "";
    }
  }
  const bool imagenet =
      has(a, Layout::keras, "imagenet") && holds_imagenet_deviations(file, prefix + "normalization/variance");
  return imagenet ? "imagenet" : "";
}

}  // namespace

std::string told_variant(const Architecture& a, Layout layout, const LayerNames& names, const std::string& prefix,
                         const WeightFile& file, bool by_file_name) {
  if (layout == Layout::keras) {
    const std::string told = keras_variant(a, names, prefix, file);
    if (!told.empty() || file.find_metadata("keras.config")) return told;
  }
  if (!by_file_name) return {};
  const std::string name = std::filesystem::path(file.path).filename().string();
  const bool tf = name.find("tf_efficientnet") != std::string::npos || name.find("tf_mobilenet") != std::string::npos;
  if (layout == Layout::timm && tf && has(a, layout, "tf")) return "tf";
  if (layout == Layout::keras && has(a, layout, "imagenet") && name.find("imagenet") != std::string::npos)
    return "imagenet";
  return {};
}

}  // namespace fovea::models
