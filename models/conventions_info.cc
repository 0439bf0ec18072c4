#include "models/conventions_info.h"

#include "core/error.h"
#include "layers/init.h"
#include "models/conventions.h"

namespace fovea::models {

Model preview(const Recognition& recognition, int image_size) {
  Options o = recognition.options;
  if (image_size > 0) o.image_size = image_size;
  const ParameterMode meta(ParameterMode::Kind::meta);
  const Resolved r = resolve(recognition.architecture, o);
  return build(*r.architecture, r.options);
}

std::string undecided(const Recognition& r) {
  if (r.options.layout != Layout::timm) return {};
  const bool has_tf = r.architecture.starts_with("efficientnet") || r.architecture.starts_with("mobilenet_v3");
  if (!has_tf) return {};
  const std::string taken = r.options.variant == "tf" ? "tf_" : "";
  return str(
      "timm has this network with the same names under PyTorch's padding and epsilon and, as tf_…, under "
      "TensorFlow's; taken as ",
      taken, r.architecture, taken.empty() ? "; --variant tf takes the other" : "");
}

std::string convention_differences(const Model& model, Layout layout) {
  Options there = model.options;
  there.layout = layout;
  if (layout != Layout::timm) there.variant.clear();
  const Conventions a = conventions(model.options), b = conventions(there);
  std::string out;
  if (a.tf_same != b.tf_same) out = str("padding (", a.tf_same ? "TensorFlow's 'same'" : "symmetric", " here)");
  if (a.norm.epsilon != b.norm.epsilon)
    out += str(out.empty() ? "" : " and ", "batch-norm epsilon (", a.norm.epsilon, " here)");
  if (out.empty()) return {};
  return str("the usual networks of ", to_string(layout), " have another ", out,
             " than these weights were made for: the same weights give other results there unless that is set");
}

}  // namespace fovea::models
