// Networks through which the picture shows: with fresh statistics the logits of a deep network hardly depend on it, and
// a test of them could not fail.
#pragma once

#include <string_view>
#include <vector>

#include "core/autograd/tape.h"
#include "core/graph/op_list.h"
#include "core/rng.h"
#include "kernels/cpu/simd/planned_gemm.h"
#include "models/model.h"

namespace fovea::test {

/// These tests mean products of bf16 wherever the CPU has them, also where f32's are faster.
inline const kernels::simd::PretendBf16ProductsPay kBf16ProductsPay(true);

inline Tensor noise(const Shape& shape, std::uint64_t seed) {
  Tensor x(shape);
  Rng rng(seed, "plan_test");
  for (float *p = x.mutable_data<float>(), *end = p + x.numel(); p != end; ++p) *p = static_cast<float>(rng.normal());
  return x;
}

/// Runs a list op by op: before(node, operands) may change operands, after(node, result) the result.
template <class Before, class After>
Tensor walk(const OpList& list, const Tensor& x, Before before, After after) {
  std::vector<Tensor> live(list.values.size());
  for (std::size_t v = 0; v < live.size(); ++v) live[v] = list.values[v].tensor;
  live[static_cast<std::size_t>(list.inputs[0])] = x;
  for (const OpList::Node& node : list.nodes) {
    std::vector<Tensor> operands;
    for (const int v : node.inputs) operands.push_back(v < 0 ? Tensor() : live[static_cast<std::size_t>(v)]);
    before(node, operands);
    Tensor& result = live[static_cast<std::size_t>(node.outputs[0])];
    result = run_op(node.op, operands)[0];
    after(node, result);
  }
  return live[static_cast<std::size_t>(list.outputs[0])];
}

/// Gives every batch norm the statistics of what it reads, and scales and shifts of its own. With fresh statistics
/// nothing of the picture reaches the logits of a deep network, and a test of them could not fail.
inline void settle(Model& model, std::int64_t size) {
  Rng rng(7, "plan_test");
  const auto each = [](Tensor& t, auto value) {
    for (float *v = t.mutable_data<float>(), *end = v + t.numel(); v != end; ++v) *v = static_cast<float>(value());
  };
  // Enough pictures for a channel's statistics even where the last maps are 2×2.
  const Tensor x = noise({8, size, size, model.preprocessing.channels}, 11);
  const auto give_statistics = [&](const OpList::Node& node, std::vector<Tensor>& operands) {
    if (node.op->type() != "batch_norm") return;
    const Tensor& in = operands[0];
    const std::int64_t channels = in.dim(-1), rows = in.numel() / channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      double sum = 0, squares = 0;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto value = static_cast<double>(in.data<float>()[r * channels + c]);
        sum += value;
        squares += value * value;
      }
      const double mean = sum / static_cast<double>(rows);
      operands[3].mutable_data<float>()[c] = static_cast<float>(mean);
      operands[4].mutable_data<float>()[c] =
          static_cast<float>(squares / static_cast<double>(rows) - mean * mean + 1e-2);
    }
    if (operands[1].defined()) each(operands[1], [&] { return 0.5 + rng.uniform(); });
    if (operands[2].defined()) each(operands[2], [&] { return 0.2 * rng.normal(); });
  };
  walk(model.capture(1), x, give_statistics, [](const OpList::Node&, Tensor&) {});
}

}  // namespace fovea::test
