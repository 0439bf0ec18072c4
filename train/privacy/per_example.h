// Gradients of single examples, clipped and summed: the first half of a differentially private step (Abadi et al. 2016,
// "Deep learning with differential privacy").
#pragma once

#include <vector>

#include "core/autograd/tape.h"
#include "core/graph/op_list.h"

namespace fovea {

/// Adds Σᵢ min(1, clip/‖gᵢ‖)·gᵢ to the grad() of every leaf, where gᵢ is the gradient of losses[i] over all leaves
/// together, and returns the norms ‖gᵢ‖. `losses` is [n], the result of a pass over n examples inside a PerExampleMode
/// (core/autograd/modes.h), recorded on `tape`, which is empty afterwards.
///
/// One backward pass for the whole batch; only where a parameter comes in, gradients are made example by example, on
/// all threads. Of dense layers they are never made: their norms and their clipped sum follow from operands and
/// gradients of results (Goodfellow 2015). Other layers need n·parameters elements of memory for a while. Error{usage}
/// where examples do not stay apart: batch statistics, reductions over the batch, an op that is not known to keep them
/// apart. Error{numeric} for a norm that is not finite.
FOVEA_API std::vector<double> backward_clipped(Tape& tape, const Tensor& losses, double clip);

/// Error{usage} if an op of the network lets examples of a batch depend on each other in training, naming the module
/// and what to do about it.
FOVEA_API void check_examples_apart(const OpList& network);

}  // namespace fovea
