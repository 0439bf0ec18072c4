// Keras layers before and behind a network as modules of ours. Internal to models/.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "layers/modules.h"
#include "models/weights/keras_frame.h"

namespace fovea::models {

/// All of the layers before a network as one: y[c] = scale[c]·x[c] + offset[c], of the channels in reverse if
/// `reversed`.
struct InputTransform {
  std::vector<double> scale = {1}, offset = {0};  ///< one for all channels, or one each
  bool reversed = false;
  bool nothing() const;
  /// Null if it does nothing.
  ModulePtr module(int channels) const;
};
InputTransform input_transform(const KerasFrame& frame, const std::vector<std::size_t>& before);

/// Appends the chain behind. `taken`: names that a stage cannot have.
void add_stages(Sequential& net, const KerasFrame& frame, std::set<std::string> taken);

}  // namespace fovea::models
