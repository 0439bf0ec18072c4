// What the commands ask that only want answers: a compiled network from a file, or a model compiled in memory. Internal
// to tools/.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "image/preprocess.h"
#include "tools/model_source.h"

namespace fovea::tools {

struct Answering {
  std::function<Tensor(const Tensor&)> forward;  ///< logits of pictures f32 [N,H,W,C]
  image::Preprocessing preprocessing;
  std::vector<std::string> class_names;
};

/// Whether the path is that of a file that holds a compiled network.
bool is_compiled(const ModelSource& source);
/// As open_model(); options that say how weights are to be read do not go with a compiled network: Error{usage}.
/// Pictures and logits are on the CPU wherever the network runs; on a GPU it runs op by op, in f32.
Answering open_answering(const ModelSource& source, DType dtype, Device device = kCpu);
/// Error{usage} where options are given that a compiled network cannot follow.
void check_compiled_options(const ModelSource& source);

}  // namespace fovea::tools
