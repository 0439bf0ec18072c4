#include "kernels/attributes.h"

#include "core/error.h"

namespace fovea::kernels {

void set_size(Attributes& to, const char* name, Size2 size) {
  to.set(name, Attribute(std::vector<std::int64_t>{size.h, size.w}));
}

namespace {
int checked_int(const char* name, std::int64_t value, int low, int high) {
  if (value < low || value > high) {
    throw Error(ErrorKind::format, "attributes",
                str("attribute '", name, "' is ", value, ", expected ", low, " to ", high));
  }
  return static_cast<int>(value);
}
constexpr int kMaxPadding = 1 << 20;
}  // namespace

Size2 get_size(const Attributes& from, const char* name, int low, int high) {
  const auto& values = from.get_ints(name);
  if (values.size() != 2) throw Error(ErrorKind::format, "attributes", str("attribute '", name, "' needs two numbers"));
  return {checked_int(name, values[0], low, high), checked_int(name, values[1], low, high)};
}

void set_padding(Attributes& to, const Padding& padding) {
  if (padding.rule == Padding::Rule::tf_same) {
    to.set("padding_rule", "tf_same");
  } else {
    to.set("padding", Attribute(std::vector<std::int64_t>{padding.top, padding.bottom, padding.left, padding.right}));
  }
}

Padding get_padding(const Attributes& from) {
  if (from.has("padding_rule")) {
    const std::string& rule = from.get_string("padding_rule");
    if (rule != "tf_same") throw Error(ErrorKind::format, "attributes", str("unknown padding rule '", rule, "'"));
    return Padding::tf_same();
  }
  const auto& v = from.get_ints("padding");
  if (v.size() != 4)
    throw Error(ErrorKind::format, "attributes", "attribute 'padding' needs four numbers: top, bottom, left, right");
  return Padding::sides(checked_int("padding", v[0], 0, kMaxPadding), checked_int("padding", v[1], 0, kMaxPadding),
                        checked_int("padding", v[2], 0, kMaxPadding), checked_int("padding", v[3], 0, kMaxPadding));
}

void set_activation(Attributes& to, const ActivationParams& activation) {
  if (activation.kind == Activation::none) return;
  to.set("activation", Attribute(std::string(kernels::to_string(activation.kind))));
  if (activation.kind == Activation::leaky_relu) to.set("alpha", Attribute(activation.alpha));
}

ActivationParams get_activation(const Attributes& from) {
  if (!from.has("activation")) return {Activation::none};
  ActivationParams activation{kernels::activation_from(from.get_string("activation"))};
  if (activation.kind == Activation::leaky_relu) activation.alpha = get_double_in(from, "alpha", 0, 1e6);
  return activation;
}

double get_double_in(const Attributes& from, const char* name, double low, double high) {
  const double value = from.get_double(name);
  if (!(value >= low && value <= high)) {
    throw Error(ErrorKind::format, "attributes",
                str("attribute '", name, "' is ", value, ", expected ", low, " to ", high));
  }
  return value;
}

}  // namespace fovea::kernels
