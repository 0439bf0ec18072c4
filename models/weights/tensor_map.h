// Which tensor of a file goes where in a network, and how its axes are turned. Internal to models/.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"
#include "models/zoo.h"

namespace fovea::models {

/// One tensor of ours and its names elsewhere.
struct TensorPair {
  std::string ours;                 ///< "block_1.expand.conv.weight"
  std::vector<std::string> theirs;  ///< the first is how it is written; others occur in older files
  LayerKind kind = LayerKind::conv;
  bool as_convolution = false;  ///< LayerName::as_convolution
  bool is_weight = false;       ///< the only part whose axes differ: vectors are vectors everywhere
};

/// Every tensor a network of these names can have; biases and scales that a network has not are in the list too.
std::vector<TensorPair> tensor_pairs(const LayerNames& names, Layout layout);
/// True for tensors that say nothing to inference: num_batches_tracked, count, and the names' own list.
bool is_ignored(const std::string& name, const LayerNames& names);

/// Whether a tensor of the file's shape holds ours.
bool fits(const Shape& theirs, const Shape& ours, const TensorPair& pair, Layout layout);
/// Our shape in the other framework's axis order, for messages and for writing.
Shape their_shape(const Shape& ours, const TensorPair& pair, Layout layout);
/// Fills ours (f32 or f64) from a tensor that fits.
void to_ours(const Tensor& theirs, Tensor ours, const TensorPair& pair, Layout layout);
/// A new tensor in the other framework's axis order.
Tensor to_theirs(const Tensor& ours, const TensorPair& pair, Layout layout);

}  // namespace fovea::models
