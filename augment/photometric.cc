// Colour, noise, blur and erasing.
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "augment/options_internal.h"
#include "augment/pixel_ops.h"
#include "image/color.h"

namespace fovea::transforms {

namespace {

using kernels::PixelOp;

class ColorJitter final : public Planned {
 public:
  ColorJitter(const char* name, const ColorJitterOptions& options) : name_(name), o_(options) {
    require(name, "brightness", o_.brightness, 0, 100);
    require(name, "contrast", o_.contrast, 0, 100);
    require(name, "saturation", o_.saturation, 0, 100);
    require(name, "hue", o_.hue, 0, 0.5);
  }
  void plan(image::Size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    std::array<int, 4> order = {0, 1, 2, 3};
    if (o_.random_order) {
      for (std::size_t i = 4; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    }
    const std::array<double, 3> amounts = {o_.brightness, o_.contrast, o_.saturation};
    std::array<float, 3> factors{};
    for (std::size_t k = 0; k < 3; ++k) {
      factors[k] = static_cast<float>(draw(rng, {std::max(0.0, 1 - amounts[k]), 1 + amounts[k]}));
    }
    const double turn = draw(rng, {-o_.hue, o_.hue});
    for (const int op : order) {
      switch (op) {
        case 0:
          if (o_.brightness > 0) steps.push_back({.op = PixelOp::brightness, .factor = factors[0]});
          break;
        case 1:
          if (o_.contrast > 0) steps.push_back({.op = PixelOp::contrast, .factor = factors[1]});
          break;
        case 2:
          if (o_.saturation > 0) steps.push_back({.op = PixelOp::saturation, .factor = factors[2]});
          break;
        default:  // truncated, then wrapped to 8 bits, as image::shift_hue
          if (o_.hue > 0) {
            steps.push_back({.op = PixelOp::hue, .turn = static_cast<std::uint8_t>(static_cast<int>(turn * 255))});
          }
      }
    }
  }
  std::string name() const override { return name_; }
  std::string to_string() const override {
    std::string text;
    const auto add = [&](const char* what, double v) {
      if (v > 0) text += str(text.empty() ? "" : ", ", what, "=", v);
    };
    add("brightness", o_.brightness);
    add("contrast", o_.contrast);
    add("saturation", o_.saturation);
    add("hue", o_.hue);
    return str(name_, "(", text, ")");
  }

 private:
  const char* name_;
  ColorJitterOptions o_;
};

class Grayscale final : public Planned {
 public:
  explicit Grayscale(double probability) : probability_(probability) {
    require("grayscale", "probability", probability, 0, 1);
  }
  void plan(image::Size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    if (rng.chance(probability_)) steps.push_back({.op = PixelOp::saturation, .factor = 0});
  }
  std::string name() const override { return "grayscale"; }
  std::string to_string() const override { return str("grayscale(", probability_, ")"); }

 private:
  double probability_;
};

class Erasing final : public Transform {
 public:
  explicit Erasing(const EraseOptions& options) : o_(options) {
    require("random_erasing", "probability", o_.probability, 0, 1);
    require("random_erasing", "area", o_.area, 0, 1);
    require("random_erasing", "ratio", o_.ratio, 1e-3, 1e3);
  }
  /// Noise has a draw for each pixel.
  bool plans() const override { return o_.fill != EraseFill::noise; }
  void plan(image::Size size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    kernels::PixelStep step{.op = kernels::PixelOp::erase, .mean = o_.fill == EraseFill::mean};
    set_fill(step, o_.color);
    if (draw_hole(size, rng, step)) steps.push_back(step);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (picture.empty()) return;
    std::vector<kernels::PixelStep> steps;
    plan({picture.width, picture.height}, rng, steps);
    if (steps.empty()) return;
    if (plans()) return take_step(picture, steps.front());
    const auto& [left, top, width, height] = steps.front().box;
    for (int y = top; y < top + height; ++y) {
      std::uint8_t* const p = picture.pixels.data() + static_cast<std::size_t>(y) * picture.row_bytes() +
                              static_cast<std::size_t>(left * picture.channels);
      for (int i = 0; i < width * picture.channels; ++i) p[i] = static_cast<std::uint8_t>(rng.next() >> 56);
    }
  }
  std::string name() const override { return "random_erasing"; }
  std::string to_string() const override {
    const char* const fills[] = {"mean", "color", "noise"};
    return str("random_erasing(", o_.probability, ", area=", o_.area.low, "..", o_.area.high,
               ", fill=", fills[static_cast<int>(o_.fill)], ")");
  }

 private:
  bool draw_hole(image::Size size, Rng& rng, kernels::PixelStep& step) const {
    if (!rng.chance(o_.probability)) return false;
    const double area = static_cast<double>(size.width) * size.height;
    const Range log_ratio = {std::log(o_.ratio.low), std::log(o_.ratio.high)};
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double target = area * draw(rng, o_.area), ratio = std::exp(draw(rng, log_ratio));
      const int h = round_even(std::sqrt(target * ratio)), w = round_even(std::sqrt(target / ratio));
      // As torchvision: a hole as wide or as high as the picture is drawn again.
      if (h < 1 || w < 1 || h >= size.height || w >= size.width) continue;
      const int top = draw_int(rng, 0, size.height - h), left = draw_int(rng, 0, size.width - w);
      step.box[0] = left;
      step.box[1] = top;
      step.box[2] = w;
      step.box[3] = h;
      return true;
    }
    return false;
  }
  EraseOptions o_;
};

class Noise final : public Transform {
 public:
  Noise(Range deviation, double probability) : deviation_(deviation), probability_(probability) {
    require("gaussian_noise", "deviation", deviation, 0, 255);
    require("gaussian_noise", "probability", probability, 0, 1);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (rng.chance(probability_)) add_gaussian_noise(picture, draw(rng, deviation_), rng);
  }
  std::string name() const override { return "gaussian_noise"; }
  std::string to_string() const override {
    return str("gaussian_noise(", deviation_.low, "..", deviation_.high, ", probability=", probability_, ")");
  }

 private:
  Range deviation_;
  double probability_;
};

class Blur final : public Transform {
 public:
  Blur(Range deviation, double probability) : deviation_(deviation), probability_(probability) {
    require("gaussian_blur", "deviation", deviation, 0, 64);
    require("gaussian_blur", "probability", probability, 0, 1);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (rng.chance(probability_)) fovea::gaussian_blur(picture, draw(rng, deviation_));
  }
  std::string name() const override { return "gaussian_blur"; }
  std::string to_string() const override {
    return str("gaussian_blur(", deviation_.low, "..", deviation_.high, ", probability=", probability_, ")");
  }

 private:
  Range deviation_;
  double probability_;
};

}  // namespace

TransformPtr color_jitter(const ColorJitterOptions& options) {
  return std::make_shared<ColorJitter>("color_jitter", options);
}
TransformPtr brightness(double amount) {
  return std::make_shared<ColorJitter>("brightness", ColorJitterOptions{.brightness = amount});
}
TransformPtr contrast(double amount) {
  return std::make_shared<ColorJitter>("contrast", ColorJitterOptions{.contrast = amount});
}
TransformPtr saturation(double amount) {
  return std::make_shared<ColorJitter>("saturation", ColorJitterOptions{.saturation = amount});
}
TransformPtr hue(double amount) { return std::make_shared<ColorJitter>("hue", ColorJitterOptions{.hue = amount}); }
TransformPtr grayscale(double probability) { return std::make_shared<Grayscale>(probability); }
TransformPtr random_erasing(const EraseOptions& options) { return std::make_shared<Erasing>(options); }
TransformPtr gaussian_noise(Range deviation, double probability) {
  return std::make_shared<Noise>(deviation, probability);
}
TransformPtr gaussian_blur(Range deviation, double probability) {
  return std::make_shared<Blur>(deviation, probability);
}

}  // namespace fovea::transforms
