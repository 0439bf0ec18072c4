// What a zoo network can be asked for, by name and options, and what the zoo says about itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/export.h"

namespace fovea {

class Model;

namespace models {

/// Whose conventions a network follows: padding, epsilon, head, rescaling inside the network; and in whose names its
/// tensors are read and written. `fovea` is this library's own tree of names.
enum class Layout : std::uint8_t { fovea, torchvision, timm, keras, huggingface, tfslim, lukemelas };
FOVEA_API std::string_view to_string(Layout layout);
/// Error{usage} listing the names.
FOVEA_API Layout layout_from(std::string_view name);

/// Where a network ends.
enum class Top : std::uint8_t {
  classifier,  ///< logits [N, classes]
  pooled,      ///< features [N, C]
  none,        ///< the last feature map [N, H, W, C]
};

struct Options {
  int classes = 0;     ///< 0: the architecture's own (1000 for ImageNet networks)
  int image_size = 0;  ///< height and width of the input in pixels; 0: the architecture's own
  int channels = 0;    ///< 0: the architecture's own
  std::uint64_t seed = 0;
  double width = 0;                             ///< channel multiplier; 0: the architecture's own
  double depth = 0;                             ///< multiplier of the repeats per stage; 0: the architecture's own
  std::optional<Layout> layout = std::nullopt;  ///< default: the architecture's first
  /// A named deviation from the layout's conventions: "tf" (timm's tf_ models: TensorFlow's "same" padding and epsilon
  /// 1e-3), "imagenet" (Keras EfficientNet as weights="imagenet" builds it, with one more Rescaling).
  std::string variant = {};
  Top top = Top::classifier;
  friend bool operator==(const Options&, const Options&) = default;
};

/// Builds a zoo network with fresh weights. `name` is canonical (names()) or another framework's spelling
/// ("mobilenetv2_100", "tf_efficientnet_b0", "MobileNetV2", "google/mobilenet_v2_1.0_224"), which brings that
/// framework's options. Error{usage} naming what cannot be: an unknown name (listing near ones), a width or size out of
/// range.
FOVEA_API Model create(const std::string& name, const Options& options = {});
/// The canonical names, sorted by family.
FOVEA_API std::vector<std::string> names();
/// True for names() and for other frameworks' spellings.
FOVEA_API bool is_known(const std::string& name);

struct Info {
  std::string name;
  int image_size = 0;                ///< its own
  int classes = 0;                   ///< its own
  std::vector<Layout> layouts;       ///< whose weight files fit; the first is the default
  std::vector<std::string> aliases;  ///< some other spellings
};
FOVEA_API Info info(const std::string& name);

}  // namespace models
}  // namespace fovea
