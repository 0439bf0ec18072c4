#include "models/aliases.h"

#include <cctype>
#include <regex>

#include "core/error.h"
#include "models/efficientnet.h"
#include "models/zoo.h"

namespace fovea::models {
namespace {

/// What the groups of a rule's pattern say, in order.
enum class Means : std::uint8_t {
  nothing,
  percent,  ///< width in hundredths: 050
  width,    ///< width as it is: 0.50
  size,     ///< image size
  suffix,   ///< appended to the canonical name, in lower case
  phi,      ///< EfficientNet's compound coefficient
};

struct Rule {
  std::string pattern;  ///< matched without regard to case
  const char* canonical;
  std::optional<Layout> layout;
  const char* variant = "";
  Means means[3] = {Means::nothing, Means::nothing, Means::nothing};
  const char* example = "";
  std::regex regex = std::regex(pattern, std::regex::icase | std::regex::optimize);
};

/// A name of timm's, with or without "timm/" before it and the tag of its weights behind (".ra_in1k").
std::string of_timm(const char* pattern) { return std::string("(?:timm/)?") + pattern + "(?:\\.[\\w.-]+)?"; }

/// The first rule that fits counts.
const std::vector<Rule>& rules() {
  using enum Means;
  using enum Layout;
  static const std::vector<Rule> table = {
      {of_timm("mobilenetv1_(\\d{3})"), "mobilenet_v1", timm, "", {percent}, "mobilenetv1_100"},
      {"mobilenet_(\\d\\.\\d+)_(\\d+)", "mobilenet_v1", keras, "", {width, size}, "mobilenet_1.00_224"},
      {"mobilenet(?:v1)?", "mobilenet_v1", keras, "", {}, "MobileNet"},
      {"(?:google/)?mobilenet_v1_(\\d\\.\\d+)_(\\d+)",
       "mobilenet_v1",
       huggingface,
       "",
       {width, size},
       "google/mobilenet_v1_1.0_224"},
      {of_timm("mobilenetv2_(110d|120d)"), "mobilenet_v2_", timm, "", {suffix}, "mobilenetv2_110d"},
      {of_timm("mobilenetv2_(\\d{3})"), "mobilenet_v2", timm, "", {percent}, "mobilenetv2_100"},
      {"mobilenetv2_(\\d\\.\\d+)_(\\d+)", "mobilenet_v2", keras, "", {width, size}, "mobilenetv2_1.00_224"},
      {"mobilenetv2", "mobilenet_v2", keras, "", {}, "MobileNetV2"},
      {"(?:google/)?mobilenet_v2_(\\d\\.\\d+)_(\\d+)",
       "mobilenet_v2",
       huggingface,
       "",
       {width, size},
       "google/mobilenet_v2_1.0_224"},
      {of_timm("mobilenetv3_(small|large)_(\\d{3})"),
       "mobilenet_v3_",
       timm,
       "",
       {suffix, percent},
       "mobilenetv3_small_100"},
      {of_timm("tf_mobilenetv3_(small|large)_(\\d{3})"),
       "mobilenet_v3_",
       timm,
       "tf",
       {suffix, percent},
       "tf_mobilenetv3_large_100"},
      {"mobilenetv3(small|large)", "mobilenet_v3_", keras, "", {suffix}, "MobileNetV3Large"},
      {of_timm("tf_efficientnet_(b[0-7]|lite[0-4])"), "efficientnet_", timm, "tf", {suffix}, "tf_efficientnet_b0"},
      {"timm/efficientnet_(b[0-7]|lite[0-4])(?:\\.[\\w.-]+)?",
       "efficientnet_",
       timm,
       "",
       {suffix},
       "timm/efficientnet_b0"},
      {"efficientnet_(b[0-7]|lite[0-4])\\.[\\w.-]+", "efficientnet_", timm, "", {suffix}, "efficientnet_b0.ra_in1k"},
      {"efficientnet(b[0-7])", "efficientnet_", keras, "", {suffix}, "EfficientNetB0"},
      {"efficientnet-(b[0-7]|lite[0-4])", "efficientnet_", lukemelas, "", {suffix}, "efficientnet-b0"},
      {"google/efficientnet-(b[0-7])", "efficientnet_", huggingface, "", {suffix}, "google/efficientnet-b0"},
      {"efficientnet_phi(-?\\d{1,2}(?:\\.\\d{1,4})?)", "efficientnet", std::nullopt, "", {phi}, "efficientnet_phi1.7"},
      {"resnet(50|101|152)", "resnet", keras, "", {suffix}, "ResNet50"},
      {"resnet(18|34|50|101|152)\\..+", "resnet", timm, "", {suffix}, "resnet50.tv_in1k"},
      {"(?:microsoft/)?resnet-(18|34|50|101|152)", "resnet", huggingface, "", {suffix}, "microsoft/resnet-50"},
      {"inceptionv3", "inception_v3", keras, "", {}, "InceptionV3"},
      {"inception_v3\\..+", "inception_v3", timm, "", {}, "inception_v3.tv_in1k"},
  };
  return table;
}

void apply(Alias& alias, Means means, const std::string& text) {
  Options& o = alias.implied;
  switch (means) {
    case Means::nothing: break;
    case Means::percent: o.width = std::stod(text) / 100; break;
    case Means::width: o.width = std::stod(text); break;
    case Means::size: o.image_size = text.size() < 6 ? std::stoi(text) : 1 << 20; break;
    case Means::suffix:
      for (const char c : text) alias.name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      break;
    case Means::phi: {
      const EfficientNetSize size = efficientnet_of_phi(std::stod(text));
      o.width = size.width;
      o.depth = size.depth;
      o.image_size = size.image_size;
      break;
    }
  }
}

}  // namespace

Alias canonical(const std::string& name) {
  Alias out{name, {}};
  if (name.size() > 100) return out;        // no name of a network, and std::regex recurses
  if (find_architecture(name)) return out;  // "resnet50" is ours; only other spellings of it bring a framework
  for (const Rule& rule : rules()) {
    std::smatch match;
    if (!std::regex_match(name, match, rule.regex)) continue;
    out.name = rule.canonical;
    out.implied.layout = rule.layout;
    out.implied.variant = rule.variant;
    for (std::size_t i = 0; i + 1 < match.size() && i < std::size(rule.means); ++i) {
      const std::string text = match[i + 1];
      if (!text.empty()) apply(out, rule.means[i], text);
    }
    break;
  }
  return out;
}

std::vector<std::string> aliases_of(std::string_view canonical_name) {
  std::vector<std::string> out;
  for (const Rule& rule : rules()) {
    std::string example = rule.example;
    // The member of the family that was asked for: EfficientNetB0 is to read EfficientNetB3.
    const std::string_view family = rule.canonical;
    std::smatch match;
    if (rule.means[0] == Means::suffix && canonical_name.starts_with(family) &&
        std::regex_match(example, match, rule.regex)) {
      std::string member(canonical_name.substr(family.size()));
      const bool upper = std::isupper(static_cast<unsigned char>(example[static_cast<std::size_t>(match.position(1))]));
      if (upper && !member.empty()) member[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(member[0])));
      example.replace(static_cast<std::size_t>(match.position(1)), static_cast<std::size_t>(match.length(1)), member);
    }
    if (canonical(example).name == canonical_name) out.push_back(std::move(example));
  }
  return out;
}

}  // namespace fovea::models
