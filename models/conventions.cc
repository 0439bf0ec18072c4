#include "models/conventions.h"

#include <cmath>

namespace fovea::models {

Conventions conventions(const Options& o) {
  Conventions c;
  const Layout layout = o.layout.value_or(Layout::torchvision);
  const bool pytorch =
      layout == Layout::torchvision || layout == Layout::fovea || (layout == Layout::timm && o.variant != "tf");
  if (pytorch) return c;
  c.tf_same = true;
  c.norm.epsilon = 1e-3;
  switch (layout) {
    case Layout::keras: c.norm = BatchNormOptions::keras(); break;
    case Layout::tfslim:
      c.norm.momentum = 0.003;  // decay 0.997
      c.norm.unbiased_running_variance = false;
      break;
    case Layout::huggingface: c.norm.momentum = 0.003; break;  // "momentum=0.997" there means PyTorch's 1 − 0.997
    case Layout::lukemelas: c.norm.momentum = 0.01; break;
    default: break;
  }
  return c;
}

image::Preprocessing preprocessing(const Options& o, int size) {
  image::Preprocessing p;
  p.width = p.height = size;
  p.channels = o.channels > 0 ? o.channels : 3;
  p.resize_size = static_cast<int>(std::lround(size / 0.875));  // 224 of 256
  switch (o.layout.value_or(Layout::torchvision)) {
    case Layout::fovea:
    case Layout::torchvision: break;
    case Layout::timm:
      p.filter = image::Filter::bicubic;
      if (o.variant == "tf") {
        p.mean = p.std = {0.5f, 0.5f, 0.5f};
      }
      break;
    case Layout::lukemelas: p.filter = image::Filter::bicubic; break;
    case Layout::keras:
      p.rule = image::ResizeRule::stretch;
      p.filter = image::Filter::bilinear;
      p.scale = 1 / 127.5;
      p.mean = p.std = {1, 1, 1};
      break;
    case Layout::huggingface:
    case Layout::tfslim:
      p.scale = 1 / 127.5;
      p.mean = p.std = {1, 1, 1};
      break;
  }
  return p;
}

}  // namespace fovea::models
