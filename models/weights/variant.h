// Which of a layout's variants a weight file was made for, as far as it tells. Internal to models/.
#pragma once

#include <string>

#include "models/weights/weight_file.h"
#include "models/zoo.h"

namespace fovea::models {

/// The variant of `architecture` in that layout that `file` was made for, "" for the usual one. Names and shapes do not
/// tell them apart; what does:
/// - Keras files that hold the network's description: whether it has the Rescaling layer in question;
/// - Keras EfficientNet: ImageNet's deviations where the normalisation takes variances, which only the weights that
///   Keras itself distributes have;
/// - otherwise the file's name, where `by_file_name`: timm's tf_… in the layout timm, …imagenet… in the layout keras.
std::string told_variant(const Architecture& architecture, Layout layout, const LayerNames& names,
                         const std::string& prefix, const weights::WeightFile& file, bool by_file_name);

}  // namespace fovea::models
