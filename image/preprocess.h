// The input conventions that belong to a model's weights. Stored with the model, so that inference repeats training's
// preprocessing exactly; a wrong one costs points of accuracy in silence.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "core/export.h"
#include "image/image.h"
#include "image/resize.h"

namespace fovea::image {

enum class ResizeRule {
  stretch,                        ///< both sides at once to width x height, the aspect ratio is lost (Keras' default)
  shorter_side_then_center_crop,  ///< shorter side to resize_size, then the middle width x height (torchvision, timm)
};
enum class ChannelOrder { rgb, bgr };

FOVEA_API std::string_view to_string(ResizeRule rule);
FOVEA_API std::string_view to_string(ChannelOrder order);
/// From the names to_string gives. Error(usage) naming the choices otherwise.
FOVEA_API ResizeRule resize_rule_from_string(std::string_view name);
FOVEA_API ChannelOrder channel_order_from_string(std::string_view name);

/// Plain data. Defaults: ImageNet as torchvision prepares it. The usual families:
///   torchvision, timm   scale 1/255, mean {.485 .456 .406}, std {.229 .224 .225}; timm often bicubic
///   TensorFlow "tf"     scale 1/127.5, mean 1, std 1: x in -1..1
///   Keras "caffe"       scale 1, mean {103.939 116.779 123.68}, std 1, order bgr
///   model rescales      scale 1, mean 0, std 1 (Keras EfficientNet)
struct Preprocessing {
  int width = 224;  ///< network input, pixels
  int height = 224;
  int channels = 3;  ///< 1: pictures are turned grey; 3: grey pictures get three equal channels. Before resizing, as
                     ///< Pillow users do
  ChannelOrder order = ChannelOrder::rgb;
  ResizeRule rule = ResizeRule::shorter_side_then_center_crop;
  int resize_size = 256;  ///< shorter side before the crop; unused with stretch
  Filter filter = Filter::bilinear;
  double scale = 1.0 / 255.0;  ///< applied first
  std::array<float, 3> mean = {0.485f, 0.456f,
                               0.406f};  ///< in units after scale, in channel order; the first `channels` count
  std::array<float, 3> std = {0.229f, 0.224f, 0.225f};  ///< not zero

  /// The network's answer is the mean of those for the picture and its mirror image (image/views.h).
  bool mirrored = false;

  friend bool operator==(const Preprocessing&, const Preprocessing&) = default;
};

/// Error(usage) naming the field that cannot work: sizes below 1, channels not 1 or 3, a std of zero, values that are
/// not finite.
FOVEA_API void check(const Preprocessing& preprocessing);

/// As JSON text, which model files store.
FOVEA_API std::string to_json(const Preprocessing& preprocessing);
/// Back from it. Error(format) for text that is damaged, Error(usage) for values that check() or the names refuse.
FOVEA_API Preprocessing preprocessing_from_json(std::string_view text);

/// Channels, resize and crop only: the width x height x channels bytes the network sees, still RGB and 0..255.
FOVEA_API Image fit(const Image& image, const Preprocessing& preprocessing);

/// fit(), then (x * scale - mean) / std into out_hwc[(y * width + x) * channels + c], height * width * channels floats.
/// Computed as float((float(x * scale) - mean) / std): with scale = 1/255 the same bits as torchvision's ToTensor and
/// Normalize.
FOVEA_API void to_floats(const Image& image, const Preprocessing& preprocessing, float* out_hwc);

}  // namespace fovea::image
