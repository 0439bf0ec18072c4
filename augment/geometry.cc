// Geometric transforms: flips, the affine family, shifts and crops.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "augment/options_internal.h"
#include "image/resize.h"

namespace fovea::transforms {

namespace {

using kernels::PixelOp;

class Flip final : public Planned {
 public:
  Flip(bool horizontal, double probability) : horizontal_(horizontal), probability_(probability) {
    require(name(), "probability", probability, 0, 1);
  }
  void plan(image::Size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    if (rng.chance(probability_)) steps.push_back({.op = horizontal_ ? PixelOp::flip_x : PixelOp::flip_y});
  }
  std::string name() const override { return horizontal_ ? "horizontal_flip" : "vertical_flip"; }
  std::string to_string() const override { return str(name(), "(", probability_, ")"); }

 private:
  bool horizontal_;
  double probability_;
};

std::string describe(const WarpOptions& warp) {
  return str("border=", to_string(warp.border), warp.bilinear ? "" : ", nearest");
}

class AffineTransform final : public Planned {
 public:
  AffineTransform(const char* name, const AffineOptions& o) : name_(name), o_(o) {
    require(name, "degrees", o.degrees, 0, 180);
    require(name, "translate", o.translate[0], 0, 1);
    require(name, "translate", o.translate[1], 0, 1);
    require(name, "scale", o.scale, 0.01, 100);
    require(name, "shear", o.shear[0], 0, 89);
    require(name, "shear", o.shear[1], 0, 89);
    require(name, o.warp);
  }
  void plan(image::Size size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    const auto around = [&](double v) { return draw(rng, {-v, v}); };
    const double angle = around(o_.degrees);
    const double tx = around(o_.translate[0]) * size.width, ty = around(o_.translate[1]) * size.height;
    const double scale = draw(rng, o_.scale);
    const double sx = around(o_.shear[0]), sy = around(o_.shear[1]);
    if (angle == 0 && tx == 0 && ty == 0 && scale == 1 && sx == 0 && sy == 0) return;
    const Affine m = inverse_affine(size.width * 0.5, size.height * 0.5, angle, tx, ty, scale, sx, sy);
    kernels::PixelStep step{.op = PixelOp::warp,
                            .border = static_cast<kernels::PixelBorder>(o_.warp.border),
                            .bilinear = o_.warp.bilinear,
                            .inverse = {m.a, m.b, m.c, m.d, m.e, m.f}};
    set_fill(step, o_.warp.fill);
    steps.push_back(step);
  }
  std::string name() const override { return name_; }
  std::string to_string() const override {
    std::string text = str(name_, "(");
    if (o_.degrees != 0) text += str("degrees=", o_.degrees, ", ");
    if (o_.translate[0] != 0 || o_.translate[1] != 0)
      text += str("translate=", o_.translate[0], "×", o_.translate[1], ", ");
    if (o_.scale.low != 1 || o_.scale.high != 1) text += str("scale=", o_.scale.low, "..", o_.scale.high, ", ");
    if (o_.shear[0] != 0 || o_.shear[1] != 0) text += str("shear=", o_.shear[0], "×", o_.shear[1], ", ");
    return text + describe(o_.warp) + ")";
  }

 private:
  const char* name_;
  AffineOptions o_;
};

void require_border(const char* name, Border border) { require(name, WarpOptions{.border = border}); }

class Shift final : public Planned {
 public:
  Shift(int pixels, Border border, std::array<std::uint8_t, 3> fill) : pixels_(pixels), border_(border), fill_(fill) {
    require("shift", "pixels", pixels, 0, 1 << 16);
    require_border("shift", border);
  }
  void plan(image::Size, Rng& rng, std::vector<kernels::PixelStep>& steps) const override {
    const int x = draw_int(rng, -pixels_, pixels_), y = draw_int(rng, -pixels_, pixels_);
    if (x == 0 && y == 0) return;
    kernels::PixelStep step{
        .op = PixelOp::shift, .border = static_cast<kernels::PixelBorder>(border_), .box = {x, y, 0, 0}};
    set_fill(step, fill_);
    steps.push_back(step);
  }
  std::string name() const override { return "shift"; }
  std::string to_string() const override { return str("shift(", pixels_, ", border=", fovea::to_string(border_), ")"); }

 private:
  int pixels_;
  Border border_;
  std::array<std::uint8_t, 3> fill_;
};

class RandomCrop final : public Transform {
 public:
  explicit RandomCrop(const RandomCropOptions& options) : o_(options) {
    if (o_.height == 0) o_.height = o_.width;
    require("random_crop", "width", o_.width, 1, 1 << 16);
    require("random_crop", "height", o_.height, 1, 1 << 16);
    require("random_crop", "padding", o_.padding, 0, 1 << 16);
    require_border("random_crop", o_.border);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (picture.empty()) return;
    int pad_x = o_.padding, pad_y = o_.padding;
    if (o_.pad_if_needed) {  // torchvision pads both sides by what is missing
      pad_x += std::max(0, o_.width - (picture.width + 2 * pad_x));
      pad_y += std::max(0, o_.height - (picture.height + 2 * pad_y));
    }
    const int room_x = picture.width + 2 * pad_x - o_.width, room_y = picture.height + 2 * pad_y - o_.height;
    if (room_x < 0 || room_y < 0) {
      throw Error(ErrorKind::usage, "random_crop",
                  str("a picture of ", picture.width, "x", picture.height, " is smaller than the crop of ", o_.width,
                      "x", o_.height),
                  "set pad_if_needed, or use random_resized_crop");
    }
    const int top = draw_int(rng, 0, room_y), left = draw_int(rng, 0, room_x);
    picture = window(picture, left - pad_x, top - pad_y, o_.width, o_.height, o_.border, o_.fill);
  }
  std::string name() const override { return "random_crop"; }
  std::string to_string() const override {
    return str("random_crop(", o_.width, "×", o_.height, ", padding=", o_.padding,
               ", border=", fovea::to_string(o_.border), ")");
  }
  bool resizes() const override { return true; }

 private:
  RandomCropOptions o_;
};

class RandomResizedCrop final : public Transform {
 public:
  explicit RandomResizedCrop(const RandomResizedCropOptions& options) : o_(options) {
    if (o_.height == 0) o_.height = o_.width;
    require("random_resized_crop", "width", o_.width, 1, 1 << 16);
    require("random_resized_crop", "height", o_.height, 1, 1 << 16);
    require("random_resized_crop", "scale", o_.scale, 1e-6, 1);
    require("random_resized_crop", "ratio", o_.ratio, 1e-3, 1e3);
  }
  void apply(image::Image& picture, Rng& rng) const override {
    if (picture.empty()) return;
    const int w = picture.width, h = picture.height;
    const double area = static_cast<double>(w) * h;
    const Range log_ratio = {std::log(o_.ratio.low), std::log(o_.ratio.high)};
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double target = area * draw(rng, o_.scale), ratio = std::exp(draw(rng, log_ratio));
      const int crop_w = round_even(std::sqrt(target * ratio)), crop_h = round_even(std::sqrt(target / ratio));
      if (crop_w <= 0 || crop_h <= 0 || crop_w > w || crop_h > h) continue;
      const int top = draw_int(rng, 0, h - crop_h), left = draw_int(rng, 0, w - crop_w);
      return take(picture, left, top, crop_w, crop_h);
    }
    int crop_w = w, crop_h = h;
    if (const double ratio = static_cast<double>(w) / h; ratio < o_.ratio.low) {
      crop_h = std::clamp(round_even(w / o_.ratio.low), 1, h);
    } else if (ratio > o_.ratio.high) {
      crop_w = std::clamp(round_even(h * o_.ratio.high), 1, w);
    }
    take(picture, (w - crop_w) / 2, (h - crop_h) / 2, crop_w, crop_h);
  }
  std::string name() const override { return "random_resized_crop"; }
  std::string to_string() const override {
    return str("random_resized_crop(", o_.width, "×", o_.height, ", scale=", o_.scale.low, "..", o_.scale.high,
               ", ratio=", o_.ratio.low, "..", o_.ratio.high, ", ", image::to_string(o_.filter), ")");
  }
  bool resizes() const override { return true; }

 private:
  void take(image::Image& picture, int left, int top, int width, int height) const {
    const image::Box box{static_cast<float>(left), static_cast<float>(top), static_cast<float>(left + width),
                         static_cast<float>(top + height)};
    picture = image::resize(picture, o_.width, o_.height, o_.filter, box);
  }
  RandomResizedCropOptions o_;
};

}  // namespace

TransformPtr horizontal_flip(double probability) { return std::make_shared<Flip>(true, probability); }
TransformPtr vertical_flip(double probability) { return std::make_shared<Flip>(false, probability); }
TransformPtr affine(const AffineOptions& options) { return std::make_shared<AffineTransform>("affine", options); }
TransformPtr rotation(double degrees, const WarpOptions& warp) {
  return std::make_shared<AffineTransform>("rotation", AffineOptions{.degrees = degrees, .warp = warp});
}
TransformPtr zoom(Range factor, const WarpOptions& warp) {
  return std::make_shared<AffineTransform>("zoom", AffineOptions{.scale = factor, .warp = warp});
}
TransformPtr translation(double x, double y, const WarpOptions& warp) {
  return std::make_shared<AffineTransform>("translation", AffineOptions{.translate = {x, y}, .warp = warp});
}
TransformPtr shear(double x_degrees, double y_degrees, const WarpOptions& warp) {
  return std::make_shared<AffineTransform>("shear", AffineOptions{.shear = {x_degrees, y_degrees}, .warp = warp});
}
TransformPtr shift(int pixels, Border border, std::array<std::uint8_t, 3> fill) {
  return std::make_shared<Shift>(pixels, border, fill);
}
TransformPtr random_crop(const RandomCropOptions& options) { return std::make_shared<RandomCrop>(options); }
TransformPtr random_resized_crop(const RandomResizedCropOptions& options) {
  return std::make_shared<RandomResizedCrop>(options);
}

}  // namespace fovea::transforms
