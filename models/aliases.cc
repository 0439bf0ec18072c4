#include "models/aliases.h"

#include <regex>

#include "core/error.h"
#include "models/zoo.h"

namespace fovea::models {
namespace {

/// What the groups of a rule's pattern say, in order.
enum class Means : std::uint8_t {
  nothing,
  percent,  ///< width in hundredths: 050
  width,    ///< width as it is: 0.50
  size,     ///< image size
  suffix,   ///< appended to the canonical name
};

struct Rule {
  const char* pattern;  ///< matched without regard to case
  const char* canonical;
  std::optional<Layout> layout;
  const char* variant = "";
  Means means[3] = {Means::nothing, Means::nothing, Means::nothing};
  const char* example = "";
};

/// The first rule that fits counts.
const std::vector<Rule>& rules() {
  using enum Means;
  static const std::vector<Rule> table = {
      {"mobilenetv2_(110d|120d)", "mobilenet_v2_", Layout::timm, "", {suffix}, "mobilenetv2_110d"},
      {"mobilenetv2_(\\d{3})", "mobilenet_v2", Layout::timm, "", {percent}, "mobilenetv2_100"},
      {"mobilenetv2_(\\d\\.\\d+)_(\\d+)", "mobilenet_v2", Layout::keras, "", {width, size}, "mobilenetv2_1.00_224"},
      {"mobilenetv2", "mobilenet_v2", Layout::keras, "", {}, "MobileNetV2"},
      {"(?:google/)?mobilenet_v2_(\\d\\.\\d+)_(\\d+)",
       "mobilenet_v2",
       Layout::huggingface,
       "",
       {width, size},
       "google/mobilenet_v2_1.0_224"},
      {"resnet(50|101|152)", "resnet", Layout::keras, "", {suffix}, "ResNet50"},
      {"resnet(18|34|50|101|152)\\..+", "resnet", Layout::timm, "", {suffix}, "resnet50.tv_in1k"},
      {"(?:microsoft/)?resnet-(18|34|50|101|152)", "resnet", Layout::huggingface, "", {suffix}, "microsoft/resnet-50"},
      {"inceptionv3", "inception_v3", Layout::keras, "", {}, "InceptionV3"},
      {"inception_v3\\..+", "inception_v3", Layout::timm, "", {}, "inception_v3.tv_in1k"},
  };
  return table;
}

}  // namespace

Alias canonical(const std::string& name) {
  Alias out{name, {}};
  if (name.size() > 100) return out;        // no name of a network, and std::regex recurses
  if (find_architecture(name)) return out;  // "resnet50" is ours; only other spellings of it bring a framework
  for (const Rule& rule : rules()) {
    std::smatch match;
    if (!std::regex_match(name, match, std::regex(rule.pattern, std::regex::icase))) continue;
    out.name = rule.canonical;
    out.implied.layout = rule.layout;
    out.implied.variant = rule.variant;
    for (std::size_t i = 0; i + 1 < match.size() && i < std::size(rule.means); ++i) {
      const std::string text = match[i + 1];
      if (text.empty()) continue;
      switch (rule.means[i]) {
        case Means::nothing: break;
        case Means::percent: out.implied.width = std::stod(text) / 100; break;
        case Means::width: out.implied.width = std::stod(text); break;
        case Means::size: out.implied.image_size = text.size() < 6 ? std::stoi(text) : 1 << 20; break;
        case Means::suffix: out.name += text; break;
      }
    }
    break;
  }
  return out;
}

std::vector<std::string> aliases_of(std::string_view canonical_name) {
  std::vector<std::string> out;
  for (const Rule& rule : rules()) {
    if (canonical(rule.example).name == canonical_name) out.emplace_back(rule.example);
  }
  return out;
}

}  // namespace fovea::models
