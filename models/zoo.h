// The table of architectures, and what one file per architecture provides: a builder, and the names its layers have in
// other frameworks. Internal to models/.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "models/model.h"

namespace fovea::models {

/// What a layer is, which says the tensors it has and how other frameworks lay them out.
enum class LayerKind : std::uint8_t {
  conv,       ///< weight [kh,kw,in/groups,out] (PyTorch OIHW, Keras HWIO), bias where there is one
  depthwise,  ///< weight [kh,kw,1,C·m] (PyTorch [C·m,1,kh,kw], Keras [kh,kw,C,m])
  norm,       ///< batch norm: weight, bias, running_mean, running_var
  dense,      ///< weight [in,out] (PyTorch [out,in]; either framework may hold it as a 1×1 convolution), bias
  rescale,    ///< Keras Normalization: mean, variance (and count)
  plain,      ///< no tensors: a name for an activation only
};

struct LayerName {
  std::string module;  ///< path in our tree: "block_1.expand.conv"; its result is the result of all below the path.
                       ///< A path of a fused activation is that of its norm with "act" for "bn": "block_1.expand.act"
  std::string source;  ///< path in the other framework: "features.2.conv.0.0", "block_1_expand"
  LayerKind kind = LayerKind::plain;
  bool as_convolution = false;  ///< a dense layer that the other framework holds as a 1×1 convolution
};

struct LayerNames {
  /// For Layout::keras in an order in which layers of one class (convolution, norm, …) stand as in Keras' model.layers:
  /// files of the kind .weights.h5 name layers by class and number only.
  std::vector<LayerName> layers;
  /// Beginnings of names of tensors that are not used for inference ("AuxLogits.").
  std::vector<std::string> ignored;
  /// (our path, another source path): names that a layer has in older files.
  std::vector<std::pair<std::string, std::string>> alternatives;
};

struct Architecture {
  const char* name;
  /// Options are resolved: no zeros left but those below, layout set.
  Model (*build)(const Architecture&, const Options&);
  /// Nothing for networks of our own.
  LayerNames (*layer_names)(const Architecture&, const Options&, Layout);
  std::vector<Layout> layouts;  ///< first: the default
  int image_size = 224;
  int channels = 3;
  int classes = 1000;
  int min_size = 32;  ///< smallest picture whose maps do not vanish
  int scale = 0;      ///< what distinguishes members of a family: 50 for resnet50, 3 for efficientnet_b3
  double width = 1, depth = 1;
  bool scalable = false;  ///< takes other widths and depths
  bool deepens = true;    ///< false: other widths only
  /// Options::variant besides "" by layout.
  std::vector<std::pair<Layout, const char*>> variants = {};
  /// The image size of the weights of a layout that was asked for, where it is not `image_size`; nullptr: it always is.
  int (*layout_image_size)(const Architecture&, const Options&) = nullptr;
};

/// Whether the layout has that variant; the empty one it always has.
bool takes_variant(const Architecture& architecture, Layout layout, std::string_view variant);

/// The layouts it has, for messages: "torchvision, timm, keras".
std::string layout_list(const Architecture& architecture);

/// Every architecture once, by family.
const std::vector<Architecture>& architectures();
/// nullptr if there is none of that canonical name.
const Architecture* find_architecture(std::string_view name);
/// A name in any framework's spelling, with the options that the spelling implies laid under `options` (what is set
/// there already stays). Error{usage} for an unknown name.
struct Resolved {
  const Architecture* architecture;
  Options options;
};
Resolved resolve(const std::string& name, const Options& options);
/// The network of resolved options; parameters as the current ParameterMode (layers/init.h) says, not initialised anew.
Model build(const Architecture& architecture, const Options& resolved);

// One builder per family.
Model small_cnn(const Architecture&, const Options&);
Model private_cnn(const Architecture&, const Options&);
Model fashion_cnn(const Architecture&, const Options&);
Model picture_cnn(const Architecture&, const Options&);
Model mobilenet_v1(const Architecture&, const Options&);
Model mobilenet_v2(const Architecture&, const Options&);
Model mobilenet_v3(const Architecture&, const Options&);
Model efficientnet(const Architecture&, const Options&);
Model efficientnet_lite(const Architecture&, const Options&);
Model resnet(const Architecture&, const Options&);
Model inception_v3(const Architecture&, const Options&);

// The names of their layers elsewhere (models/weights/names/).
LayerNames mobilenet_v1_names(const Architecture&, const Options&, Layout);
LayerNames mobilenet_v2_names(const Architecture&, const Options&, Layout);
LayerNames mobilenet_v3_names(const Architecture&, const Options&, Layout);
LayerNames efficientnet_names(const Architecture&, const Options&, Layout);
LayerNames efficientnet_lite_names(const Architecture&, const Options&, Layout);
LayerNames resnet_names(const Architecture&, const Options&, Layout);
LayerNames inception_v3_names(const Architecture&, const Options&, Layout);

}  // namespace fovea::models
