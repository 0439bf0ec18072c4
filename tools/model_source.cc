#include "tools/model_source.h"

#include <cstdio>
#include <filesystem>

#include "models/weights/formula.h"
#include "models/weights/weight_file.h"
#include "tools/pretrained.h"
#include "tools/run_folder.h"

namespace fovea::tools {
namespace {

std::string shortest(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

std::string numbers(const std::array<float, 3>& values, int count) {
  std::string out;
  for (int i = 0; i < count; ++i)
    out += str(i ? " " : "", shortest(static_cast<double>(values[static_cast<std::size_t>(i)])));
  return out;
}

}  // namespace

void add_model_options(CLI::App& c, ModelSource& s) {
  const std::string group = "Model";
  c.add_option("--model", s.model,
               "Network that the weights belong to, in any framework's spelling (default: told from the file)")
      ->group(group);
  c.add_option("--layout", s.layout,
               "Whose names and conventions: auto, torchvision, timm, keras, huggingface, tfslim, lukemelas")
      ->check(CLI::IsMember({"auto", "torchvision", "timm", "keras", "huggingface", "tfslim", "lukemelas"}))
      ->capture_default_str()
      ->group(group);
  c.add_option("--width", s.width, "Channel multiplier (default: told from the file)")
      ->check(CLI::Range(0.01, 32.0))
      ->group(group);
  c.add_option("--size", s.image_size, "Height and width of the input in pixels")
      ->check(CLI::Range(1, 1 << 14))
      ->group(group);
  c.add_option("--classes", s.classes, "Number of classes")->check(CLI::Range(1, 1 << 24))->group(group);
  c.add_option(
       "--variant", s.variant,
       "A deviation of conventions that no file tells: tf (timm's tf_ networks), imagenet (Keras EfficientNet with "
       "weights=\"imagenet\"), no_rescaling (Keras MobileNetV3 with include_preprocessing=False)")
      ->check(CLI::IsMember({"tf", "imagenet", "no_rescaling"}))
      ->group(group);
}

models::LoadOptions load_options(const ModelSource& s) {
  models::LoadOptions o;
  o.model = s.model;
  if (s.layout != "auto") o.layout = models::layout_from(s.layout);
  o.width = s.width;
  o.image_size = s.image_size;
  o.classes = s.classes;
  o.variant = s.variant;
  return o;
}

Model open_model(const ModelSource& s, std::optional<std::uint64_t> seed) {
  models::LoadOptions o = load_options(s);
  o.seed = seed.value_or(0);
  if (!s.formula.empty()) {
    if (!s.path.empty())
      throw Error(ErrorKind::usage, "--formula", "gives the weights; a weight file does not go with it");
    return models::load(weights::read_formula(s.formula), o);
  }
  std::error_code failed;  // whatever keeps a file from being there, opening it says so
  const bool exists = std::filesystem::exists(s.path, failed);
  if (!exists && find_pretrained(s.path) && !s.names_are_networks) return load_weights(s.path, o);
  const bool like_a_name = s.path.find_first_of("./") == std::string::npos;
  if (!exists && (models::is_known(s.path) || (seed && like_a_name))) {
    if (!seed) {
      throw Error(ErrorKind::usage, s.path, "is the name of a network, not a file with weights",
                  "`fovea weights` lists pretrained ones that anyone can install");
    }
    return models::create(s.path, {.classes = s.classes,
                                   .image_size = s.image_size,
                                   .seed = *seed,
                                   .width = s.width,
                                   .layout = o.layout,
                                   .variant = s.variant});
  }
  const bool run_folder = exists && std::filesystem::is_directory(s.path) &&
                          !std::filesystem::exists(std::filesystem::path(s.path) / "variables") &&
                          !std::filesystem::exists(std::filesystem::path(s.path) / "variables.index");
  return load_weights(run_folder ? model_path(s.path) : s.path, o);
}

std::string describe(const Model& model) {
  const models::Options& o = model.options;
  const image::Preprocessing& p = model.preprocessing;
  std::string text = model.architecture.empty() ? "network of one's own" : model.architecture;
  if (!model.architecture.empty()) {
    if (o.width != 1 && o.width != 0) text += str(", width ", shortest(o.width));
    if (o.depth != 1 && o.depth != 0) text += str(", depth ", shortest(o.depth));
    text += o.top == models::Top::classifier ? str(", ", o.classes, " classes")
            : o.top == models::Top::pooled   ? ", pooled features"
                                             : ", feature map";
    if (o.layout && *o.layout != models::Layout::fovea) text += str(", ", to_string(*o.layout), " conventions");
    if (!o.variant.empty()) text += str(" (", o.variant, ")");
  }
  return str(text, ", input ", p.height, "×", p.width, "×", p.channels);
}

std::string describe(const image::Preprocessing& p) {
  std::string text = p.rule == image::ResizeRule::stretch
                         ? str("stretch to ", p.width, "×", p.height)
                         : str("shorter side to ", p.resize_size, ", centre crop ", p.width, "×", p.height);
  text += str(" (", to_string(p.filter), "), ");
  text += p.order == image::ChannelOrder::bgr ? "BGR, " : p.channels == 1 ? "grey, " : "RGB, ";
  text += str("(", shortest(p.scale), "·x − ", numbers(p.mean, p.channels), ") / ", numbers(p.std, p.channels));
  return p.mirrored ? text + ", answers averaged with the mirror image's" : text;
}

}  // namespace fovea::tools
