// Work on a GPU that is recorded once and started again with one call: a CUDA graph. A network of a hundred layers
// otherwise waits for a hundred launches of some microseconds each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/device.h"

namespace fovea {

/// Started again, the work reads and writes the same memory as when it was recorded: put new operands into the old
/// tensors (Tensor::copy_from) and read the results where they are; the next launch overwrites them. One thread at a
/// time.
class FOVEA_API DeviceGraph {
 public:
  struct Options {
    /// The weights do not change between launches: what kernels make of them (other layouts) is made once.
    bool constant_weights = false;
  };

  DeviceGraph() = default;
  /// Runs `work` twice, so that memory and libraries are settled, and then records a third run of it, which does
  /// nothing yet. The runs must make the same calls on the same tensors. What `work` frees is kept for the graph alone;
  /// what it leaves alive (results, gradients) stays valid while the graph or the tensor lives.
  /// Error{device} for a device that is no GPU, and where work cannot be recorded: it waits for the GPU or copies from
  /// or to the host (Tensor::item, Tensor::to). Errors of `work` pass through; then nothing is recorded.
  static DeviceGraph record(Device device, const std::function<void()>& work, const Options& options);
  static DeviceGraph record(Device device, const std::function<void()>& work) { return record(device, work, {}); }

  bool defined() const { return impl_ != nullptr; }
  /// Queues the work. Random numbers are those of the stream `ahead` items after the recorded one (Rng::ahead): a
  /// training step that was recorded in step s of a TrainingMode runs as step t with ahead = (t − s)·2³².
  /// Error{usage} where nothing is recorded.
  void launch(std::uint64_t ahead = 0) const;
  /// Memory that the graph holds beside the results, in bytes.
  std::size_t memory_bytes() const;

  struct Impl;

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fovea
